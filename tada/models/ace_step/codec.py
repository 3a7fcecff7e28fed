"""ACE-Step v1 latents to audio and back: a deep-compression autoencoder over stereo mels, the vocoder, resampling."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tada.models.ace_step.vocoder import Vocoder, log_mel
from tada.models.phase import PhaseStage

SAMPLE_RATE = 48000
"""Sample rate of decoded audio in Hz; the vocoder works at 44.1 kHz."""
LATENT_SCALE, LATENT_SHIFT = 0.1786, -1.9091
MEL_LOW, MEL_HIGH = -11.0, 3.0
CROSSINGS, ROLLOFF = 6, 0.99
"""Zero crossings of the resampling sinc on each side; its cut-off as a fraction of the lower Nyquist frequency."""


class Codec(nn.Module):
    """Latents to stereo audio and back; every row is treated alone."""

    def __init__(self, autoencoder: Any, vocoder: Vocoder) -> None:
        super().__init__()
        self.autoencoder, self.vocoder = autoencoder, vocoder
        self.hop: int = autoencoder.spatial_compression_ratio * vocoder.upsampling  # samples per latent frame

    def decode(self, latents: Tensor) -> Tensor:
        """Audio of latents.

        Args:
            latents: ``[B, C, R, T]``, all frames at once where upstream overlaps windows of 512, which differs a
                little; the vocoder works in pieces, which changes nothing.

        Returns:
            Float32 ``[B, 2, ceil(hop * T * 160 / 147)]`` at 48 kHz.
        """
        waves = (self.vocode(self.mels(row[None])) for row in latents)
        rate = self.vocoder.config.sampling_rate
        return torch.cat([resample(wave, rate, SAMPLE_RATE).expand(-1, 2, -1) for wave in waves])

    def mels(self, latents: Tensor) -> Tensor:
        """Log-mels ``[B, 2, n_mels, frames]`` of latents ``[B, C, R, T]``, left and right."""
        mel = self.autoencoder.decode(latents / LATENT_SCALE + LATENT_SHIFT).sample
        return (mel * 0.5 + 0.5) * (MEL_HIGH - MEL_LOW) + MEL_LOW

    def vocode(self, mels: Tensor) -> Tensor:
        """Float32 waves ``[B, 2, hop * T]`` at the vocoder's rate; ``[B, 1, hop * T]`` where the sides are the same."""
        sides = mels.unbind(dim=1)
        waves = [self.vocoder.chunked(side).float() for side in (sides[:1] if torch.equal(*sides) else sides)]
        return torch.cat(waves, dim=1)

    def encode(self, audio: Tensor, rate: int = SAMPLE_RATE) -> Tensor:
        """Latents ``[B, C, R, T]`` of stereo audio ``[B, 2, samples]`` at ``rate``, padded to whole frames."""
        audio = resample(audio, rate, self.vocoder.config.sampling_rate)
        audio = F.pad(audio, (0, -audio.shape[-1] % self.hop))
        mels = torch.stack([log_mel(side, self.vocoder.config) for side in audio.unbind(dim=1)], dim=1)
        scaled = ((mels - MEL_LOW) / (MEL_HIGH - MEL_LOW) - 0.5) / 0.5
        return (self.autoencoder.encode(scaled).latent - LATENT_SHIFT) * LATENT_SCALE


class PhaseCodec(nn.Module):
    """A codec whose autoencoder ends at spectra, from which a phase stage makes sound; both sides are the same."""

    def __init__(self, autoencoder: Any, stage: PhaseStage) -> None:
        super().__init__()
        self.autoencoder, self.vocoder = autoencoder, stage
        self.hop: int = autoencoder.spatial_compression_ratio * stage.hop

    def decode(self, latents: Tensor) -> Tensor:
        """Audio as from :meth:`Codec.decode`."""
        audio = self.vocoder.audio(self.image(latents))
        return resample(audio, self.vocoder.config.sampling_rate, SAMPLE_RATE)[:, None].expand(-1, 2, -1)

    def image(self, latents: Tensor) -> Tensor:
        """What the phase stage makes audio of, one side."""
        both = self.autoencoder.decode(latents / LATENT_SCALE + LATENT_SHIFT).sample
        return both[:, : both.shape[1] // 2]

    def encode(self, audio: Tensor, rate: int = SAMPLE_RATE) -> Tensor:
        """Latents as from :meth:`Codec.encode`, of the mean of both sides."""
        mono = resample(audio.mean(1), rate, self.vocoder.config.sampling_rate)
        seen = self.vocoder.image(mono, self.hop).repeat(1, 2, 1, 1)
        return (self.autoencoder.encode(seen).latent - LATENT_SHIFT) * LATENT_SCALE


def resample(audio: Tensor, rate: int, new_rate: int) -> Tensor:
    """Resample with a Hann-windowed sinc, as the checkpoint's own pipeline does.

    From float32 ``[..., samples]`` at ``rate`` Hz to ``[..., ceil(samples * new_rate / rate)]`` at ``new_rate`` Hz.
    """
    common = math.gcd(rate, new_rate)
    old, new = rate // common, new_rate // common
    if old == new:
        return audio
    kernels, reach = sinc_kernels(old, new)
    flat = F.pad(audio.reshape(-1, 1, audio.shape[-1]), (reach, reach + old))
    out = F.conv1d(flat, kernels.to(flat.dtype).to(flat.device), stride=old).transpose(1, 2).flatten(1)
    return out[:, : math.ceil(audio.shape[-1] * new / old)].reshape(*audio.shape[:-1], -1)


def sinc_kernels(old: int, new: int) -> tuple[Tensor, int]:
    """One filter ``[new, 1, taps]`` per output phase, and how many samples it reaches to the left."""
    cutoff = min(old, new) * ROLLOFF
    reach = math.ceil(CROSSINGS * old / cutoff)
    taps = torch.arange(-reach, reach + old, dtype=torch.float64) / old
    phases = -torch.arange(new, dtype=torch.float64) / new
    time = ((taps + phases[:, None]) * cutoff).clamp(-CROSSINGS, CROSSINGS)
    window = torch.cos(time * math.pi / CROSSINGS / 2) ** 2
    return (torch.sinc(time) * window * cutoff / old)[:, None], reach
