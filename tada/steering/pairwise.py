"""Directions from pairs of clips, beside CAA's mean difference: AUSteer's sign consistency, and linear probes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from tada.arguments import Seeds, integer, number
from tada.engine import Setting
from tada.hooks import record
from tada.models.base import Layers, Model
from tada.steering.vector import Vector, check_pairs, fit_info, fit_rows

Sides = tuple[Sequence[str], Sequence[str]]


def sign_consistency(
    model: Model,
    positive: Sequence[str],
    negative: Sequence[str],
    seeds: Seeds,
    setting: Setting,
    sites: Layers | None = None,
) -> Vector:
    """Fit AUSteer's directions: how consistently each channel is larger with the concept than without.

    Of the differences ``m`` of all frames of all pairs, ``r+`` is the share above 0, ``r-`` that below, and the
    direction is ``r+`` where that is the larger, else ``-r-``. The arm steers with the largest, see
    :func:`keep_largest`.

    Args:
        positive: prompts with the concept.
        negative: their counterparts without it, in the same order.
        seeds: as for ``tada.steering.contrast``; both sides of a pair share their noise.
        setting: what the clips share; lyrics for all pairs, or one per pair.
        sites: layers by index, site name or layer set; None for all.

    Returns:
        A vector of values from -1 to 1, not of length 1.

    Raises:
        ValueError: sides of different length, or pairs that the model reads as the same.
    """

    def count(hidden: Tensor) -> Tensor:
        with_, without = hidden.chunk(2)
        signs = torch.sign(with_ - without).flatten(0, 1)
        return torch.stack([(signs > 0).sum(0), (signs < 0).sum(0), torch.ones_like(signs[0]).long() * len(signs)])[
            None
        ]

    counts = _compare(model, (positive, negative), seeds, setting, sites, count)
    directions = {}
    for site, parts in counts.items():
        up, down, total = parts.sum(1).cpu().unbind(1)
        directions[site] = torch.where(up >= down, up, -down) / total
    info = fit_info(model, "austeer", (positive, negative), seeds, setting)
    return Vector(directions, info | {"sites": list(directions)})


def keep_largest(vector: Vector, count: int, sites: Sequence[str] | None = None) -> Vector:
    """Keep the largest entries in size of each step over all sites together, the first of equal ones; others are 0.

    Args:
        vector: as from :func:`sign_consistency`.
        count: entries a step; v2 of the paper takes 3 % of all sites' and 40 % of the functional ones'.
        sites: those that are steered; None for all of the vector.
    """
    chosen = vector.sites if sites is None else tuple(sites)
    flat = torch.cat([vector.directions[site] for site in chosen], dim=1)
    count = integer("count", count, 1, flat.shape[1])
    places = flat.abs().sort(dim=1, descending=True, stable=True).indices[:, :count]
    kept = torch.zeros_like(flat).scatter(1, places, flat.gather(1, places))
    parts = kept.split([vector.directions[site].shape[1] for site in chosen], dim=1)
    return replace(
        vector,
        directions=dict(zip(chosen, parts, strict=True)),
        info={**vector.info, "sites": list(chosen), "largest": count},
    )


def probe_direction(
    model: Model,
    positive: Sequence[str],
    negative: Sequence[str],
    seeds: Seeds,
    setting: Setting,
    sites: Layers | None = None,
    ridge: float = 1.0,
) -> Vector:
    """Fit the unit weights of a linear probe that tells the poles apart by frame means, one per site and step.

    The probe is ridge regression on labels 1 and -1: ``w = X' (X X' + c I)^-1 y`` with centred frame means ``X``
    ``[clips, dim]`` and ``c = ridge tr(X X') / clips``.

    Args:
        positive: prompts with the concept.
        negative: their counterparts without it, in the same order.
        seeds: as for ``tada.steering.contrast``; both sides of a pair share their noise.
        setting: what the clips share; lyrics for all pairs, or one per pair.
        sites: layers by index, site name or layer set; None for all.
        ridge: strength of the penalty, above 0; a very large one gives the mean difference.

    Raises:
        ValueError: sides of different length, or pairs that the model reads as the same.
    """
    ridge = number("ridge", ridge, 1e-9)

    def means(hidden: Tensor) -> Tensor:
        return torch.stack(hidden.float().mean(1).chunk(2), dim=1)

    kept = _compare(model, (positive, negative), seeds, setting, sites, means)
    info = fit_info(model, "probe", (positive, negative), seeds, setting)
    directions = {site: _probe(both.cpu().double(), ridge).float() for site, both in kept.items()}
    return Vector(directions, info | {"sites": list(directions)}).unit()


def _probe(means: Tensor, ridge: float) -> Tensor:
    """Weights ``[steps, dim]`` for frame means ``[steps, pairs, 2, dim]``, the positive side first."""
    x = means.flatten(1, 2)
    x = x - x.mean(1, keepdim=True)
    gram = x @ x.mT
    penalty = ridge * gram.diagonal(dim1=1, dim2=2).mean(1)
    labels = torch.tensor([1.0, -1.0]).to(x).repeat(x.shape[1] // 2).expand(len(x), -1)
    weights = torch.linalg.solve(gram + penalty[:, None, None] * torch.eye(x.shape[1]).to(x), labels)
    return (weights[:, None] @ x)[:, 0]


def _compare(
    model: Model,
    sides: Sides,
    seeds: Seeds,
    setting: Setting,
    sites: Layers | None,
    reduce: Callable[[Tensor], Tensor],
) -> dict[str, Tensor]:
    """Sample both sides of every pair from the same noise, and reduce what sites put out in the conditional pass.

    ``reduce`` sees the positive rows of some pairs, then their negative ones; its results are joined along their rows.
    """
    check_pairs(model, *sides, setting)
    jobs = fit_rows(sides, seeds, setting)
    size = max(1, setting.batch // 2)
    with record(model, sites, reduce) as kept:
        for start in range(0, len(jobs), size):
            positive, negative, lyrics, draws = zip(*jobs[start : start + size], strict=True)
            context = model.encode([*positive, *negative], setting.negative, [*lyrics, *lyrics])
            model.sample(context, model.noise([*draws, *draws], setting.seconds), setting.sampling)
    return dict(kept)
