"""The interface of an architecture's recipe: its numbers and functions, as fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.codecs.stages import CodecRecipe
from training.diffusion.captions import Captions

Conditioning = Mapping[str, Any]
"""What a denoiser is given beside latents: its text streams by name."""


@dataclass(frozen=True)
class LanguageModel:
    """A text side that learns beside the text encoder."""

    trainable: Callable[[Any], nn.Module]
    """Model -> what learns."""
    states: Callable[[Any, list[str]], Tensor]
    """Model and texts -> states ``[rows, tokens, width]``."""


@dataclass(frozen=True)
class Arch:
    """One architecture, as the recipe of its mini needs it."""

    name: str
    text_encoder: str
    """Kind of its text encoder, ``"t5"`` or ``"umt5"``."""
    functional: tuple[int, ...]
    """Layers found in the trained mini: the strongest of slow, fast, happy, sad, female and male."""
    pairs: int
    """Pairs of each concept that they were found with."""
    sampling: Mapping[str, Any]
    """The mini's own sampling, in place of the architecture's."""
    latents: tuple[int, ...]
    """Shape of a clip's latents."""
    codec: CodecRecipe
    encode: Callable[[Any, Tensor], Tensor]
    """Codec and audio ``[rows, frames]`` at 16 kHz -> the latents to learn."""
    parts: Callable[[Any], Any]
    """Model -> its codec."""
    assemble: Callable[[Path, nn.Module], None]
    """Write a checkpoint with a trained text encoder and an untrained denoiser."""
    finish: Callable[[Any, Any, Path], None]
    """Write the trained checkpoint, of a model and a codec, in fp16."""
    conditioning: Callable[[Any, Captions], Conditioning]
    """Model and captions -> what the denoiser is given, as the adapter gives it."""
    levels: Callable[[int, torch.Generator], Tensor]
    """Rows -> noise levels ``[rows]`` to learn at."""
    predict: Callable[[Any, Tensor, Tensor, Tensor, Conditioning], tuple[Tensor, Tensor]]
    """Model, latents, noise, levels and conditioning -> the denoiser's velocity and the true one."""
    blocks: Callable[[Any], list[nn.Module]]
    """Model -> the parts of its denoiser that are compiled."""
    language: LanguageModel | None = None
