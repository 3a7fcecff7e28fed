"""Judges: measure how much of a concept each clip has. One protocol for all of them.

=======================  ==========================================================  ================================
judge                    what it measures                                            metrics
=======================  ==========================================================  ================================
``ProbeJudge``           probability by the attribute probe, for synthetic music     ``probe``
``ProbeSteeringJudge``   the same, with all that a range of strengths is found by    ``concept against sound bpm``
``QueryJudge``           similarity to the concept's query, for any music            ``clap``, ``muq`` or ``paper``
``QuerySteeringJudge``   the same, with all that a range of strengths is found by    ``concept sound``
``MetricSuite``          every metric of the evaluation, beside the unsteered clips  ``clap muq lpaps probe`` ...
=======================  ==========================================================  ================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, get_args

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from tada.audio import Clips, matching_gain
from tada.concepts.steered import CONCEPTS, Wording
from tada.concepts.table import JUDGED, judged
from tada.errors import InputError, UnknownNameError, unknown
from tada.io import sha256
from tada.metrics import aesthetics as ratings
from tada.metrics import clap, external, lpaps, muq
from tada.metrics.audio import prepare
from tada.metrics.embedding import AudioTextModel, embed, embed_text, similarity
from tada.metrics.packages import installed
from tada.minis import listen, probe
from tada.minis.attributes import CLASSES
from tada.minis.mel import listenable
from tada.minis.sounds import SAMPLE_RATE
from tada.models.fingerprint import log_loaded

Values = NDArray[np.float64]

ATTRIBUTES = {name: attribute for attribute, classes in CLASSES.items() for name in classes if name != "none"}
"""Class of the synthetic music -> its attribute."""

WEIGHTS = ("mini", "public")
"""Whose audio-text models judge: the package's own, for synthetic music, or those of the paper, for music."""

OPPOSITE = "-opposite"
"""Ends the name of a similarity to the concept's opposite."""

UNSTEERED = "none"
"""The method of clips without steering."""

KEPT = 64
"""Unsteered clips whose features a suite keeps."""


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
            rows: with a column ``concept``; a :class:`MetricSuite` asks for more.

        Returns:
            Metric -> float64 ``[clips]``.

        Raises:
            KeyError: a concept that it does not know, with the nearest.
        """


class FunctionJudge:
    """A plain function ``score(clips, rows)`` as a judge of any concept; its key is its attribute ``key`` or its name.

    Raises:
        ValueError: a function whose name does not stay the same from run to run.
    """

    unit = "score"

    def __init__(self, function: Callable[[Clips, pd.DataFrame], Any]) -> None:
        name = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', '<')}"
        self.function, self.key = function, str(getattr(function, "key", name))
        self.label = self.key
        if "<" in self.key and not hasattr(function, "key"):
            raise InputError(f"{function!r} has no name that stays the same from run to run: give it an attribute key, "
                             "a text that names what it measures with")  # fmt: skip

    def knows(self, concept: str) -> bool:
        return True

    def __call__(self, clips: Clips, rows: pd.DataFrame) -> Mapping[str, Values]:
        result = self.function(clips, rows)
        table = result if isinstance(result, pd.DataFrame | Mapping) else {"score": result}
        return {str(metric): np.asarray(table[metric], np.float64) for metric in table}


JudgeLike = Judge | Callable[[Clips, pd.DataFrame], Any]


def as_judge(judge: JudgeLike) -> Judge:
    """Give back a judge as it is, and a plain function ``score(clips, rows)`` as a :class:`FunctionJudge`."""
    return judge if hasattr(judge, "knows") else FunctionJudge(judge)  # type: ignore[return-value]


def steering_judge(vocabulary: str) -> Judge:
    """Make the judge of steered clips: the probe for prompts of the ``"mini"`` vocabulary, else CLAP."""
    return ProbeSteeringJudge() if vocabulary == "mini" else QuerySteeringJudge()


class ProbeJudge:
    """Measures the probability that a clip has the class of its row's concept, 0 to 1, by the attribute probe."""

    label, unit, rule = "attribute probe", "probability", "attribute probe"

    def __init__(self, folder: str | Path = probe.WEIGHTS) -> None:
        """Load the probe of a folder; FileNotFoundError where there is none."""
        self.probe = probe.load(folder)
        digest = sha256(Path(folder) / "probe.safetensors")
        self.key = f"{self.rule} {digest}"
        log_loaded("attribute probe", lambda: digest)

    def knows(self, concept: str) -> bool:
        return concept in ATTRIBUTES

    def __call__(self, clips: Clips, rows: pd.DataFrame) -> dict[str, Values]:
        """Judge clips of at least a second."""
        names = _known(self, rows["concept"], ATTRIBUTES)
        chances = self.probe.probabilities(clips.audio, clips.sample_rate)
        return {"probe": np.array([_class(chances, name)[row] for row, name in enumerate(names)])}


class ProbeSteeringJudge(ProbeJudge):
    """Measures clips steered along one concept, by the attribute probe and by signal estimators.

    ``concept`` is the probability of the concept's positive pole, ``against`` that of the negative one, ``sound`` how
    sure the probe is of the other attributes (mean of its top probabilities, 0 to 1: noise leaves it undecided), and
    ``bpm``, for tempo, beats per minute by autocorrelation.
    """

    label, rule = "attribute probe and signal estimators, trained and made without this model", "mini judge 2"

    def knows(self, concept: str) -> bool:
        return concept in CONCEPTS and bool(CONCEPTS[concept].attribute)

    def __call__(self, clips: Clips, rows: pd.DataFrame) -> dict[str, Values]:
        """Judge clips of at least a second, all of one concept; ValueError for several."""
        concept = CONCEPTS[_only(_known(self, rows["concept"], filter(self.knows, CONCEPTS)))]
        chances = self.probe.probabilities(clips.audio, clips.sample_rate)
        pole, other = concept.poles
        positive = _class(chances, pole)
        sure = [values.amax(1).double().numpy() for name, values in chances.items() if name != concept.attribute]
        against = _class(chances, other) if other else 1 - positive
        found = {"concept": positive, "against": against, "sound": np.mean(sure, axis=0)}
        if concept.attribute == "tempo" and clips[0].seconds >= external.SHORTEST:
            found["bpm"] = np.asarray(listen.tempo(listenable(clips.audio, clips.sample_rate).numpy()), float)
        return found


class QueryJudge:
    """Measures the similarity of a clip to its row's concept in words, -1 to 1, by an audio-text model."""

    unit, rule = "similarity", "tada.metrics.concept_score {weights} {ear} 1"

    def __init__(self, ear: str = "clap", weights: str = "public") -> None:
        """Choose the model, which is loaded when it is first needed.

        Args:
            ear: ``"clap"``, ``"muq"``, or ``"paper"`` for the one that the paper takes for the concept.
            weights: one of :data:`WEIGHTS`.

        Raises:
            KeyError: another ear or other weights.
        """
        titles = {"clap": "CLAP", "muq": "MuQ-MuLan", "paper": "the ear of the paper"}
        self.ear, self.weights = _choice("ear", ear, titles), _choice("weights", weights, WEIGHTS)
        self.key = self.rule.format(ear=ear, weights=weights)
        self.label = f"similarity to the concept's query by {titles[ear]}{' (mini)' if weights == 'mini' else ''}"
        self._models: dict[str, AudioTextModel] = {}

    def knows(self, concept: str) -> bool:
        return concept.replace("_", " ") in JUDGED

    def __call__(self, clips: Clips, rows: pd.DataFrame) -> dict[str, Values]:
        return {self.ear: self.similarity(clips, rows["concept"].tolist())}

    def similarity(self, clips: Clips, concepts: Sequence[str]) -> Values:
        """Compute the similarity of each clip to the query of its concept, ``[clips]``."""
        ears = np.array([judged(concept).ear if self.ear == "paper" else self.ear for concept in concepts])
        values = np.empty(len(ears))
        for ear in np.unique(ears):
            places = np.flatnonzero(ears == ear)
            model = self.load(ear)
            texts = embed_text(model, [judged(concepts[place]).query(ear) for place in places.tolist()])
            audio = embed(model, clips.audio[places], clips.sample_rate)
            values[places] = similarity(audio, texts).double().numpy()
        return values

    def load(self, ear: str) -> AudioTextModel:
        """Load a model, once."""
        if ear not in self._models:
            self._models[ear] = _load_ear(ear, self.weights)
        return self._models[ear]


class QuerySteeringJudge(QueryJudge):
    """Measures clips of public checkpoints steered along one concept.

    ``concept`` is the similarity to the concept's query, ``sound`` 1 where the level of a clip is between -60 and 0 dB
    of full scale and 0 elsewhere.
    """

    rule = "public judge 1 {ear}"

    def __call__(self, clips: Clips, rows: pd.DataFrame) -> dict[str, Values]:
        level = 10 * np.log10(clips.audio.double().square().mean((1, 2)).numpy() + 1e-12)
        value = self.similarity(clips, rows["concept"].tolist())
        return {"concept": value, "sound": ((level > -60) & (level < 0)).astype(float)}


@dataclass(frozen=True)
class PanelFeatures:
    """What a :class:`MetricSuite` computes of clips before it compares them; indexed by numbers of clips.

    Attributes:
        embedding: by the CLAP-class model, ``[clips, dim]``.
        second: by the second model, ``[clips, dim]``.
        stages: for LPAPS, as from :func:`tada.metrics.lpaps.embed`.
        others: metric -> one value a clip, whatever the concept.
    """

    embedding: Tensor
    second: Tensor
    stages: tuple[Tensor, ...]
    others: Mapping[str, Values]

    def __getitem__(self, rows: Sequence[int]) -> PanelFeatures:
        some = list(rows)
        others = {name: values[some] for name, values in self.others.items()}
        return PanelFeatures(self.embedding[some], self.second[some], tuple(x[some] for x in self.stages), others)

    @staticmethod
    def join(parts: Sequence[PanelFeatures]) -> PanelFeatures:
        """Put the clips of several one after the other."""
        return PanelFeatures(
            torch.cat([part.embedding for part in parts]),
            torch.cat([part.second for part in parts]),
            tuple(torch.cat(stages) for stages in zip(*(part.stages for part in parts), strict=True)),
            {name: np.concatenate([part.others[name] for part in parts]) for name in parts[0].others},
        )


class MetricSuite:
    """Computes all metrics of the evaluation: similarities, LPAPS to the unsteered clips, ratings, signal estimators.

    The package's own models give the metrics ``mini-clap`` and ``mini-second``, public ones ``clap`` and ``muq``;
    ``probe``, for synthetic music, is the probability of the concept's pole less that of its opposite.
    """

    label, unit = "metrics of the evaluation", "similarity"

    def __init__(
        self,
        weights: str = "mini",
        aesthetics: bool | None = None,
        loudness: float | None = None,
        over: str = "channel",
        wording: Wording = "paper",
        device: str = "auto",
    ) -> None:
        """Load the models.

        Args:
            weights: one of :data:`WEIGHTS`.
            aesthetics: whether Audiobox Aesthetics rates clips, too; None: with public weights, if it is installed.
            loudness: LUFS that every clip is brought to first; None for clips as they are.
            over: what LPAPS normalises over, see :mod:`tada.metrics.lpaps`; the other kind is kept beside it.
            wording: of the queries, see :meth:`tada.concepts.Concept.query`; with the paper's, the similarity to the
                opposite concept's query is kept beside, as ``clap-opposite`` and the like.
            device: a torch device; ``"auto"`` takes a GPU if there is one.

        Raises:
            KeyError: other weights, another axis. ImportError: a package is missing, with the line that installs it.
        """
        self.weights, self.over = _choice("weights", weights, WEIGHTS), _choice("axis", over, lpaps.AXES)
        self.loudness, self.wording, self.batch = loudness, _choice("wording", wording, get_args(Wording)), 16
        self.clap, self.second = (_load_ear(name, weights, device) for name in ("clap", "muq"))
        rated = installed("audiobox_aesthetics") if aesthetics is None and weights == "public" else bool(aesthetics)
        self.predictor = ratings.load() if rated else None
        self.probe = probe.load() if weights == "mini" else None
        extra = " audiobox" if rated else ""
        self.key = f"{self.clap!r} {self.second!r}{extra} lufs {loudness} over {over} {wording} 3"
        self._unsteered: dict[tuple[str, int], PanelFeatures] = {}

    def knows(self, concept: str) -> bool:
        return concept.replace("_", " ") in JUDGED

    def __call__(self, clips: Clips, rows: pd.DataFrame) -> dict[str, Any]:
        """Judge clips of one concept, all unsteered or all steered, beside the unsteered clip of their prompt and seed.

        ``rows`` has ``concept, prompt, seed, method``; unsteered clips, whose method is :data:`UNSTEERED`, come first.
        Beside the metrics of :meth:`judge` there is ``embedding``, ``[clips, dim]`` by the CLAP-class model.
        """
        features, concept = self.listen(clips), _only(rows["concept"])
        places = list(zip(rows["prompt"], rows["seed"], strict=True))
        if rows["method"].iloc[0] == UNSTEERED:
            for row, place in enumerate(places):
                self._unsteered.pop(place, None)  # the newest are last
                self._unsteered[place] = features[[row]]
        if not self._unsteered.keys() >= set(places):
            raise InputError("got clips that no unsteered ones came before; expected one of every prompt and seed")
        unsteered = PanelFeatures.join([self._unsteered[place] for place in places])
        for place in list(self._unsteered)[: -max(KEPT, len(places))]:
            del self._unsteered[place]
        return {**self.judge(features, concept, unsteered), "embedding": features.embedding.numpy()}

    @torch.no_grad()
    def listen(self, clips: Clips) -> PanelFeatures:
        """Compute the features of clips; ValueError as for :func:`tada.metrics.audio.prepare`."""
        audio, rate = self._level(clips.audio, clips.sample_rate), clips.sample_rate
        if self.probe is not None:  # all of the package's own models take one rate
            audio, rate = prepare(audio, rate, SAMPLE_RATE, 1.0), SAMPLE_RATE
        rows, stages = self.clap.features(prepare(audio, rate, self.clap.rate), self.batch)
        return PanelFeatures(rows, embed(self.second, audio, rate, self.batch), stages, self._others(audio, rate))

    def embed(self, audio: Any, sample_rate: int) -> Tensor:
        """Compute embeddings ``[clips, dim]`` by the CLAP-class model, for distances between sets."""
        return embed(self.clap, self._level(torch.as_tensor(audio), sample_rate), sample_rate, self.batch)

    def judge(self, features: PanelFeatures, concept: str, unsteered: PanelFeatures) -> dict[str, Values]:
        """Compute all metrics of clips, float64 ``[clips]`` each.

        Args:
            features: of the clips.
            concept: a name of :mod:`tada.concepts`, or one of section 4.2.
            unsteered: of their partners, one each.

        Raises:
            KeyError: an unknown concept.
        """
        about = judged(concept)
        found: dict[str, Values] = {}
        for model, rows, ear in ((self.clap, features.embedding, "clap"), (self.second, features.second, "muq")):
            queries = {model.name: about.query(ear, self.wording)}
            if self.wording == "paper" and len(about.table_5) > 1:
                queries[model.name + OPPOSITE] = about.table_5[1]
            for name, query in queries.items():
                found[name] = similarity(rows, embed_text(model, [query])).double().numpy()
        for over in sorted(lpaps.AXES, key=lambda axis: axis != self.over):
            found["lpaps" if over == self.over else f"lpaps-{over}"] = self.distance(features, unsteered, over)
        if self.probe is not None and about.poles[0] in ATTRIBUTES:
            chances = [features.others.get(f"probability {name}", np.zeros(1)) for name in about.poles]
            found["probe"] = chances[0] - chances[1]
        own = {*ratings.AXES, external.SIGNALS.get(concept)}
        return found | {name: values for name, values in features.others.items() if name in own}

    def distance(self, features: PanelFeatures, unsteered: PanelFeatures, over: str | None = None) -> Values:
        """Compute the LPAPS of clips and their partners, ``[clips]``, 0 to 16, lower is closer."""
        return lpaps.distance(features.stages, unsteered.stages, over or self.over).double().numpy()

    def _others(self, audio: Tensor, rate: int) -> dict[str, Values]:
        found = external.signals(audio, rate, self.weights)
        if self.probe is not None:
            chances = self.probe.probabilities(audio, rate)
            found |= {f"probability {name}": _class(chances, name) for name in ATTRIBUTES}
        if self.predictor is not None:
            table = ratings.score(self.predictor, audio, rate)
            found |= {axis: table[axis].to_numpy() for axis in ratings.AXES}
        return found

    def _level(self, audio: Tensor, rate: int) -> Tensor:
        """Bring clips to one loudness, that of their mono mix."""
        if self.loudness is None:
            return audio
        mixes = [clip.reshape(-1, clip.shape[-1]).mean(0).numpy() for clip in audio]
        gains = [10 ** (matching_gain(mix, rate, self.loudness) / 20) for mix in mixes]
        return audio * torch.tensor(gains, dtype=audio.dtype).view(-1, *[1] * (audio.ndim - 1))


def _class(chances: Mapping[str, Tensor], name: str) -> Values:
    """The probability of one class, ``[clips]``."""
    return chances[ATTRIBUTES[name]][:, CLASSES[ATTRIBUTES[name]].index(name)].double().numpy()


def _known(judge: Judge, concepts: Iterable[str], valid: Iterable[str]) -> list[str]:
    """The concepts as a list, or the error for the first one that the judge does not know."""
    names = list(concepts)
    for name in names:
        if not judge.knows(name):
            raise UnknownNameError(unknown("concept of the attribute probe", name, valid, "The renderer plays these."))
    return names


def _only(concepts: Iterable[str]) -> str:
    names = sorted(set(concepts))
    if len(names) != 1:
        raise InputError(f"got clips of {len(names)} concepts; expected those of one")
    return names[0]


def _choice(kind: str, got: str, valid: Iterable[str]) -> str:
    if got not in valid:
        raise UnknownNameError(unknown(kind, got, valid))
    return got


def _load_ear(ear: str, weights: str, device: str = "auto") -> Any:
    return (clap if ear == "clap" else muq).load("mini" if weights == "mini" else None, device=device)
