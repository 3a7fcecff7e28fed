"""The benchmark on a page: controls first, ways to steer beside what was published, several concepts at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import pandas as pd
from IPython.display import HTML
from matplotlib.figure import Figure

from tada.display import plots
from tada.display.table_1 import arm_names, read_published
from tada.display.tables import cross_texts, folded, interval_texts, table
from tada.display.validity import JUDGES
from tada.stats import ABOVE, BELOW, MIN_UNITS, TOO_FEW

LACKING = {
    "Token Embeddings": "the words must be one token each, and the layers must read them",
    "Concept Sliders": "they must be trained, by `-p slider_iterations 500`, and the model be a diffusion model",
    "SAE": "it is on one functional layer alone",
}
"""Way to steer -> why it may have no row."""


def pole_table(asked: Mapping[str, Mapping[str, tuple[str, str]]]) -> Any:
    """Tabulate prompts as from ``tada.concepts.steered.poles``, by concept."""
    rows = [(name, plain, *poles) for name, some in asked.items() for plain, poles in some.items()]
    return table(pd.DataFrame(rows, columns=["concept", "neutral", "positive", "negative"]))


def control_lines(effects: pd.DataFrame) -> str:
    """Say in Markdown where controls do something, of effects as from ``benchmark.control_effects``."""
    if (effects["verdict"] == TOO_FEW).all():
        return f"Fewer than {MIN_UNITS} prompts: nothing can be said of the controls."
    some = effects[effects["verdict"].isin([ABOVE, BELOW])]
    lines = [
        f"- **{row.concept}**, {row.control}, by {JUDGES.get(row.judge, row.judge)}: moves by {row.movement:+.3f} "
        f"[{row.low:.3f}, {row.high:.3f}]."
        for row in plots.named_rows(some)
    ]
    of = f"{len(some)} of {len(effects)} movements have an interval without 0"
    chance = f"{0.05 * len(effects):.0f} of so many would by chance"
    if not lines:
        return f"Every control lies within an interval that holds 0, by every judge and in every concept ({of})."
    return "\n".join([f"**Controls that ought to do nothing and do something:** {of}, {chance}.\n", *lines])


def control_table(effects: pd.DataFrame) -> HTML:
    """Fold the movements by controls, judges across."""
    rows = effects.assign(judge=effects["judge"].replace(JUDGES))
    texts = interval_texts(rows, "movement", form="+.3f")
    return folded(cross_texts(rows, texts, ["concept", "control"], "judge"), "All controls")


def gap_lines(results: pd.DataFrame, methods: Sequence[str]) -> str:
    """Say in Markdown which ways to steer have no row, and what they would need."""
    there = set(results["method"])
    lines = [f"- {name}: {LACKING.get(name, 'nothing was steered')}." for name in methods if name not in there]
    return "\n".join(["Not run here:\n", *lines]) if lines else ""


def area_table(means: pd.DataFrame) -> Any:
    """Tabulate areas, mean of concepts, as from ``tada.evaluation.pooled``: arms down, judges across."""
    rows = means[means["column"].str.startswith("auc ")]
    rows = rows.assign(
        row=arm_names(rows), known=rows["value"].notna(), judge=rows["column"].str.removeprefix("auc ").replace(JUDGES)
    )
    return table(cross_texts(rows, interval_texts(rows, "value", form=".3f"), "row", "judge"))


def area_intervals(means: pd.DataFrame, judge: str) -> Figure:
    """Draw the areas of all arms by one judge with their intervals, mean of concepts."""
    rows = means[means["column"] == f"auc {judge}"]
    rows = rows.assign(known=rows["value"].notna())
    return plots.intervals(rows, arm_names(rows), f"By {JUDGES.get(judge, judge)}", "gain in alignment times LPAPS")


def published_beside(means: pd.DataFrame, judges: Sequence[str]) -> Any:
    """Tabulate published areas by version of the paper, and beside them those of here by some judges."""
    known = read_published("averages")
    wide = pd.DataFrame(index=known["method"].drop_duplicates())
    for (ear, name), version in product((("muq", "MuQ"), ("clap", "CLAP")), ("v3", "v2")):
        rows = known[known["version"] == version].set_index("method")
        wide[f"{name}, {version}"] = rows[f"auc_{ear}"].reindex(wide.index)
    ours = means[means["layers"].isin(["all", "functional"]) | (means["method"] == "SAE")]
    local = (ours["layers"] != "all").map({True: " (loc.)", False: ""})
    ours = ours.assign(method=ours["method"] + local)
    for judge in judges:
        column = ours[ours["column"] == f"auc {judge}"].set_index("method")["value"]
        wide[f"here: {JUDGES.get(judge, judge)}"] = column.reindex(wide.index)
    return table(wide.reset_index(), dict.fromkeys(map(str, wide), "{:.3f}"))


def published_concepts() -> HTML:
    """Fold published areas by concept, MuQ and CLAP, methods across."""
    rows = read_published("concepts")
    texts = [f"{muq:.3f} / {clap:.3f}" for muq, clap in zip(rows["auc_muq"], rows["auc_clap"], strict=True)]
    wide = cross_texts(rows, texts, ["version", "concept"], "method")
    return folded(wide, "Published areas by concept: MuQ / CLAP, public ACE-Step")


def together_table(found: pd.DataFrame) -> Any:
    """Tabulate movements as from ``benchmark.together_table``, ways across."""
    rows = found.assign(judge=found["judge"].replace(JUDGES))
    return table(cross_texts(rows, interval_texts(rows, "movement", form="+.2f"), ["judge", "concept"], "way"))
