"""All metrics of the evaluation, of steered clips beside their unsteered partners."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, get_args

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tada.audio import Clips, matching_gain
from tada.concepts.steered import Wording
from tada.concepts.table import JUDGED, judged
from tada.errors import InputError, check_name
from tada.metrics import aesthetics as ratings
from tada.metrics import lpaps, preservation
from tada.metrics.audio import prepare
from tada.metrics.embedding import embed, embed_text, similarity
from tada.metrics.judges import WEIGHTS, OutsideJudge, ProbeJudge, SignalJudge, ask, load_ear, only
from tada.metrics.packages import installed
from tada.minis.sounds import SAMPLE_RATE
from tada.stats import Values

OPPOSITE = "-opposite"
"""Ends the name of a similarity to the concept's opposite."""

UNSTEERED = "none"
"""The method of clips without steering."""

KEPT = 64
"""Unsteered clips whose features a suite keeps."""


class SuiteFeatures(NamedTuple):
    """What a :class:`MetricSuite` computes of clips before it compares them.

    Attributes:
        embedding: by the CLAP-class model, ``[clips, dim]``.
        second: by the second model, ``[clips, dim]``.
        stages: for LPAPS, as from :func:`tada.metrics.lpaps.embed`.
        shape: for distances of harmony, structure, rhythm and melody.
    """

    embedding: Tensor
    second: Tensor
    stages: tuple[Tensor, ...]
    shape: preservation.Shape

    def take(self, rows: list[int]) -> SuiteFeatures:
        """Keep some clips."""
        stages = tuple(stage[rows] for stage in self.stages)
        return SuiteFeatures(self.embedding[rows], self.second[rows], stages, self.shape.take(rows))


def join(parts: Sequence[SuiteFeatures]) -> SuiteFeatures:
    """Put the features of several clips together."""
    embedding, second, stages, shape = zip(*parts, strict=True)
    shapes = (np.concatenate(each) for each in zip(*shape, strict=True))
    stages = tuple(torch.cat(stage) for stage in zip(*stages, strict=True))
    return SuiteFeatures(torch.cat(embedding), torch.cat(second), stages, preservation.Shape(*shapes))


class MetricSuite:
    """Computes all metrics of the evaluation: similarities, LPAPS to the unsteered clips, what judges say, ratings.

    The package's own models give the metrics ``mini-clap`` and ``mini-second``, public ones ``clap`` and ``muq``.
    Beside them stand the probe, for synthetic music, signal estimators and musicnn, where they know the concept.
    """

    label, unit = "metrics of the evaluation", "similarity"

    def __init__(
        self,
        weights: str = "mini",
        aesthetics: bool | None = None,
        loudness: float | None = None,
        over: str = "channel",
        wording: Wording = "paper",
    ) -> None:
        """Load the models.

        Args:
            weights: one of :data:`tada.metrics.judges.WEIGHTS`.
            aesthetics: whether Audiobox Aesthetics rates clips, too; None: with public weights, if it is installed.
            loudness: LUFS that every clip is brought to first; None for clips as they are.
            over: what LPAPS normalises over, see :mod:`tada.metrics.lpaps`; the other kind is kept beside it.
            wording: of the queries, see :meth:`tada.concepts.Concept.query`; with the paper's, the similarity to the
                opposite concept's query is kept beside, as ``clap-opposite`` and the like.

        Raises:
            KeyError: other weights, another axis. ImportError: a package is missing, with the line that installs it.
        """
        check_name("weights", weights, WEIGHTS)
        check_name("axis", over, lpaps.AXES)
        check_name("wording", wording, get_args(Wording))
        self.weights, self.over, self.loudness, self.wording = weights, over, loudness, wording
        self.clap, self.second = (load_ear(name, weights) for name in ("clap", "muq"))
        rated = installed("audiobox_aesthetics") if aesthetics is None and weights == "public" else bool(aesthetics)
        self.predictor = ratings.load() if rated else None
        self.judges = (*((ProbeJudge(),) if weights == "mini" else ()), SignalJudge(), OutsideJudge())
        judges = " ".join(judge.key for judge in self.judges)
        self.key = (
            f"{self.clap!r} {self.second!r} {judges}{' audiobox' * rated} lufs {loudness} over {over} {wording} 5"
        )
        self._unsteered: dict[tuple[str, int], SuiteFeatures] = {}

    def knows(self, concept: str) -> bool:
        return concept.replace("_", " ") in JUDGED

    def __call__(self, clips: Clips, rows: pd.DataFrame) -> dict[str, Any]:
        """Judge clips of one concept, all unsteered or all steered, beside the unsteered clip of their prompt and seed.

        ``rows`` has ``concept, prompt, seed, method``; unsteered clips, whose method is :data:`UNSTEERED`, come first.
        Beside the metrics of :meth:`judge` there is ``embedding``, ``[clips, dim]`` by the CLAP-class model.
        """
        features, concept = self.listen(clips), only(rows["concept"])
        places = list(zip(rows["prompt"], rows["seed"], strict=True))
        if rows["method"].iloc[0] == UNSTEERED:
            for row, place in enumerate(places):
                self._unsteered.pop(place, None)  # the newest are last
                self._unsteered[place] = features.take([row])
        if not self._unsteered.keys() >= set(places):
            raise InputError("got clips that no unsteered ones came before; expected one of every prompt and seed")
        unsteered = join([self._unsteered[place] for place in places])
        for place in list(self._unsteered)[: -max(KEPT, len(places))]:
            del self._unsteered[place]
        found = self.compare(features, concept, unsteered) | self.judge(clips, concept)
        return {**found, "embedding": features.embedding.numpy()}

    @torch.no_grad()
    def listen(self, clips: Clips) -> SuiteFeatures:
        """Compute the features of clips; ValueError as for :func:`tada.metrics.audio.prepare`."""
        audio, rate = self._level(clips.audio, clips.sample_rate), clips.sample_rate
        if self.weights == "mini":  # all of the package's own models take one rate
            audio, rate = prepare(audio, rate, SAMPLE_RATE, 1.0), SAMPLE_RATE
        rows, stages = self.clap.features(prepare(audio, rate, self.clap.rate))
        shape = preservation.measure(prepare(audio, rate, SAMPLE_RATE, 1.0).numpy())
        return SuiteFeatures(rows, embed(self.second, audio, rate), stages, shape)

    def embed(self, audio: Any, sample_rate: int) -> Tensor:
        """Compute embeddings ``[clips, dim]`` by the CLAP-class model, for distances between sets."""
        return embed(self.clap, self._level(torch.as_tensor(audio), sample_rate), sample_rate)

    def judge(self, clips: Clips, concept: str) -> dict[str, Values]:
        """Compute what needs no partner: what the judges say of clips, and ratings; float64 ``[clips]`` each."""
        clips = Clips(self._level(clips.audio, clips.sample_rate), clips.sample_rate)
        rows = pd.DataFrame({"concept": [concept] * len(clips)})
        found = ask([judge for judge in self.judges if judge.knows(concept)], clips, rows)
        if self.predictor is not None:
            table = ratings.score(self.predictor, clips.audio, clips.sample_rate)
            found |= {axis: table[axis].to_numpy() for axis in ratings.AXES}
        return found

    def compare(self, features: SuiteFeatures, concept: str, unsteered: SuiteFeatures) -> dict[str, Values]:
        """Compute similarities to the concept and distances from the partners, float64 ``[clips]`` each.

        Args:
            features: of the clips.
            concept: a name of :mod:`tada.concepts`, or one of section 4.2.
            unsteered: of their partners, one each.

        Raises:
            KeyError: an unknown concept.
        """
        about = judged(concept)
        found = preservation.distance(features.shape, unsteered.shape)
        for model, rows, ear in ((self.clap, features.embedding, "clap"), (self.second, features.second, "muq")):
            queries = {model.name: about.query(ear, self.wording)}
            if self.wording == "paper" and len(about.table_5) > 1:
                queries[model.name + OPPOSITE] = about.table_5[1]
            for name, query in queries.items():
                found[name] = similarity(rows, embed_text(model, [query])).double().numpy()
        for over in sorted(lpaps.AXES, key=lambda axis: axis != self.over):
            distance = lpaps.distance(features.stages, unsteered.stages, over).double().numpy()
            found["lpaps" if over == self.over else f"lpaps-{over}"] = distance
        return found

    def _level(self, audio: Tensor, rate: int) -> Tensor:
        """Bring clips to one loudness, that of their mono mix."""
        if self.loudness is None:
            return audio
        mixes = [clip.reshape(-1, clip.shape[-1]).mean(0).numpy() for clip in audio]
        gains = [10 ** (matching_gain(mix, rate, self.loudness) / 20) for mix in mixes]
        return audio * torch.tensor(gains, dtype=audio.dtype).view(-1, *[1] * (audio.ndim - 1))
