"""The paper's search for an autoencoder: every expansion factor with every sparsity, all trained from one stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from tada.errors import InputError
from tada.sae.model import FREQUENT, Batch, SaeConfig, SparseAutoencoder, train

EXPANSIONS, SPARSITIES = (2, 4, 8, 16), (16, 32, 64)
"""The paper's m and k (section 4.2); it chose m = 4 and k = 64."""


@torch.no_grad()
def measure(sae: SparseAutoencoder, hidden: Tensor, batch: int = 4096) -> dict[str, float]:
    """Measure an autoencoder on activations that it was not trained on.

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
    variance = float((hidden.float() - hidden.float().mean(dim=0)).square().sum())
    return {
        "unexplained": error / variance,
        "explained_variance": 1 - error / variance,
        "l0": active / len(hidden),
        "dead": float((fired == 0).float().mean()),
        "frequent": float((fired > FREQUENT * len(hidden)).float().mean()),
    }


def search(
    batches: Iterable[Tensor],
    held_out: Tensor,
    steps: int,
    expansions: Sequence[int] = EXPANSIONS,
    sparsities: Sequence[int] = SPARSITIES,
    seed: int = 0,
    **training: Any,
) -> tuple[pd.DataFrame, dict[tuple[int, int], SparseAutoencoder]]:
    """Train every combination on the same tokens, and measure each on others.

    Args:
        batches: activations ``[tokens, dim]`` each.
        held_out: activations ``[tokens, dim]`` that are not among them.
        steps: of training.
        expansions: m, features per dimension.
        sparsities: k, active features per token; those above a combination's number of features are left out.
        seed: of the weights.
        training: ``rate``, ``dead_after`` and ``progress`` of ``tada.sae.train``.

    Returns:
        One row a combination: ``m, k, latents``, the columns of :func:`measure`, ``rule`` and ``chosen``; and the
        autoencoders by (m, k).

    Raises:
        ValueError: no combination.
    """
    dim = held_out.shape[-1]
    saes: dict[tuple[int, int], SparseAutoencoder] = {}
    for m in expansions:
        for k in sparsities:
            if k <= m * dim:
                torch.manual_seed(seed)
                saes[m, k] = SparseAutoencoder(SaeConfig(dim, m * dim, k)).to(held_out.device)
    if not saes:
        raise InputError(f"got m={list(expansions)} and k={list(sparsities)} for width {dim}; expected k <= m * width")
    named = {f"m{m} k{k}": sae for (m, k), sae in saes.items()}
    train(named, _shared(batches, named), steps, log_every=steps, **training)
    rows = [{"m": m, "k": k, "latents": m * dim, **measure(sae, held_out)} for (m, k), sae in saes.items()]
    return choose(pd.DataFrame(rows)), saes


MAX_DEAD = 0.1
"""Share of dead features above which a combination is passed over."""


def choose(table: pd.DataFrame) -> pd.DataFrame:
    """Mark one combination by the selection rule.

    The paper selects "based on the lowest reconstruction error and fraction of both dead and high-frequency features"
    and gives no formula. All three are shares, so they are added up here: the least sum wins, of equal ones the
    smaller m, then the smaller k. Combinations with more than :data:`MAX_DEAD` dead features count if all have more.

    Args:
        table: ``m, k, unexplained, dead, frequent``.

    Returns:
        The table with ``rule`` (the sum) and ``chosen``, in the order of m and k.
    """
    ranked = table.assign(rule=table["unexplained"] + table["dead"] + table["frequent"])
    alive = ranked[ranked["dead"] <= MAX_DEAD]
    best = (alive if len(alive) else ranked).sort_values(["rule", "m", "k"]).index[0]
    return ranked.assign(chosen=ranked.index == best).sort_values(["m", "k"]).reset_index(drop=True)


def _shared(batches: Iterable[Tensor], names: Mapping[str, object]) -> Iterator[Batch]:
    for hidden in batches:
        yield dict.fromkeys(names, hidden)
