"""Figures that pages share. Colours are told apart by colour-blind readers; what is unknown is drawn as unknown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tada.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
"""Okabe and Ito's colours."""

OURS, THEIRS, QUIET = OKABE_ITO[0], OKABE_ITO[5], "0.6"
MAP = "RdBu_r"
LIMIT = 1.0
"""Impacts beyond this, either way, have the colour of the end of the scale."""

UNKNOWN = {"facecolor": "0.93", "edgecolor": "0.55", "hatch": "////", "linewidth": 0.0}
WIDTH = 4.6
"""Of a figure, in inches: legible on a telephone."""


def style() -> None:
    """The look of the book's figures, for all that follow."""
    import matplotlib.pyplot as plt

    plt.rcParams.update({"figure.dpi": 200, "font.size": 10, "axes.spines.top": False, "axes.spines.right": False})


def heatmap(impacts: pd.DataFrame, layers: int | None = None, title: str = "") -> Figure:
    """Layers by concepts. A cell has three strips: the lower end of the interval, the impact, the upper end.

    A cell of one colour is certain; one that runs from blue to red is not. Hatched cells are unknown: the full swap
    had no effect that could be told from 0.

    Args:
        impacts: of single layers under ``patch``, one checkpoint and metric, as from ``tada.patching.impact``; with a
            column ``functional``, as from ``tada.patching.functional``, those cells are framed.
        layers: how many the model has; None for as many as there are.
        title: of the figure.

    Raises:
        ValueError: no single layer, or several checkpoints or metrics in one table.
    """
    import matplotlib.pyplot as plt

    cells = _single(impacts)
    names = list(dict.fromkeys(cells["concept"]))
    count = layers or int(cells["layer"].max()) + 1
    figure, axis = plt.subplots(figsize=(WIDTH, 0.17 * count + 1.7), layout="constrained")
    grid = np.full((count, 3 * len(names)), np.nan)
    for row in _rows(cells):
        column = names.index(row.concept)
        if row.known:
            grid[row.layer, 3 * column : 3 * column + 3] = row.low, row.impact, row.high
        else:
            axis.add_patch(plt.Rectangle((column - 0.5, row.layer - 0.5), 1, 1, **UNKNOWN))  # type: ignore[arg-type]
    extent = (-0.5, len(names) - 0.5, count - 0.5, -0.5)
    image = axis.imshow(grid, cmap=MAP, vmin=-LIMIT, vmax=LIMIT, aspect="auto", extent=extent, interpolation="nearest")
    _frames(axis, cells, names)
    _grid(axis, names, count)
    _heading(axis, title)
    bar = figure.colorbar(image, ax=axis, orientation="horizontal", fraction=0.05, pad=0.01, aspect=34, extend="both")
    bar.set_label("impact (eq. 9): lower end | estimate | upper end", fontsize=8.5)
    bar.set_ticks([-LIMIT, -LIMIT / 2, 0, LIMIT / 2, LIMIT])
    return figure


def _frames(axis: Axes, cells: pd.DataFrame, names: Sequence[str]) -> None:
    """A frame around functional cells."""
    from matplotlib.patches import Rectangle

    if "functional" in cells:
        for row in _rows(cells[cells["functional"]]):
            place = (names.index(row.concept) - 0.5, row.layer - 0.5)
            axis.add_patch(Rectangle(place, 1, 1, fill=False, edgecolor="black", linewidth=1.4, zorder=4))


def _grid(axis: Axes, names: Sequence[str], count: int) -> None:
    axis.set_xticks(range(len(names)), names, rotation=90, fontsize=8.5)
    axis.set_yticks(range(0, count, 1 if count <= 32 else 4))
    axis.tick_params(axis="y", labelsize=7.5 if count <= 32 else 8.5, length=2)
    axis.tick_params(axis="x", length=0)
    axis.set(xlim=(-0.5, len(names) - 0.5), ylim=(count - 0.5, -0.5), ylabel="layer index")
    for edge in np.arange(0.5, len(names) - 1):
        axis.axvline(edge, color="white", linewidth=1.6)
    for edge in np.arange(0.5, count - 1):
        axis.axhline(edge, color="white", linewidth=0.5)
    axis.spines[:].set_visible(False)


def averages(spread: pd.DataFrame, published: pd.DataFrame | None = None, title: str = "") -> Figure:
    """The mean impact of each layer over concepts with its range, and below it what was published for another model.

    Two panels with axes of their own, since they show different models.

    Args:
        spread: of single layers, as from ``tada.patching.aggregate``; a layer that is unknown for all concepts is
            marked with a cross.
        published: ``layer, impact, block`` as from ``tada.experiments.localisation.published``, one model; None for one
            panel.
        title: of the upper panel.
    """
    import matplotlib.pyplot as plt

    rows = spread[(spread["method"] == "patch") & spread["layers"].str.fullmatch(r"\d+")]
    panels = 1 if published is None else 2
    figure, axes = plt.subplots(panels, 1, figsize=(WIDTH, 2.1 * panels + 0.2), squeeze=False, layout="constrained")
    above = axes[0, 0]
    known = rows[rows["concepts"] > 0]
    place = known["layers"].astype(int)
    above.bar(place, known["mean"], width=0.8, color=OURS)
    above.vlines(place, known["low"], known["high"], color="black", linewidth=0.8)
    nowhere = rows.loc[rows["concepts"] == 0, "layers"].astype(int)
    above.plot(nowhere, np.zeros(len(nowhere)), "x", color=QUIET, markersize=4, linestyle="none")
    above.set(xlabel="layer index", ylabel="mean impact", xlim=(-0.7, rows["layers"].astype(int).max() + 0.7))
    above.axhline(0, color="0.35", linewidth=0.6)
    _heading(above, title)
    if published is not None:
        _published(axes[1, 0], published)
    return figure


def _published(axis: Axes, rows: pd.DataFrame) -> None:
    """Published values: outlined bars in another colour; those of whole blocks hatched."""
    for block, part in rows.groupby("block"):
        hatch = "////" if block else None
        axis.bar(part["layer"], part["impact"], width=0.8, facecolor="white", edgecolor=THEIRS, hatch=hatch)
    axis.set(xlabel="layer index of the public model", ylabel="mean impact", xlim=(-0.7, rows["layer"].max() + 0.7))
    _heading(axis, "Published for the public model, not measured here", THEIRS)


def cumulative(curves: pd.DataFrame, title: str = "") -> Figure:
    """Impact of layer sets that grow, with the range over concepts.

    Args:
        curves: one row a concept and set: ``concept, size`` (number of layers), ``added`` (the layer that the set has
            more than the one before), ``impact, known``; as from ``tada.experiments.localisation.grown``.
        title: of the figure.
    """
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(WIDTH, 3.0), layout="constrained")
    known = curves[curves["known"]].sort_values("size")
    for _, part in known.groupby("concept", sort=False):
        axis.plot(part["size"], part["impact"], color=QUIET, linewidth=0.8, zorder=1)
    means = known.groupby("size")["impact"].mean()
    axis.plot(means.index, means, "o-", color=OURS, linewidth=2, markersize=4, label="mean of the concepts")
    axis.plot([], [], color=QUIET, linewidth=0.8, label="one concept")
    for level in (0, 1):
        axis.axhline(level, color="0.35", linewidth=0.6, linestyle=":" if level else "-")
    added = curves.drop_duplicates("size").sort_values("size")
    axis.set_xticks(added["size"], [f"{'+' if place else ''}{layer}" for place, layer in enumerate(added["added"])])
    axis.set(xlabel="layers routed together, one more each time", ylabel="impact of the set")
    axis.legend(frameon=False, fontsize=8.5, loc="best")
    _heading(axis, title)
    return figure


def intervals(rows: pd.DataFrame, label: Callable[[Any], str], title: str = "", axis_label: str = "") -> Figure:
    """Estimates with their intervals, one below the other; what is unknown spans the whole width in grey.

    Args:
        rows: ``impact, low, high, known``.
        label: names a row, given as a named tuple.
        title: of the figure.
        axis_label: of the values.
    """
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(WIDTH, 0.21 * len(rows) + 0.9), layout="constrained")
    for place, row in enumerate(_rows(rows)):
        if row.known:
            axis.plot([row.low, row.high], [place, place], color=OURS, linewidth=1.6)
            axis.plot(row.impact, place, "o", color=OURS, markersize=4)
        else:
            axis.axhspan(place - 0.35, place + 0.35, **UNKNOWN)  # type: ignore[arg-type]
    axis.axvline(0, color="0.35", linewidth=0.6)
    axis.set_yticks(range(len(rows)), [label(row) for row in _rows(rows)], fontsize=8.5)
    axis.set(ylim=(len(rows) - 0.5, -0.5), xlabel=axis_label)
    _heading(axis, title)
    return figure


def table(frame: pd.DataFrame, formats: Mapping[str, Any] | None = None) -> Any:
    """A table in the look of the book.

    Args:
        frame: what to show.
        formats: column -> format such as ``"{:.2f}"``; what is missing is a dash.
    """
    styled = frame.style.hide(axis="index").format(dict(formats or {}), na_rep="–", escape="html")
    return styled.set_table_attributes('class="dataframe tada-table"')


def plain(frame: pd.DataFrame) -> str:
    """A large table as light HTML, without styles of single cells; what is missing is a dash."""
    return frame.rename_axis(columns=None).to_html(index=False, border=0, na_rep="–", classes="tada-table")


def interval_text(rows: pd.DataFrame, what: str = "impact") -> list[str]:
    """``.42 [.30, .55]`` for each row of impacts, ``unknown`` where they are.

    Args:
        rows: as from ``tada.patching.impact``.
        what: ``impact``, or ``margin`` for controls.
    """
    low, high = ("low", "high") if what == "impact" else (f"{what}_low", f"{what}_high")
    cells = zip(rows[what], rows[low], rows[high], rows["known"], strict=True)
    return [f"{value:.2f} [{least:.2f}, {most:.2f}]" if known else "unknown" for value, least, most, known in cells]


def _single(impacts: pd.DataFrame) -> pd.DataFrame:
    rows = impacts[(impacts["method"] == "patch") & impacts["layers"].str.fullmatch(r"\d+")]
    if rows.empty:
        raise InputError("got no impacts of single layers; expected those of every layer on its own")
    for name in ("checkpoint", "metric"):
        _one(name, rows[name].unique())
    return rows.assign(layer=rows["layers"].astype(int))


def _one(name: str, values: Iterable[Any]) -> None:
    given = list(values)
    if len(given) > 1:
        raise InputError(f"got {len(given)} values of {name} ({', '.join(map(str, given))}); expected the rows of one")


def _heading(axis: Axes, title: str, colour: str = "black") -> None:
    if title:
        axis.set_title(title, loc="left", fontsize=10, fontweight="bold", color=colour)


def _rows(frame: pd.DataFrame) -> Iterator[Any]:
    """The rows as named tuples."""
    yield from frame.itertuples()
