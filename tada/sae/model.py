"""Sparse autoencoders on cross-attention outputs: equations 4 and 5 of the paper, their training, their features.

A code is kept sparse, as values and indices, and decoded by summing rows of the decoder, so that no dense
``[tokens, latents]`` tensor is ever multiplied. Activations stream from a running model; nothing of size is stored.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, cycle, islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tada.engine import Setting
from tada.errors import InputError, unknown
from tada.hooks import Steps, record
from tada.io import atomic_write, sha256, write_json
from tada.models.base import Layers, Model
from tada.steering.vector import Vector

Batch = Mapping[str, Tensor]

AUXK = 1 / 32
"""Weight of the AuxK error in the loss."""

FREQUENT = 0.1
"""A feature that fires on more than this share of the tokens counts as high-frequency."""


class Code(NamedTuple):
    """Active features of every token.

    Attributes:
        values: ``[tokens, active]``, 0 or more; padding is 0.
        indices: int64 ``[tokens, active]``, which feature each value belongs to.
    """

    values: Tensor
    indices: Tensor


@dataclass(frozen=True)
class SaeConfig:
    """Sizes and kind of an autoencoder.

    Attributes:
        dim: width of the activations.
        latents: number of features; the paper's expansion factor m times ``dim``.
        k: features that may be active per token.
        encoder_bias: add a bias before TopK, as the authors' code does; equation 4 has none.
        batch_topk: in training, let the k largest per token be the k times tokens largest of the batch.
    """

    dim: int
    latents: int
    k: int
    encoder_bias: bool = False
    batch_topk: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.k <= self.latents:
            raise InputError(f"got k={self.k} of {self.latents} latents; expected 1 to {self.latents}")


class SparseAutoencoder(nn.Module):
    """TopK autoencoder: ``f = TopK(W_enc (h - b_pre))`` (eq. 4), ``h^ = W_dec f + b_pre`` (eq. 5).

    ``W_dec`` is ``[latents, dim]``: its rows, of unit length, are the features' directions. Activations are divided by
    ``scale`` on the way in, so that they have unit variance, and multiplied by it on the way out.
    """

    def __init__(self, config: SaeConfig) -> None:
        super().__init__()
        self.config = config
        directions = F.normalize(torch.randn(config.latents, config.dim), dim=1)
        self.W_dec = nn.Parameter(directions)
        self.W_enc = nn.Parameter(directions.clone())
        self.b_pre = nn.Parameter(torch.zeros(config.dim))
        self.b_enc = nn.Parameter(torch.zeros(config.latents)) if config.encoder_bias else None
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("idle", torch.zeros(config.latents, dtype=torch.int64))

    scale: Tensor
    idle: Tensor

    @property
    def initialised(self) -> bool:
        """Whether bias and scale are set, so that training goes on instead of beginning."""
        return bool(self.scale != 1) or bool(self.b_pre.any())

    @torch.no_grad()
    def initialise(self, hidden: Tensor) -> None:
        """Set bias (geometric median) and scale from a first batch ``[tokens, dim]``."""
        centre = geometric_median(hidden.float())
        self.b_pre.copy_(centre)
        self.scale.copy_((hidden.float() - centre).square().mean().sqrt().clamp_min(1e-8))

    def pre_activations(self, hidden: Tensor) -> Tensor:
        """Compute the pre-activations ``[tokens, latents]`` of ``[tokens, dim]``."""
        return F.linear((hidden - self.b_pre) / self.scale, self.W_enc, self.b_enc)

    def encode(self, hidden: Tensor) -> Code:
        """Compute the code of ``[tokens, dim]``."""
        return self.top_k(self.pre_activations(hidden))

    def top_k(self, pre: Tensor) -> Code:
        """Keep the largest pre-activations, negative ones as 0."""
        if self.config.batch_topk and self.training:
            return _batch_top_k(pre.relu(), self.config.k)
        return Code(*pre.relu().topk(self.config.k, dim=-1, sorted=False))

    def decode(self, code: Code) -> Tensor:
        """Compute the activations ``[tokens, dim]`` of a code."""
        return self.decode_normalised(code) * self.scale + self.b_pre

    def decode_normalised(self, code: Code) -> Tensor:
        """Sum the weighted decoder rows, in units of ``scale`` and without bias."""
        return F.embedding_bag(code.indices, self.W_dec, per_sample_weights=code.values, mode="sum")

    def forward(self, hidden: Tensor) -> Tensor:
        return self.decode(self.encode(hidden))

    @torch.no_grad()
    def project_gradient(self) -> None:
        """Remove the part of the decoder's gradient that would only change the rows' lengths."""
        if self.W_dec.grad is not None:
            along = (self.W_dec.grad * self.W_dec).sum(dim=1, keepdim=True)
            self.W_dec.grad -= along * self.W_dec

    @torch.no_grad()
    def normalise_decoder(self) -> None:
        """Bring the decoder's rows back to unit length."""
        self.W_dec.copy_(F.normalize(self.W_dec, dim=1))

    def save(self, folder: str | Path, info: Mapping[str, Any] | None = None) -> Path:
        """Write ``sae.safetensors`` and ``cfg.json`` into ``folder``, each replaced only when complete."""
        from safetensors.torch import save

        folder = Path(folder)
        data = save({name: value.contiguous() for name, value in self.state_dict().items()})
        about = {**vars(self.config), "sha256": sha256(data), "info": dict(info or {})}
        atomic_write(folder / "sae.safetensors", data)
        write_json(folder / "cfg.json", about)
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> SparseAutoencoder:
        """Read what :meth:`save` wrote; ValueError where the files are damaged or do not belong together."""
        from safetensors.torch import load

        folder = Path(folder)
        data, about = (folder / "sae.safetensors").read_bytes(), json.loads((folder / "cfg.json").read_text())
        if sha256(data) != about.pop("sha256"):
            raise InputError(f"{folder}: sae.safetensors is not what cfg.json describes: damaged or replaced")
        about.pop("info")
        model = cls(SaeConfig(**about))
        model.load_state_dict(load(data))
        return model.eval()


def _batch_top_k(active: Tensor, k: int) -> Code:
    """Keep the ``k * tokens`` largest of a batch, padded with zeros to the most that one token has."""
    threshold = active.flatten().topk(k * len(active), sorted=False).values.min()
    kept = torch.where(active >= threshold, active, 0)
    return Code(*kept.topk(int((kept > 0).sum(dim=1).max().clamp_min(1)), dim=-1, sorted=False))


def geometric_median(points: Tensor, rounds: int = 50) -> Tensor:
    """Find the point ``[dim]`` with the least summed distance to ``[tokens, dim]`` (Weiszfeld's iteration)."""
    guess = points.mean(dim=0)
    for _ in range(rounds):
        weights = 1 / (points - guess).norm(dim=1, keepdim=True).clamp_min(1e-6)
        guess = (weights * points).sum(dim=0) / weights.sum()
    return guess


# ---- training


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
        One row per site and log step: step, site, error, explained_variance, l0, dead and frequent (shares of features;
        frequent ones fired on more than a tenth of the tokens since the last row).

    Raises:
        ValueError: a stream that ends early.
    """
    from tqdm.auto import tqdm

    optimisers = {site: make_optimiser(sae, rate, steps) for site, sae in saes.items()}
    fired = {site: torch.zeros_like(sae.idle) for site, sae in saes.items()}
    seen, rows, stream = 0, [], iter(batches)
    for step in tqdm(range(steps), disable=not progress, desc="sae", leave=False):
        batch = next(stream, None)
        if batch is None:
            raise InputError(f"the stream of activations ended after {step} of {steps} steps: give it more prompts")
        for site, sae in saes.items():
            hidden = batch[site].float()
            if step == 0 and not sae.initialised:
                sae.initialise(hidden)
            error, revival, code = losses(sae.train(), hidden, sae.idle > dead_after)
            take_step(sae, *optimisers[site], error + AUXK * revival)
            fired[site] += count_firings(sae, code, len(hidden))
            if step % log_every == log_every - 1 or step == steps - 1:
                tokens = seen + len(hidden)
                about = _log_row(sae, hidden, code, error, dead_after)
                frequent = float((fired[site] > FREQUENT * tokens).float().mean())
                rows.append({"step": step + 1, "site": site, **about, "frequent": frequent})
                fired[site].zero_()
        seen = 0 if step % log_every == log_every - 1 else seen + len(hidden)
    for sae in saes.values():
        sae.eval()
    return pd.DataFrame(rows)


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


# ---- activations


def activations(
    model: Model,
    prompts: Sequence[str],
    seeds: int | Iterable[int],
    setting: Setting,
    sites: Layers | None = "functional",
    steps: Steps = None,
) -> Iterator[dict[str, Tensor]]:
    """Stream cross-attention outputs of the conditional pass, one sampling run after the other, without end.

    Args:
        model: the model, sampled as the stream is read.
        prompts: gone through in order, again and again.
        seeds: of the first clip, the next clips have those that follow; or one a clip, gone through again and again.
        setting: of the clips.
        sites: layers by index, site name or layer set; None for all.
        steps: denoising steps to keep; None for all.

    Yields:
        Site to ``[clips * steps * tokens, dim]``.
    """
    draws = count(seeds) if isinstance(seeds, int) else cycle(seeds)
    while True:
        for start in range(0, len(prompts), setting.batch):
            part = list(prompts[start : start + setting.batch])
            noise = model.noise(list(islice(draws, len(part))), setting.seconds)
            with record(model, sites, steps=steps) as kept:
                model.sample(model.encode(part, lyrics=setting.lyrics), noise, setting.sampling)
            yield {site: hidden.flatten(0, 2) for site, hidden in kept.items()}


def shuffle_buffer(stream: Iterable[Batch], tokens: int, buffer: int, seed: int = 0) -> Iterator[dict[str, Tensor]]:
    """Serve batches of single tokens, shuffled across clips and steps, the same tokens at every site.

    Args:
        stream: activations by site, ``[any, dim]``.
        tokens: per batch.
        buffer: tokens to hold; half of them are served before the buffer is filled again.
        seed: of the shuffling.

    Yields:
        Site to ``[tokens, dim]``.
    """
    if buffer < 2 * tokens:
        raise InputError(f"got a buffer of {buffer} tokens for batches of {tokens}; expected at least {2 * tokens}")
    draw, held = torch.Generator().manual_seed(seed), dict[str, Tensor]()
    for new in stream:
        held = {site: torch.cat([held[site], part]) if held else part for site, part in new.items()}
        size = len(next(iter(held.values())))
        if size < buffer:
            continue
        order = torch.randperm(size, generator=draw)
        held = {site: part[order.to(part.device)] for site, part in held.items()}
        batches = (size - buffer // 2) // tokens
        for start in range(0, batches * tokens, tokens):
            yield {site: part[start : start + tokens] for site, part in held.items()}
        held = {site: part[batches * tokens :] for site, part in held.items()}


# ---- features

Activity = Literal["topk", "relu"]
Score = Literal["tfidf", "difference", "cohen"]


@torch.no_grad()
def feature_moments(sae: SparseAutoencoder, hidden: Tensor, activity: Activity = "topk") -> tuple[Tensor, Tensor]:
    """Compute the mean and variance of every feature's activity.

    Args:
        sae: the autoencoder.
        hidden: activations ``[..., tokens, dim]``.
        activity: ``"topk"``, the code as the paper writes, or ``"relu"``, all positive pre-activations, as the
            authors' code does.

    Returns:
        Two tensors ``[..., latents]``.
    """
    if activity not in ("topk", "relu"):
        raise InputError(unknown("activity", activity, ("topk", "relu")))
    if hidden.dim() > 2:
        parts = [feature_moments(sae, part, activity) for part in hidden]
        return torch.stack([mean for mean, _ in parts]), torch.stack([variance for _, variance in parts])
    active = sae.pre_activations(hidden.to(sae.W_dec)).relu()
    if activity == "relu":
        return active.mean(dim=0), active.var(dim=0, correction=0)
    values, indices = (part.flatten() for part in active.topk(sae.config.k, dim=-1, sorted=False))
    zeros = active.new_zeros(sae.config.latents)
    mean = zeros.index_add(0, indices, values) / len(hidden)
    return mean, zeros.index_add(0, indices, values.square()) / len(hidden) - mean.square()


def scores(
    sae: SparseAutoencoder,
    positive: Tensor,
    negative: Tensor,
    kind: Score = "tfidf",
    activity: Activity = "topk",
    epsilon: float = 1e-6,
) -> Tensor:
    """Score how much each feature speaks for a concept (eq. 6).

    Args:
        sae: the autoencoder.
        positive: activations with the concept, ``[tokens, dim]``, or ``[steps, tokens, dim]`` for a score per step.
        negative: activations without it, likewise.
        kind: ``"tfidf"`` (eq. 6), ``"difference"`` of means, or ``"cohen"``'s d.
        activity: ``"topk"`` as the paper writes, or ``"relu"`` as the authors' code does.
        epsilon: of equation 6.

    Returns:
        ``[latents]`` or ``[steps, latents]``, higher for features of the concept.
    """
    if kind not in ("tfidf", "difference", "cohen"):
        raise InputError(unknown("score", kind, ("tfidf", "difference", "cohen")))
    (with_, spread), (without, other) = (feature_moments(sae, hidden, activity) for hidden in (positive, negative))
    if kind == "tfidf":
        return with_ * torch.log(1 + 1 / (without + epsilon))
    difference = with_ - without
    return difference if kind == "difference" else difference / ((spread + other) / 2 + 1e-12).sqrt()


def vector(sae: SparseAutoencoder, site: str, score: Tensor, tau: int, info: Mapping[str, Any] | None = None) -> Vector:
    """Sum the directions of the ``tau`` features with the highest scores to a steering vector (eq. 7).

    Args:
        sae: the autoencoder.
        site: the site it was trained on.
        score: ``[latents]``, or ``[steps, latents]`` for features and a direction per step.
        tau: number of features.
        info: where it comes from; ``checkpoint`` belongs in it.

    Returns:
        A vector for :meth:`tada.steering.Vector.apply`; equation 8 is ``renorm=False``.
    """
    if not 1 <= tau <= sae.config.latents:
        raise InputError(f"got tau={tau}; expected 1 to {sae.config.latents}")
    chosen = score.reshape(-1, sae.config.latents).topk(tau, dim=-1).indices
    direction = sae.W_dec.detach().float()[chosen].sum(dim=1).cpu()
    about = {"method": "sae", "features": chosen.tolist(), "tau": tau, "sites": [site], **(info or {})}
    return Vector({site: direction}, about)
