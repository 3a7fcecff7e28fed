"""Captions of a step's clips, with filler words inserted, and some left out for classifier-free guidance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tada.minis.attributes import Attributes
from tada.minis.captions import caption
from training.diffusion.words import insert_fillers

FIRST = 800_000_000
"""Seed of the first caption."""
UNCONDITIONAL = 0.1
"""Share of the rows whose caption is dropped, for classifier-free guidance."""


class Captions(NamedTuple):
    """Texts of a step's rows, and in which of them the denoiser gets the text (bool ``[rows]``)."""

    texts: list[str]
    conditional: Tensor


def captions(clips: Sequence[Attributes], step: int) -> Captions:
    """Write captions of a step's clips; all draws come from the step and the row."""
    seeds = range(FIRST + step * len(clips), FIRST + (step + 1) * len(clips))
    texts = [insert_fillers(caption(clip, seed).text, seed) for clip, seed in zip(clips, seeds, strict=True)]
    draws = torch.rand(len(clips), generator=torch.Generator().manual_seed(step))
    return Captions(texts, draws >= UNCONDITIONAL)
