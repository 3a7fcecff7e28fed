"""Captions from files, tables, texts and the hub: read as they were written, one a row."""

from __future__ import annotations

import ast
import gzip
import io
import json
import re
import warnings
import zlib
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tada.errors import InputError, MissingFileError, unknown
from tada.minis.attributes import draw
from tada.minis.captions import caption
from tada.models import hub

Captions = pd.DataFrame | str | Path | Sequence[str] | None

MUSICCAPS = ("google/MusicCaps", "musiccaps-public.csv")
SYNTHETIC = 6000
"""Captions of synthetic music that are drawn when no others are given."""

COLUMN = re.compile(r"caption([ _-]?\d+)?", re.IGNORECASE)
IDS = ("ytid", "source_id", "id", "file_name")
JSON = (".json", ".jsonl", ".ndjson")
SEPARATORS = ",;\t|"
EXPECTED = "expected csv or tsv (captions in quotes), json, jsonl or Parquet with a column 'caption', text in UTF-8"


def read(captions: Captions = None) -> pd.DataFrame:
    """Read captions from a file, a table, texts or the hub.

    Args:
        captions: a file (csv with any usual separator, json, jsonl, Parquet, or text with a caption a line; gzipped or
            not), a table with a column ``caption``, or several such as ``caption_1``, texts, or the hub id
            ``"google/MusicCaps"``; None for synthetic captions.

    Returns:
        A table ``source_id, caption``: line breaks made spaces, empty captions left out, a list of captions in one cell
        taken apart. The id is the column ``ytid``, ``source_id``, ``id`` or ``file_name`` where there is one, else the
        number of the row, with ``-1``, ``-2`` and so on where a row has several.

    Raises:
        ValueError: no captions, no such column, or what cannot be read. OSError: no such file, or the hub cannot be
            reached.
    """
    if captions is None:
        return synthetic()
    where = str(captions) if isinstance(captions, str | Path) else "captions"
    table = _file(captions) if isinstance(captions, str | Path) else captions
    if not isinstance(table, pd.DataFrame):
        if isinstance(table, Mapping | bytes) or not np.iterable(table):
            raise InputError(
                f"got captions of type {type(table).__name__}; expected a file, a table, or a list of texts"
            )
        table = pd.DataFrame({"caption": pd.Series(list(table), dtype=object)})
    rows = list(_rows(table, where))
    if not rows:
        raise InputError(f"{where}: {len(table)} rows without any caption; expected one text a row")
    return pd.DataFrame(rows, columns=["source_id", "caption"])


@lru_cache(maxsize=2)
def synthetic(count: int = SYNTHETIC) -> pd.DataFrame:
    """Draw captions of synthetic music, the same each time, as a table ``source_id, caption``."""
    texts = [caption(draw(seed), seed).text for seed in range(count)]
    return pd.DataFrame({"source_id": [f"synthetic-{seed}" for seed in range(count)], "caption": texts})


# ---- rows of a table


def _rows(table: pd.DataFrame, where: str) -> Iterator[tuple[str, str]]:
    columns = [place for place, name in enumerate(table) if COLUMN.fullmatch(str(name).strip())]
    if not columns:
        hint = "Captions are read from a column of that name."
        raise InputError(f"{where}: {unknown('column', 'caption', table.columns, hint)}")
    ids = next((list(table[name]) for name in IDS if name in table), range(len(table)))
    for row, cells in enumerate(zip(*(table.iloc[:, place] for place in columns), strict=True)):
        texts = [text for cell in cells for text in _texts(cell, f"{where}, row {row}")]
        for number, text in enumerate(texts, start=1):
            yield f"{ids[row]}-{number}" if len(texts) > 1 else str(ids[row]), text


def _texts(cell: Any, where: str) -> list[str]:
    """The captions in a cell: a text, a list of them (also one that was written as text), or none."""
    if isinstance(cell, str) and re.match(r"\[\s*['\"]", cell) and cell.rstrip().endswith("]"):
        try:
            cell = ast.literal_eval(cell.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            cell = [cell]
    if isinstance(cell, list | tuple | np.ndarray):
        return [text for item in cell for text in ([_clean(item)] if isinstance(item, str) else _texts(item, where))]
    if cell is None or cell is pd.NA or cell != cell:
        return []
    if not isinstance(cell, str):
        raise InputError(f"{where}: got {cell!r}; expected text")
    return [_clean(cell)] if cell.strip() else []


def _clean(text: str) -> str:
    """Make line breaks spaces, and a question mark of half a character, which no file can hold."""
    return re.sub(r"\r\n|\r|\n", " ", text).encode(errors="replace").decode()


# ---- files


def _file(path: str | Path) -> pd.DataFrame | list[Any]:
    name, file = MUSICCAPS
    if str(path) == name:
        from huggingface_hub import hf_hub_download

        path = hub.folder(name, partial(hf_hub_download, filename=file, repo_type="dataset"), file, kind="dataset")
    path = Path(path).expanduser()
    if not path.is_file():
        raise MissingFileError(f"no file {path} (from {Path.cwd()}); {EXPECTED}, or {name!r}")
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
        return _parsed(content, {suffix.lower() for suffix in path.suffixes})
    except (ValueError, OSError, EOFError, zlib.error, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {str(error).splitlines()[0]}; {EXPECTED}") from error


def _parsed(content: bytes, suffixes: set[str]) -> pd.DataFrame | list[Any]:
    """Read a table or texts, by what the content is; suffixes tell only where that is open."""
    if content[:4] == b"PAR1":
        return pd.read_parquet(io.BytesIO(content))
    if content[:2] == b"PK":
        raise InputError("it is a zip or Excel file, save it as csv")
    text = _decoded(content)
    if not text.strip():
        raise InputError("it is empty")
    if suffixes & set(JSON) or text.lstrip()[0] in "[{":
        try:
            return _from_json(text)
        except ValueError:
            if suffixes & set(JSON):
                raise
    return _from_csv(text, ".txt" in suffixes)


def _decoded(content: bytes) -> str:
    """Text in UTF-8, or UTF-16 with or without a mark, else in the old encoding of Windows, with a warning."""
    if content.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        return content.decode("utf-16")
    if b"\0" in content:
        little = content[1::2].count(0) > content[::2].count(0)
        return content.decode("utf-16-le" if little else "utf-16-be")
    try:
        return content.removeprefix(BOM_UTF8).decode()
    except UnicodeDecodeError:
        text = content.decode("cp1252")
    warnings.warn("captions are not in UTF-8: they were read as Windows-1252 (Western European)", stacklevel=2)
    return text


def _from_json(text: str) -> pd.DataFrame | list[Any]:
    """Records or texts in a list or one a line, or a table by columns."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = [json.loads(line) for line in text.split("\n") if line.strip()]
    if isinstance(value, dict):
        by_columns = all(isinstance(column, list | dict) for column in value.values())
        return pd.DataFrame(value if by_columns else [value])
    if not isinstance(value, list):
        raise InputError(f"it holds a {type(value).__name__}, no list")
    return pd.DataFrame(value) if value and all(isinstance(item, dict) for item in value) else value


def _from_csv(text: str, lines: bool) -> pd.DataFrame | list[str]:
    """Rows with a header; without one, lines of text where ``lines`` allows it."""
    told = re.match(r"sep=(.)(?:\r\n|\r|\n)", text)  # Excel's way to name its separator
    text = text[told.end() :] if told else text
    first = re.split(r"[\r\n]", text, maxsplit=1)[0]
    headers = {mark: [name.strip(' "') for name in first.split(mark)] for mark in SEPARATORS}
    fitting = [mark for mark, names in headers.items() if any(map(COLUMN.fullmatch, names))]
    if not fitting and lines:
        return re.split(r"[\r\n]+", text)
    mark = fitting[0] if fitting else max(SEPARATORS, key=lambda separator: len(headers[separator]))
    mark = "\x1f" if len(headers[mark]) == 1 else mark  # a single column needs no separator
    table = pd.read_csv(io.StringIO(text, newline=""), sep=mark, header=None, dtype=str, keep_default_na=False)
    return table[1:].set_axis([str(name).strip() for name in table.iloc[0]], axis=1)
