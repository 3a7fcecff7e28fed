"""Synthetic music whose attributes are known: from attributes and a seed to a clip.

A clip is 4.096 s of mono at 16 kHz. It depends on its attributes and its seed alone, never on its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, rfft

from tada.errors import InputError
from tada.minis.attributes import CENTROIDS, Attributes, settle
from tada.minis.composition import SECONDS, Event, generator, write
from tada.minis.singing import sing
from tada.minis.sounds import SAMPLE_RATE, VARIANTS, Audio, Signal, sound

FRAMES = round(SECONDS * SAMPLE_RATE)

LOUDNESS = -18.0
"""Loudness of every clip before the limiter, in LUFS without gates."""

_SPECTRUM = 1024
_PADDED = 81_920  # room for the reverb's tail, and a quick length for FFT

GAINS = {"tune": 0.9, "song": 1.7, "comping": 0.9, "bass": 0.7, "percussion": 2.8}
SENDS = {"tune": 0.55, "song": 0.55, "comping": 0.45, "bass": 0.0, "percussion": 0.2}
"""Part -> its gain, and how much of it goes to the reverb."""

_BACKING = 0.5
"""Gain of the tune while somebody sings."""

RELEASES = {"piano": 0.12, "guitar": 0.1, "flute": 0.07, "violin": 0.09}
_RELEASE = 0.04
_JITTER = {"jazz": 0.007, "techno": 0.0015, "reggae": 0.005}
"""Standard deviation of onsets around the grid, in seconds."""


def render(attributes: Attributes, seed: int) -> Audio:
    """Render a clip of music.

    Args:
        attributes: what is asked for; open fields are drawn from the seed.
        seed: of all that the attributes leave free, 0 or more.

    Returns:
        float32 ``[65536]`` at 16 kHz, at most 0.98 in magnitude.

    Raises:
        ValueError: a negative seed.
    """
    if seed < 0:
        raise InputError(f"got seed={seed}; expected 0 or more")
    settled = settle(attributes, seed)
    rng = generator(seed, "mix")
    dry, wet = mix(settled, write(settled, seed), seed, rng)
    return master(dry, wet, settled, rng)


def render_batch(attributes: Sequence[Attributes], seeds: Sequence[int]) -> Audio:
    """Render clips, float32 ``[rows, 65536]``; row i is ``render(attributes[i], seeds[i])``."""
    if len(attributes) != len(seeds):
        raise InputError(f"got {len(attributes)} attributes and {len(seeds)} seeds; expected one seed for each")
    out = np.empty((len(seeds), FRAMES), np.float32)
    for row, (wanted, seed) in enumerate(zip(attributes, seeds, strict=True)):
        out[row] = render(wanted, seed)
    return out


def mix(attributes: Attributes, events: Sequence[Event], seed: int, rng: np.random.Generator) -> tuple[Audio, Audio]:
    """Sum all events, dry and as they go to the reverb, each ``[65536]``."""
    dry, wet = np.zeros(FRAMES, np.float32), np.zeros(FRAMES, np.float32)
    for name in GAINS:
        part = [event for event in events if event.part == name]
        gain = GAINS[name] * 10 ** (rng.uniform(-1.5, 1.5) / 20)
        if name == "tune" and attributes.voice:
            gain *= _BACKING
        if part:
            bus = (
                _song(attributes, part, seed)
                if name == "song"
                else _stage(attributes, part, generator(seed, "feel " + name))
            )
            dry += gain * bus
            wet += gain * SENDS[name] * bus
    return dry, wet


def _stage(attributes: Attributes, events: Sequence[Event], rng: np.random.Generator) -> Audio:
    """One part, played by hand: every note a little early or late."""
    bus = np.zeros(FRAMES, np.float32)
    beat = 60 / float(attributes.tempo or 0)
    jitter = _JITTER[str(attributes.genre)]
    late: dict[float, float] = {}
    for event in events:
        if event.beat not in late:
            late[event.beat] = float(np.clip(rng.normal(0, jitter), -2 * jitter, 2 * jitter))
        start = max(0.0, event.beat * beat + late[event.beat])
        _play(bus, event, start, event.length * beat, int(rng.integers(VARIANTS)))
    return bus


def _play(bus: Audio, event: Event, start: float, length: float, variant: int) -> None:
    """Add one event to a bus: the kept sound, cut to length with a release."""
    kept = sound(event.sound, event.pitch, variant)
    first = min(int(start * SAMPLE_RATE), FRAMES)
    last = int(length * SAMPLE_RATE) if event.pitch else len(kept)
    release = _fall(int(RELEASES.get(event.sound, _RELEASE) * SAMPLE_RATE))
    body = kept[: min(last, FRAMES - first)]
    tail = kept[last : last + len(release)][: max(0, FRAMES - first - last)]
    bus[first : first + len(body)] += event.level * body
    bus[first + last : first + last + len(tail)] += event.level * tail * release[: len(tail)]


@lru_cache
def _fall(frames: int) -> Audio:
    return (0.5 + 0.5 * np.cos(np.linspace(0, np.pi, frames))).astype(np.float32)


def _song(attributes: Attributes, events: Sequence[Event], seed: int) -> Audio:
    beat = 60 / float(attributes.tempo or 0)
    starts, lengths = [event.beat * beat for event in events], [event.length * beat for event in events]
    pitches = [event.pitch for event in events]
    return sing(str(attributes.voice), starts, lengths, pitches, FRAMES, generator(seed, "feel song"))


def master(dry: Audio, wet: Audio, attributes: Attributes, rng: np.random.Generator) -> Audio:
    """Finish a clip: reverb, tilt, loudness, limiter, ends without clicks."""
    room, amount = int(rng.integers(_ROOMS)), rng.uniform(0.15, 0.4)
    spectrum = rfft(dry, _PADDED) + amount * rfft(wet, _PADDED) * _room(room)
    tilt = find_tilt(irfft(spectrum, _PADDED)[:FRAMES], rng.uniform(*CENTROIDS[str(attributes.timbre)]))
    spectrum *= _colour(tilt)
    power = 2 * np.sum(np.abs(spectrum) ** 2 * _hearing()) / _PADDED / FRAMES
    gain = 10 ** ((LOUDNESS + 0.691) / 20) / np.sqrt(power)
    return limit(irfft(spectrum, _PADDED)[:FRAMES] * gain) * _edges()


def find_tilt(audio: Signal, hertz: float) -> float:
    """Find the tilt that gives audio a mean spectral centroid: up to 6 dB an octave, by halving."""
    frames = np.lib.stride_tricks.sliding_window_view(audio, _SPECTRUM)[:: _SPECTRUM // 2]
    levels = np.abs(rfft(frames * np.hanning(_SPECTRUM), axis=1)).sum(0)
    f = np.fft.rfftfreq(_SPECTRUM, 1 / SAMPLE_RATE)
    octaves = np.log(np.maximum(f, 40) / 1000)
    low, high = -1.0, 1.0
    for _ in range(12):
        tilt = (low + high) / 2
        weights = levels * np.exp(tilt * octaves)
        low, high = (low, tilt) if weights @ f > hertz * weights.sum() else (tilt, high)
    return (low + high) / 2


def limit(audio: Audio) -> Audio:
    """Soft limiter: unchanged up to 0.6, bent above it, never over 0.98."""
    over, room = np.maximum(np.abs(audio) - 0.6, 0), 0.98 - 0.6
    return np.sign(audio) * np.minimum(np.abs(audio), 0.6 + room * np.tanh(over / room))


_ROOMS = 4


@lru_cache
def _room(number: int) -> NDArray[np.complex64]:
    """Spectrum of a room's reverberation: noise that decays in 0.5 to 0.9 s, after a short gap."""
    rng = np.random.default_rng([number, 7])
    time = np.arange(14_000) / SAMPLE_RATE
    tail = (
        rng.standard_normal(len(time)) * np.exp(-6.9 * time / (0.5 + 0.13 * number)) * (time > 0.012 + 0.004 * number)
    )
    spectrum = rfft(tail, _PADDED)
    f = np.fft.rfftfreq(_PADDED, 1 / SAMPLE_RATE)
    shaped = spectrum * (f / (f + 180)) / (1 + (f / 3200) ** 2)
    return (shaped / np.sqrt(np.mean(np.abs(shaped) ** 2))).astype(np.complex64)


def _colour(tilt: float) -> Audio:
    """Gain per frequency: a tilt about 1 kHz (+0.1: brighter by 0.6 dB an octave), and nothing below 30 Hz."""
    octaves, floor = _octaves()
    return np.exp(np.float32(tilt) * octaves) * floor


@lru_cache
def _octaves() -> tuple[Audio, Audio]:
    f = np.fft.rfftfreq(_PADDED, 1 / SAMPLE_RATE).astype(np.float32)
    return np.log(np.maximum(f, 40) / 1000), f**4 / (f**4 + 30.0**4)


@lru_cache
def _hearing() -> Audio:
    """Squared magnitude of K-weighting (ITU-R BS.1770: a shelf and a high-pass), by its analogue prototypes."""
    s = 2j * np.pi * np.fft.rfftfreq(_PADDED, 1 / SAMPLE_RATE)
    w, gain, q = 2 * np.pi * 1681.97, 10 ** (4.0 / 20), 0.7072
    shelf = (gain * s**2 + np.sqrt(gain) * w / q * s + w**2) / (s**2 + w / q * s + w**2)
    w, q = 2 * np.pi * 38.135, 0.5003
    return (np.abs(shelf * s**2 / (s**2 + w / q * s + w**2)) ** 2).astype(np.float32)


@lru_cache
def _edges() -> Audio:
    window = np.ones(FRAMES, np.float32)
    window[:32], window[-320:] = np.linspace(0, 1, 32), np.linspace(1, 0, 320)
    return window
