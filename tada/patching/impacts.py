"""Equation 9 of the paper on the scores of a sweep, with intervals, and the rule that calls a layer functional."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tada.errors import InputError

CASE = ["checkpoint", "model", "concept", "metric"]
NONE, ALL = ("patch", "none"), ("patch", "all")
MARGIN = dict.fromkeys(["margin", "margin_low", "margin_high"], np.nan)


def impact(scores: pd.DataFrame, resamples: int = 2000, confidence: float = 0.95, seed: int = 0) -> pd.DataFrame:
    """Equation 9: the share of the full swap's effect that a layer set has on its own.

    ``(sim(layers) - sim(none)) / (sim(all) - sim(none))``, means over all clips; nothing is rounded or clipped. The
    interval is that of a bootstrap over pairs, the same pairs drawn for all three terms; seeds of a pair stay together.
    Where the interval of the full swap's effect holds 0, or there is one pair only, the impact is unknown: its
    interval is everything.

    A control is held against its layers: the ``margin`` is how much higher their impact is than the control's, on the
    same pairs and with an interval of its own, since two clips of a pair have more in common than two intervals show.

    Args:
        scores: as from :func:`sweep`, of any number of checkpoints, concepts and metrics.
        resamples: of the bootstrap.
        confidence: of the intervals, 0 to 1.
        seed: of the bootstrap.

    Returns:
        ``checkpoint, model, concept, metric, method, layers, impact, low, high, known``, a control's ``margin,
        margin_low, margin_high`` (NaN for others), the full swap's ``effect, effect_low, effect_high``, the means
        ``none`` and ``all``, and the numbers ``pairs, clips``.

    Raises:
        ValueError: scores without ``none`` or ``all``, of a control but not of what it controls, with gaps, or with
            values that are NaN.
    """
    rows: list[dict[str, Any]] = []
    for case, part in scores.groupby(CASE, sort=False):
        about = dict(zip(CASE, case, strict=True))
        rows += [{**about, **row} for row in _impacts(part, about, resamples, confidence, seed)]
    return pd.DataFrame(rows)


def _impacts(
    part: pd.DataFrame, about: Mapping[str, Any], resamples: int, confidence: float, seed: int
) -> Iterator[dict[str, Any]]:
    which, means, clips = _means(part, about)
    pairs, tails = means.shape[1], (50 * (1 - confidence), 50 * (1 + confidence))
    drawn = np.random.default_rng(seed).multinomial(pairs, np.full(pairs, 1 / pairs), size=resamples) / pairs
    point, spread = means.mean(axis=1), means @ drawn.T
    none, every = which.index(NONE), which.index(ALL)
    effect, effects = point[every] - point[none], spread[every] - spread[none]
    effect_low, effect_high = np.percentile(effects, tails) if pairs > 1 else (-np.inf, np.inf)
    known = bool(effect_low > 0 or effect_high < 0)

    def share(name: str, row: int, base: int) -> dict[str, float]:
        """The share of the effect by which a row is above another, with its interval."""
        bounds = np.percentile((spread[row] - spread[base]) / effects, tails) if known else (-np.inf, np.inf)
        value = (point[row] - point[base]) / effect if effect else np.nan
        ends = ("low", "high") if name == "impact" else (f"{name}_low", f"{name}_high")
        return {name: value, ends[0]: bounds[0], ends[1]: bounds[1]}

    for row, (method, layers) in enumerate(which):
        if row not in (none, every):
            controlled = method != "patch"
            yield {
                **{"method": method, "layers": layers, **share("impact", row, none)},
                **(share("margin", which.index(("patch", layers)), row) if controlled else MARGIN),
                **{"known": known, "effect": effect, "effect_low": effect_low, "effect_high": effect_high},
                **{"none": point[none], "all": point[every], "pairs": pairs, "clips": clips},
            }


def _means(part: pd.DataFrame, about: Mapping[str, Any]) -> tuple[list[tuple[str, str]], np.ndarray, int]:
    """The rows ``(method, layers)``, their means over seeds ``[row, pair]``, and the number of clips of each row."""
    where = ", ".join(f"{name} {value}" for name, value in about.items())
    if part["value"].isna().any():
        raise InputError(f"{where}: {int(part['value'].isna().sum())} scores are NaN")
    kind = ["method", "layers"]
    which = [(str(method), str(layers)) for method, layers in part[kind].drop_duplicates().to_numpy()]
    for needed in (NONE, ALL):
        if needed not in which:
            raise InputError(f"{where}: no clips with layers {needed[1]!r}; equation 9 needs them")
    for method, layers in which:
        if ("patch", layers) not in which:
            raise InputError(f"{where}: clips of the control {method} but none of the layers {layers} that it is for")
    tables = part.groupby([*kind, "pair"], sort=False)["value"].agg(["mean", "count"]).unstack("pair").loc[which]
    counts = tables["count"].fillna(0).to_numpy().astype(int)
    if counts.min() < counts.max():
        row, column = np.argwhere(counts < counts.max())[0]
        raise InputError(
            f"{where}: pair {tables['count'].columns[column]} has {counts[row, column]} clips of {which[row]}, others "
            f"have {counts.max()}; every pair needs all layers and seeds"
        )
    return which, tables["mean"].to_numpy(), int(counts[0].sum())


def functional(impacts: pd.DataFrame, share: float = 0.9) -> pd.DataFrame:
    """Call layers functional by a rule.

    A single layer is functional for a concept if its interval lies above 0, if it does better than every control at
    that layer (the interval of the margin lies above 0, too), and if the layers of higher impact that also pass do not
    already make up ``share`` of the impact of all layers that pass.

    Args:
        impacts: as from :func:`impact`, with controls or without.
        share: 0 to 1.

    Returns:
        The impacts of single layers under ``patch``, the highest of each case first, with ``margin_low`` (the least of
        the layer's controls; NaN without), ``share`` (cumulative, of the layers that pass; NaN for others) and
        ``functional``.
    """
    single = impacts[impacts["layers"].str.fullmatch(r"\d+")]
    margins = single[single["method"] != "patch"].groupby([*CASE, "layers"])["margin_low"].min()
    rows = []
    for case, part in single[single["method"] == "patch"].groupby(CASE, sort=False):
        part = part.sort_values("impact", ascending=False, kind="stable")
        margin = np.array([margins.get((*case, layer), np.nan) for layer in part["layers"]])
        passed = part["known"].to_numpy() & (part["low"].to_numpy() > 0) & ~(margin <= 0)
        gained = np.where(passed, part["impact"], 0.0)
        reached = gained.cumsum() / gained.sum() if passed.any() else gained
        before = reached - gained / gained.sum() if passed.any() else gained
        called = passed & (before < share - 1e-12)
        rows.append(part.assign(margin_low=margin, share=np.where(passed, reached, np.nan), functional=called))
    if not rows:
        raise InputError("got no impacts of single layers; expected those of every layer on its own")
    return pd.concat(rows, ignore_index=True)


def aggregate(impacts: pd.DataFrame) -> pd.DataFrame:
    """The impact of each layer set over concepts.

    Args:
        impacts: as from :func:`impact`.

    Returns:
        ``checkpoint, model, metric, method, layers``, the ``mean, std, low`` (smallest) and ``high`` (largest) of the
        known impacts, and how many ``concepts`` are known and ``unknown``.
    """
    case = ["checkpoint", "model", "metric", "method", "layers"]
    known = impacts.assign(impact=impacts["impact"].where(impacts["known"]), unknown=~impacts["known"])
    spread = {"mean": "mean", "std": "std", "low": "min", "high": "max", "concepts": "count"}
    columns = {name: ("impact", how) for name, how in spread.items()}
    return known.groupby(case, sort=False).agg(**columns, unknown=("unknown", "sum")).reset_index()


def growing(layers: Sequence[int | str], most: int | None = None) -> list[list[int]]:
    """Layer sets that grow by one layer at a time, for the curve of cumulative impact.

    >>> growing(["7", "6", "5"], most=2)
    [[7], [7, 6]]
    """
    order = [int(layer) for layer in layers][:most]
    return [order[: count + 1] for count in range(len(order))]
