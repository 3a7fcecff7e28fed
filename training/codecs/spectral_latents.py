"""The latents of the Stable Audio mini, learnt from spectrograms before any waveform network is trained.

Waveform networks learn slowly, spectrogram networks fast. So a small network first finds latents from which two
log-mel spectrograms can be decoded, one fine in time and one fine in pitch; the autoencoder's two halves then learn
these latents, each alone.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tada.minis.mel import log_mel
from tada.minis.sounds import SAMPLE_RATE
from tada.models.ace_step.vocoder import VocoderConfig, mel_filters
from training.fit import bf16_autocast

HOP = 256
FINE = VocoderConfig(sampling_rate=SAMPLE_RATE, n_fft=2048, hop_length=HOP, f_min=40, f_max=7800, n_mels=128)
BANDS = 64 + FINE.n_mels
CENTRE, SPREAD = -1.0, 3.0
"""About the mean and the standard deviation of what :func:`two_mels` returns."""


def two_mels(audio: Tensor) -> Tensor:
    """Compute two log-mel spectrograms, one above the other: the judges', and 128 bands under a long window.

    Args:
        audio: ``[rows, frames]`` at 16 kHz, frames a multiple of 256.

    Returns:
        ``[rows, 192, frames // 256]``, about unit variance.
    """
    both = torch.cat([log_mel(audio), fine(audio)], 1)[..., : audio.shape[-1] // HOP]
    return (both - CENTRE) / SPREAD


def fine(audio: Tensor) -> Tensor:
    """Log-mel spectrogram ``[rows, 128, 1 + frames // 256]`` under a window of 128 ms, which tells partials apart."""
    window = torch.hann_window(FINE.n_fft, device=audio.device)
    power = torch.stft(audio, FINE.n_fft, HOP, window=window, return_complex=True).abs().square()
    return (_filters().to(audio.device) @ power).clamp_min(1e-5).log()


@lru_cache
def _filters() -> Tensor:
    return 50 * mel_filters(FINE)


class Residual(nn.Module):
    """A dilated convolution and a mixing one, on a residual."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.wide = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.mix = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mix(F.gelu(self.wide(F.gelu(x))))


class SpectralLatents(nn.Module):
    """Spectrograms to latents, of zero mean and unit variance in every channel, and back."""

    def __init__(self, latents: int, fold: int = 4, width: int = 256) -> None:
        super().__init__()
        self.fold = fold
        self.read = nn.Sequential(
            nn.Conv1d(BANDS * fold, width, 1), Residual(width, 1), Residual(width, 2), nn.GELU(), _to(width, latents)
        )
        self.norm = nn.BatchNorm1d(latents, affine=False, momentum=0.02)
        self.tell = nn.Sequential(
            _to(latents, width), *(Residual(width, d) for d in (1, 2, 1)), nn.GELU(), _to(width, BANDS * fold)
        )

    def encode(self, seen: Tensor) -> Tensor:
        """Latents ``[rows, latents, time / fold]`` of what :func:`two_mels` returns."""
        folded = seen.unflatten(2, (-1, self.fold)).transpose(2, 3).flatten(1, 2)
        return self.norm(self.read(folded).float())

    def decode(self, latents: Tensor) -> Tensor:
        """Spectrograms ``[rows, 192, time]`` of latents."""
        return self.tell(latents).unflatten(1, (BANDS, self.fold)).transpose(2, 3).flatten(2)


def _to(inputs: int, outputs: int) -> nn.Conv1d:
    return nn.Conv1d(inputs, outputs, 3, padding=1)


def gist_loss(network: SpectralLatents, audio: Tensor, generator: torch.Generator, noise: float = 0.1) -> Tensor:
    """Mean error of the spectrograms and of their changes in time, decoded from latents with some noise added."""
    target = two_mels(audio)
    with bf16_autocast(audio.device):
        latents = network.encode(target)
        mels = network.decode(latents + noise * torch.randn(latents.shape, generator=generator).to(latents))
    return (mels - target).abs().mean() + (mels.float().diff() - target.diff()).abs().mean()
