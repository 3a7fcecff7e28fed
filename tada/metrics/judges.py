"""Judges: measure how much of a concept each clip has. One protocol for all of them.

=====================  ===========================================================  ===============================
judge                  what it measures                                             metrics
=====================  ===========================================================  ===============================
:class:`ProbeJudge`    probability by the attribute probe, trained on renders       ``probe``
:class:`SignalJudge`   the class by estimators that nobody trained                  ``signal``, and one as it is
:class:`EarJudge`      similarity to the concept's query, by an audio-text model    ``clap``, ``mini-clap`` ...
:class:`OutsideJudge`  tags by networks that others trained on recorded music       ``musicnn``
:class:`Panel`         what several of these say of the same clips                  theirs
=====================  ===========================================================  ===============================

No judge is called true. That are the renderer's attributes, on its own renders alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch

from tada.audio import Clips
from tada.concepts.steered import CONCEPTS
from tada.concepts.table import JUDGED, judged
from tada.errors import InputError, check_name
from tada.io import sha256
from tada.metrics import clap, muq, musicnn, signals
from tada.metrics.audio import prepare
from tada.metrics.embedding import AudioTextModel, embed, embed_text, similarity
from tada.minis import probe
from tada.minis.attributes import CLASSES
from tada.minis.sounds import SAMPLE_RATE
from tada.models.fingerprint import log_loaded
from tada.stats import Values

ATTRIBUTES = {name: attribute for attribute, classes in CLASSES.items() for name in classes if name != "none"}
"""Class of the synthetic music -> its attribute."""

WEIGHTS = ("mini", "public")
"""Whose audio-text models judge: the package's own, for synthetic music, or those of the paper, for music."""

EARS = {"clap": "CLAP", "muq": "MuQ-MuLan", "paper": "the ear of the paper"}


class Judge(Protocol):
    """Turns clips into values, one a clip.

    Attributes:
        key: names its weights and its rule; part of the key of every stored result.
        label: what it is, for readers.
        unit: of its value for a concept, such as ``"probability"`` or ``"similarity"``.
    """

    key: str
    label: str
    unit: str

    def knows(self, concept: str) -> bool:
        """Tell whether it can judge a concept."""

    def __call__(self, clips: Clips, rows: pd.DataFrame) -> Mapping[str, Values]:
        """Judge clips.

        Args:
            clips: one per row.
            rows: with a column ``concept``; a :class:`tada.metrics.suite.MetricSuite` asks for more.

        Returns:
            Metric -> float64 ``[clips]``, the judge's own metric first.

        Raises:
            KeyError: a concept that it does not know, with the nearest.
        """


JudgeLike = Judge | Callable[[Clips, pd.DataFrame], Any]


class FunctionJudge:
    """A plain function ``score(clips, rows)`` as a judge of any concept; its key is its attribute ``key`` or its name.

    Raises:
        ValueError: a function whose name does not stay the same from run to run.
    """

    unit = "score"

    def __init__(self, function: Callable[[Clips, pd.DataFrame], Any]) -> None:
        name = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', '<')}"
        self.function = function
        self.key = self.label = str(getattr(function, "key", name))
        if "<" in self.key and not hasattr(function, "key"):
            raise InputError(
                f"{function!r} has no name that stays the same from run to run: give it an attribute key, a text that "
                "names what it measures with"
            )

    def knows(self, concept: str) -> bool:
        return True

    def __call__(self, clips: Clips, rows: pd.DataFrame) -> Mapping[str, Values]:
        result = self.function(clips, rows)
        table = result if isinstance(result, pd.DataFrame | Mapping) else {"score": result}
        return {str(metric): np.asarray(table[metric], np.float64) for metric in table}


class Panel:
    """Several judges of the same clips; concepts are those of the first, and of others what they know.

    Attributes:
        judges: the first is the one that decides.
    """

    def __init__(self, *judges: Judge) -> None:
        self.judges = judges
        self.key = " + ".join(judge.key for judge in judges)
        self.label, self.unit, self.knows = judges[0].label, judges[0].unit, judges[0].knows

    def __call__(self, clips: Clips, rows: pd.DataFrame) -> dict[str, Values]:
        concepts = rows["concept"].unique()
        others = [judge for judge in self.judges[1:] if all(map(judge.knows, concepts))]
        return ask([self.judges[0], *others], clips, rows)


def ask(judges: Sequence[Judge], clips: Clips, rows: pd.DataFrame) -> dict[str, Values]:
    """Collect what judges say of clips, which are converted once for all that take one rate."""
    found: dict[str, Values] = {}
    converted = {0: clips}
    for judge in judges:
        rate = getattr(judge, "rate", 0)
        if rate not in converted:
            converted[rate] = Clips(prepare(clips.audio, clips.sample_rate, rate)[:, None], rate)
        found |= judge(converted[rate], rows)
    return found


class EveryConcept:
    """What judges say of several concepts in each clip, whatever its own is: metrics such as ``"probe: piano"``."""

    def __init__(self, judges: Sequence[ConceptJudge], concepts: Sequence[str]) -> None:
        self.judges, self.concepts = judges, concepts
        self.key = f"{' + '.join(judge.key for judge in judges)} of {', '.join(concepts)}"
        self.label, self.unit = "several concepts at once", "of each judge"

    def knows(self, concept: str) -> bool:
        return True

    def __call__(self, clips: Clips, rows: pd.DataFrame) -> dict[str, Values]:
        found: dict[str, Values] = {}
        for judge in self.judges:
            sides = {concept: judge.sides(concept) for concept in self.concepts if judge.hears(concept, clips)}
            names = list(dict.fromkeys(name for some in sides.values() for name in some))
            scores = dict(zip(names, judge.score(clips, names).T, strict=True)) if names else {}
            for concept, (own, *others) in sides.items():
                found[f"{judge.metric}: {concept}"] = scores[own] - sum(scores[name] for name in others)
        return found


# ---- judges of concepts by name


class ConceptJudge(ABC):
    """A judge that scores clips for any name that it knows; a concept is worth its score less its opposite's.

    Attributes:
        metric: what its values are called.
        names: what it can score.
        absolute: whether scores of different names can be compared with each other as they are.
        rate: in Hz, that it takes clips at, by :func:`tada.metrics.audio.prepare`; 0 converts them in its own way.
    """

    key: str
    label: str
    unit: str
    metric: str
    names: Sequence[str]
    absolute = True
    rate = 0

    @abstractmethod
    def score(self, clips: Clips, names: Sequence[str]) -> Values:
        """Score clips for each of some names: ``[clips, names]``."""

    def sides(self, concept: str) -> list[str]:
        """Names that a concept is judged by: a class by itself, else both poles."""
        if concept in ATTRIBUTES or concept.startswith("no "):
            return [concept]
        about = JUDGED.get(concept.replace("_", " "))
        return [name for name in about.poles if name] if about else [concept]

    def knows(self, concept: str) -> bool:
        return all(name in self.names for name in self.sides(concept))

    def hears(self, concept: str, clips: Clips) -> bool:
        """Tell whether it can judge a concept by such clips."""
        return self.knows(concept)

    def __call__(self, clips: Clips, rows: pd.DataFrame) -> dict[str, Values]:
        values = np.empty(len(clips))
        for concept, places in by_concept(self, rows).items():
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
        return np.stack([class_probability(chances, name) for name in names], 1)


class SignalJudge(ConceptJudge):
    """Says by estimators that nobody trained whether a clip has the class of its row's concept: 1, 0, or -1.

    For clips of one attribute there is a second metric, which knows no classes: ``onsets`` a second for tempo,
    ``major`` (how much better a major scale fits than a minor one) for mood, ``pitch`` in Hz for voices and
    ``brightness`` in Hz for timbre.
    """

    label, unit, metric, key = "signal estimators", "found or not", "signal", "signal estimators 2"
    rate = SAMPLE_RATE
    names = (*(name for attribute in signals.CLASSIFIED for name in CLASSES[attribute] if name != "none"), "no voice")

    def score(self, clips: Clips, names: Sequence[str]) -> Values:
        """Score clips for each of some names, ``[clips, names]``; clips under 3 s have no tempo."""
        audio = _listenable(clips)
        places = [class_of(name) for name in names]
        found = {one: np.array(signals.CLASSIFIED[one](audio)) for one in {attribute for attribute, _ in places}}
        return np.stack([found[attribute] == own for attribute, own in places], 1).astype(float)

    def hears(self, concept: str, clips: Clips) -> bool:
        timed = self.knows(concept) and class_of(self.sides(concept)[0])[0] == "tempo"
        return self.knows(concept) and not (timed and clips[0].seconds < signals.SHORTEST)

    def __call__(self, clips: Clips, rows: pd.DataFrame) -> dict[str, Values]:
        attributes = {class_of(self.sides(concept)[0])[0] for concept in rows["concept"]}
        short = any(self.knows(concept) and not self.hears(concept, clips) for concept in rows["concept"].unique())
        found = {} if short else super().__call__(clips, rows)
        if len(attributes) == 1:
            metric, estimate = signals.MEASURED[attributes.pop()]
            found[metric] = np.asarray(estimate(_listenable(clips)), np.float64)
        return found


class OutsideJudge(ConceptJudge):
    """Measures the tags that have the concept's own name, by musicnn: their mean log-odds, less the opposite's."""

    label, unit, metric, absolute, rate = "music tags of musicnn", "log-odds", "musicnn", False, musicnn.RATE

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
        check_name("ear", ear, EARS)
        check_name("weights", weights, WEIGHTS)
        self.ear, self.weights = ear, weights
        self.metric = {"clap": "mini-clap", "muq": "mini-second"}.get(ear, ear) if weights == "mini" else ear
        self.key = self.rule.format(ear=ear, weights=weights)
        self.label = f"similarity to the concept's query by {EARS[ear]}{' (mini)' if weights == 'mini' else ''}"
        self._models: dict[str, AudioTextModel] = {}

    def sides(self, concept: str) -> list[str]:
        """The concept itself: the paper compares clips with one query."""
        return [concept.replace("_", " ")]

    def score(self, clips: Clips, names: Sequence[str]) -> Values:
        queries = [(about, about.ear if self.ear == "paper" else self.ear) for about in map(judged, names)]
        rows = {ear: embed(self.load(ear), clips.audio, clips.sample_rate) for ear in {ear for _, ear in queries}}
        columns = [similarity(rows[ear], embed_text(self.load(ear), [about.query(ear)])) for about, ear in queries]
        return torch.stack(columns, 1).double().numpy()

    def load(self, ear: str) -> AudioTextModel:
        """Load a model, once."""
        if ear not in self._models:
            self._models[ear] = load_ear(ear, self.weights)
        return self._models[ear]


# ---- by name


def as_judge(judge: JudgeLike) -> Judge:
    """Give back a judge as it is, and a plain function ``score(clips, rows)`` as a :class:`FunctionJudge`."""
    return judge if hasattr(judge, "knows") else FunctionJudge(judge)  # type: ignore[return-value]


def make_judge(name: str = "", checkpoint: str | Path | None = None) -> Judge:
    """Make a judge by its name.

    Args:
        name: ``"probe"`` (the minis' attribute probe, with an ear beside it), ``"clap"``, ``"muq"`` or ``"paper"``
            (similarity to the concept's query, see :class:`EarJudge`), or ``module:name`` of a function
            ``score(clips, rows)``; nothing for the checkpoint's own: the probe for minis and tiny ones, else CLAP.
        checkpoint: what the clips are made with.

    Raises:
        ValueError: no such judge, or nothing given for a checkpoint that has no judge of its own.
    """
    valid = f"expected probe, {', '.join(EARS)}, or module:name of a function score(clips, rows)"
    ours = checkpoint in ("mini", "tiny")
    if not name and checkpoint and not ours and Path(str(checkpoint)).expanduser().is_dir():
        raise InputError(f"got no score for the folder {checkpoint}; {valid}")
    chosen = name or ("probe" if ours else "clap")
    if chosen == "probe":
        return Panel(ProbeJudge(), EarJudge("clap", "mini"))
    if chosen in EARS:
        return EarJudge(chosen)
    module, _, attribute = chosen.partition(":")
    try:
        score = getattr(import_module(module), attribute)
        signature(score).bind("clips", "rows")
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise InputError(f"no score {chosen!r} ({error}); {valid}") from None
    return as_judge(score)


def load_ear(ear: str, weights: str) -> Any:
    """Load the audio-text model in CLAP's or MuQ-MuLan's place."""
    return (clap if ear == "clap" else muq).load("mini" if weights == "mini" else None)


# ---- names


def by_concept(judge: Judge, rows: pd.DataFrame) -> dict[Any, Any]:
    """Group the numbers of rows by their concept; KeyError for one that the judge does not know."""
    groups: dict[Any, Any] = dict(rows.groupby("concept", sort=False).indices)
    for name in groups:
        if not judge.knows(name):
            valid = [one for one in {**JUDGED, **CONCEPTS, **ATTRIBUTES} if judge.knows(one)]
            check_name(f"concept of {judge.label}", name, valid)
    return groups


def only(concepts: Iterable[str]) -> str:
    """The one concept of all rows; ValueError for several."""
    names = sorted(set(concepts))
    if len(names) != 1:
        raise InputError(f"got clips of {len(names)} concepts; expected those of one")
    return names[0]


def class_of(name: str) -> tuple[str, str]:
    """Tell the attribute that a class, or ``no voice``, is of, and the class in it."""
    return ATTRIBUTES.get(name, name.removeprefix("no ")), name if name in ATTRIBUTES else "none"


def class_probability(chances: Mapping[str, Any], name: str) -> Values:
    """The probability of one class, ``[clips]``."""
    attribute, own = class_of(name)
    return chances[attribute][:, CLASSES[attribute].index(own)].double().numpy()


def _listenable(clips: Clips) -> Any:
    """Clips as the estimators take them, mono at 16 kHz."""
    return prepare(clips.audio, clips.sample_rate, SAMPLE_RATE).numpy()
