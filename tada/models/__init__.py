"""Text-to-music models behind one protocol."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING

from tada.errors import CheckpointError, UnknownNameError, check_name

if TYPE_CHECKING:
    import torch

    from tada.models.base import Model

__all__ = ["ARCHITECTURES", "Architecture", "load"]


@dataclass(frozen=True)
class Architecture:
    """An architecture: what is known before anything is loaded.

    Attributes:
        name: as given to :func:`load`.
        title: for people.
        hub_id: the public checkpoint, of the paper where it has one.
        site_count: its cross-attention sites.
        paper_layers: those of them that the paper found to control musical concepts (section 4.1); of others none.
        sample_rate: of its audio, in Hz.
        notes: what to know before loading it.
        pipeline: class of diffusers; empty where it has none.
        adapter: class of the code behind the protocol, as its dotted name.
    """

    name: str
    title: str
    hub_id: str
    site_count: int
    paper_layers: tuple[int, ...]
    sample_rate: int
    notes: str
    pipeline: str
    adapter: str


ARCHITECTURES: dict[str, Architecture] = {
    name: Architecture(name, **known | {"paper_layers": tuple(known["paper_layers"])})
    for name, known in json.loads(Path(__file__).with_name("architectures.json").read_text(encoding="utf-8")).items()
}

WEIGHTS = Path(__file__).parents[1] / "minis" / "weights"
"""Folder of everything that the package has weights of."""


def mini_folder(name: str) -> Path:
    """Find the folder of the mini of an architecture; UnknownNameError with those that there are if it has none."""
    path = WEIGHTS / name
    if not path.is_dir():
        there = [each for each in ARCHITECTURES if (WEIGHTS / each).is_dir()]
        raise UnknownNameError(
            f"no mini of {name} is shipped with this version ({', '.join(there) or 'none is'}): "
            f"give a hub id or a folder, or build a random one with tada.tiny.build({name!r}, folder)"
        )
    return path


LOADING = RLock()
"""Held while a checkpoint is read: meanwhile the libraries change torch for the whole process."""


def load(
    name: str,
    checkpoint: str | Path | None = None,
    device: str | torch.device = "auto",
    dtype: torch.dtype | None = None,
) -> Model:
    """Load a model.

    Args:
        name: ``"audioldm2"``, ``"stable-audio"``, ``"ace-step"`` or ``"musicgen"``.
        checkpoint: None for the paper's public checkpoint, ``"mini"`` for the small trained one in the package, a hub
            id (``owner/name`` or ``owner/name@revision``), or a folder.
        device: a torch device; ``"auto"`` takes CUDA, then MPS, then the CPU.
        dtype: of the weights; None for float32 on the CPU and the public checkpoint's usual half precision on a GPU.

    Returns:
        The model in evaluation mode.

    Raises:
        KeyError: an unknown architecture.
        CheckpointError: a checkpoint that cannot be had, with what to do; it is an OSError.
    """
    check_name("architecture", name, ARCHITECTURES)
    if checkpoint == "mini":
        checkpoint = mini_folder(name)
    from tada.models.fingerprint import log_loaded

    module, _, adapter = ARCHITECTURES[name].adapter.rpartition(".")
    with LOADING:
        model: Model = getattr(import_module(module), adapter).open(checkpoint, device, dtype)
    if model.functional and not all(place in range(len(model.sites)) for place in model.functional):
        raise CheckpointError(f"{model.checkpoint}: functional layers {model.functional} of {len(model.sites)} sites")
    model.reload = partial(load, name, checkpoint, device, dtype)
    log_loaded(model.checkpoint, model.fingerprint)
    return model
