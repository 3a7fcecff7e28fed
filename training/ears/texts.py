"""Texts about renders and what they promise: captions to train ears with, and one prompt per class to test them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from tada.errors import check_name
from tada.minis.attributes import CLASSES, of_labels
from tada.minis.captions import Caption, caption, mentionable

ANY = -1
"""What a text promises of an attribute that it does not mention."""

_INSTRUMENTS = {name: (name, f"{name.capitalize()} music", f"{name}-based") for name in CLASSES["instrument"]}

QUERIES: Mapping[str, Mapping[str, tuple[str, str, str]]] = {
    "voice": {
        "female": ("female voice", "A female vocal singing", "female singer"),
        "male": ("male voice", "A male vocal singing", "male singer"),
        "none": ("no voice", "Instrumental music", "instrumental"),
    },
    "tempo": {"slow": ("slow tempo", "slow song", "slow"), "fast": ("fast tempo", "fast song", "fast")},
    "mood": {"happy": ("happy mood", "cheerful song", "cheerful"), "sad": ("sad mood", "sad song", "sad")},
    "instrument": _INSTRUMENTS,
    "percussion": {
        "drums": ("drums", "Drums music", "drums-based"),
        "maracas": ("maracas", "Maracas music", "maracas-based"),
        "none": ("no percussion", "Music without percussion", "percussion-free"),
    },
    "genre": {name: (name, f"a {name} song", name) for name in CLASSES["genre"]},
    "timbre": {name: (f"{name} sound", f"a {name} song", name) for name in CLASSES["timbre"]},
}
"""Attribute -> class -> what it is called: in our words, in the paper's for CLAP, in the paper's for MuQ-MuLan."""

FRAMES: Mapping[str, tuple[str, int]] = {
    "bare": ("{}", 0),
    "clap": ("This is a music of {}", 1),
    "muq": ("A {} track", 2),
    "sentence": ("This recording has {} in it.", 0),
    "unseen": ("I think that what we hear now is: {}", 1),
}
"""Name -> a sentence around a query, and which of the three queries it takes; all but ``unseen`` are learnt from."""

_QUIET = (
    "a song without percussion",
    "no drums",
    "{base} without drums",
    "{base} without percussion",
    "no percussion",
)


class Text(NamedTuple):
    """A text and the classes that it promises, one per attribute or ANY."""

    text: str
    promised: tuple[int, ...]


def prompts(attribute: str, frame: str = "bare") -> list[str]:
    """Write one text for each class of an attribute, in one of :data:`FRAMES`; KeyError for unknown names."""
    check_name("attribute", attribute, CLASSES)
    check_name("frame", frame, FRAMES)
    sentence, place = FRAMES[frame]
    return [sentence.format(QUERIES[attribute][name][place]) for name in CLASSES[attribute]]


def contrast(attribute: str, seed: int) -> list[Text]:
    """Write one text for each class of an attribute that differ in the class's words alone: prompts or captions."""
    rng = np.random.default_rng([seed, 5])
    kind, frame = rng.random(), str(rng.choice([name for name in FRAMES if name != "unseen"]))
    classes = CLASSES[attribute]
    form = "bare" if kind < 0.7 else None
    texts = prompts(attribute, frame) if kind < 0.3 else [_about(attribute, name, seed, form) for name in classes]
    return [Text(text, promise({attribute: name})) for text, name in zip(texts, classes, strict=True)]


def _about(attribute: str, name: str, seed: int, form: str | None) -> str:
    if not mentionable({attribute: name}):
        base = caption(of_labels({}), seed, mention=(), form="bare").text.rstrip(".")
        return _QUIET[seed % len(_QUIET)].format(base=base)
    return caption(of_labels({attribute: name}), seed, mention=(attribute,), form=form).text


def about(promised: Sequence[int], seed: int) -> Text:
    """Write a caption of a clip, or of one that differs in an attribute the caption mentions: half of the time each."""
    true, changed = counterfactual(promised, seed)
    return changed if np.random.default_rng([seed, 9]).random() < 0.5 else true


def counterfactual(promised: Sequence[int], seed: int) -> tuple[Text, Text]:
    """Write a caption of a clip, and one with another class of one attribute; twice the same if it mentions none.

    ``promised``: class indices of the clip, one per attribute.
    """
    labels = {name: classes[index] for (name, classes), index in zip(CLASSES.items(), promised, strict=True)}
    true = caption(of_labels(labels), seed)
    if not true.mentioned:
        return _text(true), _text(true)
    rng = np.random.default_rng([seed, 8])
    attribute = str(rng.choice(list(true.mentioned)))
    others = [name for name in CLASSES[attribute] if name != labels[attribute] and mentionable({attribute: name})]
    changed = caption(of_labels({**labels, attribute: str(rng.choice(others))}), seed, mention=true.mentioned)
    return _text(true), _text(changed)


def _text(written: Caption) -> Text:
    return Text(written.text, promise(written.mentioned))


def promise(mentioned: Mapping[str, str]) -> tuple[int, ...]:
    """List class indices that a caption promises, ANY where it is silent."""
    return tuple(classes.index(mentioned[name]) if name in mentioned else ANY for name, classes in CLASSES.items())


def fits(truth: Tensor, promised: Tensor) -> Tensor:
    """Find which clips, ``[clips, attributes]``, keep what which texts promise: bool ``[clips, texts]``."""
    return ((promised[None] == ANY) | (promised[None] == truth[:, None])).all(2)


def corpus() -> list[str]:
    """Write texts of all kinds, from which tokenizers take their words."""
    rng = np.random.default_rng(11)
    clips = np.stack([rng.integers(len(classes), size=6000) for classes in CLASSES.values()], 1).tolist()
    captions = [about(clip, seed).text for seed, clip in enumerate(clips)]
    questions = [text for name in CLASSES for frame in FRAMES if frame != "unseen" for text in prompts(name, frame)]
    contrasts = [each.text for name in CLASSES for seed in range(300) for each in contrast(name, seed)]
    return captions + questions + contrasts
