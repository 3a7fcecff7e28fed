"""The Stable Audio mini's codec: an ``AutoencoderOobleck`` at 16 kHz, 28 latents in 64 frames a clip."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tada.errors import InputError
from tada.minis.sounds import SAMPLE_RATE
from tada.models.pipeline import quiet_loading
from training.codecs.distance import differences
from training.codecs.mels import add_noise
from training.codecs.spectral_latents import SpectralLatents, gist_loss, two_mels
from training.codecs.stages import CodecRecipe, Crops, Stage
from training.fit import Loss, bf16_autocast, restore

LATENTS = 28
CONFIG: Mapping[str, Any] = {
    "encoder_hidden_size": 2 * LATENTS,  # the class wants it so
    "downsampling_ratios": [16, 8, 8],
    "channel_multiples": [1, 2, 2],
    "decoder_channels": 32,
    "decoder_input_channels": LATENTS,
    "audio_channels": 1,
    "sampling_rate": SAMPLE_RATE,
}
HOP = math.prod(CONFIG["downsampling_ratios"])

STAGES: Mapping[str, Stage] = {
    "gist": Stage(1600, 2e-3, 16, 32 * HOP),
    "decoder": Stage(6000, 1e-3, 4, 16 * HOP, noise=0.1),
    "finetune": Stage(5500, 5e-4, 4, 16 * HOP, noise=0.1, finetune=True),
    "encoder": Stage(1000, 1e-3, 4, 16 * HOP),
}


@dataclass(frozen=True, eq=False)
class Parts:
    """The autoencoder, and the network that its latents were found with (not shipped: None)."""

    vae: Any
    gist: Any


def build(seed: int = 0) -> Parts:
    """Untrained parts."""
    from diffusers import AutoencoderOobleck

    torch.manual_seed(seed)
    with quiet_loading():  # the class's weight norm is an old one
        return Parts(AutoencoderOobleck(**CONFIG), SpectralLatents(LATENTS))


def modules(parts: Parts) -> dict[str, nn.Module]:
    """Stage -> what it trains: latents, decoder, the decoder once more with the latents foremost, and encoder."""
    decoder = parts.vae.decoder
    return {"gist": parts.gist, "decoder": decoder, "finetune": decoder, "encoder": parts.vae.encoder}


def loss_fn(parts: Parts, name: str, stage: Stage, crops: Crops, compiled: bool) -> Loss:
    """The loss of a stage."""
    network = modules(parts)[name]
    if name == "gist":
        return lambda step: (gist_loss(parts.gist, crops(step), torch.Generator().manual_seed(step)), {})
    run: Any = torch.compile(network) if compiled else network
    return (encoder_loss if name == "encoder" else decoder_loss)(parts, run, crops, stage)


def decoder_loss(parts: Parts, run: Any, crops: Crops, stage: Stage) -> Loss:
    """The loss of the decoder: its audio against the truth, and its latents against those it was given.

    The latents get a little noise, as a diffusion model's have.
    """

    def at(step: int) -> tuple[Tensor, dict[str, float]]:
        truth = crops(step)
        latents = _latents(parts, truth)
        with bf16_autocast(truth.device):
            audio = run(add_noise(latents, step, stage.noise))[:, 0].float()
        figures = differences(audio, truth, stage.finetune)
        figures["gist"] = (6.0 if stage.finetune else 1.0) * F.mse_loss(parts.gist.encode(two_mels(audio)), latents)
        return torch.stack(list(figures.values())).sum(), {name: value.item() for name, value in figures.items()}

    return at


def encoder_loss(parts: Parts, run: Any, crops: Crops, stage: Stage) -> Loss:
    """The loss of the encoder: its mean against the latents; its scale learns how wrong the mean is."""

    def at(step: int) -> tuple[Tensor, dict[str, float]]:
        truth = crops(step)
        with bf16_autocast(truth.device):
            mean, scale = run(truth[:, None]).float().chunk(2, dim=1)
        error = (mean - _latents(parts, truth)).square()
        std = F.softplus(scale) + 1e-4
        doubt = (std.log() + error.detach() / (2 * std.square())).mean()
        return error.mean() + 0.01 * doubt, {"error": error.mean().item(), "doubt": doubt.item()}

    return at


@torch.no_grad()
def _latents(parts: Parts, audio: Tensor) -> Tensor:
    with bf16_autocast(audio.device):
        return parts.gist.encode(two_mels(audio)).float()


def target_latents(parts: Parts, audio: Tensor) -> Tensor:
    """The latents of audio ``[rows, frames]`` that the autoencoder was made for, which a diffusion model should learn.

    Raises:
        ValueError: parts of a finished checkpoint, whose encoder is too blurred to learn from.
    """
    if parts.gist is None:
        raise InputError(
            "a finished Stable Audio mini has no gist, which its denoiser learns: put the latents that it was trained "
            "on (home/stable-audio/latents) in place, or train it from nothing"
        )
    return parts.gist.encode(two_mels(audio))


def load(folder: str | Path) -> Parts:
    """What :func:`train` has made of the codec so far in ``folder``."""
    parts = build()
    halves = {"gist": parts.gist, "finetune": parts.vae.decoder, "encoder": parts.vae.encoder}
    for stage, module in halves.items():
        restore(module, Path(folder) / stage)
    return parts


RECIPE = CodecRecipe(STAGES, build, modules, loss_fn, load, hop=HOP)
