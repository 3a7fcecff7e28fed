"""The estimators hear what was rendered, and each row by itself."""

from __future__ import annotations

import numpy as np
import pytest

from tada.metrics import signals
from tada.minis.singing import sing
from tada.minis.sounds import SAMPLE_RATE, hertz, sound


@pytest.fixture(scope="module")
def labels(renders) -> dict[str, np.ndarray]:
    rows = [one.labels() for one in renders[0]]
    return {name: np.array([row[name] for row in rows]) for name in ("tempo", "voice", "mood")}


@pytest.fixture(scope="module")
def audio(renders) -> np.ndarray:
    return renders[1].numpy()


def octaves(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """How far two tempi lie apart, up to doubling and halving."""
    away = np.log2(found / true)
    return np.abs(away - np.round(away))


def test_pulse_is_true_up_to_octaves(renders, audio) -> None:
    tempi = np.array([one.tempo for one in renders[0]])
    assert (octaves(signals.pulse(audio), tempi) < 0.03).mean() > 0.96
    assert (octaves(signals.pulse(audio), np.roll(tempi, 1)) < 0.03).mean() < 0.5


@pytest.mark.parametrize("beats", [62.0, 75.0, 165.0, 190.0])
def test_a_metronome_has_its_pulse_and_its_onsets(beats: float) -> None:
    audio = np.zeros((1, 65_536), np.float32)
    for time in np.arange(0.1, 4, 60 / beats):
        click = sound("rim")[: 65_536 - int(time * SAMPLE_RATE)]
        audio[0, int(time * SAMPLE_RATE) :][: len(click)] += click
    assert octaves(signals.pulse(audio), np.array([beats]))[0] < 0.015
    assert signals.onset_rate(audio)[0] == pytest.approx(beats / 60, abs=0.3)


def test_estimators_know_classes_on_renders(audio, labels) -> None:
    for attribute, least in (("tempo", 0.9), ("voice", 0.9), ("mood", 0.75)):
        found = np.array(signals.CLASSIFIED[attribute](audio))
        assert (found == labels[attribute]).mean() > least, attribute


def test_a_pulse_between_the_ranges_is_of_no_class(monkeypatch) -> None:
    monkeypatch.setattr(signals, "pulse", lambda audio: np.array([62.5, 70.0, 81.0, 88.0, 100.0, 118.0]))
    assert signals.tempo_class(np.empty(0)) == ["slow", "slow", "fast", "fast", "none", "none"]


def test_what_is_measured_goes_with_the_class(audio, labels) -> None:
    for attribute, more, less in (("tempo", "fast", "slow"), ("mood", "happy", "sad"), ("voice", "female", "male")):
        values = signals.MEASURED[attribute][1](audio)
        one, other = (values[labels[attribute] == name] for name in (more, less))
        assert (one[:, None] > other).mean() > 0.75, attribute


def test_a_sung_note_has_its_pitch() -> None:
    for label, pitch in (("male", 47), ("female", 60)):
        audio = sing(label, [0.0], [4.0], [pitch], 65_536, np.random.default_rng(0))[None]
        heard = signals.voice(audio)
        assert heard.label == [label]
        assert heard.hertz[0] == pytest.approx(hertz(pitch), rel=0.03)
        assert signals.pitch(audio)[0] == pytest.approx(hertz(pitch), rel=0.03)


def test_noise_and_silence_have_no_voice_and_silence_nothing_else() -> None:
    noise = np.random.default_rng(0).standard_normal((1, 65_536)).astype(np.float32)
    assert signals.voice(np.concatenate([noise, 0 * noise])).label == ["none", "none"]
    assert signals.onset_rate(0 * noise).tolist() == [0]
    assert np.isnan(signals.brightness(0 * noise)).all()


def test_brightness_of_tones() -> None:
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    tones = np.stack([0.3 * np.sin(2 * np.pi * pitch * time) for pitch in (500.0, 3000.0)]).astype(np.float32)
    assert signals.brightness(tones) == pytest.approx([500, 3000], rel=0.05)


def test_rows_are_heard_by_themselves(audio) -> None:
    estimates = [estimate for _, estimate in signals.MEASURED.values()]
    for estimate in (signals.pulse, *estimates, *signals.CLASSIFIED.values()):
        together, alone = estimate(audio[:6])[3], estimate(audio[3:4])[0]
        assert together == (alone if isinstance(alone, str) else pytest.approx(alone, rel=1e-9)), estimate


def test_short_audio_has_no_pulse() -> None:
    with pytest.raises(ValueError, match="at least 3 s"):
        signals.pulse(np.zeros((1, 16_000), np.float32))


def test_a_tone_that_beats_is_no_tempo(audio) -> None:
    time = np.arange(audio.shape[1]) / 16_000
    beating = audio * (1 + 0.4 * np.sin(2 * np.pi * 15.625 * time)).astype(np.float32)
    before, after = signals.pulse(audio), signals.pulse(beating)
    assert np.mean(np.abs(after / before - 1) < 0.03) > 0.9
