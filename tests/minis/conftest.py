"""One set of renders, shared by the tests of the minis."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tada.minis.attributes import Attributes, draw
from tada.minis.render import render_batch

FIRST = 700_000_000
TEXTS = ["a piano song", "This is a music of a female vocal singing", "Slow, sad. " * 60, "zzz?!"]


def noise(rows: int, seconds: float) -> torch.Tensor:
    """Quiet noise at 16 kHz, the same each time."""
    return torch.randn(rows, round(seconds * 16_000), generator=torch.Generator().manual_seed(1)) * 0.1


class Renders(NamedTuple):
    """Attributes, seeds and audio ``[rows, frames]``."""

    attributes: list[Attributes]
    seeds: list[int]
    audio: NDArray[np.float32]


@pytest.fixture(scope="session")
def renders() -> Renders:
    seeds = list(range(FIRST, FIRST + 64))
    attributes = [draw(seed) for seed in seeds]
    return Renders(attributes, seeds, render_batch(attributes, seeds))
