"""Steering MusicGen in its residual stream by differences of means, beside its cross-attention sites.

The method is that of Facchiano et al. (2025). Of their text the idea is public, not the size of the model, the layers,
the strengths or the prompts: these are this book's choice. A concept's direction after a layer is the mean of what the
residual stream holds for prompts of its first pole, less that for its counterpart's, as long as it is. Every strategy
ends as far from the unsteered clips as with the prompt of the concept, as in :mod:`tada.experiments.benchmark`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from tada.audio import Clips
from tada.experiments import benchmark, steering
from tada.experiments.table_1 import Table1
from tada.metrics import signals
from tada.metrics.judges import FunctionJudge, JudgeLike, Panel
from tada.metrics.preservation import AXES
from tada.minis.mel import listenable
from tada.stats import mean_interval
from tada.steering import Arm, ClampArm, Vector, library, steer
from tada.steering.arms import BASELINE, Way
from tada.store import Store

CONCEPTS = ("tempo", "timbre")
"""Those of the source."""
METHOD = "residual: "
"""Begins the methods that steer the residual stream."""
FADE = 0.99
"""What is left of a fading strength from one frame to the next; after 69 frames, about 2 s, it is half."""
FIRST = 0.25
"""Share of the frames that are the first."""
PERCENTS = (-100.0, -50.0, 50.0, 100.0)
"""Strengths of the curves, beside 0."""
MEASURES = {"tempo": "onsets a second", "timbre": "centroid, Hz"}
"""Concept -> what its strength is measured by."""
MEASURED = tuple(MEASURES.values())
DISTANCES = ("lpaps", *AXES)
"""Metrics that are distances from the unsteered clip."""


def sound(clips: Clips, rows: pd.DataFrame) -> dict[str, Any]:
    """Measure clips by what no network learnt: onsets a second, and the spectral centroid in Hz."""
    audio = listenable(clips.audio, clips.sample_rate).numpy()
    return {"onsets a second": signals.onset_rate(audio), "centroid, Hz": signals.brightness(audio)}


# ---- ways to steer


def direction(table: Table1, concept: str, method: str = "poles") -> Vector:
    """Fit a concept's direction after every layer, or find it: one for all frames, as long as the difference is.

    Args:
        table: as from :func:`tada.experiments.benchmark.open_benchmark`.
        concept: a steered concept.
        method: ``"poles"``: from the counterpart to the first pole; ``"opposite"``: from neutral prompts to the
            counterpart.
    """
    work = table.work
    recipe = replace(steering.recipe(work, concept), method=method, wording="revised", step_mean=True)
    return library.fit(work.model, replace(recipe, sites=work.model.residuals), table.kept("residual-vectors"))


def cross_attention(table: Table1, concept: str) -> Vector:
    """Fit the vector of CAA, one direction for all frames as :func:`direction` is, or find it."""
    recipe = replace(steering.recipe(table.work, concept), step_mean=True)
    return library.fit(table.work.model, recipe, table.kept("residual-vectors"))


def strategies(table: Table1, concept: str) -> list[Way]:
    """Make the ways to inject a direction that are compared, without their ranges: where, when, and how."""
    whole, opposite = direction(table, concept), -direction(table, concept, "opposite")
    layers, frames = table.work.model.residuals, benchmark.count_steps(table)
    third = len(layers) // 3
    middle = list(layers[third : len(layers) - third])
    first = [float(frame < FIRST * frames) for frame in range(frames)]
    arm = Arm(f"{METHOD}middle third", whole, middle, renorm=False)
    return [
        replace(arm, method=f"{METHOD}every layer", layers=list(layers)),
        arm,
        replace(arm, method=f"{METHOD}one layer", layers=[layers[len(layers) // 2]]),
        replace(arm, method=f"{METHOD}first quarter", vector=whole.over_steps(first)),
        replace(arm, method=f"{METHOD}fading", vector=whole.over_steps([FADE**frame for frame in range(frames)])),
        replace(arm, method=f"{METHOD}less of the opposite", vector=opposite),
        replace(arm, method=f"{METHOD}both passes", passes="both"),
        ClampArm(f"{METHOD}share held", whole, middle),
    ]


def ways(table: Table1, concept: str) -> list[Way]:
    """Make all ways that are compared at one distance: the strategies, then CAA at the cross-attention sites."""
    vector = cross_attention(table, concept)
    sites = [Arm("CAA", vector, layers) for layers in table.work.layer_sets]
    return [benchmark.range_way(table, concept, way) for way in (*strategies(table, concept), *sites)]


def layer_ways(table: Table1, concept: str) -> list[Way]:
    """Make one way a layer: the difference itself is added after it alone, or taken away."""
    vector = direction(table, concept)
    return [Arm(METHOD.strip(": "), vector, [layer], (1.0, 1.0), renorm=False) for layer in vector.sites]


# ---- results


def curves(table: Table1, concept: str, percents: Sequence[float] = PERCENTS) -> pd.DataFrame:
    """Steer the prompts of results by every way at every strength; rows as from ``tada.steering.steer``, of
    :func:`sound` and of all metrics of the evaluation."""
    return _steer(table, concept, ways(table, concept), percents, Panel(table.suite, FunctionJudge(sound)))


def by_layer(table: Table1, concept: str) -> pd.DataFrame:
    """Add a concept's direction after one layer at a time; rows as from ``tada.steering.steer``."""
    return _steer(table, concept, layer_ways(table, concept), (-100.0, 100.0))


def _steer(
    table: Table1, concept: str, arms: Sequence[Way], percents: Sequence[float], judge: JudgeLike = sound
) -> pd.DataFrame:
    trial, store = benchmark.result_trial(table, concept), Store(table.kept("residual"))
    return steer(table.work.model, arms, trial, percents, judge, store)


def rises(rows: pd.DataFrame) -> pd.DataFrame:
    """Measure by which share each measure rises from the lowest to the highest strength.

    Args:
        rows: of one or several concepts.

    Returns:
        ``concept, method, layers, measure, own`` (whether it is the concept's), ``rise, low, high`` (of the geometric
        mean over prompts) and ``prompts``.
    """
    found, steered = [], rows[(rows["method"] != BASELINE) & rows["metric"].isin(MEASURED)]
    for case, part in steered.groupby(["concept", "method", "layers", "metric"], sort=False):
        low, high = (part[part["percent"] == end].set_index(["prompt", "seed"])["value"] for end in _ends(part))
        ratios = np.log((high / low).where(lambda ratio: (ratio > 0) & np.isfinite(ratio)).dropna())
        ends = np.expm1(mean_interval(ratios)) if len(ratios) else np.full(3, np.nan)
        concept, method, layers, measure = case
        found.append((concept, method, layers, measure, MEASURES.get(str(concept)) == measure, *ends, len(ratios)))
    columns = ["concept", "method", "layers", "measure", "own", "rise", "low", "high", "prompts"]
    return pd.DataFrame(found, columns=columns)


def _ends(rows: pd.DataFrame) -> tuple[float, float]:
    return float(rows["percent"].min()), float(rows["percent"].max())


def distances(rows: pd.DataFrame) -> pd.DataFrame:
    """Average how far clips at the lowest and at the highest strength are from the unsteered ones.

    Args:
        rows: as from :func:`curves`, of one or several concepts.

    Returns:
        ``concept, method, layers, metric`` (one of :data:`DISTANCES`), ``value, low, high``: the mean over both ends,
        with its interval over prompts.
    """
    steered = rows[(rows["method"] != BASELINE) & rows["metric"].isin(DISTANCES)]
    ends = steered[steered["percent"].isin(_ends(steered))]
    cases = ends.groupby(["concept", "method", "layers", "metric"], sort=False)
    found = [(*case, *mean_interval(part.groupby("prompt")["value"].mean())) for case, part in cases]
    return pd.DataFrame(found, columns=["concept", "method", "layers", "metric", "value", "low", "high"])


def spill(found: pd.DataFrame) -> pd.DataFrame:
    """Compare how far the measures of other concepts move with the concept's own, in logarithms.

    Args:
        found: as from :func:`rises`.

    Returns:
        ``concept, method, layers, own, other`` (rises) and ``share``, how much the other moves for the own's one; NaN
        where the own's interval holds 0, for there is nothing to take a share of.
    """
    case = ["concept", "method", "layers"]
    own, other = (
        found[found["own"] == one].rename(columns={"rise": name})
        for one, name in ((True, "own_rise"), (False, "other"))
    )
    wide = own.merge(other[[*case, "other"]], on=case).drop(columns="own").rename(columns={"own_rise": "own"})
    moved = (wide["low"] > 0) | (wide["high"] < 0)
    share = np.abs(np.log1p(wide["other"])) / np.abs(np.log1p(wide["own"]))
    return wide[[*case, "own", "other"]].assign(share=share.where(moved))
