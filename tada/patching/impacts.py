"""Equation 9 of the paper on the scores of a sweep, with intervals, and the rule that calls a layer functional."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tada.errors import InputError
from tada.stats import MIN_UNITS, RESAMPLES, Values, bootstrap, cluster_draws, lower_bounds, named_seed

CASE = ["checkpoint", "model", "concept", "metric"]
NONE, ALL = ("patch", "none"), ("patch", "all")

POOLED = "all concepts"
"""What stands for the concept of impacts that are means over concepts."""

MIN_IMPACT = 0.1
"""Impact that a functional layer has at least: the paper's threshold (third version, table 7)."""


def impact(scores: pd.DataFrame, resamples: int = RESAMPLES, seed: int = 0) -> pd.DataFrame:
    """Measure the share of the full swap's effect that a layer set has on its own (equation 9), with intervals.

    ``(sim(layers) - sim(none)) / (sim(all) - sim(none))``, means over all clips; nothing is rounded or clipped. The
    interval is that of :mod:`tada.stats` over pairs, the same pairs drawn for all three terms and others for every
    concept; seeds of a pair stay together, and seeds that several pairs share are drawn, too. Where the interval of
    the full swap's effect holds 0, or there is one pair only, the impact is unknown: its interval is everything.

    A control is held against its layers: the ``margin`` is how much higher their impact is than the control's, on the
    same pairs and with an interval of its own, since two clips of a pair have more in common than two intervals show.

    Args:
        scores: as from :func:`sweep`, of any number of checkpoints, concepts and metrics.

    Returns:
        ``checkpoint, model, concept, metric, method, layers, impact, low, high``, a control's ``margin, margin_low,
        margin_high`` (NaN for others), ``bound`` (the lower end of an interval that holds for all sets of the case and
        method at once, of the gain in units of the measured effect), ``known``, the full swap's ``effect, effect_low,
        effect_high``, the means ``none`` and ``all``, and the numbers ``pairs, clips``.

    Raises:
        InputError: scores without ``none`` or ``all``, of a control but not of what it controls, with gaps, or with
            values that are NaN.
    """
    return impact_of(scores.groupby(CASE, sort=False), resamples, seed)


def impact_of(cases: Iterable[tuple[Any, pd.DataFrame]], resamples: int = RESAMPLES, seed: int = 0) -> pd.DataFrame:
    """Measure as :func:`impact` does, for scores of one case each, under the names ``(checkpoint, model, concept,
    metric)`` that are given to them."""
    parts = []
    for case, part in cases:
        found = resample(part, resamples, seed)
        facts = found.facts()
        parts.append(_columns(case, [found], facts["known"]) | facts)
    return _stack(parts)


def pooled_impact(scores: pd.DataFrame) -> pd.DataFrame:
    """Average impacts over the concepts whose full swap has an effect, every concept with its own pairs.

    Args:
        scores: as for :func:`impact`; layer sets that one of these concepts lacks are left out.

    Returns:
        As from :func:`impact`, with the concept :data:`POOLED` and, in place of the full swap's facts, whether any is
        ``known``, how many ``concepts`` are, and their ``pairs`` and ``clips`` together.
    """
    parts = []
    for (checkpoint, model, metric), part in scores.groupby(["checkpoint", "model", "metric"], sort=False):
        every = [resample(one) for _, one in part.groupby("concept", sort=False)]
        known = [one for one in every if one.facts()["known"]]
        facts: dict[str, Any] = {"known": bool(known), "concepts": len(known)}
        facts |= {"pairs": sum(one.pairs for one in known), "clips": sum(one.clips for one in known)}
        case = checkpoint, model, POOLED, metric
        parts.append(_columns(case, known or every, bool(known)) | facts)
    return _stack(parts)


class Similarities(NamedTuple):
    """Mean similarities of layer sets, for the sample and for draws of its pairs.

    Attributes:
        sets: ``(method, layers)`` of each row.
        means: ``[sets, 1 + resamples]``, the sample first.
        units: independent ones: pairs, or the seeds that they share where these are fewer.
        clips: of each set.
    """

    sets: list[tuple[str, str]]
    means: Values
    units: int
    pairs: int
    clips: int

    def rises(self, sets: Sequence[tuple[str, str]]) -> Values:
        """Compute how far sets are above none, ``[sets, 1 + resamples]``."""
        return np.asarray(self.means[[self.sets.index(one) for one in sets]] - self.means[self.sets.index(NONE)])

    def shares(self, sets: Sequence[tuple[str, str]]) -> Values:
        """Compute equation 9, ``[sets, 1 + resamples]``."""
        (effect,) = self.rises([ALL])
        return self.rises(sets) / np.where(effect == 0, np.nan, effect)

    def facts(self) -> dict[str, Any]:
        """Tell of the full swap's effect, known if its interval does not hold 0, and of how many pairs and clips."""
        (effect,), none, every = self.rises([ALL]), self.sets.index(NONE), self.sets.index(ALL)
        low, high = bootstrap(effect, self.units)
        found = {"known": bool(low > 0 or high < 0), "effect": effect[0], "effect_low": low, "effect_high": high}
        found |= {"none": self.means[none, 0], "all": self.means[every, 0]}
        return found | {"pairs": self.pairs, "clips": self.clips}


def resample(part: pd.DataFrame, resamples: int = RESAMPLES, seed: int = 0) -> Similarities:
    """Average the scores of one case, for the sample and for draws of its pairs, and of seeds that pairs share.

    Args:
        part: of one checkpoint, concept and metric, as for :func:`impact`, which says what is refused.
        seed: of the bootstrap; concepts have draws of their own.
    """
    where = ", ".join(f"{name} {part[name].iloc[0]}" for name in CASE)
    if part["value"].isna().any():
        raise InputError(f"{where}: {int(part['value'].isna().sum())} scores are NaN")
    sets, rows = _labels(part["method"], part["layers"])
    for needed in (NONE, ALL):
        if needed not in sets:
            raise InputError(f"{where}: no clips with layers {needed[1]!r}; equation 9 needs them")
    for method, layers in sets:
        if ("patch", layers) not in sets:
            raise InputError(f"{where}: clips of the control {method} but none of the layers {layers} that it is for")
    clips, columns = _labels(part["pair"], part["seed"])
    table = np.full((len(sets), len(clips)), np.nan)
    table[rows, columns] = part["value"]
    if np.isnan(table).any():
        row, column = np.argwhere(np.isnan(table))[0]
        pair, number = clips[column]
        raise InputError(f"{where}: pair {pair} has no clip of {sets[row]} with seed {number}, but of other layers")
    if len(part) > table.size:
        raise InputError(f"{where}: {len(part) - table.size} scores are there twice; expected one a layer set and clip")
    pairs, seeds = (list(labels) for labels in zip(*clips, strict=True))
    crossed = [pairs] if len(set(seeds)) == len(seeds) else [pairs, seeds]
    drawn, units = cluster_draws(*crossed, resamples=resamples, seed=named_seed(str(part["concept"].iloc[0]), seed))
    return Similarities(sets, table @ drawn.T, units, len(set(pairs)), len(clips))


def _labels(*columns: pd.Series) -> tuple[list[tuple[Any, ...]], Values]:
    """List the different rows of some columns, in their order, and the number of each row in this list."""
    codes: dict[tuple[Any, ...], int] = {}
    rows = [codes.setdefault(row, len(codes)) for row in zip(*(column.tolist() for column in columns), strict=True)]
    return list(codes), np.array(rows)


def _stack(parts: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Put tables below each other, each of columns and of values that hold for all of its rows."""
    sizes = [len(part["layers"]) for part in parts]
    columns = {
        name: [np.broadcast_to(part[name], size) for part, size in zip(parts, sizes, strict=True)] for name in parts[0]
    }
    return pd.DataFrame({name: np.concatenate(values) for name, values in columns.items()})


def _columns(case: Any, cases: Sequence[Similarities], known: bool) -> dict[str, Any]:
    """Mean impacts over cases and margins over controls, with intervals, of the sets that all cases have."""
    sets = [one for one in cases[0].sets if one not in (NONE, ALL) and all(one in other.sets for other in cases)]
    share = np.mean([one.shares(sets) for one in cases], axis=0).T
    rise = np.mean([one.rises(sets) / (one.rises([ALL])[0, 0] or np.nan) for one in cases], axis=0).T
    units, strata = min(one.units for one in cases) if known else 1, len(cases)
    margin = share[:, [sets.index(("patch", layers)) for _, layers in sets]] - share
    about = dict(zip(CASE, case, strict=True))
    table = about | {name: [one[place] for one in sets] for place, name in enumerate(("method", "layers"))}
    for values, names in ((share, ("impact", "low", "high")), (margin, ("margin", "margin_low", "margin_high"))):
        table |= dict(zip(names, (values[0], *bootstrap(values, units, strata=strata)), strict=True))
    methods, bounds = np.array(table["method"]), np.empty(len(sets))
    for method in set(table["method"]):
        own = methods == method
        bounds[own] = lower_bounds(rise[:, own], units, strata)
    margins = {
        name: np.where(methods == "patch", np.nan, table[name]) for name in ("margin", "margin_low", "margin_high")
    }
    return table | margins | {"bound": bounds}


def functional(impacts: pd.DataFrame, least: float = MIN_IMPACT) -> pd.DataFrame:
    """Call layers functional: the one rule, for a concept or for all of them pooled.

    A single layer is functional if its impact is at least ``least``, if the lower end of an interval that holds for all
    layers at once lies above 0, and if it does better than every control at that layer (the interval of the margin lies
    above 0, too). Of fewer than :data:`tada.stats.MIN_UNITS` pairs nothing is called.

    Args:
        impacts: as from :func:`impact` or :func:`pooled_impact`, with controls or without.
        least: share of the full swap's effect below which a layer is not worth the name.

    Returns:
        The impacts of single layers under ``patch``, the highest of each case first, with ``margin_low`` (the least of
        the layer's controls; NaN without) and ``functional``.
    """
    single = impacts[impacts["layers"].str.fullmatch(r"\d+")]
    if single.empty:
        raise InputError("got no impacts of single layers; expected those of every layer on its own")
    cell = [*CASE, "layers"]
    margins = single[single["method"] != "patch"].groupby(cell)["margin_low"].min()
    own = single[single["method"] == "patch"].drop(columns="margin_low").join(margins, on=cell)
    enough = own["known"] & (own["pairs"] >= MIN_UNITS)
    called = enough & (own["impact"] >= least) & (own["bound"] > 0) & ~(own["margin_low"] <= 0)
    own = own.assign(functional=called, case=own.groupby(CASE, sort=False).ngroup())
    return own.sort_values(["case", "impact"], ascending=[True, False], ignore_index=True).drop(columns="case")


class Functional(NamedTuple):
    """The functional layers of a model, pooled over concepts; ``tada.json`` of a checkpoint keeps them.

    Attributes:
        layers: chosen on every other pair of each concept, the one of the highest impact first.
        jaccard: their agreement with those that the same rule chooses on the other pairs: the number of common layers
            over that of both; None where neither half names any.
        concepts: whose full swap has an effect.
        pairs: of the half that chose, of all these concepts together.
        seeds: the lowest and the highest of both halves.
    """

    layers: list[int]
    jaccard: float | None
    concepts: int
    pairs: int
    seeds: tuple[int, int]


def split_pairs(scores: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split the scores of a sweep into those of every other pair of each concept, and those of the others."""
    numbers = scores.groupby("concept")["pair"].transform(lambda pair: pair.factorize()[0])
    return scores[numbers % 2 == 0], scores[numbers % 2 == 1]


def call_pooled(scores: pd.DataFrame) -> list[int]:
    """List the layers that :func:`functional` calls for all concepts pooled, the one of the highest impact first.

    Raises:
        InputError: scores of several checkpoints or metrics.
    """
    if scores.empty:
        return []
    for name in ("checkpoint", "metric"):
        if scores[name].nunique() > 1:
            raise InputError(
                f"got scores of several: {name} {', '.join(map(str, scores[name].unique()))}; expected one"
            )
    called = functional(pooled_impact(scores))
    return [int(layer) for layer in called.loc[called["functional"], "layers"]]


def choose_functional(scores: pd.DataFrame) -> Functional:
    """Choose a model's functional layers on half of the pairs, and hold them against what the other half chooses.

    Args:
        scores: of one checkpoint and metric, as from :func:`sweep`, of every layer and at least two pairs a concept.
    """
    half, other = split_pairs(scores)
    layers, others = call_pooled(half), call_pooled(other)
    both = set(layers) | set(others)
    jaccard = len(set(layers) & set(others)) / len(both) if both else None
    facts = pooled_impact(half).iloc[0]
    seeds = int(scores["seed"].min()), int(scores["seed"].max())
    return Functional(layers, jaccard, int(facts["concepts"]), int(facts["pairs"]), seeds)


def aggregate(impacts: pd.DataFrame) -> pd.DataFrame:
    """Summarise the impacts of :func:`impact` over concepts, by layer set.

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
