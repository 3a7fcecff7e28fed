"""The voices: a pulse train with glides and vibrato through the formants of vowels, notes begun by consonants."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, rfft
from scipy.signal import butter, sosfilt

from tada.minis.sounds import SAMPLE_RATE, Audio, Signal

# Formants of sung vowels of a man in Hz; a woman's lie higher by SCALE.
VOWELS = {
    "a": (700, 1150, 2500, 3300, 4200),
    "e": (480, 1800, 2500, 3300, 4200),
    "i": (300, 2150, 2800, 3400, 4200),
    "o": (480, 850, 2500, 3200, 4200),
}
SCALE = {"female": 1.17, "male": 1.0}
BANDWIDTHS = (90, 100, 140, 180, 250)
PEAKS = (1.0, 0.7, 0.7, 0.5, 0.25)
TYPICAL = {"female": 262.0, "male": 124.0}  # Hz, for the loudness of a vowel

_TABLE = 4096
_BLOCK = 16
"""Frames over which pitch is held; at 16 kHz a millisecond."""


def sing(
    voice: str,
    starts: Sequence[float],
    lengths: Sequence[float],
    pitches: Sequence[int],
    frames: int,
    rng: np.random.Generator,
) -> Audio:
    """Sing a line.

    Args:
        voice: ``"female"`` or ``"male"``.
        starts, lengths: of the notes in seconds, in order, not overlapping.
        pitches: MIDI pitches, one per note.
        frames: length of the result at 16 kHz, a multiple of 16.
        rng: of vowels, vibrato and breath.

    Returns:
        float32 ``[frames]``, mean square near 1 while singing.
    """
    source = _pulses(voice, _glide(starts, pitches, frames, rng)) + 0.04 * rng.standard_normal(frames, np.float32)
    spectrum = rfft(source)
    vowels = [str(one) for one in rng.choice(list(VOWELS), 2, replace=False)]
    masks = _masks(starts, lengths, [i % 2 for i in range(len(starts))], frames)
    sung = sum(
        irfft(spectrum * _response(voice, vowel, frames), frames) * mask
        for vowel, mask in zip(vowels, masks, strict=True)
    )
    return (sung + _consonants(starts, frames, rng)).astype(np.float32)


CONSONANTS = {"s": (4500, 7500, 0.07), "sh": (2200, 5500, 0.07), "t": (2500, 7000, 0.02), "k": (1200, 3000, 0.025)}
"""Noise of a consonant: lowest and highest frequency in Hz, and seconds."""


def _consonants(starts: Sequence[float], frames: int, rng: np.random.Generator) -> Signal:
    """A consonant before each note but where the seed leaves it out, ``[frames]``."""
    out = np.zeros(frames)
    for start, name in zip(starts, rng.choice([*CONSONANTS, ""], len(starts)), strict=True):
        if not name:
            continue
        low, high, seconds = CONSONANTS[name]
        count = round(seconds * SAMPLE_RATE)
        last = min(round(start * SAMPLE_RATE) + count // 2, frames)
        first = max(0, last - count)
        noise = sosfilt(_band(low, high), rng.standard_normal(count + 200))[200:]
        out[first:last] += (0.5 * np.hanning(count) * noise / noise.std())[: last - first]
    return out


@lru_cache
def _band(low: float, high: float) -> NDArray[np.float64]:
    return butter(2, [low, high], "bandpass", fs=SAMPLE_RATE, output="sos")


def _glide(starts: Sequence[float], pitches: Sequence[int], frames: int, rng: np.random.Generator) -> Signal:
    """Pitch in Hz, one value per block: glides of some 50 ms between notes, and a vibrato that comes late."""
    time = np.arange(0, frames, _BLOCK) / SAMPLE_RATE
    note = np.clip(np.searchsorted(starts, time, "right") - 1, 0, None)
    held = np.asarray(pitches, float)[note]
    smooth = np.convolve(np.pad(held, 25, "edge"), np.hanning(51) / np.hanning(51).sum(), "valid")
    late = np.clip((time - np.asarray(starts)[note]) / 0.3, 0, 1)
    rate, drift = rng.uniform(5.0, 6.2), rng.normal(0, 0.04)
    vibrato = rng.uniform(0.2, 0.4) * late * np.sin(2 * np.pi * rate * time + rng.uniform(0, 6))
    return 440 * 2 ** ((smooth + vibrato + drift - 69) / 12)


def _pulses(voice: str, frequency: Signal) -> Audio:
    """The glottis: a band-limited pulse train that follows the pitch."""
    phase = np.cumsum(np.repeat(frequency / SAMPLE_RATE, _BLOCK))
    return _table(voice)[(phase * _TABLE).astype(np.int64) % _TABLE]


@lru_cache
def _table(voice: str) -> Audio:
    levels = _harmonics(voice)
    turn = 2 * np.pi * np.arange(_TABLE) / _TABLE
    return (np.cos(turn[:, None] * np.arange(1, len(levels) + 1)) @ levels).astype(np.float32)


def _harmonics(voice: str) -> Signal:
    """Levels of the glottis's harmonics, as many as stay below 8 kHz."""
    return np.arange(1, 22 if voice == "female" else 46) ** -0.75


@lru_cache
def _response(voice: str, vowel: str, frames: int) -> NDArray[np.complex64]:
    """Frequency response of the mouth: resonances in parallel with alternating signs, all vowels equally loud."""
    z = np.exp(-2j * np.pi * np.arange(frames // 2 + 1) / frames)
    total = np.zeros_like(z)
    for order, (formant, width) in enumerate(zip(VOWELS[vowel], BANDWIDTHS, strict=True)):
        radius = np.exp(-np.pi * width / SAMPLE_RATE)
        angle = 2 * np.pi * formant * SCALE[voice] / SAMPLE_RATE
        peak = 1 / (1 - 2 * radius * np.cos(angle) * z + radius**2 * z**2)
        total += (-1) ** order * PEAKS[order] * peak / np.abs(peak).max()
    levels = _harmonics(voice)
    middle = TYPICAL[voice] * np.arange(1, len(levels) + 1) * frames / SAMPLE_RATE
    power = np.sum((levels * np.abs(total[middle.astype(int)])) ** 2) / 2
    return (total / np.sqrt(power)).astype(np.complex64)


def _masks(starts: Sequence[float], lengths: Sequence[float], choice: Sequence[int], frames: int) -> Audio:
    """Loudness of each of the two vowels, ``[2, frames]``: notes swell, and are parted by a short dip."""
    masks = np.zeros((2, frames), np.float32)
    for start, length, vowel in zip(starts, lengths, choice, strict=True):
        first = int(start * SAMPLE_RATE)
        count = min(int(length * SAMPLE_RATE), frames - first)
        place = np.arange(count, dtype=np.float32) / SAMPLE_RATE
        rise, fall = np.minimum(1, place / 0.045), np.minimum(1, (length - place) / 0.06)
        masks[vowel, first : first + count] = rise * fall * (0.85 + 0.15 * np.minimum(1, place / 0.25))
    return masks
