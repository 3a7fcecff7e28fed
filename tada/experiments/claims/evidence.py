"""What was measured on one checkpoint, in the form that tests of claims read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from tada.evaluation.results import Scores, arms
from tada.experiments.claims.layers import Impacts, impacts

PROBE = "probe"
"""The judge whose truth is the renderer."""

JUDGES = ("clap", "muq", "mini-clap", "mini-second", PROBE)
"""Metrics of alignment by which steering can be tested: as the paper judges first, the truth last."""

ARMS: Mapping[tuple[str, str | None], str] = {
    ("CAA", "all"): "all",
    ("CAA", "all-but-functional"): "others",
    ("CAA", "functional"): "functional",
    ("SAE", None): "sae",
}
"""Method and layers in results -> row of Table 1; None for whatever single layer it was."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What was measured on one checkpoint.

    Attributes:
        model: the architecture.
        checkpoint: ``"mini"``, ``"planted"``, ``"public"`` or another, as for ``tada.load``.
        scores: of the localisation, as from ``tada.patching.sweep``; None if there was none.
        results: of Table 1, as from ``tada.evaluation.run``; None if there are none.
    """

    model: str
    checkpoint: str
    scores: pd.DataFrame | None = None
    results: pd.DataFrame | None = None

    def judges(self) -> list[str]:
        """Those of :data:`JUDGES` that the results have."""
        present = set() if self.results is None else set(self.results["metric"])
        return [name for name in JUDGES if name in present]

    @cached_property
    def impacts(self) -> Impacts | None:
        """Equation 9 with its resamples."""
        return None if self.scores is None else impacts(self.scores)

    @cached_property
    def arms(self) -> dict[str, dict[str, Scores]]:
        """Concept -> row of Table 1 -> scores."""
        if self.results is None:
            return {}
        return {
            str(concept): {
                name: scores
                for (method, layers), scores in arms(part).items()
                if (name := ARMS.get((method, layers), ARMS.get((method, None))))
            }
            for concept, part in self.results.groupby("concept", sort=False)
        }
