"""TADA companion: find, patch and steer the cross-attention layers of text-to-music diffusion models."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tada import concepts, evaluation, hooks, metrics, models, pairs, patching, sae, steering, store
    from tada.audio import Clip, Clips
    from tada.engine import Setting, ray
    from tada.hooks import When, edit, record, route
    from tada.models import ARCHITECTURES, load, tiny
    from tada.models.context import Context
    from tada.models.run import Latents, Sampling
    from tada.patching import screening

__version__ = "0.1.0"

_HOME = {
    "ARCHITECTURES": "tada.models",
    "Clip": "tada.audio",
    "Clips": "tada.audio",
    "Context": "tada.models.context",
    "Latents": "tada.models.run",
    "Sampling": "tada.models.run",
    "Setting": "tada.engine",
    "When": "tada.hooks",
    "concepts": "tada.concepts",
    "edit": "tada.hooks",
    "evaluation": "tada.evaluation",
    "hooks": "tada.hooks",
    "load": "tada.models",
    "metrics": "tada.metrics",
    "models": "tada.models",
    "pairs": "tada.pairs",
    "patching": "tada.patching",
    "ray": "tada.engine.ray",
    "record": "tada.hooks",
    "route": "tada.hooks",
    "sae": "tada.sae",
    "screening": "tada.patching.screening",
    "steering": "tada.steering",
    "store": "tada.store",
    "tiny": "tada.models.tiny",
}
"""Public name -> the module that it is, or that it is in."""

_MOVED = {
    "calibrate": "tada.steering.ranges",
    "claims": "tada.experiments.claims",
    "features": "tada.sae.features",
    "impact": "tada.patching",
    "library": "tada.steering.library",
    "localise": "tada.experiments.localisation",
    "players": "tada.display.players",
    "plots": "tada.display.plots",
    "prompts": "tada.concepts.steered",
    "search": "tada.sae.search",
    "slider": "tada.display.slider",
    "widgets": "tada.display.widgets",
}
"""Modules under the names that they had before; they go with the next release."""

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    """Import public names when they are first used, so that ``import tada`` costs nothing."""
    if name in _MOVED:
        warnings.warn(f"tada.{name} is {_MOVED[name]} now", DeprecationWarning, stacklevel=2)
        return import_module(_MOVED[name])
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'tada' has no attribute {name!r}")
    module = import_module(home)
    return module if home.endswith(f".{name}") else getattr(module, name)


def __dir__() -> list[str]:
    return sorted(__all__)
