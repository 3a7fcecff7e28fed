"""What codecs learn from: renders made once and kept as one file, and crops of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tada.errors import InputError
from tada.minis import attributes
from tada.minis.attributes import draw
from tada.minis.render import FRAMES, render_batch

FIRST = 500_000_000
"""Seed of the first clip; probes and tests use others."""
OFTEN: Mapping[str, int] = {"piano": 4}
"""Classes of which so many times as many clips are learnt from: what codecs lose of a piano is twice what they lose of
the others, its partials being bright, far apart and short."""

Clips = NDArray[np.float16]


def renders(path: str | Path, clips: int = 4096, first: int = FIRST) -> Clips:
    """Renders of drawn attributes, made where the file is missing (15 ms a clip) and read from it afterwards.

    Args:
        path: of the ``.npy`` file; it appears when complete.
        clips: how many.
        first: seed of the first clip, the others follow.

    Returns:
        float16 ``[clips, 65536]`` at 16 kHz, mapped from the file.

    Raises:
        ValueError: a file that holds another number of clips.
    """
    path = Path(path)
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        out = np.lib.format.open_memmap(partial, "w+", np.float16, (clips, FRAMES))
        for start in range(0, clips, 64):
            seeds = range(first + start, first + min(start + 64, clips))
            out[start : start + 64] = render_batch([draw(seed) for seed in seeds], seeds)
        out.flush()
        partial.replace(path)
    kept = np.load(path, mmap_mode="r")
    if kept.shape != (clips, FRAMES):
        raise InputError(f"{path}: got {kept.shape}; expected {(clips, FRAMES)}: delete it or name another file")
    return kept


def repeated(audio: Clips, often: Mapping[str, int] = OFTEN, first: int = FIRST) -> Clips:
    """Renders, those of some classes so many times.

    Args:
        audio: ``[clips, frames]``, from :func:`renders`.
        often: class -> times.
        first: seed of the first clip.

    Returns:
        In memory, ``[more clips, frames]``.
    """
    return audio[attributes.repeated(map(draw, range(first, first + len(audio))), often)]


def crops(audio: Clips, step: int, batch: int, frames: int, hop: int = 1) -> Tensor:
    """A step's own clips, cut out at random.

    Args:
        audio: ``[clips, total]``.
        step: number of the step, from which all draws come.
        batch: how many crops.
        frames: length of each.
        hop: every crop starts at a multiple of this.

    Returns:
        float32 ``[batch, frames]``.
    """
    rng = np.random.default_rng([step, 41])
    rows = rng.integers(len(audio), size=batch)
    starts = hop * rng.integers((audio.shape[1] - frames) // hop + 1, size=batch)
    cut = [audio[row, start : start + frames] for row, start in zip(rows, starts, strict=True)]
    return torch.from_numpy(np.stack(cut).astype(np.float32))
