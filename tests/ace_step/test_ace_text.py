"""ACE-Step's text: UMT5 states, plain and weakened, and the ids of lyrics."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from parity import assert_parity, filled, given, meta
from tada.models.ace_step import text as tokenizer
from tada.models.ace_step.text import text_states

NAME = "parity_a_text"
SONGS = [song for song in meta("parity_a_lyrics")["songs"] if set(song["languages_used"]) <= {"en"}]
LINES = [line for line in meta("parity_a_lyrics")["lines"] if line["lang"] == "en"]
VOCABULARY = os.environ.get(tokenizer.VARIABLE)
exact = pytest.mark.skipif(not VOCABULARY, reason=f"{tokenizer.VARIABLE} names no lyric vocabulary")


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


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A small file of the vocabulary's kind: characters, the special tokens, and pieces to tell words apart."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

    special = {"[STOP]": 0, "[UNK]": 1, "[SPACE]": 2, "[en]": 259, "[START]": 261, "[verse]": 6683, "[inst]": 6688}
    pieces = {c: 10 + i for i, c in enumerate("abcdefghijklmnopqrstuvwxyz'-,")} | {"th": 50, "the": 51}
    vocabulary = Tokenizer(models.BPE(special | pieces, [("t", "h"), ("th", "e")], unk_token="[UNK]"))
    vocabulary.pre_tokenizer = pre_tokenizers.Whitespace()
    vocabulary.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    vocabulary.save(str(tmp_path / "vocabulary.json"))
    monkeypatch.setenv(tokenizer.VARIABLE, str(tmp_path / "vocabulary.json"))
    return vocabulary


def test_no_lyrics_need_no_vocabulary(monkeypatch):
    monkeypatch.setattr(tokenizer, "_fetch", lambda: pytest.fail("fetched"))
    monkeypatch.delenv(tokenizer.VARIABLE, raising=False)
    assert tokenizer.song_ids("") == ([0], [False])


def test_structure_of_a_song(stand_in):
    ids, mask = tokenizer.song_ids("[verse]\n The  cab \n\nab")
    assert ids == [261, 259, 6683, 2, 259, 51, 2, 12, 10, 11, 2, 2, 259, 10, 11, 2]
    assert mask == [True] * len(ids)
    assert tokenizer.song_ids("[Inst]")[0] == [261, 259, 6688, 2]


def test_bracketed_text_that_is_no_tag_is_unknown(stand_in):
    assert tokenizer.song_ids("[ab]")[0] == [261, 259, 1, 10, 11, 1, 2]


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ('He said "Hello" to Dr. Who', "he said hello to doctor who"),
        ("UPPER case  double", "upper case double"),
        ("tabs\tand - done", "tabs and - done"),
        ("you & me @ home", "you and me at home"),
        ("50° or 3%", None),
        ("Col. Mustard, Lt. Dan, street. Mrs. X", "colonel mustard, lieutenant dan, street. misess x"),
    ],
)
def test_cleaning(text, cleaned):
    assert tokenizer.clean(text) == (cleaned or "fifty degree or three percent")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("in 1999", "in one thousand, nine hundred and ninety-nine"),
        ("$20", "twenty dollars"),
        ("£1.50", "one pound sterling, fifty pence"),
        ("€3", "three euro"),
        ("1,234", "one thousand, two hundred and thirty-four"),
        ("3.5 nights", "three point five nights"),
        ("21st and 2nd", "twenty-first and second"),
        ("none", "none"),
    ],
)
def test_numbers_in_words(text, words):
    assert tokenizer.numbers_in_words(text) == words


def test_other_languages_are_an_error(stand_in):
    with pytest.raises(ValueError, match="你好.*other scripts"):
        tokenizer.song_ids("hello\n你好")


def test_a_missing_vocabulary_says_what_to_do(monkeypatch, tmp_path):
    import pooch

    monkeypatch.setenv(tokenizer.VARIABLE, str(tmp_path / "nothing.json"))
    with pytest.raises(FileNotFoundError, match="nothing.json"):
        tokenizer.song_ids("[inst]")

    def offline(*args, **keywords):
        raise OSError("no network")

    monkeypatch.delenv(tokenizer.VARIABLE)
    monkeypatch.setattr(pooch, "retrieve", offline)
    with pytest.raises(OSError, match=f"set {tokenizer.VARIABLE}"):
        tokenizer.song_ids("[inst]")


@exact
@pytest.mark.parametrize("song", SONGS, ids=lambda song: song["text"][:12])
def test_songs_have_exactly_upstreams_ids(song):
    ids, mask = tokenizer.song_ids(song["text"])
    assert (ids, [int(m) for m in mask]) == (song["ids"], song["mask"])


@exact
@pytest.mark.parametrize("line", LINES, ids=lambda line: line["text"][:12])
def test_lines_have_exactly_upstreams_ids(line):
    assert tokenizer.line_ids(line["text"]) == line["ids"]


@exact
def test_the_vocabulary_is_the_pinned_file():
    import hashlib

    assert hashlib.sha256(Path(VOCABULARY).read_bytes()).hexdigest() == tokenizer.SHA256
