"""The latents that denoisers learn from, with their clips' attributes: made once per codec and kept in parts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tada.io import atomic_write
from tada.minis.attributes import Attributes, draw
from tada.minis.render import render_batch

FIRST = 700_000_000
"""Seed of the first clip; probes, ears, codecs and tests use others."""

PART = 1024
"""Clips in a file."""


def make(folder: str | Path, number: int, encode: Callable[[Tensor], Tensor]) -> Path:
    """Make the file of one part where it is missing.

    Args:
        folder: of the parts.
        number: of the part.
        encode: audio ``[rows, frames]`` at 16 kHz to latents.
    """
    path = Path(folder) / f"{number:03}.safetensors"
    if not path.is_file():
        first, latents = FIRST + number * PART, []
        for start in range(first, first + PART, 32):
            seeds = range(start, start + 32)
            with torch.no_grad():
                latents.append(encode(torch.from_numpy(render_batch([draw(seed) for seed in seeds], seeds))).half())
        tensors = {"latents": torch.cat(latents).contiguous()}
        atomic_write(path, lambda draft: save_file(tensors, draft))
    return path


def load(folder: str | Path, parts: int, encode: Callable[[Tensor], Tensor]) -> tuple[Tensor, list[Attributes]]:
    """Load latents, fp16 ``[clips, ...]``, and the attributes of each clip."""
    latents = torch.cat([load_file(make(folder, number, encode))["latents"] for number in range(parts)])
    return latents, [draw(seed) for seed in range(FIRST, FIRST + parts * PART)]


def sample_batch(
    latents: Tensor, batch: int, draws: torch.Generator, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw the clips of a step (int64 ``[batch]``), their latents, and noise of the same shape."""
    rows = torch.randint(len(latents), (batch,), generator=draws)
    x = latents[rows].float().to(device)
    return rows, x, torch.randn(x.shape, generator=draws).to(device)
