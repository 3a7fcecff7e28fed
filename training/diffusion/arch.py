"""The interface of an architecture's recipe: its numbers and what it does its own way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tada.models import phase
from tada.models.pipeline import quiet_loading
from training.codecs.recipe import CodecRecipe, Trained
from training.diffusion.captions import Captions

Conditioning = Mapping[str, Any]
"""What a denoiser is given beside latents: its text streams by name."""


class Arch(ABC):
    """One architecture, as the recipe of its mini needs it.

    Attributes:
        text_encoder: kind of its text encoder, ``"t5"`` or ``"umt5"``.
        sampling: the mini's own, in place of the architecture's.
        latents: shape of a clip's latents.
        bf16: whether it learns in bfloat16 where that is fast.
    """

    name: str
    text_encoder: str
    sampling: Mapping[str, Any]
    latents: tuple[int, ...]
    codec: CodecRecipe
    bf16: bool = True

    @abstractmethod
    def assemble(self, folder: Path, text_encoder: nn.Module, codec: Trained) -> None:
        """Write a checkpoint with a trained text encoder and codec; all else is untrained."""

    @abstractmethod
    def finish(self, model: Any, folder: Path) -> None:
        """Write the trained checkpoint in fp16."""

    @abstractmethod
    def conditioning(self, model: Any, given: Captions) -> Conditioning:
        """Encode captions as the adapter does."""

    @abstractmethod
    def levels(self, rows: int, draws: torch.Generator) -> Tensor:
        """Draw noise levels ``[rows]`` to learn at."""

    @abstractmethod
    def predict(
        self, model: Any, x: Tensor, noise: Tensor, level: Tensor, given: Conditioning
    ) -> tuple[Tensor, Tensor]:
        """Predict the velocity of noisy latents, and compute the true one."""

    def loss(self, model: Any, x: Tensor, noise: Tensor, level: Tensor, given: Conditioning) -> Tensor:
        """What a step makes smaller: the mean squared error of the velocity."""
        prediction, target = self.predict(model, x, noise, level, given)
        return (prediction.float() - target).square().mean()

    def learner(self, model: Any) -> nn.Module:
        """What learns: the denoiser."""
        return model.denoiser

    def blocks(self, model: Any) -> list[nn.Module]:
        """The parts of the denoiser that are compiled."""
        return list(model.denoiser.transformer_blocks)

    def language(self, model: Any) -> tuple[nn.Module, Callable[[list[str]], Tensor]] | None:
        """What learns to read beside the text encoder, and its states ``[rows, tokens, width]`` of texts, if any."""
        return None


class PipelineArch(Arch):
    """An architecture that is a pipeline of diffusers."""

    def finish(self, model: Any, folder: Path) -> None:
        """Write the trained pipeline in fp16."""
        pipeline = model.pipeline
        for part in pipeline.components.values():
            if isinstance(part, nn.Module):
                part.half()
        with quiet_loading():
            pipeline.save_pretrained(folder)
        if model.phase:
            phase.write(model.phase, folder)
