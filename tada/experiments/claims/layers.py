"""Effects on a localisation: how far few layers, shared by concepts, carry what all layers do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tada.experiments.claims.verdicts import Effect, Measure
from tada.models import ARCHITECTURES
from tada.stats import bootstrap, draws, proportion

if TYPE_CHECKING:
    from tada.experiments.claims.evidence import Evidence

Values = NDArray[np.float64]


class Impacts(NamedTuple):
    """Impacts ``[concepts, 1 + resamples, layers]``, the sample first, the concepts, and pairs of the least."""

    table: Values
    concepts: list[str]
    pairs: int


def impacts(scores: pd.DataFrame) -> Impacts:
    """Equation 9 for every single layer, for the sample and for draws of its pairs.

    Args:
        scores: of one checkpoint and metric, as from ``tada.patching.sweep``. Concepts whose full swap has an effect
            that cannot be told from 0 are left out.
    """
    own = scores[(scores["method"] == "patch") & scores["layers"].str.fullmatch(r"none|all|\d+")]
    layers = sorted((name for name in own["layers"].unique() if name.isdigit()), key=int)
    tables, names, pairs = [], [], []
    for name, part in own.groupby("concept", sort=False):
        wide = part.pivot_table("value", "pair", "layers", "mean")
        none, every, single = (draws(len(wide)) @ wide[which].to_numpy() for which in (["none"], ["all"], layers))
        low, high = bootstrap((every - none)[:, 0], len(wide))
        if low > 0 or high < 0:
            tables.append((single - none) / (every - none))
            names.append(str(name))
            pairs.append(len(wide))
    shape = (0, len(draws(1)), len(layers))
    return Impacts(np.stack(tables) if tables else np.empty(shape), names, min(pairs, default=0))


def concentration(evidence: Evidence, judge: str = "") -> Effect | None:
    """Share of all layers' impact in as many layers as the paper names, which are chosen on the other concepts.

    Shares are of the sum of absolute impacts, so that noise counts against the claim. Pairs and concepts are drawn.
    """
    found = evidence.impacts
    if found is None or len(found.concepts) < 2:
        return None
    share = (found.table * _chosen_elsewhere(found.table, evidence.model)).sum(-1) / np.abs(found.table).sum(-1)
    weights = draws(len(found.concepts), share.shape[1] - 1, seed=1)
    return Effect.of((share.T * weights).sum(1), len(found.concepts), f"{len(found.concepts)} concepts", 1.0)


def sharing(evidence: Evidence, judge: str = "") -> Effect | None:
    """Share of concepts whose strongest layer is among the few that are strongest for the other concepts."""
    found = evidence.impacts
    if found is None or len(found.concepts) < 2:
        return None
    sample = found.table[:, 0]
    hits = _chosen_elsewhere(sample, evidence.model)
    return _share(hits[np.arange(len(sample)), sample.argmax(1)])


def middle(evidence: Evidence, judge: str = "") -> Effect | None:
    """Share of concepts whose strongest layer lies in the middle half of the depth."""
    found = evidence.impacts
    if found is None or not found.concepts:
        return None
    depth = (found.table[:, 0].argmax(1) + 0.5) / found.table.shape[2]
    return _share((depth > 0.25) & (depth < 0.75))


def named(evidence: Evidence, judge: str = "") -> Effect | None:
    """Lowest mean impact of the layers that the paper names less the highest of all others."""
    means = _means(evidence)
    if means is None:
        return None
    own = np.isin(np.arange(means.shape[1]), ARCHITECTURES[evidence.model].paper_layers)
    return _over_concepts(evidence, means[:, own].min(1) - means[:, ~own].max(1))


def between(layers: Sequence[int]) -> Measure:
    """Mean impact of some layers less that of all others but those that the paper names."""

    def measure(evidence: Evidence, judge: str = "") -> Effect | None:
        means = _means(evidence)
        if means is None:
            return None
        rest = np.setdiff1d(np.arange(means.shape[1]), [*layers, *ARCHITECTURES[evidence.model].paper_layers])
        return _over_concepts(evidence, means[:, list(layers)].mean(1) - means[:, rest].mean(1))

    return measure


def _means(evidence: Evidence) -> Values | None:
    """Impacts ``[1 + resamples, layers]``, mean over concepts."""
    found = evidence.impacts
    return None if found is None or not found.concepts else np.asarray(found.table.mean(0))


def _over_concepts(evidence: Evidence, values: Values) -> Effect:
    assert evidence.impacts is not None
    return Effect.of(values, evidence.impacts.pairs, f"mean of {len(evidence.impacts.concepts)} concepts")


def _chosen_elsewhere(table: Values, model: str) -> NDArray[np.bool_]:
    """Mask of the layers of highest mean impact over all concepts but the row's own, as many as the paper names."""
    others = table.sum(0, keepdims=True) - table
    place = np.argsort(np.argsort(-others, axis=-1, kind="stable"), axis=-1)
    return place < len(ARCHITECTURES[model].paper_layers)


def _share(hits: NDArray[np.bool_]) -> Effect:
    return Effect(float(hits.mean()), *proportion(hits), f"{hits.sum()} of {len(hits)} concepts")
