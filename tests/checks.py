"""What several test files share."""

from __future__ import annotations

import torch

SECONDS = 0.32
"""Length of the clips that tests make."""


def assert_same(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-5) -> None:
    """Equal up to ``tolerance`` of their scale: random weights make latents larger than trained ones do."""
    assert a.shape == b.shape
    scale = max(1.0, b.abs().max().item())
    assert (a - b).abs().max().item() <= tolerance * scale
