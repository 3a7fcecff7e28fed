"""What is shipped is what the cards say, and what a mini is asked when its card is checked."""

from __future__ import annotations

import json
from functools import partial

import pandas as pd
import pytest

import tada
from tada.experiments import agreement
from tada.experiments import minis as measured
from tada.experiments.profiles import PROFILES, SEEDS
from tada.minis import cards
from tada.minis.attributes import CLASSES
from tests.minis.spans import find


def test_questions_mention_one_attribute_and_ask_for_every_class():
    asked = measured.questions({"voice": 8, "instrument": 10})
    assert asked.groupby("attribute").size().to_dict() == {"instrument": 10, "voice": 8}
    assert set(asked["wanted"][asked["attribute"] == "instrument"]) == set(CLASSES["instrument"])
    for row in asked.itertuples():
        promised = {(span.attribute, span.value) for span in find(row.prompt) if span.attribute != "foreign"}
        assert promised == {(row.attribute, row.wanted)}
    assert set(asked["seed"]) <= set(SEEDS["cards"])


def test_real_captions_have_exactly_one_of_the_words():
    texts = ["A sad tune.", "A sad, slow tune.", "Nothing.", "Slowly, a Fast one", "females"]
    asked = measured.select_captions(texts)
    assert asked[["word", "prompt"]].to_numpy().tolist() == [["fast", texts[3]], ["sad", texts[0]]]


def test_accuracy_is_one_for_renders_and_nothing_for_renders_of_the_other_class():
    asked = measured.questions({"tempo": 16, "mood": 8})
    clips = agreement.render_asked(asked)
    answers = asked.assign(**measured.hear(clips, asked))
    found, signal = measured.accuracy(answers), measured.accuracy(answers, judge="signal")
    assert all(by[name]["accuracy"] > 0.8 for by in (found, signal) for name in ("tempo", "mood"))
    swapped = asked.assign(wanted=asked["wanted"].map({"slow": "fast", "fast": "slow", "happy": "sad", "sad": "happy"}))
    answers = swapped.assign(**measured.hear(clips, swapped))
    assert max(measured.accuracy(answers, judge=judge)["tempo"]["accuracy"] for judge in ("right", "signal")) < 0.1


def test_musicgen_takes_a_step_a_frame_whatever_is_asked(tiny_model):
    endings = {name: list(measured.heeded_steps(tiny_model(name))) for name in ("musicgen", "stable-audio")}
    assert endings == {"musicgen": [""], "stable-audio": [*measured.STEPS]}


def test_a_card_is_measured_at_the_steps_of_pages_and_a_stopped_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(measured, "questions", partial(measured.questions, {"tempo": 2, "genre": 3}))
    monkeypatch.setattr(measured, "frechet", partial(measured.frechet, clips=4))
    model, texts = tada.load("ace-step", "mini"), tmp_path / "captions.csv"
    pd.DataFrame({"caption": ["A sad tune."]}).to_csv(texts)
    few, taken = PROFILES["mini"].steering.steps, []
    sample = type(model).sample
    with monkeypatch.context() as spied:
        spied.setattr(type(model), "sample", lambda *given: taken.append(given[3].steps) or sample(*given))
        card = measured.measure(model, texts, tmp_path)
    assert taken == [16, few, 16, 16], "questions twice, captions of renders, real captions"
    for ending in measured.STEPS:
        assert {name: row["clips"] for name, row in card[f"one concept{ending}"].items()} == {"tempo": 2, "genre": 3}
        assert list(card[f"one concept{ending}, by signal"]) == ["tempo"]
    assert set(card["real captions by word"]) == {"sad"} and card["seeds"][0] in SEEDS["cards"]
    monkeypatch.setattr(type(model), "sample", lambda *_: pytest.fail("a clip was made again"))
    assert measured.measure(model, texts, tmp_path) == card


def test_shipped_files_are_those_of_their_cards():
    assert measured.verify(clips=0) == []
    assert {row["name"] for row in cards.shipped()} == set(cards.NAMES)


def test_a_changed_file_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(cards, "WEIGHTS", tmp_path)
    (tmp_path / "probe").mkdir()
    (tmp_path / "probe" / "x").write_text("one")
    card = {"what": "", "steps": 1, "hours": 0.0, "sha256": cards.hashes(tmp_path / "probe")}
    (tmp_path / "probe" / "card.json").write_text(json.dumps(card))
    assert measured.verify(["probe"], 0) == []
    (tmp_path / "probe" / "x").write_text("two")
    assert measured.verify(["probe"], 0) == ["probe/x is not the file of the card"]
    with pytest.raises(KeyError, match="probe"):
        measured.verify(["prob"], 0)


def test_a_mini_worse_than_its_card_is_found(monkeypatch):
    answers = pd.DataFrame({"attribute": ["tempo"] * 400, "right": [0.0] * 300 + [1.0] * 100})
    monkeypatch.setattr(measured, "ask", lambda model, asked: answers)
    assert "tempo: measured 0.25" in measured.verify(["ace-step"], 8)[0]
    monkeypatch.setattr(measured, "ask", lambda model, asked: answers.assign(right=1.0))
    assert measured.verify(["ace-step"], 8) == []


def test_nothing_that_is_shipped_names_a_folder_of_some_machine():
    assert [path for path in cards.WEIGHTS.rglob("*.json") if "_name_or_path" in path.read_text()] == []


def test_all_that_is_shipped_is_small():
    assert sum(row["megabytes"] for row in cards.shipped()) <= 105
