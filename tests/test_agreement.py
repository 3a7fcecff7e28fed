"""Judges beside each other: what agrees, what cannot be compared, and what a page says of it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import tada
from tada.audio import Clips
from tada.display import validity as figures
from tada.experiments import agreement, validity
from tada.experiments.minis import questions
from tada.metrics.judges import ConceptJudge
from tada.steering import Trial, seeded
from tada.store import Store


class Fixed(ConceptJudge):
    """Knows two classes; its scores are given."""

    label = unit = key = metric = "fixed"
    names = ("slow", "fast")

    def score(self, clips, names):
        raise NotImplementedError


def test_shares_count_equal_answers():
    asked = pd.DataFrame({"attribute": "tempo", "wanted": ["slow", "fast"] * 2})
    scores = pd.DataFrame({"probe: slow": [1, 0, 1, 0], "probe: fast": [0, 1, 0, 1],
                           "signal: slow": [1, 1, 1, 0], "signal: fast": [0, 0, 0, 0]})  # fmt: skip
    found = agreement.agreement(scores, asked, {"probe": Fixed(), "signal": Fixed()})
    shares = found.set_index(["judge", "against"])["share"]
    assert shares["probe", "asked for"] == 1 and shares["signal", "asked for"] == 0.5 == shares["signal", "probe"]
    assert (found["low"] <= found["share"]).all() and (found["share"] <= found["high"]).all()
    assert found["chance"].tolist() == [0.5] * 3


def test_scores_that_cannot_be_compared_are_centred():
    scores = pd.DataFrame([[-5, 0], [-6, 2], [-5, 1], [-6, 3]], columns=["slow", "fast"])
    wanted = pd.Series(["slow", "fast", "slow", "fast"])
    assert agreement.name_classes(scores, wanted, absolute=False) == wanted.tolist()
    assert agreement.name_classes(scores, wanted, absolute=True) == ["fast"] * 4


def test_a_judge_is_silent_where_it_knows_no_class():
    scores = pd.DataFrame([[1.0, 0.0]], columns=["slow", "fast"])
    assert agreement.name_classes(scores, pd.Series(["violin"]), absolute=True) is None
    some = agreement.name_classes(pd.concat([scores] * 3), pd.Series(["slow", "fast", "violin"]), absolute=True)
    assert some == ["slow", "slow", None]


def test_generated_clips_are_scored_as_they_are_heard_and_only_once(tmp_path, monkeypatch):
    model, judges, some = tada.load("ace-step", "mini"), agreement.make_judges(), questions({"tempo": 2, "voice": 1})
    heard = agreement.listen(agreement.generate_asked(model, some, 2), some, judges)
    kept = agreement.generate_and_listen(model, some, judges, 2, Store(tmp_path))
    assert heard["probe: slow"].isna().tolist() == [False, False, True]
    assert np.allclose(heard, kept[heard.columns], atol=1e-3, equal_nan=True)
    monkeypatch.setattr(model, "sample", None)
    assert agreement.generate_and_listen(model, some, judges, 2, Store(tmp_path)).equals(kept)


@pytest.mark.parametrize("name", ["", "ace-step"])
def test_renders_are_scored_as_they_are_heard_and_only_once(name, tmp_path, monkeypatch):
    model, judges = tada.load(name, "mini") if name else None, agreement.make_judges()
    some = questions({"tempo": 2, "voice": 1}).iloc[::-1]
    clips = agreement.render_asked(some)
    heard = agreement.listen(agreement.through_codec(model, clips) if model else clips, some, judges)
    kept = agreement.render_and_listen(model, some, judges, Store(tmp_path))
    assert list(kept.index) == [2, 1, 0] and kept["probe: slow"].isna().tolist() == [True, False, False]
    assert np.allclose(heard, kept[heard.columns], atol=1e-3, equal_nan=True)
    monkeypatch.setattr(agreement, "render_asked", None)
    assert agreement.render_and_listen(model, some, judges, Store(tmp_path)).equals(kept)


def test_renders_are_what_they_are_asked_to_be_and_codecs_keep_their_length():
    some = questions({"tempo": 4, "voice": 4})
    renders, judges = agreement.render_asked(some), agreement.make_judges()
    found = agreement.agreement(agreement.listen(renders, some, judges), some, judges)
    told = found[(found["against"] == agreement.ASKED) & found["judge"].isin(["probe", "signal"])]
    assert len(told) == 4 and (told["share"] == 1).all()
    for name in ("ace-step", "stable-audio", "audioldm2"):
        again = agreement.through_codec(tada.load(name, "mini"), Clips(renders.audio[:2], 16_000))
        assert again.audio.shape[-1] / again.sample_rate == pytest.approx(4.096, abs=0.02), name
        assert again.audio.isfinite().all() and again.audio.std() > 0.01


def test_a_page_says_where_judges_disagree():
    row = {"attribute": "voice", "source": "ace-step, 8 steps", "against": agreement.ASKED, "chance": 0.5}
    right = pd.DataFrame([row | {"judge": judge, "share": 1.0, "low": 0.9, "high": 1.0, "clips": 40}
                          for judge in ("probe", "signal")])  # fmt: skip
    assert "No judge contradicts" in figures.disagreement_lines(right)
    assert "signal estimators" in figures.agreement_tables(right)[0].data
    told = figures.disagreement_lines(right.assign(share=[1.0, 0.0], low=[0.9, 0.0], high=[1.0, 0.1]))
    assert "signal estimators in 0%" in told and "singer" in told


def test_random_pushes_share_their_unpushed_clips(tiny_model, tmp_path):
    model = tiny_model("stable-audio")
    trial = Trial("", seeded(["a song", "a tune"], 3), tada.Setting(0.3, tada.Sampling(steps=1, guidance=1.0)))
    found = validity.random_pushes(model, trial, (1.0, 9.0), tmp_path)
    plain = model.generate(["a song", "a tune"], [3, 4], 0.3, trial.setting.sampling).audio
    assert list(found) == [0.0, 1.0, 9.0] and [len(clips) for clips in found.values()] == [2] * 3
    assert float((found[0.0].audio.float() - plain).norm() / plain.norm()) < 5e-4, "of half precision"
    nearer, farther = (float((found[share].audio - found[0.0].audio).float().norm()) for share in (1.0, 9.0))
    assert 0 < nearer < farther
