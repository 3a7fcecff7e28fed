"""From scores of steering runs to Table 1: means over prompts, intervals, what is best and what may well be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tada.errors import unknown
from tada.metrics import curve

Values = NDArray[np.float64]

CASE = ["checkpoint", "model", "concept"]
ARM = ["method", "layers"]

BASELINE = "none"
"""Method and layers of the clips at strength 0, which all arms share."""

ALIGNED = ("clap", "muq", "mini-clap", "mini-second", "probe")
"""Metrics of alignment: Table 1 has the change over the whole range and the smoothness of each."""

RATINGS = ("CE", "CU", "PC", "PQ")


class Column(NamedTuple):
    """A column of Table 1: what it is made of, which direction is better, how mean curves become numbers.

    ``of`` takes strengths in order ``[n]`` and curves ``[many, n]``, and gives one number a curve.
    """

    name: str
    metric: str
    better: str
    of: Callable[[Values, Values], Values] | None


def _steered(alpha: Values, curves: Values) -> Values:
    return curves[:, alpha != 0].mean(1)


def _delta(alpha: Values, curves: Values) -> Values:
    return curves[:, -1] - curves[:, 0]


def _smoothness(alpha: Values, curves: Values) -> Values:
    return np.diff(curves, axis=1).std(1)


def _overall(alpha: Values, curves: Values) -> Values:
    return curves.mean(1)


def columns(metrics: Sequence[str], cutoffs: tuple[float, float] | None = None) -> list[Column]:
    """The columns that can be made of ``metrics``; AUC needs ``cutoffs``."""
    made = [
        Column("lpaps", "lpaps", "lower", _steered),
        Column("lpaps-channel", "lpaps-channel", "lower", _steered),
        Column("lpaps-token", "lpaps-token", "lower", _steered),
        Column("fad", "fad", "lower", None),
        *(Column(f"delta {name}", name, "higher", _delta) for name in ALIGNED),
        *(Column(f"smoothness {name}", name, "lower", _smoothness) for name in ALIGNED),
        *(Column(f"auc {name}", name, "higher", None) for name in ALIGNED if cutoffs),
        *(Column(name, name, "higher", _overall) for name in RATINGS),
        Column("fad-truth", "fad-truth", "lower", None),
    ]
    return [column for column in made if column.metric in metrics]


def table(
    results: pd.DataFrame,
    cutoffs: Mapping[str, tuple[float, float]] | None = None,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Table 1, one row a cell, with intervals.

    Preservation (``lpaps``, ``fad``) is the mean over all strengths but 0, ``delta`` the score at the largest strength
    less that at the smallest, ``smoothness`` the standard deviation of its consecutive differences, ratings the mean
    over all strengths, as section 4.2 words them; each on the mean over prompts. Intervals come from a bootstrap over
    prompts, the same prompts drawn for all rows; those of distances between sets from leaving out a tenth of the
    prompts at a time (jackknife).

    Args:
        results: as from :func:`tada.evaluation.run`, of any number of checkpoints and concepts.
        cutoffs: concept -> largest LPAPS on the positive and negative side for the AUC; None for as far as every row
            of the concept gets.
        resamples: of the bootstrap.
        confidence: of the intervals, 0 to 1.
        seed: of the bootstrap.

    Returns:
        ``checkpoint, model, concept, method, layers, column, value, low, high, better, best, tied, prompts, note``.
        ``best`` is the best row of a concept and column, ``tied`` marks rows whose difference to it has an interval
        that holds 0. What could not be measured is there with value NaN and a note with what fills it.

    Raises:
        ValueError: no strength 0, gaps, scores that are NaN, or several runs mixed.
    """
    cells: list[dict[str, Any]] = []
    for case, part in results.groupby(CASE, sort=False):
        about = {str(name): value for name, value in zip(CASE, case, strict=True)}
        arms = _arms(part, about)
        given = (cutoffs or {}).get(str(about["concept"])) or _common_reach(arms)
        drawn = _draws(len(next(iter(arms.values())).prompts), resamples, seed)
        for column in columns(part["metric"].unique().tolist(), given):
            cells += _cells(column, arms, drawn, confidence, given, about)
        cells += [{**about, **dict(zip(ARM, arm, strict=True)), **gap} for gap in _gaps(part) for arm in arms]
    return pd.DataFrame(cells)


class _Scores(NamedTuple):
    """An arm's strengths, the prompts, each metric's scores ``[prompts, strengths]``, and distances between sets."""

    alpha: Values
    prompts: list[Any]
    scores: dict[str, Values]
    sets: dict[str, pd.DataFrame]


def _arms(part: pd.DataFrame, about: Mapping[str, Any]) -> dict[tuple[str, str], _Scores]:
    """The scores of every arm of a concept, strength 0 put in its place in each."""
    clips, sets = part[part["prompt"] != ""], part[part["prompt"] == ""]
    where = ", ".join(map(str, about.values()))
    zero = clips[clips["method"] == BASELINE]
    if zero.empty:
        raise ValueError(f"{where}: no clips at strength 0 (method {BASELINE!r}); everything is measured from them")
    found: dict[tuple[str, str], _Scores] = {}
    for arm, steered in clips[clips["method"] != BASELINE].groupby(ARM, sort=False):
        rows = pd.concat([zero, steered])
        twice = rows.duplicated(["prompt", "seed", "alpha", "metric"])
        if twice.any():
            raise ValueError(f"{where}, {arm}: {int(twice.sum())} clips are there twice: several runs are mixed")
        tables = {
            str(metric): some.pivot(index=["prompt", "seed"], columns="alpha", values="value")
            for metric, some in rows.groupby("metric", sort=False)
        }
        first = next(iter(tables.values()))
        for metric, some in tables.items():
            if some.isna().any().any() or some.shape != first.shape:
                raise ValueError(f"{where}, {arm}: {metric} has gaps; finish the run, or take the unfinished arm out")
        of_arm = sets[(sets["method"] == arm[0]) & (sets["layers"] == arm[1])]
        found[arm] = _Scores(  # type: ignore[index]
            first.columns.to_numpy(dtype=float),
            first.index.to_list(),
            {metric: some.loc[first.index].to_numpy() for metric, some in tables.items()},
            {str(m): some.pivot(index="pair", columns="alpha", values="value") for m, some in of_arm.groupby("metric")},
        )
    if not found:
        raise ValueError(f"{where}: no steered clips")
    return found


def _common_reach(arms: Mapping[Any, _Scores]) -> tuple[float, float] | None:
    """The largest mean LPAPS on either side that every arm gets to."""
    if any("lpaps" not in arm.scores or not {-1.0, 1.0} <= set(np.sign(arm.alpha)) for arm in arms.values()):
        return None
    far = [[arm.scores["lpaps"].mean(0)[arm.alpha * sign > 0].max() for arm in arms.values()] for sign in (1, -1)]
    least = (float(min(far[0])), float(min(far[1])))
    return least if min(least) > 0 else None


def _draws(count: int, resamples: int, seed: int) -> Values:
    """Weights of prompts ``[1 + resamples, prompts]``; the first row is the sample itself."""
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    return np.concatenate([np.full((1, count), 1 / count), drawn / count])


def _cells(
    column: Column,
    arms: Mapping[tuple[str, str], _Scores],
    drawn: Values,
    confidence: float,
    cutoffs: tuple[float, float] | None,
    about: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """A column of one concept: the value of every arm, its interval, and which is the best."""
    of_sets = column.metric in ("fad", "fad-truth")
    values = {
        arm: _jackknife(scores.sets[column.metric]) if of_sets else _bootstrap(column, scores, drawn, cutoffs)
        for arm, scores in arms.items()
    }
    bounds = _jackknife_interval if of_sets else _percentiles
    sign = 1 if column.better == "higher" else -1
    best = max(values, key=lambda arm: sign * values[arm][0])
    cells = []
    for arm, found in values.items():
        low, high = bounds(found, confidence)
        away = bounds(found - values[best], confidence)
        cells.append({
            **about, **dict(zip(ARM, arm, strict=True)), "column": column.name, "value": found[0], "low": low,
            "high": high, "better": column.better, "best": arm == best, "tied": bool(away[0] <= 0 <= away[1]),
            "prompts": len(arms[arm].prompts), "note": "",
        })  # fmt: skip
    return cells


def _bootstrap(column: Column, arm: _Scores, drawn: Values, cutoffs: tuple[float, float] | None) -> Values:
    """The number itself and that of every resample."""
    curves = drawn @ arm.scores[column.metric]
    if column.of is not None:
        return column.of(arm.alpha, curves)
    assert cutoffs is not None
    ways = drawn @ arm.scores["lpaps"]
    return np.array([curve.auc(arm.alpha, one, way, cutoffs) for one, way in zip(curves, ways, strict=True)])


def _jackknife(sets: pd.DataFrame) -> Values:
    """The mean distance over strengths other than 0, of all prompts and without each group."""
    steered = sets[[alpha for alpha in sets.columns if alpha != 0]]
    rows = ["all", *sorted((name for name in steered.index if name != "all"), key=lambda name: int(name.split()[1]))]
    return steered.loc[rows].mean(axis=1).to_numpy()


def _percentiles(values: Values, confidence: float) -> tuple[float, float]:
    low, high = np.percentile(values[1:], (50 * (1 - confidence), 50 * (1 + confidence)))
    return float(low), float(high)


def _jackknife_interval(values: Values, confidence: float) -> tuple[float, float]:
    from scipy.stats import norm

    parts = values[1:]
    spread = np.sqrt((len(parts) - 1) / len(parts) * ((parts - parts.mean()) ** 2).sum())
    half = float(norm.ppf((1 + confidence) / 2) * spread)
    return float(values[0] - half), float(values[0] + half)


def _gaps(part: pd.DataFrame) -> list[dict[str, Any]]:
    """Cells of Table 1 that these results have no metric for, with what fills them."""
    from tada.metrics.packages import HERE

    present = set(part["metric"])
    mini = "mini-clap" in present
    how = dict.fromkeys(RATINGS, f"{HERE['audiobox_aesthetics']}; then Panel(..., aesthetics=True)")
    if not mini:
        how |= {f"{what} muq": f"{HERE['muq']}; then Panel('public')" for what in ("delta", "smoothness")}
    how["fad"] = "at least 3 prompts"
    missing = {column: note for column, note in how.items() if column.split()[-1] not in present}
    return [
        {"column": column, "value": np.nan, "low": np.nan, "high": np.nan, "better": "", "best": False, "tied": False,
         "prompts": 0, "note": note}
        for column, note in missing.items()
    ]  # fmt: skip


def layout(cells: pd.DataFrame, style: str = "text", digits: int = 3, intervals: bool = True) -> pd.DataFrame:
    """The cells of :func:`table` as Table 1 is laid out.

    Args:
        cells: as from :func:`table`.
        style: ``"text"`` marks the best row of a concept and rows that cannot be told from it with ``*``, ``"latex"``
            and ``"html"`` print them bold.
        digits: after the point.
        intervals: show them.

    Returns:
        Text cells, rows ``(checkpoint, concept, method, layers)``, a column for each of Table 1's; what was not
        measured reads ``not measured``.

    Raises:
        KeyError: an unknown style.
    """
    marks = {"text": "{}*", "latex": r"\textbf{{{}}}", "html": "<b>{}</b>"}
    if style not in marks:
        raise KeyError(unknown("style", style, marks))

    def show(cell: Any) -> str:
        if np.isnan(cell.value):
            return "not measured"
        number = f"{cell.value:.{digits}f}"
        number = marks[style].format(number) if cell.best or cell.tied else number
        return f"{number} [{cell.low:.{digits}f}, {cell.high:.{digits}f}]" if intervals else number

    shown = cells.assign(text=[show(cell) for cell in cells.itertuples(index=False)])
    rows = ["checkpoint", "concept", *ARM]
    wide = shown.pivot(index=rows, columns="column", values="text")
    order = shown[rows].drop_duplicates()
    return wide.loc[[tuple(row) for row in order.to_numpy()], shown["column"].drop_duplicates().to_list()]


def latex(cells: pd.DataFrame, digits: int = 3) -> str:
    """Table 1 as a LaTeX ``tabular``, best and tied rows bold, without intervals."""
    wide = layout(cells, "latex", digits, intervals=False).reset_index()
    lines = [
        " & ".join(wide.columns).replace("_", r"\_") + r" \\ \hline",
        *(" & ".join(map(str, row)).replace("_", r"\_") + r" \\" for row in wide.to_numpy()),
    ]
    return "\n".join([rf"\begin{{tabular}}{{{'l' * 4}{'r' * (wide.shape[1] - 4)}}}", *lines, r"\end{tabular}", ""])
