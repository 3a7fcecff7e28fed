"""A steering run by profile: how much is fitted, tried and played, and the tables that pages make of the results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch

import tada
from tada.concepts import steered as prompts
from tada.concepts.steered import Vocabulary
from tada.engine import Setting
from tada.errors import InputError, UnknownNameError, unknown
from tada.experiments import profiles
from tada.experiments.profiles import get_profile
from tada.metrics.judges import Judge, steering_judge
from tada.models.base import MINI_SECONDS, Layers, Model, Sampling
from tada.stats import mean_interval, ratio_interval
from tada.steering import Arm, Trial, calibrate, calibrated, cross, grid, library
from tada.steering.library import Recipe
from tada.steering.ranges import CONCEPT, QUALITY
from tada.steering.vector import Vector
from tada.store import Store

SEED = 2115
"""Seed of the noise of results (the authors')."""


@dataclass(frozen=True, eq=False)
class Run:
    """All that a steering page decides before it computes.

    Attributes:
        model: loaded.
        profile: how much to run.
        sampling: of all clips.
        seconds: length of all clips.
        words: vocabulary of the prompts.
        judge: of all clips.
        layer_sets: what is steered: all layers, and the functional ones and the others where they are known.
    """

    model: Model
    profile: profiles.Steering
    sampling: Sampling
    seconds: float
    words: Vocabulary
    judge: Judge
    layer_sets: tuple[Layers, ...]

    @property
    def measure(self) -> str:
        """The judge's value for a concept, in words."""
        return self.judge.unit

    @property
    def judge_name(self) -> str:
        """Who judges, in words."""
        return self.judge.label

    def recipe(self, concept: str) -> Recipe:
        """How the concept's vector is fitted."""
        return Recipe(concept, Setting(self.seconds, self.sampling), self.profile.pairs, vocabulary=self.words)

    def trial(self, concept: str) -> Trial:
        """The prompts by which the range is found."""
        return self._trial(prompts.neutral(concept, self.profile.range_prompts, self.words), concept)

    def heard(self, concept: str) -> Trial:
        """The prompts that results are reported on."""
        count, first = self.profile.prompts, self.profile.range_prompts
        return self._trial(prompts.neutral(concept, count, self.words, first), concept)

    def grid(
        self,
        vector: Vector,
        concept: str,
        layers: Layers | None,
        renorm: bool = True,
        store: Store | None = None,
        name: str = "",
    ) -> pd.DataFrame:
        """Judge the held-out prompts at every strength: as ``tada.steering.ranges.grid``, with ``percent``.

        Args:
            vector: calibrated for these layers.
            concept: its concept.
            layers: where to steer.
            renorm: as for ``vector.apply``.
            store: where scores are kept.
            name: in place of the layers' in the result.
        """
        arm = calibrated(self.model, Arm(str(vector.info.get("method", "vector")), vector, layers, renorm=renorm))
        rows = grid(self.model, arm, self.heard(concept), self.profile.strengths, self.judge, store)
        return rows.assign(layers=name) if name else rows

    def _trial(self, texts: Sequence[str], concept: str) -> Trial:
        lyrics = prompts.get(concept).lyrics if self.words == "public" and self.model.sings else None
        return Trial(concept, cross(texts, [SEED]), Setting(self.seconds, self.sampling, lyrics=lyrics))


def plan(
    name: str,
    checkpoint: str | Path | None,
    profile: str = "mini",
    functional: str = "",
    words: str = "",
    judge: Judge | None = None,
    held_out: int = 0,
) -> Run:
    """Load a model and settle how much is run on it.

    Args:
        name: the architecture, as for ``tada.load``.
        checkpoint: as for ``tada.load``; ``"public"`` is None.
        profile: a name in :data:`tada.experiments.profiles.PROFILES`.
        functional: indices of the functional layers, such as ``"6+7"``; nothing for what the checkpoint says.
        words: vocabulary of the prompts, ``"mini"`` or ``"public"``; nothing for the checkpoint's.
        judge: of clips; None for the mini judge where prompts are the minis', else CLAP.
        held_out: prompts for results, for each concept; 0 for the profile's.

    Raises:
        KeyError: an unknown architecture, profile or vocabulary. IndexError: no such layer.
        ValueError: layers that are no indices.
    """
    if words not in ("", "mini", "public"):
        raise UnknownNameError(unknown("vocabulary", words, ("mini", "public")))
    settings = get_profile(profile).steering
    model = tada.load(name, None if checkpoint in ("", "public") else checkpoint)
    vocabulary = cast(Vocabulary, words or model.vocabulary)
    if functional:
        model = model.with_functional(indices(model, functional))
    settings = replace(settings, prompts=held_out or settings.prompts)
    preset = "mini" if vocabulary == "mini" else "steering"
    preset = preset if preset in model.presets else "default"
    steps = {"steps": settings.steps} if settings.steps else {}
    sets: tuple[Layers, ...] = ("functional", "all", "all-but-functional") if model.functional else ("all",)
    return Run(
        model,
        settings,
        model.sampling(preset, **steps),
        settings.seconds or (MINI_SECONDS if vocabulary == "mini" else model.default_seconds),
        vocabulary,
        judge or steering_judge(vocabulary),
        sets,
    )


def vector(run: Run, concept: str, kept: Path) -> Vector:
    """A concept's vector, fitted and calibrated for every layer set of a run.

    Args:
        run: as from :func:`plan`.
        concept: a name in ``tada.concepts.steered.CONCEPTS``.
        kept: folder of vectors and scores, in which all of it is found again.
    """
    found = library.fit(run.model, run.recipe(concept), kept / "vectors")
    for layers in run.layer_sets:
        arm = Arm("caa", found, layers)
        found = calibrate(run.model, arm, run.trial(concept), run.judge, Store(kept / "scores")).vector
    return found


def results(run: Run, concept: str, found: Vector, kept: Path) -> pd.DataFrame:
    """The held-out prompts of a concept at every strength, by every layer set; arguments as for :func:`vector`."""
    store = Store(kept / "scores")
    return pd.concat([run.grid(found, concept, layers, store=store) for layers in run.layer_sets], ignore_index=True)


def ahead(start: Callable[[], Run], concepts: Sequence[str], kept: str | Path, workers: int) -> None:
    """Compute what :func:`vector` and :func:`results` will ask for, a concept a process, into their folder.

    Args:
        start: as :func:`plan`, with its arguments bound by ``functools.partial``.
        concepts: names in ``tada.concepts.steered.CONCEPTS``.
        kept: the folder.
        workers: processes, each with a model and one thread; with 1, nothing is done ahead.
    """
    if workers < 2 or len(concepts) < 2:
        return
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(start,)) as pool:
        list(pool.map(partial(_concept, Path(kept)), concepts))


_run: list[Run] = []


def _begin(start: Callable[[], Run]) -> None:
    torch.set_num_threads(1)
    _run[:] = [start()]


def _concept(kept: Path, concept: str) -> None:
    results(_run[0], concept, vector(_run[0], concept, kept), kept)


def indices(model: Model, text: str) -> tuple[int, ...]:
    """Layer indices from ``"6+7"`` or ``"6, 7"``."""
    parts = text.replace(",", "+").replace(" ", "").strip("{}[]()").split("+")
    if not all(part.isdigit() for part in parts):
        raise InputError(f"got the layers {text!r}; expected indices such as 6+7")
    return tuple(model.sites.index(site) for site in model.resolve([int(part) for part in parts]))


# ---- tables

CASE = ["concept", "method", "layers"]


def curves(rows: pd.DataFrame, metric: str = CONCEPT) -> pd.DataFrame:
    """Mean of a metric at every strength, with its 95 % interval over prompts."""
    some = rows[rows["metric"] == metric]
    found = [
        (*case, *mean_interval(part["value"].to_numpy())) for case, part in some.groupby([*CASE, "percent"], sort=False)
    ]
    return pd.DataFrame(found, columns=[*CASE, "percent", "mean", "low", "high"]).sort_values([*CASE, "percent"])


def movements(rows: pd.DataFrame) -> pd.DataFrame:
    """How far a concept's judge moves from the lowest to the highest strength, prompt by prompt.

    Returns:
        ``concept, method, layers, movement, low, high`` (95 % interval over prompts) and ``sound kept``:
        how sure the judge is of the rest at both ends, over how sure it is of the unsteered clips; the lesser end.
    """
    found = []
    for case, part in rows.groupby(CASE, sort=False):
        ends = _wide(part, CONCEPT)
        sound = _wide(part, QUALITY).mean()
        kept = min(sound.iloc[0], sound.iloc[-1]) / sound[0.0] if 0.0 in sound.index else np.nan
        found.append((*case, *mean_interval(ends.iloc[:, -1] - ends.iloc[:, 0]), kept))
    return pd.DataFrame(found, columns=[*CASE, "movement", "low", "high", "sound kept"])


def rises(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """By what share the mean of a metric rises from the lowest to the highest strength.

    Returns:
        ``concept, method, layers, slow, fast, rise, rise low, rise high``; empty where nothing has the metric.
    """
    found = []
    for case, part in rows[rows["metric"] == metric].groupby(CASE, sort=False):
        ends = _wide(part, metric)
        first, last = ends.iloc[:, 0].to_numpy(), ends.iloc[:, -1].to_numpy()
        rise = (ratio - 1 for ratio in ratio_interval(last, first))
        found.append((*case, first.mean(), last.mean(), *rise))
    return pd.DataFrame(found, columns=[*CASE, "slow", "fast", "rise", "rise low", "rise high"])


def verdict(moves: pd.DataFrame, known: bool) -> str:
    """What the movements say of the paper's claim about layer sets, in words made from the numbers.

    Args:
        moves: as from :func:`movements`.
        known: whether functional layers are known.
    """
    if not known:
        return (
            "The functional layers of this checkpoint are not known here, so that layer sets cannot be compared: give "
            "them with `-p functional`."
        )
    lines = []
    for concept, part in moves.groupby("concept", sort=False):
        by_set = part.drop_duplicates("layers").set_index("layers")
        if not {"functional", "all-but-functional"} <= set(by_set.index):
            continue
        ours, others = by_set.loc["functional"], by_set.loc["all-but-functional"]
        if ours["low"] > others["high"]:
            said = "moves further by the functional layers than by all others, as the paper found"
        elif others["low"] > ours["high"]:
            said = "moves further by the other layers than by the functional ones, against the paper"
        else:
            said = "cannot be told apart: the intervals overlap"
        lines.append(f"- **{concept}** {said} ({ours['movement']:+.2f} against {others['movement']:+.2f}).")
    return "\n".join(["Functional layers against all others, by the table above:\n", *lines])


def _wide(rows: pd.DataFrame, metric: str) -> Any:
    """Prompts by strengths, weakest first."""
    some = rows[rows["metric"] == metric]
    return some.pivot_table("value", ["prompt", "seed"], "percent").sort_index(axis=1)
