"""What a denoiser computes in a step: noise on latents, a caption of each row, and the error of its prediction."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from tada.minis.attributes import Attributes
from training.diffusion.captions import told
from training.diffusion.material import drawn
from training.fit import Loss, coarse


def lesson(
    course: ModuleType,
    model: Any,
    latents: Tensor,
    clips: Sequence[Attributes],
    batch: int,
    seed: int = 0,
) -> Loss:
    """The loss of a step.

    Args:
        course: the architecture's module beside this one.
        model: whose denoiser learns.
        latents: ``[clips, ...]``.
        clips: their attributes.
        batch: clips in a step.
        seed: of the steps' draws.
    """

    def at(step: int) -> tuple[Tensor, dict[str, float]]:
        draws = torch.Generator().manual_seed(seed * 100_000_000 + step)
        rows, x, noise = drawn(latents, batch, draws, model.device)
        level = course.levels(batch, draws).to(model.device)
        about = [clips[row] for row in rows.tolist()]
        fed = course.feeds(model, told(about, step))
        with coarse(model.device):
            predicted, wanted = course.predict(model, x, noise, level, fed)
        return (predicted.float() - wanted).square().mean(), {}

    return at


def quicken(course: ModuleType, model: Any) -> None:
    """Compile the denoiser's blocks, one graph for all of them; hooks on blocks go on working."""
    for block in course.blocks(model):
        compiled = torch.compile(type(block).forward)
        block.forward = compiled.__get__(block)
