"""Steering the residual stream on a page: curves over strength, strategies at one distance, one layer at a time."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from tada.display import plots
from tada.display.tables import cross_texts, interval_texts, table
from tada.experiments.residual_stream import MEASURES, METHOD
from tada.stats import mean_interval
from tada.steering.arms import BASELINE


def curve_lines(rows: pd.DataFrame, method: str) -> Figure:
    """Draw curves as from ``tada.experiments.residual_stream.curves``, of one way, with intervals over prompts."""
    shown = rows[rows["method"].isin([method, BASELINE])]
    figure, axes = plots.panels(len(MEASURES), 1.9)
    for axis, measure in zip(axes, MEASURES.values(), strict=True):
        some = shown[shown["metric"] == measure]
        for colour, (concept, part) in zip(plots.OKABE_ITO, some.groupby("concept", sort=False), strict=False):
            ends = {percent: mean_interval(own["value"]) for percent, own in part.groupby("percent")}
            values = pd.DataFrame.from_dict(ends, orient="index").sort_index()
            plots.line_with_band(axis, values.index, values, colour, f"steered: {concept}")
        axis.set_ylabel(measure)
    axes[0].legend(fontsize=8.5, frameon=False)
    axes[-1].set_xlabel("strength, % of the range")
    return figure


def strategy_intervals(found: pd.DataFrame, concept: str) -> Figure:
    """Draw how far a concept's own measure rises by each way, as from ``tada.experiments.residual_stream.rises``."""
    rows = found[(found["concept"] == concept) & found["own"]]
    ours = rows["method"].str.startswith(METHOD)
    labels = rows["method"].str.removeprefix(METHOD) + (", " + rows["layers"]).mask(ours, "")
    values = rows.assign(value=100 * rows["rise"], low=100 * rows["low"], high=100 * rows["high"])
    axis_label = f"{MEASURES[concept]}: rise from the lowest to the highest strength, %"
    return plots.intervals(values.assign(known=values["low"].notna()), labels.tolist(), concept, axis_label)


def layer_lines(found: pd.DataFrame) -> Figure:
    """Draw how far each concept's own measure rises when its direction is added after one layer at a time."""
    figure, (axis,) = plots.panels(1, 2.3)
    own = found[found["own"]]
    for colour, (concept, part) in zip(plots.OKABE_ITO, own.groupby("concept", sort=False), strict=False):
        layers = part["layers"].str.extract(r"(\d+)$")[0].astype(int)
        values = 100 * part[["rise", "low", "high"]].set_axis(layers, axis=0).sort_index()
        plots.line_with_band(axis, values.index, values, colour, str(concept))
    axis.axhline(0, color="0.35", linewidth=0.6)
    axis.set(xlabel="layer", ylabel="rise of its own measure, %")
    axis.legend(fontsize=8.5, frameon=False)
    return figure


def rise_table(found: pd.DataFrame) -> pd.DataFrame:
    """Tabulate rises with their intervals, measures across."""
    rows = found.assign(**{name: 100 * found[name] for name in ("rise", "low", "high")})
    rows = _short(rows).assign(known=rows["low"].notna())
    texts = interval_texts(rows, "rise", form="+.0f")
    return cross_texts(rows, texts, ["concept", "method", "layers"], "measure")


def distance_table(found: pd.DataFrame) -> pd.DataFrame:
    """Tabulate distances from the unsteered clips, as from ``tada.experiments.residual_stream.distances``."""
    return cross_texts(_short(found), interval_texts(found, "value"), ["concept", "method", "layers"], "metric")


def spill_table(shares: pd.DataFrame) -> Any:
    """Tabulate how much the other measure moves for one of the concept's own, of shares as from ``spill``."""
    return table(_short(shares), {"own": "{:+.0%}", "other": "{:+.0%}", "share": "{:.2f}"})


def _short(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows whose methods and layers are named without what all of them share."""
    layers = rows["layers"].str.replace("layers.", "", regex=False)
    return rows.assign(method=rows["method"].str.removeprefix(METHOD), layers=layers)
