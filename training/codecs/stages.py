"""One stage of a recipe: trained to its end, then frozen for the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from safetensors.torch import load_file
from torch import nn

from training.fit import Loss, fit, load


class Stage(NamedTuple):
    """How a codec's stage is trained: steps, peak learning rate, crops a step and their length in frames, standard
    deviation of what is added to latents, and whether it is polish (:func:`training.codecs.distance.differences`)."""

    steps: int
    rate: float
    crops: int
    frames: int
    noise: float = 0.0
    polish: bool = False


def trained(module: nn.Module, loss: Loss, folder: Path, steps: int, rate: float, limit: float) -> bool:
    """Train a module as far as the limit lets, freeze it, and say whether it is complete; arguments as for ``fit``."""
    curve = fit(module, loss, folder, steps, rate, limit=limit)
    module.eval().requires_grad_(False)
    return bool(len(curve)) and int(curve["step"].iloc[-1]) == steps


def in_turn(
    modules: Mapping[str, nn.Module],
    stages: Mapping[str, Stage],
    loss: Callable[[str], Loss],
    folder: Path,
    limit: float,
) -> None:
    """Train stage after stage, as far as the limit lets.

    Args:
        modules: stage -> what it trains, in their order.
        stages: how each is trained.
        loss: stage -> its loss, asked for when its turn comes.
        folder: of a folder per stage.
        limit: seconds after which a stage stops, and none follows.
    """
    for name, module in modules.items():
        module.requires_grad_(True)
        if not trained(module, loss(name), folder / name, stages[name].steps, stages[name].rate, limit):
            return


def complete(folder: Path, stages: Mapping[str, Stage]) -> bool:
    """Whether every stage in ``folder`` has done its steps."""
    curves = {folder / name / "curve.csv": stage.steps for name, stage in stages.items()}
    return all(path.is_file() and int(pd.read_csv(path)["step"].iloc[-1]) >= steps for path, steps in curves.items())


def restore(module: nn.Module, folder: Path) -> None:
    """Put what a stage has learnt so far into its module, and freeze it; FileNotFoundError where it has not begun."""
    tensors = load_file(folder / "checkpoint.safetensors")
    load(module, {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")})
    module.eval().requires_grad_(False)
