"""The seven attributes of a synthetic clip, which are the paper's concepts.

Drums and maracas are instruments in the paper. Here they are an attribute of their own, ``percussion``, since a band
has a tune and a beat at once; ``instrument`` is the one that plays the tune. An open field (None) is drawn from the
seed, except ``voice`` and ``percussion``, where None means that there is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import numpy as np

from tada.errors import InputError, unknown

CLASSES: Mapping[str, tuple[str, ...]] = {
    "voice": ("female", "male", "none"),
    "tempo": ("slow", "fast"),
    "mood": ("happy", "sad"),
    "instrument": ("piano", "guitar", "flute", "trumpet", "violin"),
    "percussion": ("drums", "maracas", "none"),
    "genre": ("jazz", "techno", "reggae"),
    "timbre": ("bright", "dark"),
}
"""Attribute -> its classes, in the order of the probe's outputs."""

TEMPI: Mapping[str, tuple[float, float]] = {"slow": (64.0, 78.0), "fast": (166.0, 186.0)}
"""Beats per minute of each tempo class. No tempo of one class is a tempo of the other doubled or halved."""

CENTROIDS: Mapping[str, tuple[float, float]] = {"bright": (1700.0, 2300.0), "dark": (600.0, 900.0)}
"""Mean spectral centroid in Hz of each class of timbre: clips are equalised to have it, whatever plays."""

BOUNDARY = 114.0
"""Beats per minute between slow and fast: the geometric mean of the two ranges' near ends."""

OPEN = ("tempo", "mood", "instrument", "genre", "timbre")


@dataclass(frozen=True)
class Attributes:
    """What to play.

    Attributes:
        voice: ``"female"``, ``"male"``, or None: nobody sings.
        tempo: beats per minute, 40 to 220, or None: drawn.
        mood: ``"happy"``, ``"sad"``, or None: drawn.
        instrument: of the tune: ``"piano"``, ``"guitar"``, ``"flute"``, ``"trumpet"``, ``"violin"``, or None: drawn.
        percussion: ``"drums"``, ``"maracas"``, or None: no percussion.
        genre: ``"jazz"``, ``"techno"``, ``"reggae"``, or None: drawn.
        timbre: ``"bright"``, ``"dark"``, or None: drawn.

    Raises:
        ValueError: a value that is none of these.
    """

    voice: str | None = None
    tempo: float | None = None
    mood: str | None = None
    instrument: str | None = None
    percussion: str | None = None
    genre: str | None = None
    timbre: str | None = None

    def __post_init__(self) -> None:
        for name in CLASSES:
            if name != "tempo":
                _check(name, getattr(self, name))
        if self.tempo is not None and not (isinstance(self.tempo, int | float) and 40 <= self.tempo <= 220):
            raise InputError(f"got tempo={self.tempo!r}; expected beats per minute from 40 to 220, or None")

    def labels(self) -> dict[str, str]:
        """Attribute -> class name, without those that are open."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.tempo is not None:
            values["tempo"] = "slow" if self.tempo < BOUNDARY else "fast"
        return {name: value or "none" for name, value in values.items() if value or name not in OPEN}


def _check(name: str, value: object) -> None:
    valid = [one for one in CLASSES[name] if one != "none"]
    if value is None or value in valid:
        return
    hint = "Or None for none." if name not in OPEN else "Or None for any."
    if name == "instrument" and value in CLASSES["percussion"]:
        hint = f"{str(value).capitalize()} are percussion here: Attributes(percussion={value!r})."
    raise InputError(unknown(name, value, valid, hint))


def draw(seed: int) -> Attributes:
    """Draw attributes from a seed: every class of an attribute equally likely and independent of the others."""
    rng = np.random.default_rng([seed, 0])
    labels = {name: classes[rng.integers(len(classes))] for name, classes in CLASSES.items()}
    return of_labels(labels, float(rng.random()))


def of_labels(labels: Mapping[str, str], place: float = 0.5) -> Attributes:
    """Make attributes from class names.

    Args:
        labels: attribute -> class name; attributes left out stay open.
        place: where in the range of the tempo class the tempo lies, 0 to 1.
    """
    values: dict[str, str | float | None] = {n: None if v == "none" else v for n, v in labels.items() if n != "tempo"}
    if "tempo" in labels:
        if labels["tempo"] not in TEMPI:
            raise InputError(unknown("tempo", labels["tempo"], TEMPI))
        low, high = TEMPI[labels["tempo"]]
        values["tempo"] = low + place * (high - low)
    return Attributes(**values)  # type: ignore[arg-type]


def settle(attributes: Attributes, seed: int) -> Attributes:
    """Draw every open field of attributes from the seed; what was given, and no voice or percussion, stays."""
    drawn = draw(seed)
    return replace(attributes, **{n: getattr(drawn, n) for n in OPEN if getattr(attributes, n) is None})
