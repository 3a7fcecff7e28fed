"""Curves of scores over strengths: how far it reaches, how smoothly, and at what price.

Three numbers of section 4.2, each as the paper words it and, by name, as the authors' code computes it; and a slope.

- *Delta alignment*: score at the largest strength less that at the smallest. Higher is more control.
- *Smoothness*: standard deviation of the differences between neighbouring strengths. Lower is smoother.
- *AUC*: gain in score over distance from the unsteered clip, up to a cut-off (second version of the authors' code).
  Higher is more control for the same change.

Conventions: a curve is one score a strength, each the mean over clips, or many curves ``[..., n]``, which give
``[...]`` numbers; strengths in any order; standard deviations are those of the population (divided by n).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tada.errors import InputError, check_name
from tada.stats import Values

VARIANTS = ("paper", "authors", "authors-v2")
"""The paper's words, the authors' first code, and their second."""


def delta(alpha: ArrayLike, score: ArrayLike, opposite: ArrayLike | None = None) -> Any:
    """Compute delta alignment: what the whole range of strengths is worth.

    Args:
        alpha: strengths, ``[n]``.
        score: similarity to the concept at each, ``[..., n]``.
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
        return s[..., -1] - s[..., 0]
    o = _curve(alpha, opposite)[1]
    zero = _zero(a)
    return ((s[..., -1] - s[..., zero]) + (o[..., 0] - o[..., zero])) / 2


def smoothness(
    alpha: ArrayLike,
    score: ArrayLike,
    variant: str = "paper",
    distance: ArrayLike | None = None,
    cutoffs: tuple[float, float] | None = None,
) -> Any:
    """Compute how uneven the steps between neighbouring strengths are; 0 for a straight line.

    Args:
        alpha: strengths, ``[n]``.
        score: at each, ``[..., n]``.
        variant: ``"paper"``: standard deviation of all consecutive differences. ``"authors"`` (first code):
            differences of negative and positive strengths apart (strength 0 left out), only those that are not
            negative, all together. ``"authors-v2"``: for each direction the gain as a share of its largest, over all
            strengths whose distance is within the cut-off, standard deviation of its steps, mean of both directions.
        distance: for ``"authors-v2"``: from the unsteered clip at each strength, ``[..., n]``.
        cutoffs: for ``"authors-v2"``: largest distance on the positive and on the negative side.

    Returns:
        NaN where no step is left to take a deviation of.

    Raises:
        KeyError: an unknown variant. ValueError: see :func:`delta`; a variant that needs more than was given.
    """
    check_name("variant of curves", variant, VARIANTS)
    a, s = _curve(alpha, score)
    if variant == "paper":
        return np.diff(s).std(-1)
    if variant == "authors":
        steps = np.concatenate([np.diff(s[..., a < 0]), np.diff(s[..., a > 0])], axis=-1)
        return _deviation(steps, steps >= 0)
    if distance is None or cutoffs is None:
        raise InputError("the variant 'authors-v2' needs distance and cutoffs")
    return np.mean([_uneven(*side) for side in _sides(alpha, score, distance, cutoffs)], axis=0)


def slope(alpha: ArrayLike, score: ArrayLike) -> Any:
    """Compute the slope of the line through scores by least squares, per unit of strength; given as for ``delta``."""
    a, s = _curve(alpha, score)
    centred = a - a.mean()
    return s @ centred / (centred @ centred)


def auc(
    alpha: ArrayLike,
    score: ArrayLike,
    distance: ArrayLike,
    cutoffs: tuple[float, float],
    variant: str = "paper",
) -> Any:
    """Compute the area under the gain in score over the distance from the unsteered clip, mean of both directions.

    For each direction the strengths in order of size, gain = how much the score moved in the wanted direction;
    trapezoids from distance 0 to the cut-off, where the curve is interpolated. Steps against the wanted direction
    count as negative area. A direction that never gets as far as its cut-off is counted as far as it goes.

    Args:
        alpha: strengths with 0 among them, ``[n]``.
        score: at each, ``[..., n]``.
        distance: from the unsteered clip at each, ``[..., n]``; 0 at strength 0.
        cutoffs: largest distance on the positive and on the negative side.
        variant: ``"authors-v2"``: the path goes through all strengths whose distance is within the cut-off, those
            beyond left out, with one more point at the cut-off, interpolated between the nearest distances below and
            above it; where distances fall again, the path goes back. Else it ends where it first meets the cut-off.

    Returns:
        In units of score times distance; higher is better.

    Raises:
        KeyError: an unknown variant. ValueError: see :func:`delta`; a cut-off that is not above 0, or a direction
            without strengths.
    """
    check_name("variant of curves", variant, VARIANTS)
    area = _path_area if variant == "authors-v2" else _area
    if not min(cutoffs) > 0:
        raise InputError(f"got the cut-offs {tuple(cutoffs)!r}; expected distances above 0")
    return np.mean([area(*side) for side in _sides(alpha, score, distance, cutoffs)], axis=0)


def _sides(
    alpha: ArrayLike, score: ArrayLike, distance: ArrayLike, cutoffs: tuple[float, float]
) -> Iterator[tuple[Values, Values, float]]:
    """Both directions of curves, ``[..., 1 + strengths]``: distances from 0 on, the gain at each, and the cut-off."""
    a, s = _curve(alpha, score)
    d = _curve(alpha, distance)[1]
    if (d < 0).any():
        raise InputError(f"got the distance {d.min():.4g}; expected 0 or more: distances are lengths")
    zero = _zero(a)
    for sign, cutoff in zip((1, -1), cutoffs, strict=True):
        order = np.flatnonzero(a * sign > 0)[::sign]
        if not len(order):
            raise InputError(f"no strengths {'above' if sign > 0 else 'below'} 0 in {a.tolist()}")
        pair = d[..., order], sign * (s[..., order] - s[..., [zero]])
        way, gain = (np.concatenate([np.zeros((*one.shape[:-1], 1)), one], -1) for one in pair)
        yield way, gain, cutoff


def _area(way: Values, gain: Values, cutoff: float) -> Values:
    """Trapezoids up to the first distance beyond the cut-off, of that last one the part before it."""
    before, after = way[..., :-1], way[..., 1:]
    beyond = np.logical_or.accumulate(before >= cutoff, axis=-1)
    last = ~beyond & (after >= cutoff)
    part = np.divide(cutoff - before, after - before, out=np.ones_like(before), where=last)
    areas = part * (after - before) * (gain[..., :-1] + part * np.diff(gain) / 2)
    return np.asarray(np.where(beyond, 0.0, areas).sum(-1))


def _path_area(way: Values, gain: Values, cutoff: float) -> Values:
    """Trapezoids along all points within the cut-off; the nearest point beyond it is moved on to it."""
    within = way <= cutoff
    inner = np.where(within, way, -np.inf).argmax(-1)[..., None]
    outer = np.where(within, np.inf, way).argmin(-1)[..., None]
    (near, gained), (far, reached) = ([np.take_along_axis(x, at, -1) for x in (way, gain)] for at in (inner, outer))
    part = np.divide(cutoff - near, far - near, out=np.zeros_like(near), where=far > near)
    moved = ~within & (np.arange(way.shape[-1]) == outer)
    way, gain = np.where(moved, cutoff, way), np.where(moved, gained + part * (reached - gained), gain)
    return np.asarray((_steps(way, within | moved) * _steps(gain, within | moved, np.add) / 2).sum(-1))


def _steps(values: Values, kept: NDArray[np.bool_], combine: Any = np.subtract) -> Values:
    """Combine each kept point but the first with the kept one before it, 0 at others; the first point is kept."""
    before = np.maximum.accumulate(np.where(kept, np.arange(kept.shape[-1]), 0), -1)[..., :-1]
    combined = combine(values[..., 1:], np.take_along_axis(values, before, -1))
    return np.asarray(np.where(kept[..., 1:], combined, 0.0))


def _uneven(way: Values, gain: Values, cutoff: float) -> Values:
    """Deviation of the steps within the cut-off, as shares of the largest gain; NaN where nothing was gained."""
    within = way <= cutoff
    largest = np.where(within, gain, -np.inf).max(-1, keepdims=True)
    shares = np.divide(gain, largest, out=np.full_like(gain, np.nan), where=largest > 0)
    return _deviation(_steps(shares, within), within[..., 1:])


def _deviation(steps: Values, kept: NDArray[np.bool_]) -> Values:
    """Standard deviation of those steps that are kept."""
    count = kept.sum(-1)
    total = np.where(kept, steps, 0.0).sum(-1, keepdims=True)
    mean = np.divide(total, count[..., None], out=np.full_like(total, np.nan), where=count[..., None] > 0)
    return np.sqrt(np.where(kept, (steps - mean) ** 2, 0.0).sum(-1) / np.where(count > 0, count, np.nan))


def _curve(alpha: ArrayLike, score: ArrayLike) -> tuple[Values, Values]:
    """Sort strengths, with the scores at them."""
    a, s = np.asarray(alpha, dtype=np.float64), np.asarray(score, dtype=np.float64)
    if a.ndim != 1 or s.shape[-1:] != a.shape or len(a) < 2:
        raise InputError(f"got strengths {a.shape} and scores {s.shape}; expected one score a strength, two or more")
    if not (np.isfinite(a).all() and np.isfinite(s).all()):
        raise InputError("got strengths or scores that are NaN or infinite")
    if len(np.unique(a)) < len(a):
        raise InputError("got a strength twice: give the mean over clips at each")
    order = np.argsort(a)
    return a[order], s[..., order]


def _zero(alpha: Values) -> int:
    places = np.flatnonzero(alpha == 0)
    if not len(places):
        raise InputError("no strength 0 among the strengths: the unsteered clip is what all is measured from")
    return int(places[0])
