"""Renders whose attributes are known."""

from __future__ import annotations

import pytest
from torch import Tensor

from tada.minis.attributes import Attributes, draw
from training.material import render

FIRST = 920_000_000


@pytest.fixture(scope="session")
def renders() -> tuple[list[Attributes], Tensor]:
    """Attributes and clips ``[32, frames]`` at 16 kHz."""
    seeds = range(FIRST, FIRST + 32)
    return [draw(seed) for seed in seeds], render(seeds)
