"""Distances of harmony, structure, rhythm and melody: 0 for the same clip, and known for clips that differ in one."""

from __future__ import annotations

import numpy as np
import pytest

from tada.metrics import preservation
from tada.minis.sounds import SAMPLE_RATE, sound

SECONDS = 4


def away(one: np.ndarray, other: np.ndarray) -> dict[str, float]:
    clips = [preservation.measure(audio[None].astype(np.float32)) for audio in (one, other)]
    return {name: float(value[0]) for name, value in preservation.distance(*clips).items()}


def tones(*notes: float) -> np.ndarray:
    """Harmonic tones of equal length, after each other."""
    time = np.arange(SECONDS * SAMPLE_RATE // len(notes)) / SAMPLE_RATE
    hertz = 440 * 2 ** ((np.array(notes) - 69) / 12)
    fade = np.minimum(1, np.minimum(time, time[::-1]) / 0.02)
    return np.concatenate([fade * sum(np.sin(2 * np.pi * h * k * time) / k for k in range(1, 12)) for h in hertz])


def clicks(period: float, shift: float = 0.0) -> np.ndarray:
    audio = np.zeros(SECONDS * SAMPLE_RATE)
    for time in np.arange(0.1 + shift, SECONDS - 0.2, period):
        click = sound("rim")[:4000]
        audio[int(time * SAMPLE_RATE) :][: len(click)] += click[: len(audio) - int(time * SAMPLE_RATE)]
    return audio


@pytest.mark.parametrize("clip", [tones(57, 60, 64, 57), clicks(0.5), np.zeros(SECONDS * SAMPLE_RATE)])
def test_a_clip_is_nowhere_away_from_itself_however_loud(clip: np.ndarray) -> None:
    for gain in (1.0, 0.1):
        assert away(gain * clip, clip) == pytest.approx(dict.fromkeys(preservation.AXES, 0.0), abs=0.02)


def test_other_notes_in_the_same_order_keep_structure_and_rhythm() -> None:
    found = away(tones(59, 62, 66, 59), tones(57, 60, 64, 57))
    assert found["harmony"] > 0.5 and found["melody"] > 0.9
    assert found["structure"] < 0.1 and found["rhythm"] < 0.1


def test_the_same_notes_in_another_order_have_another_structure() -> None:
    found = away(tones(57, 57, 64, 64), tones(57, 64, 57, 64))
    assert found["structure"] > 0.5 and found["melody"] == pytest.approx(0.5, abs=0.1)


def test_rhythm_counts_onsets_that_both_have() -> None:
    assert away(clicks(0.25), clicks(0.5))["rhythm"] == pytest.approx(1 / 3, abs=0.07)  # F-measure 2/3
    assert away(clicks(0.5, shift=0.25), clicks(0.5))["rhythm"] == 1
    assert away(clicks(0.5, shift=0.05), clicks(0.5))["rhythm"] == 0


def test_every_clip_is_measured_by_itself() -> None:
    audio = np.stack([tones(57, 60), clicks(0.5), tones(45)]).astype(np.float32)
    together, others = preservation.measure(audio), preservation.measure(np.roll(audio, 1, 0))
    found = preservation.distance(together, others)
    for row in range(3):
        alone = preservation.distance(together.take([row]), preservation.measure(audio[[row - 1]]))
        for name, values in found.items():
            assert values[row] == pytest.approx(alone[name][0], abs=1e-6)
            assert 0 <= values[row] <= 1
