"""Captions say what they promise, in grammatical English."""

from __future__ import annotations

import re
from functools import lru_cache

import numpy as np
import pytest

from tada.concepts import AUTHORS
from tada.minis.attributes import CLASSES, Attributes, draw, of_labels
from tada.minis.captions import FILLER, FORMS, ROLES, Caption, caption
from tada.pairs.swaps import word_pattern
from tests.minis.spans import find

FOREIGN = {"metal", "opera", "saxophone", "cello", "bongos", "harmonica", "trombone", "xylophone"}


def concepts(text: str) -> set[str]:
    """The concepts whose keywords, by the paper's authors, a text has, as whole words."""
    return {one.name for one in AUTHORS.values() if word_pattern(one.keywords).search(text)}


@lru_cache
def some() -> tuple[tuple[Attributes, int, Caption], ...]:
    return tuple((draw(seed), seed, caption(draw(seed), seed)) for seed in range(3000))


def texts() -> list[str]:
    return [one.text for _, _, one in some()]


def test_captions_are_many_and_the_same_again() -> None:
    assert all(caption(attributes, seed) == one for attributes, seed, one in some()[:200])
    assert len({one.text for _, _, one in some()}) > 2700
    assert len({len(one.mentioned) for _, _, one in some()}) >= 6


def test_articles_fit_and_nothing_is_left_of_the_grammar() -> None:
    for text in texts():
        assert not re.search(r"\ba (?=[aeiou])", text, re.IGNORECASE), text
        assert not re.search(r"\ban (?![aeiou])", text, re.IGNORECASE), text
        assert not re.search(r"\b(an?) (an?)\b|  |[{}\[\]]|\(n\)| [,.]|,,|\.\.|,\.|, *$", text, re.IGNORECASE), text
        assert text == text.strip()
        assert not re.search(r"\b(\w+) \1\b", text), text


def test_sentences_begin_with_capitals_and_end() -> None:
    for text in texts():
        if text.endswith("."):
            assert all(part[0].isupper() or not part[0].isalpha() for part in text.split(". ")), text
        else:
            assert len(text.split()) < 14


def test_captions_promise_what_they_mention_and_nothing_else() -> None:
    for attributes, _, one in some():
        labels = attributes.labels()
        assert all(labels[name] == value for name, value in one.mentioned.items())
        said = {(span.attribute, span.value) for span in find(one.text) if span.attribute != "foreign"}
        assert said == set(one.mentioned.items()), one.text


def test_keywords_stand_for_what_is_mentioned() -> None:
    for _, _, one in some():
        assert concepts(one.text) - FOREIGN <= set(one.mentioned.values()), one.text


def test_every_keyword_that_can_be_played_occurs() -> None:
    seen = {one.text[span.start : span.end].lower() for _, _, one in some() for span in find(one.text)}
    wanted = {key for concept, one in AUTHORS.items() if concept not in FOREIGN for key in one.keywords}
    assert not wanted - seen


def test_filler_holds_no_concept() -> None:
    for kind, phrases in FILLER.items():
        for phrase in phrases:
            assert not find(phrase), f"{kind}: {phrase}"


def test_a_counterfactual_differs_in_the_concept_words_alone() -> None:
    for seed in range(300):
        one, other = draw(seed), draw(seed + 5000)
        mention = [n for n in CLASSES if "none" not in (one.labels()[n], other.labels()[n])]
        pair = [caption(attributes, seed, mention) for attributes in (one, other)]
        skeletons = [_without_spans(each) for each in pair]
        assert skeletons[0] == skeletons[1]
        assert [span.attribute for span in find(pair[0].text)] == [span.attribute for span in find(pair[1].text)]


def _without_spans(one: Caption) -> str:
    text = one.text
    for span in reversed(find(one.text)):
        text = text[: span.start] + "*" + text[span.end :]
    return re.sub(r"\ban? (?=\*)", "a ", text, flags=re.IGNORECASE)


def test_mention_and_form_are_obeyed() -> None:
    wanted = of_labels({"tempo": "fast", "mood": "sad", "voice": "male"})
    for form in FORMS:
        for seed in range(20):
            assert set(caption(wanted, seed, ["tempo", "voice"], form).mentioned) == {"tempo", "voice"}
            silent = find(caption(wanted, seed, [], form).text)
            assert not silent or silent[0].attribute == "foreign"


def test_what_cannot_be_mentioned_is_refused() -> None:
    with pytest.raises(ValueError, match="percussion"):
        caption(Attributes(mood="sad"), 0, ["percussion"])
    with pytest.raises(ValueError, match="tempo"):
        caption(Attributes(mood="sad", tempo=70), 0, ["tmepo"])
    with pytest.raises(ValueError, match="sentences"):
        caption(Attributes(mood="sad"), 0, form="sentence")


PAPER = {
    "voice": "a song with female vocals; a song with male vocals; a song, with female vocal; "
    "female, woman, vocal singing; background music with male vocals; this is a music of a female vocal singing; "
    "female singer; male vocal singing. a melody. man voice",
    "tempo": "fast song; slow song; a slow song; a fast-paced track; a fast track; slow song, a melody; fast melody",
    "mood": "a happy song; a sad song; a cheerful track; happy song, a melody; sad song, a tune; a happy melody",
    "instrument": "a piano song; a song with piano; a melody, with violin; a song with violin; track, piano; "
    "a tune with piano",
    "percussion": "a song with drums; a melody with drums; a track, with drums",
    "genre": "jazz song, a song; a jazz song; reggae music; a techno track",
}
"""Templates and queries of the paper and its code, filled."""


@pytest.mark.parametrize("attribute", PAPER)
def test_the_paper_s_own_prompts_are_in_the_language(attribute: str) -> None:
    classes = [one for one in CLASSES[attribute] if one != "none"]
    made = {
        caption(of_labels({attribute: value}), seed, [attribute], "bare").text.lower().rstrip(".")
        for value in classes
        for seed in range(6000)
    }
    assert not set(PAPER[attribute].split("; ")) - made


def test_every_class_has_words_in_every_role() -> None:
    for attribute, roles in ROLES.items():
        for role, classes in roles.items():
            assert set(classes) == set(CLASSES[attribute]) - {"none"}, (attribute, role)


def test_single_attributes_are_asked_for_often_enough() -> None:
    alone = np.mean([len(one.mentioned) == 1 for _, _, one in some()])
    assert 0.3 < alone < 0.6
