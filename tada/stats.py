"""The intervals, tests and verdicts of every table, figure and page, fit for few independent units.

**Units** are what was drawn independently: pairs or prompts, with their clips inside. Their bootstrap's percentiles are
widened about the estimate by ``sqrt(n / (n - 1))``, since resampling knows only the sample's own spread, and by
Student's t over the normal distribution (Hesterberg 2015, *What Teachers Should Know About the Bootstrap*, section 4):
plain percentiles of 8 units hold the true mean in 88 % of samples, BCa in 87 %, these in 95 %; skewed and near-binary
units cost all of them more (``benchmarks/intervals.py``). No interval helps where a few units all happen to agree, so
that below :data:`MIN_UNITS` nothing is decided. Paired data are tested by the interval of their differences.

Distances between sets have no value a unit; groups of units are left out in turn (jackknife, Student's t).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import lru_cache
from typing import Any
from zlib import crc32

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from tada.arguments import integer

Values = NDArray[np.float64]

RESAMPLES = 1000
CONFIDENCE = 0.95

MIN_UNITS = 8
"""Independent units that a verdict needs."""

ABOVE, BELOW, UNDECIDED, TOO_FEW = "above", "below", "undecided", "too few"


def decide(low: float, high: float, units: int, bar: float = 0.0) -> str:
    """Tell on which side of a bar an interval lies: ``above``, ``below``, ``undecided``, or ``too few`` units."""
    if units < MIN_UNITS:
        return TOO_FEW
    return ABOVE if low > bar else BELOW if high < bar else UNDECIDED


def draws(count: int, resamples: int = RESAMPLES, seed: int = 0) -> Values:
    """Draw the weights of units: of the sample itself (first row) and of its resamples, with replacement.

    Returns:
        Weights of sum 1, ``[1 + resamples, count]``, not to be written to; times values ``[count]`` they are means.
    """
    return _draws(count, integer("resamples", resamples, 1), seed)


@lru_cache(maxsize=16)  # many quantities of one sample are drawn alike
def _draws(count: int, resamples: int, seed: int) -> Values:
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    weights = np.concatenate([np.full((1, count), 1 / count), drawn / count])
    weights.setflags(write=False)
    return weights


def named_seed(name: str, seed: int = 0) -> int:
    """Give the seed of the draws of one of several samples, such as a concept, which no other has."""
    return seed + crc32(name.encode())


def cluster_draws(*labels: Sequence[Hashable], resamples: int = RESAMPLES, seed: int = 0) -> tuple[Values, int]:
    """Draw the weights of rows whose units hold several, such as the seeds of a pair, or the concepts of a family.

    Args:
        labels: the unit of every row. Of two kinds of units that are crossed, such as pairs and the seeds that all of
            them share, both are drawn, and a row counts as often as both of its own are (Owen and Eckles 2012,
            *Bootstrapping data arrays of arbitrary order*: rather too wide than too narrow). A kind of one unit is
            left out, as it cannot be drawn.

    Returns:
        Weights as from :func:`draws`, a column a row, and the number of units, of the fewer kind.
    """
    codes = [pd.factorize(pd.Series(list(one)))[0] for one in labels]
    counts = [int(one.max()) + 1 for one in codes]
    weights = np.prod([draws(n, resamples, seed + i)[:, codes[i]] for i, n in enumerate(counts)], axis=0)
    kinds = [count for count in counts if count > 1]
    with np.errstate(invalid="ignore"):  # a draw of crossed units may hold no row
        return weights / weights.sum(1, keepdims=True), min(kinds, default=1)


def bootstrap(values: Values, units: int, confidence: float = CONFIDENCE, strata: int = 1) -> tuple[Any, Any]:
    """Find the interval of a quantity from its resamples.

    Args:
        values: ``[1 + resamples, ...]``, the sample's value, then those of its draws, as by the rows of :func:`draws`;
            draws for which the quantity is not defined (NaN) are left out.
        units: in the sample; one alone tells nothing.
        confidence: 0 to 1.
        strata: groups of so many units, each drawn by itself, such as the concepts of a mean.

    Returns:
        The lower and the upper end, ``[...]``.
    """
    from scipy.stats import norm, t

    if units < 2:
        return np.full(values.shape[1:], -np.inf)[()], np.full(values.shape[1:], np.inf)[()]
    tail = (1 + confidence) / 2
    wider = np.sqrt(units / (units - 1)) * t.ppf(tail, strata * (units - 1)) / norm.ppf(tail)
    find = np.nanpercentile if np.isnan(values).any() else np.percentile
    low, high = find(values[1:], (100 * (1 - tail), 100 * tail), axis=0)
    return values[0] - wider * (values[0] - low), values[0] + wider * (high - values[0])


def lower_bounds(values: Values, units: int, strata: int = 1) -> Values:
    """Find lower ends of intervals that hold for many quantities at once, such as all layers of a model.

    Student's t on the spread of the resamples, its level divided by the number of quantities (Bonferroni): of
    quantities that are all 0, some bound lies above 0 in at most 2.5 % of samples, where values of
    units lean to neither side, as differences of clips that are made alike do.

    ``values`` are ``[1 + resamples, quantities]``; all else is as for :func:`bootstrap`, ``-inf`` for one unit.
    """
    from scipy.stats import t

    if units < 2:
        return np.full(values.shape[1:], -np.inf)
    spread = np.nanstd(values[1:], axis=0) * np.sqrt(units / (units - 1))
    return np.asarray(values[0] - t.isf((1 - CONFIDENCE) / 2 / values.shape[1], strata * (units - 1)) * spread)


def mean_interval(values: ArrayLike, *clusters: Sequence[Hashable]) -> tuple[float, float, float]:
    """Find the mean of values and its interval.

    Args:
        values: one a unit, or rows of units.
        clusters: the unit of every row, of one kind or of two that are crossed, as for :func:`cluster_draws`; none
            where each row is one.

    Returns:
        The mean, the lower and the upper end.
    """
    rows = np.asarray(values, np.float64)
    weights, units = cluster_draws(*(clusters or [range(rows.size)]))
    means = weights @ rows
    low, high = bootstrap(means, units)
    return float(means[0]), float(low), float(high)


def difference_interval(values: ArrayLike, others: ArrayLike) -> tuple[float, float, float]:
    """Find the mean difference of paired values, one a unit, and its interval, as :func:`mean_interval`."""
    return mean_interval(np.asarray(values, np.float64) - np.asarray(others, np.float64))


def jackknife(values: Values) -> tuple[float, float]:
    """Find the interval of a quantity from its value and those without each of two or more equal groups of units."""
    from scipy.stats import t

    parts = values[1:]
    spread = np.sqrt((len(parts) - 1) / len(parts) * ((parts - parts.mean()) ** 2).sum())
    half = float(t.ppf((1 + CONFIDENCE) / 2, len(parts) - 1) * spread)
    return float(values[0] - half), float(values[0] + half)


def proportion(hits: float, trials: int) -> tuple[float, float]:
    """Find Wilson's interval of a share; hits may be parts of one, such as the mean hit of a family of concepts."""
    from scipy.stats import norm

    z = norm.ppf((1 + CONFIDENCE) / 2)
    middle, scale = (hits + z**2 / 2) / (trials + z**2), z / (trials + z**2)
    half = scale * np.sqrt(hits * (trials - hits) / trials + z**2 / 4)
    return float(middle - half) if hits > 0 else 0.0, float(middle + half) if hits < trials else 1.0
