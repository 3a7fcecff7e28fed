"""The tags of musicnn: clips by themselves, what the shipped networks hear, and how their weights are read."""

from __future__ import annotations

import struct

import pytest
import torch

from tada.metrics import musicnn
from tada.minis import cards
from tada.minis.attributes import draw
from training.material import render
from training.musicnn import entries, parse, varint


@pytest.fixture(scope="module")
def clips() -> torch.Tensor:
    drawn = {seed: draw(seed) for seed in range(700_000_000, 700_000_120)}
    seeds = [seed for genre in ("techno", "jazz") for seed in [s for s in drawn if drawn[s].genre == genre][:12]]
    return render(seeds)


def test_a_clip_is_tagged_by_itself_whatever_it_lies_beside(clips):
    tagger = musicnn.load("MTT")
    assert torch.equal(tagger.probabilities(clips[:2], 16_000)[1:], tagger.probabilities(clips[1:2], 16_000))
    assert tagger.probabilities(torch.zeros(1, 8_000), 16_000).isfinite().all()


def test_windows_follow_each_other_and_short_spectra_are_repeated():
    spectra = torch.arange(400.0)[None, :, None].expand(1, 400, 96)
    assert musicnn.windows(spectra)[0, :, 0, 0].tolist() == [0, 187]
    assert musicnn.windows(spectra[:, :100])[0, 0, :, 0].tolist() == [*range(100), *range(87)]


def test_the_shipped_networks_hear_techno_in_renders(clips):
    tagger = musicnn.load("MTT")
    chances = tagger.probabilities(clips, 16_000)[:, tagger.tags.index("techno")]
    assert (chances[:12, None] > chances[12:]).float().mean() > 0.7
    with pytest.raises(KeyError, match="MSD"):
        musicnn.load("MSDD")


def test_the_port_gives_the_published_tags_by_its_card():
    card = cards.read("musicnn")
    examples = card["published example"]
    assert examples["TRWJAZW128F42760DD_test.mp3"] == ["guitar", "piano", "fast"]
    assert max(card["largest change of a tag by 16 bits"].values()) < 0.01
    assert sum(file.stat().st_size for file in musicnn.FOLDER.iterdir()) < 12e6
    assert "Permission to use" in (musicnn.FOLDER / "LICENSE").read_text()


def test_keys_of_an_index_are_put_together_from_what_they_share():
    block = bytes([0, 3, 1]) + b"abcX" + bytes([2, 2, 1]) + b"deY" + struct.pack("<2I", 0, 1)
    assert list(entries(block + b"\0", 0, len(block))) == [(b"abc", b"X"), (b"abde", b"Y")]
    with pytest.raises(ValueError, match="compressed"):
        list(entries(block + b"\1", 0, len(block)))
    assert varint(bytes([0xAC, 0x02]), 0) == (300, 2)
    assert parse(bytes([8, 5, 18, 2]) + b"hi" + bytes([53, 1, 2, 3, 4])) == {1: [5], 2: [b"hi"], 6: [b"\1\2\3\4"]}
