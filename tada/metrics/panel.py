"""Who listens to a clip in an evaluation: a CLAP-class ear (alignment, LPAPS, embeddings), a second ear, and others.

With ``"mini"`` the ears are the package's own and their columns are named so (``mini-clap``, ``mini-second``); the
attribute probe, whose truth is the renderer, is there beside them (``probe``). With ``"public"`` they are CLAP and
MuQ-MuLan. A metric is one float a clip; what it means is said in the metric's own file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tada.errors import UnknownNameError, unknown
from tada.metrics import aesthetics as ratings
from tada.metrics import clap, external, lpaps, muq, score
from tada.metrics.audio import prepare
from tada.metrics.ear import embed_text, similarity
from tada.metrics.packages import installed

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Heard:
    """What a panel made of clips; rows can be taken out by their numbers.

    Attributes:
        embedding: by the CLAP-class ear, ``[clips, dim]``.
        second: by the second ear, ``[clips, dim]``.
        stages: for LPAPS, as from :func:`tada.metrics.lpaps.embed`.
        others: metric -> one value a clip, whatever the concept.
    """

    embedding: Tensor
    second: Tensor
    stages: tuple[Tensor, ...]
    others: Mapping[str, Values]

    def __getitem__(self, rows: Sequence[int]) -> Heard:
        places = list(rows)
        return Heard(
            self.embedding[places],
            self.second[places],
            tuple(stage[places] for stage in self.stages),
            {name: values[places] for name, values in self.others.items()},
        )

    @staticmethod
    def join(parts: Sequence[Heard]) -> Heard:
        """All clips of several."""
        return Heard(
            torch.cat([part.embedding for part in parts]),
            torch.cat([part.second for part in parts]),
            tuple(torch.cat(stages) for stages in zip(*(part.stages for part in parts), strict=True)),
            {name: np.concatenate([part.others[name] for part in parts]) for name in parts[0].others},
        )


class Panel:
    """The ears of an evaluation, loaded once."""

    def __init__(
        self,
        ears: str = "mini",
        aesthetics: bool | None = None,
        loudness: float | None = None,
        over: str = "channel",
        device: str = "auto",
        batch: int = 16,
    ) -> None:
        """Choose who listens.

        Args:
            ears: ``"mini"`` for synthetic music, ``"public"`` for music.
            aesthetics: whether Audiobox Aesthetics listens, too; None: with public ears, if it is installed.
            loudness: LUFS that every clip is brought to before anybody listens; None for clips as they are.
            over: what LPAPS normalises over, see :mod:`tada.metrics.lpaps`; the other kind is kept beside it.
            device: a torch device; ``"auto"`` takes a GPU if there is one.
            batch: windows at a time.

        Raises:
            KeyError: unknown ears. ImportError: a package that is not installed, with the line that installs it.
        """
        if ears not in score.EARS:
            raise UnknownNameError(unknown("ears", ears, score.EARS))
        if over not in lpaps.AXES:
            raise UnknownNameError(unknown("axis", over, lpaps.AXES))
        self.ears, self.loudness, self.over, self.batch = ears, loudness, over, batch
        weights = "mini" if ears == "mini" else None
        self.clap, self.second = clap.load(weights, device=device), muq.load(weights, device=device)
        rated = installed("audiobox_aesthetics") if aesthetics is None and ears == "public" else bool(aesthetics)
        self.predictor = ratings.load() if rated else None

    @property
    def key(self) -> str:
        """What it measures with."""
        rated = "" if self.predictor is None else " audiobox"
        return f"{self.clap!r} {self.second!r}{rated} lufs {self.loudness} over {self.over} 2"

    @torch.no_grad()
    def hear(self, clips: Any) -> Heard:
        """Listen to :class:`tada.Clips`.

        Raises:
            ValueError: see :func:`tada.metrics.audio.prepare`.
        """
        audio, rate = self._level(clips.audio, clips.sample_rate), clips.sample_rate
        if self.ears == "mini":  # all of them hear at one rate
            audio, rate = prepare(audio, rate, self.clap.rate, 1.0), self.clap.rate
        pieces = self.clap.pieces(prepare(audio, rate, self.clap.rate))
        heard = [self.clap.listen(some) for some in pieces.flatten(0, 1).split(self.batch)]
        rows = torch.cat([rows for rows, _ in heard]).cpu().view(*pieces.shape[:2], -1).mean(1)
        stages = zip(*(stages for _, stages in heard), strict=True)
        return Heard(
            rows,
            muq.embed(self.second, audio, rate, self.batch),
            tuple(torch.cat(parts).cpu().unflatten(0, pieces.shape[:2]) for parts in stages),
            self._others(audio, rate),
        )

    def embed(self, audio: Any, sample_rate: int) -> Tensor:
        """Embeddings ``[clips, dim]`` by the CLAP-class ear, for distances between sets."""
        return clap.embed(self.clap, self._level(torch.as_tensor(audio), sample_rate), sample_rate, self.batch)

    def judge(self, heard: Heard, concept: str, unsteered: Heard) -> dict[str, Values]:
        """All metrics of clips: similarity to the concept, distance from the clips without steering, ratings, signal.

        Args:
            heard: the clips.
            concept: see :func:`tada.metrics.concept_score`.
            unsteered: their partners, one each.
        """
        found = {
            self.clap.name: self._similar(self.clap, heard.embedding, concept, "clap"),
            self.second.name: self._similar(self.second, heard.second, concept, "muq"),
            "lpaps": self.distance(heard, unsteered),
        }
        other = next(axis for axis in lpaps.AXES if axis != self.over)
        found[f"lpaps-{other}"] = self.distance(heard, unsteered, other)
        poles = score.poles(concept)
        if self.ears == "mini" and score.attribute(poles[0]):
            wanted, against = (heard.others.get(f"probability {pole}", np.zeros(1)) for pole in poles)
            found["probe"] = wanted - against
        own = {*ratings.AXES, external.SIGNALS.get(concept)}
        return found | {name: values for name, values in heard.others.items() if name in own}

    def distance(self, heard: Heard, unsteered: Heard, over: str | None = None) -> Values:
        """LPAPS of clips and their partners, ``[clips]``."""
        return lpaps.distance(heard.stages, unsteered.stages, over or self.over).double().numpy()

    def _similar(self, ear: Any, rows: Tensor, concept: str, judge: str) -> Values:
        return similarity(rows, embed_text(ear, [score.query(concept, judge)])).double().numpy()

    def _others(self, audio: Tensor, rate: int) -> dict[str, Values]:
        found = external.signals(audio, rate, self.ears)
        if self.ears == "mini":
            from tada.minis import probe
            from tada.minis.attributes import CLASSES
            from tada.minis.sounds import SAMPLE_RATE

            chances = probe.load().probabilities(prepare(audio, rate, SAMPLE_RATE, 1.0), SAMPLE_RATE)
            found |= {
                f"probability {name}": chances[attribute][:, place].double().numpy()
                for attribute, classes in CLASSES.items()
                for place, name in enumerate(classes)
                if name != "none"
            }
        if self.predictor is not None:
            table = ratings.score(self.predictor, audio, rate)
            found |= {axis: table[axis].to_numpy() for axis in ratings.AXES}
        return found

    def _level(self, audio: Tensor, rate: int) -> Tensor:
        """Clips at one loudness: that of the mono mix, which is what everybody hears."""
        if self.loudness is None:
            return audio
        from tada.loudness import SILENCE, lufs

        levels = [lufs(clip.reshape(-1, clip.shape[-1]).mean(0).numpy(), rate) for clip in audio]
        gains = [10 ** ((self.loudness - level) / 20) if level > SILENCE else 1.0 for level in levels]
        return audio * torch.tensor(gains, dtype=audio.dtype).view(-1, *[1] * (audio.ndim - 1))
