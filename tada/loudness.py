"""Loudness as people hear it: ITU-R BS.1770-4, integrated and gated."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tada.errors import InputError

SILENCE = -70.0
"""The absolute gate, in LUFS; what lies below counts as this."""


def lufs(samples: Any, sample_rate: int) -> float:
    """Integrated loudness in LUFS; -70 for silence and for clips that never exceed it.

    Args:
        samples: float ``[frames]`` or ``[frames, channels]``, full scale at 1.0; left and right only.
        sample_rate: in Hz.

    Raises:
        ValueError: no samples, or some that are not finite.
    """
    audio = np.asarray(samples, np.float64)
    audio = audio[:, None] if audio.ndim == 1 else audio
    if not audio.size or not np.isfinite(audio).all():
        raise InputError(f"got {audio.size} samples, {np.isnan(audio).sum()} of them NaN; expected finite ones")
    power = _blocks(_weighted(audio, sample_rate), sample_rate)
    loud = power[_level(power) > SILENCE]
    if not len(loud):
        return SILENCE
    loud = loud[_level(loud) > _level(loud.mean()) - 10]
    return float(_level(loud.mean()))


def _blocks(audio: NDArray[np.float64], sample_rate: int) -> NDArray[np.float64]:
    """Power of blocks of 400 ms, one every 100 ms, summed over channels; a shorter clip is one block."""
    size, hop = min(len(audio), round(0.4 * sample_rate)), round(0.1 * sample_rate)
    starts = range(0, len(audio) - size + 1, hop)
    return np.array([np.mean(audio[start : start + size] ** 2, axis=0).sum() for start in starts])


def _level(power: Any) -> Any:
    return -0.691 + 10 * np.log10(np.maximum(power, 1e-20))


def _weighted(audio: NDArray[np.float64], sample_rate: int) -> NDArray[np.float64]:
    from scipy.signal import lfilter

    for above, below in filters(sample_rate):
        audio = lfilter(above, below, audio, axis=0)
    return audio


def filters(sample_rate: int) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """K-weighting at any rate: numerator and denominator of the shelf and of the high-pass.

    The standard gives them at 48 kHz; these are the bilinear transforms of the analogue filters behind its numbers.
    """
    k, q, gain = np.tan(np.pi * 1681.974450955533 / sample_rate), 0.7071752369554196, 10 ** (3.999843853973347 / 20)
    bend = gain**0.4996667741545416
    shelf = np.array([gain + bend * k / q + k * k, 2 * (k * k - gain), gain - bend * k / q + k * k])
    shelf_poles = np.array([1 + k / q + k * k, 2 * (k * k - 1), 1 - k / q + k * k])
    k, q = np.tan(np.pi * 38.13547087602444 / sample_rate), 0.5003270373238773
    poles = np.array([1 + k / q + k * k, 2 * (k * k - 1), 1 - k / q + k * k])
    return [(shelf / shelf_poles[0], shelf_poles / shelf_poles[0]), (np.array([1.0, -2.0, 1.0]), poles / poles[0])]
