"""Pairs of prompts on a page: what was changed, how many there are, how long they are, which rules they keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import seaborn as sns
from IPython.display import HTML
from matplotlib.figure import Figure

from tada import escape
from tada import pairs as prompt_pairs
from tada.display import plots
from tada.display.tables import table


def summary_table(pairs: pd.DataFrame) -> Any:
    """Tabulate pairs as from ``tada.pairs.build``: captions that qualified, pairs, how much was changed, by concept."""
    summary = prompt_pairs.summary(pairs)
    summary["candidates"] = summary["concept"].map(pairs.attrs["candidates"])
    summary["refused"] = [sum(pairs.attrs["rejected"][name].values()) for name in summary["concept"]]
    columns = ["concept", "counterfactual", "candidates", "pairs", "refused", "words", "changed", "longer", "leak"]
    return table(summary[columns], {"words": "{:.1f}", "changed": "{:.2f}", "longer": "{:+.2f}", "leak": "{:.0%}"})


def change_list(pairs: pd.DataFrame) -> HTML:
    """List pairs: what was changed is struck out, its counterpart follows in bold."""
    items = (
        f"<li><b>{escape.html(row.concept)}</b>: {mark_changes(row.target, row.changed)}</li>"
        for row in plots.named_rows(pairs)
    )
    return HTML(f"<ul>{''.join(items)}</ul>")


def mark_changes(target: str, changes: Sequence[Mapping[str, Any]]) -> str:
    """Write a prompt as HTML; what its ``changes`` took out is struck out, what they put in (``after``) is bold."""
    text, end = "", 0
    for change in changes:
        text += escape.html(target[end : change["start"]])
        text += f"<del>{escape.html(change['before'])}</del> <b>{escape.html(change['after'])}</b>"
        end = change["end"]
    return text + escape.html(target[end:])


def length_boxes(pairs: pd.DataFrame) -> Figure:
    """Draw how many words target prompts have, a box a concept."""
    figure, (axis,) = plots.panels(1, 0.24 * pairs["concept"].nunique() + 0.8)
    words = [len(text.split()) for text in pairs["target"]]
    sns.boxplot(x=words, y=pairs["concept"], color=plots.OKABE_ITO[4], fliersize=0, linewidth=0.9, width=0.6, ax=axis)
    axis.set(xlabel="words of a target prompt", ylabel="")
    return figure


def kept_rule_table(concepts: Sequence[str], broken: Sequence[Sequence[str]]) -> Any:
    """Tabulate how many pairs keep all rules, a row a concept; ``broken`` as from ``tada.pairs.violations``."""
    kept = pd.Series([not rules for rules in broken], dtype=float).groupby(list(concepts), sort=False)
    shown = pd.DataFrame({"tested": kept.size(), "all rules kept": kept.mean()})
    return table(shown.rename_axis("concept").reset_index(), {"all rules kept": "{:.0%}"})


def broken_rule_table(broken: Sequence[Sequence[str]]) -> Any:
    """Tabulate how many pairs break each rule; only rules that any breaks have a row."""
    counts = pd.Series([rule for rules in broken for rule in set(rules)], dtype=str).value_counts().sort_index()
    return table(counts.rename_axis("rule").reset_index(name="pairs that break it"))
