"""Prepare clips for metrics: mono float32 at the metric's sample rate, and windows of them.

Conventions: arrays ``[clips, frames]`` or ``[clips, channels, frames]`` with full scale at 1.0 and their sample rate
beside them. Channels are averaged, samples beyond full scale are clipped as a file would clip them, rates are
converted here. Silence is a clip like any other. NaN or infinite samples and clips that are too short are refused.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from scipy.signal import firwin, resample_poly
from torch import Tensor

from tada.errors import InputError

SHORTEST = 0.1
"""Seconds below which a clip is refused: there is nothing to hear in it."""


def prepare(audio: Any, sample_rate: int, rate: int, shortest: float = SHORTEST) -> Tensor:
    """Convert clips to mono at a metric's sample rate.

    Args:
        audio: array or tensor, ``[clips, frames]`` or ``[clips, channels, frames]``, full scale at 1.0.
        sample_rate: of the audio, in Hz.
        rate: wanted, in Hz.
        shortest: in seconds.

    Returns:
        float32 ``[clips, frames]`` on the CPU, within -1 and 1; the length is rounded up.

    Raises:
        ValueError: another shape, no clip, clips too short, a rate that is no positive whole number, NaN or infinite
            samples (with the rows).
    """
    clips = torch.as_tensor(np.asarray(audio) if not isinstance(audio, Tensor) else audio).detach().cpu()
    if clips.ndim not in (2, 3) or not len(clips):
        raise InputError(
            f"got audio of shape {list(clips.shape)}; expected [clips, frames] or [clips, channels, frames]"
        )
    if int(sample_rate) != sample_rate or sample_rate <= 0:
        raise InputError(f"got sample_rate={sample_rate!r}; expected a positive whole number of Hz")
    if clips.shape[-1] < max(2, shortest * sample_rate):
        raise InputError(
            f"got clips of {clips.shape[-1]} samples ({clips.shape[-1] / sample_rate:.4f} s); expected at least "
            f"{shortest} s"
        )
    if not clips.is_floating_point():
        raise InputError(f"got audio of {clips.dtype}; expected floats with full scale at 1.0")
    if not all(end.isfinite() for end in clips.aminmax()):  # of NaN, both are
        bad = (~clips.isfinite()).flatten(1).any(1).nonzero().flatten().tolist()
        raise InputError(f"NaN or infinite samples in rows {bad} of {len(clips)}: look at how they were made")
    mono = (clips.mean(1) if clips.ndim == 3 else clips).float().clamp(-1, 1)
    return resample(mono, int(sample_rate), rate).clamp(-1, 1)


def resample(mono: Tensor, sample_rate: int, rate: int) -> Tensor:
    """Resample ``[clips, frames]`` by a polyphase filter of 32 zero crossings on either side."""
    if sample_rate == rate:
        return mono
    common = math.gcd(sample_rate, rate)
    up, down = rate // common, sample_rate // common
    widest = max(up, down)
    filter_ = firwin(2 * 32 * widest + 1, 0.96 / widest, window=("kaiser", 9.0)).astype(np.float32)
    return torch.from_numpy(resample_poly(mono.numpy(), up, down, axis=-1, window=filter_).astype(np.float32))


def windows(mono: Tensor, frames: int, hop: int, padding: str = "repeatpad") -> Tensor:
    """Cut clips ``[clips, any]`` into ``[clips, windows, frames]``, one every ``hop`` while there is something left.

    The last one is filled up: ``"repeatpad"`` repeats what there is a whole number of times, zeros after it;
    ``"repeat"`` repeats and cuts; ``"pad"`` adds zeros.
    """
    pieces = [mono[:, start : start + frames] for start in range(0, mono.shape[1], hop)]
    return torch.stack([fill(piece, frames, padding) for piece in pieces], 1)


def fill(piece: Tensor, frames: int, padding: str) -> Tensor:
    """Fill ``[clips, up to frames]`` up to ``[clips, frames]``, see :func:`windows`."""
    times = {"repeatpad": frames // piece.shape[1], "repeat": math.ceil(frames / piece.shape[1]), "pad": 1}[padding]
    longer = piece.repeat(1, times)[:, :frames]
    return torch.nn.functional.pad(longer, (0, frames - longer.shape[1]))
