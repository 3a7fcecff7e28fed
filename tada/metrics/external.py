"""Estimators of the signal alone, independent of any text or training: tempo and brightness.

What: beats per minute and spectral centroid in Hz, one value a clip. They are no distances and have no
good direction: a concept that was moved should move them (tempo: beats per minute; mood: brightness).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tada.errors import UnknownNameError, unknown
from tada.metrics.audio import prepare
from tada.metrics.packages import installed, need
from tada.minis import listen
from tada.minis.sounds import SAMPLE_RATE

Values = NDArray[np.float64]

RATE = 22_050
SHORTEST = 3.0
"""Seconds below which a clip has no tempo."""

SIGNALS = {"tempo": "bpm", "mood": "brightness"}
"""Concept -> what the signal itself says of it, a metric of results."""


def signals(audio: Any, sample_rate: int, ears: str = "mini") -> dict[str, Values]:
    """Compute all metrics of :data:`SIGNALS` that clips have: short ones have no tempo.

    Args:
        audio: ``[clips, frames]`` or ``[clips, channels, frames]``.
        sample_rate: of the audio, in Hz; any.
        ears: ``"mini"`` for synthetic music, ``"public"`` for music, whose tempo needs librosa.
    """
    found = {"brightness": brightness(audio, sample_rate)}
    if audio.shape[-1] >= SHORTEST * sample_rate and (ears == "mini" or installed("librosa")):
        found["bpm"] = tempo(audio, sample_rate, "renders" if ears == "mini" else "librosa")
    return found


def tempo(audio: Any, sample_rate: int, estimator: str = "renders") -> Values:
    """Estimate the beats per minute of each clip.

    Args:
        audio: ``[clips, frames]`` or ``[clips, channels, frames]``, at least 3 s.
        sample_rate: of the audio, in Hz; any.
        estimator: ``"renders"`` knows the two tempo ranges of the synthetic music and answers within them;
            ``"librosa"`` is for any music (optional package).

    Returns:
        ``[clips]``; NaN for silence, of which either estimator would only give its usual tempo.

    Raises:
        KeyError: an unknown estimator. ValueError: see :func:`tada.metrics.audio.prepare`.
        ImportError: librosa is wanted and not installed, with the line that installs it.
    """
    if estimator not in ("renders", "librosa"):
        raise UnknownNameError(unknown("tempo estimator", estimator, ("renders", "librosa")))
    if estimator == "renders":
        clips = prepare(audio, sample_rate, SAMPLE_RATE, SHORTEST).numpy()
        found = np.asarray(listen.tempo(clips), dtype=float)
    else:
        librosa = need("librosa")
        clips = prepare(audio, sample_rate, RATE, SHORTEST).numpy()
        found = np.array([float(librosa.feature.tempo(y=clip, sr=RATE)[0]) for clip in clips])
    return np.where(clips.any(axis=-1), found, np.nan)


def brightness(audio: Any, sample_rate: int) -> Values:
    """Compute the mean spectral centroid in Hz, ``[clips]``; frames count by their magnitude, silence is NaN."""
    clips = prepare(audio, sample_rate, RATE).numpy()
    frames = np.lib.stride_tricks.sliding_window_view(clips, 2048, axis=-1)[:, ::512] * np.hanning(2048)
    spectrum = np.abs(np.fft.rfft(frames, axis=-1))
    total = spectrum.sum((1, 2))
    centroid = (spectrum * np.fft.rfftfreq(2048, 1 / RATE)).sum((1, 2))
    return np.divide(centroid, total, out=np.full(len(clips), np.nan), where=total > 0)
