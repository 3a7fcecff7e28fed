"""What figures share: colours that colour-blind readers tell apart, panels, lines with bands, intervals."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
"""Okabe and Ito's colours."""

OURS, THEIRS, QUIET = OKABE_ITO[0], OKABE_ITO[5], "0.6"
DIVERGING, SEQUENTIAL = "RdBu_r", "cividis"
UNKNOWN = {"facecolor": "0.93", "edgecolor": "0.55", "hatch": "////", "linewidth": 0.0}
"""How unknown values are drawn."""

WIDTH = 4.6
"""Width of a figure in inches: legible on a telephone."""


def style() -> None:
    """Set the look of the figures that follow, and silence tokenizers' remarks on texts that they cut."""
    plt.rcParams.update({"figure.dpi": 200, "font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    plt.rcParams["text.parse_math"] = False  # names of others may hold dollars
    os.environ |= {"TRANSFORMERS_VERBOSITY": "error", "DIFFUSERS_VERBOSITY": "error"}  # workers inherit these


def panels(count: int, height: float, sharex: bool = True) -> tuple[Figure, list[Axes]]:
    """Make a figure of panels, one below the other, each so many inches high; they may share the horizontal axis."""
    size = (WIDTH, height * count + (0.4 if count > 1 else 0.0))
    figure, axes = plt.subplots(count, 1, figsize=size, sharex=sharex, squeeze=False, layout="constrained")
    return figure, list(axes[:, 0])


def set_heading(axis: Axes, title: str, colour: str = "black", note: str = "") -> None:
    """Write a title to the left above a panel, and in small grey letters below it a note."""
    axis.set_title(title, loc="left", fontsize=10, fontweight="bold", color=colour, pad=21 if note else None)
    if note:
        axis.annotate(note, (0, 1), (0, 8), "axes fraction", "offset points", fontsize=8.5, color="0.35")


def line_with_band(axis: Axes, x: Any, values: pd.DataFrame, colour: str, label: str) -> None:
    """Draw a line and the band around it: columns of values, its lower and its upper edge, over ``x``."""
    middle, low, high = (values[name] for name in values)
    axis.plot(x, middle, "o-", color=colour, markersize=3, label=label)
    axis.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)


def intervals(rows: pd.DataFrame, labels: Sequence[str], title: str, axis_label: str) -> Figure:
    """Draw intervals (``value, low, high, known``), a row each; what is unknown spans the whole width in grey."""
    figure, (axis,) = panels(1, 0.21 * len(rows) + 0.9)
    for place, row in enumerate(named_rows(rows)):
        if row.known:
            axis.plot([row.low, row.high], [place, place], color=OURS, linewidth=1.6)
            axis.plot(row.value, place, "o", color=OURS, markersize=4)
        else:
            axis.axhspan(place - 0.35, place + 0.35, **UNKNOWN)  # type: ignore[arg-type]
    axis.axvline(0, color="0.35", linewidth=0.6)
    axis.set_yticks(range(len(rows)), labels, fontsize=8.5)
    axis.set(ylim=(max(len(rows), 1) - 0.5, -0.5), xlabel=axis_label)
    set_heading(axis, title)
    return figure


def named_rows(frame: pd.DataFrame) -> Any:
    """Iterate over rows as named tuples."""
    return frame.itertuples()
