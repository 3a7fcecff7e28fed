"""Stages that the two codecs over mels share: an autoencoder, a vocoder of what it tells, both halves together, polish.

A vocoder of a steady mel repeats itself with every frame, so that its tones lie on multiples of the frame rate, 62.5 or
100 Hz apart. A decoder that learns together with the vocoder tells it more than a mel: what it tells is free, and
repeats itself with every frame of the latents only. Polish is more of the same, but hears more of the difference.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from training.codecs.distance import beat, differences
from training.codecs.material import Clips, crops
from training.codecs.stages import Stage
from training.fit import Loss, coarse

Cut = Callable[[int], Tensor]
"""Step -> audio ``[rows, frames]``."""
BEAT = 3.0
"""Weight of the marks that a decoder leaves at the rate of its latents."""


def tells(
    encode: Callable[[Tensor], Tensor],
    decode: Callable[[Tensor], Tensor],
    sees: Callable[[Tensor], Tensor],
    cut: Cut,
    spread: float,
    noise: float,
) -> Loss:
    """Loss of an autoencoder of mels.

    Args:
        encode: mels ``[rows, channels, ...]`` to latents ``[rows, latents, ...]``.
        decode: the way back.
        sees: audio ``[rows, frames]`` to mels, time last or last but one.
        cut: step -> audio.
        spread: of the mels, so that errors count in standard deviations.
        noise: standard deviation of what is added to latents, which have about 1 themselves: those of a diffusion
            model are not exact, and what noise drowns is not worth a diffusion model's trouble.
    """

    def at(step: int) -> tuple[Tensor, dict[str, float]]:
        seen = sees(cut(step))
        with coarse(seen.device):
            latents = encode(seen)
            told = decode(disturbed(latents, step, noise)).float()
        error, shape = (told - seen).abs().mean() / spread, _edges(told, seen) / spread
        form = moments(latents.float())
        return error + shape + 0.1 * form, {"error": error.item(), "edges": shape.item(), "moments": form.item()}

    return at


def sounds(
    run: Callable[[Tensor], Tensor],
    encode: Callable[[Tensor], Tensor],
    tell: Callable[[Tensor], Tensor],
    sees: Callable[[Tensor], Tensor],
    cut: Cut,
    stage: Stage,
    period: int,
) -> Loss:
    """Loss of what makes sound: it against the truth, and its latents against those that it was made from.

    Args:
        run: what ``tell`` returns to audio ``[rows, frames]``.
        encode: mels to latents.
        tell: latents to mels as the vocoder takes them.
        sees: audio to mels as ``encode`` takes them.
        cut: step -> audio.
        stage: what is added to latents, and whether it is polish.
        period: audio frames of one latent frame.
    """

    def at(step: int) -> tuple[Tensor, dict[str, float]]:
        truth = cut(step)
        with coarse(truth.device):
            with torch.no_grad():
                latents = encode(sees(truth))
            told = tell(disturbed(latents, step, stage.noise)).float()
            sound = run(told).float()[:, : truth.shape[1]]
            again = encode(sees(sound)).float()
        figures = differences(sound, truth, stage.polish)
        figures["beat"] = BEAT * beat(sound, truth, period)
        figures["latents"] = F.mse_loss(again, latents.float())
        return torch.stack(list(figures.values())).sum(), {name: value.item() for name, value in figures.items()}

    return at


def cutter(audio: Clips, stage: Stage, device: str, hop: int = 1) -> Cut:
    """Step -> a step's own crops ``[crops, frames]`` on the device, each from a multiple of ``hop`` on."""
    return lambda step: crops(audio, step, stage.crops, stage.frames, hop).to(device)


def disturbed(latents: Tensor, step: int, noise: float) -> Tensor:
    """Latents with some noise, drawn from the step."""
    draws = torch.randn(latents.shape, generator=torch.Generator().manual_seed(step))
    return latents + noise * draws.to(latents)


def moments(latents: Tensor) -> Tensor:
    """How far the channels of ``[rows, channels, ...]`` are from zero mean and unit variance."""
    channels = latents.transpose(0, 1).flatten(1)
    return channels.mean(1).square().mean() + (channels.std(1) - 1).square().mean()


def _edges(one: Tensor, other: Tensor) -> Tensor:
    """Mean error of the differences between neighbours along the last two axes: of onsets and of partials."""
    return torch.stack([(one.diff(dim=axis) - other.diff(dim=axis)).abs().mean() for axis in (-1, -2)]).mean()
