"""Every sentence of the paper that numbers can test, in its order, and what its authors published on it.

Their words are in ``tada/data/claims.json``, published values in ``tada/data/published_claims.csv``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

import pandas as pd

from tada.experiments.claims import measures as of
from tada.experiments.claims.effects import Measure
from tada.metrics.aesthetics import AXES

MARGIN = 1.0
"""Kernel distance (KAD) to true renders by which steered clips may be further away than unsteered ones. Noise 20 dB
below renders adds .5, noise 10 dB below them 5, a low-pass at 2 kHz 16."""


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
    "few layers": of.concentration,
    "shared layers": of.sharing,
    "middle layers": of.middle_share,
    "layers of ACE-Step v1": of.paper_layers_lead,
    "layers of Stable Audio Open": of.paper_layers_lead,
    "layers of AudioLDM2": of.paper_layers_lead,
    "layers in between": of.layers_above_rest(range(46, 50)),
    "functional layers suffice": of.functional(of.delta),
    "others collapse": of.difference(of.delta, "functional", "others", times=2.0),
    "more control": of.difference(of.delta, "functional", "all"),
    "more precision": of.difference(of.area, "functional", "all"),
    "more precision than the others": of.difference(of.area, "functional", "others"),
    "removal": of.functional(of.negative_drop),
    "graded": of.functional(of.rank_correlation, "mean", most=1.0),
    "smoother": of.difference(of.unevenness, "all", "functional"),
    "preservation (LPAPS)": of.difference(of.mean_lpaps, "others", "functional"),
    "preservation (sets)": of.sets_apart("kad", "others", "functional"),
    "global steering degrades": of.sets_apart("kad-renders", "all", "none"),
    "quality kept": of.sets_apart("kad-renders", "none", "functional", MARGIN),
    "quality (renders)": of.sets_apart("kad-renders", "all", "functional"),
    "quality (ratings)": of.difference(of.mean_score, "functional", "all", metrics=AXES),
    "autoencoder competes": of.difference(of.delta, "sae", "functional", times=0.8),
    "autoencoder surpasses": of.difference(of.delta, "sae", "functional", pool="any"),
    "precise autoencoder": of.difference(of.area, "sae", "all"),
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
