"""Tables of a page, in the look of the book; what is missing is a dash."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
from IPython.display import HTML

from tada import escape


def table(frame: pd.DataFrame, formats: Mapping[str, Any] | None = None) -> Any:
    """Style a table in the look of the book; ``formats`` are column -> ``"{:.2f}"`` and the like."""
    styled = frame.style.hide(axis="index").format(dict(formats or {}), na_rep="–", escape="html")
    return styled.format_index(escape="html", axis=1).set_table_attributes('class="dataframe tada-table"')


def fact_table(facts: Mapping[str, Any]) -> Any:
    """Style facts, one a row: what it is, and what it is here."""
    return table(pd.DataFrame({"what": facts.keys(), "here": [str(value) for value in facts.values()]}))


def plain_table(frame: pd.DataFrame, escape: bool = True) -> str:
    """Write a large table as light HTML, without styles of single cells; what is missing is a dash."""
    unnamed = frame.rename_axis(columns=None)
    return unnamed.to_html(index=False, border=0, na_rep="–", classes="tada-table", escape=escape)


def wide_table(frame: pd.DataFrame, label: str) -> str:
    """Write a table of cells that are HTML, in a frame that scrolls where it is too wide, by keyboard, too."""
    attributes = f"class='tada-scroll' role='group' aria-label='{escape.html(label)}' tabindex='0'"
    return f"<div {attributes}>{plain_table(frame, escape=False)}</div>"


def folded(frame: pd.DataFrame | str | HTML, summary: str) -> HTML:
    """Fold a large table, text as it stands, or HTML, behind a line that opens it."""
    if isinstance(frame, HTML):
        body = frame.data
    else:
        body = f"<pre class='tada-scroll'>{escape.html(frame)}</pre>" if isinstance(frame, str) else plain_table(frame)
    return HTML(f"<details><summary>{escape.html(summary)}</summary>{body}</details>")


def cross_texts(rows: pd.DataFrame, texts: Iterable[str], down: str | list[str], across: str) -> pd.DataFrame:
    """Lay out a text a row as a table, the values of one or more columns down and of another across, as they come."""
    wide = rows.assign(text=list(texts)).pivot_table("text", down, across, "first", sort=False)
    return wide.reset_index()


def interval_texts(
    rows: pd.DataFrame, value: str = "impact", low: str = "low", high: str = "high", form: str = ".2f"
) -> list[str]:
    """Write every row as ``0.42 [0.30, 0.55]``, or ``unknown`` where its column ``known`` says so.

    ``value, low, high`` are the names of the columns of an estimate and the ends of its interval.
    """
    known = rows["known"] if "known" in rows else [True] * len(rows)
    cells = zip(rows[value], rows[low], rows[high], known, strict=True)
    return [f"{middle:{form}} [{a:{form}}, {b:{form}}]" if sure else "unknown" for middle, a, b, sure in cells]
