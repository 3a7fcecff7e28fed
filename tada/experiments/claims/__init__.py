"""The checkable sentences of the paper: what is claimed and where, how it is tested, and what results decide.

A test turns tidy results of one checkpoint into an effect with a 95 % interval, and the effect is held against a bar:
wholly above it the claim is supported there, wholly below contradicted, else undecided, and of fewer than eight
independent units nothing is said. Bars and tests are ours and are named; the paper gives none.

=============  =====================================================================
``effects``    what was measured on a checkpoint, and what an effect is
``measures``   effects on a localisation and on steered clips
``check``      the claims, and their status on checkpoints
``agreement``  how far judges of steered clips agree
=============  =====================================================================
"""

from tada.experiments.claims.agreement import agreement
from tada.experiments.claims.check import (
    CLAIMS,
    CONTRADICTED,
    NOT_RUN,
    PUBLIC,
    SUPPORTED,
    Claim,
    check,
    published,
    status,
)
from tada.experiments.claims.effects import PROBE, Effect, Evidence
from tada.stats import TOO_FEW, UNDECIDED

__all__ = [
    "CLAIMS", "CONTRADICTED", "NOT_RUN", "PROBE", "PUBLIC", "SUPPORTED", "TOO_FEW", "UNDECIDED", "Claim", "Effect",
    "Evidence", "agreement", "check", "published", "status",
]  # fmt: skip
