"""Training of sparse autoencoders: reconstruction, revival of dead features (AuxK), the optimiser's steps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import pandas as pd
import torch
from torch import Tensor, nn

from tada.errors import InputError
from tada.sae.model import Code, SparseAutoencoder
from tada.sae.streams import Batch

AUXK = 1 / 32
"""Weight of the AuxK error in the loss."""

LOG = ["step", "site", "error", "explained_variance", "l0", "dead", "frequent"]
"""Columns of the log of a training."""

FREQUENT = 0.1
"""A feature that fires on more than this share of the tokens counts as high-frequency."""


def losses(sae: SparseAutoencoder, hidden: Tensor, dead: Tensor) -> tuple[Tensor, Tensor, Code]:
    """Compute the reconstruction error and the AuxK error (Gao et al. 2025) in units of variance, and the code.

    Args:
        sae: the autoencoder.
        hidden: activations ``[tokens, dim]``.
        dead: bool ``[latents]``, features that have not fired for long: the ``dim / 2`` strongest of them shall
            reconstruct what the others left out.
    """
    normalised, pre = (hidden - sae.b_pre) / sae.scale, sae.pre_activations(hidden)
    code = sae.top_k(pre)
    residual = normalised - sae.decode_normalised(code)
    error = residual.square().mean()
    count = min(sae.config.dim // 2, int(dead.sum()))
    if count == 0:
        return error, torch.zeros_like(error), code
    values, indices = pre.masked_fill(~dead, -math.inf).topk(count, dim=-1, sorted=False)
    revived, target = sae.decode_normalised(Code(values.relu(), indices)), residual.detach()
    return error, (revived - target).square().mean() / target.square().mean().clamp_min(1e-8), code


def train(
    saes: Mapping[str, SparseAutoencoder],
    batches: Iterable[Batch],
    steps: int,
    rate: float | None = None,
    dead_after: int = 10_000_000,
    log_every: int = 50,
    progress: bool = False,
) -> pd.DataFrame:
    """Train one autoencoder per site, all from one stream.

    Args:
        saes: by site; trained in place. One that was trained before goes on from there.
        batches: activations by site, ``[tokens, dim]`` each; see :func:`shuffle_buffer`.
        steps: optimiser steps.
        rate: of Adam, after a warm-up and before a linear decay; None for 2e-4 / sqrt(latents / 2^14).
        dead_after: tokens without firing after which a feature counts as dead.
        log_every: steps between log rows.
        progress: show a progress bar.

    Returns:
        One row per site and log step with the columns :data:`LOG`; dead and frequent are shares of features, frequent
        ones fired on more than a tenth of the tokens since the last row.

    Raises:
        ValueError: a stream that ends early.
    """
    from tqdm.auto import tqdm

    optimisers = {site: make_optimiser(sae, rate, steps) for site, sae in saes.items()}
    fired = {site: torch.zeros_like(sae.idle) for site, sae in saes.items()}
    seen, rows, stream = 0, [], iter(batches)
    for step in tqdm(range(steps), disable=not progress, desc="sae", leave=False):
        logged = (step + 1) % log_every == 0 or step + 1 == steps
        batch = next(stream, None)
        if batch is None:
            raise InputError(f"the stream of activations ended after {step} of {steps} steps: give it more prompts")
        for site, sae in saes.items():
            hidden = batch[site].to(sae.W_dec)
            if step == 0 and not sae.initialised:
                sae.initialise(hidden)
            error, revival, code = losses(sae.train(), hidden, sae.idle > dead_after)
            take_step(sae, *optimisers[site], error + AUXK * revival)
            fired[site] += count_firings(sae, code, len(hidden))
            if logged:
                about = _log_row(sae, hidden, code, error, dead_after)
                frequent = float((fired[site] > FREQUENT * (seen + len(hidden))).float().mean())
                rows.append({"step": step + 1, "site": site, **about, "frequent": frequent})
                fired[site].zero_()
        seen = 0 if logged else seen + len(hidden)
    for sae in saes.values():
        sae.eval()
    return pd.DataFrame(rows, columns=LOG)


def make_optimiser(
    sae: SparseAutoencoder, rate: float | None, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Make Adam and its schedule: a warm-up, then a linear decay; ``rate`` as for :func:`train`."""
    peak = rate or 2e-4 / math.sqrt(sae.config.latents / 2**14)
    optimiser = torch.optim.Adam(sae.parameters(), lr=peak, eps=6.25e-10)
    warm = max(1, min(1000, steps // 20))
    return optimiser, torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / warm, (steps - step) / max(1, steps - warm))
    )


def take_step(
    sae: SparseAutoencoder,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    loss: Tensor,
) -> None:
    """Step on a loss that is a mean over dimensions; as their sum its gradient is nearly always cut to length 1."""
    optimiser.zero_grad()
    (sae.config.dim * loss).backward()
    sae.project_gradient()
    nn.utils.clip_grad_norm_(sae.parameters(), 1.0)
    optimiser.step()
    schedule.step()
    sae.normalise_decoder()


@torch.no_grad()
def count_firings(sae: SparseAutoencoder, code: Code, tokens: int) -> Tensor:
    """Count how often each feature fired, int64 ``[latents]``, and note for how many tokens the others have not."""
    counts = torch.bincount(code.indices[code.values > 0], minlength=sae.config.latents)
    sae.idle.add_(tokens)[counts > 0] = 0
    return counts


@torch.no_grad()
def _log_row(sae: SparseAutoencoder, hidden: Tensor, code: Code, error: Tensor, dead_after: int) -> dict[str, float]:
    variance = ((hidden - hidden.mean(dim=0)) / sae.scale).square().mean()
    return {
        "error": float(error),
        "explained_variance": 1 - float(error / variance),
        "l0": float((code.values > 0).sum(dim=1).float().mean()),
        "dead": float((sae.idle > dead_after).float().mean()),
    }
