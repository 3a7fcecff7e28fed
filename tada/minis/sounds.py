"""The instruments: one note or stroke of each, made by additive synthesis once and kept.

A note is float32 ``[frames]`` at 16 kHz and lasts 2.2 s; the renderer cuts it off with a release. Notes are of equal
loudness (mean square 1 over the first quarter of a second), strokes of equal height (peak 1).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from tada.errors import check_name

Audio = NDArray[np.float32]
Signal = NDArray[np.floating[Any]]

SAMPLE_RATE = 16_000
LONGEST = 2.2
"""Seconds of a kept note."""

VARIANTS = 2
"""Different takes of each note: other phases, other noise."""

_TIME = np.arange(int(LONGEST * SAMPLE_RATE), dtype=np.float32) / SAMPLE_RATE


def hertz(pitch: float) -> float:
    """Frequency of a MIDI pitch, equal temperament, A4 = 440 Hz."""
    return 440.0 * 2.0 ** ((pitch - 69) / 12)


@lru_cache(maxsize=2048)
def sound(name: str, pitch: int = 0, variant: int = 0) -> Audio:
    """Make a note of :data:`NOTES` or a stroke of :data:`STROKES` (its pitch is 0), float32 ``[frames]``, read-only.

    Args:
        name: KeyError for an unknown one.
        pitch: MIDI pitch.
        variant: which take, 0 or 1.
    """
    check_name("sound", name, [*NOTES, *STROKES])
    rng = np.random.default_rng([pitch, variant, *name.encode()])
    if name in NOTES:
        audio = NOTES[name](hertz(pitch), rng)
        audio = audio * np.minimum(1, (LONGEST - _TIME) / 0.02) / np.sqrt(np.mean(audio[: SAMPLE_RATE // 4] ** 2))
    else:
        audio = STROKES[name](rng)
        audio = audio / np.abs(audio).max()
    audio = audio.astype(np.float32)
    audio.flags.writeable = False
    return audio


# Pitched: fundamental in Hz, generator -> audio


def _piano(f: float, rng: np.random.Generator) -> Signal:
    n = _orders(f)
    level = n**-1.1 * (0.15 + np.abs(np.sin(np.pi * n / 8)))
    ring = _partials(n * f * np.sqrt(1 + 4e-4 * n**2), level, _decay(1.6 * (220 / f) ** 0.5 / (1 + 0.25 * n)), rng)
    twin = _partials(n * f * 1.0006 * np.sqrt(1 + 4e-4 * n**2), level, _decay(2.4 / (1 + 0.2 * n)), rng)
    thump = _noise(rng, 120, 900) * np.exp(-_TIME / 0.018)
    return _rise(ring + 0.5 * twin + 0.25 * thump, 0.003)


def _guitar(f: float, rng: np.random.Generator) -> Signal:
    n = _orders(f)
    level = np.abs(np.sin(np.pi * n * 0.19)) / n * (1 + 1.5 * _hump(n * f, 220, 120) + _hump(n * f, 2400, 900))
    string = _partials(n * f * np.sqrt(1 + 6e-5 * n**2), level, _decay(0.75 / (1 + 0.12 * n)), rng)
    pick = _noise(rng, 1500, 5500) * np.exp(-_TIME / 0.006)
    return _rise(string + 0.3 * pick, 0.0015)


def _flute(f: float, rng: np.random.Generator) -> Signal:
    n = _orders(f)[:6]
    level = np.array([1, 0.42, 0.16, 0.05, 0.02, 0.01])[: len(n)]
    tone = _partials(n * f, level, 1.0, rng, vibrato=0.0035, rate=5.0) * (1 + 0.12 * np.sin(2 * np.pi * 5.0 * _TIME))
    breath = _noise(rng, 0.9 * f, 1.6 * f) * (0.05 + 0.15 * np.exp(-_TIME / 0.05))
    return _rise(tone + breath, 0.055)


def _trumpet(f: float, rng: np.random.Generator) -> Signal:
    n = _orders(f)
    level = (0.25 + 2.2 * _hump(n * f, 1350, 700) + 0.5 * _hump(n * f, 2600, 900)) / n**0.35
    bloom = 1 - np.exp(-_TIME / (0.012 + 0.007 * n[:, None]))
    return _rise(_partials(n * f, level, bloom, rng, vibrato=0.003, rate=5.3), 0.012)


def _violin(f: float, rng: np.random.Generator) -> Signal:
    n = _orders(f)
    body = 0.5 + _hump(n * f, 480, 150) + 0.8 * _hump(n * f, 1100, 350) + 1.3 * _hump(n * f, 2700, 900)
    bow = _partials(n * f, body * n**-0.85, 1.0, rng, vibrato=0.011, rate=5.9)
    return _rise(bow + 0.035 * _noise(rng, 1800, 6500), 0.085)


def _double_bass(f: float, rng: np.random.Generator) -> Signal:
    n = _orders(f)[:14]
    string = _partials(n * f, np.abs(np.sin(np.pi * n * 0.3)) / n**1.1, _decay(0.7 / (1 + 0.25 * n)), rng)
    finger = _noise(rng, 300, 1500) * np.exp(-_TIME / 0.012)
    return _rise(string + 0.1 * finger, 0.006)


def _synth_bass(f: float, rng: np.random.Generator) -> Signal:
    n = _orders(f)[:24]
    cutoff = f * (2.5 + 12 * np.exp(-_TIME / 0.09))
    sweep = 1 / (1 + (n[:, None] * f / cutoff) ** 4)
    return _rise(_partials(n * f, 1 / n, sweep * np.exp(-_TIME / 0.5), rng), 0.003)


def _dub_bass(f: float, rng: np.random.Generator) -> Signal:
    n = _orders(f)[:4]
    return _rise(_partials(n * f, np.array([1, 0.5, 0.18, 0.05]), _decay(1.1 / n**0.5), rng), 0.012)


def _reeds(f: float, rng: np.random.Generator) -> Signal:
    n = _orders(f)
    level = (0.4 + 1.6 * _hump(n * f, 900, 500) + 0.7 * _hump(n * f, 2100, 900)) / n**0.6
    tone = _partials(n * f, level, 1 - np.exp(-_TIME / 0.02), rng)
    return _rise(tone + 0.05 * _noise(rng, 1000, 5000), 0.03)


def _bubble(f: float, rng: np.random.Generator) -> Signal:
    n = np.array([1, 2, 3, 4, 6])
    click = _noise(rng, 900, 2500) * np.exp(-_TIME / 0.004)
    tone = _partials(n * f, np.array([1, 0.7, 0.45, 0.3, 0.12]), _decay(0.16 / n**0.3), rng)
    return _rise(tone + 0.2 * click, 0.002)


def _stab(f: float, rng: np.random.Generator) -> Signal:
    n = _orders(f)[:20]
    cutoff = 500 + 3200 * np.exp(-_TIME / 0.07)
    sweep = np.exp(-_TIME / 0.25) / (1 + (n[:, None] * f / cutoff) ** 4)
    spread = np.concatenate([n * f * detune for detune in (0.994, 1.0, 1.006)])
    return _rise(_partials(spread, np.tile(1 / n, 3), np.tile(sweep, (3, 1)), rng), 0.003)


NOTES: dict[str, Callable[[float, np.random.Generator], Signal]] = {
    "piano": _piano,
    "guitar": _guitar,
    "flute": _flute,
    "trumpet": _trumpet,
    "violin": _violin,
    "double bass": _double_bass,
    "synth bass": _synth_bass,
    "dub bass": _dub_bass,
    "reeds": _reeds,
    "bubble": _bubble,
    "stab": _stab,
}


# Unpitched: generator -> audio


def _kick(rng: np.random.Generator) -> Signal:
    phase = np.cumsum(52 + 110 * np.exp(-_TIME / 0.02)) / SAMPLE_RATE
    beater = 0.5 * _noise(rng, 1500, 4500) * np.exp(-_TIME / 0.006)
    return _stroke(np.sin(2 * np.pi * phase) * np.exp(-_TIME / 0.16) + beater, 0.5)


def _deep_kick(rng: np.random.Generator) -> Signal:
    phase = np.cumsum(46 + 190 * np.exp(-_TIME / 0.03)) / SAMPLE_RATE
    body = np.tanh(2 * np.sin(2 * np.pi * phase) * np.exp(-_TIME / 0.16))
    return _stroke(body + 0.3 * _noise(rng, 2000, 6000) * np.exp(-_TIME / 0.004), 0.6)


def _tom(hertz: float) -> Callable[[np.random.Generator], Signal]:
    def stroke(rng: np.random.Generator) -> Signal:
        phase = np.cumsum(hertz * (1 + 0.6 * np.exp(-_TIME / 0.03))) / SAMPLE_RATE
        stick = 0.2 * _noise(rng, 500, 4000) * np.exp(-_TIME / 0.02)
        return _stroke(np.sin(2 * np.pi * phase) * np.exp(-_TIME / 0.18) + stick, 0.6)

    return stroke


def _rim(rng: np.random.Generator) -> Signal:
    ring = np.sin(2 * np.pi * 1720 * _TIME) + 0.7 * np.sin(2 * np.pi * 830 * _TIME)
    return _stroke(ring * np.exp(-_TIME / 0.016) + 0.4 * _noise(rng, 900, 5000) * np.exp(-_TIME / 0.012), 0.2)


def _clap(rng: np.random.Generator) -> Signal:
    bursts = np.exp(-np.abs(_TIME % 0.011) / 0.004) * (_TIME < 0.033)
    return _stroke(_noise(rng, 900, 4500) * (bursts + 1.2 * np.exp(-_TIME / 0.09) * (_TIME >= 0.022)), 0.4)


def _closed_hat(rng: np.random.Generator) -> Signal:
    return _stroke(_noise(rng, 5500, 7900) * np.exp(-_TIME / 0.022), 0.15)


def _open_hat(rng: np.random.Generator) -> Signal:
    return _stroke(_noise(rng, 5000, 7900) * np.exp(-_TIME / 0.1), 0.4)


def _ride(rng: np.random.Generator) -> Signal:
    wash = _partials(rng.uniform(2500, 7500, 40), rng.uniform(0.3, 1, 40), np.exp(-_TIME / 0.5), rng)
    ping = _partials(np.array([2900, 4100]), np.array([0.5, 0.4]), np.exp(-_TIME / 0.15), rng)
    return _stroke(wash / 4 + ping + 0.5 * _noise(rng, 4000, 7900) * np.exp(-_TIME / 0.02), 1.2)


def _shake(rng: np.random.Generator) -> Signal:
    shape = np.exp(-(((_TIME - 0.028) / 0.014) ** 2)) + 0.35 * np.exp(-(((_TIME - 0.055) / 0.02) ** 2))
    return _stroke(_noise(rng, 2800, 6200) * shape, 0.13)


STROKES: dict[str, Callable[[np.random.Generator], Signal]] = {
    "kick": _kick,
    "deep kick": _deep_kick,
    "rim": _rim,
    "clap": _clap,
    "low tom": _tom(110.0),
    "high tom": _tom(165.0),
    "closed hat": _closed_hat,
    "open hat": _open_hat,
    "ride": _ride,
    "shake": _shake,
}


# What they are made of


def _orders(f: float) -> NDArray[np.float32]:
    """Numbers of the partials below 7.4 kHz."""
    return np.arange(1, max(2, int(7400 / f) + 1), dtype=np.float32)


def _partials(
    frequencies: Signal,
    levels: Signal,
    envelope: Signal | float,
    rng: np.random.Generator,
    vibrato: float = 0.0,
    rate: float = 5.5,
) -> Signal:
    """Sum of sines: frequencies and levels ``[p]``, envelope broadcast to ``[p, frames]``, vibrato as a fraction."""
    swing = vibrato / (2 * np.pi * rate) * np.cos(2 * np.pi * rate * _TIME) * np.minimum(1, _TIME / 0.35)
    phase = 2 * np.pi * np.asarray(frequencies, np.float32)[:, None] * (_TIME - swing).astype(np.float32)
    waves = np.sin(phase + rng.uniform(0, 2 * np.pi, (len(frequencies), 1)).astype(np.float32))
    waves *= np.asarray(levels, np.float32)[:, None]
    return (waves * envelope).sum(0)


def _decay(seconds: Signal) -> Signal:
    """Exponential decays ``[p, frames]`` with one time constant per partial, none below 30 ms."""
    return np.exp(-_TIME / np.maximum(np.asarray(seconds, np.float32), 0.03)[:, None])


def _hump(frequency: Signal, centre: float, width: float) -> Signal:
    return np.exp(-(((frequency - centre) / width) ** 2))


def _noise(rng: np.random.Generator, low: float, high: float) -> Signal:
    """Band-limited noise of unit variance over the length of a note."""
    sections = butter(2, [low, high], "bandpass", fs=SAMPLE_RATE, output="sos")
    noise = sosfilt(sections, rng.standard_normal(len(_TIME) + 400))[400:]
    return noise / noise.std()


def _rise(audio: Signal, seconds: float) -> Signal:
    """With a smooth attack."""
    return audio * np.sin(0.5 * np.pi * np.minimum(1, _TIME / seconds)) ** 2


def _stroke(audio: Signal, seconds: float) -> Signal:
    """Cut to length, with an attack of a millisecond and an end at zero."""
    short = _rise(audio, 0.001)[: int(seconds * SAMPLE_RATE)]
    return short * np.minimum(1, np.linspace(4, 0, len(short)))
