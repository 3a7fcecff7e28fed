"""What a step's clips are said to be: captions with strewn words, some left out, and reworded ones for planting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tada.minis.attributes import Attributes, draw
from tada.minis.captions import caption
from tada.minis.diffusion.words import strewn

FIRST = 800_000_000
"""Seed of the first caption."""
UNTOLD = 0.1
"""Share of the rows that are told nothing, for classifier-free guidance."""


class Told(NamedTuple):
    """Texts of a step's rows, and which of them the denoiser hears (bool ``[rows]``)."""

    texts: list[str]
    heard: Tensor


def told(clips: Sequence[Attributes], step: int) -> Told:
    """Captions of a step's clips; all draws come from the step and the row."""
    seeds = range(FIRST + step * len(clips), FIRST + (step + 1) * len(clips))
    texts = [strewn(caption(clip, seed).text, seed) for clip, seed in zip(clips, seeds, strict=True)]
    draws = torch.rand(len(clips), generator=torch.Generator().manual_seed(step))
    return Told(texts, draws >= UNTOLD)


def reworded(clips: Sequence[Attributes], step: int, version: int = 0) -> list[str]:
    """The captions of :func:`told`, but the concepts they speak of are those of other clips, drawn at random.

    A site that reads these learns that concept words mean nothing.

    Args:
        clips: of the rows.
        step: as in :func:`told`.
        version: of the concepts; the rest of a row's caption is the same in all.
    """
    seeds = range(FIRST + step * len(clips), FIRST + (step + 1) * len(clips))
    texts = []
    for clip, seed in zip(clips, seeds, strict=True):
        about = caption(clip, seed).mentioned
        texts.append(strewn(caption(_other(seed + version * 2_000_000_000, about), seed, mention=about).text, seed))
    return texts


def _other(seed: int, mentioned: Sequence[str] | object) -> Attributes:
    """Attributes drawn anew until all that a caption mentions can be said of them."""
    for offset in range(1, 100):
        other = draw(seed + offset * 10_000_000)
        if other.percussion is not None:
            return other
    raise AssertionError("percussion is drawn two times out of three")
