"""FAD and its kin: how far one set of clips is from another, in the embeddings of any model.

What: Fréchet distance between Gaussians fitted to two sets of embeddings (Kilgour et al. 2019), computed in float64 by
the identity ``tr sqrt(S1 S2) = ||A1 A2^T||_*`` (sum of singular values), ``A = (X - mean) / sqrt(n - 1)``: no product
of covariances, no complex numbers. Range from 0 up, lower is closer; the unit is that of the embeddings squared.

A set's size biases it upwards, by more than most effects: compare at equal ``n`` and state ``n``, or use
:func:`extrapolated` (FAD-infinity, Gui et al. 2024) or :func:`kernel` (KAD, Chung et al. 2025), which is unbiased.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tada.errors import InputError


def distance(x: Any, y: Any) -> float:
    """Compute the Fréchet distance of two sets of embeddings.

    Args:
        x, y: ``[clips, dim]``, at least 2 clips each.

    Returns:
        The squared distance of the two Gaussians; 0 for equal sets up to rounding (below 1e-12 of their variance).

    Raises:
        ValueError: other shapes, fewer than 2 clips, NaN or infinite values.
    """
    x, y = _checked(x, y)
    a, b = _centred(x), _centred(y)
    shift = (x.mean(0) - y.mean(0)).square().sum()
    common = torch.linalg.svdvals(a @ b.T).sum()
    return float(shift + a.square().sum() + b.square().sum() - 2 * common)


class Extrapolation(NamedTuple):
    """FAD at infinite set size, and what it was drawn through: sizes and the mean FAD at each."""

    value: float
    sizes: tuple[int, ...]
    distances: tuple[float, ...]


def extrapolated(x: Any, y: Any, sizes: Sequence[int] | None = None, repeats: int = 4, seed: int = 0) -> Extrapolation:
    """Extrapolate FAD to infinite sets (FAD-infinity): ``a + b / n`` fitted to FAD of random subsets, at ``1 / n = 0``.

    Args:
        x, y: ``[clips, dim]``.
        sizes: of the subsets; None for five, evenly spaced in ``1 / n`` from half of the smaller set to all of it.

    Raises:
        ValueError: see :func:`distance`; fewer than two sizes, or a size that a set does not have.
    """
    x, y = _checked(x, y)
    most = min(len(x), len(y))
    if sizes is None:
        sizes = sorted({round(1 / part) for part in np.linspace(1 / most, 2 / most, 5)})
    if len(set(sizes)) < 2 or min(sizes) < 2 or max(sizes) > most:
        raise InputError(f"got sizes {list(sizes)}; expected two or more from 2 to {most}, the smaller set's size")
    rng = np.random.default_rng(seed)
    means = [
        float(np.mean([distance(*(one[rng.permutation(len(one))[:n]] for one in (x, y))) for _ in range(repeats)]))
        for n in sizes
    ]
    slope_and_value = np.polyfit(1 / np.asarray(sizes, dtype=float), means, 1)
    return Extrapolation(float(slope_and_value[1]), tuple(map(int, sizes)), tuple(means))


def kernel(x: Any, y: Any, bandwidth: float | None = None, paired: bool = False) -> float:
    """Compute KAD: unbiased squared maximum mean discrepancy with a Gaussian kernel, times 100 as its authors report.

    Args:
        x: embeddings of the clips to judge, ``[clips, dim]``.
        y: embeddings of the reference.
        bandwidth: of the kernel; None for the median distance within the reference.
        paired: whether clips of one row belong together, such as a steered clip and the unsteered one of the same
            noise: pairs are then left out of the comparison, as each clip's comparison with itself is.

    Returns:
        0 on average for sets of one kind, so below 0 as often as above; lower is closer.

    Raises:
        ValueError: see :func:`distance`; a reference whose clips are all equal; pairs of unequal sets.
    """
    x, y = _checked(x, y)
    width = bandwidth or spread(y)
    if not width > 0:
        raise InputError("all clips of the reference are equal: give a bandwidth")
    if paired and len(x) != len(y):
        raise InputError(f"got sets of {len(x)} and {len(y)} clips; expected pairs")

    def alike(a: Tensor, b: Tensor, pairs: bool) -> Tensor:
        """Mean likeness, without that of clips in the same row where they are pairs."""
        likeness, n = torch.exp(-torch.cdist(a, b).square() / (2 * width**2)), len(a)
        return (likeness.sum() - likeness.diagonal().sum()) / (n * (n - 1)) if pairs else likeness.mean()

    return float(100.0 * (alike(x, x, True) + alike(y, y, True) - 2 * alike(x, y, paired)))


def spread(x: Any) -> float:
    """Compute the median distance within a set of embeddings ``[clips, dim]``, the width for :func:`kernel`."""
    x, _ = _checked(x, x)
    return float(torch.pdist(x).median())


def _checked(x: Any, y: Any) -> tuple[Tensor, Tensor]:
    pair = tuple(torch.as_tensor(np.asarray(one) if not isinstance(one, Tensor) else one).double() for one in (x, y))
    for one in pair:
        if one.ndim != 2 or len(one) < 2:
            raise InputError(f"got embeddings of shape {list(one.shape)}; expected [clips, dim], at least 2 clips")
        if not one.isfinite().all():
            raise InputError(
                f"NaN or infinite values in {int((~one.isfinite()).any(1).sum())} of {len(one)} embeddings"
            )
    if pair[0].shape[1] != pair[1].shape[1]:
        raise InputError(f"got embeddings of {pair[0].shape[1]} and {pair[1].shape[1]} values; expected one model's")
    return pair  # type: ignore[return-value]


def _centred(x: Tensor) -> Tensor:
    """Rows whose Gram matrix is the covariance; no more of them than columns."""
    rows = (x - x.mean(0)) / (len(x) - 1) ** 0.5
    return torch.linalg.qr(rows, mode="r").R if len(rows) > rows.shape[1] else rows
