"""The Stable Audio mini's codec: an ``AutoencoderOobleck`` at 16 kHz, 28 latents in 64 frames a clip."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tada.errors import InputError
from training.codecs import gist as gists
from training.codecs import mels
from training.codecs.distance import differences
from training.codecs.gist import Gist, look
from training.codecs.material import Clips
from training.codecs.mels import Cut
from training.codecs.stages import Stage, in_turn, restore
from training.fit import Loss, coarse
from tada.minis.sounds import SAMPLE_RATE
from tada.models.pipeline import quiet_loading

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
    "polish": Stage(5500, 5e-4, 4, 16 * HOP, noise=0.1, polish=True),
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
        return Parts(AutoencoderOobleck(**CONFIG), Gist(LATENTS))


def train(
    folder: str | Path,
    audio: Clips,
    device: str = "cpu",
    limit: float = math.inf,
    stages: Mapping[str, Stage] = STAGES,
    compiled: bool = True,
) -> Parts:
    """Train the stages in turn; a killed run goes on where its last checkpoint was.

    They are the gist, the decoder, the decoder once more with the gist foremost and polish, and the encoder.

    Args:
        folder: of a folder per stage, with checkpoint and curve.
        audio: what to learn from, from :func:`training.codecs.material.renders`.
        device: where to train.
        limit: seconds after which a stage stops, and with it this call; call again to go on.
        stages: how each is trained.
        compiled: whether to compile the autoencoder's halves (a minute; half the time a step on CPUs).
    """
    parts = build()
    parts.vae.to(device)
    parts.gist.to(device)
    decoder = parts.vae.decoder
    halves = {"gist": parts.gist, "decoder": decoder, "polish": decoder, "encoder": parts.vae.encoder}
    losses: dict[str, Callable[..., Loss]] = {
        "gist": _tells,
        "decoder": _sounds,
        "polish": partial(_sounds, weight=6.0),
        "encoder": _agrees,
    }

    def loss(name: str) -> Loss:
        run = torch.compile(halves[name]) if compiled and name != "gist" else halves[name]
        return losses[name](parts, run, mels.cutter(audio, stages[name], device, HOP), stages[name])

    in_turn(halves, stages, loss, Path(folder), limit)
    return parts


def _tells(parts: Parts, run: Any, cut: Cut, stage: Stage) -> Loss:
    def at(step: int) -> tuple[Tensor, dict[str, float]]:
        return gists.loss(parts.gist, cut(step), torch.Generator().manual_seed(step)), {}

    return at


def _sounds(parts: Parts, run: Any, cut: Cut, stage: Stage, weight: float = 1.0) -> Loss:
    """The decoder's sound against the truth, and its gist against what it was told.

    The latents get a little noise, as a diffusion model's have.
    """

    def at(step: int) -> tuple[Tensor, dict[str, float]]:
        truth = cut(step)
        latents = _latents(parts, truth)
        with coarse(truth.device):
            sound = run(mels.disturbed(latents, step, stage.noise))[:, 0].float()
        figures = differences(sound, truth, stage.polish)
        figures["gist"] = weight * F.mse_loss(parts.gist.encode(look(sound)), latents)
        return torch.stack(list(figures.values())).sum(), {name: value.item() for name, value in figures.items()}

    return at


def _agrees(parts: Parts, run: Any, cut: Cut, stage: Stage) -> Loss:
    """The encoder's mean against the latents; its scale learns how wrong the mean is."""

    def at(step: int) -> tuple[Tensor, dict[str, float]]:
        truth = cut(step)
        with coarse(truth.device):
            mean, scale = run(truth[:, None]).float().chunk(2, dim=1)
        error = (mean - _latents(parts, truth)).square()
        std = F.softplus(scale) + 1e-4
        doubt = (std.log() + error.detach() / (2 * std.square())).mean()
        return error.mean() + 0.01 * doubt, {"error": error.mean().item(), "doubt": doubt.item()}

    return at


@torch.no_grad()
def _latents(parts: Parts, audio: Tensor) -> Tensor:
    with coarse(audio.device):
        return parts.gist.encode(look(audio)).float()


@torch.no_grad()
def encode(parts: Parts, audio: Tensor) -> Tensor:
    """Latents ``[rows, 28, frames / 1024]`` of audio ``[rows, frames]`` at 16 kHz, as the autoencoder hears them."""
    return torch.cat([parts.vae.encode(row[None, None]).latent_dist.mode() for row in audio])


@torch.no_grad()
def decode(parts: Parts, latents: Tensor) -> Tensor:
    """Audio ``[rows, frames]`` at 16 kHz of latents, row by row, which is quicker on CPUs."""
    return torch.cat([parts.vae.decode(row[None]).sample[:, 0] for row in latents])


def gist(parts: Parts, audio: Tensor) -> Tensor:
    """The latents of audio ``[rows, frames]`` themselves: what a diffusion model should learn.

    Raises:
        ValueError: parts of a finished checkpoint, whose encoder is too blurred to learn from.
    """
    if parts.gist is None:
        raise InputError(
            "a finished Stable Audio mini has no gist, which its denoiser learns: put the latents that it was trained "
            "on (home/stable-audio/latents) in place, or train it from nothing"
        )
    return parts.gist.encode(look(audio))


def save(parts: Parts, folder: str | Path) -> None:
    """Write the autoencoder in fp16 where a Stable Audio pipeline's folder has it."""
    half = build().vae.half()
    half.load_state_dict(parts.vae.state_dict())
    half.save_pretrained(Path(folder) / "vae")


def load(folder: str | Path) -> Parts:
    """What :func:`train` has made of the codec so far in ``folder``."""
    parts = build()
    halves = {"gist": parts.gist, "polish": parts.vae.decoder, "encoder": parts.vae.encoder}
    for stage, module in halves.items():
        restore(module, Path(folder) / stage)
    return parts
