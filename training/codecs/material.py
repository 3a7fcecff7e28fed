"""The renders that codecs learn from: made once, kept as one file, and cut into crops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tada.errors import InputError
from tada.io import atomic_write
from tada.minis.render import FRAMES
from training.material import render

FIRST = 500_000_000
"""Seed of the first clip; probes and tests use others."""
Clips = NDArray[np.float16]


def renders(path: Path, clips: int = 4096) -> Clips:
    """Render drawn attributes: made where the file is missing (15 ms a clip) and mapped from it afterwards.

    Returns:
        float16 ``[clips, 65536]`` at 16 kHz.

    Raises:
        ValueError: a file that holds another number of clips.
    """
    if not path.is_file():
        atomic_write(path, lambda draft: _render(draft, clips))
    kept = np.load(path, mmap_mode="r")
    if kept.shape != (clips, FRAMES):
        raise InputError(f"{path}: got {kept.shape}; expected {(clips, FRAMES)}: delete it or name another file")
    return kept


def _render(path: Path, clips: int) -> None:
    out = np.lib.format.open_memmap(path, "w+", np.float16, (clips, FRAMES))
    for start in range(0, clips, 64):
        out[start : start + 64] = render(range(FIRST + start, FIRST + min(start + 64, clips)))
    out.flush()


def crops(audio: Clips, step: int, batch: int, frames: int) -> Tensor:
    """Cut a step's own clips out of renders at random, float32 ``[batch, frames]``."""
    rng = np.random.default_rng([step, 41])
    rows = rng.integers(len(audio), size=batch)
    starts = rng.integers(audio.shape[1] - frames + 1, size=batch)
    cut = [audio[row, start : start + frames] for row, start in zip(rows, starts, strict=True)]
    return torch.from_numpy(np.stack(cut).astype(np.float32))
