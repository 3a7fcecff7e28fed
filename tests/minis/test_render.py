"""Synthetic music is what its attributes say, and depends on nothing but them and the seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tada.minis import composition
from tada.minis.attributes import CLASSES, OPEN, TEMPI, Attributes, draw, of_labels, settle
from tada.minis.render import FRAMES, LOUDNESS, limit, render, render_batch
from tada.minis.sounds import NOTES, SAMPLE_RATE, STROKES, hertz, sound

BASE = Attributes("female", 72.0, "happy", "violin", "drums", "jazz")


def test_a_clip_is_the_same_again_and_alone(renders) -> None:
    for row in (0, 17, 63):
        alone = render(renders.attributes[row], renders.seeds[row])
        assert np.array_equal(alone, renders.audio[row])


def test_another_seed_or_attribute_is_another_clip() -> None:
    clips = [
        render(BASE, 1),
        render(BASE, 2),
        render(replace(BASE, voice="male"), 1),
        render(replace(BASE, tempo=73.0), 1),
    ]
    assert len({clip.tobytes() for clip in clips}) == 4


def test_shape_level_and_ends(renders) -> None:
    audio = renders.audio
    assert audio.shape == (64, FRAMES)
    assert audio.dtype == np.float32
    assert np.isfinite(audio).all()
    assert np.abs(audio).max() <= 0.98
    assert np.abs(audio.mean(1)).max() < 1e-3
    assert (audio[:, [0, -1]] == 0).all()
    loud = np.sqrt((audio[:, 320:-320].reshape(64, -1, 2028) ** 2).mean(2))
    assert (loud[:, [0, -1]] > 0.02).all(), "silence at an end"


def test_loudness_is_even(renders) -> None:
    level = 20 * np.log10(renders.audio.std(1))
    assert abs(np.median(level) - LOUDNESS) < 1.5
    assert np.ptp(level) < 5


def test_no_clicks(renders) -> None:
    """No step between neighbouring frames is out of proportion."""
    steps = np.abs(np.diff(renders.audio, axis=1)).max(1)
    assert steps.max() < 0.9
    ends = renders.audio[:, -400:]
    assert np.abs(np.diff(ends, axis=1)).max() < 0.45


@pytest.mark.parametrize("tempo", [40.0, 114.0, 220.0])
def test_any_tempo_can_be_played(tempo: float) -> None:
    for genre in CLASSES["genre"]:
        assert np.isfinite(render(Attributes("male", tempo, "sad", "piano", "maracas", genre), 3)).all()


def test_onsets_lie_on_the_beat() -> None:
    """Strokes of a drum kit alone fall on the grid of the true tempo, within the feel's few milliseconds."""
    from tada.minis.render import _stage

    wanted = Attributes(None, 180.0, "happy", "piano", "drums", "techno")
    kicks = [event for event in composition.write(wanted, 5) if event.sound == "deep kick"]
    bus = _stage(wanted, kicks, np.random.default_rng(0))
    peaks = [np.abs(bus[int(i * SAMPLE_RATE / 3) :][:1600]).argmax() / SAMPLE_RATE for i in range(12)]
    assert len(kicks) == 13
    assert np.ptp(peaks) < 0.012


def test_the_mood_is_the_third() -> None:
    for seed in range(12):
        for mood, third in (("happy", 4), ("sad", 3)):
            wanted = settle(Attributes(mood=mood), seed)
            harmony = composition.harmonise(wanted, seed)
            played = {(event.pitch - harmony.tonic) % 12 for event in composition.write(wanted, seed) if event.pitch}
            assert third in played
            assert 7 - third not in played
            assert played <= set(harmony.scale)


def test_voices_sing_in_their_range() -> None:
    for voice, low, high in (("male", 90, 160), ("female", 190, 335)):
        for seed in range(8):
            events = composition.write(settle(Attributes(voice=voice), seed), seed)
            assert all(low <= hertz(event.pitch) <= high for event in events if event.part == "song")


def test_changing_one_attribute_leaves_the_other_parts_alone() -> None:
    plain, sung = composition.write(replace(BASE, voice=None), 9), composition.write(BASE, 9)
    assert plain == [event for event in sung if event.part != "song"]
    drummed = composition.write(replace(BASE, percussion="maracas"), 9)
    assert [e for e in drummed if e.part != "percussion"] == [e for e in sung if e.part != "percussion"]


def test_open_fields_are_drawn_and_given_ones_stay() -> None:
    settled = settle(Attributes(voice="male", mood="sad"), 4)
    assert (settled.voice, settled.mood, settled.percussion) == ("male", "sad", None)
    assert all(getattr(settled, name) is not None for name in OPEN)
    assert np.array_equal(render(Attributes(mood="sad"), 4), render(settle(Attributes(mood="sad"), 4), 4))


def test_draws_are_even_and_independent() -> None:
    labels = [draw(seed).labels() for seed in range(3000)]
    for name, classes in CLASSES.items():
        counts = np.array([sum(label[name] == one for label in labels) for one in classes])
        assert np.abs(counts / 3000 - 1 / len(classes)).max() < 0.03
    both = np.mean([label["tempo"] == "fast" and label["mood"] == "sad" for label in labels])
    assert abs(both - 0.25) < 0.03


def test_labels_and_attributes_are_inverse() -> None:
    for seed in range(50):
        wanted = draw(seed)
        low, high = TEMPI[wanted.labels()["tempo"]]
        assert of_labels(wanted.labels(), (wanted.tempo - low) / (high - low)).labels() == wanted.labels()
        assert low <= wanted.tempo <= high


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("voice", "femal", "female"),
        ("instrument", "drums", "percussion='drums'"),
        ("genre", "rock", "reggae"),
        ("tempo", 400.0, "40 to 220"),
        ("tempo", "fast", "beats per minute"),
    ],
)
def test_wrong_attributes_are_refused_in_plain_words(field: str, value: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Attributes(**{field: value})


def test_wrong_calls_are_refused() -> None:
    with pytest.raises(ValueError, match="one seed for each"):
        render_batch([BASE], [1, 2])
    with pytest.raises(ValueError, match="0 or more"):
        render(BASE, -1)
    with pytest.raises(KeyError, match="piano"):
        sound("pianno", 60)


def test_sounds_are_level_finite_and_end_at_zero() -> None:
    for name in NOTES:
        note = sound(name, 64)
        assert np.isfinite(note).all()
        assert np.mean(note[: SAMPLE_RATE // 4] ** 2) == pytest.approx(1, rel=0.01)
        assert abs(note[-1]) < 0.01 * np.abs(note).max()
    for name in STROKES:
        stroke = sound(name)
        assert np.abs(stroke).max() == pytest.approx(1)
        assert stroke[-1] == 0


def test_the_limiter_leaves_quiet_frames_and_bends_loud_ones() -> None:
    ramp = np.linspace(-5, 5, 1001)
    bent = limit(ramp)
    assert np.array_equal(bent[np.abs(ramp) <= 0.6], ramp[np.abs(ramp) <= 0.6])
    assert np.abs(bent).max() <= 0.98
    assert (np.diff(bent) >= 0).all()
