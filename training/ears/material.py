"""The spectrograms of renders that ears learn from: made once and kept in parts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tada.io import atomic_write
from tada.minis.attributes import CLASSES, draw
from tada.minis.ears.spectra import decibels, windows
from tada.minis.mel import log_mel
from tada.minis.render import render_batch

FIRST = 600_000_000
"""Seed of the first clip; probes, codecs and tests use others."""

PART = 1024
"""Clips in a file."""


def audio(seeds: Sequence[int]) -> Tensor:
    """Render the clips that the seeds draw, ``[rows, frames]`` at 16 kHz."""
    return torch.from_numpy(render_batch([draw(seed) for seed in seeds], seeds))


def spectrograms(seeds: Sequence[int]) -> dict[str, Tensor]:
    """Compute each ear's spectrograms of the clips that the seeds draw.

    Returns:
        ``clap``: dB ``[rows, 251, 64]``; ``second``: natural log-mel ``[rows, 257, 64]``.
    """
    clips = audio(seeds)
    return {"clap": decibels(windows(clips)[:, 0]), "second": log_mel(clips).transpose(1, 2)}


def truth(seeds: Sequence[int]) -> Tensor:
    """List class indices ``[rows, attributes]`` of the clips that the seeds draw, attributes as in CLASSES."""
    labels = [draw(seed).labels() for seed in seeds]
    return torch.tensor([[classes.index(row[name]) for name, classes in CLASSES.items()] for row in labels])


def make(folder: str | Path, number: int) -> Path:
    """Make the file of one part where it is missing (some 20 s on one core)."""
    path = Path(folder) / f"{number:03}.safetensors"
    if not path.is_file():
        first = FIRST + number * PART
        batches = [
            spectrograms(range(start, min(start + 64, first + PART))) for start in range(first, first + PART, 64)
        ]
        tensors = {name: torch.cat([batch[name] for batch in batches]).half() for name in batches[0]}
        atomic_write(path, lambda draft: save_file(tensors, draft))
    return path


def load(folder: str | Path, parts: range, ear: str) -> tuple[Tensor, Tensor]:
    """Load spectrograms of an ear, fp16 ``[clips, time, 64]``, and class indices ``[clips, attributes]``.

    Args:
        folder: of the parts, which are made where they are missing.
        parts: their numbers.
        ear: ``"clap"`` or ``"second"``.
    """
    seen = torch.cat([load_file(make(folder, number))[ear] for number in parts])
    return seen, truth(range(FIRST + parts.start * PART, FIRST + parts.stop * PART))
