"""Words of a concept exchanged for those of its counterpart, grammar kept, and the rules that such a pair obeys."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from functools import lru_cache
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
    word = " ".join(old.lower().split())
    new = _pronoun(word, match.string[match.end() :]) or concept.swaps[word]
    new = _cased(new, old)
    if not match["article"]:
        return new
    article = "an" if _vowel(new) else "a"
    return (article.capitalize() if match["article"][0].isupper() else article) + match["gap"] + new


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
        concept: what the pair is about.
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
        "a changed word lost its case": any(_lost_case(old, new) for old, new in gaps or ()),
    }
    return [rule for rule, is_broken in broken.items() if is_broken]


def _gaps(concept: Concept, target: str, source: str) -> list[tuple[str, str]] | None:
    """Concept words with their articles and what stands in their place; None where anything else differs."""
    matches = list(_article_pattern(tuple(concept.swaps)).finditer(target))
    kept = _outside(target, [match.span() for match in matches])
    pattern = re.escape(kept[0])
    for match, after in zip(matches, kept[1:], strict=True):
        article = r"[Aa][Nn]?\s+" if match["article"] else ""
        pattern += rf"({article}[\w'&-]+(?: [\w'&-]+){{0,4}}?)" + re.escape(after)
    found = re.fullmatch(pattern, source)
    return list(zip([match[0] for match in matches], found.groups(), strict=True)) if found else None


def _outside(text: str, spans: Sequence[tuple[int, int]]) -> list[str]:
    starts = [0, *(end for _, end in spans)]
    return [text[a:b] for a, b in zip(starts, [*(start for start, _ in spans), len(text)], strict=True)]


def _wrong_article(text: str) -> bool:
    match = re.match(r"(an?)\s+(\S+)", text, re.IGNORECASE)
    return match is not None and (match[1].lower() == "an") != _vowel(match[2])


def _lost_case(old: str, new: str) -> bool:
    return old[0].isupper() and not new[0].isupper()


def changes(target: str, source: str) -> list[dict[str, Any]]:
    """List the words that differ, as ``{start, end, before, after}`` with characters of ``target``, in order."""
    left, right = (re.findall(r"\w+|\W", text) for text in (target, source))
    places = [0]
    for token in left:
        places.append(places[-1] + len(token))
    blocks = SequenceMatcher(None, left, right, autojunk=False).get_opcodes()
    return [
        {"start": places[a], "end": places[b], "before": "".join(left[a:b]), "after": "".join(right[c:d])}
        for kind, a, b, c, d in blocks
        if kind != "equal"
    ]
