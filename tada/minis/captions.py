"""Captions of synthetic music in the manner of MusicCaps: a small grammar over the concepts' words.

A caption mentions some of the attributes and promises those only. The rest of it (other instruments, recording,
place, use) is chance and says nothing about the clip. Its structure depends on the seed and on which attributes are
mentioned, not on their values: the same seed with another value gives the counterfactual caption.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np

from tada.errors import InputError, unknown
from tada.minis.attributes import CLASSES, Attributes


@dataclass(frozen=True)
class Caption:
    """A caption, and the attributes it mentions with their classes."""

    text: str
    mentioned: Mapping[str, str]


TABLES: Mapping[str, Any] = json.loads(files("tada.minis").joinpath("words.json").read_text(encoding="utf-8"))
"""All words and templates, by table: of ``tags``, short forms (``bare``) and ``sentences`` some for each attribute."""

ROLES: Mapping[str, Mapping[str, Mapping[str, Sequence[str]]]] = TABLES["roles"]
"""Attribute -> role in a sentence ("" is the usual one) -> class -> words, the likelier ones more than once."""

FILLER: Mapping[str, Sequence[str]] = TABLES["filler"]
"""Kind of filler -> phrases that promise nothing about a clip, which may have slots of other kinds; in openings, [head]
and [items] are filled last."""

ITEMS: Mapping[str, Sequence[str]] = TABLES["items"]
"""Attribute -> what a song may be said to have."""

QUALITIES: Mapping[str, Sequence[str]] = TABLES["qualities"]
"""Attribute -> adjectives before the noun, in this order."""


def caption(
    attributes: Attributes, seed: int, mention: Iterable[str] | None = None, form: str | None = None
) -> Caption:
    """Write a caption of a clip.

    Args:
        attributes: of the clip; open fields cannot be mentioned, nor can the absence of percussion.
        seed: of all choices.
        mention: the attributes to mention; None draws them: one, several, all or none.
        form: ``"bare"``, ``"tags"``, ``"phrase"`` or ``"sentences"``; None draws it.

    Raises:
        ValueError: an unknown form, or an attribute that does not exist or cannot be mentioned.
    """
    rng = np.random.default_rng([seed, 77])
    labels = mentionable(attributes.labels())
    names = _chosen(labels, mention, rng)
    if form is not None and form not in FORMS:
        raise InputError(unknown("form", form, FORMS))
    shape = form or list(FORMS)[SHARES.searchsorted(rng.random(), side="right")]
    said = {name: labels[name] for name in CLASSES if name in names}
    text = _finish(FORMS[shape](_Speaker(said, rng)), rng)
    return Caption(text, said)


def mentionable(labels: Mapping[str, str]) -> dict[str, str]:
    """Keep of attributes with their classes what a caption can mention: all but the absence of percussion."""
    return {name: value for name, value in labels.items() if (name, value) != ("percussion", "none")}


def _chosen(labels: Mapping[str, str], mention: Iterable[str] | None, rng: np.random.Generator) -> set[str]:
    """Names of the attributes to mention."""
    kind, coins, one = rng.random(), rng.random(len(CLASSES)), rng.integers(len(CLASSES))
    if mention is not None:
        for name in (names := set(mention)):
            if name not in labels:
                raise InputError(unknown("attribute to mention", name, labels))
        return names
    if kind < 0.35:
        return {list(CLASSES)[one]} & set(labels)
    return {
        name for name, coin in zip(CLASSES, coins, strict=True) if name in labels and coin < (0.5 if kind < 0.9 else 1)
    }


class _Speaker:
    """Fills templates with the words of the attributes to mention, and with filler."""

    def __init__(self, labels: Mapping[str, str], rng: np.random.Generator) -> None:
        self.labels, self.rng = labels, rng

    def say(self, template: str) -> str:
        """The template with its slots filled, from the left."""
        return re.sub(r"\{([^}]+)\}", lambda slot: self._word(slot[1]), template)

    def one(self, kind: str, name: str) -> str:
        """A template of a table for the attribute, filled; there are others for when nobody sings."""
        silent = name == "voice" and self.labels[name] == "none"
        template = _pick(TABLES["silent_templates"][kind] if silent else TABLES[kind][name], self.rng.random())
        apart = np.random.default_rng(self.rng.bit_generator.random_raw())  # however many words it takes, others stay
        return _Speaker(self.labels, apart).say(template)

    def some(self, name: str) -> str:
        """Filler of a kind, filled."""
        return self.say(_pick(FILLER[name], self.rng.random()))

    def _word(self, slot: str) -> str:
        attribute, _, role = slot.partition(" ")
        if attribute in ROLES:
            return _pick(ROLES[attribute][role][self.labels[attribute]], self.rng.random())
        return self.some(slot)


def _pick(options: Sequence[str], place: float) -> str:
    return options[int(place * len(options))]


def _bare(speaker: _Speaker) -> str:
    """A few words on one attribute, the others as tags behind."""
    names = list(speaker.labels)
    if not names:
        return speaker.some("base")
    first = names[speaker.rng.integers(len(names))]
    rest = [speaker.one("tags", name) for name in names if name != first]
    return ", ".join([speaker.one("bare", first), *rest])


def _tags(speaker: _Speaker) -> str:
    """Comma-separated words in any order, with some that say nothing."""
    tags = [speaker.one("tags", name) for name in speaker.labels]
    tags += [speaker.some("tag") for _ in range(speaker.rng.integers(1, 5))]
    return ", ".join(_shuffled(tags, speaker.rng))


def _phrase(speaker: _Speaker) -> str:
    """One noun phrase: adjectives, noun, what it has, and a mood or two after commas."""
    head = _head(speaker, [name for name in QUALITIES if name in speaker.labels])
    items = _items(speaker, [name for name in ITEMS if name in speaker.labels])
    trail = [speaker.some("trail") for _ in range(speaker.rng.integers(0, 3))]
    article = "a(n) " if speaker.rng.random() < 0.5 else ""
    return ", ".join([article + head + (f" with {items}" if items else ""), *trail])


def _sentences(speaker: _Speaker) -> str:
    """An opening sentence, one for each attribute it left out, and others between them."""
    rng = speaker.rng
    early = {name for name in speaker.labels if rng.random() < 0.5}
    frame = speaker.some("opening")
    early -= set() if "[items]" in frame else set(ITEMS)
    early -= set() if "[head]" in frame else set(QUALITIES)
    opening = frame.replace("[head]", _head(speaker, [name for name in QUALITIES if name in early]))
    opening = opening.replace("[items]", _items(speaker, [name for name in ITEMS if name in early], at_least=1))
    late = [name for name in speaker.labels if name not in early]
    rest = [speaker.one("sentences", name) for name in late]
    rest += [speaker.some("sentence") for _ in range(rng.integers(0, 4))]
    return ". ".join([opening, *_shuffled(rest, rng)])


FORMS: Mapping[str, Callable[[_Speaker], str]] = {
    "bare": _bare,
    "tags": _tags,
    "phrase": _phrase,
    "sentences": _sentences,
}
"""Form -> how it is made."""

SHARES = np.cumsum((0.25, 0.1, 0.2, 0.45))
"""Of the forms in what is drawn, added up."""


def _head(speaker: _Speaker, names: Sequence[str]) -> str:
    """Adjectives and a noun."""
    adjectives = [speaker.one("qualities", name) for name in _shuffled(names, speaker.rng)]
    if speaker.rng.random() < 0.3:
        adjectives.insert(0, speaker.some("adjective"))
    return " ".join([*adjectives, speaker.some("noun")])


def _items(speaker: _Speaker, names: Sequence[str], at_least: int = 0) -> str:
    """What the song has, as a list in any order."""
    items = [speaker.one("items", name) for name in names]
    extra = max(at_least - len(items), int(speaker.rng.integers(0, 3)))
    items += [
        speaker.some("item") if speaker.rng.random() < 0.85 else _pick(TABLES["foreign_items"], speaker.rng.random())
        for _ in range(extra)
    ]
    items = _shuffled(items, speaker.rng)
    return " and ".join([", ".join(items[:-1]), items[-1]]) if len(items) > 1 else "".join(items)


def _shuffled(values: Sequence[str], rng: np.random.Generator) -> list[str]:
    return [values[place] for place in rng.permutation(len(values))]


def _finish(text: str, rng: np.random.Generator) -> str:
    """Articles before vowels, capitals where sentences begin, a full stop at the end; short forms often without."""
    text = re.sub(r"\ba\(n\) (?=(\w))", lambda m: "an " if m[1].lower() in "aeiou" else "a ", text)
    plain = rng.random()
    if ". " not in text and len(text.split()) < 12 and plain < 0.6:
        return text
    return re.sub(r"(^|\. )(\w)", lambda m: m[1] + m[2].upper(), text) + "."
