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
from tada.metrics import audio as metric_audio
from tada.metrics import judges, musicnn, preservation
from tada.metrics.judges import (
    EarJudge,
    FunctionJudge,
    Judge,
    OutsideJudge,
    Panel,
    ProbeJudge,
    SignalJudge,
    as_judge,
    make_judge,
)
from tada.metrics.steering_judges import EarSteeringJudge, ProbeSteeringJudge, steering_judge
from tada.metrics.suite import MetricSuite
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
    features = suite.listen(clips)
    found = suite.compare(features, concept, features) | suite.judge(clips, concept)
    for metric in ("probe", "mini-clap", "mini-second"):
        values = found[metric]
        assert values.shape == (len(has),) and np.abs(values).max() <= 1 + 1e-6
        assert (values[has][:, None] > values[~has] - 0.05).mean() > 0.95, metric
    quiet = concept == "maracas"
    assert found["probe"][has].mean() > (0.6 if quiet else 0.9) and found["probe"][~has].mean() < 0.1


@pytest.mark.parametrize(
    ("judge", "unit", "metrics"),
    [
        (ProbeJudge(), "probability", ["probe"]),
        (ProbeSteeringJudge(), "probability", ["concept", "against", "sound"]),
        (SignalJudge(), "found or not", ["signal"]),
        (OutsideJudge(), "log-odds", ["musicnn"]),
        (EarJudge("clap", "mini"), "similarity", ["mini-clap"]),
        (EarJudge("paper", "mini"), "similarity", ["paper"]),
        (Panel(ProbeJudge(), EarJudge("clap", "mini")), "probability", ["probe", "mini-clap"]),
        (FunctionJudge(energy), "score", ["score"]),
    ],
)
def test_judges_keep_one_protocol(judge: Judge, unit: str, metrics: list[str], renders: Renders) -> None:
    clips, names = (
        tada.Clips(renders[1][:3, None], RATE),
        ["tempo"] * 3 if "concept" in metrics else ["slow", "female", "sad"],
    )
    found = pickle.loads(pickle.dumps(judge))(clips, rows(*names))
    assert list(found) == metrics and judge.unit == unit and judge.label and judge.key
    for metric, values in found.items():
        alone = judge(clips[1:2], rows(names[1]))[metric]
        assert values.shape == (3,) and alone[0] == pytest.approx(values[1], abs=1e-5)
    assert judge.knows(names[0]) and judge.knows("violins") == (unit == "score")
    assert as_judge(judge) is judge


def test_keys_tell_judges_apart() -> None:
    ears = [EarJudge(), EarJudge("paper"), EarJudge("clap", "mini"), EarSteeringJudge()]
    panels = [make_judge("probe"), steering_judge("mini")]
    every = [*ears, *panels, ProbeJudge(), ProbeSteeringJudge(), SignalJudge(), OutsideJudge(), as_judge(energy)]
    assert len({judge.key for judge in every}) == len(every)
    assert [steering_judge(words).unit for words in ("mini", "public")] == ["probability", "similarity"]
    assert ProbeSteeringJudge().knows("tempo") and not ProbeSteeringJudge().knows("jazz")
    with pytest.raises(ValueError, match="stays the same from run to run"):
        as_judge(lambda clips, rows: 0)


def test_a_concept_is_worth_its_score_less_its_opposite_s(renders: Renders) -> None:
    clips = tada.Clips(renders[1][:6, None], RATE)
    for judge in (ProbeJudge(), SignalJudge(), OutsideJudge()):
        for concept, pole, other in (("tempo", "fast", "slow"), ("vocal gender", "female", "male")):
            scores = judge.score(clips, [pole, other])
            values = judge(clips, rows(*[concept] * 6))[judge.metric]
            assert values == pytest.approx(scores[:, 0] - scores[:, 1], abs=1e-5)
    assert SignalJudge()(clips, rows(*["tempo"] * 6)).keys() == {"signal", "onsets"}
    short = tada.Clips(clips.audio[..., :RATE], RATE)
    assert SignalJudge()(short, rows(*["tempo"] * 6)).keys() == {"onsets"}, "too short for a pulse"


def test_judges_from_outside_know_what_their_tags_name() -> None:
    judge = OutsideJudge()
    assert {len(judge.tags[name]) for name in ("female", "male")} == {4, 5}, "vocal, voice, vocalists ..."
    assert judge.knows("vocal gender") and judge.knows("drums") and judge.knows("no voice")
    assert not any(judge.knows(name) for name in ("reggae", "maracas", "trumpet"))
    assert not SignalJudge().knows("piano")


def test_a_panel_asks_others_for_what_they_know(renders: Renders) -> None:
    panel = Panel(ProbeJudge(), SignalJudge())
    assert panel.knows("violin") and not panel.knows("opera")
    clips = tada.Clips(renders[1][:2, None], RATE)
    assert panel(clips, rows("violin", "violin")).keys() == {"probe"}
    assert panel(clips, rows("sad", "happy")).keys() == {"probe", "signal", "major"}


def test_judges_of_one_rate_share_what_clips_are_converted_to(monkeypatch: pytest.MonkeyPatch) -> None:
    clips, about, asked = tada.Clips(music(4.0, 44_100)[:, None], 44_100), rows("sad", "happy"), []
    alone = [judge(clips, about) for judge in (ProbeJudge(), SignalJudge(), OutsideJudge())]

    def prepare(audio: Tensor, sample_rate: int, rate: int) -> Tensor:
        asked.append((sample_rate, rate))
        return metric_audio.prepare(audio, sample_rate, rate)

    for module in (judges, musicnn):
        monkeypatch.setattr(module, "prepare", prepare)
    found = Panel(ProbeJudge(), SignalJudge(), OutsideJudge())(clips, about)
    assert asked.count((44_100, 16_000)) == 1 and {rate for _, rate in asked} == {16_000}
    for metric, values in {name: own for part in alone for name, own in part.items()}.items():
        assert found[metric].tolist() == values.tolist(), metric


def test_an_ear_judge_of_steering_sees_lost_sound(renders: Renders, monkeypatch: pytest.MonkeyPatch) -> None:
    judge = EarSteeringJudge()
    judge._models["clap"] = EarJudge("clap", "mini").load("clap")
    clips = tada.Clips(torch.stack([renders[1][0], 1e-6 * renders[1][0]])[:, None], RATE)
    found = judge(clips, rows("mood", "mood"))
    assert found["sound"].tolist() == [1, 0] and np.isfinite(found["concept"]).all()


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda clips: EarJudge("clap", "mini")(clips, rows("violins")), KeyError, "did you mean 'violin'"),
        (lambda clips: ProbeJudge()(clips, rows("opera")), KeyError, "no concept"),
        (lambda clips: ProbeSteeringJudge()(clips, rows("jazz")), KeyError, "no concept"),
        (lambda clips: ProbeSteeringJudge()(clips, rows("mood", "tempo")), ValueError, "2 concepts"),
        (lambda clips: EarJudge("claps"), KeyError, "'clap'"),
        (lambda clips: EarJudge("clap", "minis"), KeyError, "'mini'"),
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
    beside = {"probe", "signal", "onsets", "musicnn"}
    assert set(found) == {*similar, "lpaps", "lpaps-token", "embedding", *preservation.AXES} | beside
    revised = MetricSuite("mini", wording="revised").compare(features, "tempo", features)
    assert similar - set(revised) == {"mini-clap-opposite", "mini-second-opposite"}
    assert (revised["mini-clap"] != found["mini-clap"]).any(), "another query"
    steered = suite(tada.Clips(clips.audio[:2].flip(0), RATE), asked[:2].assign(method="CAA"))
    assert steered["lpaps"].min() > 0.1, "each beside the unsteered clip of its prompt and seed"
    assert "major" in suite.judge(clips, "mood")
    assert suite.judge(clips, "piano").keys() == {"probe", "musicnn"}
    assert (found["lpaps"] == 0).all()
    fast = [one.labels()["tempo"] == "fast" for one in renders[0][:4]]
    assert ((found["probe"] > 0) == fast).all()
    assert (suite.embed(renders[1][:4], RATE) - features.embedding).abs().max() < 1e-6


def test_a_suite_keeps_the_newest_unsteered_clips(
    renders: Renders, suite: MetricSuite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tada.metrics.suite.KEPT", 2)
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
        clips = tada.Clips(audio, rate)
        features = suite.listen(clips)
        first = features.take([0] * len(audio))
        found = suite.compare(features, "tempo", first) | suite.judge(clips, "tempo")
        return {**found, "embedding": features.embedding.numpy()}

    silent = judge(torch.zeros(2, 1, 65_536))
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
