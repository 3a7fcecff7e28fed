"""The paper's evaluation of steering (section 4.2): clips over a grid of strengths, scored, and kept.

A strength is given in percent of a range that is found per model, concept, method, layer set and direction (see
:mod:`tada.steering.ranges`); the raw strength is kept beside it. For the paper's own protocol the range is 100, so that
percent and raw strength agree. Every method sees the same prompts, the same noise and the same clip at strength 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tada.concepts import judged
from tada.engine import COLUMNS
from tada.errors import InputError, check_name
from tada.evaluation.results import ARM, BASELINE
from tada.io import sha256
from tada.metrics import curve, fad
from tada.metrics.suite import MetricSuite
from tada.models.base import Model
from tada.steering.arms import Trial, Way, plan_steering, steer
from tada.store import UNIT, Store, key

GRID = tuple(float(percent) for percent in range(-100, 101, 10))
"""Strengths in percent of the range: the paper's -100 to 100 in steps of 10."""

SAE_GRID = tuple(2.5 * step for step in range(-20, 21))
"""Raw strengths of the authors' first code for autoencoders: -50 to 50 in steps of 2.5."""

GROUPS = 10
"""Prompts are left out in so many groups to tell how sure a distance between sets is."""


def run(
    model: Model,
    arms: Sequence[Way],
    trial: Trial,
    suite: MetricSuite,
    percents: Sequence[float] = GRID,
    store: Store | str | Path | None = None,
    renders: Any = None,
) -> pd.DataFrame:
    """Steer every prompt by every arm at every strength, and score the clips.

    Args:
        trial: a concept of section 4.2, or a name of :mod:`tada.concepts`, prompts, and the setting.
        percents: strengths in percent of each arm's range; 0 is always there.
        store: where scores are kept, and found again by a later run.
        renders: embeddings ``[clips, dim]`` of renders by the suite's CLAP-class model, see ``suite.embed``; adds the
            distance of every steered set to them.

    Returns:
        One row a clip and metric, ``checkpoint, model, concept, pair, prompt, seed, method, layers, alpha, metric,
        value, unit_hash`` and ``percent``. The clips at strength 0 are there once, with method and layers ``"none"``.
        Distances between sets (``"fad"`` and ``"kad"`` to the unsteered clips, ``"fad-renders"`` and ``"kad-renders"``
        to renders) have no prompt, and ``pair`` is ``"all"``, or ``"without 0"`` and so on for the set without a
        tenth of the prompts.

    Raises:
        ValueError: no arms or prompts, prompts or seeds twice, strengths that are not finite, arms of one name.
        KeyError: an unknown concept.
    """
    judged(trial.concept)
    if not {float(percent) for percent in percents} - {0.0}:
        raise InputError(f"got percents={list(percents)}; expected finite strengths other than 0")
    store = Store(store) if isinstance(store, str | Path) else store
    sets = _plan_sets(model, plan_steering(model, arms, trial, percents, suite), renders)
    if store is not None and store.known(sets) < set(sets):
        store = store.alone()  # results that ship have no embeddings
    rows = steer(model, arms, trial, percents, suite, store)
    clips = rows.loc[rows["metric"] != "embedding", [*COLUMNS, "percent", UNIT]]
    if not sets:
        return clips.reset_index(drop=True)
    return pd.concat([clips, _measure_or_load(sets, rows, renders, store)[clips.columns]], ignore_index=True)


class _Clips(NamedTuple):
    """A set of clips, and the one that it is held against.

    Attributes:
        about: columns of all its results.
        units: of its clips, in the order of prompts.
        unsteered: units of the unsteered clips; none where it is held against renders.
    """

    about: dict[str, Any]
    units: list[str]
    unsteered: list[str]


def _plan_sets(model: Model, plan: pd.DataFrame, renders: Any) -> dict[str, _Clips]:
    """The sets of clips of a plan by the key of all that determines their distances; none of fewer than 3 prompts."""
    plan = plan.sort_values("number", kind="stable")
    unsteered = plan.loc[plan["method"] == BASELINE, UNIT].tolist()
    heard = None if renders is None else sha256(np.ascontiguousarray(renders).tobytes())
    sets = {}
    for _, part in plan.groupby([*ARM, "alpha"], sort=False) if len(unsteered) > 2 else ():
        about = {name: part[name].iloc[0] for name in ("concept", *ARM, "alpha", "percent")}
        about |= {"checkpoint": model.checkpoint, "model": model.name, "prompt": "", "seed": -1}
        units = part[UNIT].tolist()
        told = {"what": "distances of sets", "units": units, "groups": GROUPS}
        if about["method"] != BASELINE:
            sets[key({**told, "to": unsteered})] = _Clips(about, units, unsteered)
        if heard is not None:
            sets[key({**told, "to": heard})] = _Clips(about, units, [])
    return sets


def _measure_or_load(sets: Mapping[str, _Clips], rows: pd.DataFrame, renders: Any, store: Store | None) -> pd.DataFrame:
    """Distances of sets with and without each tenth of the prompts, kept in the store under one key each."""
    known, parts = set() if store is None else store.known(sets), []
    embeddings = rows[rows["metric"] == "embedding"].drop_duplicates(UNIT).set_index(UNIT)
    for unit, clips in sets.items():
        if unit not in known:
            steered, other = (
                np.stack(embeddings.loc[units, "embedding"].to_list()) if units else None for units in clips[1:]
            )
            found = pd.DataFrame(_measure(steered, other, renders), columns=["metric", "value"])
            parts.append(found.assign(**clips.about, **{UNIT: unit}))
            if store is not None:
                store.add(parts[-1])
    found = pd.concat(parts) if store is None else store.frame(sets)
    return _by_pair(found[[UNIT, "metric", "value"]], sets)


def _by_pair(found: pd.DataFrame, sets: Mapping[str, _Clips]) -> pd.DataFrame:
    """Rows of sets whose metric ends with what it was taken of, such as ``without 0``, as all results have them."""
    about = pd.DataFrame([{UNIT: unit, **clips.about} for unit, clips in sets.items()])
    parts = found["metric"].str.partition(" ")
    units = [key({"set": unit, "pair": pair}) for unit, pair in zip(found[UNIT], parts[2], strict=True)]
    return found.merge(about, on=UNIT).assign(metric=parts[0].array, pair=parts[2].array, **{UNIT: units})


def _measure(steered: Any, unsteered: Any, renders: Any) -> Iterator[tuple[str, float]]:
    """Distances of a set's embeddings from those of unsteered clips, or of renders where there are none."""
    groups = np.arange(len(steered)) % min(GROUPS, len(steered))
    other, suffix = (renders, "-renders") if unsteered is None else (unsteered, "")
    width = fad.spread(other)
    for left_out in (None, *range(groups.max() + 1)):
        kept = groups != left_out
        pair = "all" if left_out is None else f"without {left_out}"
        x, y = steered[kept], other if suffix else other[kept]
        yield f"fad{suffix} {pair}", fad.distance(x, y)
        if width > 0:  # not all clips of the reference are equal
            yield f"kad{suffix} {pair}", fad.kernel(x, y, width, paired=not suffix)


# ---- the area under a curve


def auc(
    frame: pd.DataFrame,
    score: str,
    cutoffs: tuple[float, float],
    distance: str = "lpaps",
    variant: str = "paper",
) -> float:
    """Area under the gain in a score over the distance from the unsteered clip, see :func:`tada.metrics.curve.auc`.

    Args:
        frame: columns ``alpha``, ``distance`` and ``score``, one row a strength or several that are averaged.
        cutoffs: largest distance on the positive and on the negative side.
        variant: as for :func:`tada.metrics.curve.auc`.

    Raises:
        KeyError: a column that is not there. ValueError: see :func:`tada.metrics.curve.auc`.
    """
    for name in ("alpha", score, distance):
        check_name("column", name, list(frame))
    means = frame.groupby("alpha")[[score, distance]].mean().reset_index()
    return float(curve.auc(means["alpha"], means[score], means[distance], cutoffs, variant))
