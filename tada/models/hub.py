"""Find the folder of a checkpoint, on disk or on the hub; errors say what to do when it cannot be had."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tada.errors import CheckpointError
from tada.models import SHIPPED, WEIGHTS, Architecture

PROBE_SECONDS = 5.0

PUBLISHED = "published for this checkpoint"
"""Where the functional layers of the paper's checkpoints are known from."""


def folder(checkpoint: str | Path, fetch: Callable[..., str | Path], index: str, revision: str | None = None) -> Path:
    """Return the folder of a checkpoint, downloaded if need be.

    Args:
        checkpoint: an existing folder, or a hub id ``owner/name``, optionally ``owner/name@revision``.
        fetch: ``fetch(id, revision=..., local_files_only=...)`` that brings a repository into the cache.
        index: the file that every such checkpoint has, as path within it.
        revision: the revision if the id names none.

    Raises:
        CheckpointError: no such folder or repository, no access, or no network.
    """
    path = Path(checkpoint).expanduser()
    if path.is_dir():
        if not (path / index).is_file():
            raise CheckpointError(f"{path} has no {index}: expected the folder of a whole pipeline")
        return path
    name, _, wanted = str(checkpoint).partition("@")
    if not _looks_like_id(name):
        raise CheckpointError(f"no folder {path}, and {name!r} is no hub id (owner/name)")
    revision = wanted or revision
    trouble = probe(name, revision)
    if trouble is None:
        return Path(fetch(name, revision=revision, local_files_only=False))
    try:
        return Path(fetch(name, revision=revision, local_files_only=True))
    except Exception as error:
        raise trouble from error


def probe(name: str, revision: str | None = None) -> CheckpointError | None:
    """Ask the hub for a repository, for a few seconds; the error that a reader needs, or None if all is well."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        HfApi().model_info(name, revision=revision, timeout=PROBE_SECONDS)
        HfApi().auth_check(name)
    except GatedRepoError:
        return CheckpointError(
            f"{name} is gated: accept its licence on its hub page, then run `hf auth login` or set HF_TOKEN to a token "
            "that may read it"
        )
    except RevisionNotFoundError:
        return CheckpointError(f"{name} has no revision {revision!r}")
    except RepositoryNotFoundError:
        return CheckpointError(
            f"the hub has no model {name!r} that you may see: check the spelling, or `hf auth login`"
        )
    except OfflineModeIsEnabled:
        return CheckpointError(f"{name} is not in the local cache and HF_HUB_OFFLINE is set: {_elsewhere(name)}")
    except Exception as error:  # the hub's client raises a different class for every way of having no network
        return CheckpointError(
            f"the hub cannot be reached ({type(error).__name__}) and {name} is not in the local cache: "
            f"{_elsewhere(name)}"
        )
    return None


def _elsewhere(name: str) -> str:
    return (
        f"go online (with HF_HUB_OFFLINE unset), or run `hf download {name}` where there is a network and give the "
        "folder as checkpoint"
    )


def _looks_like_id(name: str) -> bool:
    parts = name.split("/")
    return len(parts) == 2 and all(parts) and not name.startswith((".", "~"))


class About(NamedTuple):
    """A checkpoint: what its folder says of it.

    Attributes:
        checkpoint: its label.
        functional: layer indices known to control concepts, the strongest first; None if not known.
        functional_origin: where these are known from, in words.
        sampling: how it samples unless told otherwise, as settings of the architecture's own; None: as its presets.
        shipped: its name in the package, ``"mini"`` or ``"planted"``; None for any other checkpoint.
    """

    checkpoint: str
    functional: Sequence[int] | None = None
    functional_origin: str = "not known"
    sampling: Mapping[str, Any] | None = None
    shipped: str | None = None


def about(path: Path, wanted: str, architecture: Architecture) -> About:
    """Read label, functional layers and sampling of a checkpoint.

    Args:
        path: its folder.
        wanted: the hub id or folder that was asked for.
        architecture: what it was asked for as.

    Returns:
        What ``tada.json`` in the folder says (``label``, ``functional``, ``sampling``); else the id or the folder's
        name, and the paper's layers if the checkpoint is the paper's. Functional layers are a list, or what
        ``tada.patching.choose_functional`` found of them.
    """
    card = path / "tada.json"
    said = json.loads(card.read_text()) if card.is_file() else {}
    name = Path(wanted).name if Path(wanted).is_dir() else wanted
    found = said.get("functional")
    layers, origin = found, "said by the checkpoint"
    if isinstance(found, dict):
        layers, origin = found["layers"] or None, describe_choice(**found)
    elif found is None and wanted.partition("@")[0] == architecture.hub_id:
        layers, origin = architecture.paper_layers, PUBLISHED
    own = next((kind for kind in SHIPPED if path == WEIGHTS / SHIPPED[kind].format(architecture.name)), None)
    return About(said.get("label", name), layers, origin if layers else "not known", said.get("sampling"), own)


def describe_choice(layers: Sequence[int], jaccard: float | None, concepts: int, pairs: int, seeds: Any = None) -> str:
    """Say where functional layers are known from, as from ``tada.patching.choose_functional``."""
    agreed = "neither names any" if jaccard is None else f"Jaccard index {jaccard:.2f}"
    return f"localised on {pairs} pairs of {concepts} concepts; against the choice of as many others: {agreed}"
