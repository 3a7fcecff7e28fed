"""Prompts of the steered concepts: the pairs that vectors are fitted from, and the prompts to steer.

A concept's pairs put the same fifty base prompts into the template of either pole, so that the two sides differ in the
concept alone (appendix B.1 of the paper). The ``public`` vocabulary is for the public checkpoints, ``mini`` for what
the minis understand.
"""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Literal, NamedTuple, get_args

import numpy as np
import pandas as pd

from tada.concepts.table import DATA, STEERED, TABLE_1, Concept
from tada.errors import InputError, check_name
from tada.minis.attributes import CLASSES, draw
from tada.minis.captions import FILLER, caption, mentionable
from tada.models.base import Vocabulary

__all__ = [
    "CONCEPTS", "COUNT", "HELD_OUT", "TABLE_1", "Pairs", "Vocabulary", "Wording", "get", "neutral", "pairs", "played",
    "poles", "word",
]  # fmt: skip

Wording = Literal["paper", "revised"]

CONCEPTS = STEERED
"""Name -> steered concept."""

COUNT = 50
"""Pairs of a concept."""

HELD_OUT = 1_900_000_000
"""Seed of the first prompt for minis; no recipe uses seeds from here on."""

LONGEST_CAPTION = 240
"""Characters of a caption that every mini reads to its end."""


class Pairs(NamedTuple):
    """Prompts of both poles, in the same order.

    Attributes:
        positive: prompts with the concept.
        negative: their counterparts.
        lyrics: for models that sing; None where the concept does not say.
        neutral: the same prompts asking for neither pole, in the authors' later wording.
    """

    concept: Concept
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    lyrics: str | None
    neutral: tuple[str, ...]


def get(concept: str) -> Concept:
    """Give the steered concept of that name; KeyError with the nearest names where there is none."""
    check_name("steered concept", concept, CONCEPTS)
    return CONCEPTS[concept]


def played() -> tuple[str, ...]:
    """List the concepts that the minis' renderer plays, of which more than an ear can tell."""
    return tuple(name for name, one in CONCEPTS.items() if one.attribute in CLASSES)


def pairs(concept: str, vocabulary: Vocabulary = "public", wording: Wording = "paper", count: int = COUNT) -> Pairs:
    """Make the prompt pairs of a concept.

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
    check_name("vocabulary", vocabulary, get_args(Vocabulary))
    check_name("wording", wording, get_args(Wording))
    if not 1 <= count <= COUNT:
        raise InputError(f"got count={count}; expected 1 to {COUNT}")
    bases = DATA["bases"][known.bases] if vocabulary == "public" else mini_bases()
    chosen = [bases[place * COUNT // count] for place in range(count)]
    if known.name not in ("tempo", "mood"):  # their templates begin with an adjective
        chosen = [add_article(base) for base in chosen]
    templates = (*(known.templates.get(wording) or known.templates["revised"]), known.neutral["revised"])
    positive, negative, plain = (tuple(template.format(base=base) for base in chosen) for template in templates)
    return Pairs(known, positive, negative, known.lyrics if vocabulary == "public" else None, plain)


def neutral(
    concept: str | None,
    count: int,
    vocabulary: Vocabulary = "public",
    first: int = 0,
    wording: Wording = "paper",
) -> list[str]:
    """Make prompts that do not ask for a concept, to steer and to evaluate on.

    Args:
        concept: a name in :data:`CONCEPTS`; None for prompts that may say anything.
        count: how many.
        vocabulary: ``"public"``: the paper's 100 (appendix B.2). ``"mini"``: held-out captions of the minis' grammar
            that say nothing of it.
        first: number of the first one, so that prompts for calibration and for results do not meet.
        wording: ``"paper"``: as they are, for vocal concepts of the public ones with ``", with vocal"`` behind them as
            in the authors' first code. ``"revised"``: each with the neutral words of their later code, such as
            ``"a song, {base}"`` for tempo; captions of the minis are single phrases then.

    Raises:
        KeyError: an unknown concept, vocabulary or wording. ValueError: more than there are, or none.
    """
    known = get(concept) if concept else None
    check_name("vocabulary", vocabulary, get_args(Vocabulary))
    check_name("wording", wording, get_args(Wording))
    if count < 1:
        raise InputError(f"got count={count}; expected one or more")
    texts = _bases(known, count, vocabulary, first, wording)
    plain = vocabulary == "mini" and wording == "paper"
    template = known.neutral.get(wording, "{base}") if known and not plain else "{base}"
    return [template.format(base=text) for text in texts]


def poles(concept: str, count: int, vocabulary: Vocabulary = "public", first: int = 0) -> dict[str, tuple[str, str]]:
    """Make the prompts of :func:`neutral` in the revised wording, each with the same prompt asking for either pole.

    Returns:
        Neutral prompt -> positive and negative prompt.

    Raises:
        KeyError: an unknown concept. ValueError: more than there are.
    """
    known = get(concept)
    texts = _bases(known, count, vocabulary, first, "revised")
    plain, *asked = (
        [template.format(base=text) for text in texts]
        for template in (known.neutral["revised"], *known.templates["revised"])
    )
    return dict(zip(plain, zip(*asked, strict=True), strict=True))


def word(template: str) -> tuple[str, bool]:
    """Find the word of a template by which its concept stands, such as *piano* of ``"{base}, with piano"``.

    Returns:
        The last word outside the base, and whether it comes after the base, where its last place in a prompt counts.
    """
    return re.findall(r"\w+", template.replace("{base}", " "))[-1], template.startswith("{base}")


def _bases(known: Concept | None, count: int, vocabulary: Vocabulary, first: int, wording: Wording) -> list[str]:
    """Prompts that say nothing of the concept: the paper's, or captions of the minis' grammar."""
    if vocabulary == "mini":
        form = "phrase" if wording == "revised" else None
        return _mini_captions(known.attribute if known else "", first + count, form)[first:]
    texts = pd.read_csv(str(files("tada.data") / "published_prompts.csv"))["prompt"].tolist()
    if first + count > len(texts):
        raise InputError(f"got first={first}, count={count}; the paper has {len(texts)} prompts")
    return texts[first : first + count]


def mini_bases() -> tuple[str, ...]:
    """List fifty base prompts of the minis' grammar that promise nothing that the renderer plays."""
    styles = FILLER["style"]
    songs = (f"{style} {('song', 'music')[place % 2]}" for place, style in enumerate(styles))
    return (*DATA["bases"]["mini"], *songs, *(f"{style} piece" for style in styles))[:COUNT]


def add_article(base: str) -> str:
    """Put ``a`` or ``an`` before a base prompt, unless its noun takes none."""
    if base.endswith(("music", "punk rock")) and base != "piece of music":
        return base
    return f"{'an' if base[0].lower() in 'aeiou' or base.startswith('R&B') else 'a'} {base}"


def _mini_captions(silent: str, count: int, form: str | None) -> list[str]:
    """Draw different captions that mention about half of what could be, and never the attribute ``silent``."""
    texts: dict[str, None] = {}
    seed = HELD_OUT
    while len(texts) < count:
        attributes = draw(seed)
        said = mentionable(attributes.labels())
        coins = np.random.default_rng([seed, 3]).random(len(CLASSES)) < 0.5
        mention = [name for name, coin in zip(CLASSES, coins, strict=True) if coin and name != silent and name in said]
        text = caption(attributes, seed, mention=mention, form=form).text
        seed += 1
        if len(text) <= LONGEST_CAPTION:
            texts[text.rstrip(".") if form else text] = None  # what is put behind a phrase goes on from it
    return list(texts)
