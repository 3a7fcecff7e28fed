"""What was measured on one checkpoint, and the effects that are taken from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd

from tada.evaluation.results import Scores, by_arm
from tada.patching.impacts import resample
from tada.stats import Values, bootstrap

PROBE = "probe"
"""The judge that was trained on renders."""

JUDGES = ("clap", "muq", "mini-clap", "mini-second", "musicnn", PROBE)
"""Metrics of alignment by which steering can be tested: as the paper judges first."""

ROWS: Mapping[tuple[str, str | None], str] = {
    ("CAA", "all"): "all",
    ("CAA", "all-but-functional"): "others",
    ("CAA", "functional"): "functional",
    ("SAE", None): "sae",
    **{(method, layers): f"{method}, {layers}" for method in ("PCI", "AUSteer") for layers in ("all", "functional")},
}
"""Method and layers in results -> row of Table 1 or of the benchmark; None for whatever single layer it was."""


class Effect(NamedTuple):
    """A tested quantity with its 95 % interval, what it was taken over, and how many independent units that is."""

    value: float
    low: float
    high: float
    over: str
    units: int

    @classmethod
    def of(cls, values: Values, units: int, over: str, strata: int = 1, most: float = np.inf) -> Effect:
        """Take it from the sample's value and its resamples, as for ``tada.stats.bootstrap``; at most ``most``."""
        low, high = bootstrap(values, units, strata=strata)
        return cls(float(values[0]), max(float(low), -most), min(float(high), most), over, strata * units)

    @classmethod
    def undefined(cls, why: str, units: int) -> Effect:
        """Say that what was measured cannot give the quantity."""
        return cls(np.nan, np.nan, np.nan, why, units)


class Impacts(NamedTuple):
    """Impacts ``[concepts, 1 + resamples, layers]``, the sample first, the concepts, and pairs of the least."""

    table: Values
    concepts: list[str]
    pairs: int


def impacts(scores: pd.DataFrame) -> Impacts:
    """Measure the impact of every single layer (equation 9), for the sample and for draws of its pairs.

    Args:
        scores: of one checkpoint and metric, as from ``tada.patching.sweep``. Concepts whose full swap has an effect
            that cannot be told from 0 are left out.
    """
    own = scores[(scores["method"] == "patch") & scores["layers"].str.fullmatch(r"none|all|\d+")]
    layers = sorted((name for name in own["layers"].unique() if name.isdigit()), key=int)
    cases = {str(name): resample(part) for name, part in own.groupby("concept", sort=False)}
    known = {name: case for name, case in cases.items() if case.facts()["known"]}
    tables = [case.shares([("patch", layer) for layer in layers]).T for case in known.values()]
    return Impacts(np.array(tables), list(known), min((case.pairs for case in known.values()), default=0))


@dataclass(frozen=True, eq=False)
class Evidence:
    """What was measured on one checkpoint.

    Attributes:
        checkpoint: ``"mini"``, ``"public"`` or another, as for ``tada.load``.
        scores: of the localisation, as from ``tada.patching.sweep``; None if there was none.
        results: of Table 1, as from ``tada.evaluation.run``; None if there are none.
        together: scores of functional layers on pairs that did not choose them, as from
            ``tada.experiments.localisation.measure_together``; None if there are none.
    """

    model: str
    checkpoint: str
    scores: pd.DataFrame | None = None
    results: pd.DataFrame | None = None
    together: pd.DataFrame | None = None

    def judges(self) -> list[str]:
        """List those of :data:`JUDGES` that the results have."""
        present = set() if self.results is None else set(self.results["metric"])
        return [name for name in JUDGES if name in present]

    @cached_property
    def impacts(self) -> Impacts | None:
        """Impacts of single layers; None without a localisation, or where no concept's full swap has an effect."""
        found = None if self.scores is None else impacts(self.scores)
        return found if found and found.concepts else None

    @cached_property
    def rows(self) -> dict[str, dict[str, Scores]]:
        """Concept -> row of Table 1 -> scores."""
        if self.results is None:
            return {}
        return {
            str(concept): {
                name: scores
                for (method, layers), scores in by_arm(part).items()
                if (name := ROWS.get((method, layers), ROWS.get((method, None))))
            }
            for concept, part in self.results.groupby("concept", sort=False)
        }


Measure = Callable[[Evidence, str], Effect | None]
"""The effect on a checkpoint, by a judge; None where its results do not hold what it needs."""
