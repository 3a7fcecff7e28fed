"""The loss of a denoiser: noise on latents, a caption of each row, and the error of its prediction."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from tada.minis.attributes import Attributes
from training.diffusion.arch import Arch
from training.diffusion.captions import captions
from training.fit import Loss, bf16_autocast


def loss_fn(arch: Arch, model: Any, latents: Tensor, clips: Sequence[Attributes], batch: int, seed: int = 0) -> Loss:
    """The loss of a step on some of the latents ``[clips, ...]``; ``seed``: of the steps' draws."""

    def at(step: int) -> tuple[Tensor, dict[str, float]]:
        draws = torch.Generator().manual_seed(seed * 100_000_000 + step)
        rows = torch.randint(len(latents), (batch,), generator=draws)
        x = latents[rows].float().to(model.device)
        noise = torch.randn(x.shape, generator=draws).to(model.device)
        level = arch.levels(batch, draws).to(model.device)
        conditioning = arch.conditioning(model, captions([clips[row] for row in rows.tolist()], step))
        with bf16_autocast(model.device) if arch.bf16 else nullcontext():
            return arch.loss(model, x, noise, level, conditioning), {}

    return at


def compile_blocks(arch: Arch, model: Any) -> None:
    """Compile the denoiser's blocks, one graph for all of them; hooks on blocks go on working."""
    for block in arch.blocks(model):
        compiled = torch.compile(type(block).forward)
        block.forward = compiled.__get__(block)
