"""A resumable store of results: rows under the hash of all that determines them, in Parquet parts written atomically.

A store is a folder. Every part is named by the sha256 of its own bytes, so that a part is whole or is found out, and
two processes that write at once never write the same file with different content. Several rows (one per metric) may
share a unit; all rows of a unit lie in one part.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import pandas as pd

from tada.errors import InputError, UnknownNameError

log = logging.getLogger(__name__)

UNIT = "unit_hash"
ABANDONED = 3600.0
"""Seconds after which an unfinished file of a process that was killed is swept away."""


def key(determinants: Mapping[str, Any]) -> str:
    """The sha256 of everything that determines a result.

    Args:
        determinants: names and values of what json can hold; their order does not count.

    Returns:
        64 hexadecimal digits.

    Raises:
        TypeError: a value that json cannot hold, such as an object whose text would change from run to run.
    """
    text = json.dumps(determinants, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


class Store:
    """The results in one folder; it is made if missing."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.parts, self.aside, self.choices = (self.folder / name for name in ("parts", "aside", "choices"))
        self.claims = self.folder / "claims"
        for place in (self.parts, self.choices, self.claims):
            place.mkdir(parents=True, exist_ok=True)
        self._read: dict[str, pd.DataFrame] = {}
        self._sweep_up()

    def known(self) -> set[str]:
        """Hashes of the units that are stored and whole, parts of other processes included."""
        self._refresh()
        return {unit for part in self._read.values() for unit in part[UNIT]}

    def add(self, rows: pd.DataFrame) -> None:
        """Write rows as one part, whole or not at all.

        Args:
            rows: a table with a column ``unit_hash``; every unit with all its rows.

        Raises:
            ValueError: no rows, or no such column.
        """
        if UNIT not in rows or rows.empty:
            raise InputError(f"got a table of {len(rows)} rows with columns {list(rows)}; expected rows with {UNIT}")
        self._write(rows.reset_index(drop=True))

    def frame(self, units: Iterable[str] | None = None) -> pd.DataFrame:
        """The stored rows, each unit once.

        Args:
            units: which units, in this order; None for all, in the order of their hashes.

        Raises:
            KeyError: units that are not stored.
        """
        self._refresh()
        seen: dict[str, str] = {}
        for name in sorted(self._read):
            for unit in self._read[name][UNIT]:
                seen.setdefault(unit, name)
        wanted = sorted(seen) if units is None else list(dict.fromkeys(units))
        missing = [unit for unit in wanted if unit not in seen]
        if missing:
            raise UnknownNameError(f"{len(missing)} of {len(wanted)} units are not stored, the first is {missing[0]}")
        if not wanted:
            return pd.DataFrame({UNIT: pd.Series(dtype=str)})
        order = {unit: i for i, unit in enumerate(wanted)}
        chosen = [
            part[[unit in order and seen[unit] == name for unit in part[UNIT]]]
            for name, part in sorted(self._read.items())
        ]
        rows = pd.concat([part for part in chosen if len(part)], ignore_index=True)
        return rows.iloc[rows[UNIT].map(order).argsort(kind="stable")].reset_index(drop=True)

    def compact(self) -> None:
        """Merge all parts into one, so that the next start reads a single file; safe beside other processes."""
        self._refresh()
        old = set(self._read)
        if len(old) < 2:
            return
        merged = self.frame()
        for part in old - {self._write(merged)}:
            (self.parts / part).unlink(missing_ok=True)

    def choose(self, name: str, value: Any) -> Any:
        """A setting that the first to ask decides for all later runs on this store.

        Args:
            name: of the setting.
            value: what json can hold; it is kept if nothing was decided before.

        Returns:
            What holds.
        """
        path = self.choices / f"{key({'name': name})}.json"
        if not path.is_file():
            draft = self._temporary(self.choices)
            draft.write_text(json.dumps({"name": name, "value": value}))
            with suppress(FileExistsError):
                os.link(draft, path)  # fails where another process was first
            draft.unlink()
        return json.loads(path.read_text())["value"]

    def chosen(self, name: str) -> Any:
        """What :meth:`choose` decided, None if nothing was."""
        path = self.choices / f"{key({'name': name})}.json"
        return json.loads(path.read_text())["value"] if path.is_file() else None

    @contextmanager
    def claim(self, name: str) -> Iterator[bool]:
        """Ask to be the only process at work on something.

        The claim is a lock of the operating system: a process that is killed gives back what it held.

        Args:
            name: of the work, the same in all processes.

        Yields:
            Whether this process may go ahead; another one is at it where not.
        """
        path = self.claims / f"{key({'name': name})}.lock"
        with path.open("w") as file:
            mine = _locked(file, path)
            try:
                yield mine
            finally:
                if mine:
                    path.unlink(missing_ok=True)

    # ---- files

    def _write(self, rows: pd.DataFrame) -> str:
        buffer = BytesIO()
        rows.to_parquet(buffer, index=False)
        content = buffer.getvalue()
        name = f"{hashlib.sha256(content).hexdigest()}.parquet"
        draft = self._temporary(self.parts)
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.parts / name)
        self._read[name] = pd.read_parquet(BytesIO(content))
        return name

    def _temporary(self, folder: Path) -> Path:
        return folder / f".{os.getpid()}-{uuid.uuid4().hex}.part"

    def _refresh(self) -> None:
        """Read the parts that came since, forget those that went."""
        while True:
            names = {path.name for path in self.parts.glob("*.parquet")}
            self._read = {name: part for name, part in self._read.items() if name in names}
            new = {name: self._load(name) for name in sorted(names - set(self._read))}
            self._read |= {name: part for name, part in new.items() if part is not None}
            if all((self.parts / name).is_file() for name in self._read):
                return

    def _load(self, name: str) -> pd.DataFrame | None:
        path = self.parts / name
        try:
            content = path.read_bytes()
        except FileNotFoundError:  # another process has just merged it
            return None
        if hashlib.sha256(content).hexdigest() != path.stem:
            self._set_aside(path, len(content))
            return None
        return pd.read_parquet(BytesIO(content))

    def _set_aside(self, path: Path, size: int) -> None:
        self.aside.mkdir(exist_ok=True)
        log.warning(
            "%s is damaged (%d bytes that do not match its checksum): set aside in %s, its units are computed again",
            path.name,
            size,
            self.aside,
        )
        with suppress(FileNotFoundError):
            path.replace(self.aside / f"{path.name}.{uuid.uuid4().hex[:8]}")

    def _sweep_up(self) -> None:
        for draft in [*self.parts.glob(".*.part"), *self.choices.glob(".*.part")]:
            with suppress(FileNotFoundError):
                if time.time() - draft.stat().st_mtime > ABANDONED:
                    draft.unlink()

    def __repr__(self) -> str:
        return f"Store({str(self.folder)!r}, {len(self.known())} units)"


def _locked(file: IO[str], path: Path) -> bool:
    """Lock a file without waiting; False where another process holds it, or has just removed it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return path.stat().st_ino == os.fstat(file.fileno()).st_ino
    except (BlockingIOError, FileNotFoundError):
        return False
