"""What recipes learn from and are tested on: renders of the clips that seeds draw, their classes, and kept files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tada.io import atomic_write
from tada.minis.attributes import CLASSES, draw
from tada.minis.probe import TEST_SEED
from tada.minis.render import render_batch

TESTED = 1024
"""Clips that an accuracy is measured on."""


def render(seeds: Sequence[int]) -> Tensor:
    """Render the clips that the seeds draw, ``[rows, frames]`` at 16 kHz."""
    return torch.from_numpy(render_batch([draw(seed) for seed in seeds], seeds))


def truth(seeds: Sequence[int]) -> Tensor:
    """List class indices ``[rows, attributes]`` of the clips that the seeds draw, attributes as in CLASSES."""
    labels = [draw(seed).labels() for seed in seeds]
    return torch.tensor([[classes.index(row[name]) for name, classes in CLASSES.items()] for row in labels])


def unheard() -> Iterator[range]:
    """Seeds of the clips for tests, which no recipe uses, up to 64 at a time."""
    last = TEST_SEED + TESTED
    return (range(first, min(first + 64, last)) for first in range(TEST_SEED, last, 64))


def kept(path: Path, make: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Read the tensors of a file, which is made where it is missing."""
    if not path.is_file():
        tensors = {name: value.contiguous() for name, value in make().items()}
        atomic_write(path, lambda draft: save_file(tensors, draft))
    return load_file(path)
