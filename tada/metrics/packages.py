"""Optional packages: import them on use, or raise the error with the line that installs them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib import import_module
from importlib.resources import files
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from tada.errors import MissingPackageError

_HINTS = json.loads((files("tada.data") / "packages.json").read_text(encoding="utf-8"))

INSTALL_HINTS: dict[str, str] = {name: lines["here"] for name, lines in _HINTS.items()}
"""Package -> what installs it beside a torch without CUDA. torchaudio's own libraries want CUDA; it runs without."""

INSTALL_HINTS_COLAB: dict[str, str] = {name: lines["colab"] for name, lines in _HINTS.items()}
"""Package -> what installs it on Colab, where torch, torchaudio and torchvision are there and match."""


def need(name: str, module: str | None = None) -> Any:
    """Import an optional package, a key of :data:`INSTALL_HINTS`, or a module of it.

    Raises:
        ImportError: it cannot be imported; with the line that installs it, here and on Colab.
    """
    try:
        with _without_torchvision() if name in ("laion_clap", "muq") else nullcontext():
            return import_module(module or name)
    except (ImportError, OSError, RuntimeError) as error:
        first = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        raise MissingPackageError(
            f"{name} cannot be imported ({first}). Install it with\n    {INSTALL_HINTS[name]}\n"
            f"(the last command where torch has no CUDA only), on Colab with\n    {INSTALL_HINTS_COLAB[name]}"
        ) from error


def installed(name: str) -> bool:
    """Tell whether :func:`need` would succeed."""
    try:
        need(name)
    except ImportError:
        return False
    return True


@contextmanager
def _without_torchvision() -> Iterator[None]:
    """Let laion-clap and muq import torchvision, which they need for images only, where it is missing.

    The names that stand in are gone again afterwards, so that nothing else takes them for torchvision.
    """
    import transformers  # noqa: F401  # looks for torchvision once, and must not find what stands in

    if "torchvision" in sys.modules or find_spec("torchvision"):
        yield
        return
    names = ("torchvision", "torchvision.ops", "torchvision.ops.misc", "torchvision.transforms", "torchvision.datasets")
    before = set(sys.modules)
    for name in names:
        sys.modules[name] = _Names(name)
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, sys.modules[name])
    try:
        yield
    finally:
        for name in set(names) - before:
            sys.modules.pop(name, None)


class _Names(ModuleType):
    """A module of empty classes."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})
