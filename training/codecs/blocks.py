"""Linear codes of spectra: what the latents of the minis are, found without any training.

Spectra are cut into blocks of bands and frames, and each block is written in the principal components of all of them.
Components that matter little get less room: a component's spread is the root of what it was, so that a diffusion model
settles the great ones first, and errs in the small ones without much harm.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tada.io import atomic_write
from tada.models.phase import cut, join


class BlockCode(NamedTuple):
    """Blocks of ``bands`` by ``frames`` as codes: their mean ``[bands * frames]``, and the map either way."""

    bands: int
    frames: int
    mean: Tensor
    analysis: Tensor
    """``[bands * frames, codes]``."""
    synthesis: Tensor
    """``[codes, bands * frames]``."""

    def encode(self, spectra: Tensor) -> Tensor:
        """Codes ``[rows, codes, all bands / bands, time / frames]`` of spectra ``[rows, all bands, time]``."""
        return ((cut(spectra, self.bands, self.frames) - self.mean) @ self.analysis).permute(0, 3, 1, 2)

    def decode(self, codes: Tensor) -> Tensor:
        """Spectra of codes."""
        return join(codes.permute(0, 2, 3, 1) @ self.synthesis + self.mean, self.bands, self.frames)


def fit(spectra: Iterable[Tensor], bands: int, frames: int, codes: int) -> BlockCode:
    """Find the code of blocks of spectra, ``[rows, all bands, time]`` each, by the covariance of all of them.

    ``bands`` and ``frames`` of a block divide the spectra's; ``codes`` are the components that are kept.
    """
    size, count = bands * frames, 0
    total, products = torch.zeros(size, dtype=torch.float64), torch.zeros(size, size, dtype=torch.float64)
    for some in spectra:
        blocks = cut(some, bands, frames).flatten(0, 2).double()
        total, products, count = total + blocks.sum(0), products + blocks.T @ blocks, count + len(blocks)
    mean = total / count
    variances, vectors = torch.linalg.eigh(products / count - mean[:, None] * mean)
    basis, spread = vectors.flip(1)[:, :codes], variances.flip(0)[:codes].clamp_min(1e-12).sqrt()
    room = spread.sqrt() / spread.mean().sqrt()  # codes have variance 1 on average
    return BlockCode(
        bands,
        frames,
        mean.float(),
        (basis * (room / spread)).float().contiguous(),
        (basis * (spread / room)).T.float().contiguous(),
    )


def save(code: BlockCode, path: Path) -> None:
    """Write a code."""
    tensors = {name: getattr(code, name).contiguous() for name in ("mean", "analysis", "synthesis")}
    tensors["shape"] = torch.tensor([code.bands, code.frames])
    atomic_write(path, lambda draft: save_file(tensors, draft))


def load(path: Path) -> BlockCode:
    """Read a code."""
    tensors = load_file(path)
    bands, frames = tensors["shape"].tolist()
    return BlockCode(bands, frames, tensors["mean"], tensors["analysis"], tensors["synthesis"])
