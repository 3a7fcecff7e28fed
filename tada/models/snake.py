"""The activation of Stable Audio's autoencoder, in blocks that stay in a CPU's cache; its values do not change."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

BLOCK = 32_768
"""Values that are computed at a time, about."""


def compute_in_blocks(autoencoder: nn.Module) -> None:
    """Let every ``Snake1d`` of a diffusers ``AutoencoderOobleck`` compute by :func:`snake`."""
    from diffusers.models.autoencoders.autoencoder_oobleck import Snake1d

    for part in autoencoder.modules():
        if isinstance(part, Snake1d):
            part.forward = partial(snake, part)


def snake(part: Any, x: Tensor) -> Tensor:
    """``x + sin(alpha x)^2 / beta``, as ``Snake1d`` computes it.

    Args:
        part: a ``Snake1d``; alpha and beta are exponentials of its parameters.
        x: ``[B, C, T]``.
    """
    if x.device.type != "cpu" or torch.is_grad_enabled() or not part.logscale:
        return type(part).forward(part, x)
    alpha, scale = part.alpha[0].exp(), (part.beta[0].exp() + 1e-9).reciprocal()
    y, channels = torch.empty_like(x), max(1, BLOCK // x.shape[2])
    for row, out in zip(x, y, strict=True):
        blocks = zip(*(each.split(channels) for each in (row, out, alpha, scale)), strict=True)
        for part_in, part_out, a, b in blocks:
            torch.add(part_in, (part_in * a).sin_().pow_(2).mul_(b), out=part_out)
    return y
