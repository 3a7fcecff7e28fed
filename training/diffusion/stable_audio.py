"""The Stable Audio mini: its pipeline before training, what its denoiser is given, and what it learns to predict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tada.minis.render import FRAMES
from tada.minis.sounds import SAMPLE_RATE
from tada.models import phase
from tada.models.pipeline import quiet_loading
from training.codecs.linear import make_oobleck
from training.codecs.recipe import CodecRecipe, Trained
from training.diffusion import words
from training.diffusion.arch import PipelineArch
from training.diffusion.captions import Captions

SAMPLING: Mapping[str, Any] = {"steps": 16, "guidance": 5.0}
NOISE: Mapping[str, float] = {"sigma_min": 0.02, "sigma_max": 7.0}
"""Noise levels that sampling spans. From a high start too many clips lack percussion (80: .41 of them, of renders .31),
from a low one too few (6: .25); a low end lets it finish."""
CODEC = CodecRecipe(block=(128, 4), codes=128, folded=False)
LATENTS = (128, FRAMES // 1024)
SECONDS = FRAMES / SAMPLE_RATE
DENOISER: Mapping[str, Any] = {
    "sample_size": LATENTS[1],
    "in_channels": LATENTS[0],
    "out_channels": LATENTS[0],
    "num_layers": 12,
    "attention_head_dim": 64,
    "num_attention_heads": 3,
    "num_key_value_attention_heads": 3,
    "cross_attention_dim": 128,
    "cross_attention_input_dim": 64,
    "global_states_input_dim": 128,
    "time_proj_dim": 64,
}


class StableAudio(PipelineArch):
    """What the recipe of the mini needs to know of the architecture."""

    name, text_encoder = "stable-audio", "t5"
    sampling, latents, codec = SAMPLING, LATENTS, CODEC

    def assemble(self, folder: Path, text_encoder: nn.Module, codec: Trained) -> None:
        """Write a pipeline whose denoiser is untrained."""
        from diffusers import (
            CosineDPMSolverMultistepScheduler,
            StableAudioDiTModel,
            StableAudioPipeline,
            StableAudioProjectionModel,
        )

        width = DENOISER["cross_attention_input_dim"]
        with quiet_loading():
            StableAudioPipeline(
                vae=make_oobleck(codec.code),
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
        phase.write(codec.stage, folder)

    @torch.no_grad()
    def conditioning(self, model: Any, given: Captions) -> dict[str, Tensor]:
        """Encode texts as the adapter does: text then timing, all zero in unconditional rows."""
        states = model.pipeline.encode_prompt(given.texts, model.device, False)
        timing = model.pipeline.encode_duration(0.0, SECONDS, model.device, False, len(given.texts))
        text = torch.cat([states, *timing], 1) * given.conditional[:, None, None].to(states)
        return {"text": text, "duration": torch.cat(timing, 2)}

    def levels(self, rows: int, draws: torch.Generator) -> Tensor:
        """Noise levels ``[rows]`` to learn at: fractions of a quarter turn, noise to data as sine to cosine."""
        return (0.2 + 1.6 * torch.randn(rows, generator=draws)).exp().atan() * 2 / math.pi

    def predict(
        self, model: Any, x: Tensor, noise: Tensor, level: Tensor, given: Mapping[str, Any]
    ) -> tuple[Tensor, Tensor]:
        """The denoiser's velocity ``[rows, 128, 64]`` and the true one."""
        from diffusers.models.embeddings import get_1d_rotary_pos_embed

        angle = (level * math.pi / 2)[:, None, None]
        rotary = get_1d_rotary_pos_embed(
            model.pipeline.rotary_embed_dim, x.shape[2] + 1, use_real=True, repeat_interleave_real=False
        )
        predicted = model.denoiser(
            angle.cos() * x + angle.sin() * noise,
            level,
            encoder_hidden_states=given["text"],
            global_hidden_states=given["duration"],
            rotary_embedding=tuple(part.to(x.device) for part in rotary),
            return_dict=False,
        )[0]
        return predicted, angle.cos() * noise - angle.sin() * x


ARCH = StableAudio()
