"""ACE-Step's text: UMT5 states, plain and weakened, and the ids of lyrics."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from parity import assert_parity, filled, given, meta
from tada.io import sha256
from tada.models.ace_step import text
from tada.models.ace_step.text import text_states

NAME = "parity_a_text"
SONGS = [song for song in meta("parity_a_lyrics")["songs"] if set(song["languages_used"]) <= {"en"}]
LINES = [line for line in meta("parity_a_lyrics")["lines"] if line["lang"] == "en"]
VOCABULARY = os.environ.get(text.VARIABLE)
exact = pytest.mark.skipif(not VOCABULARY, reason=f"{text.VARIABLE} names no lyric vocabulary")


@pytest.fixture(scope="module")
def encoder():
    from transformers import UMT5Config, UMT5EncoderModel

    return filled(UMT5EncoderModel(UMT5Config(**meta(NAME)["config"])))


def test_text_parity(encoder):
    ids, mask = given(NAME, "input_ids"), given(NAME, "attention_mask").bool()
    assert_parity(text_states(encoder, ids, mask), NAME, "states", 1e-4)
    assert_parity(text_states(encoder, ids, mask, range(*meta(NAME)["erg_tag"]["layers"])), NAME, "weakened", 1e-4)
    assert_parity(text_states(encoder, ids, mask), NAME, "states", 1e-4)
    assert not any(module._forward_hooks for module in encoder.modules())


def test_a_prompt_alone_is_the_prompt_in_a_padded_batch(encoder):
    ids = torch.tensor([[5, 9, 11, 1, 0, 0, 0], [7, 8, 3, 20, 31, 6, 1]])
    together = text_states(encoder, ids, ids != 0)
    alone = text_states(encoder, ids[:1, :4], ids[:1, :4] != 0)
    torch.testing.assert_close(alone[0], together[0, :4], atol=1e-5, rtol=0)


# ---- lyrics


def test_no_lyrics_need_no_vocabulary(monkeypatch):
    monkeypatch.setattr(text, "_fetch", lambda: pytest.fail("fetched"))
    monkeypatch.delenv(text.VARIABLE, raising=False)
    assert text.song_ids("") == ([0], [False])


def test_structure_of_a_song(vocabulary):
    ids, mask = text.song_ids("[verse]\n The  cab \n\nab")
    assert ids == [261, 259, 6683, 2, 259, 51, 2, 12, 10, 11, 2, 2, 259, 10, 11, 2]
    assert mask == [True] * len(ids)
    assert text.song_ids("[Inst]")[0] == [261, 259, 6688, 2]
    assert text.song_ids("[ab]")[0] == [261, 259, 1, 10, 11, 1, 2], "no tag"


@pytest.mark.parametrize(
    ("said", "cleaned"),
    [
        ('He said "Hello" to Dr. Who', "he said hello to doctor who"),
        ("UPPER case  double", "upper case double"),
        ("tabs\tand - done", "tabs and - done"),
        ("you & me @ home", "you and me at home"),
        ("50° or 3%", "fifty degree or three percent"),
        ("in 1999", "in one thousand, nine hundred and ninety-nine"),
        ("$20", "twenty dollars"),
        ("£1.50", "one pound sterling, fifty pence"),
        ("€3", "three euro"),
        ("1,234", "one thousand, two hundred and thirty-four"),
        ("3.5 nights", "three point five nights"),
        ("21st and 2nd", "twenty-first and second"),
        ("Col. Mustard, Lt. Dan, street. Mrs. X", "colonel mustard, lieutenant dan, street. misess x"),
    ],
)
def test_cleaning(said, cleaned):
    assert text.clean(said) == cleaned


def test_other_languages_are_an_error(vocabulary):
    with pytest.raises(ValueError, match="你好.*other scripts"):
        text.song_ids("hello\n你好")


def test_a_missing_vocabulary_says_what_to_do(monkeypatch, tmp_path):
    import pooch

    monkeypatch.setenv(text.VARIABLE, str(tmp_path / "nothing.json"))
    with pytest.raises(FileNotFoundError, match="nothing.json"):
        text.song_ids("[inst]")

    def offline(*args, **keywords):
        raise OSError("no network")

    monkeypatch.delenv(text.VARIABLE)
    monkeypatch.setattr(pooch, "retrieve", offline)
    with pytest.raises(OSError, match=f"set {text.VARIABLE}"):
        text.song_ids("[inst]")


@exact
def test_ids_are_exactly_upstreams():
    for song in SONGS:
        ids, mask = text.song_ids(song["text"])
        assert (ids, [int(m) for m in mask]) == (song["ids"], song["mask"]), song["text"]
    for line in LINES:
        assert text.line_ids(line["text"]) == line["ids"], line["text"]
    assert sha256(Path(VOCABULARY)) == text.SHA256
