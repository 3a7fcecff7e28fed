"""Table 1 for readers: text, LaTeX and HTML of its cells, and the files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tada import escape
from tada.errors import check_name
from tada.evaluation.results import ARM
from tada.io import atomic_write, write_table
from tada.metrics.preservation import AXES

BLOCKS = {
    "Preservation": ("lpaps", *AXES, "fad", "kad"),
    "Alignment": ("delta",),
    "Smoothness": ("smoothness",),
    "Area under alignment over LPAPS": ("auc",),
    "Quality": ("fad-renders", "kad-renders", "CE", "CU", "PC", "PQ"),
}
"""Groups of Table 1's columns -> how their names begin."""


def blocks(cells: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Divide the cells of ``tada.evaluation.table`` into the groups of Table 1."""
    first = cells["column"].str.split().str[0]
    return {name: cells[first.isin(starts)] for name, starts in BLOCKS.items() if first.isin(starts).any()}


def layout(cells: pd.DataFrame, style: str = "text", digits: int = 3, intervals: bool = True) -> pd.DataFrame:
    """Lay the cells of ``tada.evaluation.table`` out as Table 1.

    Args:
        style: ``"text"`` marks the best row of a concept and rows that cannot be told from it with ``*``, ``"latex"``
            and ``"html"`` print them bold.

    Returns:
        Text cells, rows ``(checkpoint, concept, method, layers)``, a column for each of Table 1's; what was not
        measured reads ``not measured``.

    Raises:
        KeyError: an unknown style.
    """
    marks = {"text": "{}*", "latex": r"\textbf{{{}}}", "html": "<b>{}</b>"}
    plain: dict[str, Callable[[object], str]] = {"text": str, "latex": escape.latex, "html": escape.html}
    check_name("style", style, marks)

    def show(cell: Any) -> str:
        if np.isnan(cell.value):
            return "not measured"
        number = f"{cell.value:.{digits}f}"
        number = marks[style].format(number) if cell.best or cell.tied else number
        return f"{number} [{cell.low:.{digits}f}, {cell.high:.{digits}f}]" if intervals else number

    rows = ["checkpoint", "concept", *ARM]
    names = {name: [plain[style](cell) for cell in cells[name]] for name in (*rows, "column")}
    shown = cells.assign(**names, text=[show(cell) for cell in cells.itertuples(index=False)])
    wide = shown.pivot(index=rows, columns="column", values="text").fillna("–")
    order = shown[rows].drop_duplicates()
    return wide.loc[[tuple(row) for row in order.to_numpy()], shown["column"].drop_duplicates().to_list()]


def latex(cells: pd.DataFrame, digits: int = 3) -> str:
    """Write Table 1 as a LaTeX ``tabular``, best and tied rows bold, without intervals."""
    wide = layout(cells, "latex", digits, intervals=False).reset_index()
    lines = [" & ".join(map(str, row)) + r" \\" for row in [wide.columns, *wide.to_numpy()]]
    lines[0] += r" \hline"
    return "\n".join([rf"\begin{{tabular}}{{{'l' * 4}{'r' * (wide.shape[1] - 4)}}}", *lines, r"\end{tabular}", ""])


def write(cells: pd.DataFrame, place: str | Path) -> list[Path]:
    """Write the table as ``table.csv`` (all cells with intervals), ``table.tex`` and ``table.html``."""
    place = Path(place)
    page = layout(cells, "html").reset_index().to_html(index=False, escape=False, border=0)
    return [
        write_table(place / "table.csv", cells),
        atomic_write(place / "table.tex", latex(cells)),
        atomic_write(place / "table.html", page + "\n"),
    ]
