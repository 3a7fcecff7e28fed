"""How far judges of steered clips agree with each other: clip by clip, and about the order of the rows of Table 1."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from tada.evaluation.results import Scores
from tada.experiments.claims.effects import PROBE, Evidence, Values
from tada.experiments.claims.measures import delta, mean_curves
from tada.stats import ABOVE, BELOW, bootstrap, decide, draws


def agreement(evidence: Evidence, judge: str, other: str = PROBE) -> pd.DataFrame:
    """Measure how well a judge agrees with another on a checkpoint.

    Args:
        evidence: with results of steering.
        judge: a metric of alignment.
        other: the metric that it is held against.

    Returns:
        One row a concept: ``concept, clips``, the rank correlation over clips ``correlation, low, high`` (prompts drawn
        anew), ``pairs`` of rows of Table 1 whose delta alignment the other tells apart, how many of them the judge puts
        in the same order (``same``), and the best row by either (``best, best by other``).
    """
    rows: list[dict[str, Any]] = []
    for concept, arms in evidence.rows.items():
        if all({judge, other} <= set(one.scores) for one in arms.values()):
            judged, true = (
                {row: delta(c) for row, c in mean_curves(arms, [metric], concept).items()} for metric in (judge, other)
            )
            best = {name: max(found, key=lambda row: found[row][0])
                    for name, found in (("best", judged), ("best by other", true))}  # fmt: skip
            count = len(next(iter(arms.values())).prompts)
            rows.append({"concept": concept, **_correlated(arms, judge, other), **_order(judged, true, count), **best})
    return pd.DataFrame(rows)


def agreements(evidence: Iterable[Evidence], other: str = PROBE, concepts: Iterable[str] | None = None) -> pd.DataFrame:
    """Measure how well every judge agrees with one of them, on every checkpoint with results of steering.

    Args:
        evidence: of checkpoints.
        other: as for :func:`agreement`.
        concepts: which; None for all.

    Returns:
        ``model, checkpoint, ear`` before the columns of :func:`agreement`; empty where the other was not measured.
    """
    parts = [
        found.assign(model=one.model, checkpoint=one.checkpoint, ear=judge)
        for one in evidence
        for judge in one.judges()
        if judge != other and len(found := agreement(one, judge, other))
    ]
    if not parts:
        return pd.DataFrame()
    every = pd.concat(parts, ignore_index=True)
    first = ["model", "checkpoint", "ear", "concept"]
    chosen = every if concepts is None else every[every["concept"].isin(list(concepts))]
    return chosen[[*first, *(name for name in chosen if name not in first)]]


def _correlated(arms: Mapping[str, Scores], judge: str, other: str, resamples: int = 200) -> dict[str, Any]:
    """Spearman's rank correlation over all clips, the unsteered ones once; prompts are drawn anew."""
    one = next(iter(arms.values()))
    clips = np.array([
        np.hstack([one.scores[metric][:, one.alpha == 0], *(s.scores[metric][:, s.alpha != 0] for s in arms.values())])
        for metric in (judge, other)
    ])  # fmt: skip
    count = clips.shape[1]
    times = (draws(count, resamples) * count).round().astype(int)
    values = np.array([_spearman(*np.repeat(clips, drawn, axis=1).reshape(2, -1)) for drawn in times])
    low, high = bootstrap(values, count) if not np.isnan(values[0]) else (np.nan, np.nan)
    return {"clips": clips[0].size, "correlation": values[0], "low": max(low, -1.0), "high": min(high, 1.0)}


def _spearman(x: Values, y: Values) -> float:
    """Rank correlation; NaN where either does not vary."""
    return float(pd.Series(x).corr(pd.Series(y), "spearman")) if np.ptp(x) and np.ptp(y) else np.nan


def _order(judged: Mapping[str, Values], true: Mapping[str, Values], prompts: int) -> dict[str, int]:
    """Pairs of rows that the other tells apart, and those of them that the judge orders the same way."""
    told = []
    for one, other in combinations(true, 2):
        if decide(*bootstrap(true[one] - true[other], prompts), prompts) in (ABOVE, BELOW):
            told.append((judged[one][0] - judged[other][0]) * (true[one][0] - true[other][0]) > 0)
    return {"pairs": len(told), "same": int(sum(told))}
