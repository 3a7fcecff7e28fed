"""Every sentence of the paper that numbers can test, in its order, and what results decide about it.

The sentences are in ``tada/data/claims.json``, and what the authors published on them in ``published_claims.csv``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import pandas as pd

from tada.experiments.claims import measures as of
from tada.experiments.claims.effects import Effect, Evidence, Measure
from tada.metrics.aesthetics import AXES
from tada.minis.cards import MINIS
from tada.models import ARCHITECTURES
from tada.stats import ABOVE, BELOW, UNDECIDED, decide

SUPPORTED, CONTRADICTED = "supported", "contradicted"
NOT_RUN, PUBLIC = "not run", "needs public weights"

COLUMNS = ["claim", "model", "checkpoint", "judge", "value", "low", "high", "bar", "over", "units", "status", "command"]

MARGIN = 1.0
"""Kernel distance (KAD) to true renders by which steered clips may be further away than unsteered ones. Noise 20 dB
below renders adds .5, noise 10 dB below them 5, a low-pass at 2 kHz 16."""

MEASURES: Mapping[str, Measure] = {  # but of claims that need verdicts
    "few layers": of.concentration,
    "shared layers": of.sharing,
    "middle layers": of.middle_share,
    "layers of ACE-Step v1": of.paper_layers_lead,
    "layers of Stable Audio Open": of.paper_layers_lead,
    "layers of AudioLDM2": of.paper_layers_lead,
    "layers in between": of.layers_above_rest(range(46, 50)),
    "functional layers suffice": of.steered(of.delta, "functional", pool="every"),
    "others collapse": of.steered(of.delta, "functional", "others", times=2.0),
    "more control": of.steered(of.delta, "functional", "all"),
    "more precision": of.steered(of.area, "functional", "all"),
    "more precision than the others": of.steered(of.area, "functional", "others"),
    "removal": of.steered(of.negative_drop, "functional", pool="every"),
    "graded": of.steered(of.rank_correlation, "functional", most=1.0),
    "smoother": of.steered(of.unevenness, "all", "functional"),
    "preservation (LPAPS)": of.steered(of.mean_lpaps, "others", "functional"),
    "preservation (sets)": of.sets_apart("kad", "others", "functional"),
    "global steering degrades": of.sets_apart("kad-renders", "all", "none"),
    "quality kept": of.sets_apart("kad-renders", "none", "functional", MARGIN),
    "quality (renders)": of.sets_apart("kad-renders", "all", "functional"),
    "quality (ratings)": of.steered(of.mean_score, "functional", "all", metrics=AXES),
    "autoencoder competes": of.steered(of.delta, "sae", "functional", times=0.8),
    "autoencoder surpasses": of.steered(of.delta, "sae", "functional", pool="any"),
    "precise autoencoder": of.steered(of.area, "sae", "all"),
}


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
    on: Sequence[str] = ()
    public: bool = False
    after: str = ""


CLAIMS = tuple(Claim(**row) for row in json.loads(files("tada.data").joinpath("claims.json").read_text("utf-8")))


def published() -> pd.DataFrame:
    """Read ``claim, version, counted from, published, source``: values of public models, never of a mini.

    ``version`` is the paper's that states them; ``counted from`` is the number of the first layer there.
    """
    return pd.read_csv(str(files("tada.data") / "published_claims.csv"), dtype=str, keep_default_na=False)


def status(effect: Effect | None, bar: float) -> str:
    """Tell what an effect says of a claim: supported, contradicted, undecided, too few, or not run for None."""
    if effect is None:
        return NOT_RUN
    found = decide(effect.low, effect.high, effect.units, bar)
    return {ABOVE: SUPPORTED, BELOW: CONTRADICTED}.get(found, found)


def check(evidence: Sequence[Evidence], claims: Iterable[Claim] = CLAIMS) -> pd.DataFrame:
    """Put claims to the test on checkpoints, of which each is one entry of ``evidence``.

    Returns:
        One row a claim, checkpoint and judge: ``claim, model, checkpoint, judge, value, low, high, bar, over, units,
        status, command``; the command makes what is missing.
    """
    rows: list[dict[str, Any]] = []
    for claim in claims:
        if claim.after:
            rows.append(_everywhere(claim, rows))
            continue
        some = [one for one in evidence if one.model in (claim.on or ARCHITECTURES)]
        if claim.public:
            there = [one for one in some if one.checkpoint == "public"]
            some = there or [Evidence(name, "public") for name in claim.on]
        rows += [row for one in some for row in _tested(claim, one)]
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(("value", "low", "high"), float))


def _tested(claim: Claim, evidence: Evidence) -> list[dict[str, Any]]:
    """A row for each judge of a claim on a checkpoint."""
    about = {"claim": claim.name, "model": evidence.model, "checkpoint": evidence.checkpoint, "bar": claim.bar}
    rows = []
    for judge in (evidence.judges() or [""]) if claim.judged else [""]:
        effect = MEASURES[claim.name](evidence, judge) if judge or not claim.judged else None
        found: dict[str, Any] = {"over": "", "status": PUBLIC if claim.public else NOT_RUN}
        found["command"] = "" if effect else command(claim, evidence.model, evidence.checkpoint)
        found |= effect._asdict() | {"status": status(effect, claim.bar)} if effect else {}
        rows.append(about | {"judge": judge} | found)
    return rows


def _everywhere(claim: Claim, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A claim about all architectures, from the verdicts of an earlier claim on their minis."""
    states = [row["status"] for row in rows if row["claim"] == claim.after and row["checkpoint"] == "mini"]
    tested = [state for state in states if state != NOT_RUN]
    if CONTRADICTED in tested:
        state = CONTRADICTED
    elif tested == [SUPPORTED] * len(MINIS):
        state = SUPPORTED
    else:
        state = UNDECIDED if tested else NOT_RUN
    over = f"{tested.count(SUPPORTED)} of {len(MINIS)} architectures supported, {len(tested)} tested"
    about = {"claim": claim.name, "model": "all", "checkpoint": "mini", "judge": "", "bar": claim.bar}
    return about | {"over": over, "status": state, "command": ""}


def command(claim: Claim, model: str, checkpoint: str) -> str:
    """Write the command that makes what a claim needs."""
    public = checkpoint == "public"
    if claim.needs == "localisation":
        notebook = f"notebooks/04_localisation.py --profile {'colab' if public else 'mini'}"
        return f"tada run {notebook} -p architecture {model} -p checkpoint {checkpoint}"
    layers = "+".join(map(str, ARCHITECTURES[model].paper_layers))
    how = f"--functional {layers} --profile paper" if public else "--workers 2"
    rated = " --aesthetics" if claim.needs == "ratings" else ""
    return f"tada table --model {model} --checkpoint {checkpoint} {how}{rated}"
