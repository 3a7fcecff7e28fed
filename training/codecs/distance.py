"""How far one sound is from another, by their spectra."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tada.minis.mel import log_mel
from training.codecs.spectral_latents import fine

WINDOWS = (256, 512, 1024, 2048, 4096)
FLOOR = 1e-3
"""Magnitudes below this are silence; a full-scale sine has magnitude 0.5."""
BRIGHT = 0.9
"""How much of low frequencies :func:`brightened` takes away."""
LONG = 0.5
"""Weight, when finetuning, of what a long window tells apart."""


def differences(one: Tensor, other: Tensor, finetune: bool = False) -> dict[str, Tensor]:
    """Compute what every decoder is trained to make small: :func:`spectral` and :func:`mel`.

    When finetuning, half of the former is of brightened audio, since it is deaf to faint high bands; and how loud bands
    get (:func:`levels`) counts, and how partials stand out (:func:`lines`).

    Args:
        one: ``[rows, frames]``, what is judged.
        other: the same shape, the truth.
        finetune: whether the decoder is finetuned.
    """
    if not finetune:
        return {"spectral": spectral(one, other), "mel": mel(one, other)}
    x, y = fine(one), fine(other)
    return {
        "spectral": (spectral(one, other) + spectral(brightened(one), brightened(other))) / 2,
        "mel": mel(one, other),
        "fine": LONG * (x - y).abs().mean(),
        "lines": lines(x, y),
        "levels": levels(one, other),
    }


def brightened(audio: Tensor) -> Tensor:
    """Audio ``[rows, frames]``, 14 dB softer at 0 Hz and 12 dB louder at 8 kHz."""
    return 2 * (audio - BRIGHT * F.pad(audio, (1, 0))[:, :-1])


def spectral(one: Tensor, other: Tensor, windows: tuple[int, ...] = WINDOWS) -> Tensor:
    """Distance of magnitude spectra at several resolutions (Yamamoto et al. 2020, equation 6), a mean over windows.

    Args:
        one: ``[rows, frames]``, what is judged.
        other: the same shape, the truth.
        windows: lengths in frames, with a hop of a quarter.

    Returns:
        A scalar: the relative error of magnitudes plus the mean error of their natural logarithms.
    """
    return torch.stack([_at(one, other, window) for window in windows]).mean()


def _at(one: Tensor, other: Tensor, window: int) -> Tensor:
    x, y = magnitude(one, window), magnitude(other, window)
    relative = ((x - y).square().sum((1, 2)) / y.square().sum((1, 2)).clamp_min(1e-4)).sqrt().mean()
    return relative + ((x + FLOOR).log() - (y + FLOOR).log()).abs().mean()


def magnitude(audio: Tensor, window: int) -> Tensor:
    """Magnitudes ``[rows, window // 2 + 1, time]`` under a Hann window of unit sum."""
    shape = torch.hann_window(window, device=audio.device)
    spectrum = torch.stft(audio, window, window // 4, window=shape / shape.sum(), return_complex=True)
    return (spectrum.real.square() + spectrum.imag.square() + 1e-12).sqrt()


def beat(one: Tensor, other: Tensor, period: int, bands: int = 16) -> Tensor:
    """How much of a beat of its own a decoder adds: what its error has in common at one phase of a period.

    Networks that upsample leave marks at the rate of what they upsample. They are faint, but come in time, and
    whatever listens for a tempo finds them.

    Args:
        one: ``[rows, frames]``, what is judged.
        other: the same shape, the truth; both begin at the same phase.
        period: of the beat in frames, a multiple of 64; the more rows and periods, the surer.
        bands: in which marks are looked for.

    Returns:
        A scalar: mean magnitude over bands and phases of the error's mean, in natural logarithms.
    """
    window, hop = 256, 64
    error = (magnitude(one, window) + FLOOR).log() - (magnitude(other, window) + FLOOR).log()
    phases = period // hop
    whole = error.shape[2] // phases * phases
    width = error.shape[1] // bands
    folded = error[:, : bands * width, :whole].unflatten(1, (bands, width)).unflatten(3, (-1, phases))
    means = folded.mean((0, 2, 3))
    return (means - means.mean(1, keepdim=True)).abs().mean()


def mel(one: Tensor, other: Tensor) -> Tensor:
    """Mean difference of the log-mel spectrograms that the ears look at."""
    return (log_mel(one) - log_mel(other)).abs().mean()


def levels(one: Tensor, other: Tensor) -> Tensor:
    """How far the mel bands are from as loud as they should be, at whatever moment.

    Where something is not sure when a band falls silent, the mean error of log-mels is least with a hiss that never
    stops. The levels that a band takes, in order, tell the hiss from silence.

    Args:
        one: ``[rows, frames]``, what is judged.
        other: the same shape, the truth.

    Returns:
        A scalar: mean distance of each band's sorted log-mels (Wasserstein's between its levels), plus half the mean
        difference of the logarithms of its mean power.
    """
    x, y = log_mel(one), log_mel(other)
    power = (x.exp().mean(-1) + 1e-3).log() - (y.exp().mean(-1) + 1e-3).log()
    return (x.sort(-1).values - y.sort(-1).values).abs().mean() + 0.5 * power.abs().mean()


def lines(x: Tensor, y: Tensor, stretch: int = 16) -> Tensor:
    """How far partials are from standing out as they should, wherever and whenever they sound.

    Args:
        x: log-mels ``[rows, bands, time]``, what is judged; bands a multiple of ``stretch``.
        y: the same shape, the truth.
        stretch: bands that are neighbours.

    Returns:
        A scalar: mean distance of each frame's sorted levels over every stretch of bands, plus that of each band's over
        time.
    """
    (over_bands, over_time), (bands, time) = ((_stretches(v, stretch), v.sort(-1).values) for v in (x, y))
    return (over_bands - bands).abs().mean() + (over_time - time).abs().mean()


def _stretches(mels: Tensor, stretch: int) -> Tensor:
    return mels.unflatten(1, (-1, stretch)).sort(2).values
