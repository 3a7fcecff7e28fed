"""What of a clip a change left alone: harmony, structure, rhythm and melody, each against the unchanged clip.

What: four distances (second version of the authors' code), all at 22.05 kHz mono, 0 for equal clips, lower is better
preserved:

- *harmony*: 1 - mean cosine of the frames of constant-Q chroma; 0 to 1.
- *structure*: 1 - Pearson correlation of the two chroma self-similarity matrices, at least 0; 0 to 1.
- *rhythm*: 1 - F-measure of the beats, within 70 ms; 0 to 1.
- *melody*: 1 - raw pitch accuracy of the fundamental frequency (C2 to C7), within half a semitone; 0 to 1. NaN where
  the unchanged clip has no pitch.

Chroma, beats and pitch are librosa's, F-measure and pitch accuracy mir_eval's; both are optional packages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tada.metrics.audio import prepare
from tada.metrics.packages import need

RATE = 22_050
AXES = ("harmony", "structure", "rhythm", "melody")
LONGEST = 400
"""Frames of chroma that self-similarity is computed on; longer clips are averaged down to it."""

Signal = NDArray[np.float32]
Features = Mapping[str, Any]


def embed(audio: Any, sample_rate: int) -> list[Features]:
    """Chroma ``[12, frames]``, beats in seconds and pitch in Hz (NaN where there is none) of each clip.

    Args:
        audio: ``[clips, frames]`` or ``[clips, channels, frames]``.
        sample_rate: of the audio, in Hz; any.

    Raises:
        ImportError: librosa is not installed, with the line that installs it. ValueError: see
        :func:`tada.metrics.audio.prepare`.
    """
    librosa = need("librosa")
    return [_features(librosa, row) for row in prepare(audio, sample_rate, RATE, 0.5).numpy()]


def _features(librosa: Any, clip: Signal) -> Features:
    pitch, _, _ = librosa.pyin(
        clip, fmin=librosa.note_to_hz("C2"), fmax=librosa.note_to_hz("C7"), sr=RATE, fill_na=np.nan
    )
    _, beats = librosa.beat.beat_track(y=clip, sr=RATE, units="time")
    return {"chroma": librosa.feature.chroma_cqt(y=clip, sr=RATE), "beats": beats, "pitch": pitch}


def distance(x: Features, y: Features) -> dict[str, float]:
    """The four distances of a clip ``x`` from the unchanged clip ``y``, features as from :func:`embed`."""
    return {
        "harmony": harmony(x["chroma"], y["chroma"]),
        "structure": structure(x["chroma"], y["chroma"]),
        "rhythm": rhythm(x["beats"], y["beats"]),
        "melody": melody(x["pitch"], y["pitch"]),
    }


def between(x: Any, y: Any, sample_rate: int) -> pd.DataFrame:
    """:func:`distance` of clips; ``y`` may be one clip for all of ``x``. One row a clip."""
    changed, before = embed(x, sample_rate), embed(y, sample_rate)
    before = before * len(changed) if len(before) == 1 else before
    return pd.DataFrame([distance(a, b) for a, b in zip(changed, before, strict=True)], columns=list(AXES))


def harmony(x: Signal, y: Signal) -> float:
    """1 - mean cosine of chroma frames ``[12, frames]``; frames without sound in either count as equal in both."""
    frames = min(x.shape[1], y.shape[1])
    a, b = _unit(x[:, :frames]), _unit(y[:, :frames])
    silent = ~a.any(0) & ~b.any(0)
    return float(1 - np.where(silent, 1.0, (a * b).sum(0)).mean())


def structure(x: Signal, y: Signal) -> float:
    """1 - correlation of the upper triangles of the self-similarity of chroma ``[12, frames]``."""
    frames = min(x.shape[1], y.shape[1])
    a, b = (_triangle(_shorter(one[:, :frames])) for one in (x, y))
    if a.std() == 0 or b.std() == 0:
        return float(not np.allclose(a, b))
    return float(1 - max(0.0, np.corrcoef(a, b)[0, 1]))


def rhythm(x: Signal, y: Signal) -> float:
    """1 - F-measure of beats in seconds; 0 where neither clip has any."""
    if not len(x) and not len(y):
        return 0.0
    return float(1 - need("mir_eval").beat.f_measure(np.asarray(y, dtype=float), np.asarray(x, dtype=float)))


def melody(x: Signal, y: Signal) -> float:
    """1 - share of the unchanged clip's pitched frames whose pitch is kept; NaN where it has none."""
    frames = min(len(x), len(y))
    x, y = x[:frames], y[:frames]
    if not np.isfinite(y).any():
        return float("nan")
    hz = need("mir_eval").melody
    cents = [hz.hz2cents(np.nan_to_num(one)) for one in (y, x)]
    voiced = [np.isfinite(one).astype(float) for one in (y, x)]
    return float(1 - hz.raw_pitch_accuracy(voiced[0], cents[0], voiced[1], cents[1]))


def _unit(frames: Signal) -> Signal:
    return frames / np.maximum(np.linalg.norm(frames, axis=0, keepdims=True), 1e-9)


def _shorter(chroma: Signal) -> Signal:
    """At most :data:`LONGEST` frames, neighbours averaged."""
    frames = chroma.shape[1]
    if frames <= LONGEST:
        return chroma
    edges = np.linspace(0, frames, LONGEST + 1).round().astype(int)
    return np.stack([chroma[:, a:b].mean(1) for a, b in zip(edges[:-1], edges[1:], strict=True)], 1)


def _triangle(chroma: Signal) -> Signal:
    unit = _unit(chroma)
    likeness = unit.T @ unit
    return likeness[np.triu_indices(len(likeness), 1)]
