"""Words of a concept exchanged for those of its counterpart, grammar kept, and the rules that such a pair obeys."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from functools import lru_cache
from itertools import accumulate, islice
from typing import Any

from tada.concepts import Concept


def swap(text: str, concept: Concept) -> str:
    """Replace every word of the concept by its counterpart; articles, case and pronouns follow.

    >>> swap("An upbeat song", tada.concepts.get("happy"))
    'A downbeat song'
    """
    return _article_pattern(tuple(concept.swaps)).sub(lambda match: _counterpart(match, concept), text)


def swap_authors(text: str, concept: Concept) -> str:
    """Make the swaps one after the other, whole words in any case, as the authors' code does."""
    for word, other in concept.swaps.items():
        text = re.sub(rf"\b{re.escape(word)}\b", other, text, flags=re.IGNORECASE)
    return text


def _counterpart(match: re.Match[str], concept: Concept) -> str:
    old = match["word"]
    word = _named(old, concept)
    new = _pronoun(word, match.string[match.end() :]) or concept.swaps[word]
    new = _cased(new, old)
    if not match["article"]:
        return new
    article = "an" if _vowel(new) else "a"
    return (article.capitalize() if match["article"][0].isupper() else article) + match["gap"] + new


def _named(found: str, concept: Concept) -> str:
    """The word of the concept that a text has in letters of any case; lower case alone would miss "\u0131" for "i"."""
    word = " ".join(found.lower().split())
    return word if word in concept.swaps else next(w for w in concept.swaps if word_pattern((w,)).fullmatch(found))


_NO_OWNER = re.compile(
    r"\s*(?:$|[^\w\s]|(?:and|or|but|in|on|at|with|to|as|by|for|from|of|up|while|when|who|which|that|is|are|was|has|"
    r"consists|sings|plays|singing|playing|into|over|under|along)\b)",
    re.IGNORECASE,
)
"""What follows a pronoun that is no possessive: before it "her" is an object."""


def _pronoun(word: str, after: str) -> str | None:
    """The counterpart of a pronoun whose form depends on what follows; None for other words."""
    if word not in ("her", "his"):
        return None
    return {"her": ("his", "him"), "his": ("her", "hers")}[word][_NO_OWNER.match(after) is not None]


def _cased(new: str, old: str) -> str:
    if old.isupper() and len(old) > 1:
        return new.upper()
    return new[0].upper() + new[1:] if old[0].isupper() else new


def _vowel(word: str) -> bool:
    return word[0].lower() in "aeiou" and not re.match(r"uni|use|eu|one\b|uk", word, re.IGNORECASE)


@lru_cache(maxsize=256)
def word_pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    r"""Match any of the words, whole, in any case; as ``\b`` sees it, so that "slow" is a word of "slow-paced"."""
    return re.compile(rf"\b(?:{_either(words)})\b", re.IGNORECASE)


@lru_cache(maxsize=256)
def _article_pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"\b(?:(?P<article>an?)(?P<gap>\s+))?(?P<word>{_either(words)})\b", re.IGNORECASE)


def _either(words: Iterable[str]) -> str:
    longest_first = sorted(words, key=len, reverse=True)
    return "|".join(re.escape(word).replace(r"\ ", r"\s+") for word in longest_first)


# ---- checks


def violations(concept: Concept, target: str, source: str) -> list[str]:
    """List the rules that a pair breaks; none for a good one.

    Args:
        target: the prompt with the concept.
        source: the counterfactual prompt.
    """
    others = word_pattern(tuple(dict.fromkeys([*concept.swaps.values(), *concept.excluded])))
    gaps = _gaps(concept, target, source)
    broken = {
        "the target has no word of the concept": not word_pattern(concept.keywords).search(target),
        "the target has a word of the counterfactual": bool(word_pattern(concept.excluded).search(target)),
        "the counterfactual keeps a word of the concept": bool(word_pattern(tuple(concept.swaps)).search(source)),
        "the counterfactual has no word of its own": not others.search(source),
        "more than the concept was changed": gaps is None,
        "a changed word has the wrong article": any(_wrong_article(new) for _, new in gaps or ()),
        "a changed word lost its case": any(old[0].isupper() and not new[0].isupper() for old, new in gaps or ()),
    }
    return [rule for rule, is_broken in broken.items() if is_broken]


_WORDS = r"(?P<words>[\w'&-]+(?: [\w'&-]+){0,4})"
_PUT = {False: re.compile(_WORDS), True: re.compile(r"[Aa][Nn]?\s+" + _WORDS)}
"""Whether an article is in front -> what may stand in the place of a concept word."""

MOST_WAYS = 16
"""Ways to tell the words that were put in from the words around them that are followed side by side."""


def _gaps(concept: Concept, target: str, source: str) -> list[tuple[str, str]] | None:
    """Concept words with their articles and what stands in their place; None where anything else differs."""
    matches = list(_article_pattern(tuple(concept.swaps)).finditer(target))
    first, *kept = _outside(target, [match.span() for match in matches])
    ways: dict[int, Any] = {len(first): None} if source.startswith(first) else {}  # read up to where -> words put in
    for match, after in zip(matches, kept, strict=True):
        longer: dict[int, Any] = {}
        for start, before in ways.items():
            for end in _ends(_PUT[match["article"] is not None].match(source, start), after):
                longer.setdefault(end + len(after), (source[start:end], before))
        ways = dict(islice(longer.items(), MOST_WAYS))
    if len(source) not in ways:
        return None
    way, gaps = ways[len(source)], []
    for match in reversed(matches):
        gaps.append((match[0], way[0]))
        way = way[1]
    return gaps[::-1]


def _ends(put: re.Match[str] | None, after: str) -> list[int]:
    """Where words that were put in may end: before ``after``."""
    if put is None:
        return []
    ends = range(put.start("words") + 1, put.end() + 1)
    return [end for end in ends if put.string.startswith(after, end) and put.string[end - 1] != " "]


def _outside(text: str, spans: Sequence[tuple[int, int]]) -> list[str]:
    starts = [0, *(end for _, end in spans)]
    return [text[a:b] for a, b in zip(starts, [*(start for start, _ in spans), len(text)], strict=True)]


def _wrong_article(text: str) -> bool:
    match = re.match(r"(an?)\s+(\S+)", text, re.IGNORECASE)
    return match is not None and (match[1].lower() == "an") != _vowel(match[2])


SAME, AHEAD, LONG = 6, 24, 120
"""Tokens that two texts have in common where they meet again, how far ahead they are looked for, and how many of a
stretch without any are compared one by one."""


def changes(target: str, source: str) -> list[dict[str, Any]]:
    """List the words that differ, as ``{start, end, before, after}`` with characters of ``target``, in order.

    The time grows with the length of the texts, not with its square: only stretches between words in common are
    compared word by word, and a stretch that is too long for that is one change.
    """
    left, right = (re.findall(r"\w+|\W", text) for text in (target, source))
    places = [0, *accumulate(map(len, left))]
    return [
        {"start": places[a], "end": places[b], "before": "".join(left[a:b]), "after": "".join(right[c:d])}
        for stretch in _stretches(left, right)
        for a, b, c, d in _differences(left, right, *stretch)
    ]


def shared_text(target: str, source: str) -> str:
    """Join the words that two prompts have in common, in their order.

    >>> shared_text("An upbeat song with a piano", "A downbeat song with a piano")
    'song with a piano'
    """
    cuts = [(change["start"], change["end"]) for change in changes(target, source)]
    return " ".join("".join(_outside(target, cuts)).split())


def _stretches(left: Sequence[str], right: Sequence[str]) -> Iterator[tuple[int, int, int, int]]:
    """Where two lists of tokens part, up to where they meet again."""
    a = c = 0
    while a < len(left) or c < len(right):
        if left[a : a + 1] == right[c : c + 1]:
            a, c = a + 1, c + 1
            continue
        ways = ((a + i, c + ahead - i) for ahead in range(1, 2 * AHEAD) for i in range(ahead + 1))
        meets = (way for way in ways if left[way[0] : way[0] + SAME] == right[way[1] : way[1] + SAME])
        b, d = next(meets, (len(left), len(right)))
        yield a, b, c, d
        a, c = b, d


def _differences(
    left: Sequence[str], right: Sequence[str], a: int, b: int, c: int, d: int
) -> Iterator[tuple[int, int, int, int]]:
    if max(b - a, d - c) > LONG:
        yield a, b, c, d
        return
    for kind, i, j, k, m in SequenceMatcher(None, left[a:b], right[c:d], autojunk=False).get_opcodes():
        if kind != "equal":
            yield a + i, a + j, c + k, c + m
