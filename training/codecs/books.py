"""Codebooks: codes as a sum of entries, one of each book, every book made for what those before it leave."""

from __future__ import annotations

import torch
from torch import Tensor

ROUNDS = 15
"""Of Lloyd's algorithm, for each book."""


def fit(points: Tensor, books: int, entries: int) -> Tensor:
    """Find codebooks ``[books, entries, width]`` of points ``[points, width]``: k-means on what the last one left."""
    draws, found = torch.Generator().manual_seed(0), []
    for _ in range(books):
        found.append(_centres(points, entries, draws))
        points = points - found[-1][nearest(points, found[-1])]
    return torch.stack(found)


def _centres(points: Tensor, count: int, draws: torch.Generator) -> Tensor:
    """Centres ``[count, width]``; one that is nearest to no point begins anew at any of them."""
    centres = points[torch.randperm(len(points), generator=draws)[:count]]
    for _ in range(ROUNDS):
        own = nearest(points, centres)
        sizes = own.bincount(minlength=count)[:, None]
        sums = torch.zeros_like(centres).index_add_(0, own, points)
        anywhere = points[torch.randint(len(points), (count,), generator=draws)]
        centres = torch.where(sizes > 0, sums / sizes.clamp_min(1), anywhere)
    return centres


def nearest(points: Tensor, centres: Tensor) -> Tensor:
    """Number the centre that is nearest to each of ``points`` ``[points, width]``."""
    sizes = centres.square().sum(1)
    return torch.cat([(sizes - 2 * some @ centres.T).argmin(1) for some in points.split(8192)])


def quantise(points: Tensor, books: Tensor) -> Tensor:
    """Points ``[points, width]`` as the sums of entries that are found for them book after book."""
    left = points
    for entries in books:
        left = left - entries[nearest(left, entries)]
    return points - left
