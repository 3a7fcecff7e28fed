"""Clips for the tests of metrics, and the mark of tests that need the optional packages."""

from __future__ import annotations

import os

import pytest
import torch
from torch import Tensor

optional = pytest.mark.skipif(
    os.environ.get("TADA_TEST_METRICS") != "1", reason="needs the optional metric packages: make test-metrics"
)


def music(seconds: float, rate: int, rows: int = 2, top: float = 7_500.0) -> Tensor:
    """A chord in a dense, pink bed of sines up to ``top`` Hz, faded in and out: the same sound at any rate.

    Returns:
        float32 ``[rows, frames]``.
    """
    time = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    rng = torch.Generator().manual_seed(7)
    fade = torch.sin(torch.pi * time / seconds).square()
    clips = []
    for row in range(rows):
        pitches = 60 * (top / 60) ** torch.rand(240, generator=rng, dtype=torch.float64)
        phases = 6.3 * torch.rand(240, generator=rng, dtype=torch.float64)
        bed = torch.sin(2 * torch.pi * pitches[:, None] * time + phases[:, None]).sum(0) / 240
        chord = sum(torch.sin(2 * torch.pi * 220 * (row + 2) * k * time) / k for k in (1, 2, 3))
        clips.append(fade * (0.5 * bed + 0.08 * chord * torch.sin((4 + row) * time).square()))
    return torch.stack(clips).float()
