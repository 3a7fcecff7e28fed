"""Effects on a localisation and on steered clips: of these the claims are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tada import concepts
from tada.evaluation.results import Cutoffs, Scores, common_cutoffs, mean_shift
from tada.experiments.claims.effects import Effect, Evidence, Measure
from tada.metrics import curve
from tada.models import ARCHITECTURES
from tada.patching import call_pooled, pooled_impact, split_pairs
from tada.stats import CONFIDENCE, Values, bootstrap, draws, jackknife, named_seed, proportion

MIN_CLIPS = 64
"""Clips of all concepts, at each strength, that a verdict on distances between sets needs."""

# ---- localisation: how far few layers, shared by concepts, carry what all layers do


def concentration(evidence: Evidence, judge: str = "") -> Effect | None:
    """Measure the impact of functional layers routed together, mean of concepts, on pairs that did not choose them."""
    if evidence.scores is not None and not any(call_pooled(half) for half in split_pairs(evidence.scores)):
        return Effect.undefined("neither half of the pairs names a functional layer", evidence.scores["pair"].nunique())
    if evidence.together is None:
        return None
    (row,) = pooled_impact(evidence.together).to_dict("records")
    over = f"mean of {row['concepts']} concepts, {row['pairs']} pairs"
    return Effect(row["impact"], row["low"], row["high"], over, row["pairs"])


def sharing(evidence: Evidence, judge: str = "") -> Effect | None:
    """Measure the share of families of concepts whose strongest layer is among those strongest for the others."""
    found = evidence.impacts
    if found is None or (families := _families(found.concepts)).nunique() < 2:
        return None
    sample, count = found.table[:, 0], len(ARCHITECTURES[evidence.model].paper_layers)
    leading = [sample[families != own].mean(0).argsort()[::-1][:count] for own in families]
    return _share([layer in some for layer, some in zip(sample.argmax(1), leading, strict=True)], families)


def middle_share(evidence: Evidence, judge: str = "") -> Effect | None:
    """Measure the share of families of concepts whose strongest layer lies in the middle half of the depth."""
    found = evidence.impacts
    if found is None:
        return None
    depth = (found.table[:, 0].argmax(1) + 0.5) / found.table.shape[2]
    return _share((depth > 0.25) & (depth < 0.75), _families(found.concepts))


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
    if found is None:
        return None
    count = len(found.concepts)
    return Effect.of(of(found.table.mean(0)), found.pairs, f"mean of {count} concepts", strata=count)


def _families(names: Sequence[str]) -> pd.Series:
    return pd.Series(["/".join(concepts.family(name)) if name in concepts.PAPER else name for name in names])


def _share(hits: Sequence[bool] | NDArray[np.bool_], families: pd.Series) -> Effect:
    """A share over families, in each of which mirrored concepts count by half."""
    by_family = pd.Series(hits, dtype=float).groupby(families).mean()
    over = f"{len(by_family)} families of {len(hits)} concepts"
    return Effect(by_family.mean(), *proportion(by_family.sum(), len(by_family)), over, len(by_family))


# ---- steering: rows of Table 1 compared over concepts


class Curve(NamedTuple):
    """A row of Table 1 in one concept.

    Attributes:
        alpha: strengths ``[n]``.
        score: mean scores ``[1 + draws, n]``, for the sample and for draws of its prompts.
        lpaps: mean LPAPS, likewise.
        cutoffs: the LPAPS that it and the rows it is compared with get to.
        prompts: how many.
    """

    alpha: Values
    score: Values
    lpaps: Values
    cutoffs: Cutoffs | None
    prompts: int


Quantity = Callable[[Curve], Values]


def steered(
    of: Quantity,
    row: str,
    other: str = "",
    pool: str = "mean",
    metrics: Sequence[str] = (),
    times: float = 1.0,
    most: float = np.inf,
) -> Measure:
    """Make the measure of a quantity of one row, less so many times that of another on the same prompts.

    Args:
        of: ``[1 + draws]`` from the curve of a row in one concept; NaN where it cannot be told.
        row: a name in ``effects.ROWS``; concepts that lack one are left out.
        other: likewise; nothing for the row alone.
        pool: ``"mean"`` of all concepts; ``"every"`` or ``"any"``: the least or the largest of them, at a confidence
            for all at once.
        metrics: whose mean is taken in place of the judge's score.
        times: how often the other counts.
        most: that the effect can be, either way.
    """

    def measure(evidence: Evidence, judge: str) -> Effect | None:
        rows, wanted = [row, other] if other else [row], metrics or (judge or "lpaps",)
        found, counts = [], []
        for concept, arms in evidence.rows.items():
            chosen = {
                name: arms[name] for name in rows if name in arms and {*wanted, "lpaps"} <= set(arms[name].scores)
            }
            count = min((len(scores.prompts) for scores in chosen.values()), default=0)
            if len(chosen) == len(rows) and count > 1:
                curves = mean_curves(chosen, wanted, concept)
                found.append(of(curves[row]) - (times * of(curves[other]) if other else 0.0))
                counts.append(count)
        values = np.array([effect for effect in found if not np.isnan(effect[0])])
        if found and not len(values):
            return Effect.undefined(f"cannot be told in any of {len(found)} concepts", min(counts))
        return _pooled(values, pool, min(counts), most) if found else None

    return measure


def mean_curves(rows: Mapping[str, Scores], metrics: Sequence[str], concept: str) -> dict[str, Curve]:
    """Take mean curves of rows of one concept by the mean of some metrics; the same prompts are drawn for all rows."""
    cutoffs, found = common_cutoffs(rows.values()), {}
    for row, scores in rows.items():
        count = len(scores.prompts)
        drawn = draws(count, seed=named_seed(concept))
        score = np.mean([scores.scores[metric] for metric in metrics], axis=0)
        found[row] = Curve(scores.alpha, drawn @ score, drawn @ scores.scores["lpaps"], cutoffs, count)
    return found


def _pooled(values: Values, pool: str, prompts: int, most: float) -> Effect:
    """Effect over concepts of ``[concepts, 1 + draws]``, each with prompts and noise of its own."""
    over = f"{len(values)} concepts, {prompts} prompts each"
    if pool == "mean":
        return Effect.of(values.mean(0), prompts, f"mean of {over}", len(values), most)
    ends = np.array([bootstrap(effect, prompts, 1 - (1 - CONFIDENCE) / len(values)) for effect in values])
    pick, name = (np.min, "least") if pool == "every" else (np.max, "largest")
    found = (float(pick(values[:, 0])), float(pick(ends[:, 0])), float(pick(ends[:, 1])))
    return Effect(*found, f"{name} of {over}", prompts)


def delta(row: Curve) -> Values:
    """Score at the largest strength less that at the smallest."""
    return curve.delta(row.alpha, row.score)


def negative_drop(row: Curve) -> Values:
    """Score of the unsteered clips less that at the smallest strength."""
    return row.score[:, row.alpha == 0][:, 0] - row.score[:, 0]


def mean_lpaps(row: Curve) -> Values:
    """LPAPS, mean over all strengths but 0."""
    return row.lpaps[:, row.alpha != 0].mean(1)


def mean_score(row: Curve) -> Values:
    """Score, mean over all strengths."""
    return row.score.mean(1)


def area(row: Curve) -> Values:
    """AUC of the score over LPAPS, as far as all rows get."""
    if row.cutoffs is None:
        return np.full(len(row.score), np.nan)
    return curve.auc(row.alpha, row.score, row.lpaps, row.cutoffs)


def unevenness(row: Curve) -> Values:
    """Standard deviation of the steps, in units of the whole movement; NaN where there may be none."""
    moved = delta(row)
    low, high = bootstrap(moved, row.prompts)
    if low <= 0 <= high:
        return np.full(len(moved), np.nan)
    return curve.smoothness(row.alpha, row.score) / np.maximum(np.abs(moved), 1e-9)


def rank_correlation(row: Curve) -> Values:
    """Rank correlation of strength and score."""
    ranks = np.argsort(np.argsort(row.score, axis=1), axis=1) - (len(row.alpha) - 1) / 2
    steps = np.arange(len(row.alpha)) - (len(row.alpha) - 1) / 2
    return (ranks * steps).sum(1) / (steps**2).sum()


def sets_apart(metric: str, further: str, nearer: str, margin: float = 0.0) -> Measure:
    """Make the measure of how much further one set of clips is than another, and a margin, mean of concepts.

    The interval leaves out groups of prompts.

    Args:
        metric: a distance between sets, a name in ``tada.evaluation.results.SETS``.
        further: a row of Table 1, mean of its strengths, or ``"none"``: the unsteered clips.
        nearer: likewise.
        margin: is added.
    """
    rows = [row for row in (further, nearer) if row != "none"]

    def shift(arms: Mapping[str, Scores], row: str) -> pd.Series:
        return arms[rows[0]].sets[metric][0.0] if row == "none" else mean_shift(arms[row].sets[metric])

    def measure(evidence: Evidence, judge: str) -> Effect | None:
        some = [one for one in evidence.rows.values() if all(row in one and metric in one[row].sets for row in rows)]
        found = [(margin + shift(arms, further) - shift(arms, nearer)).to_numpy(float) for arms in some]
        if not found or len({len(values) for values in found}) > 1 or len(found[0]) < 3:
            return None
        clips = sum(min(len(arms[row].prompts) for row in rows) for arms in some)
        values, over = np.mean(found, axis=0), f"mean of {len(found)} concepts, {clips} clips at each strength"
        return Effect(float(values[0]), *jackknife(values), over, clips if clips >= MIN_CLIPS else 0)

    return measure
