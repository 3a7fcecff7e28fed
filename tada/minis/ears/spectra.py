"""The spectrogram of the CLAP-class ear, as ``ClapFeatureExtractor`` makes it, but for whole batches at once."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tada.minis.mel import mel_filters, power

RATE, HOP, WINDOW, BANDS = 16_000, 320, 1024, 64
SECONDS = 5
"""What the ear hears at once; shorter clips are repeated up to it."""

LOW, HIGH = 50, 7900
"""Hz: the ends of the mel bands."""


def decibels(audio: Tensor) -> Tensor:
    """Compute mel spectrograms ``[rows, 251, 64]`` of pieces ``[rows, 80000]`` in dB, from -100 on; gradients pass."""
    bank = mel_filters(WINDOW, BANDS, LOW, HIGH).to(audio.device)
    return 10 * (bank.T @ power(audio, WINDOW, HOP)).clamp_min(1e-10).log10().transpose(1, 2)


def windows(audio: Tensor, frames: int = SECONDS * RATE) -> Tensor:
    """Cut clips ``[rows, any]`` into pieces of one length, ``[rows, pieces, frames]``.

    A shorter clip is repeated, else they are as few as cover it, evenly spaced.
    """
    length = audio.shape[1]
    if length < frames:
        return audio.repeat(1, math.ceil(frames / length))[:, None, :frames]
    pieces = math.ceil(length / frames)
    starts = [round(i * (length - frames) / max(1, pieces - 1)) for i in range(pieces)]
    return torch.stack([audio[:, start : start + frames] for start in starts], 1)
