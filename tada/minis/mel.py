"""The log-mel spectrogram that probe and ears take."""

from __future__ import annotations

from functools import lru_cache

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
    window = torch.hann_window(WINDOW, device=audio.device)
    power = torch.stft(audio, WINDOW, HOP, window=window, return_complex=True).abs().square()
    return (filters().to(audio.device).T @ power).clamp_min(1e-5).log()


@lru_cache
def filters() -> Tensor:
    from transformers.audio_utils import mel_filter_bank

    bank = mel_filter_bank(WINDOW // 2 + 1, BANDS, 40.0, 7800.0, SAMPLE_RATE, norm="slaney", mel_scale="slaney")
    return torch.from_numpy(bank * 100).float()


def listenable(audio: Tensor, sample_rate: int) -> Tensor:
    """Convert clips to what probe and ears take.

    Args:
        audio: ``[rows, frames]`` or ``[rows, channels, frames]``.
        sample_rate: of the audio, in Hz.

    Returns:
        float32 ``[rows, frames]``, mono at 16 kHz.
    """
    mono = (audio.mean(1) if audio.ndim == 3 else audio).float()
    if sample_rate == SAMPLE_RATE:
        return mono
    common = int(np.gcd(sample_rate, SAMPLE_RATE))
    heard = resample_poly(mono.cpu().numpy(), SAMPLE_RATE // common, sample_rate // common, axis=-1)
    return torch.from_numpy(heard.astype(np.float32)).to(audio.device)
