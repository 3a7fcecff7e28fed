"""The dispute on a page: one table of all claims, what each condition of a study does, every judge on demand."""

from __future__ import annotations

from typing import Any

import pandas as pd
from IPython.display import HTML
from matplotlib.figure import Figure

from tada import escape
from tada.display import plots
from tada.display.claims import checkpoint_name, verdict_text
from tada.display.tables import folded, wide_table
from tada.display.validity import JUDGES
from tada.experiments.hypotheses import HYPOTHESES

ORDER = ("", "probe", "signal", "musicnn", "clap", "muq", "mini-clap", "mini-second")
"""Judges whose verdict is shown where there are several, the first that is there."""


def first_judges(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Keep one verdict a hypothesis and checkpoint: by the first judge of :data:`ORDER`."""
    places = verdicts["judge"].map({name: place for place, name in enumerate(ORDER)}).fillna(len(ORDER))
    order = verdicts.assign(place=places).sort_values("place", kind="stable").drop(columns="place")
    return order.drop_duplicates(["hypothesis", "model", "checkpoint"]).sort_index()


def dispute_table(verdicts: pd.DataFrame) -> HTML:
    """Show every claim, who says it with which number, what was found here, and what would change that."""
    shown, rows = first_judges(verdicts), []
    several = len(shown.groupby(["model", "checkpoint"])) > 1
    for one in HYPOTHESES:
        found = shown[shown["hypothesis"] == one.name]
        here = "<br>".join(_cell(row, several) for row in plots.named_rows(found))
        rows.append({
            "claim": f"{escape.html(one.says)}<br><small>{escape.html(one.test)}</small>",
            "who": escape.html(one.who), "their number": escape.html(one.number), "here": here,
            "what would change it": escape.html(one.change),
        })  # fmt: skip
    return HTML(f"<div class='tada-verdicts'>{wide_table(pd.DataFrame(rows), 'The dispute')}</div>")


def _cell(row: Any, several: bool) -> str:
    judge = f" <small>by {escape.html(JUDGES.get(row.judge, row.judge))}</small>" if row.judge else ""
    name = f"<i>{escape.html(checkpoint_name(row.model, row.checkpoint))}</i> " if several else ""
    return f"{name}{verdict_text(row)}{judge}"


def judge_table(verdicts: pd.DataFrame) -> HTML:
    """Fold all verdicts by every judge."""
    rows = verdicts.assign(judge=verdicts["judge"].replace(JUDGES)).round(3)
    return folded(rows, f"All {len(rows)} verdicts, by every judge")


def condition_intervals(conditions: pd.DataFrame, study: str, judge: str) -> Figure:
    """Draw what each condition of a study does, as from ``hypotheses.conditions``."""
    rows = conditions[(conditions["study"] == study) & (conditions["judge"] == judge)]
    title = f"{study.capitalize()}{f', by {JUDGES.get(judge, judge)}' if judge else ''}"
    measured = "movement" if judge else "cosine"
    return plots.intervals(rows.assign(known=rows["value"].notna()), rows["condition"].tolist(), title, measured)
