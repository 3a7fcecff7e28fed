"""Judges of clips that are steered along one concept, with what a range of strengths is found by."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tada.audio import Clips
from tada.concepts.steered import CONCEPTS
from tada.metrics.judges.concepts import EarJudge, ProbeJudge, by_concept, chance, only
from tada.metrics.judges.protocol import Values


class ProbeSteeringJudge(ProbeJudge):
    """Measures clips steered along one concept by the attribute probe.

    ``concept`` is the probability of the concept's positive pole, ``against`` that of the negative one, and ``sound``
    how sure the probe is of the other attributes (mean of its top probabilities, 0 to 1: noise leaves it undecided).
    """

    rule = "mini judge 3"

    def knows(self, concept: str) -> bool:
        return concept in CONCEPTS and bool(CONCEPTS[concept].attribute)

    def __call__(self, clips: Clips, rows: pd.DataFrame) -> dict[str, Values]:
        """Judge clips of at least a second, all of one concept; ValueError for several."""
        concept = CONCEPTS[only(name for name, _ in by_concept(self, rows))]
        chances = self.probe.probabilities(clips.audio, clips.sample_rate)
        pole, other = concept.poles
        positive = chance(chances, pole)
        sure = [values.amax(1).double().numpy() for name, values in chances.items() if name != concept.attribute]
        against = chance(chances, other) if other else 1 - positive
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
