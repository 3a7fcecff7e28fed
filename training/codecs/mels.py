"""Losses of the two codecs over mels, which have an autoencoder of mels and a vocoder.

A vocoder of a steady mel repeats itself with every frame, so that its tones lie on multiples of the frame rate, 62.5 or
100 Hz apart. So the decoder learns together with the vocoder at the end: what passes between them is free, and repeats
itself with every frame of the latents only. Finetuning is more of the same under a finer loss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from training.codecs.distance import beat, differences
from training.codecs.stages import Crops, Stage
from training.fit import Loss, bf16_autocast

BEAT = 3.0
"""Weight of the marks that a decoder leaves at the rate of its latents."""


@dataclass(frozen=True)
class MelCodec:
    """The steps of a codec over mels."""

    mel_input: Callable[[Tensor], Tensor]
    """Audio ``[rows, frames]`` to mels ``[rows, channels, ...]``, time last or last but one."""
    encode: Callable[[Tensor], Tensor]
    """Mels to latents ``[rows, latents, ...]``."""
    decode: Callable[[Tensor], Tensor]
    """Latents to mels as ``mel_input`` makes them."""
    vocode: Callable[[Tensor], Tensor]
    """Latents to audio ``[rows, frames]``."""
    spread: float
    """About the standard deviation of the mels."""
    period: int
    """Audio frames of one latent frame."""


def mel_loss(codec: MelCodec, crops: Crops, stage: Stage) -> Loss:
    """The loss of the autoencoder: its mels against those it was given, and its latents against a standard normal.

    Latents, which have about unit variance, get noise: those of a diffusion model are not exact, and what noise drowns
    is not worth a diffusion model's trouble.
    """

    def at(step: int) -> tuple[Tensor, dict[str, float]]:
        target = codec.mel_input(crops(step))
        with bf16_autocast(target.device):
            latents = codec.encode(target)
            mels = codec.decode(add_noise(latents, step, stage.noise)).float()
        error, shape = (mels - target).abs().mean() / codec.spread, _edges(mels, target) / codec.spread
        form = moments(latents.float())
        return error + shape + 0.1 * form, {"error": error.item(), "edges": shape.item(), "moments": form.item()}

    return at


def waveform_loss(codec: MelCodec, crops: Crops, stage: Stage) -> Loss:
    """The loss of decoder and vocoder: their audio against the truth, and its latents against those given."""

    def at(step: int) -> tuple[Tensor, dict[str, float]]:
        truth = crops(step)
        with bf16_autocast(truth.device):
            with torch.no_grad():
                latents = codec.encode(codec.mel_input(truth))
            audio = codec.vocode(add_noise(latents, step, stage.noise)).float()[:, : truth.shape[1]]
            again = codec.encode(codec.mel_input(audio)).float()
        figures = differences(audio, truth, stage.finetune)
        figures["beat"] = BEAT * beat(audio, truth, codec.period)
        figures["latents"] = F.mse_loss(again, latents.float())
        return torch.stack(list(figures.values())).sum(), {name: value.item() for name, value in figures.items()}

    return at


def add_noise(latents: Tensor, step: int, noise: float) -> Tensor:
    """Add noise, drawn from the step, to latents."""
    draws = torch.randn(latents.shape, generator=torch.Generator().manual_seed(step))
    return latents + noise * draws.to(latents)


def moments(latents: Tensor) -> Tensor:
    """How far the channels of ``[rows, channels, ...]`` are from zero mean and unit variance."""
    channels = latents.transpose(0, 1).flatten(1)
    return channels.mean(1).square().mean() + (channels.std(1) - 1).square().mean()


def _edges(one: Tensor, other: Tensor) -> Tensor:
    """Mean error of the differences between neighbours along the last two axes: of onsets and of partials."""
    return torch.stack([(one.diff(dim=axis) - other.diff(dim=axis)).abs().mean() for axis in (-1, -2)]).mean()
