"""Files: written whole or not at all, named safely, known by their hash."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from tada import escape
from tada.errors import InputError, MissingFileError

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

PAGE = "TADA_PAGE"
"""Environment variable: the folder for files of the page that is being built; not set elsewhere."""

DRAFTS = f".{'[0-9a-f]' * 12}.*.part*"
"""Glob of the files that processes leave which are killed while they write."""

LONGEST_NAME = 255
"""Bytes that a file's name has at most on common file systems."""


def atomic_write(path: str | Path, content: bytes | str | Callable[[Path], Any]) -> Path:
    """Write a file whole or not at all, whoever else writes it at the same time.

    Args:
        path: the file; its folder is made if missing.
        content: bytes, text (UTF-8), or a function that writes to the path it is given. That path has the same suffix.

    Returns:
        ``path``.

    Raises:
        OSError: the file cannot be written; a file that was there before is as it was, and no draft is left.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    own = path.suffix if callable(content) else ""  # else what a killed process leaves looks like a finished notebook
    mark, suffix = f".{uuid4().hex[:12]}.", own.encode()[-40:].decode(errors="ignore")
    stem = path.name.encode()[: LONGEST_NAME - len(mark) - len(suffix.encode()) - 6].decode(errors="ignore")
    draft = path.with_name(f"{mark}{stem}.part{suffix}")
    try:
        if callable(content):
            content(draft)
        else:
            draft.write_bytes(content.encode() if isinstance(content, str) else content)
        _flush(draft)
        return draft.replace(path)
    finally:
        with suppress(FileNotFoundError):
            draft.unlink()


def append(path: Path, content: bytes) -> None:
    """Append to a file that no other process writes, and wait for the disk; all of it, or nothing and OSError."""
    with path.open("ab", buffering=0) as file:
        before, rest = file.seek(0, os.SEEK_END), memoryview(content)
        try:
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except BaseException:
            file.truncate(before)
            raise


def require_writable(folder: str | Path) -> Path:
    """Return a folder that files can be written into, or could once it is made, as it was; InputError for another."""
    folder = Path(folder)
    there = next(place for place in (folder, *folder.parents) if os.path.exists(place))
    try:  # under a name that nobody else takes for a folder of results
        with tempfile.TemporaryDirectory(dir=there) as trial:
            Path(trial, folder.relative_to(there)).mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot write into {folder} ({reason}): choose another folder") from None
    return folder


def write_json(path: str | Path, value: Any) -> Path:
    """Write a value as indented json, whole or not at all; numbers that are not finite become null."""
    return atomic_write(path, escape.json(value, 1) + "\n")


def write_table(path: str | Path, table: pd.DataFrame) -> Path:
    """Write a table without its index as csv or parquet, whichever the suffix names, whole or not at all."""
    if Path(path).suffix == ".parquet":
        return atomic_write(path, lambda draft: table.to_parquet(draft, index=False))
    return atomic_write(path, table.to_csv(index=False))


def write_signed(path: Path, card: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write tensors (safetensors), and first, beside them, json that holds their ``sha256``, too."""
    from safetensors.torch import save

    data = save({name: value.contiguous() for name, value in tensors.items()})
    write_json(card, {"sha256": sha256(data), **about})
    atomic_write(path, data)


def read_signed(path: Path, card: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read tensors (safetensors), and the json beside them, which holds their ``sha256``, without it.

    Raises:
        MissingFileError: one of the two is not there. InputError: they are damaged, or do not belong together.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    for file in (path, card):
        if not file.is_file():
            raise MissingFileError(f"no {file}: expected {path.name} and {card.name} in one folder")
    try:
        data, about = path.read_bytes(), dict(json.loads(card.read_text(encoding="utf-8")))
        if sha256(data) != about.pop("sha256"):
            raise InputError(f"{path} is not what {card.name} describes: damaged or replaced; make it again")
        return load(data), about
    except (OSError, LookupError, TypeError, ValueError, SafetensorError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{card} or {path.name} is damaged ({error}): make them again") from error


def sha256(content: bytes | Path) -> str:
    """The sha256 of bytes or of a file, 64 hexadecimal digits."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def slug(text: str) -> str:
    """Name a file in lower-case letters, digits and hyphens; texts that differ have names that differ."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return plain if plain == text[:80] else f"{plain[:80]}-{sha256(text.encode())[:6]}".strip("-")


def _flush(path: Path) -> None:
    """Wait until a file is on the disk."""
    handle = os.open(path, os.O_RDWR)  # Windows flushes no file that is open for reading only
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
