"""Preservation: how far harmony, structure, rhythm and melody of a clip are from its partner's; 0 for the same clip.

The axes of the paper's second version, by signal estimators in place of trackers made for whole songs: pitch classes of
the spectrum, their self-similarity, onsets, and the clearest harmonic series where voices sing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tada.metrics import signals
from tada.minis.sounds import SAMPLE_RATE, Audio, Signal
from tada.stats import Values

AXES = ("harmony", "structure", "rhythm", "melody")
"""Names of the distances, each from 0 to 1."""

NEAR = 0.07
"""Seconds within which two onsets are the same, as is usual for beats."""

IN_TUNE = 0.5
"""Semitones within which two pitches are the same."""


class Shape(NamedTuple):
    """What is compared of clips.

    Attributes:
        chroma: unit vectors of pitch classes, ``[clips, time, 12]``, 16 a second.
        onsets: whether a note begins, bool ``[clips, time]``, 125 a second.
        clear: how clear the best harmonic series is, ``[clips, time]``, 25 a second.
        pitch: of that series, in semitones, ``[clips, time]``.
    """

    chroma: Signal
    onsets: Signal
    clear: Signal
    pitch: Signal

    def take(self, rows: list[int]) -> Shape:
        """Keep some clips."""
        return Shape(*(part[rows] for part in self))


def measure(audio: Audio) -> Shape:
    """Measure what is compared of clips.

    Args:
        audio: float ``[clips, frames]`` at 16 kHz, at least half a second.
    """
    return Shape(signals.chroma(audio), signals.find_onsets(audio), *signals.series(audio))


def distance(clips: Shape, partners: Shape) -> dict[str, Values]:
    """Compute the distances :data:`AXES` of clips from their partners, float64 ``[clips]`` each.

    *harmony* is 1 less the cosine of pitch classes, mean over time; *structure* 1 less the correlation of their
    self-similarities, 1 where it is negative; *rhythm* 1 less the F-measure of onsets; *melody* the share of time in
    which the pitch is another, where the partner's is at its clearest half.
    """
    cosines = (clips.chroma * partners.chroma).sum(2).clip(0, 1).mean(1)
    alike = [_correlate(_similarity(one), _similarity(other)) for one, other in zip(clips[0], partners[0], strict=True)]
    beats = [_f_measure(one, other) for one, other in zip(clips.onsets, partners.onsets, strict=True)]
    counted = partners.clear >= np.median(partners.clear, 1, keepdims=True)
    moved = np.abs(clips.pitch - partners.pitch) > IN_TUNE
    away = (counted & moved).sum(1) / counted.sum(1)
    return dict(zip(AXES, (1 - cosines, 1 - np.array(alike), 1 - np.array(beats), away), strict=True))


def _similarity(chroma: Signal) -> Signal:
    """How alike each two times of a clip are, ``[pairs]``."""
    return (chroma @ chroma.T)[np.triu_indices(len(chroma), 1)]


def _correlate(one: Signal, other: Signal) -> float:
    """Pearson's correlation, at least 0; of values that do not vary it is 1 if they are the same, else 0."""
    if np.allclose(one, other, atol=1e-9):
        return 1.0
    deviations = one - one.mean(), other - other.mean()
    size = np.prod([np.linalg.norm(each) for each in deviations])
    return float(np.clip(np.dot(*deviations) / size, 0, 1)) if size > 1e-12 else 0.0


def _f_measure(one: Signal, other: Signal) -> float:
    """F-measure of onsets, each of which has one partner at most; 1 where neither clip has any."""
    times = [np.flatnonzero(mask) * signals.HOP / SAMPLE_RATE for mask in (one, other)]
    first, second, hits = 0, 0, 0
    while first < len(times[0]) and second < len(times[1]):
        apart = times[0][first] - times[1][second]
        hits += abs(apart) <= NEAR
        first, second = first + (apart <= NEAR), second + (apart >= -NEAR)
    total = sum(map(len, times))
    return 2 * hits / total if total else 1.0
