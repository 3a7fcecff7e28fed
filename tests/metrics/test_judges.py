"""Judges: one protocol, known answers on renders, and what is refused."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from clips import music
from torch import Tensor

import tada
from tada.metrics import external
from tada.metrics.judges import (
    FunctionJudge,
    Judge,
    MetricSuite,
    ProbeJudge,
    ProbeSteeringJudge,
    QueryJudge,
    QuerySteeringJudge,
    as_judge,
    steering_judge,
)
from tada.minis.attributes import Attributes

RATE = 16_000
Renders = tuple[list[Attributes], Tensor]


@pytest.fixture(scope="module")
def suite() -> MetricSuite:
    return MetricSuite("mini")


def rows(*names: str) -> pd.DataFrame:
    return pd.DataFrame({"concept": names})


def energy(clips: tada.Clips, rows: pd.DataFrame) -> np.ndarray:
    """A plain function as a score."""
    return clips.audio.square().mean((1, 2)).numpy()


@pytest.mark.parametrize(
    ("concept", "field", "wanted"),
    [
        ("female", "voice", "female"), ("slow", "tempo", "slow"), ("happy", "mood", "happy"),
        ("violin", "instrument", "violin"), ("maracas", "percussion", "maracas"), ("reggae", "genre", "reggae"),
        ("piano", "instrument", "piano"), ("tempo", "tempo", "fast"), ("vocal gender", "voice", "female"),
        ("mood", "mood", "happy"),
    ],
)  # fmt: skip
def test_clips_with_a_concept_stand_out(
    concept: str, field: str, wanted: str, renders: Renders, suite: MetricSuite
) -> None:
    has = np.array([one.labels()[field] == wanted for one in renders[0]])
    clips = tada.Clips(renders[1][:, None], RATE)
    found = suite.judge(suite.listen(clips), concept, suite.listen(clips))
    for metric in ("probe", "mini-clap", "mini-second"):
        values = found[metric]
        assert values.shape == (len(has),) and np.abs(values).max() <= 1 + 1e-6
        assert values[has].min() > values[~has].max() - 0.05, metric
    assert found["probe"][has].mean() > 0.9 and found["probe"][~has].mean() < 0.05


@pytest.mark.parametrize(
    ("judge", "unit", "metrics"),
    [
        (ProbeJudge(), "probability", ["probe"]),
        (ProbeSteeringJudge(), "probability", ["concept", "against", "sound", "bpm"]),
        (QueryJudge("clap", "mini"), "similarity", ["clap"]),
        (QueryJudge("paper", "mini"), "similarity", ["paper"]),
        (FunctionJudge(energy), "score", ["score"]),
    ],
)
def test_judges_keep_one_protocol(judge: Judge, unit: str, metrics: list[str], renders: Renders) -> None:
    clips, names = (
        tada.Clips(renders[1][:3, None], RATE),
        ["tempo"] * 3 if "bpm" in metrics else ["slow", "jazz", "sad"],
    )
    found = pickle.loads(pickle.dumps(judge))(clips, rows(*names))
    assert list(found) == metrics and judge.unit == unit and judge.label and judge.key
    for metric, values in found.items():
        alone = judge(clips[1:2], rows(names[1]))[metric]
        assert values.shape == (3,) and alone[0] == pytest.approx(values[1], abs=1e-5)
    assert judge.knows(names[0]) and judge.knows("violins") == (unit == "score")
    assert as_judge(judge) is judge


def test_keys_tell_judges_apart() -> None:
    every = [ProbeJudge(), ProbeSteeringJudge(), QueryJudge(), QueryJudge("paper"), QueryJudge("clap", "mini"),
             QuerySteeringJudge(), as_judge(energy)]  # fmt: skip
    assert len({judge.key for judge in every}) == len(every)
    assert [steering_judge(words).unit for words in ("mini", "public")] == ["probability", "similarity"]
    assert ProbeSteeringJudge().knows("tempo") and not ProbeSteeringJudge().knows("jazz")
    with pytest.raises(ValueError, match="stays the same from run to run"):
        as_judge(lambda clips, rows: 0)


def test_a_query_judge_of_steering_sees_lost_sound(renders: Renders, monkeypatch: pytest.MonkeyPatch) -> None:
    judge = QuerySteeringJudge()
    judge._models["clap"] = QueryJudge("clap", "mini").load("clap")
    clips = tada.Clips(torch.stack([renders[1][0], 1e-6 * renders[1][0]])[:, None], RATE)
    found = judge(clips, rows("mood", "mood"))
    assert found["sound"].tolist() == [1, 0] and np.isfinite(found["concept"]).all()


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda clips: QueryJudge("clap", "mini")(clips, rows("violins")), KeyError, "did you mean 'violin'"),
        (lambda clips: ProbeJudge()(clips, rows("opera")), KeyError, "no concept"),
        (lambda clips: ProbeSteeringJudge()(clips, rows("jazz")), KeyError, "no concept"),
        (lambda clips: ProbeSteeringJudge()(clips, rows("mood", "tempo")), ValueError, "2 concepts"),
        (lambda clips: QueryJudge("claps"), KeyError, "'clap'"),
        (lambda clips: QueryJudge("clap", "minis"), KeyError, "'mini'"),
        (lambda clips: MetricSuite("minis"), KeyError, "'mini'"),
        (lambda clips: MetricSuite("mini", over="tokens"), KeyError, "'token'"),
        (
            lambda clips: MetricSuite("mini")(clips, rows("mood").assign(prompt="", seed=0, method="CAA")),
            ValueError,
            "no unsteered ones",
        ),
    ],
)
def test_mistakes_are_explained(call, error: type[Exception], words: str, renders: Renders) -> None:
    with pytest.raises(error, match=words):
        call(tada.Clips(renders[1][:1, None], RATE))


# ---- the metrics of the evaluation


def test_a_suite_has_a_metric_of_each_kind(renders: Renders, suite: MetricSuite) -> None:
    clips = tada.Clips(renders[1][:4, None], RATE)
    features = suite.listen(clips)
    asked = rows(*["tempo"] * 4).assign(prompt="a song", seed=range(4), method="none")
    found = suite(clips, asked)
    similar = {f"{ear}{side}" for ear in ("mini-clap", "mini-second") for side in ("", "-opposite")}
    assert set(found) == {*similar, "lpaps", "lpaps-token", "probe", "bpm", "embedding"}
    revised = MetricSuite("mini", wording="revised").judge(features, "tempo", features)
    assert set(found) - set(revised) == {"embedding", "mini-clap-opposite", "mini-second-opposite"}
    assert (revised["mini-clap"] != found["mini-clap"]).any(), "another query"
    steered = suite(tada.Clips(clips.audio[:2].flip(0), RATE), asked[:2].assign(method="CAA"))
    assert steered["lpaps"].min() > 0.1, "each beside the unsteered clip of its prompt and seed"
    assert found["bpm"].tolist() == external.tempo(renders[1][:4], RATE).tolist()
    assert "brightness" in suite.judge(features, "mood", features)
    assert not {"bpm", "brightness"} & set(suite.judge(features, "piano", features))
    assert (found["lpaps"] == 0).all()
    fast = [one.labels()["tempo"] == "fast" for one in renders[0][:4]]
    assert ((found["probe"] > 0) == fast).all()
    moved = suite.judge(features[[1, 2]], "tempo", features[[0, 2]])
    assert moved["lpaps"][0] > 0.1 and moved["lpaps"][1] == 0
    assert moved["probe"].tolist() == found["probe"][[1, 2]].tolist()
    assert (suite.embed(renders[1][:4], RATE) - features.embedding).abs().max() < 1e-6
    joined = type(features).join([features[[0]], features[[1, 2, 3]]])
    assert torch.equal(joined.embedding, features.embedding) and joined.others.keys() == features.others.keys()


def test_a_suite_keeps_the_newest_unsteered_clips(
    renders: Renders, suite: MetricSuite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tada.metrics.judges.KEPT", 2)
    clips = tada.Clips(renders[1][:1, None], RATE)
    plain = {seed: rows("mood").assign(prompt="newest", seed=seed, method="none") for seed in range(3)}
    for seed in (0, 1, 0, 2):
        suite(clips, plain[seed])
    assert suite(clips, plain[0].assign(method="CAA"))["lpaps"] == 0
    with pytest.raises(ValueError, match="no unsteered ones"):
        suite(clips, plain[1].assign(method="CAA"))


@pytest.mark.parametrize("loudness", [None, -20.0])
def test_a_suite_takes_silence_stereo_and_any_rate(loudness: float | None) -> None:
    suite = MetricSuite("mini", loudness=loudness)

    def judge(audio: Tensor, rate: int = RATE) -> dict[str, np.ndarray]:
        features = suite.listen(tada.Clips(audio, rate))
        return {**suite.judge(features, "tempo", features[[0] * len(audio)]), "embedding": features.embedding.numpy()}

    silent = judge(torch.zeros(2, 1, 65_536))
    assert np.isnan(silent.pop("bpm")).all()
    assert all(np.isfinite(values).all() for values in silent.values()) and silent["lpaps"].tolist() == [0, 0]
    mono = music(4.096, RATE, 2, 7_000.0)
    plain = judge(mono[:, None])
    stereo = judge(torch.stack([1.4 * mono, 0.6 * mono], 1))
    faster = judge(music(4.096, 48_000, 2, 7_000.0)[:, None], 48_000)
    alone = judge(mono[1:, None])
    for name in ("mini-clap", "mini-second", "lpaps", "embedding"):
        assert stereo[name] == pytest.approx(plain[name], abs=1e-3), name
        assert np.linalg.norm(faster[name] - plain[name]) <= 0.01 * max(np.linalg.norm(plain[name]), 1), name
    assert alone["embedding"][0] == pytest.approx(plain["embedding"][1], abs=1e-5)
    loud = 40 * mono[:, None]
    if loudness is None:
        assert judge(loud)["embedding"] == pytest.approx(judge(loud.clamp(-1, 1))["embedding"])
    for bad, words in ((torch.zeros(1, 1, 1), "1 samples"), (torch.full((1, 1, 65_536), math.nan), "NaN")):
        with pytest.raises(ValueError, match=words):
            suite.listen(tada.Clips(bad, RATE))


def test_a_suite_that_levels_clips_ignores_gain(renders: Renders, suite: MetricSuite) -> None:
    clips, level = renders[1][:3, None], MetricSuite("mini", loudness=-20.0)
    quiet, quieter = ([one.listen(tada.Clips(gain * clips, RATE)).embedding for one in (level, suite)]
                      for gain in (0.5, 0.25))  # fmt: skip
    assert (quiet[0] - quieter[0]).abs().max() < 1e-4 < (quiet[1] - quieter[1]).abs().max()
    assert level.key != suite.key
