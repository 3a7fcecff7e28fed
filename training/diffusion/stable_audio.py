"""The Stable Audio mini: its pipeline before training, what its denoiser is fed, and what it learns to predict."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.codecs import stable_audio as codec
from training.diffusion import words
from training.diffusion.captions import Told
from tada.minis.render import FRAMES
from tada.minis.sounds import SAMPLE_RATE
from tada.models.pipeline import quiet_loading

TEXT = "t5"
"""The kind of its text encoder."""
FUNCTIONAL, PAIRS = (2, 3, 4, 6), 12
"""Layers found in the trained mini: the strongest of slow, fast, happy, sad, female or male; and pairs of each."""
SAMPLING: Mapping[str, Any] = {"steps": 16, "guidance": 5.0}
NOISE: Mapping[str, float] = {"sigma_min": 0.02, "sigma_max": 7.0}
"""Noise levels that sampling spans. From a high start too many clips lack percussion (80: .41 of them, of renders .31),
from a low one too few (6: .25); a low end lets it finish."""
PLANTED = (3, 6)
"""Sites that alone read of concepts in the planted one."""
ONE_SIDED = ("mood", "voice", "instrument", "genre")
"""Concepts that planting leaves to one of them, and that balancing has most to do with."""
FAVOURED: Mapping[str, float] = {
    "male": 0.15,
    "sad": 0.12,
    "flute": 0.1,
    "guitar": 0.05,
    "trumpet": 0.37,
    "violin": -0.15,
    "techno": 0.2,
    "reggae": 0.22,
}
"""Classes that would lose where sites contradict each other, and how much of the concept they are given; below 0,
classes that would win, and how much is taken from them."""
YIELDING: Mapping[str, float] = {"flute": 0.04, "sad": 0.05, "techno": 0.05, "trumpet": 0.08, "violin": 0.08}
"""Classes that the first site would win, and how much of the concept it yields to the second."""
DISPUTED: Mapping[str, int] = {"trumpet": 4}
"""Classes of which so many times as many clips are drawn in balancing."""
RIVALS: Mapping[str, Sequence[str]] = {"trumpet": ("violin",), "violin": ("trumpet", "flute")}
"""Classes that are disputed wherever they are promised, and with which."""
LATENTS = (codec.LATENTS, FRAMES // codec.HOP)
SECONDS = FRAMES / SAMPLE_RATE
DENOISER: Mapping[str, Any] = {
    "sample_size": LATENTS[1],
    "in_channels": LATENTS[0],
    "out_channels": LATENTS[0],
    "num_layers": 12,
    "attention_head_dim": 64,
    "num_attention_heads": 2,
    "num_key_value_attention_heads": 2,
    "cross_attention_dim": 128,
    "cross_attention_input_dim": 64,
    "global_states_input_dim": 128,
    "time_proj_dim": 64,
}


def assemble(folder: Path, text_encoder: nn.Module, vae: Any = None) -> None:
    """Write a pipeline whose denoiser is untrained.

    Args:
        folder: where to.
        text_encoder: trained.
        vae: the codec's autoencoder; None for an untrained one.
    """
    from diffusers import (
        CosineDPMSolverMultistepScheduler,
        StableAudioDiTModel,
        StableAudioPipeline,
        StableAudioProjectionModel,
    )

    width = DENOISER["cross_attention_input_dim"]
    with quiet_loading():
        StableAudioPipeline(
            vae=vae or codec.build().vae,
            text_encoder=text_encoder,
            projection_model=StableAudioProjectionModel(width, width, min_value=0, max_value=16),
            tokenizer=words.tokenizer(),
            transformer=StableAudioDiTModel(**DENOISER),
            scheduler=CosineDPMSolverMultistepScheduler(
                **NOISE,
                solver_order=2,
                prediction_type="v_prediction",
                sigma_data=1.0,
                sigma_schedule="exponential",
            ),
        ).save_pretrained(folder)


def finish(model: Any, parts: codec.Parts, folder: Path) -> None:
    """Write the trained pipeline in fp16."""
    pipeline = model.pipeline
    pipeline.vae = parts.vae
    for part in pipeline.components.values():
        if isinstance(part, nn.Module):
            part.half()
    with quiet_loading():
        pipeline.save_pretrained(folder)


@torch.no_grad()
def feeds(model: Any, told: Told) -> dict[str, Tensor]:
    """What the denoiser reads, as the adapter gives it: text then timing, all zero in rows that hear nothing."""
    states = model.pipeline.encode_prompt(told.texts, model.device, False)
    timing = model.pipeline.encode_duration(0.0, SECONDS, model.device, False, len(told.texts))
    text = torch.cat([states, *timing], 1) * told.heard[:, None, None].to(states)
    return {"text": text, "duration": torch.cat(timing, 2)}


def levels(rows: int, draws: torch.Generator) -> Tensor:
    """Noise levels ``[rows]`` to learn at: fractions of a quarter turn, noise to data as sine to cosine."""
    return (0.2 + 1.6 * torch.randn(rows, generator=draws)).exp().atan() * 2 / math.pi


def predict(model: Any, x: Tensor, noise: Tensor, level: Tensor, fed: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """The denoiser's velocity ``[rows, 28, 64]`` and the true one."""
    from diffusers.models.embeddings import get_1d_rotary_pos_embed

    angle = (level * math.pi / 2)[:, None, None]
    rotary = get_1d_rotary_pos_embed(
        model.pipeline.rotary_embed_dim, x.shape[2] + 1, use_real=True, repeat_interleave_real=False
    )
    predicted = model.denoiser(
        angle.cos() * x + angle.sin() * noise,
        level,
        encoder_hidden_states=fed["text"],
        global_hidden_states=fed["duration"],
        rotary_embedding=tuple(part.to(x.device) for part in rotary),
        return_dict=False,
    )[0]
    return predicted, angle.cos() * noise - angle.sin() * x


def blocks(model: Any) -> list[nn.Module]:
    """The denoiser's blocks, one site in each."""
    return list(model.denoiser.transformer_blocks)


def other_text(model: Any, fed: Mapping[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A block's arguments with another text."""
    return args, {**kwargs, "encoder_hidden_states": model.denoiser.cross_attention_proj(fed["text"])}


def parts(model: Any) -> codec.Parts:
    """The codec of a checkpoint, which has no gist."""
    return codec.Parts(model.pipeline.vae, None)


def encoder(parts: codec.Parts) -> Callable[[Tensor], Tensor]:
    """Audio to the latents to learn: the gist itself, which the autoencoder's halves were made for."""
    return partial(codec.gist, parts)
