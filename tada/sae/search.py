"""The paper's search for an autoencoder: every expansion factor with every sparsity, trained on the same tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from tada.errors import InputError
from tada.sae.model import SaeConfig, SparseAutoencoder
from tada.sae.training import measure, train

EXPANSIONS, SPARSITIES = (2, 4, 8, 16), (16, 32, 64)
"""The paper's m and k (section 4.2); it chose m = 4 and k = 64."""


def search(
    batches: Callable[[], Iterable[Tensor]],
    held_out: Sequence[Tensor],
    steps: int,
    expansions: Sequence[int] = EXPANSIONS,
    sparsities: Sequence[int] = SPARSITIES,
    seed: int = 0,
    device: torch.device | str = "cpu",
    **training: Any,
) -> tuple[pd.DataFrame, SparseAutoencoder]:
    """Train every combination on the same tokens, one after the other, and measure each on others.

    Args:
        batches: makes the stream of activations ``[tokens, dim]``, the same each time.
        held_out: activations that are not among them, in parts ``[tokens, dim]``.
        expansions: m, features per dimension.
        sparsities: k, active features per token; those above a combination's number of features are left out.
        training: ``rate``, ``dead_after`` and ``progress`` of ``tada.sae.train``.

    Returns:
        One row a combination: ``m, k, latents``, the columns of :func:`measure`, ``rule`` and ``chosen``; and the
        chosen autoencoder.

    Raises:
        ValueError: no combination.
    """
    dim = held_out[0].shape[-1]
    combinations = [(m, k) for m in expansions for k in sparsities if k <= m * dim]
    if not combinations:
        raise InputError(f"got m={list(expansions)} and k={list(sparsities)} for width {dim}; expected k <= m * width")
    rows: list[dict[str, float]] = []
    for m, k in combinations:
        torch.manual_seed(seed)
        sae = SparseAutoencoder(SaeConfig(dim, m * dim, k)).to(device)
        train({"": sae}, ({"": hidden} for hidden in batches()), steps, log_every=steps, **training)
        rows.append({"m": m, "k": k, "latents": m * dim, **measure(sae, held_out)})
        table = choose(pd.DataFrame(rows))
        if table.set_index(["m", "k"])["chosen"][m, k]:
            best = sae
    return table, best


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
    order = ranked.assign(dying=ranked["dead"] > MAX_DEAD).sort_values(["dying", "rule", "m", "k"]).index
    return ranked.assign(chosen=ranked.index == order[0]).sort_values(["m", "k"]).reset_index(drop=True)
