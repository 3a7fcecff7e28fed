"""One number a clip for a concept by its name: the door that sweeps and sliders use.

With the package's own ears (``"mini"``): the probability that the attribute probe gives to the concept, less that of
what stands against it; -1 to 1, or 0 to 1 where nothing does. With public ones (``"public"``): similarity to the
paper's query; -1 to 1. Higher is more of the concept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from tada import concepts
from tada.errors import InputError, UnknownNameError, unknown
from tada.metrics import clap, muq
from tada.metrics.audio import prepare
from tada.metrics.ear import embed, embed_text, similarity

Values = NDArray[np.float64]

EARS = ("mini", "public")

STEERED: Mapping[str, tuple[str, str]] = {name: concepts.STEERED[name].poles for name in concepts.TABLE_1}
"""The concepts of section 4.2 -> the pole that positive strengths go to, and the other one."""


def concept_score(
    clips: Any,
    concept: str,
    ears: str = "mini",
    sample_rate: int | None = None,
    judge: str = "",
    against: str | None = None,
) -> Values:
    """How much of a concept each clip has.

    Args:
        clips: :class:`tada.Clips`, or an array ``[clips, frames]`` or ``[clips, channels, frames]`` with
            ``sample_rate``.
        concept: a name of :mod:`tada.concepts`, or one of section 4.2: ``"piano"``, ``"vocal gender"``, ``"tempo"``,
            ``"mood"``.
        ears: ``"mini"`` for synthetic music, ``"public"`` for music.
        sample_rate: of an array, in Hz.
        judge: who listens. Mini: ``"probe"`` (the default), ``"clap"`` or ``"muq"`` (the mini ears in their place).
            Public: ``"clap"`` (the default), ``"muq"``, or ``"paper"`` for the one that the paper takes for this
            concept.
        against: what the probe's probability is compared with; None for the concept's counterfactual.

    Returns:
        float64 ``[clips]``, higher is more.

    Raises:
        KeyError: an unknown concept, ears or judge, with the nearest; a concept that the renderer cannot play.
        ValueError: an array without its sample rate; see :func:`tada.metrics.audio.prepare`.
    """
    if ears not in EARS:
        raise UnknownNameError(unknown("ears", ears, EARS))
    judge = judge or ("probe" if ears == "mini" else "clap")
    if judge == "paper":
        judge = _paper_judge(concept)
    if judge not in (("probe", "clap", "muq") if ears == "mini" else ("clap", "muq")):
        raise UnknownNameError(unknown(f"judge of {ears} ears", judge, ("probe", "clap", "muq")[ears == "public" :]))
    audio, rate = _audio(clips, sample_rate)
    if judge == "probe":
        return _probed(audio, rate, concept, against)
    ear = (clap if judge == "clap" else muq).load("mini" if ears == "mini" else None)
    text = embed_text(ear, [query(concept, judge)])
    return similarity(embed(ear, audio, rate), text).double().numpy()


def query(concept: str, judge: str) -> str:
    """The text that ``judge`` (``"clap"`` or ``"muq"``) compares a clip with for a concept.

    Raises:
        KeyError: an unknown concept.
    """
    return concepts.judged(concept).query(judge)


def poles(concept: str) -> tuple[str, str]:
    """The class that a concept is, and the one that stands against it (empty for none).

    Raises:
        KeyError: an unknown concept.
    """
    return concepts.judged(concept).poles


def attribute(name: str) -> str | None:
    """The attribute of the synthetic music that has a class, None if the renderer cannot play it."""
    from tada.minis.attributes import CLASSES

    return next((attribute for attribute, classes in CLASSES.items() if name in classes and name != "none"), None)


MINI_NAMES = {"clap": "mini-clap", "muq": "mini-second"}
"""Judge -> what results call the package's own ear in its place."""


class Score:
    """``score(clips, rows)`` for :func:`tada.patching.sweep`: each row judged by its own concept; can be pickled."""

    def __init__(self, ears: str = "mini", judges: Sequence[str] = ("",)) -> None:
        """Judge with ``ears``; ``judges`` as for :func:`concept_score`, one metric each."""
        if ears not in EARS:
            raise UnknownNameError(unknown("ears", ears, EARS))
        self.ears, self.judges = ears, tuple(judges)

    @property
    def key(self) -> str:
        """What it measures with."""
        return f"tada.metrics.concept_score {self.ears} {'+'.join(self.judges)} 1"

    def __call__(self, clips: Any, rows: pd.DataFrame) -> dict[str, Values]:
        return {self._metric(judge): self._judged(clips, rows, judge) for judge in self.judges}

    def _judged(self, clips: Any, rows: pd.DataFrame, judge: str) -> Values:
        values = np.empty(len(rows))
        places = rows.reset_index(drop=True)
        for (concept, against), part in places.groupby(["concept", "counterfactual"], sort=False):
            some = clips.audio[part.index.to_list()]
            values[part.index] = concept_score(some, str(concept), self.ears, clips.sample_rate, judge, str(against))
        return values

    def _metric(self, judge: str) -> str:
        if self.ears == "public":
            return judge or "clap"
        return MINI_NAMES.get(judge, "probe")


mini_all = Score("mini", ("probe", "clap", "muq"))
"""All of the package's ears, for ``tada sweep --score tada.metrics.score:mini_all``."""


def _probed(audio: Any, rate: int, concept: str, against: str | None) -> Values:
    from tada.minis import probe
    from tada.minis.attributes import CLASSES
    from tada.minis.sounds import SAMPLE_RATE

    wanted, other = poles(concept)
    other = against or other
    if attribute(wanted) is None:
        playable = [name for classes in CLASSES.values() for name in classes if name != "none"]
        raise UnknownNameError(
            f"{unknown('class of the synthetic music', wanted, playable)} Use ears='public' for this concept."
        )
    heard = probe.load().probabilities(prepare(audio, rate, SAMPLE_RATE, 1.0), SAMPLE_RATE)

    def probability(name: str) -> Values:
        place = attribute(name)
        return np.zeros(len(audio)) if place is None else heard[place][:, CLASSES[place].index(name)].double().numpy()

    return probability(wanted) - probability(other)


def _audio(clips: Any, sample_rate: int | None) -> tuple[Any, int]:
    if hasattr(clips, "audio"):
        return clips.audio, clips.sample_rate
    if sample_rate is None:
        raise InputError("got audio without its sample rate: give sample_rate, or tada.Clips")
    return clips if isinstance(clips, torch.Tensor) else np.asarray(clips), sample_rate


def _paper_judge(concept: str) -> str:
    return concepts.judged(concept).ear
