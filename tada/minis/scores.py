"""How much of a concept the attribute probe hears in a clip: the similarity of localisation on minis."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

import pandas as pd
import torch

from tada.audio import Clips
from tada.errors import UnknownNameError, unknown
from tada.minis import probe
from tada.minis.attributes import CLASSES
from tada.minis.sounds import Signal

CONCEPTS = {name: (attribute, name) for attribute, classes in CLASSES.items() for name in classes if name != "none"}
"""Concept -> attribute and class of the probe."""


def playable(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Concepts that the renderer can play, so that the probe knows them, and those that it cannot."""
    names = list(names)
    return [name for name in names if name in CONCEPTS], [name for name in names if name not in CONCEPTS]


class Heard:
    """A score for ``tada.patching.sweep``: the probability that a clip has the class of its row's concept, 0 to 1.

    Attributes:
        key: names the probe's weights, so that the scores of another probe are not taken for these.
    """

    def __init__(self, folder: str | Path = probe.WEIGHTS) -> None:
        """Raises FileNotFoundError where the folder holds no probe."""
        self.folder = Path(folder)
        probe.load(self.folder)
        self.key = f"attribute probe {sha256((self.folder / 'probe.safetensors').read_bytes()).hexdigest()}"

    def __call__(self, clips: Clips, rows: pd.DataFrame) -> dict[str, Signal]:
        """Listen to clips of at least a second.

        Args:
            clips: one per row.
            rows: with a column ``concept``.

        Returns:
            ``"probe"`` -> ``[clips]``.

        Raises:
            KeyError: a concept that the renderer cannot play.
        """
        for name in rows["concept"]:
            if name not in CONCEPTS:
                raise UnknownNameError(
                    unknown("concept of the attribute probe", name, CONCEPTS, "The renderer plays these.")
                )
        heard = probe.load(self.folder).probabilities(clips.audio, clips.sample_rate)
        wanted = [CONCEPTS[name] for name in rows["concept"]]
        values = [heard[attribute][row, CLASSES[attribute].index(name)] for row, (attribute, name) in enumerate(wanted)]
        return {"probe": torch.stack(values).double().numpy()}
