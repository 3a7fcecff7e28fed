"""The words of the concepts: which attribute a word promises, and the word that says nothing in its place.

The keywords are those of the paper's authors; a few more are the words that their swaps put in. Words of concepts
that the renderer cannot play (metal, opera, saxophone, ...) are known too, as ``foreign``: captions may hold them,
clips do not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Any, NamedTuple


def _read(value: Any) -> Any:
    """Lists as tuples, all the way down."""
    if isinstance(value, dict):
        return {name: _read(part) for name, part in value.items()}
    return tuple(value) if isinstance(value, list) else value


TABLES: Mapping[str, Any] = _read(json.loads(files("tada.minis").joinpath("words.json").read_text(encoding="utf-8")))
"""All words and templates of captions, by table."""

ROLES: Mapping[str, Mapping[str, Mapping[str, tuple[str, ...]]]] = TABLES["roles"]
"""Attribute -> role in a sentence ("" is the usual one) -> class -> words, the likelier ones more than once."""

NEUTRAL: Mapping[str, Mapping[str, str]] = TABLES["neutral"]
"""Attribute -> role -> the word that takes a concept word's place, of the same kind."""

SILENT: Mapping[str, str] = TABLES["silent"]
"""Ways to say that nobody sings, and what says nothing instead."""

FOREIGN: Mapping[str, tuple[str, ...]] = TABLES["foreign"]
"""Neutral word -> words of concepts that no render has."""


class Word(NamedTuple):
    """What a word promises: attribute, class (for ``foreign`` the word itself), and the neutral word of its kind."""

    attribute: str
    value: str
    neutral: str


class Span(NamedTuple):
    """A concept word in a text: ``text[start:end]``, and what it promises."""

    start: int
    end: int
    attribute: str
    value: str


@lru_cache
def words() -> Mapping[str, Word]:
    """List every concept word, in lower case, with what it promises."""
    table = {word: Word("voice", "none", neutral) for word, neutral in SILENT.items()}
    for neutral, group in FOREIGN.items():
        table |= {word: Word("foreign", word, neutral) for word in group}
    for attribute, roles in ROLES.items():
        for role, classes in roles.items():
            for value, group in classes.items():
                for word in group:
                    table.setdefault(word.lower(), Word(attribute, value, NEUTRAL[attribute][role]))
    return table


def find(text: str) -> tuple[Span, ...]:
    """Find the concept words of a text: whole words in any case, the longest where they overlap."""
    hits = (match for match in _pattern().finditer(text))
    return tuple(Span(*hit.span("word"), *words()[hit["word"].lower()][:2]) for hit in hits)


def neutralise(text: str) -> str:
    """Put neutral words in place of all concept words of a text; articles and capitals are put right.

    >>> neutralise("An energetic song with a piano")
    'A steady song with an instrument'
    """
    return _pattern().sub(_neutral, text)


def _neutral(match: re.Match[str]) -> str:
    new = words()[match["word"].lower()].neutral
    if match["article"]:
        new = ("an" if new[0] in "aeiou" else "a") + match["gap"] + new
    return new[0].upper() + new[1:] if match[0][0].isupper() and _opens(match) else new


def _opens(match: re.Match[str]) -> bool:
    """Whether a sentence begins here."""
    before = match.string[: match.start()].rstrip()
    return not before or before[-1] in ".!?"


@lru_cache
def _pattern() -> re.Pattern[str]:
    longest_first = sorted(words(), key=len, reverse=True)
    either = "|".join(map(re.escape, longest_first))
    return re.compile(rf"\b(?:(?P<article>an?)(?P<gap>\s+))?(?P<word>{either})\b", re.IGNORECASE)
