"""Leakage: what else moves when one concept is steered, and from where to where a slider can be used.

Clips are judged for every concept at once, whatever they are steered towards. The slope of a judge's value over the
strength, by least squares for every prompt, is what one range of the slider is worth.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from tada.experiments import benchmark, table_1
from tada.experiments.table_1 import Table1
from tada.metrics import curve
from tada.metrics.judges import EveryConcept, Panel
from tada.stats import ABOVE, bootstrap, decide, difference_interval, draws, mean_interval
from tada.steering import steer
from tada.steering.ranges import CONCEPT, MIN_QUALITY, QUALITY
from tada.store import Store

RANGE = 100.0
"""Percent within which slopes are taken: the calibrated range."""


def measure(table: Table1, workers: int = 1) -> pd.DataFrame:
    """Steer the prompts of every concept of a table and judge all concepts in each clip: :func:`measure_concept`."""
    concepts = table.config.concepts
    table_1.work_ahead(table, workers, [(measure_concept, name) for name in concepts])
    return pd.concat([measure_concept(table, name) for name in concepts], ignore_index=True)


def measure_concept(table: Table1, concept: str) -> pd.DataFrame:
    """Steer a concept's prompts by CAA on the functional layers, within its range and beyond, and judge all concepts.

    Returns:
        As from ``tada.steering.steer``: the metrics ``"probe: piano"`` and so on of every concept of the table, and
        of the steered one ``"concept"`` and ``"sound"``, see :mod:`tada.metrics.judges`.
    """
    judges = benchmark.truth_judges(table)
    first = table.work.judge.judges[0] if isinstance(table.work.judge, Panel) else table.work.judge
    judge = Panel(first, EveryConcept(judges, table.config.concepts))
    percents = [sign * percent for percent in benchmark.size_of(table).leak for sign in (-1.0, 1.0)]
    arm, trial = benchmark.ranged_caa(table, concept), benchmark.result_trial(table, concept)
    return steer(table.work.model, [arm], trial, percents, judge, Store(table.kept("evaluation")))


def prompt_slopes(rows: pd.DataFrame) -> pd.DataFrame:
    """Measure how much each judge moves in every prompt for one range of strength.

    Args:
        rows: as from :func:`measure`, of one or several concepts.

    Returns:
        ``concept`` (steered), ``judge, measured`` (concept), ``prompt, slope``.
    """
    some = rows[rows["metric"].str.contains(": ") & (rows["percent"].abs() <= RANGE)]
    found = []
    for (concept, metric), part in some.groupby(["concept", "metric"], sort=False):
        wide = part.pivot_table("value", ["prompt", "seed"], "percent", sort=False).dropna()
        slopes = RANGE * curve.slope(wide.columns.to_numpy(float), wide.to_numpy())
        judge, measured = str(metric).split(": ")
        about = {"concept": concept, "judge": judge, "measured": measured}
        found.append(pd.DataFrame({**about, "prompt": wide.index.get_level_values("prompt"), "slope": slopes}))
    return pd.concat(found, ignore_index=True)


def matrix(slopes: pd.DataFrame) -> pd.DataFrame:
    """Average slopes over prompts.

    Returns:
        ``concept, judge, measured, slope, low, high, verdict``, as of ``tada.stats.decide``.
    """
    found = [
        (*case, *(interval := mean_interval(part["slope"])), decide(*interval[1:], len(part)))
        for case, part in slopes.groupby(["concept", "judge", "measured"], sort=False)
    ]
    return pd.DataFrame(found, columns=["concept", "judge", "measured", "slope", "low", "high", "verdict"])


def specificity(slopes: pd.DataFrame) -> pd.DataFrame:
    """Compare how far the steered concept moves with how far the others do, mean of their sizes.

    Returns:
        ``concept, judge, own, others, ratio, low, high, prompts``: the ratio of the two with its interval over
        prompts; others whose own attribute is the steered one's count, too.
    """
    found = []
    for (concept, judge), part in slopes.groupby(["concept", "judge"], sort=False):
        wide = part.pivot_table("slope", "prompt", "measured", sort=False)
        if concept not in wide or wide.shape[1] < 2:
            continue
        means = draws(len(wide)) @ wide.to_numpy()
        own = means[:, list(wide).index(concept)]
        others = np.abs(np.delete(means, list(wide).index(concept), axis=1)).mean(1)
        ratio = np.divide(own, others, out=np.full_like(own, np.nan), where=others > 0)
        ends = bootstrap(ratio, len(wide)) if np.isfinite(ratio[0]) else (np.nan, np.nan)
        found.append((concept, judge, own[0], others[0], ratio[0], *ends, len(wide)))
    return pd.DataFrame(found, columns=["concept", "judge", "own", "others", "ratio", "low", "high", "prompts"])


def spans(rows: pd.DataFrame) -> pd.DataFrame:
    """Find where a slider begins to be heard and where it breaks the sound, in either direction.

    It is audible from the first strength on at which the interval of the concept's gain lies above 0, and broken from
    the first one at which the judge is less sure of all else than by ``tada.steering.ranges.MIN_QUALITY`` of the
    unsteered clips.

    Args:
        rows: as from :func:`measure`, of one or several concepts.

    Returns:
        ``concept, side`` (1 or -1), ``audible, broken`` in percent of the range, NaN where no strength that was tried
        is; ``furthest``, the largest that was tried.
    """
    found = []
    for concept, part in rows.groupby("concept", sort=False):
        heard, sound = (part[part["metric"] == metric] for metric in (CONCEPT, QUALITY))
        gains = heard.pivot_table("value", ["prompt", "seed"], "percent")
        means = sound.groupby("percent")["value"].mean()
        for side in (1, -1):
            order = sorted((one for one in map(float, gains) if one * side > 0), key=abs)  # type: ignore[arg-type]
            audible = [percent for percent in order if _gains(side * gains[percent], side * gains[0.0])]
            broken = [percent for percent in order if means[percent] < MIN_QUALITY * means[0.0]]
            ends = (abs(some[0]) if some else np.nan for some in (audible, broken))
            found.append((concept, side, *ends, abs(order[-1])))
    return pd.DataFrame(found, columns=["concept", "side", "audible", "broken", "furthest"])


def _gains(values: pd.Series, plain: pd.Series) -> bool:
    """Whether paired values are larger for sure."""
    _, low, high = difference_interval(values, plain)
    return decide(low, high, len(values)) == ABOVE
