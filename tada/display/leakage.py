"""Leakage on a page: a matrix of what moves with what, and from where to where a slider can be used."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tada.display import plots
from tada.display.tables import cross_texts, folded, interval_texts, table
from tada.display.validity import JUDGES
from tada.stats import ABOVE, BELOW

SIDES = {1: "up", -1: "down"}


def leak_map(found: pd.DataFrame, judge: str) -> Figure:
    """Draw slopes as from ``leakage.matrix``: steered concepts down, measured ones across, unsure cells hatched."""
    rows = found[found["judge"] == judge]
    down, across = rows["concept"].unique(), rows["measured"].unique()
    wide = rows.pivot_table("slope", "concept", "measured", sort=False).reindex(index=down, columns=across)
    figure, (axis,) = plots.panels(1, 0.33 * len(down) + 2.4)
    most = max(float(np.nanmax(np.abs(wide.to_numpy()))), 1e-9)
    drawn = axis.imshow(wide.to_numpy(), cmap=plots.DIVERGING, vmin=-most, vmax=most, aspect="auto")
    for row in plots.named_rows(rows[~rows["verdict"].isin([ABOVE, BELOW])]):
        place = list(across).index(row.measured) - 0.5, list(down).index(row.concept) - 0.5
        axis.add_patch(Rectangle(place, 1, 1, fill=False, edgecolor="0.55", hatch="////", linewidth=0.0))
    axis.set_xticks(range(len(across)), list(across), rotation=90, fontsize=8.5)
    axis.set_yticks(range(len(down)), list(down), fontsize=8.5)
    axis.set(xlabel="measured", ylabel="steered")
    bar = figure.colorbar(drawn, ax=axis, orientation="horizontal", fraction=0.05, pad=0.02, aspect=34)
    bar.set_label("movement for one range of the slider")
    plots.set_heading(axis, f"By {JUDGES.get(judge, judge)}", note="hatched: its interval holds 0, or too few prompts")
    return figure


def leak_tables(found: pd.DataFrame) -> list[Any]:
    """Fold the slopes with their intervals, a table a judge."""
    return [
        folded(
            cross_texts(rows, interval_texts(rows, "slope", form="+.2f"), "concept", "measured"),
            f"Slopes by {JUDGES.get(str(judge), str(judge))}",
        )
        for judge, rows in found.groupby("judge", sort=False)
    ]


def specificity_table(found: pd.DataFrame) -> Any:
    """Tabulate how many times further the own concept moves, as from ``leakage.specificity``."""
    rows = found.assign(
        judge=found["judge"].replace(JUDGES),
        ratio=interval_texts(found.assign(known=found["ratio"].notna()), "ratio", form=".1f"),
    )
    return table(rows.drop(columns=["low", "high"]), {"own": "{:+.2f}", "others": "{:.2f}"})


def span_table(found: pd.DataFrame) -> Any:
    """Tabulate spans as from ``leakage.spans``."""
    rows = found.assign(side=found["side"].map(SIDES), span=found["broken"] / found["audible"])
    columns = {"audible": "audible from, %", "broken": "broken from, %", "furthest": "tried up to, %"}
    formats = dict.fromkeys(columns.values(), "{:g}") | {"broken over audible": "{:.1f}"}
    return table(rows.rename(columns={**columns, "span": "broken over audible"}), formats)


def span_label(found: pd.DataFrame, concept: str) -> str:
    """Word the span of a slider of a concept, for its label."""
    rows = found[found["concept"] == concept]
    return "; ".join(
        f"{SIDES[row.side]}: {_from('audible', row.audible)}, {_from('broken', row.broken)}"
        for row in plots.named_rows(rows)
    )


def _from(what: str, percent: float) -> str:
    return f"not {what}" if np.isnan(percent) else f"{what} from {percent:g} %"
