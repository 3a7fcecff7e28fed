"""Effects on a localisation and on steered clips: of these the claims are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tada.evaluation.results import Cutoffs, Scores, common_cutoffs
from tada.experiments.claims.effects import Effect, Evidence, Measure, Values
from tada.metrics import curve
from tada.models import ARCHITECTURES
from tada.stats import CONFIDENCE, bootstrap, draws, jackknife, proportion

# ---- localisation: how far few layers, shared by concepts, carry what all layers do


def concentration(evidence: Evidence, judge: str = "") -> Effect | None:
    """Measure the share of all layers' impact in as many layers as the paper names, chosen on the other concepts.

    Shares are of the sum of absolute impacts, so that noise counts against the claim. Pairs and concepts are drawn.
    """
    found = evidence.impacts
    if found is None or len(found.concepts) < 2:
        return None
    share = (found.table * _strongest_elsewhere(found.table, evidence.model)).sum(-1) / np.abs(found.table).sum(-1)
    weights = draws(len(found.concepts), share.shape[1] - 1, seed=1)
    return Effect.of((share.T * weights).sum(1), len(found.concepts), f"{len(found.concepts)} concepts", 1.0)


def sharing(evidence: Evidence, judge: str = "") -> Effect | None:
    """Measure the share of concepts whose strongest layer is among the few that are strongest for the others."""
    found = evidence.impacts
    if found is None or len(found.concepts) < 2:
        return None
    sample = found.table[:, 0]
    hits = _strongest_elsewhere(sample, evidence.model)
    return _share(hits[np.arange(len(sample)), sample.argmax(1)])


def middle_share(evidence: Evidence, judge: str = "") -> Effect | None:
    """Measure the share of concepts whose strongest layer lies in the middle half of the depth."""
    found = evidence.impacts
    if found is None or not found.concepts:
        return None
    depth = (found.table[:, 0].argmax(1) + 0.5) / found.table.shape[2]
    return _share((depth > 0.25) & (depth < 0.75))


def paper_layers_lead(evidence: Evidence, judge: str = "") -> Effect | None:
    """Measure the lowest mean impact of the layers that the paper names less the highest of all others."""
    own = ARCHITECTURES[evidence.model].paper_layers
    return _of_mean_impacts(evidence, lambda means: means[:, list(own)].min(1) - np.delete(means, own, axis=1).max(1))


def layers_above_rest(layers: Sequence[int]) -> Measure:
    """Make the measure of some layers' mean impact less that of all others but those that the paper names."""

    def measure(evidence: Evidence, judge: str = "") -> Effect | None:
        known = [*layers, *ARCHITECTURES[evidence.model].paper_layers]
        return _of_mean_impacts(
            evidence, lambda means: means[:, list(layers)].mean(1) - np.delete(means, known, axis=1).mean(1)
        )

    return measure


def _of_mean_impacts(evidence: Evidence, of: Callable[[Values], Values]) -> Effect | None:
    """The effect ``of`` impacts ``[1 + resamples, layers]``, mean over concepts."""
    found = evidence.impacts
    if found is None or not found.concepts:
        return None
    return Effect.of(of(found.table.mean(0)), found.pairs, f"mean of {len(found.concepts)} concepts")


def _strongest_elsewhere(table: Values, model: str) -> NDArray[np.bool_]:
    """Mask of the layers of highest mean impact over all concepts but the row's own, as many as the paper names."""
    others = table.sum(0, keepdims=True) - table
    place = np.argsort(np.argsort(-others, axis=-1, kind="stable"), axis=-1)
    return place < len(ARCHITECTURES[model].paper_layers)


def _share(hits: NDArray[np.bool_]) -> Effect:
    return Effect(float(hits.mean()), *proportion(int(hits.sum()), len(hits)), f"{hits.sum()} of {len(hits)} concepts")


# ---- steering: rows of Table 1 compared over concepts


class Curve(NamedTuple):
    """A row of Table 1 in one concept.

    Attributes:
        alpha: strengths ``[n]``.
        score: mean scores ``[1 + draws, n]``, for the sample and for draws of its prompts.
        lpaps: mean LPAPS, likewise.
        cutoffs: the LPAPS that it and the rows it is compared with get to.
    """

    alpha: Values
    score: Values
    lpaps: Values
    cutoffs: Cutoffs | None


Quantity = Callable[[Curve], Values]
Compare = Callable[[Mapping[str, Curve]], Values]


def steered(
    rows: Sequence[str], of: Compare, pool: str = "mean", metrics: Sequence[str] = (), most: float = np.inf
) -> Measure:
    """Make a measure on curves.

    Args:
        rows: that are compared, names in ``effects.ROWS``; concepts that lack one are left out.
        of: what is tested in one concept, ``[1 + draws]`` from curves by row; NaN where it cannot be.
        pool: ``"mean"`` of all concepts; ``"every"`` or ``"any"``: the least or the largest of them, at a confidence
            for all at once.
        metrics: whose mean is taken in place of the judge's score.
        most: that the effect can be, either way.
    """

    def measure(evidence: Evidence, judge: str) -> Effect | None:
        wanted = metrics or (judge or "lpaps",)
        found, counts = [], []
        for by_row in evidence.rows.values():
            chosen = {
                row: by_row[row] for row in rows if row in by_row and {*wanted, "lpaps"} <= set(by_row[row].scores)
            }
            count = min((len(scores.prompts) for scores in chosen.values()), default=0)
            if len(chosen) == len(rows) and count > 1:
                found.append(of(mean_curves(chosen, wanted)))
                counts.append(count)
        values = np.array([effect for effect in found if not np.isnan(effect[0])])
        return _pooled(values, pool, min(counts), most) if len(values) else None

    return measure


def difference(of: Quantity, row: str, other: str, pool: str = "mean", metrics: Sequence[str] = ()) -> Measure:
    """Make the measure of a quantity of one row less that of another."""
    return steered([row, other], lambda curves: of(curves[row]) - of(curves[other]), pool, metrics)


def functional(of: Quantity, pool: str = "every", most: float = np.inf) -> Measure:
    """Make the measure of a quantity of CAA on the functional layers."""
    return steered(["functional"], lambda curves: of(curves["functional"]), pool, most=most)


def mean_curves(rows: Mapping[str, Scores], metrics: Sequence[str]) -> dict[str, Curve]:
    """Take mean curves of rows of one concept by the mean of some metrics; the same prompts are drawn for all."""
    cutoffs, found = common_cutoffs(rows.values()), {}
    for row, scores in rows.items():
        drawn = draws(len(scores.prompts))
        score = np.mean([scores.scores[metric] for metric in metrics], axis=0)
        found[row] = Curve(scores.alpha, drawn @ score, drawn @ scores.scores["lpaps"], cutoffs)
    return found


def _pooled(values: Values, pool: str, prompts: int, most: float) -> Effect:
    """Effect over concepts of ``[concepts, 1 + draws]``.

    Prompts of one number share their noise over concepts, so they are drawn together, and their number is what counts.
    """
    over = f"{len(values)} concepts, {prompts} prompts each"
    if pool == "mean":
        return Effect.of(values.mean(0), prompts, f"mean of {over}", most)
    ends = np.array([bootstrap(effect, prompts, 1 - (1 - CONFIDENCE) / len(values)) for effect in values])
    pick, name = (np.min, "least") if pool == "every" else (np.max, "largest")
    return Effect(float(pick(values[:, 0])), float(pick(ends[:, 0])), float(pick(ends[:, 1])), f"{name} of {over}")


def delta(row: Curve) -> Values:
    """Score at the largest strength less that at the smallest."""
    return np.asarray(curve.delta(row.alpha, row.score))


def negative_drop(row: Curve) -> Values:
    """Score of the unsteered clips less that at the smallest strength."""
    return np.asarray(row.score[:, row.alpha == 0][:, 0] - row.score[:, 0])


def mean_lpaps(row: Curve) -> Values:
    """LPAPS, mean over all strengths but 0."""
    return np.asarray(row.lpaps[:, row.alpha != 0].mean(1))


def mean_score(row: Curve) -> Values:
    """Score, mean over all strengths."""
    return np.asarray(row.score.mean(1))


def area(row: Curve) -> Values:
    """AUC of the score over LPAPS, as far as all rows get."""
    if row.cutoffs is None:
        return np.full(len(row.score), np.nan)
    return np.asarray(curve.auc(row.alpha, row.score, row.lpaps, row.cutoffs))


def unevenness(row: Curve) -> Values:
    """Standard deviation of the steps, in units of the whole movement."""
    return np.asarray(curve.smoothness(row.alpha, row.score) / np.maximum(np.abs(delta(row)), 1e-9))


def rank_correlation(row: Curve) -> Values:
    """Rank correlation of strength and score."""
    ranks = np.argsort(np.argsort(row.score, axis=1), axis=1) - (len(row.alpha) - 1) / 2
    steps = np.arange(len(row.alpha)) - (len(row.alpha) - 1) / 2
    return np.asarray((ranks * steps).sum(1) / (steps**2).sum())


def sets_apart(metric: str, rows: Sequence[str], of: Callable[[Mapping[str, pd.DataFrame]], pd.Series]) -> Measure:
    """Make a measure on distances between sets of clips, mean of concepts; the interval leaves out groups of prompts.

    Args:
        metric: a name in ``tada.evaluation.results.SETS``.
        rows: that are compared; concepts that lack one are left out.
        of: what is tested in one concept, a value a group left out, from tables (groups by strengths) by row.
    """

    def measure(evidence: Evidence, judge: str) -> Effect | None:
        found = [
            of({row: by_row[row].sets[metric] for row in rows}).to_numpy(float)
            for by_row in evidence.rows.values()
            if all(row in by_row and metric in by_row[row].sets for row in rows)
        ]
        if not found or len({len(values) for values in found}) > 1 or len(found[0]) < 3:
            return None
        values = np.mean(found, axis=0)
        return Effect(float(values[0]), *jackknife(values), f"mean of {len(found)} concepts")

    return measure
