"""What judges steered clips: how much of a concept a clip has, and whether it is still sound music."""

from __future__ import annotations

from hashlib import sha256

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tada.audio import Clips
from tada.concepts.steered import CONCEPTS
from tada.errors import InputError, UnknownNameError, unknown
from tada.models.fingerprint import log_loaded

Values = NDArray[np.float64]


class MiniJudge:
    """For clips of minis: attribute probe and signal estimators, which took no part in training them.

    ``concept`` is the probability of the concept's positive pole, ``against`` that of the negative one, ``sound`` how
    sure the probe is of the other attributes (mean of its top probabilities, 0 to 1: noise leaves it undecided), and
    ``bpm``, for tempo, beats per minute by autocorrelation.

    Attributes:
        key: names the probe's weights.
    """

    def __init__(self) -> None:
        from tada.minis import probe

        digest = sha256((probe.WEIGHTS / "probe.safetensors").read_bytes()).hexdigest()
        self.key = f"mini judge 2 {digest}"
        log_loaded("attribute probe", lambda: digest)

    def __call__(self, clips: Clips, rows: pd.DataFrame) -> dict[str, Values]:
        """Judge clips of at least a second; ``rows`` has the column ``concept``, the same in all.

        Raises:
            KeyError: a concept that the renderer cannot play. ValueError: several concepts.
        """
        from tada.minis import listen, probe
        from tada.minis.attributes import CLASSES
        from tada.minis.mel import listenable

        names = set(rows["concept"])
        if len(names) != 1:
            raise InputError(f"got clips of {len(names)} concepts; expected those of one")
        concept = CONCEPTS.get(names.pop())
        if concept is None or not concept.attribute:
            playable = [name for name, one in CONCEPTS.items() if one.attribute]
            raise UnknownNameError(unknown("concept that the minis can play", rows["concept"].iloc[0], playable))
        heard = probe.load().probabilities(clips.audio, clips.sample_rate)
        own, classes = heard[concept.attribute].double().numpy(), CLASSES[concept.attribute]
        sure = [values.amax(1).double().numpy() for name, values in heard.items() if name != concept.attribute]
        positive = own[:, classes.index(concept.pole)]
        against = own[:, classes.index(concept.against)] if concept.against else 1 - positive
        found = {"concept": positive, "against": against, "sound": np.mean(sure, axis=0)}
        if concept.attribute == "tempo" and clips[0].seconds >= 3:
            found["bpm"] = np.asarray(listen.tempo(listenable(clips.audio, clips.sample_rate).numpy()), float)
        return found


class PublicJudge:
    """For clips of public checkpoints: similarity to the concept's query, and loudness.

    ``concept`` is the similarity by CLAP or MuQ-MuLan, ``sound`` 1 where the level of a clip is between -60 and 0 dB
    of full scale and 0 elsewhere.

    Attributes:
        key: names the ear.
    """

    def __init__(self, ear: str = "clap") -> None:
        self.ear, self.key = ear, f"public judge 1 {ear}"

    def __call__(self, clips: Clips, rows: pd.DataFrame) -> dict[str, Values]:
        from tada.metrics.score import concept_score

        concept = str(rows["concept"].iloc[0])
        level = 10 * np.log10(clips.audio.double().square().mean((1, 2)).numpy() + 1e-12)
        return {
            "concept": concept_score(clips, concept, "public", judge=self.ear),
            "sound": ((level > -60) & (level < 0)).astype(float),
        }
