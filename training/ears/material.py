"""The spectrograms of renders that ears learn from: made once and kept in parts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from tada.minis.ears.spectra import decibels, windows
from tada.minis.mel import log_mel
from training.material import kept, render, truth

FIRST = 600_000_000
"""Seed of the first clip; probes, codecs and tests use others."""

PART = 1024
"""Clips in a file."""


def spectrograms(seeds: Sequence[int]) -> dict[str, Tensor]:
    """Compute each ear's spectrograms of the clips that the seeds draw.

    Returns:
        ``clap``: dB ``[rows, 251, 64]``; ``second``: natural log-mel ``[rows, 257, 64]``.
    """
    clips = render(seeds)
    return {"clap": decibels(windows(clips)[:, 0]), "second": log_mel(clips).transpose(1, 2)}


def _part(number: int) -> dict[str, Tensor]:
    """Compute the spectrograms of one part (some 20 s on one core)."""
    first = FIRST + number * PART
    batches = [spectrograms(range(start, min(start + 64, first + PART))) for start in range(first, first + PART, 64)]
    return {name: torch.cat([batch[name] for batch in batches]).half() for name in batches[0]}


def load(folder: Path, parts: range, ear: str) -> tuple[Tensor, Tensor]:
    """Load spectrograms of an ear, fp16 ``[clips, time, 64]``, and class indices ``[clips, attributes]``.

    Parts, by their numbers, are made where they are missing.
    """
    files = {number: folder / f"{number:03}.safetensors" for number in parts}
    seen = torch.cat([kept(path, partial(_part, number))[ear] for number, path in files.items()])
    return seen, truth(range(FIRST + parts.start * PART, FIRST + parts.stop * PART))
