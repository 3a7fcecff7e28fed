"""Judges of clips that are steered along one concept, with what a range of strengths is found by."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tada.audio import Clips
from tada.concepts.steered import CONCEPTS
from tada.metrics.judges import (
    EarJudge,
    Judge,
    OutsideJudge,
    Panel,
    ProbeJudge,
    SignalJudge,
    by_concept,
    class_probability,
    only,
)
from tada.minis.attributes import CLASSES
from tada.stats import Values


class ProbeSteeringJudge(ProbeJudge):
    """Measures clips steered along one concept by the attribute probe.

    ``concept`` is the probability of the concept's positive pole, ``against`` that of the negative one, and ``sound``
    how sure the probe is of the other attributes (mean of its top probabilities, 0 to 1: noise leaves it undecided).
    """

    rule = "mini judge 3"

    def knows(self, concept: str) -> bool:
        return concept in CONCEPTS and CONCEPTS[concept].attribute in CLASSES

    def __call__(self, clips: Clips, rows: pd.DataFrame) -> dict[str, Values]:
        """Judge clips of at least a second, all of one concept; ValueError for several."""
        concept = CONCEPTS[only(by_concept(self, rows))]
        chances = self.probe.probabilities(clips.audio, clips.sample_rate)
        pole, other = concept.poles
        positive = class_probability(chances, pole)
        sure = [values.amax(1).double().numpy() for name, values in chances.items() if name != concept.attribute]
        against = class_probability(chances, other) if other else 1 - positive
        return {"concept": positive, "against": against, "sound": np.mean(sure, axis=0)}


class EarSteeringJudge(EarJudge):
    """Measures clips of public checkpoints steered along one concept.

    ``concept`` is the similarity to the concept's query, ``sound`` 1 where the level of a clip is between -60 and 0 dB
    of full scale and 0 elsewhere.
    """

    rule = "public judge 2 {ear}"

    def __call__(self, clips: Clips, rows: pd.DataFrame) -> dict[str, Values]:
        level = 10 * np.log10(clips.audio.double().square().mean((1, 2)).numpy() + 1e-12)
        (value,) = super().__call__(clips, rows).values()
        return {"concept": value, "sound": ((level > -60) & (level < 0)).astype(float)}


def steering_judge(vocabulary: str) -> Judge:
    """Make the judge of steered clips: what finds their range, with signal and tags beside it.

    It is the probe where the vocabulary of the prompts is ``"mini"``, else CLAP.
    """
    return Panel(ProbeSteeringJudge() if vocabulary == "mini" else EarSteeringJudge(), SignalJudge(), OutsideJudge())
