"""Figures and tables of localisation: impacts by layer and concept, verdicts, controls; what is unknown looks so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tada.display import plots
from tada.display.tables import cross_texts, interval_texts, table
from tada.errors import InputError
from tada.models.base import Model
from tada.models.hub import describe_choice
from tada.patching import Functional
from tada.stats import MIN_UNITS

CHECKPOINTS = {
    "mini": "a small model of this architecture, trained on synthetic music",
    "tiny": "random weights: what it plays is noise, and no number on this page says anything about music",
    "public": "the paper's public model",
}
"""Checkpoints by name, in words; any other is the reader's own."""


def impact_map(impacts: pd.DataFrame, layers: int, title: str) -> Figure:
    """Draw layers by concepts; a cell has three strips: the lower end of the interval, the impact, the upper end.

    A cell of one colour is certain; one that runs from blue to red is not. Hatched cells are unknown: the full swap
    had no effect that could be told from 0. Impacts beyond 1, either way, have the colour of 1.

    Args:
        impacts: as from ``tada.patching.impact``, of one checkpoint and metric; cells that are true in a column
            ``functional``, as from ``tada.patching.functional``, are framed.
        layers: how many the model has.
        title: of the figure.

    Raises:
        InputError: no single layer, or several checkpoints or metrics in one table.
    """
    cells = _single_layers(impacts)
    names = list(dict.fromkeys(cells["concept"]))
    figure, (axis,) = plots.panels(1, 0.17 * layers + 1.7)
    strips = np.full((layers, 3 * len(names)), np.nan)
    for row in plots.named_rows(cells[cells["known"]]):
        strips[row.layer, 3 * names.index(row.concept) :][:3] = row.low, row.impact, row.high
    bar = {"orientation": "horizontal", "fraction": 0.05, "pad": 0.01, "aspect": 34, "extend": "both"}
    bar |= {"label": "impact (eq. 9): lower end | estimate | upper end", "ticks": [-1, -0.5, 0, 0.5, 1]}
    sns.heatmap(strips, cmap=plots.DIVERGING, vmin=-1, vmax=1, cbar_kws=bar, ax=axis)
    framed = cells["functional"] if "functional" in cells else np.zeros(len(cells), bool)
    for drawn, looks in ((~cells["known"], plots.UNKNOWN), (framed, {"fill": False, "linewidth": 1.4, "zorder": 4})):
        for row in plots.named_rows(cells[drawn]):
            axis.add_patch(Rectangle((3 * names.index(row.concept), row.layer), 3, 1, **looks))
    _label_map(axis, names, layers)
    plots.set_heading(axis, title)
    return figure


def _label_map(axis: Axes, names: Sequence[str], count: int) -> None:
    """Name concepts and layers of an impact map, and part its cells by white lines."""
    every = 1 if count <= 32 else 4
    axis.set_xticks(3 * np.arange(len(names)) + 1.5, names, rotation=90, fontsize=8.5)
    axis.set_yticks(np.arange(0, count, every) + 0.5, map(str, range(0, count, every)), rotation=0)
    axis.tick_params(axis="y", labelsize=7.5 if every == 1 else 8.5, length=2)
    axis.tick_params(axis="x", length=0)
    axis.set_ylabel("layer index")
    axis.vlines(3 * np.arange(1, len(names)), 0, count, color="white", linewidth=1.6)
    axis.hlines(np.arange(1, count), 0, 3 * len(names), color="white", linewidth=0.5)


def metric_table(found: pd.DataFrame) -> Any:
    """Tabulate the strongest layers by each metric, as from ``tada.experiments.localisation.compare_metrics``."""
    texts = [f"{layers}: {text}" for layers, text in zip(found["layers"], interval_texts(found), strict=True)]
    wide = cross_texts(found, texts, "concept", "metric")
    others = found[found["metric"] != found["metric"].iloc[0]].groupby("concept")["correlation"].min()
    wide["rank correlation"] = wide["concept"].map(others)
    return table(wide, {"rank correlation": "{:.2f}"})


def metric_line(found: pd.DataFrame) -> str:
    """Say in Markdown for which concepts metrics of the same clips differ about the strongest layer."""
    known = found[found.groupby("concept")["known"].transform("all")]
    named = known.groupby("concept", sort=False)["layers"].nunique()
    if named.empty:
        return "No concept's effect is heard by all of them: more pairs would tell."
    differ, same = ", ".join(map(str, named.index[named > 1])), (named == 1).sum()
    told = f"Of {len(named)} concepts whose effect all hear, they name the same strongest layer for {same}."
    return f"{told} They differ about {differ}: clips of those layers are worth hearing." if differ else told


def mean_impact_bars(spread: pd.DataFrame, published: pd.DataFrame, title: str) -> Figure:
    """Draw each layer's mean impact over concepts with its range, and below it what was published for another model.

    Args:
        spread: as from ``tada.patching.aggregate``; a layer that is unknown for all concepts is marked with a cross.
        published: ``layer, impact, block`` as from ``tada.experiments.localisation.published``, one model.
        title: of the upper panel.
    """
    rows = _single_layers(spread)
    figure, axes = plots.panels(2, 2.1, sharex=False)
    known, unknown = rows[rows["concepts"] > 0], rows.loc[rows["concepts"] == 0, "layer"]
    axes[0].bar(known["layer"], known["mean"], width=0.8, color=plots.OURS)
    axes[0].vlines(known["layer"], known["low"], known["high"], color="black", linewidth=0.8)
    axes[0].plot(unknown, np.zeros(len(unknown)), "x", color=plots.QUIET, markersize=4, linestyle="none")
    axes[0].set(xlabel="layer index", ylabel="mean impact", xlim=(-0.7, rows["layer"].max() + 0.7))
    axes[0].axhline(0, color="0.35", linewidth=0.6)
    plots.set_heading(axes[0], title)
    _draw_published(axes[1], published)
    return figure


def _draw_published(axis: Axes, rows: pd.DataFrame) -> None:
    """Draw published values as outlined bars in another colour; those of whole blocks hatched."""
    for block, part in rows.groupby("block"):
        hatch = "////" if block else None
        axis.bar(part["layer"], part["impact"], width=0.8, facecolor="white", edgecolor=plots.THEIRS, hatch=hatch)
    axis.set(xlabel="layer index of the public model", ylabel="mean impact", xlim=(-0.7, rows["layer"].max() + 0.7))
    plots.set_heading(axis, "Published for the public model, not measured here", plots.THEIRS)


def nested_set_curves(curves: pd.DataFrame, title: str) -> Figure:
    """Draw impacts of growing sets as from ``tada.experiments.localisation.cumulative_impacts``, and their mean."""
    figure, (axis,) = plots.panels(1, 3.0)
    known = curves[curves["known"]].sort_values("size")
    for _, part in known.groupby("concept", sort=False):
        axis.plot(part["size"], part["impact"], color=plots.QUIET, linewidth=0.8, zorder=1)
    means = known.groupby("size")["impact"].mean()
    axis.plot(means.index, means, "o-", color=plots.OURS, linewidth=2, markersize=4, label="mean of the concepts")
    axis.plot([], [], color=plots.QUIET, linewidth=0.8, label="one concept")
    for level in (0, 1):
        axis.axhline(level, color="0.35", linewidth=0.6, linestyle=":" if level else "-")
    added = curves.drop_duplicates("size").sort_values("size")
    axis.set_xticks(added["size"], [f"{'+' if place else ''}{layer}" for place, layer in enumerate(added["added"])])
    axis.set(xlabel="layers routed together, one more each time", ylabel="impact of the set")
    axis.legend(frameon=False, fontsize=8.5, loc="best")
    plots.set_heading(axis, title)
    return figure


def nested_set_table(curves: pd.DataFrame) -> Any:
    """Tabulate the impact of growing layer sets over the known concepts, as for :func:`nested_set_curves`."""
    sizes = curves[curves["known"]].groupby("size")
    shown = sizes["impact"].agg(["mean", "min", "max"]).rename(columns={"min": "least", "max": "most"})
    shown.insert(0, "added", sizes["added"].first())
    return table(shown.reset_index(), dict.fromkeys(["mean", "least", "most"], "{:.2f}"))


def verdict_table(called: pd.DataFrame) -> Any:
    """Tabulate the effect of the full swap and the functional layers, as from ``tada.patching.functional``."""
    rows = []
    for name, part in called.groupby("concept", sort=False):
        first = part.iloc[0]
        effect = f"{first['effect']:.3f} [{first['effect_low']:.3f}, {first['effect_high']:.3f}]"
        layers = "too few pairs" if first["pairs"] < MIN_UNITS else "unknown"
        if part["known"].any() and first["pairs"] >= MIN_UNITS:
            those = part[part["functional"]]
            texts = zip(those["layers"], interval_texts(those), strict=True)
            layers = ", ".join(f"{layer}: {text}" for layer, text in texts) or "none"
        rows.append((name, first["none"], first["all"], effect, layers))
    columns = ["concept", "none", "all", "effect", "functional layers and their impact"]
    return table(pd.DataFrame(rows, columns=columns), {"none": "{:.3f}", "all": "{:.3f}"})


def functional_table(chosen: Functional, model: Model) -> Any:
    """Tabulate the functional layers as from ``tada.patching.choose_functional``, and those that a model comes with."""
    found = {"chosen here": (chosen.layers, describe_choice(**chosen._asdict()))}
    found["of the checkpoint"] = (list(model.functional or ()), model.functional_origin)
    rows = [(name, ", ".join(map(str, layers)) or "none", origin) for name, (layers, origin) in found.items()]
    return table(pd.DataFrame(rows, columns=["functional layers", "the strongest first", "known from"]))


def pooled_table(impacts: pd.DataFrame) -> Any:
    """Tabulate mean impacts of layer sets over concepts, as from ``tada.patching.pooled_impact``."""
    return table(impacts[["layers", "concepts", "pairs"]].assign(impact=interval_texts(impacts)))


def depth_lines(pooled: pd.DataFrame) -> Figure:
    """Draw impacts as from ``tada.experiments.localisation.pooled_by_model`` over depth, a line an architecture."""
    figure, (axis,) = plots.panels(1, 2.6)
    for colour, (name, part) in zip(plots.OKABE_ITO, pooled.groupby("architecture", sort=False), strict=False):
        values = part.sort_values("depth").set_index("depth")[["impact", "low", "high"]]
        plots.line_with_band(axis, values.index, values, colour, f"{name}, {len(values)} layers")
    axis.legend(handles=list(axis.lines), fontsize=8.5, frameon=False)
    axis.axhline(0, color="0.35", linewidth=0.6)
    axis.set(xlabel="depth of the layer, from the first to the last", ylabel="mean impact")
    return figure


def control_values(impacts: pd.DataFrame) -> pd.DataFrame:
    """Lay out controls as from ``tada.experiments.localisation.add_controls``: impacts, and margins over each."""
    controls = impacts[impacts["method"] != "patch"]
    if controls.empty:
        return controls
    place, names = ["concept", "layers"], controls["method"].str.removeprefix("patch-")
    own = impacts[impacts["method"] == "patch"]
    own = own[place].assign(**{"the concept": interval_texts(own)})
    wide = cross_texts(controls.assign(control=names), interval_texts(controls), place, "control")
    over = interval_texts(controls, "margin", "margin_low", "margin_high")
    return own.merge(wide).merge(cross_texts(controls.assign(control="margin over " + names), over, place, "control"))


def impact_values(impacts: pd.DataFrame) -> pd.DataFrame:
    """Lay out impacts with their intervals as text, layers down and concepts across."""
    cells = _single_layers(impacts).sort_values("layer", kind="stable")
    return cross_texts(cells, interval_texts(cells), "layer", "concept")


def known_answer_table(found: pd.DataFrame) -> Any:
    """Tabulate known answers as from ``tada.experiments.plants.summarise``, with the number of plants."""
    texts = [f"{text} ({count})" for text, count in zip(interval_texts(found, "value"), found["plants"], strict=True)]
    rows = found.assign(controls=found["controls"].map({True: "with", False: "without"}))
    return table(cross_texts(rows, texts, ["pairs", "controls"], "measure"))


def _single_layers(impacts: pd.DataFrame) -> pd.DataFrame:
    """The impacts of layers on their own, with a column ``layer``."""
    rows = impacts[(impacts["method"] == "patch") & impacts["layers"].str.fullmatch(r"\d+")]
    if rows.empty:
        raise InputError("got no impacts of single layers; expected those of every layer on its own")
    for name in ("checkpoint", "metric"):
        given = rows[name].unique()
        if len(given) > 1:
            raise InputError(f"got {len(given)} values of {name} ({', '.join(given)}); expected the rows of one")
    return rows.assign(layer=rows["layers"].astype(int))
