"""TADA companion: find, patch and steer the cross-attention layers of text-to-music diffusion models."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "load": "tada.models",
    "ARCHITECTURES": "tada.models",
    "Sampling": "tada.models.run",
    "Setting": "tada.engine",
    "Latents": "tada.models.run",
    "Context": "tada.models.context",
    "Clip": "tada.audio",
    "Clips": "tada.audio",
    "record": "tada.hooks",
    "edit": "tada.hooks",
    "route": "tada.hooks",
    "When": "tada.hooks",
    "tiny": "tada.models.tiny",
    "models": "tada.models",
    "hooks": "tada.hooks",
    "concepts": "tada.concepts",
    "pairs": "tada.pairs",
    "patching": "tada.patching",
    "screening": "tada.patching.screening",
    "store": "tada.store",
    "sae": "tada.sae",
    "steering": "tada.steering",
    "metrics": "tada.metrics",
    "evaluation": "tada.evaluation",
}

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

__all__ = [
    "ARCHITECTURES",
    "Clip",
    "Clips",
    "Context",
    "Latents",
    "Sampling",
    "Setting",
    "When",
    "__version__",
    "concepts",
    "edit",
    "evaluation",
    "hooks",
    "load",
    "metrics",
    "models",
    "pairs",
    "patching",
    "record",
    "route",
    "sae",
    "screening",
    "steering",
    "store",
    "tiny",
]

if TYPE_CHECKING:
    from tada import concepts, evaluation, hooks, metrics, models, pairs, patching, sae, steering, store
    from tada.audio import Clip, Clips
    from tada.engine import Setting
    from tada.hooks import When, edit, record, route
    from tada.models import ARCHITECTURES, load, tiny
    from tada.models.context import Context
    from tada.models.run import Latents, Sampling
    from tada.patching import screening


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
