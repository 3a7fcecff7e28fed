"""What decides about numbers: a hash of the weights, logged when they are loaded, and versions of the libraries."""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from typing import Any

import torch
from torch import nn

LOADED = logging.getLogger("tada.loaded")


def fingerprint(owner: object) -> str:
    """Hash the weights that a model, or an audio-text model of a metric, holds in its attributes.

    The sha256, hexadecimal, is of up to 256 values from every tensor, our own networks' sizes and the noise schedule.
    """
    digest = sha256()
    for module in _modules(vars(owner).values()):
        for name, tensor in sorted(module.state_dict().items()):
            flat = tensor.detach().flatten()
            some = flat[:: max(1, len(flat) // 256)].cpu().double()
            digest.update(f"{name}{tuple(tensor.shape)}".encode() + some.numpy().tobytes())
        for part in module.modules():
            if is_dataclass(sizes := getattr(part, "config", None)):  # of our own networks: some show in no tensor
                digest.update(repr(sizes).encode())
    scheduler = getattr(getattr(owner, "pipeline", None), "scheduler", None)
    digest.update(repr(sorted(getattr(scheduler, "config", {}).items())).encode())
    return digest.hexdigest()


def log_loaded(name: str, digest: Callable[[], str]) -> None:
    """Log ``name, digest()`` to the logger ``tada.loaded`` at level INFO; no hash is made where nobody listens."""
    if LOADED.isEnabledFor(logging.INFO):
        LOADED.info("%s %s", name, digest())


def _modules(things: Iterable[Any]) -> Iterator[nn.Module]:
    for thing in things:
        parts = getattr(thing, "components", None)
        if isinstance(thing, nn.Module):
            yield thing
        elif isinstance(parts, Mapping):
            yield from _modules(part for _, part in sorted(parts.items()))
        elif is_dataclass(thing) and not isinstance(thing, type):
            yield from _modules(getattr(thing, field.name) for field in fields(thing))


def versions() -> dict[str, str]:
    """Versions of what decides about the numbers."""
    libraries = {"torch": torch.__version__, **{name: _version(name) for name in ("diffusers", "transformers")}}
    return {"tada": _version("tada-companion"), **libraries, "python": platform.python_version()}


_version = cache(version)
"""Of a package: its metadata are read once."""
