"""The paper's evaluation of steering (section 4.2): clips over a grid of strengths, scored, and kept.

A strength is given in percent of a range that is found per model, concept, method, layer set and direction (see
:mod:`tada.steering.ranges`); the raw strength is kept beside it. For the paper's own protocol the range is 100, so that
percent and raw strength agree. Every method sees the same prompts, the same noise and the same clip at strength 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tada.concepts import judged
from tada.engine import COLUMNS
from tada.errors import InputError, check_name
from tada.evaluation.results import ARM, BASELINE, CASE
from tada.metrics import curve, fad
from tada.metrics.suite import MetricSuite
from tada.models.base import Model
from tada.steering.arms import Trial, Way, steer
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
    rows = steer(model, arms, trial, percents, suite, store)
    clips = rows.loc[rows["metric"] != "embedding", [*COLUMNS, "percent", UNIT]]
    sets = pd.DataFrame(one for _, part in rows.groupby(CASE, sort=False) for one in _sets(part, renders))
    return pd.concat([clips, sets[clips.columns]], ignore_index=True) if len(sets) else clips.reset_index(drop=True)


def _sets(rows: pd.DataFrame, renders: Any) -> Iterator[dict[str, Any]]:
    """Distances between sets of clips of one concept, with and without each tenth of the prompts."""
    clips = rows[rows["metric"] == "embedding"].sort_values("number", kind="stable")
    unsteered = clips[clips["method"] == BASELINE]
    if len(unsteered) < 3:
        return
    groups = np.arange(len(unsteered)) % min(GROUPS, len(unsteered))
    zero = np.stack(unsteered["embedding"].to_list())
    for _, part in clips.groupby([*ARM, "alpha"], sort=False):
        about: dict[str, Any] = {name: part[name].iloc[0] for name in (*CASE, *ARM, "alpha", "percent")}
        about |= {"prompt": "", "seed": -1}
        steered, units = np.stack(part["embedding"].to_list()), sorted(part[UNIT])
        for suffix, other in (("", zero), ("-renders", renders)):
            if other is None or (other is zero and about["method"] == BASELINE):
                continue
            for left_out in (None, *range(groups.max() + 1)):
                kept = groups != left_out
                pair = "all" if left_out is None else f"without {left_out}"
                x, y, width = steered[kept], other if suffix else other[kept], fad.spread(other)
                found = {"fad": fad.distance(x, y)}
                if width > 0:  # not all clips of the reference are equal
                    found["kad"] = fad.kernel(x, y, width, paired=not suffix)
                for name, value in found.items():
                    unit = key({"units": units, "metric": name + suffix, "pair": pair})
                    yield {**about, "pair": pair, "metric": name + suffix, "value": value, UNIT: unit}


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
