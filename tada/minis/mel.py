"""The log-mel spectrogram that probe and ears take."""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np
import torch
from scipy.signal import resample_poly
from torch import Tensor

from tada.minis.sounds import SAMPLE_RATE

BANDS, WINDOW, HOP = 64, 1024, 256


def log_mel(audio: Tensor) -> Tensor:
    """Compute the natural logarithm of the mel power spectrogram.

    Args:
        audio: float ``[rows, frames]`` at 16 kHz, at least 1,024 frames.

    Returns:
        ``[rows, 64, 1 + frames // 256]``, slaney's mel bands from 40 Hz to 7.8 kHz, floored at -11.5.
    """
    return (filters().to(audio.device).T @ power(audio, WINDOW, HOP)).clamp_min(1e-5).log()


def power(audio: Tensor, window: int, hop: int) -> Tensor:
    """Compute power spectra ``[rows, window // 2 + 1, time]`` of Hann-windowed frames of clips ``[rows, frames]``.

    Clip by clip, which stays in a CPU's cache.
    """
    shape = torch.hann_window(window, device=audio.device)
    transform = partial(torch.stft, n_fft=window, hop_length=hop, window=shape, return_complex=True)
    return torch.cat([transform(row).abs().square() for row in audio.split(1)])


def filters() -> Tensor:
    """Give the filters of :func:`log_mel`, ``[513, 64]``."""
    return mel_filters(WINDOW, BANDS, 40.0, 7800.0, 100.0)


@lru_cache
def mel_filters(window: int, bands: int, low: float, high: float, scale: float = 1.0) -> Tensor:
    """Compute slaney's mel filters between two frequencies in Hz at 16 kHz, ``[window // 2 + 1, bands]``."""
    from transformers.audio_utils import mel_filter_bank

    bank = mel_filter_bank(window // 2 + 1, bands, low, high, SAMPLE_RATE, norm="slaney", mel_scale="slaney")
    return torch.from_numpy(bank * scale).float()


def listenable(audio: Tensor, sample_rate: int) -> Tensor:
    """Convert clips ``[rows, frames]`` or ``[rows, channels, frames]`` to what probe and ears take: mono at 16 kHz."""
    mono = (audio.mean(1) if audio.ndim == 3 else audio).float()
    if sample_rate == SAMPLE_RATE:
        return mono
    common = int(np.gcd(sample_rate, SAMPLE_RATE))
    heard = resample_poly(mono.cpu().numpy(), SAMPLE_RATE // common, sample_rate // common, axis=-1)
    return torch.from_numpy(heard.astype(np.float32)).to(audio.device)
