"""Table 1 from scores of steering runs: means over prompts, intervals, the best row and those tied with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tada.errors import InputError
from tada.metrics import aesthetics, curve, preservation, signals
from tada.metrics.packages import INSTALL_HINTS
from tada.metrics.suite import OPPOSITE
from tada.stats import ABOVE, BELOW, RESAMPLES, Values, bootstrap, decide, draws, jackknife, named_seed
from tada.steering.arms import ARM, BASELINE

Cutoffs = tuple[float, float]

CASE = ["checkpoint", "model", "concept"]

ALIGNED = ("clap", "muq", "mini-clap", "mini-second", "probe", "musicnn")
"""Metrics of alignment: Table 1 has the change over the whole range and the smoothness of each."""

MEASURED = tuple(metric for metric, _ in signals.MEASURED.values())
"""What signals say without classes; silent clips have none of it."""

SETS = ("fad", "kad", "fad-renders", "kad-renders")
"""Distances between sets of clips: to the unsteered ones, and to true renders."""


class Column(NamedTuple):
    """A column of Table 1: what it is made of, which direction is better, how mean curves become numbers.

    ``of`` takes strengths in order ``[n]``, curves and those of the metric ``beside`` it ``[many, n]``, None without,
    and gives one number a curve; None for sets. ``least`` is the least that it can be, where intervals end.
    """

    name: str
    metric: str
    better: str
    of: Callable[[Values, Values, Values | None], Values] | None
    least: float = -np.inf
    beside: str = "lpaps"


def columns(metrics: Sequence[str], cutoffs: Cutoffs | None = None, variant: str = "paper") -> list[Column]:
    """List the columns that can be made of ``metrics``; AUC needs ``cutoffs``."""

    def steered(alpha: Values, curves: Values, ways: Values | None) -> Any:
        return curves[:, alpha != 0].mean(1)

    def uneven(alpha: Values, curves: Values, ways: Values | None) -> Any:
        return curve.smoothness(alpha, curves, variant, ways, cutoffs)

    def area(alpha: Values, curves: Values, ways: Values | None) -> Any:
        assert ways is not None and cutoffs is not None
        return curve.auc(alpha, curves, ways, cutoffs, variant)

    def gained(alpha: Values, curves: Values, opposite: Values | None) -> Any:
        return curve.delta(alpha, curves, opposite if variant == "authors" else None)

    kept, gaining = ("lpaps", "lpaps-channel", "lpaps-token", *preservation.AXES), (*ALIGNED, "signal")
    made = [
        *(Column(name, name, "lower", steered, 0.0) for name in kept),
        Column("fad", "fad", "lower", None, 0.0),
        Column("kad", "kad", "lower", None),
        *(Column(f"delta {name}", name, "higher", gained, beside=name + OPPOSITE) for name in gaining),
        *(Column(f"smoothness {name}", name, "lower", uneven, 0.0) for name in ALIGNED),
        *(Column(f"auc {name}", name, "higher", area) for name in gaining if cutoffs),
        *(Column(name, name, "higher", lambda alpha, curves, ways: curves.mean(1)) for name in aesthetics.AXES),
        Column("fad-renders", "fad-renders", "lower", None, 0.0),
        Column("kad-renders", "kad-renders", "lower", None),
    ]
    return [column for column in made if column.metric in metrics]


def gains(results: pd.DataFrame, judge: str) -> pd.DataFrame:
    """Gain in alignment by a metric and distance from the unsteered clips, on average over prompts.

    Returns:
        ``concept, method, layers, percent, lpaps, gain``: the gain is the judge's mean less that of the unsteered
        clips, with the sign of the strength, so that it is positive in the wanted direction.
    """
    some = results[results["metric"].isin([judge, "lpaps"]) & (results["prompt"] != "")]
    steered = some[some["method"] != BASELINE]
    place = ["concept", *ARM, "percent"]
    means = steered.pivot_table("value", place, "metric", sort=False).reset_index()
    zero = some[(some["method"] == BASELINE) & (some["metric"] == judge)].groupby("concept")["value"].mean()
    gain = (means[judge] - means["concept"].map(zero)) * np.sign(means["percent"])
    return means.assign(gain=gain)[[*place, "lpaps", "gain"]]


def table(
    results: pd.DataFrame,
    cutoffs: Mapping[str, Cutoffs] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    variant: str = "paper",
) -> pd.DataFrame:
    """Make Table 1, one row a cell, with intervals.

    Preservation (``lpaps``, ``harmony``, ``structure``, ``rhythm``, ``melody``, ``fad``, ``kad``) is the mean over all
    strengths but 0, ``delta`` the score at the largest strength less that at the smallest, ``smoothness`` the standard
    deviation of its consecutive differences, ratings the mean over all strengths, as section 4.2 words them; each on
    the mean over prompts. Intervals are those of :mod:`tada.stats`: a widened bootstrap over prompts, the same prompts
    drawn for all rows; distances between sets leave out a tenth of the prompts at a time.

    Args:
        results: as from :func:`tada.evaluation.run`, of any number of checkpoints and concepts.
        cutoffs: concept -> largest LPAPS on the positive and negative side for the AUC; None for as far as every row
            of the concept gets.
        variant: of the curves' numbers, of :data:`tada.metrics.curve.VARIANTS`: the paper's words, ``"authors"``
            (smoothness of their first code, and ``delta`` two-sided where the opposite was measured, see
            :class:`tada.metrics.suite.MetricSuite`), ``"authors-v2"`` (smoothness and AUC of their second).

    Returns:
        ``checkpoint, model, concept, method, layers, column, value, low, high, better, best, tied, prompts, note``.
        ``best`` is the best row of a concept and column, ``tied`` marks rows whose difference to it has an interval
        that holds 0, and all rows where the prompts are too few to tell (:func:`tada.stats.decide`); ``prompts`` is the
        number of clips at each strength, in sets too. What could not be measured is there with value NaN and a note
        with what fills it.

    Raises:
        ValueError: no strength 0, gaps, scores that are NaN, or several runs mixed.
    """
    missing = [name for name in (*CASE, "metric", "value") if name not in results]
    if missing or results.empty:
        raise InputError(f"got {len(results)} results, without {missing}; expected some, as from tada.evaluation.run")
    cells: list[dict[str, Any]] = []
    for case, part in results.groupby(CASE, sort=False):
        about: dict[str, Any] = dict(zip(CASE, case, strict=True))
        scores = by_arm(part)
        given = (cutoffs or {}).get(about["concept"]) or common_cutoffs(scores.values())
        drawn = draws(len(next(iter(scores.values())).prompts), resamples, seed)
        for column in columns(part["metric"].unique().tolist(), given, variant):
            cells += [about | cell for cell in compare_arms(column, scores, drawn)]
        cells += [{**about, **dict(zip(ARM, arm, strict=True)), **gap} for gap in _unmeasured(part) for arm in scores]
    return pd.DataFrame(cells)


def pooled(results: pd.DataFrame, cutoffs: Mapping[str, Cutoffs]) -> pd.DataFrame:
    """Average the columns of curves over the concepts of one checkpoint, each with prompts of its own.

    Args:
        results, cutoffs: as for :func:`table`, cut-offs of every concept.

    Returns:
        ``method, layers, column, value, low, high, concepts``: over the concepts that have the column; NaN for an arm
        that lacks one of them.
    """
    values: dict[tuple[str, str, str], list[Values]] = {}
    counts: list[int] = []
    for concept, part in results.groupby("concept", sort=False):
        scores = by_arm(part)
        counts.append(min(len(own.prompts) for own in scores.values()))
        drawn = draws(counts[-1], seed=named_seed(str(concept)))
        for column in columns(part["metric"].unique().tolist(), cutoffs[str(concept)]):
            for arm, own in scores.items() if column.of else ():
                values.setdefault((*arm, column.name), []).append(resampled(column, own, drawn))
    most = Counter[str]()
    for (_, _, name), every in values.items():
        most[name] = max(most[name], len(every))
    rows = []
    for case, every in values.items():
        means = np.mean(every, axis=0)
        known = len(every) == most[case[2]] and bool(np.isfinite(means[0]))
        ends = bootstrap(means, min(counts), strata=len(every)) if known else (np.nan, np.nan)
        rows.append((*case, means[0] if known else np.nan, *ends, len(every)))
    return pd.DataFrame(rows, columns=[*ARM, "column", "value", "low", "high", "concepts"])


class Scores(NamedTuple):
    """An arm's strengths, the prompts, each metric's scores ``[prompts, strengths]``, and distances between sets: rows
    ``all`` prompts, ``without 0`` and so on, columns strengths."""

    alpha: Values
    prompts: list[Any]
    scores: dict[str, Values]
    sets: dict[str, pd.DataFrame]


def by_arm(part: pd.DataFrame) -> dict[tuple[str, str], Scores]:
    """Give the scores of every arm ``(method, layers)`` of one concept, strength 0 put in its place in each.

    Raises:
        ValueError: no strength 0, no steered clips, gaps, or several runs mixed.
    """
    clips, sets = part[part["prompt"] != ""], part[part["prompt"] == ""]
    where = ", ".join(map(str, part[CASE].iloc[0]))
    zero = clips["method"] == BASELINE
    if not zero.any():
        raise InputError(f"{where}: no clips at strength 0 (method {BASELINE!r}); everything is measured from them")
    if zero.all():
        raise InputError(f"{where}: no steered clips")
    found: dict[tuple[str, str], Scores] = {}
    for arm, steered in clips[~zero].groupby(ARM, sort=False):
        tables = _pivoted(pd.concat([clips[zero], steered]), f"{where}, {arm}")
        first = next(iter(tables.values()))
        own = sets[(sets["method"] == BASELINE) | ((sets["method"] == arm[0]) & (sets["layers"] == arm[1]))]
        found[str(arm[0]), str(arm[1])] = Scores(
            first.columns.to_numpy(dtype=float),
            first.index.to_list(),
            {metric: some.loc[first.index].to_numpy() for metric, some in tables.items()},
            {str(m): some.pivot(index="pair", columns="alpha", values="value") for m, some in own.groupby("metric")},
        )
    return found


def _pivoted(rows: pd.DataFrame, where: str) -> dict[str, pd.DataFrame]:
    """Metric -> prompts by strengths."""
    twice = rows.duplicated(["prompt", "seed", "alpha", "metric"])
    if twice.any():
        raise InputError(f"{where}: {int(twice.sum())} clips are there twice: several runs are mixed")
    tables = {
        str(metric): some.pivot(index=["prompt", "seed"], columns="alpha", values="value")
        for metric, some in rows.groupby("metric", sort=False)
    }
    shape = (rows[["prompt", "seed"]].drop_duplicates().shape[0], rows["alpha"].nunique())
    for metric, some in list(tables.items()):
        if metric in MEASURED and some.shape == shape and some.isna().any().any():
            del tables[metric]
        elif some.isna().any().any() or some.shape != shape:
            raise InputError(f"{where}: {metric} has gaps; finish the run, or take the unfinished arm out")
    return tables


def common_cutoffs(scores: Iterable[Scores]) -> Cutoffs | None:
    """Find the largest mean LPAPS on either side that every arm reaches, None if it is 0."""
    furthest = []
    for arm in scores:
        if "lpaps" not in arm.scores or not {-1.0, 1.0} <= set(np.sign(arm.alpha)):
            return None
        distance = arm.scores["lpaps"].mean(0)
        furthest.append([distance[arm.alpha > 0].max(), distance[arm.alpha < 0].max()])
    up, down = np.min(furthest, axis=0)
    return (float(up), float(down)) if min(up, down) > 0 else None


def mean_shift(sets: pd.DataFrame) -> pd.Series:
    """Average the distance between sets over all strengths but 0, of all prompts and without each group."""
    return sets.drop(columns=0.0, errors="ignore").mean(axis=1)


def compare_arms(column: Column, scores: Mapping[tuple[str, str], Scores], drawn: Values) -> list[dict[str, Any]]:
    """Give the cells of a column of one concept: the value of every arm, its interval, and whether it is the best."""
    count = drawn.shape[1]

    def bounds(values: Values) -> tuple[float, float]:
        return jackknife(values) if column.of is None else bootstrap(values, count)

    values = {arm: resampled(column, own, drawn) for arm, own in scores.items()}
    sign = 1 if column.better == "higher" else -1
    best = max(values, key=lambda arm: np.nan_to_num(sign * values[arm][0], nan=-np.inf))
    cells = []
    for arm, own in values.items():
        (low, high), (under, over) = bounds(own), bounds(own - values[best])
        cells.append({
            **dict(zip(ARM, arm, strict=True)), "column": column.name, "value": own[0],
            "low": max(low, column.least), "high": high,
            "better": column.better, "best": arm == best,
            "tied": decide(under, over, count) not in (ABOVE, BELOW), "prompts": count, "note": "",
        })  # fmt: skip
    return cells


def resampled(column: Column, arm: Scores, drawn: Values) -> Values:
    """Compute a column of an arm for the sample and for its resamples, or without each group of prompts."""
    if column.of is None:
        return mean_shift(arm.sets[column.metric]).to_numpy()
    beside = arm.scores.get(column.beside)
    return column.of(arm.alpha, drawn @ arm.scores[column.metric], None if beside is None else drawn @ beside)


def _unmeasured(part: pd.DataFrame) -> list[dict[str, Any]]:
    """Cells of Table 1 that these results have no metric for, with what fills them."""
    rated = f"{INSTALL_HINTS['audiobox_aesthetics']}; then tada table ... --aesthetics"
    how = {**dict.fromkeys(aesthetics.AXES, rated), **dict.fromkeys(SETS[:2], "at least 3 prompts")}
    return [
        {"column": column, "value": np.nan, "low": np.nan, "high": np.nan, "better": "", "best": False, "tied": False,
         "prompts": 0, "note": note}
        for column, note in how.items() if column not in set(part["metric"])
    ]  # fmt: skip
