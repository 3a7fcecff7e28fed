"""The prompts that steering vectors are fitted from: templates, base prompts and lyrics of each steered concept.

A concept has two poles. Its pairs put the same fifty base prompts into the template of either pole, so that the two
sides differ in the concept alone (appendix B.1 of the paper). ``public`` base prompts are for the public checkpoints;
``mini`` ones keep to the words that the minis learnt, and leave out those of the renderer's attributes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tada.errors import unknown

Vocabulary = Literal["public", "mini"]
Wording = Literal["paper", "revised"]

COUNT = 50
"""Pairs a concept."""

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
        lyrics: for models that sing, as :func:`sung` hands them over; None where the concept does not say.
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
"""Name -> concept. The first four are those of Table 1."""

TABLE_1 = ("piano", "vocal gender", "tempo", "mood")

_GENERAL = ("song", "melody", "music", "tune", "track", "composition", "instrumental music", "piece of music")
_GENRES = tuple(f"{name} music" for name in ("electronic", "acoustic", "orchestral"))
_PIECES = ("pop song", "rock song", "jazz piece", "classical piece")
_STYLES = tuple(f"{name} music" for name in ("hip hop", "country", "blues", "folk", "reggae", "metal"))
_MORE = ("punk rock", "dance music", "ambient music", "lofi music", "ballad", "love song")
_FORMS = ("duet", "solo performance", "cover song", "original song", "remix")
_PLAYED = ("piano music", "guitar music", "synth music", "soundtrack", "cinematic music")
_KINDS = (
    *("energetic", "calm", "dramatic", "cheerful", "melancholic", "aggressive", "gentle", "powerful", "soft", "loud"),
    *("rhythmic", "harmonious", "dissonant", "simple", "complex", "minimalist"),
)
_FEELINGS = (
    *("romantic", "nostalgic", "dreamy", "intense", "soulful", "groovy", "funky", "smooth", "raw", "emotional"),
    "expressive",
)
_COMMON = (*_GENERAL, "background music", "musical performance", *_GENRES, *_PIECES, *_STYLES, *_MORE)
_SUNG = tuple(f"{name} song" for name in ("R&B", "soul", "indie", "disco", "funk", "gospel"))

_PUBLIC: Mapping[str, tuple[str, ...]] = {
    "plain": (
        *_COMMON[:10],
        *("upbeat song", "slow song", "fast-paced track"),
        *_COMMON[10:],
        *("happy song", "sad song"),
        *(f"{kind} music" for kind in _KINDS),
    ),
    "moodless": (*_COMMON, *_PLAYED, *(f"{feeling} music" for feeling in _FEELINGS), *_FORMS),
    "paceless": (
        *_COMMON,
        *_PLAYED,
        *_FORMS,
        *("happy music", "sad music", "lullaby", "opera piece"),
        *_SUNG[1:],
        *("house music", "techno music"),
    ),
    "sung": (
        *(base for base in _COMMON if base not in ("instrumental music", "background music", "orchestral music")),
        *("upbeat song", "slow song", "fast-paced track", "happy song", "sad song"),
        *_SUNG,
        *("opera piece", "lullaby", "duet", "cover song", "original song", "karaoke track", "vocal performance"),
        *(f"{kind} music" for kind in ("energetic", "calm", "dramatic", "gentle", "powerful", "soft")),
    ),
}
"""Base prompts without articles. The fifty of piano are public; of the other lists the public part is how they differ
from it, which these follow."""

_MASS = ("music", "punk rock")
_BARE = ("tempo", "mood")
"""Concepts whose template comes before the base, which then has no article."""


def get(concept: str) -> Concept:
    """The concept of that name; KeyError with the nearest names where there is none."""
    if concept not in CONCEPTS:
        raise KeyError(unknown("steered concept", concept, CONCEPTS))
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
        ("vocabulary", vocabulary, ("public", "mini")),
        ("wording", wording, ("paper", "revised")),
    ):
        if given not in valid:
            raise KeyError(unknown(kind, given, valid))
    if not 1 <= count <= COUNT:
        raise ValueError(f"got count={count}; expected 1 to {COUNT}")
    positive, negative = known.wordings.get(wording) or known.wordings["revised"]
    bases = [_article(base) if known.name not in _BARE else base for base in _bases(known, vocabulary)]
    chosen = [bases[place * COUNT // count] for place in range(count)]
    sides = [tuple(template.format(base=base) for base in chosen) for template in (positive, negative)]
    return Pairs(known, sides[0], sides[1], known.lyrics if vocabulary == "public" else None)


def sung(architecture: str, prompts: Pairs) -> str | None:
    """The lyrics of pairs for a model of that architecture: None where it does not sing."""
    return prompts.lyrics if architecture == "ace-step" else None


def neutral(concept: str, count: int, vocabulary: Vocabulary = "public", first: int = 0) -> list[str]:
    """Prompts that do not ask for a concept, to steer: those of :func:`tada.evaluation.prompts`.

    Args:
        concept: a name in :data:`CONCEPTS`.
        count: how many.
        vocabulary: ``"public"``: the paper's 100. ``"mini"``: held-out captions of the minis' grammar that say nothing
            of the concept.
        first: number of the first one, so that prompts for calibration and for results do not meet.

    Raises:
        KeyError: an unknown concept. ValueError: more than there are.
    """
    from tada.evaluation import prompts

    known = get(concept)
    asked = known.name if known.name in TABLE_1 else known.pole or None
    return prompts("paper" if vocabulary == "public" else "mini", asked, first + count)[first:]


def _bases(concept: Concept, vocabulary: Vocabulary) -> tuple[str, ...]:
    return _PUBLIC[concept.bases] if vocabulary == "public" else _mini_bases()


def _mini_bases() -> tuple[str, ...]:
    """Fifty base prompts of the minis' grammar that promise nothing that the renderer plays."""
    from tada.minis.filler import FILLER

    plain = ("song", "melody", "music", "tune", "track", "composition", "piece of music", "background music")
    forms = ("musical performance", "ballad", "love song", "cover song", "original song", "soundtrack")
    styles = FILLER["style"]
    songs = tuple(f"{style} {('song', 'music')[place % 2]}" for place, style in enumerate(styles))
    return (*plain, *forms, *songs, *(f"{style} piece" for style in styles))[:COUNT]


def _article(base: str) -> str:
    """The base with ``a`` or ``an``, unless its noun has none."""
    if base.endswith(_MASS):
        return base if base != "piece of music" else "a piece of music"
    return f"{'an' if base[0].lower() in 'aeiou' or base.startswith('R&B') else 'a'} {base}"
