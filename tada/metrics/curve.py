"""What a curve of scores over strengths says: how far it reaches, how smoothly, and at what price.

Three numbers of section 4.2, each as the paper words it and, by name, as the authors' code computes it.

- *Delta alignment*: score at the largest strength less that at the smallest. Higher is more control.
- *Smoothness*: standard deviation of the differences between neighbouring strengths. Lower is smoother.
- *AUC*: gain in score over distance from the unsteered clip, up to a cut-off (second version of the authors' code).
  Higher is more control for the same change.

Conventions: a curve is one score a strength, each the mean over clips; strengths in any order; standard deviations are
those of the population (divided by n).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tada.errors import unknown

Values = NDArray[np.float64]

VARIANTS = ("paper", "authors", "authors-v2")


def delta(alpha: ArrayLike, score: ArrayLike, opposite: ArrayLike | None = None) -> float:
    """Delta alignment: what the whole range of strengths is worth.

    Args:
        alpha: strengths, ``[n]``.
        score: similarity to the concept at each, ``[n]``.
        opposite: similarity to the opposite concept at each: then the authors' two-sided form, half of what the
            positive side gains for the concept and the negative side for its opposite, both from strength 0.

    Returns:
        The paper's ``score(max) - score(min)``, or the two-sided form.

    Raises:
        ValueError: fewer than two strengths, one of them twice, or values that are not finite; no strength 0 where it
            is needed.
    """
    a, s = _curve(alpha, score)
    if opposite is None:
        return float(s[-1] - s[0])
    o = _curve(alpha, opposite)[1]
    zero = _zero(a)
    return float(((s[-1] - s[zero]) + (o[0] - o[zero])) / 2)


def smoothness(
    alpha: ArrayLike,
    score: ArrayLike,
    variant: str = "paper",
    distance: ArrayLike | None = None,
    cutoffs: tuple[float, float] | None = None,
) -> float:
    """How uneven the steps between neighbouring strengths are; 0 for a straight line.

    Args:
        alpha: strengths, ``[n]``.
        score: at each, ``[n]``.
        variant: ``"paper"``: standard deviation of all consecutive differences. ``"authors"`` (first code):
            differences of negative and positive strengths apart (strength 0 left out), only those that are not
            negative, all together. ``"authors-v2"``: for each direction the gain as a share of its largest, over the
            strengths whose distance is within the cut-off, standard deviation of its steps, mean of both directions.
        distance: for ``"authors-v2"``: from the unsteered clip at each strength, ``[n]``.
        cutoffs: for ``"authors-v2"``: largest distance on the positive and on the negative side.

    Raises:
        KeyError: an unknown variant. ValueError: see :func:`delta`; a variant that needs more than was given.
    """
    if variant not in VARIANTS:
        raise KeyError(unknown("variant of smoothness", variant, VARIANTS))
    a, s = _curve(alpha, score)
    if variant == "paper":
        return float(np.std(np.diff(s)))
    if variant == "authors":
        steps = np.concatenate([np.diff(s[a < 0]), np.diff(s[a > 0])])
        kept = steps[steps >= 0]
        return float(np.std(kept)) if len(kept) else float("nan")
    if distance is None or cutoffs is None:
        raise ValueError("the variant 'authors-v2' needs distance and cutoffs")
    return float(np.mean([_v2(alpha, score, distance, sign, cut) for sign, cut in zip((1, -1), cutoffs, strict=True)]))


def auc(alpha: ArrayLike, score: ArrayLike, distance: ArrayLike, cutoffs: tuple[float, float]) -> float:
    """Area under the gain in score over the distance from the unsteered clip, mean of both directions.

    For each direction the strengths in order of size, gain = how much the score moved in the wanted direction;
    trapezoids from distance 0 to the cut-off, where the curve is interpolated. Steps against the wanted direction
    count as negative area. A direction that never gets as far as its cut-off is counted as far as it goes.

    Args:
        alpha: strengths with 0 among them, ``[n]``.
        score: at each, ``[n]``.
        distance: from the unsteered clip at each, ``[n]``; 0 at strength 0.
        cutoffs: largest distance on the positive and on the negative side.

    Returns:
        In units of score times distance; higher is better.

    Raises:
        ValueError: see :func:`delta`; a cut-off that is not above 0, or a direction without strengths.
    """
    return float(
        np.mean(
            [_area(*direction(alpha, score, distance, sign, cut)) for sign, cut in zip((1, -1), cutoffs, strict=True)]
        )
    )


def direction(
    alpha: ArrayLike, score: ArrayLike, distance: ArrayLike, sign: int, cutoff: float
) -> tuple[Values, Values]:
    """One direction of a curve up to a cut-off: distances from 0 on, and the gain at each."""
    a, s = _curve(alpha, score)
    d = _curve(alpha, distance)[1]
    zero = _zero(a)
    if not cutoff > 0:
        raise ValueError(f"got a cut-off of {cutoff!r}; expected a distance above 0")
    order = np.flatnonzero(a * sign > 0)[:: 1 if sign > 0 else -1]
    if not len(order):
        raise ValueError(f"no strengths {'above' if sign > 0 else 'below'} 0 in {a.tolist()}")
    way, gain = np.r_[0.0, d[order]], np.r_[0.0, sign * (s[order] - s[zero])]
    beyond = np.flatnonzero(way >= cutoff)
    if not len(beyond):
        return way, gain
    last = int(beyond[0])
    part = (cutoff - way[last - 1]) / (way[last] - way[last - 1])
    return np.r_[way[:last], cutoff], np.r_[gain[:last], gain[last - 1] + part * (gain[last] - gain[last - 1])]


def _area(way: Values, gain: Values) -> float:
    return float(((gain[1:] + gain[:-1]) / 2 * np.diff(way)).sum())


def _v2(alpha: Any, score: Any, distance: Any, sign: int, cutoff: float) -> float:
    way, gain = direction(alpha, score, distance, sign, np.inf)
    gain = gain[: int(np.argmax(way > cutoff)) if (way > cutoff).any() else None]  # whole steps only
    largest = gain.max()
    return float(np.std(np.diff(gain / largest))) if largest > 0 else float("nan")


def _curve(alpha: ArrayLike, score: ArrayLike) -> tuple[Values, Values]:
    """Strengths in order, and the scores at them."""
    a, s = np.asarray(alpha, dtype=np.float64), np.asarray(score, dtype=np.float64)
    if a.ndim != 1 or a.shape != s.shape or len(a) < 2:
        raise ValueError(f"got strengths {a.shape} and scores {s.shape}; expected one score a strength, two or more")
    if not (np.isfinite(a).all() and np.isfinite(s).all()):
        raise ValueError("got strengths or scores that are NaN or infinite")
    if len(np.unique(a)) < len(a):
        raise ValueError("got a strength twice: give the mean over clips at each")
    order = np.argsort(a)
    return a[order], s[order]


def _zero(alpha: Sequence[float] | Values) -> int:
    places = np.flatnonzero(np.asarray(alpha) == 0)
    if not len(places):
        raise ValueError("no strength 0 among the strengths: the unsteered clip is what all is measured from")
    return int(places[0])
