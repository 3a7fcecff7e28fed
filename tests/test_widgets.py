"""Live widgets, and the prepared clips that stand in for them on a page; runs by profile."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

import tada
from checks import SECONDS
from tada import steering
from tada.display import slider, widgets
from tada.display.steering import judge_lines
from tada.experiments import steering as steer
from tada.experiments.experiment import parse_layers
from tada.steering import Trial

QUICK = tada.Sampling(steps=2, guidance=3.0)
TRIAL = Trial("mood", (("a song", 7),), tada.Setting(SECONDS, QUICK))


def option(vector, layers):
    return widgets.SteeringOption(steering.Arm("CAA", vector, layers), "caa", "CAA, some layers")


@pytest.fixture(scope="module")
def options(tiny_model):
    model = tiny_model("stable-audio")
    vector = steering.contrast(model, ["a happy song"], ["a sad song"], 1, TRIAL.setting)
    sites = list(model.sites)
    entry = {"layers": "all", "sites": sites, "passes": "cond", "renorm": True, "low": -2.0, "high": 4.0}
    vector = steering.Vector(vector.directions, {**vector.info, "ranges": [entry]})
    return model, vector, {"mood": [option(vector, "all")]}


def test_on_a_page_prepared_clips_stand_in(options, page):
    model, vector, some = options
    shown = widgets.prepared_slider(model, some, {"mood": TRIAL}, "demo", (-100.0, 0.0, 50.0))
    sweep = slider.read(page / "demo")["sweeps"][0]
    assert [clip["alpha"] for clip in sweep["clips"]] == [-2.0, 0.0, 2.0]
    assert (sweep["low"], sweep["high"]) == ("sad", "happy")
    assert shown.data.count("<audio") == 3


def test_kept_options_of_a_concept_share_the_unsteered_clip(options, page, tmp_path, monkeypatch):
    model, vector, some = options
    rows, sample = [], model.sample
    monkeypatch.setattr(model, "sample", lambda texts, *others: rows.append(len(texts)) or sample(texts, *others))
    other = widgets.SteeringOption(steering.Arm("CAA", vector, [1], scale=(1.0, 1.0)), "other", "CAA, one layer")
    both = {"mood": [*some["mood"], other]}
    widgets.prepared_slider(model, both, {"mood": TRIAL}, "kept", (-100.0, 0.0, 50.0), keep=tmp_path)
    assert rows == [1, 2, 2]


def test_a_range_of_its_own_is_the_arm_s(options):
    model, vector, some = options
    assert some["mood"][0].raw(model, 50.0) == 2.0
    ranged = option(vector, "all").arm.scaled(10.0, 3.0)
    assert widgets.SteeringOption(ranged, "caa", "CAA").raw(model, -50.0) == -1.5


def test_live_the_widgets_steer_and_say_what_goes_wrong(options, monkeypatch):
    pytest.importorskip("ipywidgets")
    model, vector, some = options
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    panel = widgets.live_panel(model, some | {"tempo": [option(vector, [1])]}, TRIAL)
    concept, layers, *_, percent = panel.kwargs_widgets
    percent.value = 50.0
    panel.update()
    with vector.apply(model, 2.0, "all"):
        expected = model.generate("a song", 7, SECONDS, QUICK)
    torch.testing.assert_close(panel.result.audio, expected.audio, atol=1e-4, rtol=1e-3)
    assert "strength +2" in shown[0] and "<audio" in shown[1]._repr_html_()
    concept.value = "tempo"
    assert [text for text, _ in layers.options] == ["CAA, some layers"]
    panel.update()
    assert "not calibrated for layers 1" in shown[-1] and not panel.manual_button.disabled
    for ask in (
        lambda: widgets.prepared_slider(model, {}, {}, "demo", (0.0,)),
        lambda: widgets.live_panel(model, {}, TRIAL),
    ):
        with pytest.raises(ValueError, match="no ways"):
            ask()


# ---- runs by profile


def rows():
    table = []
    for prompt in range(8):
        for percent in (-100.0, 0.0, 100.0):
            moved = 0.5 + 0.004 * percent + 0.01 * prompt
            table += [("functional", prompt, percent, "concept", moved), ("functional", prompt, percent, "sound", 0.8)]
            table += [
                ("all-but-functional", prompt, percent, "concept", 0.5),
                ("functional", prompt, percent, "onsets", 100 + percent / 2),
            ]
    frame = pd.DataFrame(table, columns=["layers", "prompt", "percent", "metric", "value"])
    return frame.assign(concept="tempo", method="caa", seed=0, alpha=frame["percent"])


def test_tables_of_a_run():
    both = rows()
    sound = both[both["metric"] == "sound"].assign(layers="all-but-functional")
    moves = steer.movements(pd.concat([both, sound]))
    by = moves.set_index("layers")
    assert by.loc["functional", "movement"] == pytest.approx(0.8)
    assert by.loc["functional", "sound kept"] == pytest.approx(1.0)
    assert by.loc["all-but-functional", "movement"] == pytest.approx(0.0)
    assert "as the paper found" in steer.verdict(both, True)
    names = {"functional": "all-but-functional", "all-but-functional": "functional"}
    assert "against the paper" in steer.verdict(both.assign(layers=both["layers"].map(names)), True)
    assert "fewer than 8 prompts" in steer.verdict(both[both["prompt"] < 7], True)
    assert "not known" in steer.verdict(both, False)
    moved = steer.movements_by_metric(both).set_index(["layers", "metric"]).loc[("functional", "onsets")]
    assert (moved["lowest"], moved["highest"], moved["movement"]) == (50.0, 150.0, 100.0)
    both = pd.concat([both, both[both["metric"] == "concept"].assign(metric="signal", value=0.0)])
    assert "signal estimators" in judge_lines(steer.movements_by_metric(both))
    assert steer.curves(both)["mean"].tolist()[:3] != []


def test_a_plan_settles_layers_and_words(tiny_folder):
    work = steer.plan("ace-step", tiny_folder("ace-step"), "smoke", functional="6, 7", vocabulary="mini", prompts=3)
    assert len(steer.result_trial(work, "tempo").prompts) == 3
    assert work.model.functional == (6, 7)
    assert work.layer_sets == ("functional", "all", "all-but-functional")
    assert not set(steer.range_trial(work, "tempo").prompts) & set(steer.result_trial(work, "tempo").prompts)
    with pytest.raises(KeyError, match="profile"):
        steer.plan("ace-step", "x", "smok")
    with pytest.raises(KeyError, match="vocabulary"):
        steer.plan("ace-step", "x", "smoke", vocabulary="minis")
    with pytest.raises(IndexError, match="no layer 99"):
        work.model.resolve(parse_layers("6+99"))
