"""Text of others on pages: one function each for what HTML, Markdown, LaTeX and JSON would take for their own."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from html import escape
from json import dumps
from typing import Any

LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
LATEX |= {letter: f"\\{letter}" for letter in "&%$#_{}"}


def html(value: object) -> str:
    """Escape a value for HTML, as text or as a quoted attribute."""
    return escape(str(value), quote=True)


def markdown(value: object) -> str:
    """Escape a value for a line of Markdown, or a cell of its tables."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(str(value).split()))


def code(value: object) -> str:
    r"""Write a value as code in a cell of a Markdown table; line breaks are shown as ``\n``."""
    text = str(value).replace("\r", r"\r").replace("\n", r"\n").replace("|", r"\|")
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    space = " " if text[:1] == "`" or text[-1:] == "`" or not text.strip() else ""
    return f"{fence}{space}{text}{space}{fence}"


def latex(value: object) -> str:
    """Escape a value for LaTeX."""
    return "".join(LATEX.get(letter, letter) for letter in " ".join(str(value).split()))


def json(value: Any, indent: int | None = None) -> str:
    """Write a value as JSON; numbers that are not finite, which JSON lacks, become null."""
    return dumps(_finite(value), indent=indent, ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
