"""The prompts that vectors are fitted from: fifty pairs a concept that differ in the concept alone."""

from __future__ import annotations

import pytest

import tada
from tada.concepts import steered as prompts
from tests.minis.spans import find


def attributes(text: str) -> set[str]:
    return {span.attribute for span in find(text)}


@pytest.mark.parametrize("vocabulary", ["public", "mini"])
@pytest.mark.parametrize("concept", list(prompts.CONCEPTS))
def test_fifty_pairs_that_share_their_base(concept, vocabulary):
    pairs = prompts.pairs(concept, vocabulary)
    templates = pairs.concept.templates.get("paper") or pairs.concept.templates["revised"]
    bases = []
    for texts, template in zip((pairs.positive, pairs.negative), templates, strict=True):
        before, after = template.split("{base}")
        assert len(set(texts)) == 50
        assert all(text.startswith(before) and text.endswith(after) for text in texts)
        bases.append([text.removeprefix(before).removesuffix(after) for text in texts])
    assert bases[0] == bases[1]


def test_the_templates_and_bases_of_the_paper():
    piano, mood, tempo = (prompts.pairs(name) for name in ("piano", "mood", "tempo"))
    assert (piano.positive[0], piano.negative[0]) == ("a song with piano", "a song")
    assert (mood.positive[0], tempo.negative[0]) == ("a happy song", "slow song")
    assert prompts.pairs("vocal gender").negative[0] == "a song with male vocals"
    assert prompts.pairs("tempo", wording="revised").positive[0] == "fast song, song"
    assert {"a jazz piece", "electronic music", "a ballad", "energetic music"} <= set(piano.negative)
    assert not [text for text in tempo.positive if "slow" in text or "calm" in text]
    assert prompts.pairs("mood", count=5).positive == mood.positive[::10]


def test_articles():
    positive = prompts.pairs("vocal gender").positive
    for start in ("an upbeat song", "an R&B song", "music with"):
        assert any(text.startswith(start) for text in positive)


def test_lyrics_follow_the_concept():
    assert prompts.pairs("tempo").lyrics == "[inst]"
    assert prompts.pairs("vocal gender").lyrics == ""
    assert prompts.pairs("tempo", "mini").lyrics is None


@pytest.mark.parametrize("concept", prompts.TABLE_1)
def test_mini_bases_promise_nothing_else(concept):
    for text in prompts.pairs(concept, "mini").positive:
        assert attributes(text) == {prompts.get(concept).attribute}, text


def test_neutral_prompts_of_the_public_vocabulary_are_the_paper_s():
    texts = prompts.neutral("tempo", 100)
    assert len(set(texts)) == 100
    assert texts[0].startswith("Upbeat indie pop track with jangly guitars and handclaps")
    assert texts[30].startswith("90s grunge with fuzzy guitars") and texts[-1].startswith("Cinematic ambient")
    assert prompts.neutral("vocal gender", 1) == [texts[0] + ", with vocal"]
    revised = {"piano": ", with instrument", "vocal gender": ", with clean vocal", "guitar": ", with a guitar"}
    for concept, end in revised.items():
        assert prompts.neutral(concept, 1, wording="revised") == [texts[0] + end]
    assert prompts.neutral("mood", 1, wording="revised") == ["a song, " + texts[0]]
    assert prompts.neutral("tempo", 2, first=5) == texts[5:7] == prompts.neutral(None, 2, first=5)


@pytest.mark.parametrize("concept", [*prompts.TABLE_1, "drums"])
def test_mini_prompts_name_everything_but_the_concept(concept):
    attribute = prompts.get(concept).attribute
    texts = prompts.neutral(concept, 100, "mini")
    assert len(set(texts)) == 100
    assert texts[:7] == prompts.neutral(concept, 7, "mini") and texts[4:7] == prompts.neutral(concept, 3, "mini", 4)
    model = tada.load("audioldm2", "mini")
    assert all(model.heard(text) == text for text in texts), "read to the end"
    said = [attributes(text) for text in texts]
    assert not any(attribute in names for names in said)
    assert all(sum(other in names for names in said) > 10 for other in {"genre", "tempo", "percussion"} - {attribute})


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: prompts.pairs("temp"), KeyError, "did you mean 'tempo'"),
        (lambda: prompts.pairs("tempo", "small"), KeyError, "vocabulary"),
        (lambda: prompts.pairs("tempo", wording="papr"), KeyError, "wording"),
        (lambda: prompts.pairs("tempo", count=51), ValueError, "count=51"),
        (lambda: prompts.neutral("tempo", 2, first=99), ValueError, "100 prompts"),
        (lambda: prompts.neutral("tempo", 0), ValueError, "one or more"),
        (lambda: prompts.neutral("tempo", 1, "minis"), KeyError, "'mini'"),
        (lambda: prompts.neutral("tempos", 1, "mini"), KeyError, "did you mean"),
    ],
)
def test_bad_input_is_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
