"""The prompts that vectors are fitted from: fifty pairs a concept that differ in the concept alone."""

from __future__ import annotations

import pytest

from tada.concepts import steered as prompts
from tada.minis.lexicon import find


@pytest.mark.parametrize("vocabulary", ["public", "mini"])
@pytest.mark.parametrize("concept", list(prompts.CONCEPTS))
def test_fifty_pairs_that_share_their_base(concept, vocabulary):
    pairs = prompts.pairs(concept, vocabulary)
    assert len(set(pairs.positive)) == len(set(pairs.negative)) == 50
    known = prompts.get(concept)
    templates = known.wordings.get("paper") or known.wordings["revised"]
    for texts, template in zip((pairs.positive, pairs.negative), templates, strict=True):
        before, after = template.split("{base}")
        assert all(text.startswith(before) and text.endswith(after) for text in texts)
    bases = [
        {text.removeprefix(t.split("{base}")[0]).removesuffix(t.split("{base}")[1]) for text in texts}
        for texts, t in zip((pairs.positive, pairs.negative), templates, strict=True)
    ]
    assert bases[0] == bases[1]


def test_the_templates_of_the_paper():
    assert prompts.pairs("piano").positive[0] == "a song with piano"
    assert prompts.pairs("piano").negative[0] == "a song"
    assert prompts.pairs("mood").positive[0] == "a happy song"
    assert prompts.pairs("tempo").negative[0] == "slow song"
    assert prompts.pairs("vocal gender").negative[0] == "a song with male vocals"
    assert prompts.pairs("tempo", wording="revised").positive[0] == "fast song, song"


def test_words_the_paper_lists_are_among_the_bases():
    bases = prompts.pairs("piano").negative
    for base in ("a jazz piece", "electronic music", "hip hop music", "a ballad", "a love song", "energetic music"):
        assert base in bases
    assert not [base for base in prompts.pairs("tempo").positive if "slow" in base or "calm" in base]


def test_lyrics_follow_the_concept():
    assert prompts.pairs("tempo").lyrics == "[inst]"
    assert prompts.pairs("vocal gender").lyrics == ""
    assert prompts.pairs("tempo", "mini").lyrics is None


@pytest.mark.parametrize("concept", prompts.TABLE_1)
def test_mini_bases_promise_nothing_else(concept):
    known = prompts.get(concept)
    for text in prompts.pairs(concept, "mini").positive:
        assert {span.attribute for span in find(text)} == {known.attribute}, text


@pytest.mark.parametrize("concept", prompts.TABLE_1)
def test_neutral_prompts_are_silent_about_the_concept_and_do_not_repeat(concept):
    known = prompts.get(concept)
    first, second = prompts.neutral(concept, 5, "mini"), prompts.neutral(concept, 5, "mini", first=5)
    assert len(set(first + second)) == 10
    assert not [text for text in first + second if known.attribute in {span.attribute for span in find(text)}]


def test_neutral_prompts_of_the_public_vocabulary_are_the_paper_s_hundred():
    texts = prompts.neutral("tempo", 100)
    assert len(set(texts)) == 100
    assert texts[0].startswith("Upbeat indie pop track with jangly guitars and handclaps")
    assert texts[30].startswith("90s grunge with fuzzy guitars") and texts[-1].startswith("Cinematic ambient")
    assert prompts.neutral("vocal gender", 1) == [texts[0] + ", with vocal"]
    assert prompts.neutral("tempo", 2, first=5) == texts[5:7] == prompts.neutral(None, 2, first=5)
    with pytest.raises(ValueError, match="100 prompts"):
        prompts.neutral("tempo", 2, first=99)
    with pytest.raises(ValueError, match="one or more"):
        prompts.neutral("tempo", 0)
    with pytest.raises(KeyError, match="'mini'"):
        prompts.neutral("tempo", 1, "minis")
    with pytest.raises(KeyError, match="did you mean"):
        prompts.neutral("tempos", 1, "mini")


@pytest.mark.parametrize("concept", [*prompts.TABLE_1, "drums"])
def test_a_hundred_mini_prompts_say_nothing_of_the_concept_and_much_of_others(concept):
    attribute = prompts.get(concept).attribute
    texts = prompts.neutral(concept, 100, "mini")
    assert len(set(texts)) == 100 and texts == prompts.neutral(concept, 100, "mini")
    assert texts[:7] == prompts.neutral(concept, 7, "mini") and texts[4:7] == prompts.neutral(concept, 3, "mini", 4)
    said = [{span.attribute for span in find(text)} for text in texts]
    assert not any(attribute in names for names in said)
    others = {"genre", "tempo", "percussion"} - {attribute}
    assert all(sum(other in names for names in said) > 10 for other in others)


def test_fewer_pairs_are_spread_over_the_list():
    every, some = prompts.pairs("mood").positive, prompts.pairs("mood", count=5).positive
    assert some == every[::10]


def test_articles():
    positive = prompts.pairs("vocal gender").positive
    assert any(text.startswith("an upbeat song") for text in positive)
    assert any(text.startswith("an R&B song") for text in positive)
    assert any(text.startswith("music with") for text in positive)


def test_bad_input():
    with pytest.raises(KeyError, match="did you mean 'tempo'"):
        prompts.pairs("temp")
    with pytest.raises(KeyError, match="vocabulary"):
        prompts.pairs("tempo", "small")
    with pytest.raises(KeyError, match="wording"):
        prompts.pairs("tempo", wording="papr")
    with pytest.raises(ValueError, match="count=51"):
        prompts.pairs("tempo", count=51)
