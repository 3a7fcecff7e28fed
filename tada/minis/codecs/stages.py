"""One stage of a recipe: trained to its end, then frozen for the next."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from tada.minis.fit import Loss, fit


def trained(module: nn.Module, loss: Loss, folder: Path, steps: int, rate: float, limit: float) -> bool:
    """Train a stage as far as the limit lets, freeze it, and say whether it is complete; arguments as for ``fit``."""
    curve = fit(module, loss, folder, steps, rate, limit=limit)
    module.eval().requires_grad_(False)
    return bool(len(curve)) and int(curve["step"].iloc[-1]) == steps
