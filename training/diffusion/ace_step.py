"""The ACE-Step mini: its parts before training, what its denoiser is given, and what it learns to predict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tada.minis.render import FRAMES
from tada.models.ace_step.codec import LATENT_SCALE, LATENT_SHIFT
from tada.models.ace_step.files import Parts, write
from tada.models.ace_step.text import NO_LYRICS, text_states, tokenise
from tada.models.ace_step.transformer import AceStepTransformer, TransformerConfig
from tada.models.context import Stream
from training.codecs.linear import make_dc
from training.codecs.recipe import CodecRecipe, Trained
from training.diffusion import words
from training.diffusion.arch import Arch
from training.diffusion.captions import Captions

SAMPLING: Mapping[str, Any] = {
    "steps": 16,
    "guidance": 5.0,
    "interval": 0.8,
    "method": "cfg",
    "omega": 0.0,
    "erg_tag": False,
    "erg_lyric": False,
    "erg_diffusion": False,
}
CODEC = CodecRecipe(block=(8, 4), codes=8)
LATENTS = (8, 16, FRAMES // 1024)
DENOISER = TransformerConfig(
    in_channels=8,
    out_channels=8,
    num_layers=12,
    inner_dim=192,
    num_attention_heads=3,
    attention_head_dim=64,
    text_embedding_dim=64,
    speaker_embedding_dim=16,
    lyric_hidden_size=16,
    lyric_layers=1,
    lyric_heads=2,
    lyric_ff_size=32,
    patch_hidden_size=256,
    patch_norm_groups=8,
)

STEPS = 40
"""Steps that the spread of a weight has at least."""


def keep_steps(weight: Tensor) -> None:
    """Round a matrix in place to whole steps, the largest power of two of which :data:`STEPS` fit into its spread."""
    spread = float(weight.std()) if weight.ndim > 1 else 0.0
    if spread:
        step = 2.0 ** math.floor(math.log2(spread / STEPS))
        weight.copy_((weight / step).round() * step)


class AceStep(Arch):
    """What the recipe of the mini needs to know of the architecture."""

    name, text_encoder = "ace-step", "umt5"
    sampling, latents, codec = SAMPLING, LATENTS, CODEC

    def assemble(self, folder: Path, text_encoder: nn.Module, codec: Trained) -> None:
        """Write a checkpoint whose denoiser is untrained; it does not heed lyrics, which no caption has."""
        autoencoder = make_dc(codec.code, LATENT_SCALE, LATENT_SHIFT)
        denoiser = AceStepTransformer(DENOISER)
        for value in denoiser.lyric_proj.parameters():
            nn.init.zeros_(value)
        write(Parts(denoiser, autoencoder, codec.stage, text_encoder, words.tokenizer()), folder)

    def finish(self, model: Any, folder: Path) -> None:
        """Write the trained checkpoint in fp16, the denoiser's weights in whole steps: pages fetch them packed."""
        parts = model.parts
        for weight in parts.transformer.parameters():
            keep_steps(weight.data)
        for part in (parts.transformer, parts.autoencoder, parts.vocoder, parts.text_encoder):
            part.half()
        write(parts, folder)

    @torch.no_grad()
    def conditioning(self, model: Any, given: Captions) -> dict[str, Stream]:
        """Encode texts, and no lyrics, as the adapter does; the text is zero in unconditional rows."""
        ids, mask = (
            nn.functional.pad(some, (0, words.LONGEST - some.shape[1]))  # so that every step has the same shapes
            for some in tokenise(model.parts.tokenizer, given.texts, model.device, words.LONGEST)
        )
        states = text_states(model.parts.text_encoder, ids, mask) * given.conditional[:, None, None].to(model.device)
        rows = len(given.texts)
        positions = torch.arange(ids.shape[1], device=model.device).expand(rows, -1)
        none = torch.full((rows, 1), NO_LYRICS, device=model.device)
        lyrics = Stream(none, torch.zeros_like(none, dtype=torch.bool), torch.zeros_like(none))
        return {"text": Stream(states, mask, positions), "lyrics": lyrics}

    def levels(self, rows: int, draws: torch.Generator) -> Tensor:
        """Noise levels ``[rows]`` to learn at, 0 to 1: mostly the higher ones, at which a clip takes shape, but in a
        quarter of the rows any, or little is learnt of details."""
        anywhere = torch.rand(rows // 4, generator=draws)
        high = (0.7 + torch.randn(rows - rows // 4, generator=draws)).sigmoid()
        return torch.cat([anywhere, high]).clamp_min(0.003)

    def predict(
        self, model: Any, x: Tensor, noise: Tensor, level: Tensor, given: Mapping[str, Any]
    ) -> tuple[Tensor, Tensor]:
        """The denoiser's velocity ``[rows, 8, 16, T]`` and the true one."""
        sigma = level[:, None, None, None]
        encoder = model.denoiser.encode(given["text"], given["lyrics"])
        return model.denoiser(sigma * noise + (1 - sigma) * x, 1000 * level, encoder), noise - x


ARCH = AceStep()
