"""What is shipped is what the cards say, and what a mini is asked when its card is checked."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import torch

from tada.experiments import minis as measured
from tada.experiments import planted
from tada.minis import cards
from tada.minis.attributes import CLASSES
from tada.minis.lexicon import find
from tada.minis.render import render_batch


def test_questions_mention_one_attribute_and_ask_for_every_class():
    asked = measured.questions({"voice": 8, "instrument": 10})
    assert asked.groupby("attribute").size().to_dict() == {"instrument": 10, "voice": 8}
    assert set(asked["wanted"][asked["attribute"] == "instrument"]) == set(CLASSES["instrument"])
    for row in asked.itertuples():
        promised = {(span.attribute, span.value) for span in find(row.prompt) if span.attribute != "foreign"}
        assert promised == {(row.attribute, row.wanted)}
    assert asked["seed"].min() >= 2_000_000_000


def test_real_captions_have_exactly_one_of_the_words():
    texts = ["A sad tune.", "A sad, slow tune.", "Nothing.", "Slowly, a Fast one", "females"]
    asked = measured.select_captions(texts)
    assert asked[["word", "prompt"]].to_numpy().tolist() == [["fast", texts[3]], ["sad", texts[0]]]


def test_accuracy_is_one_for_renders_and_tempi_do_not_overlap():
    asked = measured.questions({"tempo": 16, "mood": 8})
    drawn = [measured.draw_with(row.attribute, row.wanted, row.seed) for row in asked.itertuples()]
    audio = torch.from_numpy(render_batch(drawn, asked["seed"].tolist()))
    found = measured.accuracy(asked, measured.hits(asked, audio))
    assert found["tempo"]["accuracy"] > 0.9 and found["mood"]["accuracy"] > 0.9
    tempo = measured.tempo(asked, audio)
    assert tempo["slow"] < 100 < tempo["fast"] and tempo["overlap"] < 0.2
    swapped = asked.assign(wanted=asked["wanted"].map({"slow": "fast", "fast": "slow", "happy": "sad", "sad": "happy"}))
    assert measured.accuracy(swapped, measured.hits(swapped, audio))["tempo"]["accuracy"] < 0.1
    assert measured.tempo(swapped, audio)["overlap"] == 1


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
    asked = pd.DataFrame({"attribute": ["tempo"] * 400, "wanted": "slow", "prompt": "", "seed": 0})
    monkeypatch.setattr(measured, "questions", lambda counts: asked)
    monkeypatch.setattr(measured, "answer", lambda model, asked: None)
    monkeypatch.setattr(measured, "hits", lambda asked, audio: pd.Series([False] * 300 + [True] * 100))
    assert "tempo: measured 0.25" in measured.verify(["ace-step"], 8)[0]
    monkeypatch.setattr(measured, "hits", lambda asked, audio: pd.Series([True] * 400))
    assert measured.verify(["ace-step"], 8) == []


def test_the_card_of_a_planted_mini_tells_of_its_sites():
    for name in ("ace-step", "stable-audio"):
        table, pairs = planted.card_results(name)
        assert pairs > 8 and {"concept", "precision", "recall"} <= set(table) and len(table)


def test_nothing_that_is_shipped_names_a_folder_of_some_machine():
    assert [path for path in cards.WEIGHTS.rglob("*.json") if "_name_or_path" in path.read_text()] == []


def test_all_that_is_shipped_is_small():
    assert sum(row["megabytes"] for row in cards.shipped() if not row["name"].endswith("-planted")) <= 48
