"""The checkable sentences of the paper: what is claimed and where, how it is tested, and what results decide.

A test turns tidy results of one checkpoint into an effect with a 95 % interval, and the effect is held against a bar:
wholly above it the claim is supported there, wholly below contradicted, else undecided. Bars and tests are ours and
are named; the paper gives none.

===============  =====================================================================
``sentences``    the claims: their texts, places and bars
``verdicts``     what a claim is, and its status on checkpoints
``evidence``     what was measured on a checkpoint
``layers``       effects on a localisation
``steering``     effects on steered clips
``agreement``    how far judges agree with the truth
``known``        what is known of public models
===============  =====================================================================
"""

from tada.experiments.claims.agreement import agreement, agreements
from tada.experiments.claims.evidence import PROBE, Evidence
from tada.experiments.claims.sentences import CLAIMS
from tada.experiments.claims.verdicts import (
    CONTRADICTED,
    NOT_RUN,
    PUBLIC,
    STATUSES,
    SUPPORTED,
    UNDECIDED,
    Claim,
    Effect,
    check,
    published,
    status,
)

__all__ = [
    "CLAIMS", "CONTRADICTED", "NOT_RUN", "PROBE", "PUBLIC", "STATUSES", "SUPPORTED", "UNDECIDED", "Claim", "Effect",
    "Evidence", "agreement", "agreements", "check", "published", "status",
]  # fmt: skip
