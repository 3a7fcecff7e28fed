"""The paper's search for an autoencoder: every expansion factor with every sparsity, all trained from one stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import pandas as pd
import torch
from torch import Tensor

from tada.errors import InputError
from tada.sae.model import Batch, SaeConfig, SparseAutoencoder, train

EXPANSIONS, SPARSITIES = (2, 4, 8, 16), (16, 32, 64)
"""The paper's m and k (section 4.2); it chose m = 4 and k = 64."""

OFTEN = 0.1
"""A feature that fires on more than this share of the tokens counts as high-frequency."""


@torch.no_grad()
def measure(sae: SparseAutoencoder, hidden: Tensor, batch: int = 4096) -> dict[str, float]:
    """What an autoencoder makes of activations that it was not trained on.

    Args:
        sae: the autoencoder.
        hidden: ``[tokens, dim]``.
        batch: tokens at a time.

    Returns:
        ``unexplained`` (share of the variance, lower is better), ``explained_variance``, ``l0`` (active features per
        token), ``dead`` and ``frequent``: shares of features that fire on no token, and on more than a tenth.
    """
    sae.eval()
    error, active = 0.0, 0.0
    fired = torch.zeros(sae.config.latents, device=hidden.device)
    for part in hidden.float().split(batch):
        code = sae.encode(part)
        error += float((sae.decode(code) - part).square().sum())
        on = code.values > 0
        active += float(on.sum())
        fired += torch.bincount(code.indices[on], minlength=sae.config.latents)
    spread = float((hidden.float() - hidden.float().mean(dim=0)).square().sum())
    return {
        "unexplained": error / spread,
        "explained_variance": 1 - error / spread,
        "l0": active / len(hidden),
        "dead": float((fired == 0).float().mean()),
        "frequent": float((fired > OFTEN * len(hidden)).float().mean()),
    }


def search(
    batches: Iterable[Tensor],
    held_out: Tensor,
    steps: int,
    expansions: Sequence[int] = EXPANSIONS,
    sparsities: Sequence[int] = SPARSITIES,
    rate: float | None = None,
    dead_after: int = 10_000_000,
    seed: int = 0,
    progress: bool = False,
) -> tuple[pd.DataFrame, dict[tuple[int, int], SparseAutoencoder]]:
    """Train every combination on the same tokens, and measure each on others.

    Args:
        batches: activations ``[tokens, dim]`` each.
        held_out: activations ``[tokens, dim]`` that are not among them.
        steps: of training.
        expansions: m, features per dimension.
        sparsities: k, active features per token; those above a combination's number of features are left out.
        rate: as for ``tada.sae.train``.
        dead_after: as for ``tada.sae.train``.
        seed: of the weights.
        progress: show a progress bar.

    Returns:
        One row a combination: ``m, k, latents``, the columns of :func:`measure`, ``rule`` and ``chosen``; and the
        autoencoders by (m, k).

    Raises:
        ValueError: no combination.
    """
    dim = held_out.shape[-1]
    found: dict[tuple[int, int], SparseAutoencoder] = {}
    for m in expansions:
        for k in sparsities:
            if k <= m * dim:
                torch.manual_seed(seed)
                found[m, k] = SparseAutoencoder(SaeConfig(dim, m * dim, k)).to(held_out.device)
    if not found:
        raise InputError(f"got m={list(expansions)} and k={list(sparsities)} for width {dim}; expected k <= m * width")
    named = {f"m{m} k{k}": sae for (m, k), sae in found.items()}
    train(named, _shared(batches, named), steps, rate, dead_after=dead_after, log_every=steps, progress=progress)
    rows = [{"m": m, "k": k, "latents": m * dim, **measure(sae, held_out)} for (m, k), sae in found.items()]
    return choose(pd.DataFrame(rows)), found


DEAD = 0.1
"""Share of dead features above which a combination is passed over."""


def choose(table: pd.DataFrame) -> pd.DataFrame:
    """Mark one combination by the selection rule.

    The paper selects "based on the lowest reconstruction error and fraction of both dead and high-frequency features"
    and gives no formula. All three are shares, so they are added up here: the least sum wins, of equal ones the
    smaller m, then the smaller k. Where there are any whose dead features are at most :data:`DEAD`, it is one of those.

    Args:
        table: ``m, k, unexplained, dead, frequent``.

    Returns:
        The table with ``rule`` (the sum) and ``chosen``, in the order of m and k.
    """
    ranked = table.assign(rule=table["unexplained"] + table["dead"] + table["frequent"])
    alive = ranked[ranked["dead"] <= DEAD]
    best = (alive if len(alive) else ranked).sort_values(["rule", "m", "k"]).index[0]
    return ranked.assign(chosen=ranked.index == best).sort_values(["m", "k"]).reset_index(drop=True)


def _shared(batches: Iterable[Tensor], names: Mapping[str, object]) -> Iterator[Batch]:
    for hidden in batches:
        yield dict.fromkeys(names, hidden)
