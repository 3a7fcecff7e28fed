"""What a claim is, and what results decide about it: its status on each checkpoint, or the command that is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tada.models import ARCHITECTURES
from tada.stats import bootstrap

if TYPE_CHECKING:
    from tada.experiments.claims.evidence import Evidence

SUPPORTED, CONTRADICTED, UNDECIDED = "supported", "contradicted", "undecided"
NOT_RUN, PUBLIC = "not run", "needs public weights"
STATUSES = (SUPPORTED, CONTRADICTED, UNDECIDED, NOT_RUN, PUBLIC)

COLUMNS = ["claim", "model", "checkpoint", "judge", "value", "low", "high", "bar", "over", "status", "command"]


class Effect(NamedTuple):
    """A tested quantity with its interval, and what it was taken over."""

    value: float
    low: float
    high: float
    over: str

    @classmethod
    def of(cls, values: NDArray[np.float64], count: int, over: str, most: float = np.inf) -> Effect:
        """From the sample's value and its resamples, of ``count`` prompts; it cannot be beyond ``most`` either way."""
        low, high = bootstrap(values, count)
        return cls(float(values[0]), max(low, -most), min(high, most), over)


Measure = Callable[["Evidence", str], Effect | None]
"""The effect on a checkpoint, by a judge; None where its results do not hold what it needs."""


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
        measure: None where the claim needs verdicts.
        judged: whether there is one effect for each judge of alignment.
        on: architectures that it is about; none for all.
        public: whether only public checkpoints can tell.
        after: the claim whose verdicts are needed.
        published: values that are known for public models, in words.
        source: where they were published.
    """

    name: str
    says: str
    where: str
    test: str
    bar: float
    needs: str
    measure: Measure | None = None
    judged: bool = False
    on: tuple[str, ...] = ()
    public: bool = False
    after: str = ""
    published: Callable[[], str] | None = None
    source: str = ""


def status(effect: Effect | None, bar: float) -> str:
    """What an effect says of a claim: supported, contradicted, undecided, or not run for None."""
    if effect is None:
        return NOT_RUN
    if effect.low > bar:
        return SUPPORTED
    return CONTRADICTED if effect.high < bar else UNDECIDED


def check(evidence: Sequence[Evidence], claims: Iterable[Claim] | None = None) -> pd.DataFrame:
    """Put claims to the test on checkpoints.

    Args:
        evidence: one entry a checkpoint.
        claims: which; None for all of ``tada.experiments.claims.CLAIMS``.

    Returns:
        One row a claim, checkpoint and judge: ``claim, model, checkpoint, judge, value, low, high, bar, over, status,
        command``; the command makes what is missing.
    """
    from tada.experiments.claims.evidence import Evidence
    from tada.experiments.claims.sentences import CLAIMS

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
    return pd.DataFrame(rows, columns=COLUMNS)


def _tested(claim: Claim, evidence: Evidence) -> list[dict[str, Any]]:
    assert claim.measure is not None
    effects = {judge: claim.measure(evidence, judge) for judge in (evidence.judges() if claim.judged else [""])}
    missing = PUBLIC if claim.public else NOT_RUN
    rows = []
    for judge, effect in (effects or {"": None}).items():
        state = missing if effect is None else status(effect, claim.bar)
        how = command(claim, evidence.model, evidence.checkpoint) if effect is None else ""
        rows.append(_row(claim, evidence.model, evidence.checkpoint, judge, effect, state, how))
    return rows


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
    return _row(claim, "all", "mini", "", Effect(np.nan, np.nan, np.nan, over), state, "")


def _row(
    claim: Claim, model: str, checkpoint: str, judge: str, effect: Effect | None, state: str, how: str
) -> dict[str, Any]:
    found = (effect or Effect(np.nan, np.nan, np.nan, ""))._asdict()
    about = {"claim": claim.name, "model": model, "checkpoint": checkpoint, "judge": judge, "bar": claim.bar}
    return {**about, **found, "status": state, "command": how}


def command(claim: Claim, model: str, checkpoint: str) -> str:
    """The command that makes what a claim needs."""
    public = checkpoint == "public"
    if claim.needs == "localisation":
        profile = "colab" if public else "mini"
        notebook = f"notebooks/04_localisation.py --profile {profile}"
        return f"tada run {notebook} -p architecture {model} -p checkpoint {checkpoint}"
    layers = "+".join(map(str, ARCHITECTURES[model].paper_layers))
    how = f"--functional {layers} --profile paper" if public else "--workers 2"
    rated = " --aesthetics" if claim.needs == "ratings" else ""
    return f"tada table --model {model} --checkpoint {checkpoint} {how}{rated}"


def published() -> pd.DataFrame:
    """``claim, published, source`` of the claims for which values of public models are known."""
    from tada.experiments.claims.sentences import CLAIMS

    rows = [(claim.name, claim.published(), claim.source) for claim in CLAIMS if claim.published]
    return pd.DataFrame(rows, columns=["claim", "published", "source"])
