"""A whole localisation run by profile: pairs, sweep, impact, and the tables it leaves beside the store."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd

import tada
from tada import concepts as concept_table
from tada import pairs as prompt_pairs
from tada import patching
from tada.engine import Setting, processes
from tada.errors import InputError, UnknownNameError, unknown
from tada.experiments import profiles
from tada.experiments.profiles import get_profile
from tada.io import write_table
from tada.metrics.judges import Judge, ProbeJudge, QueryJudge, as_judge
from tada.models import ARCHITECTURES, SHIPPED
from tada.models.base import Model, Sampling
from tada.patching.impacts import CASE

log = logging.getLogger(__name__)

PUBLIC = ("clap", "muq", "paper")
"""Judges of clips by similarity to a query."""

LEAST = 0.1
"""Impact that a functional layer has at least."""


@dataclass(frozen=True)
class Plan:
    """All that a localisation is made of; see :func:`plan`.

    Attributes:
        load: loads the model, for workers.
        model: loaded once.
        pairs: as from ``tada.pairs.build``.
        seeds: of every pair.
        sampling: settings of the denoising.
        seconds: length of the clips.
        score: what judges them.
        profile: how much to run.
        left_out: concepts that were asked for and that the score cannot judge.
        captions: what the pairs were made from.
    """

    load: Callable[[], Model]
    model: Model
    pairs: pd.DataFrame
    seeds: tuple[int, ...]
    sampling: Sampling
    seconds: float
    score: Judge
    profile: profiles.Localisation
    left_out: tuple[str, ...] = ()
    captions: prompt_pairs.Captions = field(default=None, repr=False)

    def sweep(
        self,
        layer_sets: patching.LayerSets = None,
        *,
        store: str | Path | None = None,
        workers: int = 1,
        controls: bool = False,
        progress: bool = False,
    ) -> pd.DataFrame:
        """As ``tada.patching.sweep``, with what is planned."""
        pairs = prompt_pairs.with_controls(self.pairs, self.captions) if controls else self.pairs
        with processes(workers) as executor:
            setting = Setting(self.seconds, self.sampling, progress=progress, executor=executor)
            model = self.load if executor is not None else self.model
            return patching.sweep(model, pairs, self.seeds, layer_sets, setting, score=self.score, store=store)

    def only(self, concepts: Iterable[str] | None = None, limit: int | None = None) -> Plan:
        """The plan for some of its concepts (None: all), with the first ``limit`` pairs of each."""
        wanted = set(self.pairs["concept"]) if concepts is None else set(concepts)
        chosen = self.pairs[self.pairs["concept"].isin(wanted)]
        if limit is not None:
            chosen = chosen.groupby("concept", sort=False).head(limit)
        pairs = chosen.reset_index(drop=True)
        pairs.attrs = self.pairs.attrs
        return replace(self, pairs=pairs)

    def clips(self, sets: int | None = None, controls: int = 0) -> int:
        """How many clips a sweep of so many layer sets (None: every layer) makes."""
        return len(self.pairs) * len(self.seeds) * (2 + (sets or len(self.model.sites)) * (1 + controls))

    def __str__(self) -> str:
        return (
            f"{self.model!r}: {len(self.pairs)} pairs of {self.pairs['concept'].nunique()} concepts, "
            f"clips of {self.seconds:g} s, {self.sampling}"
        )


def plan(
    name: str,
    checkpoint: str | Path | None = None,
    wanted: Sequence[str] = (),
    profile: str = "mini",
    *,
    score: str | Judge = "",
    captions: prompt_pairs.Captions = None,
    rules: str = "paper",
    limit: int | None = None,
    steps: int | None = None,
    seconds: float | None = None,
) -> Plan:
    """Settle everything that a localisation needs, and load the model.

    Args:
        name: the architecture, as for ``tada.load``.
        checkpoint: as for ``tada.load``; ``"public"`` is None.
        wanted: concepts; none for the profile's, which are all of the rule set but for ``smoke``.
        profile: a name in :data:`tada.experiments.profiles.PROFILES`.
        score: as for :func:`judge`, or what ``tada.patching.sweep`` takes.
        captions: as for ``tada.pairs.build``.
        rules: as for ``tada.pairs.build``.
        limit: pairs a concept, in place of the profile's.
        steps: in place of the profile's.
        seconds: in place of the profile's.

    Raises:
        KeyError: an unknown architecture, profile or concept. ValueError: no concept that the score can judge.
        OSError: a checkpoint or captions that cannot be had.
    """
    if name not in ARCHITECTURES:
        raise UnknownNameError(unknown("architecture", name, ARCHITECTURES))
    checkpoint = None if checkpoint in ("", "public") else checkpoint
    settings = get_profile(profile).localisation
    ear = judge(score, checkpoint) if isinstance(score, str) else as_judge(score)
    asked = tuple(wanted) or settings.concepts
    names = [concept_table.get(item, rules).name for item in asked or concept_table.names(rules)]
    chosen, left_out = judged(ear, names)
    pairs = prompt_pairs.build(captions, chosen if asked or left_out else None, rules, limit or settings.pairs)
    load = partial(tada.load, name, checkpoint)
    model = load()
    count = steps or settings.steps
    return Plan(
        load=load,
        model=model,
        pairs=pairs,
        seeds=tuple(range(settings.seeds)),
        sampling=model.sampling(settings.preset, **({"steps": count} if count else {})),
        seconds=seconds or settings.seconds or model.default_seconds,
        score=ear,
        profile=settings,
        left_out=tuple(left_out),
        captions=captions,
    )


def run(
    name: str,
    checkpoint: str | None,
    workers: int,
    store: str | Path,
    *,
    sets: Sequence[str] = (),
    controls: bool = False,
    tell: Callable[[str], Any] = log.info,
    **choices: Any,
) -> pd.DataFrame:
    """Localise concepts in a model.

    Args:
        name: the architecture, as for ``tada.load``.
        checkpoint: as for :func:`plan`.
        workers: processes.
        store: folder of the scores; ``pairs.parquet``, ``scores.parquet`` and ``impact.csv`` are written there.
        sets: layer sets such as ``"6+7"``; none for every layer.
        controls: whether controls are routed, too.
        tell: is told what is about to be done.
        choices: the other arguments of :func:`plan`.

    Returns:
        The impacts, as from ``tada.patching.impact``.
    """
    work = plan(name, checkpoint, **choices)
    layers = [layer_set(text) for text in sets] or None
    count = work.clips(len(patching.resolve_sets(work.model, layers)), len(patching.CONTROLS) if controls else 0)
    if work.left_out:
        tell(f"left out, since {work.score.label} cannot judge them: {', '.join(work.left_out)}")
    tell(f"{work}: {count} clips")
    scores = work.sweep(layers, store=store, workers=workers, controls=controls, progress=True)
    impacts = patching.impact(scores)
    write_table(Path(store) / "pairs.parquet", work.pairs)
    write_table(Path(store) / "scores.parquet", scores)
    write_table(Path(store) / "impact.csv", impacts)
    return impacts


# ---- what judges


def judge(score: str = "", checkpoint: str | Path | None = None) -> Judge:
    """What judges clips.

    Args:
        score: ``"probe"`` (the minis' attribute probe), ``"clap"``, ``"muq"`` or ``"paper"`` (similarity to the
            concept's query, by the ear that is named or that the paper takes for the concept), or ``module:name`` of
            a function ``score(clips, rows)``; nothing for the checkpoint's own: the probe for minis, CLAP for others.
        checkpoint: what the clips are made with.

    Raises:
        ValueError: no such score, or nothing given for a checkpoint that has no score of its own.
    """
    if not score and checkpoint not in (None, *SHIPPED) and Path(str(checkpoint)).expanduser().is_dir():
        raise InputError(
            f"got no score for the folder {checkpoint}; expected probe (for clips of synthetic music), "
            f"{', '.join(PUBLIC)}, or module:name of a function score(clips, rows)"
        )
    chosen = score or ("probe" if checkpoint in SHIPPED else "clap")
    if chosen == "probe":
        return ProbeJudge()
    if chosen in PUBLIC:
        return QueryJudge(chosen)
    return as_judge(resolve(chosen))


def judged(score: Judge, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Concepts that a judge knows, and those that it does not; ValueError if it knows none."""
    chosen = [name for name in names if score.knows(name)]
    left_out = [name for name in names if name not in chosen]
    if not chosen:
        known = [name for name in concept_table.names("paper") if score.knows(name)]
        raise InputError(f"{score.label} knows none of {', '.join(left_out)}; it knows {', '.join(known)}")
    return chosen, left_out


def resolve(path: str) -> Any:
    """What ``module:name`` names; ValueError that says what is missing."""
    module, _, attribute = path.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"no score {path!r} ({error}); expected probe, {', '.join(PUBLIC)}, or module:name of a function "
            "score(clips, rows)"
        ) from None


def layer_set(text: str) -> str | list[int | str]:
    """``"6+7"`` as indices, site names as they are, names of layer sets as they are."""
    if text in ("functional", "all-but-functional"):
        return text
    return [int(part) if part.lstrip("-").isdigit() else part for part in text.split("+")]


# ---- what is found


def controlled(work: Plan, impacts: pd.DataFrame, **options: Any) -> pd.DataFrame:
    """The impacts with those of controls added, at the layers that could be called functional.

    Controls cost as much as what they control, so they are made where they can decide: at each concept's layers that
    the rule would call functional without them, with the first ``profile.control_pairs`` pairs.

    Args:
        work: what the impacts were made by.
        impacts: of single layers, as from ``tada.patching.impact``.
        options: ``store, workers, progress``, as for :meth:`Plan.sweep`.
    """
    called = verdicts(impacts).query("functional")
    if called.empty:
        return impacts
    sets = {str(name): [int(layer) for layer in part] for name, part in called.groupby("concept")["layers"]}
    some = work.only(sets, work.profile.control_pairs)
    controls = patching.impact(some.sweep(sets, controls=True, **options))
    return pd.concat([impacts, controls[controls["method"] != "patch"]], ignore_index=True)


def grown(work: Plan, order: Sequence[int], most: int = 6, **options: Any) -> pd.DataFrame:
    """The impact of layer sets that grow by one layer at a time, on the first few pairs of each concept.

    Args:
        work: what to sweep.
        order: layers, the first to be routed first.
        most: size of the largest set.
        options: ``store, workers, progress``, as for :meth:`Plan.sweep`.

    Returns:
        As from ``tada.patching.impact``, with ``size`` and ``added``: how many layers, and which the set before lacks.
    """
    sets = patching.nested_sets(order, most)
    about = {"+".join(map(str, sorted(layers))): layers for layers in sets}
    impacts = patching.impact(work.only(limit=work.profile.control_pairs).sweep(sets, **options))
    chosen = [about[layers] for layers in impacts["layers"]]
    return impacts.assign(size=[len(layers) for layers in chosen], added=[layers[-1] for layers in chosen])


def verdicts(impacts: pd.DataFrame, least: float = LEAST) -> pd.DataFrame:
    """Call layers functional, given controls where they can decide.

    The layers that ``tada.patching.functional`` calls without controls are held against them: those that do no better
    than a control, or whose impact is below ``least``, are dropped, and no weaker layer takes their place.

    Args:
        impacts: as from :func:`controlled`.
        least: share of the full swap's effect below which a layer is not worth the name.

    Returns:
        As ``tada.patching.functional``.
    """
    alone = patching.functional(impacts[impacts["method"] == "patch"])
    held = patching.functional(impacts)  # the same rows in the same order, with the margins over controls
    passed = ~(held["margin_low"] <= 0) & (held["impact"] >= least)
    return held.assign(share=alone["share"], functional=alone["functional"] & passed)


def ranked(impacts: pd.DataFrame) -> list[int]:
    """Layers by their mean impact over concepts, the highest first."""
    single = impacts[(impacts["method"] == "patch") & impacts["layers"].str.fullmatch(r"\d+")]
    means = patching.aggregate(single).sort_values("mean", ascending=False, kind="stable")
    return [int(layer) for layer in means["layers"]]


def found(called: pd.DataFrame) -> list[int]:
    """Layers that are functional for at least one concept, in their order; ``called`` as from :func:`verdicts`."""
    return sorted({int(layer) for layer in called.loc[called["functional"], "layers"]})


def leading(called: pd.DataFrame) -> list[int]:
    """Layers that are the strongest functional one of a concept, in order; ``called`` as from :func:`verdicts`."""
    return found(called[called["functional"]].sort_values("impact", ascending=False).drop_duplicates(CASE))


def agreement(called: pd.DataFrame, truth: Iterable[int]) -> pd.DataFrame:
    """How well the functional layers of each concept agree with layers that are known.

    Args:
        called: as from :func:`verdicts`.
        truth: the layers that carry every concept.

    Returns:
        ``concept, layers`` (found), ``precision, recall``, 0 to 1; the precision of no layer is NaN.
    """
    known = set(truth)
    rows = []
    for case, part in called.groupby(CASE, sort=False):
        layers = found(part)
        hits = len(known & set(layers))
        precision = hits / len(layers) if layers else float("nan")
        rows.append({**dict(zip(CASE, case, strict=True)), "layers": layers, "precision": precision})
        rows[-1]["recall"] = hits / len(known)
    return pd.DataFrame(rows)[["concept", "layers", "precision", "recall"]]


@lru_cache
def published() -> pd.DataFrame:
    """The average impacts that the authors published for the public checkpoints.

    Returns:
        ``model, layer, impact, block``: ``block`` is True where a block was patched as a whole and its layers share
        one value. Layers that are not listed there are missing.
    """
    with files("tada.data").joinpath("published_localisation.csv").open() as file:
        return pd.read_csv(file)
