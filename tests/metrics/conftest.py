"""Renders whose attributes are known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tada.minis.attributes import Attributes, draw
from tada.minis.render import render_batch

FIRST = 920_000_000


@pytest.fixture(scope="session")
def renders() -> tuple[list[Attributes], Tensor]:
    """Attributes and clips ``[32, frames]`` at 16 kHz."""
    seeds = list(range(FIRST, FIRST + 32))
    attributes = [draw(seed) for seed in seeds]
    return attributes, torch.from_numpy(render_batch(attributes, seeds))
