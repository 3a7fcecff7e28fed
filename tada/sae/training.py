"""Training of sparse autoencoders: reconstruction, revival of dead features (AuxK), the optimiser's steps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import pandas as pd
import torch
from torch import Tensor, nn

from tada.arguments import integer, number
from tada.errors import InputError
from tada.sae.model import Code, SparseAutoencoder
from tada.sae.streams import Batch, pieces

AUXK = 1 / 32
"""Weight of the AuxK error in the loss."""

LOG = ["step", "site", "unexplained", "explained_variance", "l0", "dead", "frequent"]
"""Columns of the log of a training."""

FREQUENT = 0.1
"""A feature that fires on more than this share of the tokens counts as high-frequency."""


def losses(sae: SparseAutoencoder, hidden: Tensor, dead: Tensor) -> tuple[Tensor, Tensor, Code]:
    """Compute the reconstruction error and the AuxK error (Gao et al. 2025) in units of variance, and the code.

    Args:
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
        batches: activations by site, ``[tokens, dim]`` each; see :func:`tada.sae.shuffle_buffer`.
        steps: optimiser steps.
        rate: of Adam, after a warm-up and before a linear decay; None for 2e-4 / sqrt(latents / 2^14).
        dead_after: tokens without firing after which a feature counts as dead.
        log_every: steps between log rows.

    Returns:
        One row per site and log step: step, site, and the batch as :func:`measure` measures it, but for ``dead``, the
        share of features that count as dead.

    Raises:
        ValueError: a stream that ends early, a batch without tokens, or a loss that is not finite.
    """
    from tqdm.auto import tqdm

    steps, log_every = integer("steps", steps, 1), integer("log_every", log_every, 1)
    optimisers = {site: make_optimiser(sae, rate, steps) for site, sae in saes.items()}
    rows, stream = [], iter(batches)
    for step in tqdm(range(1, steps + 1), disable=not progress, desc="sae", leave=False):
        batch = next(stream, None)
        if batch is None:
            raise InputError(f"the stream of activations ended after {step - 1} of {steps} steps: give it more prompts")
        for site, sae in saes.items():
            hidden = batch[site].to(sae.W_dec)
            if not len(hidden):
                raise InputError(f"got a batch without tokens at {site}; expected one or more")
            if step == 1 and not sae.initialised:
                sae.initialise(hidden)
            take_step(sae.train(), *optimisers[site], hidden, dead_after)
            if step % log_every == 0 or step == steps:
                dead = float((sae.idle > dead_after).float().mean())
                rows.append({"step": step, "site": site, **measure(sae, hidden), "dead": dead})
    for sae in saes.values():
        sae.eval()
    return pd.DataFrame(rows, columns=LOG)


def make_optimiser(
    sae: SparseAutoencoder, rate: float | None, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Make Adam and its schedule: a warm-up, then a linear decay; ``rate`` as for :func:`train`."""
    standard = 2e-4 / math.sqrt(sae.config.latents / 2**14)
    peak = standard if rate is None else number("rate", rate, 1e-12, 1.0)
    optimiser = torch.optim.Adam(sae.parameters(), lr=peak, eps=6.25e-10)
    warm = max(1, min(1000, steps // 20))
    return optimiser, torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / warm, (steps - step) / max(1, steps - warm))
    )


def take_step(
    sae: SparseAutoencoder,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    hidden: Tensor,
    dead_after: int,
) -> None:
    """Step on the sum of the loss over dimensions, whose gradient is nearly always cut to length 1.

    Counts for how many tokens features have not fired, too.
    """
    error, revival, code = losses(sae, hidden, sae.idle > dead_after)
    loss = sae.config.dim * (error + AUXK * revival)
    if not loss.isfinite():
        raise InputError(
            f"the loss is {loss.detach().item()}, not finite: are the activations, or is the rate too high?"
        )
    optimiser.zero_grad()
    loss.backward()
    sae.project_gradient()
    nn.utils.clip_grad_norm_(sae.parameters(), 1.0)
    optimiser.step()
    schedule.step()
    sae.normalise_decoder()
    sae.idle += len(hidden)
    sae.idle[code.indices[code.values > 0]] = 0


@torch.no_grad()
def measure(sae: SparseAutoencoder, hidden: Tensor | Iterable[Tensor]) -> dict[str, float]:
    """Measure an autoencoder on activations that it was not trained on.

    Args:
        hidden: ``[tokens, dim]``, whole or in parts.

    Returns:
        ``unexplained`` (share of the variance, lower is better), ``explained_variance``, ``l0`` (active features per
        token), ``dead`` and ``frequent``: shares of features that fire on no token, and on more than a tenth.
    """
    sae.eval()
    tokens, error, squares = 0, 0.0, 0.0
    fired, total = torch.zeros(sae.config.latents), torch.zeros(sae.config.dim, dtype=torch.float64)
    for part in pieces(hidden, sae.W_dec):
        code, centred = sae.encode(part), part - sae.b_pre
        tokens += len(part)
        error += float((sae.decode(code) - part).square().sum())
        squares += float(centred.square().sum())
        total += centred.sum(dim=0).cpu()
        fired += torch.bincount(code.indices[code.values > 0], minlength=sae.config.latents).cpu()
    unexplained = error / (squares - float(total.square().sum()) / tokens)
    return {
        "unexplained": unexplained,
        "explained_variance": 1 - unexplained,
        "l0": float(fired.sum()) / tokens,
        "dead": float((fired == 0).float().mean()),
        "frequent": float((fired > FREQUENT * tokens).float().mean()),
    }
