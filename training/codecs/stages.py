"""The stages of a codec's recipe: each is trained to its end, then frozen for the next."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from torch import Tensor, nn

from training.codecs.material import Clips, crops
from training.fit import Loss, finished, train_and_freeze

Crops = Callable[[int], Tensor]
"""Step -> its crops of renders ``[crops, frames]``."""


class Stage(NamedTuple):
    """How a codec's stage is trained: steps, peak learning rate, crops a step and their length in frames, standard
    deviation of what is added to latents, and whether it finetunes (:func:`training.codecs.distance.differences`)."""

    steps: int
    rate: float
    crops: int
    frames: int
    noise: float = 0.0
    finetune: bool = False


@dataclass(frozen=True)
class CodecRecipe:
    """How a codec is trained."""

    stages: Mapping[str, Stage]
    build: Callable[[], Any]
    """An untrained codec, seeded."""
    modules: Callable[[Any], Mapping[str, nn.Module]]
    """Codec -> stage -> what it trains, in their order."""
    loss_fn: Callable[[Any, str, Stage, Crops, bool], Loss]
    """Codec, stage's name, stage, its crops and whether to compile -> the stage's loss."""
    load: Callable[[Path], Any]
    """What has been trained so far in a folder."""
    hop: int = 1
    """Crops start at a multiple of it."""


def train(
    recipe: CodecRecipe,
    folder: str | Path,
    audio: Clips,
    device: str = "cpu",
    limit: float = math.inf,
    compiled: bool = True,
) -> Any:
    """Train a codec stage after stage; a killed run goes on from its last checkpoint.

    Args:
        recipe: the codec's.
        folder: of a folder per stage, with checkpoint and curve.
        audio: what to learn from, from :func:`training.codecs.material.renders`.
        device: where to train.
        limit: seconds after which a stage stops, and with it this call; call again to go on.
        compiled: whether to compile the networks (a minute; half the time a step on CPUs).

    Returns:
        The codec.
    """
    codec = recipe.build()
    modules = recipe.modules(codec)
    for module in modules.values():
        module.to(device)
    for name, module in modules.items():
        stage = recipe.stages[name]
        module.requires_grad_(True)
        loss = recipe.loss_fn(codec, name, stage, _crops(audio, stage, device, recipe.hop), compiled)
        if not train_and_freeze(module, loss, Path(folder) / name, stage.steps, stage.rate, limit):
            break
    return codec


def _crops(audio: Clips, stage: Stage, device: str, hop: int) -> Crops:
    return lambda step: crops(audio, step, stage.crops, stage.frames, hop).to(device)


def complete(folder: Path, stages: Mapping[str, Stage]) -> bool:
    """Say whether every stage in ``folder`` has done its steps."""
    curves = {folder / name / "curve.csv": stage.steps for name, stage in stages.items()}
    return all(path.is_file() and finished(pd.read_csv(path), steps) for path, steps in curves.items())
