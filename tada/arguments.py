"""Numbers and texts as callers give them, from any library; what is none is refused in words.

``True``, ``"3"`` and 3.0 are no whole numbers; bounds are included.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from operator import index
from typing import Any

from tada.errors import InputError, check_name

LARGEST_SEED = 2**64 - 1
"""The largest seed that a torch generator takes."""


def integer(name: str, got: Any, least: int, most: int | None = None) -> int:
    """Read a whole number: Python's, numpy's, torch's, or an array of one without axes."""
    value = _index(got)
    if value is None or value < least or (most is not None and value > most):
        raise _refusal(name, got, f"a whole number, {_range(least, most)}")
    return value


def integers(name: str, got: Any, least: int, most: int | None = None) -> list[int]:
    """Read one or more whole numbers, given alone or as a list, an array or a column."""
    items = [_index(item) for item in listed(got)]
    if not items or any(item is None or item < least or (most is not None and item > most) for item in items):
        raise _refusal(name, got, f"a whole number or a list of them, {_range(least, most)}")
    return [item for item in items if item is not None]


def seeds(got: Any) -> list[int]:
    """Read one or more seeds, 0 to 2^64 - 1."""
    return integers("seeds", got, 0, LARGEST_SEED)


Lyrics = str | Sequence[str | None] | Mapping[str, str] | None

Seeds = int | Sequence[int] | Sequence[Sequence[int]]
"""Of the first row, one or several that follow each other, such as ``range(2)``: the next row has the next ones, so
that no two rows share noise. Or a list of seeds for each row, as it is."""


def own_seeds(got: Seeds, rows: int) -> list[list[int]]:
    """Give every row (a prompt, or a pair of prompts) seeds of its own.

    Args:
        got: see :data:`Seeds`; ``[[10]] * rows`` has all rows share the noise of seed 10.
        rows: how many.

    Returns:
        The seeds of each row.

    Raises:
        InputError: no seeds, seeds of a row twice, or seeds of the first row that do not follow each other.
    """
    items = listed(got)
    if items and (_index(items[0]) is None or getattr(items[0], "ndim", 0) > 0):
        own = [seeds(row) for row in items]
    else:
        first = seeds(got)
        if first != list(range(first[0], first[0] + len(first))):
            raise InputError(
                f"got seeds {first}; expected an int, or seeds of the first row that follow each other such as "
                "range(2); or a list of seeds for each row"
            )
        own = [[seed + row * len(first) for seed in first] for row in range(rows)]
    if len(own) != rows or any(len(set(row)) < len(row) for row in own):
        raise InputError(f"got seeds of {len(own)} rows for {rows}; expected some for each row, none of them twice")
    return own


def number(name: str, got: Any, least: float = -math.inf, most: float = math.inf) -> float:
    """Read a finite number, an integer or a float of any library."""
    try:
        plain = not isinstance(got, bool | str | bytes) and getattr(got, "ndim", 0) == 0
        value = float(got) if plain else math.nan
    except (TypeError, ValueError, OverflowError, RuntimeError):
        value = math.nan
    if not (math.isfinite(value) and least <= value <= most):
        raise _refusal(name, got, f"a finite number {_range(least, most)}")
    return value


def text(name: str, got: Any) -> str:
    """Read a text; half a character, which no file and no model can hold, is refused."""
    if not isinstance(got, str):
        raise _refusal(name, got, "text")
    if any("\ud800" <= letter <= "\udfff" for letter in got):
        raise _refusal(name, got, "text without halves of characters (surrogates)")
    return got


def texts(name: str, got: Any) -> list[str]:
    """Read one text or more."""
    items = listed(got)
    if not items:
        raise InputError(f"got no {name}; expected one or more")
    return [text(name, item) for item in items]


def per_row(name: str, got: Any, rows: int) -> list[str | None]:
    """Read texts or None, one for all rows or one per row."""
    items = [got] * rows if got is None or isinstance(got, str) else listed(got)
    if len(items) != rows:
        raise InputError(f"got {len(items)} of {name} for {rows} prompts; expected one for all or one per prompt")
    return [item if item is None else text(name, item) for item in items]


def sung(lyrics: Lyrics, prompts: Sequence[str]) -> list[str | None]:
    """Give each prompt its lyrics; ValueError for another number, KeyError for a prompt without."""
    if not isinstance(lyrics, Mapping):
        return per_row("lyrics", lyrics, len(prompts))
    for prompt in prompts:
        check_name("prompt with lyrics", prompt, lyrics)
    return [lyrics[prompt] for prompt in prompts]


def listed(got: Any) -> list[Any]:
    """List the items of a list, an array or a column; what is none of these, or a text, is one item."""
    try:
        return [got] if isinstance(got, str | bytes) else list(got)
    except TypeError:
        return [got]


def _index(got: Any) -> int | None:
    try:
        return None if isinstance(got, bool) else index(got)
    except (TypeError, ValueError, RuntimeError):
        return None


def _range(least: float, most: float | None) -> str:
    low, high = (f"{bound:.6g}" if isinstance(bound, float) else bound for bound in (least, most))
    return "of any size" if low == "-inf" else f"{low} or more" if high in (None, "inf") else f"{low} to {high}"


def _refusal(name: str, got: Any, expected: str) -> InputError:
    said = " ".join(repr(got).encode(errors="backslashreplace").decode().split())
    said = said if len(said) <= 80 else f"{said[:77]}..."
    return InputError(f"got {name}={said}; expected {expected}")
