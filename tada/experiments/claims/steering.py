"""Effects on steered clips: rows of Table 1 compared over concepts, by a judge of alignment, LPAPS or sets of clips."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tada.evaluation.results import Cutoffs, Scores, common_reach
from tada.experiments.claims.verdicts import Effect, Measure
from tada.metrics import curve
from tada.stats import CONFIDENCE, bootstrap, draws, jackknife

if TYPE_CHECKING:
    from tada.experiments.claims.evidence import Evidence

Values = NDArray[np.float64]


class Curve(NamedTuple):
    """A row of Table 1 in one concept: strengths ``[n]``, its mean scores and LPAPS for the sample and for draws of its
    prompts ``[1 + draws, n]``, and the LPAPS that it and the rows it is compared with get to."""

    alpha: Values
    score: Values
    way: Values
    reach: Cutoffs | None


Compare = Callable[[Mapping[str, Curve]], Values]


def steered(
    rows: Sequence[str], of: Compare, pool: str = "mean", metrics: Sequence[str] = (), most: float = np.inf
) -> Measure:
    """A measure on curves.

    Args:
        rows: that are compared, names in ``evidence.ARMS``; concepts that lack one are left out.
        of: what is tested in one concept, ``[1 + draws]`` from curves by row; NaN where it cannot be.
        pool: ``"mean"`` of all concepts; ``"every"`` or ``"any"``: the least or the largest of them, at a confidence
            for all at once.
        metrics: whose mean is taken in place of the judge's score.
        most: that the effect can be, either way.
    """

    def measure(evidence: Evidence, judge: str) -> Effect | None:
        wanted = metrics or (judge or "lpaps",)
        found, counts = [], []
        for arms in evidence.arms.values():
            chosen = {row: arms[row] for row in rows if row in arms and {*wanted, "lpaps"} <= set(arms[row].scores)}
            count = min((len(one.prompts) for one in chosen.values()), default=0)
            if len(chosen) == len(rows) and count > 1:
                found.append(of(curves(chosen, wanted)))
                counts.append(count)
        values = np.array([one for one in found if not np.isnan(one[0])])
        return _pooled(values, pool, min(counts), most) if len(values) else None

    return measure


def curves(arms: Mapping[str, Scores], metrics: Sequence[str]) -> dict[str, Curve]:
    """Mean curves of rows of one concept by the mean of some metrics; the same prompts are drawn for all."""
    reach, found = common_reach(arms.values()), {}
    for row, one in arms.items():
        drawn = draws(len(one.prompts))
        score = np.mean([one.scores[metric] for metric in metrics], axis=0)
        found[row] = Curve(one.alpha, drawn @ score, drawn @ one.scores["lpaps"], reach)
    return found


def _pooled(values: Values, pool: str, prompts: int, most: float) -> Effect:
    """Effect over concepts of ``[concepts, 1 + draws]``.

    Prompts of one number share their noise over concepts, so they are drawn together, and their number is what counts.
    """
    over = f"{len(values)} concepts, {prompts} prompts each"
    if pool == "mean":
        return Effect.of(values.mean(0), prompts, f"mean of {over}", most)
    ends = np.array([bootstrap(one, prompts, 1 - (1 - CONFIDENCE) / len(values)) for one in values])
    pick, name = (np.min, "least") if pool == "every" else (np.max, "largest")
    return Effect(float(pick(values[:, 0])), float(pick(ends[:, 0])), float(pick(ends[:, 1])), f"{name} of {over}")


def delta(one: Curve) -> Values:
    """Score at the largest strength less that at the smallest."""
    return np.asarray(curve.delta(one.alpha, one.score))


def removed(one: Curve) -> Values:
    """Score of the unsteered clips less that at the smallest strength."""
    return np.asarray(one.score[:, one.alpha == 0][:, 0] - one.score[:, 0])


def away(one: Curve) -> Values:
    """LPAPS, mean over all strengths but 0."""
    return np.asarray(one.way[:, one.alpha != 0].mean(1))


def area(one: Curve) -> Values:
    """AUC of the score over LPAPS, as far as all rows get."""
    if one.reach is None:
        return np.full(len(one.score), np.nan)
    return np.asarray(curve.auc(one.alpha, one.score, one.way, one.reach))


def unevenness(one: Curve) -> Values:
    """Standard deviation of the steps, in units of the whole movement."""
    return np.asarray(curve.smoothness(one.alpha, one.score) / np.maximum(np.abs(delta(one)), 1e-9))


def rising(one: Curve) -> Values:
    """Rank correlation of strength and score."""
    ranks = np.argsort(np.argsort(one.score, axis=1), axis=1) - (len(one.alpha) - 1) / 2
    steps = np.arange(len(one.alpha)) - (len(one.alpha) - 1) / 2
    return np.asarray((ranks * steps).sum(1) / (steps**2).sum())


def apart(metric: str, rows: Sequence[str], of: Callable[[Mapping[str, pd.DataFrame]], pd.Series]) -> Measure:
    """A measure on distances between sets of clips, mean of concepts; the interval leaves out groups of prompts.

    Args:
        metric: a name in ``tada.evaluation.results.SETS``.
        rows: that are compared; concepts that lack one are left out.
        of: what is tested in one concept, a value a group left out, from tables (groups by strengths) by row.
    """

    def measure(evidence: Evidence, judge: str) -> Effect | None:
        found = [
            of({row: arms[row].sets[metric] for row in rows}).to_numpy(float)
            for arms in evidence.arms.values()
            if all(row in arms and metric in arms[row].sets for row in rows)
        ]
        if not found or len({len(one) for one in found}) > 1 or len(found[0]) < 3:
            return None
        values = np.mean(found, axis=0)
        return Effect(float(values[0]), *jackknife(values), f"mean of {len(found)} concepts")

    return measure
