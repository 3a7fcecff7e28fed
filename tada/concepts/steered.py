"""The steered concepts: their poles, the pairs of prompts that vectors are fitted from, and the prompts to steer.

A concept's pairs put the same fifty :mod:`tada.concepts.bases` into the template of either pole, so that the two sides
differ in the concept alone (appendix B.1 of the paper). The ``public`` vocabulary is for the public checkpoints,
``mini`` for what the minis understand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

import numpy as np
import pandas as pd

from tada.concepts import bases
from tada.concepts.bases import COUNT
from tada.errors import InputError, UnknownNameError, unknown

Vocabulary = Literal["public", "mini"]
VOCABULARIES = ("public", "mini")
Wording = Literal["paper", "revised"]

HELD_OUT = 1_900_000_000
"""Seed of the first prompt for minis; no recipe uses seeds from here on."""

INSTRUMENTAL, FREE = "[inst]", ""
"""Lyrics for ACE-Step: nobody sings; whatever the model sings of itself."""


@dataclass(frozen=True)
class Concept:
    """A steered concept.

    Attributes:
        name: as in section 4.2 of the paper, or in the authors' later code.
        positive: what positive strengths lead to.
        negative: what negative strengths lead to.
        wordings: ``"paper"`` and ``"revised"`` (the authors' later code) to the templates of the two poles.
        bases: which base prompts it takes.
        lyrics: for models that sing.
        tau: features of a sparse autoencoder that the paper adds up for it (section 4.2).
        attribute: what the minis' renderer calls it, empty where it cannot be played.
        pole: the positive pole's class of that attribute; ``against`` the negative one's, empty for all others.
    """

    name: str
    positive: str
    negative: str
    wordings: Mapping[str, tuple[str, str]]
    bases: str = "plain"
    lyrics: str = INSTRUMENTAL
    tau: int = 20
    attribute: str = ""
    pole: str = ""
    against: str = ""


@dataclass(frozen=True)
class Pairs:
    """Prompts of both poles, in the same order.

    Attributes:
        concept: their concept.
        positive: prompts with the concept.
        negative: their counterparts.
        lyrics: for models that sing, None where the concept does not say.
    """

    concept: Concept
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    lyrics: str | None


def _with(what: str) -> dict[str, tuple[str, str]]:
    return {"paper": (f"{{base}} with {what}", "{base}"), "revised": (f"{{base}}, with {what}", "{base}")}


def _revised(positive: str, negative: str) -> dict[str, tuple[str, str]]:
    return {"revised": (positive, negative)}


CONCEPTS: Mapping[str, Concept] = {
    c.name: c
    for c in (
        Concept("piano", "piano", "no piano", _with("piano"), attribute="instrument", pole="piano"),
        Concept(
            "vocal gender",
            "female",
            "male",
            {
                "paper": ("{base} with female vocals", "{base} with male vocals"),
                "revised": ("{base}, with female vocal", "{base}, with male vocal"),
            },
            bases="sung",
            lyrics=FREE,
            attribute="voice",
            pole="female",
            against="male",
        ),
        Concept(
            "tempo",
            "fast",
            "slow",
            {"paper": ("fast {base}", "slow {base}"), "revised": ("fast song, {base}", "slow song, {base}")},
            bases="paceless",
            attribute="tempo",
            pole="fast",
            against="slow",
        ),
        Concept(
            "mood",
            "happy",
            "sad",
            {"paper": ("a happy {base}", "a sad {base}"), "revised": ("happy song, {base}", "sad song, {base}")},
            bases="moodless",
            tau=40,
            attribute="mood",
            pole="happy",
            against="sad",
        ),
        Concept("drums", "drums", "no drums", _with("drums"), attribute="percussion", pole="drums"),
        Concept(
            "vocal style",
            "rap",
            "singing",
            _revised("{base}, with rap vocal", "{base}, with sing vocal"),
            bases="sung",
            lyrics=FREE,
        ),
        Concept(
            "guitar", "acoustic", "electric", _revised("{base}, with acoustic guitar", "{base}, with electric guitar")
        ),
        Concept("violin", "violin", "no violin", _with("violin"), attribute="instrument", pole="violin"),
        Concept("jazz", "jazz", "rock", _revised("jazz song, {base}", "rock song, {base}")),
        Concept("classical", "classical", "electronic", _revised("classical song, {base}", "electronic song, {base}")),
    )
}
"""Name -> concept."""

TABLE_1 = ("tempo", "mood", "vocal gender", "piano")
"""The concepts of Table 1."""

_BARE = ("tempo", "mood")
"""Concepts whose template comes before the base, which then has no article."""


def get(concept: str) -> Concept:
    """The concept of that name; KeyError with the nearest names where there is none."""
    if concept not in CONCEPTS:
        raise UnknownNameError(unknown("steered concept", concept, CONCEPTS))
    return CONCEPTS[concept]


def pairs(concept: str, vocabulary: Vocabulary = "public", wording: Wording = "paper", count: int = COUNT) -> Pairs:
    """The prompt pairs of a concept.

    Args:
        concept: a name in :data:`CONCEPTS`.
        vocabulary: ``"public"``, or ``"mini"`` for what the minis understand.
        wording: of the templates: ``"paper"``, or ``"revised"`` as in the authors' later code; concepts that only
            have one take that.
        count: how many, 1 to 50; fewer are spread over the whole list.

    Raises:
        KeyError: an unknown concept, vocabulary or wording. ValueError: another count.
    """
    known = get(concept)
    for kind, given, valid in (
        ("vocabulary", vocabulary, VOCABULARIES),
        ("wording", wording, ("paper", "revised")),
    ):
        if given not in valid:
            raise UnknownNameError(unknown(kind, given, valid))
    if not 1 <= count <= COUNT:
        raise InputError(f"got count={count}; expected 1 to {COUNT}")
    positive, negative = known.wordings.get(wording) or known.wordings["revised"]
    every = bases.PUBLIC[known.bases] if vocabulary == "public" else bases.mini()
    some = [every[place * COUNT // count] for place in range(count)]
    chosen = some if known.name in _BARE else [bases.article(base) for base in some]
    sides = [tuple(template.format(base=base) for base in chosen) for template in (positive, negative)]
    return Pairs(known, sides[0], sides[1], known.lyrics if vocabulary == "public" else None)


def neutral(concept: str | None, count: int, vocabulary: Vocabulary = "public", first: int = 0) -> list[str]:
    """Prompts that do not ask for a concept, to steer and to evaluate on.

    Args:
        concept: a name in :data:`CONCEPTS`; None for prompts that may say anything.
        count: how many.
        vocabulary: ``"public"``: the paper's 100 (appendix B.2), for vocal gender with ``", with vocal"`` behind them
            as in the authors' first code. ``"mini"``: held-out captions of the minis' grammar that say nothing of it.
        first: number of the first one, so that prompts for calibration and for results do not meet.

    Raises:
        KeyError: an unknown concept or vocabulary. ValueError: more than there are, or none.
    """
    silent = get(concept).attribute if concept else ""
    if vocabulary not in VOCABULARIES:
        raise UnknownNameError(unknown("vocabulary", vocabulary, VOCABULARIES))
    if count < 1:
        raise InputError(f"got count={count}; expected one or more")
    if vocabulary == "mini":
        return _captions(silent, first + count)[first:]
    texts = pd.read_csv(str(files("tada.data") / "published_prompts.csv"))["prompt"].tolist()
    if first + count > len(texts):
        raise InputError(f"got first={first}, count={count}; the paper has {len(texts)} prompts")
    return [f"{text}, with vocal" if silent == "voice" else text for text in texts[first : first + count]]


def _captions(silent: str, count: int) -> list[str]:
    """Captions of drawn clips that mention about half of what could be, and never ``silent``; none of them twice."""
    from tada.minis.attributes import CLASSES, draw
    from tada.minis.captions import caption

    told: dict[str, None] = {}
    seed = HELD_OUT
    while len(told) < count:
        labels = draw(seed).labels()
        coins = np.random.default_rng([seed, 3]).random(len(CLASSES)) < 0.5
        mention = [
            name
            for name, coin in zip(CLASSES, coins, strict=True)
            if coin and name != silent and (name, labels[name]) != ("percussion", "none")
        ]
        told[caption(draw(seed), seed, mention=mention).text] = None
        seed += 1
    return list(told)
