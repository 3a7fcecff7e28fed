"""Judges beside each other: what agrees, what cannot be compared, and what a page says of it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import tada
from tada.audio import Clips
from tada.display import validity as figures
from tada.experiments import agreement
from tada.experiments.minis import questions
from tada.metrics.judges import ConceptJudge


class Fixed(ConceptJudge):
    """Says what it was told to, whatever it hears."""

    metric = label = unit = key = "fixed"
    names = ("slow", "fast")

    def __init__(self, scores: list[list[float]], absolute: bool = True) -> None:
        self.scores, self.absolute = np.array(scores), absolute

    def score(self, clips, names):
        return self.scores[:, ["slow", "fast"].index(names[0]) :][:, : len(names)]


def asked(*wanted: str) -> pd.DataFrame:
    return pd.DataFrame({"attribute": "tempo", "wanted": wanted})


def clips(count: int) -> Clips:
    return Clips(torch.zeros(count, 1, 16_000), 16_000)


def test_shares_count_equal_answers():
    right = Fixed([[1, 0], [0, 1], [1, 0], [0, 1]])
    half = Fixed([[1, 0], [1, 0], [1, 0], [0, 0]])
    found = agreement.agreement(clips(4), asked("slow", "fast", "slow", "fast"), {"probe": right, "signal": half})
    shares = found.set_index(["judge", "against"])["share"]
    assert shares["probe", "asked for"] == 1 and shares["signal", "asked for"] == 0.5 == shares["signal", "probe"]
    assert (found["low"] <= found["share"]).all() and (found["share"] <= found["high"]).all()
    assert found["chance"].tolist() == [0.5] * 3


def test_scores_that_cannot_be_compared_are_centred():
    scores = [[-5, 0], [-6, 2], [-5, 1], [-6, 3]]
    wanted = pd.Series(["slow", "fast", "slow", "fast"])
    assert agreement.name_classes(Fixed(scores, False), clips(4), wanted) == wanted.tolist()
    assert agreement.name_classes(Fixed(scores, True), clips(4), wanted) == ["fast"] * 4


def test_a_judge_is_silent_where_it_knows_no_class():
    assert agreement.name_classes(Fixed([[1, 0]]), clips(1), pd.Series(["violin"])) is None


def test_renders_are_what_they_are_asked_to_be_and_codecs_keep_their_length():
    some = questions({"tempo": 4, "voice": 4})
    renders = agreement.render_asked(some)
    found = agreement.agreement(renders, some, agreement.make_judges())
    told = found[found["against"] == agreement.ASKED].set_index(["attribute", "judge"])["share"]
    assert told["tempo", "probe"] == told["voice", "probe"] == told["tempo", "signal"] == told["voice", "signal"] == 1
    for name in ("ace-step", "stable-audio", "audioldm2"):
        again = agreement.through_codec(tada.load(name, "mini"), Clips(renders.audio[:2], 16_000))
        assert again.audio.shape[-1] / again.sample_rate == pytest.approx(4.096, abs=0.02), name
        assert again.audio.isfinite().all() and again.audio.std() > 0.01


def test_a_page_says_where_judges_disagree():
    row = {"attribute": "voice", "source": "ace-step, 8 steps", "against": agreement.ASKED, "chance": 0.5}
    rows = [row | {"judge": "probe", "share": 1.0, "low": 0.9, "high": 1.0, "clips": 40},
            row | {"judge": "signal", "share": 0.0, "low": 0.0, "high": 0.1, "clips": 40}]  # fmt: skip
    told = figures.disagreement_lines(pd.DataFrame(rows))
    assert "signal estimators in 0%" in told and "singer" in told
    rows[1] |= {"share": 1.0, "low": 0.9, "high": 1.0}
    assert "No judge contradicts" in figures.disagreement_lines(pd.DataFrame(rows))
    assert "signal estimators" in figures.agreement_tables(pd.DataFrame(rows))[0].data
