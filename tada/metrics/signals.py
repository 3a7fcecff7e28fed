"""Signal estimators: pulse, onsets, voice, pitch, mode and brightness of clips from their waveforms, none trained.

They are the second opinion beside everything that is: each row is estimated by itself, and none knows what a class of
the synthetic music sounds like, but for the range in which its voices sing. They have no good direction: a concept
that was moved should move them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.fft import irfft, rfft
from scipy.ndimage import convolve1d
from scipy.signal import find_peaks

from tada.errors import InputError
from tada.minis.attributes import CENTROIDS, TEMPI
from tada.minis.sounds import SAMPLE_RATE, Audio, Signal

SHORTEST = 3.0
"""Seconds below which a clip has no pulse."""

# Tempo

HOP = 128
"""Frames between two values of an onset envelope: 8 ms."""

_SMOOTH = 16

_SLOWEST = 60.0
"""Beats per minute: pulses are told up to octaves, in the one above this."""

_LAGS = {1.0: 1.0, 2.0: 1.0, 0.5: 0.5, 0.25: 0.25}
"""Multiples of a pulse's period at which the envelope should be like itself, and their weights."""

_RISE = 0.1
"""How far an onset stands out: a share of the 98th percentile of the clip's flux."""


def pulse(audio: Audio) -> Signal:
    """Estimate beats per minute by autocorrelation of onset envelopes, up to doubling and halving.

    Args:
        audio: float ``[rows, frames]`` at 16 kHz, at least 3 s.

    Returns:
        float ``[rows]``, 60 to 120.
    """
    if audio.shape[-1] < SHORTEST * SAMPLE_RATE:
        raise InputError(f"got {audio.shape[-1] / SAMPLE_RATE:.2f} s of audio; expected at least 3 s to find a pulse")
    likeness = _autocorrelation(_smooth(onsets(audio)))
    pulses = np.geomspace(_SLOWEST, 2 * _SLOWEST, 400, endpoint=False)
    periods = 60 / pulses * SAMPLE_RATE / HOP
    scores = sum(weight * _at(likeness, multiple * periods) for multiple, weight in _LAGS.items())
    return pulses[np.asarray(scores).sum(1).argmax(1)]


def onset_rate(audio: Audio) -> Signal:
    """Count onsets a second, ``[rows]``: how busy a clip is, which grows with its tempo whatever the octave."""
    found = find_onsets(audio)
    return found.sum(1) / (found.shape[1] * HOP / SAMPLE_RATE)


def find_onsets(audio: Audio) -> Signal:
    """Find the peaks of onset envelopes, bool ``[rows, time]``, 125 values a second."""
    flux = _smooth(onsets(audio)).sum(1)
    found = np.zeros(flux.shape, bool)
    for row, mask in zip(flux, found, strict=True):
        mask[find_peaks(row, prominence=max(_RISE * np.percentile(row, 98), 1e-9))[0]] = True
    return found


def onsets(audio: Audio) -> Signal:
    """Compute onset envelopes by spectral flux, of clips ``[rows, frames]`` at 16 kHz.

    Returns:
        ``[rows, 3, time]``, 125 values a second, not negative: below 200 Hz, 200 Hz to 3 kHz, above.
    """
    return np.concatenate([_onsets(row[None]) for row in audio])  # of many at once, the spectra would be large


def _onsets(audio: Audio) -> Signal:
    power = np.log1p(1000 * _magnitudes(audio, 512, HOP, 512) ** 2)
    rise = np.maximum(power[:, 2:] - power[:, :-2], 0)
    edges = (0, 7, 96, 257)
    return np.stack([rise[:, :, low:high].mean(2) for low, high in zip(edges[:-1], edges[1:], strict=True)], 1)


def _smooth(envelope: Signal) -> Signal:
    """Smooth the last axis by a Hann window of 128 ms, faster than which nobody plays.

    A decoder makes a steady tone of partials that lie on multiples of its frame rate; they beat with each other, evenly
    and for as long as the tone lasts, and would be taken for a rhythm.
    """
    window = np.hanning(_SMOOTH + 2)[1:-1]
    return convolve1d(envelope, window / window.sum(), axis=-1, mode="constant")


def _autocorrelation(envelope: Signal) -> Signal:
    """Compute the unbiased autocorrelation of the last axis, 1 at lag 0; an envelope of nothing gives 0."""
    length = envelope.shape[-1]
    spectrum = rfft(envelope - envelope.mean(-1, keepdims=True), 2 * length)
    products = irfft(np.abs(spectrum) ** 2)[..., :length] / np.arange(length, 0, -1)
    return products / np.maximum(products[..., :1], 1e-12)


def _at(values: Signal, places: Signal) -> Signal:
    """Interpolate at fractional places of the last axis; 0 where fewer than 40 products were averaged."""
    low = np.floor(places).astype(int)
    inside = low + 1 < values.shape[-1] - 40
    low = np.where(inside, low, 0)
    part = places - low
    return np.where(inside, (1 - part) * values[..., low] + part * values[..., low + 1], 0)


# Voice

PITCHES: Mapping[str, tuple[float, float]] = {"female": (200.0, 345.0), "male": (92.0, 165.0)}
"""Hz between which each voice of the synthetic music sings."""

_RANGE = (PITCHES["male"][0], PITCHES["female"][1])
_STEPS = 200
_SUNG = {"female": 1.7, "male": 1.15}
"""How clear a moving pitch must be to count as a voice: between what renders with and without one show."""

_FFT, _RATE = 4096, 640


class Voices(NamedTuple):
    """The voice in each row (``"female"``, ``"male"``, ``"none"``), and the median pitch sung in Hz (NaN for none)."""

    label: list[str]
    hertz: Signal


def voice(audio: Audio) -> Voices:
    """Find the voice by fundamental frequency: a full harmonic series in a voice's range whose pitch keeps moving.

    Steady tones (piano, organ, trumpet) have the series without the movement, a violin the movement an octave above.

    Args:
        audio: float ``[rows, frames]`` at 16 kHz.
    """
    level = _level(audio)
    series = {name: _series(level, band) for name, band in PITCHES.items()}
    clear = {name: _moving(*pair) - _SUNG[name] for name, pair in series.items()}
    best = np.stack([np.zeros(len(audio)), clear["female"], clear["male"]]).argmax(0)
    medians = {name: _median_pitch(*pair) for name, pair in series.items()}
    sung = np.choose(best, [np.full(len(audio), np.nan), medians["female"], medians["male"]])
    return Voices([("none", "female", "male")[choice] for choice in best], sung)


def pitch(audio: Audio) -> Signal:
    """Estimate the pitch in Hz of the clearest harmonic series where voices sing: its median over time, ``[rows]``."""
    return _median_pitch(*series(audio))


def series(audio: Audio) -> tuple[Signal, Signal]:
    """Find the clearest harmonic series where voices sing: how clear it is and its pitch in semitones over time.

    Returns:
        Two ``[rows, time]``, of frames that are 80 ms long and begin 40 ms after each other.
    """
    return _series(_level(audio), _RANGE)


def _level(audio: Audio) -> Signal:
    """Log-magnitudes ``[rows, time, bins]``."""
    spectrum = _magnitudes(audio, 1280, _RATE, _FFT)
    return np.log(spectrum + 1e-3 * spectrum.mean((1, 2), keepdims=True) + 1e-9)


def _series(level: Signal, band: tuple[float, float]) -> tuple[Signal, Signal]:
    """Measure how clear the best harmonic series of a band is, and its pitch in semitones, each ``[rows, time]``."""
    clear = level @ _comb(band)
    return clear.max(-1), (12 * np.log2(np.geomspace(*band, _STEPS)))[clear.argmax(-1)]


@lru_cache
def _comb(band: tuple[float, float]) -> Signal:
    """Weights ``[bins, pitches]``: mean level at the harmonics from 300 Hz to 4.5 kHz less that between them."""
    width = SAMPLE_RATE / _FFT
    comb = np.zeros((_FFT // 2 + 1, _STEPS), np.float32)
    for column, hertz in enumerate(np.geomspace(*band, _STEPS)):
        orders = np.arange(np.ceil(300 / hertz), np.floor(4500 / hertz) + 1)
        for shift, weight in ((0.0, 1.0), (0.5, -0.5), (-0.5, -0.5)):
            np.add.at(comb[:, column], np.round((orders + shift) * hertz / width).astype(int), weight / len(orders))
    return comb


def _moving(clear: Signal, pitch: Signal) -> Signal:
    """Average clearness over time, counted where the pitch moves by 3 to 50 cents from one frame to the next."""
    step = np.abs(np.diff(pitch, axis=1))
    return np.where((step > 0.03) & (step < 0.5), (clear[:, 1:] + clear[:, :-1]) / 2, 0).mean(1)


def _median_pitch(clear: Signal, pitch: Signal) -> Signal:
    """Compute the median pitch in Hz of the frames of above-median clearness."""
    kept = np.where(clear >= np.median(clear, 1, keepdims=True), pitch, np.nan)
    return 2 ** (np.nanmedian(kept, 1) / 12)


def sung_pitch(audio: Audio, band: str) -> Signal:
    """Estimate the pitch of the clearest harmonic series where a voice sings, in semitones (MIDI), as :func:`series`.

    ``band`` is ``"female"`` or ``"male"``.
    """
    return _series(_level(audio), PITCHES[band])[1] - 12 * np.log2(440) + 69


# Mode and brightness

_SCALES = {
    "major": (1, 0, 0.6, 0, 1, 0.6, 0, 1, 0, 0.6, 0, 0.5),
    "minor": (1, 0, 0.6, 1, 0, 0.6, 0, 1, 0.6, 0, 0.5, 0),
}


def mode(audio: Audio) -> list[str]:
    """Find ``"major"`` or ``"minor"`` of each row: the scale that its pitch classes fit, tonic in the first bass.

    The weakest of the estimators: clips of four seconds have two or three chords, and relative keys share theirs.

    Args:
        audio: float ``[rows, frames]`` at 16 kHz.
    """
    return ["major" if better > 0 else "minor" for better in major(audio)]


def major(audio: Audio) -> Signal:
    """Measure how much better the best major scale fits than the best minor one, ``[rows]``; see :func:`mode`."""
    spectrum = _magnitudes(audio, 4096, 1024, 8192) ** 2
    scales = [np.roll(_standard(np.array(scale)), place) for scale in _SCALES.values() for place in range(12)]
    fit = _standard(_chroma(spectrum.mean(1), 100, 1000)) @ np.stack(scales).T / 12
    tonic = _standard(_chroma(spectrum[:, :10].mean(1), 45, 110)) / 6
    scores = fit + np.tile(tonic, (1, 2))
    return scores[:, :12].max(1) - scores[:, 12:].max(1)


def brightness(audio: Audio) -> Signal:
    """Compute the mean spectral centroid in Hz, ``[rows]``; frames count by their magnitude, silence is NaN."""
    spectrum = _magnitudes(audio, 1024, 512, 1024).sum(1)
    total = spectrum.sum(1)
    centroid = spectrum @ np.fft.rfftfreq(1024, 1 / SAMPLE_RATE)
    return np.divide(centroid, total, out=np.full(len(audio), np.nan), where=total > 0)


def chroma(audio: Audio) -> Signal:
    """Compute pitch classes over time by magnitude, 100 Hz to 2 kHz, unit vectors ``[rows, time, 12]``, 16 a second."""
    classes = np.stack([_chroma(_magnitudes(row[None], 4096, 1024, 8192)[0], 100, 2000) for row in audio])
    classes = classes + 1e-6 * np.maximum(classes.max((1, 2), keepdims=True), 1)  # silence is like silence
    return classes / np.linalg.norm(classes, axis=-1, keepdims=True)


def _chroma(power: Signal, low: float, high: float) -> Signal:
    """Sum the power of pitch classes between two frequencies, C first: ``[rows, 12]`` from spectra ``[rows, 4097]``."""
    frequency = np.maximum(np.fft.rfftfreq(8192, 1 / SAMPLE_RATE), 1)
    pitch = 69 + 12 * np.log2(frequency / 440)
    near = np.exp(-(((pitch - np.round(pitch)) / 0.2) ** 2)) * ((frequency >= low) & (frequency < high))
    classes = np.round(pitch).astype(int)[:, None] % 12 == np.arange(12)
    return power @ (near[:, None] * classes)


def _standard(values: Signal) -> Signal:
    return (values - values.mean(-1, keepdims=True)) / (values.std(-1, keepdims=True) + 1e-12)


def _magnitudes(audio: Audio, window: int, hop: int, length: int) -> Signal:
    """Compute magnitudes ``[rows, time, length // 2 + 1]`` of Hann-windowed frames, zero-padded to a length."""
    frames, shape = np.lib.stride_tricks.sliding_window_view(audio, window, axis=-1)[:, ::hop], np.hanning(window)
    return np.stack([np.abs(rfft(row * shape.astype(np.float32), length, axis=-1)) for row in frames])


# Attributes


def tempo_class(audio: Audio) -> list[str]:
    """Name the class of tempo whose range holds the pulse, up to octaves and 3 %; ``"none"`` where neither does."""
    beats = pulse(audio)
    octaves = {name: np.log2(beats / np.sqrt(low * high)) for name, (low, high) in TEMPI.items()}
    away = {name: np.abs(places - np.round(places)) for name, places in octaves.items()}
    reach = {name: np.log2(1.03 * np.sqrt(high / low)) for name, (low, high) in TEMPI.items()}
    return [next((name for name in TEMPI if away[name][row] <= reach[name]), "none") for row in range(len(beats))]


def timbre_class(audio: Audio) -> list[str]:
    """Name the timbre by the spectral centroid; the border lies between the renderer's classes."""
    border = np.sqrt(CENTROIDS["dark"][1] * CENTROIDS["bright"][0])
    return ["bright" if hertz > border else "dark" for hertz in brightness(audio)]


CLASSIFIED: Mapping[str, Callable[[Audio], list[str]]] = {
    "tempo": tempo_class,
    "voice": lambda audio: voice(audio).label,
    "mood": lambda audio: [{"major": "happy", "minor": "sad"}[name] for name in mode(audio)],
    "timbre": timbre_class,
}
"""Attribute -> the estimator of its class."""

MEASURED: Mapping[str, tuple[str, Callable[[Audio], Signal]]] = {
    "tempo": ("onsets", onset_rate),
    "mood": ("major", major),
    "voice": ("pitch", pitch),
    "timbre": ("brightness", brightness),
}
"""Attribute -> a metric of results that knows no class, and its estimator."""
