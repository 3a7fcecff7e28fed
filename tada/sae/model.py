"""Sparse autoencoders on cross-attention outputs: equations 4 and 5 of the paper.

A code is kept sparse, as values and indices, and decoded by summing rows of the decoder, so that no dense
``[tokens, latents]`` tensor is ever multiplied.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tada.arguments import integer
from tada.errors import InputError
from tada.io import read_signed, write_signed

LARGEST = 2**24
"""Features, or width, that an autoencoder has at most."""


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
        for name, most in (("dim", LARGEST), ("latents", LARGEST), ("k", None)):
            object.__setattr__(self, name, integer(name, getattr(self, name), 1, most))
        if self.k > self.latents:
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
        folder, about = Path(folder), {**vars(self.config), "info": dict(info or {})}
        write_signed(folder / "sae.safetensors", folder / "cfg.json", self.state_dict(), about)
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> SparseAutoencoder:
        """Read what :meth:`save` wrote; ValueError where the files are damaged or do not belong together."""
        tensors, about = read_signed(Path(folder) / "sae.safetensors", Path(folder) / "cfg.json")
        about.pop("info", None)
        shape = tensors["W_dec"].shape if "W_dec" in tensors else ()
        if set(about) != {field.name for field in fields(SaeConfig)} or shape != (about["latents"], about["dim"]):
            raise InputError(f"{folder}: cfg.json {about} does not fit the decoder {tuple(shape)} in sae.safetensors")
        model = cls(SaeConfig(**about))
        model.load_state_dict(tensors)
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
