"""Every sentence of the paper that numbers can test, in its order, and what its authors published on it.

Their words are in ``tada/data/claims.json``, published values in ``tada/data/published_claims.csv``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

import pandas as pd

from tada.evaluation.results import mean_shift
from tada.experiments.claims.effects import Measure
from tada.experiments.claims.measures import (
    area,
    concentration,
    delta,
    difference,
    functional,
    layers_above_rest,
    mean_lpaps,
    mean_score,
    middle_share,
    negative_drop,
    paper_layers_lead,
    rank_correlation,
    sets_apart,
    sharing,
    steered,
    unevenness,
)
from tada.metrics.aesthetics import AXES

MARGIN = 1.0
"""Kernel distance (KAD) to true renders by which steered clips may be further away than unsteered ones."""


@dataclass(frozen=True)
class Claim:
    """One sentence of the paper that can be tested.

    Attributes:
        name: short, for commands and tables.
        says: what the paper claims, in our words.
        where: in the first version of the paper.
        test: what is measured, in words.
        bar: what the effect must exceed.
        needs: ``"localisation"``, ``"steering"``, ``"ratings"`` (steering, rated by Audiobox Aesthetics), or
            ``"verdicts"`` (those of the claim :attr:`after` on all architectures).
        judged: whether there is one effect for each judge of alignment.
        on: architectures that it is about; none for all.
        public: whether only public checkpoints can tell.
        after: the claim whose verdicts are needed.
    """

    name: str
    says: str
    where: str
    test: str
    bar: float = 0.0
    needs: str = "steering"
    judged: bool = False
    on: tuple[str, ...] = ()
    public: bool = False
    after: str = ""

    @property
    def measure(self) -> Measure | None:
        """What is measured; None where the claim needs verdicts."""
        return MEASURES.get(self.name)


MEASURES: Mapping[str, Measure] = {
    "few layers": concentration,
    "shared layers": sharing,
    "middle layers": middle_share,
    "layers of ACE-Step v1": paper_layers_lead,
    "layers of Stable Audio Open": paper_layers_lead,
    "layers of AudioLDM2": paper_layers_lead,
    "layers in between": layers_above_rest(range(46, 50)),
    "functional layers suffice": functional(delta),
    "others collapse": steered(["functional", "others"], lambda c: delta(c["functional"]) / 2 - delta(c["others"])),
    "more control": difference(delta, "functional", "all"),
    "more precision": difference(area, "functional", "all"),
    "more precision than the others": difference(area, "functional", "others"),
    "removal": functional(negative_drop),
    "graded": functional(rank_correlation, "mean", most=1.0),
    "smoother": difference(unevenness, "all", "functional"),
    "preservation (LPAPS)": difference(mean_lpaps, "others", "functional"),
    "preservation (sets)": sets_apart(
        "kad", ["functional", "others"], lambda c: mean_shift(c["others"]) - mean_shift(c["functional"])
    ),
    "global steering degrades": sets_apart("kad-truth", ["all"], lambda c: mean_shift(c["all"]) - c["all"][0.0]),
    "quality kept": sets_apart(
        "kad-truth", ["functional"], lambda c: MARGIN + c["functional"][0.0] - mean_shift(c["functional"])
    ),
    "quality (truth)": sets_apart(
        "kad-truth", ["functional", "all"], lambda c: mean_shift(c["all"]) - mean_shift(c["functional"])
    ),
    "quality (ratings)": difference(mean_score, "functional", "all", metrics=AXES),
    "autoencoder competes": steered(["sae", "functional"], lambda c: delta(c["sae"]) - 0.8 * delta(c["functional"])),
    "autoencoder surpasses": difference(delta, "sae", "functional", pool="any"),
    "precise autoencoder": difference(area, "sae", "all"),
}


def _read() -> tuple[Claim, ...]:
    rows = json.loads(files("tada.data").joinpath("claims.json").read_text(encoding="utf-8"))
    return tuple(Claim(**{**row, "on": tuple(row.get("on", ()))}) for row in rows)


CLAIMS = _read()


def published() -> pd.DataFrame:
    """Read ``claim, version, counted from, published, source``: values of public models, never of a mini.

    ``version`` is the paper's that states them; ``counted from`` is the number of the first layer there.
    """
    with files("tada.data").joinpath("published_claims.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file, dtype=str, keep_default_na=False)
