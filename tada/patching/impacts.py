"""Equation 9 of the paper on the scores of a sweep, with intervals, and the rule that calls a layer functional."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tada.errors import InputError
from tada.stats import CONFIDENCE, RESAMPLES, Values, bootstrap, draws

CASE = ["checkpoint", "model", "concept", "metric"]
NONE, ALL = ("patch", "none"), ("patch", "all")


def impact(
    scores: pd.DataFrame, resamples: int = RESAMPLES, confidence: float = CONFIDENCE, seed: int = 0
) -> pd.DataFrame:
    """Measure the share of the full swap's effect that a layer set has on its own (equation 9), with intervals.

    ``(sim(layers) - sim(none)) / (sim(all) - sim(none))``, means over all clips; nothing is rounded or clipped. The
    interval is that of :mod:`tada.stats` over pairs, the same pairs drawn for all three terms; seeds of a pair stay
    together. Where the interval of the full swap's effect holds 0, or there is one pair only, the impact is unknown:
    its interval is everything.

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
        InputError: scores without ``none`` or ``all``, of a control but not of what it controls, with gaps, or with
            values that are NaN.
    """
    rows: list[dict[str, Any]] = []
    for case, part in scores.groupby(CASE, sort=False):
        about = dict(zip(CASE, case, strict=True))
        rows += [about | row for row in _impacts(resample(part, resamples, seed), confidence)]
    return pd.DataFrame(rows)


class Similarities(NamedTuple):
    """Mean similarities of layer sets, for the sample and for draws of its pairs.

    Attributes:
        sets: ``(method, layers)`` of each row.
        means: ``[sets, 1 + resamples]``, the sample first.
        pairs: prompt pairs.
        clips: of each set.
    """

    sets: list[tuple[str, str]]
    means: Values
    pairs: int
    clips: int

    def of(self, one: tuple[str, str]) -> Values:
        """Return the means of one set, ``[1 + resamples]``."""
        return np.asarray(self.means[self.sets.index(one)])

    @property
    def effect(self) -> Values:
        """The full swap's effect, ``[1 + resamples]``."""
        return self.of(ALL) - self.of(NONE)

    def share(self, one: tuple[str, str], base: tuple[str, str] = NONE) -> Values:
        """Compute equation 9, ``[1 + resamples]``: by how much of the full effect one set is above another."""
        effect = self.effect
        return (self.of(one) - self.of(base)) / np.where(effect == 0, np.nan, effect)

    def known(self, confidence: float = CONFIDENCE) -> bool:
        """Tell whether the full swap has an effect: its interval does not hold 0."""
        low, high = bootstrap(self.effect, self.pairs, confidence)
        return low > 0 or high < 0


def resample(part: pd.DataFrame, resamples: int = RESAMPLES, seed: int = 0) -> Similarities:
    """Average the scores of one case, for the sample and for draws of its pairs.

    Args:
        part: of one checkpoint, concept and metric, as for :func:`impact`, which says what is refused.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    where = ", ".join(f"{name} {part[name].iloc[0]}" for name in CASE)
    if part["value"].isna().any():
        raise InputError(f"{where}: {int(part['value'].isna().sum())} scores are NaN")
    kind = ["method", "layers"]
    sets = [(str(method), str(layers)) for method, layers in part[kind].drop_duplicates().to_numpy()]
    for needed in (NONE, ALL):
        if needed not in sets:
            raise InputError(f"{where}: no clips with layers {needed[1]!r}; equation 9 needs them")
    for method, layers in sets:
        if ("patch", layers) not in sets:
            raise InputError(f"{where}: clips of the control {method} but none of the layers {layers} that it is for")
    tables = part.groupby([*kind, "pair"], sort=False)["value"].agg(["mean", "count"]).unstack("pair").loc[sets]
    counts: np.ndarray = tables["count"].fillna(0).to_numpy().astype(int)
    if counts.min() < counts.max():
        row, column = np.argwhere(counts < counts.max())[0]
        raise InputError(
            f"{where}: pair {tables['count'].columns[column]} has {counts[row, column]} clips of {sets[row]}, others "
            f"have {counts.max()}; every pair needs all layers and seeds"
        )
    drawn = draws(counts.shape[1], resamples, seed)
    return Similarities(sets, tables["mean"].to_numpy() @ drawn.T, counts.shape[1], int(counts[0].sum()))


def _impacts(found: Similarities, confidence: float) -> Iterator[dict[str, Any]]:
    known, effect = found.known(confidence), found.effect
    low, high = bootstrap(effect, found.pairs, confidence)
    about = {"known": known, "effect": effect[0], "effect_low": low, "effect_high": high}
    about |= {"none": found.of(NONE)[0], "all": found.of(ALL)[0], "pairs": found.pairs, "clips": found.clips}

    def ends(name: str, values: Values, low: str, high: str) -> dict[str, float]:
        bounds = bootstrap(values, found.pairs, confidence) if known else (-np.inf, np.inf)
        return {name: values[0], low: bounds[0], high: bounds[1]}

    for one in found.sets:
        if one not in (NONE, ALL):
            method, layers = one
            margin = {"margin": np.nan, "margin_low": np.nan, "margin_high": np.nan}
            if method != "patch":
                margin = ends("margin", found.share(("patch", layers), one), "margin_low", "margin_high")
            share = ends("impact", found.share(one), "low", "high")
            yield {"method": method, "layers": layers, **share, **margin, **about}


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


def nested_sets(layers: Sequence[int | str], most: int | None = None) -> list[list[int]]:
    """Make layer sets that grow by one layer at a time, for the curve of cumulative impact.

    >>> nested_sets(["7", "6", "5"], most=2)
    [[7], [7, 6]]
    """
    order = [int(layer) for layer in layers][:most]
    return [order[: count + 1] for count in range(len(order))]


growing = nested_sets  # its former name
