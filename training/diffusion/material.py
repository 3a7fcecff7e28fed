"""The latents that denoisers learn from, with their clips' attributes: made once per codec and kept in parts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from tada.minis.attributes import Attributes, draw
from training.material import kept, render

FIRST = 700_000_000
"""Seed of the first clip; probes, ears, codecs and tests use others."""

PART = 1024
"""Clips in a file."""


def _part(encode: Callable[[Tensor], Tensor], number: int) -> dict[str, Tensor]:
    first = FIRST + number * PART
    with torch.no_grad():
        parts = [encode(render(range(start, start + 32))).half() for start in range(first, first + PART, 32)]
    return {"latents": torch.cat(parts)}


def load(folder: Path, parts: int, encode: Callable[[Tensor], Tensor]) -> tuple[Tensor, list[Attributes]]:
    """Load latents, fp16 ``[clips, ...]``, and the attributes of each clip; parts are made where they are missing.

    ``encode`` makes latents of audio ``[rows, frames]`` at 16 kHz.
    """
    files = [kept(folder / f"{number:03}.safetensors", partial(_part, encode, number)) for number in range(parts)]
    return torch.cat([file["latents"] for file in files]), [draw(seed) for seed in range(FIRST, FIRST + parts * PART)]
