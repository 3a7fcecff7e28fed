"""How far judges of steered clips agree with each other: clip by clip, and about the order of the rows of Table 1."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from tada.evaluation.results import Scores
from tada.experiments.claims.effects import PROBE, Evidence
from tada.experiments.claims.measures import delta, mean_curves
from tada.stats import ABOVE, BELOW, Values, bootstrap, decide, draws


def agreement(evidence: Iterable[Evidence], other: str = PROBE) -> pd.DataFrame:
    """Measure how well every judge agrees with the metric ``other``, on every checkpoint with results of steering.

    Returns:
        One row a checkpoint, judge and concept: ``model, checkpoint, ear, concept, clips``, the rank correlation over
        clips ``correlation, low, high`` (prompts drawn anew), ``pairs`` of rows of Table 1 whose delta alignment the
        other tells apart, how many of them the judge puts in the same order (``same``), and the best row by either
        (``best, best by other``); empty where the other was not measured.
    """
    return pd.DataFrame(
        {"model": one.model, "checkpoint": one.checkpoint, "ear": judge, "concept": concept}
        | _compare(arms, judge, other, concept)
        for one in evidence
        for judge in one.judges()
        for concept, arms in one.rows.items()
        if judge != other and all({judge, other} <= set(scores.scores) for scores in arms.values())
    )


def _compare(arms: Mapping[str, Scores], judge: str, other: str, concept: str) -> dict[str, Any]:
    """The agreement of two judges about the rows of one concept."""
    judged, true = (
        {row: delta(one) for row, one in mean_curves(arms, [metric], concept).items()} for metric in (judge, other)
    )
    one = next(iter(arms.values()))
    clips = np.array([
        np.hstack([one.scores[metric][:, one.alpha == 0], *(s.scores[metric][:, s.alpha != 0] for s in arms.values())])
        for metric in (judge, other)
    ])  # fmt: skip
    told = [
        (judged[row][0] - judged[beside][0]) * (true[row][0] - true[beside][0]) > 0
        for row, beside in combinations(true, 2)
        if decide(*bootstrap(true[row] - true[beside], len(one.prompts)), len(one.prompts)) in (ABOVE, BELOW)
    ]
    best, by_other = (max(found, key=lambda row: found[row][0]) for found in (judged, true))
    found = {"clips": clips[0].size, **_correlated(clips), "pairs": len(told), "same": int(sum(told))}
    return found | {"best": best, "best by other": by_other}


def _correlated(clips: Values) -> dict[str, float]:
    """Spearman's rank correlation of ``[2, prompts, strengths]`` over all clips; prompts are drawn anew."""
    count, (x, y) = clips.shape[1], (np.unique(one, return_inverse=True)[1].ravel() for one in clips)
    times = (draws(count, resamples=200) * count).round().repeat(clips.shape[2], axis=1)
    values = np.array([_weighted_spearman(x, y, drawn) for drawn in times])
    low, high = bootstrap(values, count) if not np.isnan(values[0]) else (np.nan, np.nan)
    return {"correlation": values[0], "low": max(low, -1.0), "high": min(high, 1.0)}


def _weighted_spearman(x: NDArray[Any], y: NDArray[Any], times: Values) -> float:
    """Compute :func:`spearman` of paired values, given by their places among the different ones, each so many times."""
    ranks = []
    for codes in (x, y):
        totals = np.bincount(codes, times)
        rank = (totals.cumsum() - (totals - 1) / 2)[codes]  # of equal values the mean
        ranks.append(rank - np.average(rank, weights=times))
    one, other = ranks
    spread = (times @ one**2) * (times @ other**2)
    return float(times @ (one * other) / np.sqrt(spread)) if spread > 0 else np.nan


def spearman(x: ArrayLike, y: ArrayLike) -> float:
    """Compute the rank correlation of paired values; NaN where either does not vary."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    return float(pd.Series(x).corr(pd.Series(y), "spearman")) if np.ptp(x) and np.ptp(y) else np.nan
