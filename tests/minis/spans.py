"""The concept words of captions, by which tests know what a text promises."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from tada.minis.captions import ROLES

SILENT = ("instrumental", "no voices", "no voice", "without vocals")
FOREIGN = (
    *("heavy metal", "metal", "heavy", "rock", "opera", "choir", "orchestra"),
    *("saxophone", "sax", "cello", "bongo", "harmonica", "harp", "trombone", "xylophone"),
    *("saxophones", "cellos", "bongos", "harmonicas", "harps", "trombones", "xylophones"),
)
"""Words of concepts that no render has."""


class Span(NamedTuple):
    """A concept word in a text: ``text[start:end]``, and what it promises (of ``foreign`` ones the word itself)."""

    start: int
    end: int
    attribute: str
    value: str


@lru_cache
def words() -> dict[str, tuple[str, str]]:
    """Every concept word, in lower case, with what it promises."""
    table = dict.fromkeys(SILENT, ("voice", "none")) | {word: ("foreign", word) for word in FOREIGN}
    for attribute, roles in ROLES.items():
        for classes in roles.values():
            for value, group in classes.items():
                for word in group:
                    table.setdefault(word.lower(), (attribute, value))
    return table


def find(text: str) -> tuple[Span, ...]:
    """The concept words of a text: whole words in any case, the longest where they overlap."""
    either = "|".join(map(re.escape, sorted(words(), key=len, reverse=True)))
    hits = re.finditer(rf"\b({either})\b", text, re.IGNORECASE)
    return tuple(Span(*hit.span(), *words()[hit[1].lower()]) for hit in hits)
