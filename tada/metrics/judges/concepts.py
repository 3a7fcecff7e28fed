"""The four kinds of judges, which score clips for concepts by name: probe, signal, tags from outside, and ears."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from tada.audio import Clips
from tada.concepts.steered import CONCEPTS
from tada.concepts.table import JUDGED, judged
from tada.errors import InputError, UnknownNameError, unknown
from tada.io import sha256
from tada.metrics import clap, muq, musicnn, signals
from tada.metrics.audio import prepare
from tada.metrics.embedding import AudioTextModel, embed, embed_text, similarity
from tada.metrics.judges.protocol import Judge, Values
from tada.minis import probe
from tada.minis.attributes import CLASSES
from tada.minis.sounds import SAMPLE_RATE
from tada.models.fingerprint import log_loaded

ATTRIBUTES = {name: attribute for attribute, classes in CLASSES.items() for name in classes if name != "none"}
"""Class of the synthetic music -> its attribute."""

WEIGHTS = ("mini", "public")
"""Whose audio-text models judge: the package's own, for synthetic music, or those of the paper, for music."""

EARS = {"clap": "CLAP", "muq": "MuQ-MuLan", "paper": "the ear of the paper"}


class ConceptJudge(ABC):
    """A judge that scores clips for any name that it knows; a concept is worth its score less its opposite's.

    Attributes:
        metric: what its values are called.
        names: what it can score.
        absolute: whether scores of different names can be compared with each other as they are.
    """

    key: str
    label: str
    unit: str
    metric: str
    names: Sequence[str]
    absolute = True

    @abstractmethod
    def score(self, clips: Clips, names: Sequence[str]) -> Values:
        """Score clips for each of some names: ``[clips, names]``."""

    def sides(self, concept: str) -> list[str]:
        """Names that a concept is judged by: a class by itself, else both poles."""
        return sides(concept)

    def knows(self, concept: str) -> bool:
        return all(name in self.names for name in self.sides(concept))

    def __call__(self, clips: Clips, rows: pd.DataFrame) -> dict[str, Values]:
        values = np.empty(len(clips))
        for concept, places in by_concept(self, rows):
            found = self.score(Clips(clips.audio[places], clips.sample_rate), self.sides(concept))
            values[places] = found[:, 0] - found[:, 1:].sum(1)
        return {self.metric: values}


class ProbeJudge(ConceptJudge):
    """Measures the probability that a clip has the class of its row's concept, by the attribute probe: 0 to 1.

    For concepts with two poles it is the difference of two probabilities, -1 to 1.
    """

    label, unit, metric, rule = "attribute probe", "probability", "probe", "attribute probe 2"
    names = (*ATTRIBUTES, *(f"no {name}" for name, classes in CLASSES.items() if "none" in classes))

    def __init__(self, folder: str | Path = probe.WEIGHTS) -> None:
        """Load the probe of a folder; FileNotFoundError where there is none."""
        self.probe = probe.load(folder)
        digest = sha256(Path(folder) / "probe.safetensors")
        self.key = f"{self.rule} {digest}"
        log_loaded("attribute probe", lambda: digest)

    def score(self, clips: Clips, names: Sequence[str]) -> Values:
        chances = self.probe.probabilities(clips.audio, clips.sample_rate)
        return np.stack([chance(chances, name) for name in names], 1)


class SignalJudge(ConceptJudge):
    """Says by estimators that nobody trained whether a clip has the class of its row's concept: 1, 0, or -1.

    For clips of one attribute there is a second metric, which knows no classes: ``onsets`` a second for tempo,
    ``brightness`` in Hz for mood, ``pitch`` in Hz for voices.
    """

    label, unit, metric, key = "signal estimators", "found or not", "signal", "signal estimators 1"
    names = (*(name for attribute in signals.CLASSIFIED for name in CLASSES[attribute] if name != "none"), "no voice")

    def score(self, clips: Clips, names: Sequence[str]) -> Values:
        """Score clips for each of some names, ``[clips, names]``; clips under 3 s have no tempo."""
        audio = heard(clips)
        found = {
            attribute: np.array(signals.CLASSIFIED[attribute](audio)) for attribute in set(map(attribute_of, names))
        }
        return np.stack([found[attribute_of(name)] == class_of(name) for name in names], 1).astype(float)

    def __call__(self, clips: Clips, rows: pd.DataFrame) -> dict[str, Values]:
        attributes = {attribute_of(sides(concept)[0]) for concept in rows["concept"]}
        short = "tempo" in attributes and clips[0].seconds < signals.SHORTEST
        found = {} if short else super().__call__(clips, rows)
        if len(attributes) == 1:
            metric, estimate = signals.MEASURED[attributes.pop()]
            found[metric] = np.asarray(estimate(heard(clips)), np.float64)
        return found


class OutsideJudge(ConceptJudge):
    """Measures the tags that have the concept's own name, by musicnn: their mean log-odds, less the opposite's."""

    label, unit, metric, absolute = "music tags of musicnn", "log-odds", "musicnn", False

    def __init__(self) -> None:
        self.tags = {name: found for name in (*ATTRIBUTES, "no voice") if (found := musicnn.find_tags(name))}
        self.names = tuple(self.tags)
        self.key = " ".join(["musicnn 1", *(sha256(musicnn.FOLDER / f"{name}.safetensors") for name in musicnn.NAMES)])

    def score(self, clips: Clips, names: Sequence[str]) -> Values:
        networks = {network for name in names for network, _ in self.tags[name]}
        odds = {one: musicnn.load(one).probabilities(clips.audio, clips.sample_rate).logit(1e-6) for one in networks}
        means = [torch.stack([odds[one][:, tag] for one, tag in self.tags[name]]).mean(0) for name in names]
        return torch.stack(means, 1).double().numpy()


class EarJudge(ConceptJudge):
    """Measures the similarity of a clip to its row's concept in words, -1 to 1, by an audio-text model."""

    unit, rule, absolute = "similarity", "tada.metrics.concept_score {weights} {ear} 2", False
    names = tuple(JUDGED)

    def __init__(self, ear: str = "clap", weights: str = "public") -> None:
        """Choose the model, which is loaded when it is first needed.

        Args:
            ear: ``"clap"``, ``"muq"``, or ``"paper"`` for the one that the paper takes for the concept.
            weights: one of :data:`WEIGHTS`.

        Raises:
            KeyError: another ear or other weights.
        """
        self.ear, self.weights = choice("ear", ear, EARS), choice("weights", weights, WEIGHTS)
        self.metric = {"clap": "mini-clap", "muq": "mini-second"}.get(ear, ear) if weights == "mini" else ear
        self.key = self.rule.format(ear=ear, weights=weights)
        self.label = f"similarity to the concept's query by {EARS[ear]}{' (mini)' if weights == 'mini' else ''}"
        self._models: dict[str, AudioTextModel] = {}

    def sides(self, concept: str) -> list[str]:
        """The concept itself: the paper compares clips with one query."""
        return [concept.replace("_", " ")]

    def score(self, clips: Clips, names: Sequence[str]) -> Values:
        columns = []
        for about in map(judged, names):
            ear = about.ear if self.ear == "paper" else self.ear
            audio = embed(self.load(ear), clips.audio, clips.sample_rate)
            columns.append(similarity(audio, embed_text(self.load(ear), [about.query(ear)])))
        return torch.stack(columns, 1).double().numpy()

    def load(self, ear: str) -> AudioTextModel:
        """Load a model, once."""
        if ear not in self._models:
            self._models[ear] = load_ear(ear, self.weights)
        return self._models[ear]


# ---- names


def sides(concept: str) -> list[str]:
    """A class by itself, else the poles of a concept."""
    if concept in ATTRIBUTES or concept.startswith("no "):
        return [concept]
    about = JUDGED.get(concept.replace("_", " "))
    return [name for name in about.poles if name] if about else [concept]


def by_concept(judge: Judge, rows: pd.DataFrame) -> list[tuple[str, list[int]]]:
    """Group rows by their concept; KeyError for the first that the judge does not know."""
    names = rows["concept"].tolist()
    for name in names:
        if not judge.knows(name):
            valid = [one for one in {**JUDGED, **CONCEPTS, **ATTRIBUTES} if judge.knows(one)]
            raise UnknownNameError(unknown(f"concept of {judge.label}", name, valid))
    return [(name, [row for row, one in enumerate(names) if one == name]) for name in dict.fromkeys(names)]


def only(concepts: Iterable[str]) -> str:
    """The one concept of all rows; ValueError for several."""
    names = sorted(set(concepts))
    if len(names) != 1:
        raise InputError(f"got clips of {len(names)} concepts; expected those of one")
    return names[0]


def choice(kind: str, got: str, valid: Iterable[str]) -> str:
    """What was chosen, if it is valid; KeyError if not."""
    if got not in valid:
        raise UnknownNameError(unknown(kind, got, valid))
    return got


def load_ear(ear: str, weights: str, device: str = "auto") -> Any:
    """Load the audio-text model in CLAP's or MuQ-MuLan's place."""
    return (clap if ear == "clap" else muq).load("mini" if weights == "mini" else None, device=device)


def attribute_of(name: str) -> str:
    """The attribute that a class, or ``no voice``, is of."""
    return ATTRIBUTES.get(name, name.removeprefix("no "))


def class_of(name: str) -> str:
    """The class in its attribute."""
    return name if name in ATTRIBUTES else "none"


def chance(chances: Mapping[str, Any], name: str) -> Values:
    """The probability of one class, ``[clips]``."""
    attribute = attribute_of(name)
    return chances[attribute][:, CLASSES[attribute].index(class_of(name))].double().numpy()


def heard(clips: Clips) -> Any:
    """Clips as the estimators take them, mono at 16 kHz."""
    return prepare(clips.audio, clips.sample_rate, SAMPLE_RATE).numpy()
