"""A resumable store of results: rows under the hash of all that determines them, in files that only ever grow.

Several rows (one per metric) may share a unit; a unit is stored with all its rows or not at all. Any number of
processes, on any number of machines that see the folder, may use a store at once, and a killed one leaves it sound.
No file system has to lock for that: each process appends checksummed records to a file of its own and reads all
others', and who is at work on what is said by claims, which cost double work at the worst if they fail.

What a store does not hold is read from the results that ship with the repository, see :mod:`tada.store.shipped`.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import groupby
from pathlib import Path
from threading import Event, RLock, Thread
from typing import Any, NamedTuple
from uuid import getnode, uuid4

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tada.errors import InputError, UnknownNameError
from tada.io import append, atomic_write, sha256
from tada.store import shipped
from tada.store.shipped import SETTING, UNIT

log = logging.getLogger(__name__)

RECORD = re.compile(rb"tada ([0-9a-f]{64}) ([0-9]{1,15})\n")
"""What a record begins with: the hash and the length of the Arrow stream that follows."""
LONGEST_HEAD = 86
"""Bytes."""
MACHINE = f"{platform.node()} {getnode():x}"
"""The name of this machine, and its network card's, since machines may share a name."""
BEAT, LEASE = 10.0, 60.0
"""Seconds between two signs of life of whoever holds a claim, and without one until it is taken for dead."""


def key(determinants: Mapping[str, Any]) -> str:
    """Hash everything that determines a result.

    Args:
        determinants: names and values of what json can hold; their order does not count.

    Returns:
        The sha256, 64 hexadecimal digits.

    Raises:
        TypeError: a value that json cannot hold, such as an object whose text would change from run to run.
    """
    return sha256(json.dumps(determinants, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())


class Place(NamedTuple):
    """Where a record is: name of the file, first byte of the Arrow stream, and its length."""

    file: str
    start: int
    length: int


class Store:
    """The results in one folder, which is made if missing.

    Args:
        folder: of this store.
        only: whether results that ship with the repository are left out.

    Raises:
        InputError: no folder, or the results of an older version.
    """

    def __init__(self, folder: str | Path, only: bool = False) -> None:
        self.folder, self.only = Path(folder), only
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder} cannot be a folder of results ({error.strerror}): name another one") from error
        if any(self.folder.glob("parts/*.parquet")) or (self.folder / "store.sqlite").exists():
            raise InputError(f"{folder} holds results of an older version: delete it or name another folder")
        self._mutex = RLock()
        self._files: dict[int, Path] = {}  # process -> the file that it appends to
        self._read: dict[str, int] = {}  # file -> the bytes that are read
        self._places: dict[str, Place] = {}  # unit -> the record that holds it
        self._damaged: set[str] = set()
        self._seen: dict[Path, tuple[int, float]] = {}  # claim -> its last sign of life, and when that was new here

    def __reduce__(self) -> tuple[type[Store], tuple[Path, bool]]:
        return Store, (self.folder, self.only)

    def alone(self) -> Store:
        """The same store without results that ship."""
        return Store(self.folder, only=True)

    def _shipped(self) -> shipped.Shipped:
        return shipped.Shipped() if self.only else shipped.layer()

    def known(self, units: Iterable[str] | None = None) -> set[str]:
        """List the units that are stored and whole, those of other processes included.

        Args:
            units: which of these are known, here or in shipped results; None for all that are here.
        """
        with self._mutex:
            self._read_on()
            if units is None:
                return {unit for unit in self._places if not unit.startswith(SETTING)}
            units = list(units)
            return {unit for unit in units if unit in self._places} | self._shipped().known(units)

    def add(self, rows: pd.DataFrame) -> None:
        """Store rows, all or none; units that are stored here already stay as they are.

        Args:
            rows: a table with a column ``unit_hash``; every unit with all its rows.

        Raises:
            InputError: no rows, no such column, or a folder that cannot be written.
        """
        if UNIT not in rows or rows.empty:
            raise InputError(f"got a table of {len(rows)} rows with columns {list(rows)}; expected rows with {UNIT}")
        with self._mutex:
            self._read_on()
            new = rows[~rows[UNIT].isin(self._places)]
            if new.empty:
                return
            file = self._files.setdefault(os.getpid(), self.folder / f"{time.time_ns():020}-{uuid4().hex[:8]}.rows")
            content = _pack(new)
            try:
                append(file, b"tada %s %d\n%s" % (sha256(content).encode(), len(content), content))
            except OSError as error:
                raise InputError(f"{file} cannot be written ({error}): is there room, and may you write?") from error

    def frame(self, units: Iterable[str] | None = None) -> pd.DataFrame:
        """Read the stored rows, each unit once.

        Args:
            units: which units, in this order, from here or else from shipped results; None for all that are here, in
                the order of their hashes.

        Raises:
            UnknownNameError: units that are not stored.
        """
        wanted = sorted(self.known()) if units is None else list(dict.fromkeys(units))
        missing = set(wanted) - self.known(wanted)
        if missing:
            first = next(unit for unit in wanted if unit in missing)
            raise UnknownNameError(f"{len(missing)} of {len(wanted)} units are not stored, the first is {first}")
        if not wanted:
            return pd.DataFrame({UNIT: pd.Series(dtype=str)})
        here = [unit for unit in wanted if unit in self._places]
        others = [unit for unit in wanted if unit not in self._places]
        self._shipped().note(others, here)
        tables = [*self._tables(here), *self._shipped().tables(others)]
        frame = pa.concat_tables(tables, promote_options="permissive").to_pandas()
        order = frame[UNIT].map({unit: number for number, unit in enumerate(wanted)})
        return frame.iloc[order.argsort(kind="stable")].reset_index(drop=True)

    def sampled(self, units: Iterable[str]) -> set[str]:
        """Choose the units of shipped results among these, which are not here, that are to be made again."""
        return self._shipped().sampled(unit for unit in units if unit not in self._places)

    def get(self, name: str) -> Any:
        """Read a setting that :meth:`get_or_set` decided, None if nothing was."""
        unit = SETTING + name
        return json.loads(self.frame([unit])["value"][0]) if self.known([unit]) else None

    def get_or_set(self, name: str, value: Any) -> Any:
        """Decide a setting for all later runs on this store, unless it is decided, and return what holds.

        Args:
            name: of the setting.
            value: what json can hold.
        """
        while not self.known([SETTING + name]):
            with self.claim(SETTING + name) as mine:
                if mine:
                    self.add(pd.DataFrame({UNIT: [SETTING + name], "value": [json.dumps(value)]}))
            time.sleep(0.0 if mine else 0.05)
        return self.get(name)

    def merge(self, other: str | Path) -> int:
        """Take in what another store holds; units that both have count once, and doing it again changes nothing.

        Args:
            other: its folder; either store may be in use.

        Returns:
            How many units are new here.

        Raises:
            InputError: no store.
        """
        files = sorted(Path(other).glob("*.rows"))
        if not files:
            raise InputError(f"{other} is no store that holds results: expected the folder that was a run's --store")
        before = len(self.known())
        for file in files:
            atomic_write(self.folder / file.name, file.read_bytes())
        return len(self.known()) - before

    # ---- claims

    @contextmanager
    def claim(self, name: str) -> Iterator[bool]:
        """Ask to be the only one at work on something, without waiting.

        A claim is a file that shows a sign of life every few seconds. One whose process has ended on this machine, or
        that showed none for :data:`LEASE` seconds, passes to the next who asks. Where that is wrong, as with a machine
        that slept, work is done twice, with one result.

        Args:
            name: of the work, the same in all processes.

        Yields:
            Whether the claim was got; someone else is at work where not.
        """
        path = self._next_claim(key({"name": name})[:32])
        try:
            if path is not None:
                with path.open("x") as file:
                    json.dump({"machine": MACHINE, "process": os.getpid()}, file)
        except FileExistsError:
            path = None
        if path is None:
            yield False
            return
        ended = Event()
        Thread(target=_beat, args=(path, ended), daemon=True).start()
        try:
            yield True
        finally:
            ended.set()
            for old in self.folder.glob(f"{path.name.partition('.')[0]}.*.claim"):
                if old.name <= path.name:
                    old.unlink(missing_ok=True)

    def _next_claim(self, work: str) -> Path | None:
        """The file to be made for a claim, numbered after that of a dead holder; None where one is alive."""
        path = max(self.folder.glob(f"{work}.*.claim"), default=None)
        if path is None:
            return self.folder / f"{work}.{0:06}.claim"
        return path.with_name(f"{work}.{int(path.suffixes[0][1:]) + 1:06}.claim") if self._is_dead(path) else None

    def _is_dead(self, path: Path) -> bool:
        """Whether a claim's holder has ended here, or showed no sign of life for long enough by the clock here."""
        try:
            with path.open() as file:  # opened, so that a network file system asks its server
                sign, text = os.fstat(file.fileno()).st_mtime_ns, file.read()
        except FileNotFoundError:
            return False
        with suppress(ValueError):
            holder = json.loads(text)
            if holder["machine"] == MACHINE and not _is_running(holder["process"]):
                return True
        if self._seen.get(path, (0, 0.0))[0] != sign:
            self._seen[path] = sign, time.monotonic()
        return time.monotonic() - self._seen[path][1] > LEASE

    # ---- files

    def _read_on(self) -> None:
        """Read what was added since, by whomever."""
        for path in sorted(self.folder.glob("*.rows")):
            start = self._read.get(path.name, 0)
            with path.open("rb") as file:
                file.seek(start)
                content = file.read()
            if content:
                self._read[path.name] = start + self._index(path, start, content)

    def _index(self, path: Path, start: int, content: bytes) -> int:
        """Note where the units of whole records are; how many bytes need not be read again."""
        place, whole = 0, True
        while head := RECORD.search(content, place):
            whole &= head.start() == place
            begin, end = head.end(), head.end() + int(head[2])
            body = content[begin:end]
            if sha256(body) == head[1].decode():
                where = Place(path.name, start + begin, len(body))
                for unit in pa.ipc.open_stream(body).read_all()[UNIT].unique().to_pylist():
                    self._places.setdefault(unit, where)
                place = end
            elif end > len(content) and not RECORD.search(content, begin):
                break  # it is being written, or its writer was killed
            else:
                whole, place = False, begin
        whole &= head is not None or len(content) - place < LONGEST_HEAD
        if not whole and path.name not in self._damaged:
            self._damaged.add(path.name)
            log.warning("%s is damaged: the units it held there are computed again, all others are kept", path)
        return place

    def _tables(self, units: Iterable[str]) -> Iterator[pa.Table]:
        """The records that hold some units, with the rows of these alone."""
        wanted: dict[Place, list[str]] = {}
        for unit in units:
            wanted.setdefault(self._places[unit], []).append(unit)
        for name, places in groupby(sorted(wanted), key=lambda place: place.file):
            with (self.folder / name).open("rb") as file:
                for place in places:
                    file.seek(place.start)
                    table = pa.ipc.open_stream(file.read(place.length)).read_all()
                    yield table.filter(pc.is_in(table[UNIT], pa.array(wanted[place])))

    def __repr__(self) -> str:
        return f"Store({str(self.folder)!r}, {len(self.known())} units)"


def load_or_make(
    units: Iterable[str], make: Callable[[Collection[str]], pd.DataFrame], store: Store | None
) -> pd.DataFrame:
    """Read units from a store; what it lacks is made and kept, and a sample of what ships is made again and compared.

    Args:
        make: makes the rows of some units, each row with its unit.
        store: None makes all and keeps nothing.
    """
    units = list(units)
    if store is None:
        return make(units)
    if missing := set(units) - store.known(units):
        store.add(make(missing))
    if sample := store.sampled(units):
        shipped.layer().compare(make(sample))
    return store.frame(units)


def _beat(path: Path, ended: Event) -> None:
    """Show signs of life at a claim until it is given back."""
    while not ended.wait(BEAT):
        with suppress(OSError):
            os.utime(path)


def _is_running(process: int) -> bool:
    """Whether a process of this machine is running, as far as the system tells."""
    if sys.platform == "win32":  # where asking would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _pack(rows: pd.DataFrame) -> bytes:
    """Write a table as an Arrow stream, which keeps its types."""
    table, sink = pa.Table.from_pandas(rows, preserve_index=False).replace_schema_metadata(), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())
