"""A resumable store of results: rows under the hash of all that determines them, in one SQLite file.

Several rows (one per metric) may share a unit; a unit is stored with all its rows or not at all. Any number of
processes on one computer may use a store at once, and a killed one leaves it sound.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import pandas as pd
import pyarrow as pa

from tada.errors import InputError, UnknownNameError
from tada.io import sha256

log = logging.getLogger(__name__)

UNIT = "unit_hash"
WAIT = 120.0
"""Seconds to wait for other processes that write."""
NETWORK = re.compile(r"(nfs|cifs|smb|afs|ncp|fuse\.(sshfs|rclone|s3fs|gcsfuse|drive|davfs|curlftpfs|gvfs)).*")
"""File systems, as /proc/mounts names them, on which locks of several computers cannot be relied on."""
TABLES = {
    "units": "number INTEGER PRIMARY KEY, unit TEXT UNIQUE, sha256 TEXT, rows BLOB",
    "settings": "name TEXT PRIMARY KEY, value TEXT",
}
"""Table -> its columns."""


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


class Store:
    """The results in one folder, which is made if missing.

    A file ``store.sqlite`` that is damaged or holds something else is set aside under another name.

    Raises:
        InputError: no folder, a damaged file, a network file system, or the results of an older version.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.file = self.folder / "store.sqlite"
        if any(self.folder.glob("parts/*.parquet")):
            raise InputError(f"{folder} holds results of an older version (parts/): delete it or name another folder")
        system = file_system(self.folder)
        if NETWORK.fullmatch(system):
            raise InputError(f"{folder} is on a network file system ({system}), whose locks fail: name a local folder")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder} cannot be a folder of results ({error.strerror}): name another one") from error
        if self.file.exists() and not self.file.is_file():
            raise InputError(f"{self.file} is no file: move it away, or name another folder")
        self._checked = 0
        with self._transaction() as database:
            for table, columns in TABLES.items():
                database.execute(f"CREATE TABLE IF NOT EXISTS {table} ({columns})")
            made = dict(database.execute("SELECT name, sql FROM sqlite_master WHERE name IN ('units', 'settings')"))
        if made != {table: f"CREATE TABLE {table} ({columns})" for table, columns in TABLES.items()}:
            raise self._set_aside(self.file.stat().st_ino, "it has other tables")

    def known(self) -> set[str]:
        """List the hashes of the units that are stored and whole, those of other processes included."""
        with self._transaction() as database:
            unread = database.execute("SELECT number, sha256, rows FROM units WHERE number > ?", [self._checked])
            damaged = []
            for self._checked, digest, rows in unread:
                if not isinstance(rows, bytes) or sha256(rows) != digest:
                    damaged.append([self._checked])
            if damaged:
                log.warning("%d units in %s are damaged: they are computed again", len(damaged), self.file)
                database.executemany("DELETE FROM units WHERE number = ?", damaged)
            return {unit for (unit,) in database.execute("SELECT unit FROM units")}

    def add(self, rows: pd.DataFrame) -> None:
        """Store rows, all or none; units that are stored already stay as they are.

        Args:
            rows: a table with a column ``unit_hash``; every unit with all its rows.

        Raises:
            InputError: no rows, or no such column.
        """
        if UNIT not in rows or rows.empty:
            raise InputError(f"got a table of {len(rows)} rows with columns {list(rows)}; expected rows with {UNIT}")
        packed = {str(unit): _pack(part) for unit, part in rows.groupby(UNIT, sort=False)}
        with self._transaction() as database:
            database.executemany(
                "INSERT OR IGNORE INTO units (unit, sha256, rows) VALUES (?, ?, ?)",
                [(unit, sha256(content), content) for unit, content in packed.items()],
            )

    def frame(self, units: Iterable[str] | None = None) -> pd.DataFrame:
        """Read the stored rows, each unit once.

        Args:
            units: which units, in this order; None for all, in the order of their hashes.

        Raises:
            UnknownNameError: units that are not stored.
        """
        known = self.known()
        wanted = sorted(known) if units is None else list(dict.fromkeys(units))
        missing = [unit for unit in wanted if unit not in known]
        if missing:
            raise UnknownNameError(f"{len(missing)} of {len(wanted)} units are not stored, the first is {missing[0]}")
        if not wanted:
            return pd.DataFrame({UNIT: pd.Series(dtype=str)})
        with self._transaction() as database:
            found = [database.execute("SELECT rows FROM units WHERE unit = ?", [unit]).fetchone() for unit in wanted]
        try:
            tables = [pa.ipc.open_stream(content).read_all() for (content,) in found]
        except pa.ArrowException as error:
            raise InputError(f"{self.file} holds rows that are none ({error}): delete it or name another") from error
        return pa.concat_tables(tables, promote_options="permissive").to_pandas()

    def get(self, name: str) -> Any:
        """Read a setting that :meth:`get_or_set` decided, None if nothing was."""
        with self._transaction() as database:
            found = database.execute("SELECT value FROM settings WHERE name = ?", [name]).fetchone()
        try:
            return json.loads(found[0]) if found else None
        except (ValueError, TypeError):
            log.warning("the setting %s in %s is damaged: it is decided again", name, self.file)
        with self._transaction() as database:
            database.execute("DELETE FROM settings WHERE name = ?", [name])
        return None

    def get_or_set(self, name: str, value: Any) -> Any:
        """Decide a setting for all later runs on this store, unless it is decided, and return what holds.

        Args:
            name: of the setting.
            value: what json can hold.
        """
        self.get(name)  # one that is damaged is forgotten
        with self._transaction() as database:
            database.execute("INSERT OR IGNORE INTO settings VALUES (?, ?)", [name, json.dumps(value)])
        return self.get(name)

    @contextmanager
    def lock(self, name: str) -> Iterator[bool]:
        """Ask to be the only one at work on something, without waiting; a killed process gives back what it held.

        Args:
            name: of the work, the same in all processes.

        Yields:
            Whether the lock was got; someone else is at work where not.
        """
        path = self.folder / f"{key({'name': name})}.lock"
        with path.open("w") as file:
            try:
                _lock_at_once(file)
                got = path.stat().st_ino == os.fstat(file.fileno()).st_ino
            except (BlockingIOError, PermissionError, FileNotFoundError):  # held, or removed a moment ago by its holder
                got = False
            try:
                yield got
            finally:
                if got:
                    with suppress(PermissionError):  # Windows keeps what is open
                        path.unlink(missing_ok=True)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Connect for one transaction, so that stores may be shared by threads and sent to other processes."""
        before = self.file.stat().st_ino if self.file.is_file() else None
        try:
            with closing(sqlite3.connect(self.file, timeout=WAIT, isolation_level=None)) as database:
                database.execute("BEGIN IMMEDIATE")
                yield database
                database.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", 0) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise self._set_aside(before, str(error)) from error
            raise InputError(f"{self.file} cannot be used ({error}): is there room, and may you write?") from error

    def _set_aside(self, inode: int | None, reason: str) -> InputError:
        """Rename a file that is no store, unless another process did so already; the error that says so."""
        aside = self.file.with_name(f"{self.file.name}.damaged-{inode}")
        with suppress(FileNotFoundError):
            if self.file.stat().st_ino == inode:
                self.file.rename(aside)
        return InputError(
            f"{self.file} is damaged or no store ({reason}) and was set aside as {aside.name}: mend it, or delete "
            "it and run again, which computes its results again"
        )

    def __repr__(self) -> str:
        return f"Store({str(self.folder)!r}, {len(self.known())} units)"


def _lock_at_once(file: IO[str]) -> None:
    """Lock an open file; OSError where somebody else has."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def file_system(folder: Path, mounts: Path = Path("/proc/mounts")) -> str:
    """Name the kind of file system that a folder is or would be on; empty where the system does not tell."""
    if not mounts.is_file():
        return ""
    place = folder.resolve()
    systems = [line.split()[1:3] for line in mounts.read_text().splitlines()]
    fitting = [(mount, kind) for mount, kind in systems if place.is_relative_to(mount.replace("\\040", " "))]
    return max(fitting, key=lambda item: len(item[0]), default=("", ""))[1]


def _pack(rows: pd.DataFrame) -> bytes:
    """Write a table as an Arrow stream, which keeps its types."""
    table, sink = pa.Table.from_pandas(rows, preserve_index=False).replace_schema_metadata(), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())
