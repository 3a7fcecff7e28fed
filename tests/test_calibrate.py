"""Strength grids and calibrated ranges, with judges whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import tada
from checks import SECONDS, assert_same
from tada import steering
from tada.steering import Arm, Trial, Vector, seeded
from tada.steering import ranges as calibrate
from tada.store import Store

QUICK = tada.Sampling(steps=2, guidance=3.0)
TRIAL = Trial("mood", seeded(("a song", "a tune"), 7), tada.Setting(SECONDS, QUICK, batch=3))
LAYERS = [1, 5]


@pytest.fixture(scope="module")
def subject(tiny_model):
    model = tiny_model("stable-audio")
    return model, steering.contrast(model, ["a happy song"], ["a sad song"], 1, TRIAL.setting)


def judge(curve, sound=lambda share: 1.0):
    """A judge that knows the strength in lengths of what the layers put out."""

    def score(clips, rows):
        shares = rows["alpha"].to_numpy() / score.unit
        return {"concept": [curve(x) for x in shares], "sound": [sound(x) for x in shares]}

    score.key = f"known {id(curve)} {id(sound)}"
    return score


def calibrated(subject, score):
    model, vector = subject
    score.unit = calibrate.lengths(model, vector, TRIAL, LAYERS)
    found = calibrate.calibrate(model, Arm("caa", vector, LAYERS), TRIAL, score).vector
    return found, found.info["ranges"][-1], score.unit


@pytest.mark.parametrize(
    ("curve", "sound", "low", "high"),
    [
        (lambda x: np.clip(x, -0.25, 0.5), lambda x: 1.0, -1, 1),  # the middle of -.25 to -4, and of .5 to 4
        (lambda x: 1.0 if 0.2 < x < 1.1 or x > 3.9 else 0.0, lambda x: 1.0, -4, 0.5),  # a plateau ends; 4 is apart
        (lambda x: x, lambda x: 0.2 if abs(x) >= 1 else 1.0, -0.5, 0.5),  # before the sound breaks
        (lambda x: x, lambda x: 0.2 if abs(abs(x) - 0.5) < 1e-6 else 1.0, -0.25, 0.25),  # though more is sound again
        (lambda x: 0.5, lambda x: 1.0, -4, 4),  # nothing moves
    ],
)
def test_the_range_ends_in_the_middle_of_what_moves_furthest_and_is_sound(subject, curve, sound, low, high):
    _, entry, unit = calibrated(subject, judge(curve, sound))
    assert (entry["low"], entry["high"]) == pytest.approx((low * unit, high * unit))
    for end in ("low", "high"):
        assert entry["ends"][end]["sound"] and entry["ends"][end]["moves"] == (abs(entry[end]) < 3.9 * unit)


def test_ranges_are_kept_with_the_vector_one_for_each_manner(subject, tmp_path):
    model, _ = subject
    vector, entry, _ = calibrated(subject, judge(lambda x: x))
    again = steering.Vector.load(vector.save(tmp_path / "v"))
    assert calibrate.calibrated(model, Arm("caa", again, LAYERS)).scale == (entry["high"], -entry["low"])
    assert again.at("50%") == again.at(50, "1+5") == pytest.approx(entry["high"] / 2)
    with pytest.raises(ValueError, match="no range for layers '2'"):
        again.at(50, "2")
    twice, _, _ = calibrated((model, again), judge(lambda x: np.clip(x, -0.25, 0.25)))
    assert len(twice.info["ranges"]) == 1
    with pytest.raises(ValueError, match="not calibrated for layers 2"):
        calibrate.calibrated(model, Arm("caa", again, [2]))
    with pytest.raises(ValueError, match="renorm=False"):
        calibrate.calibrated(model, Arm("caa", again, LAYERS, renorm=False))


def test_percent_of_a_range(subject):
    _, vector = subject
    ranged = Vector(vector.directions, {"ranges": [{"layers": "all", "low": -4.0, "high": 2.0}]})
    arm = Arm("caa", ranged, scale=(2.0, 4.0))
    for percent, raw in ((50, 1.0), (-50, -2.0), (0, 0.0)):
        assert ranged.at(percent) == ranged.at(f"{percent}%") == arm.raw(percent) == raw
    for wrong in ("nan", "much"):
        with pytest.raises(ValueError, match="finite percent"):
            ranged.at(wrong)
    with pytest.raises(ValueError, match="finite"):
        arm.raw(float("nan"))


def test_one_length_is_the_norm_of_what_the_layers_put_out(subject):
    model, vector = subject
    with tada.record(model, [3]) as kept:
        model.sample(model.encode(["a song", "a tune"]), model.noise([7, 8], SECONDS), QUICK)
    expected = kept[3].norm(dim=-1).mean()
    assert calibrate.lengths(model, vector, TRIAL, [3]) == pytest.approx(float(expected), rel=1e-4)
    assert calibrate.lengths(model, vector * 2, TRIAL, [3]) == pytest.approx(float(expected) / 2, rel=1e-4)


def loud(clips, rows):
    """A judge that listens: level of a clip."""
    return {"concept": clips.audio.square().mean((1, 2)).numpy(), "sound": np.ones(len(rows))}


def test_a_grid_is_one_run_after_the_other(subject):
    model, vector = subject
    rows = calibrate.grid(model, Arm("caa", vector, LAYERS), TRIAL, [-3.0, 0.0, 3.0], loud)
    for row in rows[rows["metric"] == "concept"].itertuples():
        with vector.apply(model, row.alpha, LAYERS):
            alone = model.generate(row.prompt, row.seed, SECONDS, QUICK)
        assert row.value == pytest.approx(float(alone.audio.square().mean()), rel=1e-3)
    assert len(rows) == 2 * 3 * 2


def test_a_stored_grid_computes_nothing_and_shares_the_unsteered_clips(subject, tmp_path, monkeypatch):
    model, vector = subject
    first = calibrate.grid(model, Arm("caa", vector, [1]), TRIAL, [0.0, 2.0], loud, Store(tmp_path))
    other = calibrate.grid(model, Arm("caa", -vector, [5]), TRIAL, [0.0, 2.0], loud, Store(tmp_path))
    shared = set(first["unit_hash"]) & set(other["unit_hash"])
    assert shared == set(first.loc[first["alpha"] == 0, "unit_hash"])
    monkeypatch.setattr(model, "sample", lambda *_: pytest.fail("sampled again"))
    again = calibrate.grid(model, Arm("caa", vector, [1]), TRIAL, [0.0, 2.0], loud, Store(tmp_path))
    assert again.equals(first)


def test_kept_clips_are_found_again(subject, tmp_path, monkeypatch):
    model, vector = subject
    made = calibrate.clips(model, Arm("caa", vector, LAYERS), TRIAL, [0.0, 2.0], tmp_path)
    monkeypatch.setattr(model, "sample", lambda *_: pytest.fail("sampled again"))
    again = calibrate.clips(model, Arm("caa", vector, LAYERS), TRIAL, [0.0, 2.0], tmp_path)
    assert_same(again.audio, made.audio, 1e-3)
    assert again.sample_rate == made.sample_rate
    assert [r["prompt"] for r in again.records] == ["a song", "a song", "a tune", "a tune"]
    assert not torch.equal(made.audio[0], made.audio[1])


def test_clips_at_a_strength_need_no_unsteered_ones(subject, monkeypatch):
    model, vector = subject
    both = calibrate.clips(model, Arm("caa", vector, LAYERS), TRIAL, [0.0, 2.0])
    rows, sample = [], model.sample
    monkeypatch.setattr(model, "sample", lambda texts, *others: rows.append(len(texts)) or sample(texts, *others))
    alone = calibrate.clips(model, Arm("caa", vector, LAYERS), TRIAL, [2.0])
    assert rows == [2] and torch.equal(alone.audio, both.audio[1::2])


def test_a_judge_that_does_not_fit(subject):
    model, vector = subject
    with pytest.raises(ValueError, match="'concept' and 'sound'"):
        calibrate.calibrate(model, Arm("caa", vector, LAYERS), TRIAL, only_loud)
    with pytest.raises(ValueError, match="shape .3,. for 2 clips"):
        calibrate.grid(model, Arm("caa", vector, LAYERS), TRIAL, [0.0], three_values)


def only_loud(clips, rows):
    return {"loud": np.ones(len(rows))}


def three_values(clips, rows):
    return {"concept": [1, 2, 3]}
