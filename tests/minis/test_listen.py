"""The estimators hear what was rendered, and each row by itself."""

from __future__ import annotations

import numpy as np
import pytest

from tada.minis.listen import mode, onsets, tempo, voice
from tada.minis.sounds import SAMPLE_RATE, hertz, sound


def test_tempo_is_true(renders) -> None:
    truth = np.array([attributes.tempo for attributes in renders.attributes])
    close = np.abs(tempo(renders.audio) / truth - 1) < 0.02
    assert close.mean() > 0.96


@pytest.mark.parametrize("beats", [62.0, 75.0, 165.0, 190.0])
def test_tempo_of_a_metronome(beats: float) -> None:
    audio = np.zeros((1, 65_536), np.float32)
    for time in np.arange(0.1, 4, 60 / beats):
        click = sound("rim")[: 65_536 - int(time * SAMPLE_RATE)]
        audio[0, int(time * SAMPLE_RATE) :][: len(click)] += click
    assert tempo(audio)[0] == pytest.approx(beats, rel=0.01)


def test_voices_are_told_apart(renders) -> None:
    heard = voice(renders.audio)
    truth = [attributes.labels()["voice"] for attributes in renders.attributes]
    assert np.mean([a == b for a, b in zip(heard.label, truth, strict=True)]) > 0.95
    assert np.isnan(heard.hertz[[label == "none" for label in heard.label]]).all()
    for label, low, high in (("male", 90, 160), ("female", 190, 345)):
        sung = heard.hertz[[one == label for one in heard.label]]
        assert ((sung > low) & (sung < high)).all()


def test_a_sung_note_has_its_pitch() -> None:
    from tada.minis.singing import sing

    for label, pitch in (("male", 47), ("female", 60)):
        audio = sing(label, [0.0], [4.0], [pitch], 65_536, np.random.default_rng(0))
        heard = voice(audio[None])
        assert heard.label == [label]
        assert heard.hertz[0] == pytest.approx(hertz(pitch), rel=0.03)


def test_noise_and_silence_have_no_voice() -> None:
    noise = np.random.default_rng(0).standard_normal((1, 65_536)).astype(np.float32)
    assert voice(np.concatenate([noise, 0 * noise])).label == ["none", "none"]


def test_mode_is_mostly_true(renders) -> None:
    truth = ["major" if attributes.mood == "happy" else "minor" for attributes in renders.attributes]
    assert np.mean([a == b for a, b in zip(mode(renders.audio), truth, strict=True)]) > 0.75


def test_rows_are_heard_by_themselves(renders) -> None:
    batch = renders.audio[:6]
    assert np.allclose(tempo(batch)[3:4], tempo(batch[3:4]))
    assert voice(batch).label[3] == voice(batch[3:4]).label[0]
    assert mode(batch)[3:4] == mode(batch[3:4])


def test_onset_envelopes_have_three_bands(renders) -> None:
    envelopes = onsets(renders.audio[:2])
    assert envelopes.shape[:2] == (2, 3)
    assert (envelopes >= 0).all()


def test_short_audio_has_no_tempo() -> None:
    with pytest.raises(ValueError, match="at least 3 s"):
        tempo(np.zeros((1, 16_000), np.float32))


def test_a_tone_that_beats_is_no_tempo(renders):
    time = np.arange(renders.audio.shape[1]) / 16_000
    beating = renders.audio * (1 + 0.4 * np.sin(2 * np.pi * 15.625 * time)).astype(np.float32)
    before, after = tempo(renders.audio), tempo(beating)
    assert np.mean(np.abs(after / before - 1) < 0.03) > 0.95
