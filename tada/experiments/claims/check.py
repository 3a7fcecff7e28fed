"""What results decide about claims: their status on each checkpoint, or the command that is missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from tada.experiments.claims.effects import Effect, Evidence
from tada.experiments.claims.sentences import CLAIMS, Claim
from tada.models import ARCHITECTURES
from tada.stats import ABOVE, BELOW, TOO_FEW, UNDECIDED, decide

SUPPORTED, CONTRADICTED = "supported", "contradicted"
NOT_RUN, PUBLIC = "not run", "needs public weights"
STATUSES = (SUPPORTED, CONTRADICTED, UNDECIDED, TOO_FEW, NOT_RUN, PUBLIC)

COLUMNS = ["claim", "model", "checkpoint", "judge", "value", "low", "high", "bar", "over", "units", "status", "command"]


def status(effect: Effect | None, bar: float) -> str:
    """Tell what an effect says of a claim: supported, contradicted, undecided, too few, or not run for None."""
    if effect is None:
        return NOT_RUN
    found = decide(effect.low, effect.high, effect.units, bar)
    return {ABOVE: SUPPORTED, BELOW: CONTRADICTED}.get(found, found)


def check(evidence: Sequence[Evidence], claims: Iterable[Claim] | None = None) -> pd.DataFrame:
    """Put claims to the test on checkpoints.

    Args:
        evidence: one entry a checkpoint.
        claims: which; None for all of ``tada.experiments.claims.CLAIMS``.

    Returns:
        One row a claim, checkpoint and judge: ``claim, model, checkpoint, judge, value, low, high, bar, over, units,
        status, command``; the command makes what is missing.
    """
    rows: list[dict[str, Any]] = []
    for claim in CLAIMS if claims is None else claims:
        if claim.measure is None:
            rows.append(_everywhere(claim, rows))
            continue
        some = [one for one in evidence if one.model in (claim.on or ARCHITECTURES)]
        if claim.public:
            some = [one for one in some if one.checkpoint == "public"] or [
                Evidence(name, "public") for name in claim.on
            ]
        rows += [row for one in some for row in _tested(claim, one)]
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(("value", "low", "high"), float))


def _tested(claim: Claim, evidence: Evidence) -> list[dict[str, Any]]:
    """A row for each judge of a claim on a checkpoint."""
    assert claim.measure is not None
    effects = {judge: claim.measure(evidence, judge) for judge in (evidence.judges() if claim.judged else [""])}
    about = {"claim": claim.name, "model": evidence.model, "checkpoint": evidence.checkpoint, "bar": claim.bar}
    about |= {"over": "", "command": ""}
    missing = {
        "status": PUBLIC if claim.public else NOT_RUN,
        "command": command(claim, evidence.model, evidence.checkpoint),
    }
    return [
        about | {"judge": judge} | (effect._asdict() | {"status": status(effect, claim.bar)} if effect else missing)
        for judge, effect in (effects or {"": None}).items()
    ]


def _everywhere(claim: Claim, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A claim about all architectures, from the verdicts of an earlier claim on their minis."""
    states = [row["status"] for row in rows if row["claim"] == claim.after and row["checkpoint"] == "mini"]
    tested = [state for state in states if state != NOT_RUN]
    if CONTRADICTED in tested:
        state = CONTRADICTED
    elif tested == [SUPPORTED] * len(ARCHITECTURES):
        state = SUPPORTED
    else:
        state = UNDECIDED if tested else NOT_RUN
    over = f"{tested.count(SUPPORTED)} of {len(ARCHITECTURES)} architectures supported, {len(tested)} tested"
    about = {"claim": claim.name, "model": "all", "checkpoint": "mini", "judge": "", "bar": claim.bar}
    return about | {"over": over, "status": state, "command": ""}


def command(claim: Claim, model: str, checkpoint: str) -> str:
    """Write the command that makes what a claim needs."""
    public = checkpoint == "public"
    if claim.needs == "localisation":
        profile = "colab" if public else "mini"
        notebook = f"notebooks/04_localisation.py --profile {profile}"
        return f"tada run {notebook} -p architecture {model} -p checkpoint {checkpoint}"
    layers = "+".join(map(str, ARCHITECTURES[model].paper_layers))
    how = f"--functional {layers} --profile paper" if public else "--workers 2"
    rated = " --aesthetics" if claim.needs == "ratings" else ""
    return f"tada table --model {model} --checkpoint {checkpoint} {how}{rated}"
