"""Judges: measure how much of a concept each clip has. One protocol for all of them.

=====================  ===========================================================  ===============================
judge                  what it measures                                             metrics
=====================  ===========================================================  ===============================
:class:`ProbeJudge`    probability by the attribute probe, trained on renders       ``probe``
:class:`SignalJudge`   the class by estimators that nobody trained                  ``signal``, and one as it is
:class:`EarJudge`      similarity to the concept's query, by an audio-text model    ``clap``, ``mini-clap`` ...
:class:`OutsideJudge`  tags by networks that others trained on recorded music       ``musicnn``
:class:`Panel`         what several of these say of the same clips                  theirs
:class:`MetricSuite`   all metrics of the evaluation, beside the unsteered clips    these, ``lpaps`` ...
=====================  ===========================================================  ===============================

No judge is called true. That are the renderer's attributes, on its own renders alone.
"""

from __future__ import annotations

from tada.metrics.judges.concepts import ATTRIBUTES, ConceptJudge, EarJudge, OutsideJudge, ProbeJudge, SignalJudge
from tada.metrics.judges.make import make_judge, steering_judge
from tada.metrics.judges.protocol import FunctionJudge, Judge, JudgeLike, Panel, as_judge, deciding
from tada.metrics.judges.steering import EarSteeringJudge, ProbeSteeringJudge
from tada.metrics.judges.suite import OPPOSITE, UNSTEERED, MetricSuite

__all__ = [
    "ATTRIBUTES", "OPPOSITE", "UNSTEERED", "ConceptJudge", "EarJudge", "EarSteeringJudge", "FunctionJudge", "Judge",
    "JudgeLike", "MetricSuite", "OutsideJudge", "Panel", "ProbeJudge", "ProbeSteeringJudge", "SignalJudge",
    "as_judge", "deciding", "make_judge", "steering_judge",
]  # fmt: skip
