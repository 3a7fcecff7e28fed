"""Find a checkpoint on disk or on the hub, whole; errors say which file is at fault and what to do."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tada.errors import CheckpointError, TadaError
from tada.models import WEIGHTS, Architecture

if TYPE_CHECKING:
    import torch

PROBE_SECONDS = 4.0
"""Seconds that the hub has to answer each of two questions."""

PUBLISHED = "published for this checkpoint"
"""Where the functional layers of the paper's checkpoints are known from."""


def folder(
    checkpoint: str | Path,
    fetch: Callable[..., str | Path],
    index: str,
    revision: str | None = None,
    kind: str = "model",
) -> Path:
    """Return the folder of a checkpoint, downloaded if need be.

    Args:
        checkpoint: an existing folder, or a hub id ``owner/name``, optionally ``owner/name@revision``.
        fetch: ``fetch(id, revision=..., local_files_only=...)`` that brings a repository into the cache.
        index: the file that every such checkpoint has, as path within it.
        revision: the revision if the id names none.
        kind: of repository, ``"model"`` or ``"dataset"``.

    Raises:
        CheckpointError: no such folder or repository, no access, no network, or a hub that does not answer.
    """
    path = Path(checkpoint).expanduser()
    if path.is_dir():
        if not (path / index).is_file():
            raise CheckpointError(f"{path} has no {index}: expected the folder of a whole pipeline")
        return path
    name, _, wanted = str(checkpoint).partition("@")
    if not re.fullmatch(r"[^./~][^/]*/[^/]+", name):
        raise CheckpointError(f"no folder {path}, and {name!r} is no hub id (owner/name)")
    revision = wanted or revision
    trouble = probe(name, revision, kind)
    try:
        return Path(fetch(name, revision=revision, local_files_only=trouble is not None))
    except Exception as error:
        raise trouble or explained(error, name, revision) from error


def probe(name: str, revision: str | None = None, kind: str = "model") -> CheckpointError | None:
    """Ask the hub for a repository, for a few seconds; the error that a reader needs, or None if all is well."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    try:
        HfApi().repo_info(name, revision=revision, repo_type=kind, timeout=PROBE_SECONDS)
        url = f"{constants.ENDPOINT}/api/{kind}s/{name}/auth-check"
        hf_raise_for_status(get_session().get(url, headers=build_hf_headers(), timeout=PROBE_SECONDS))
    except Exception as error:
        return explained(error, name, revision)
    return None


def explained(error: Exception, name: str, revision: str | None = None) -> CheckpointError:
    """Say in words why a repository cannot be had from the hub, and what to do."""
    code = getattr(getattr(error, "response", None), "status_code", None) or 0
    kinds = [kind.__name__ for kind in type(error).__mro__]
    keys = [*kinds, getattr(error, "errno", None) or 0, code, code // 500 * 500, None]
    said = {"name": name, "revision": revision, "code": code, "kind": type(error).__name__}
    trouble = next(TROUBLES[key] for key in keys if key in TROUBLES)
    return CheckpointError(trouble.format(**said, away=AWAY.format(**said)))


AWAY = (
    "{name} is not in the local cache: go online (with HF_HUB_OFFLINE unset), or run `hf download {name}` where there "
    "is a network and give the folder as checkpoint"
)
TROUBLES: dict[str | int | None, str] = {
    "GatedRepoError": "{name} is gated: accept its licence on its hub page, then run `hf auth login` or set HF_TOKEN "
    "to a token that may read it",
    "RevisionNotFoundError": "{name} has no revision {revision!r}: see the branches and tags on its hub page",
    "RepositoryNotFoundError": "the hub has no {name!r} that you may see: check the spelling, or run `hf auth login`",
    "HFValidationError": "{name!r} is no hub id (owner/name)",
    "OfflineModeIsEnabled": "HF_HUB_OFFLINE is set and {away}",
    errno.ENOSPC: "the disk is full: {name} cannot be kept; make room, or set HF_HOME to another disk",
    401: "the hub refuses your token (HTTP 401): run `hf auth login` again, or unset HF_TOKEN; {away}",
    403: "the hub forbids it (HTTP 403): use a token that may read it (`hf auth login`, HF_TOKEN); {away}",
    404: "the hub lacks one of its files (HTTP 404): check id and revision; {away}",
    429: "the hub has had too many requests (HTTP 429): wait some minutes, or run `hf auth login`; {away}",
    500: "the hub is out of order (HTTP {code}): try again later; {away}",
    None: "the hub cannot be reached ({kind}) and {away}",
}
"""An error's class, number, or status of the hub's answer -> what it means, and what to do."""


# ---- what a folder holds


def check(path: Path, parts: Mapping[str, str]) -> None:
    """Raise if a file of a checkpoint is missing, empty, cut off or of another kind, before anything is built.

    Args:
        path: its folder.
        parts: folder of each part in it -> the json file that describes it; one with a ``config.json`` has weights.

    Raises:
        CheckpointError: the file, and what is wrong with it.
    """
    for part, name in parts.items():
        config = read_json(path / part / name)
        for file in sorted((path / part).glob("*.json")):
            read_json(file)
        words = [file for kind in ("tokenizer.json", "vocab.json", "*.model") for file in (path / part).glob(kind)]
        if (path / part / "tokenizer_config.json").is_file() and not words:
            raise CheckpointError(f"{path / part / 'tokenizer.json'} is missing: {AGAIN}")
        if name == "config.json":
            tensors = sum(map(_tensors, _weights(path / part)))
            for key, count in _counts(config):
                if count > max(1000, tensors):
                    raise CheckpointError(f"{path / part / name}: {key}={count}, its weights have {tensors} tensors")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong inside the block into a CheckpointError; what memory lacks is no fault of files."""
    try:
        yield
    except TadaError:
        raise
    except Exception as error:
        if "memory" in str(error).lower() or isinstance(error, MemoryError):
            raise
        said = (str(error).strip().splitlines() or [""])[0][:300]
        raise CheckpointError(f"{path} cannot be read ({type(error).__name__}: {said}): {AGAIN}") from error


def read_part(kind: Any, folder: Path, part: str, dtype: torch.dtype) -> Any:
    """Read a network of `transformers` from its folder, which has every weight of it.

    Raises:
        CheckpointError: weights that are missing or of another shape than the configuration says.
    """
    with reading(folder / part):
        how = {"subfolder": part, "dtype": dtype, "use_safetensors": True, "output_loading_info": True}
        module, told = kind.from_pretrained(folder, **how)
    learned = {name for name, _ in module.named_parameters()}  # of tied weights one name
    lacking = sorted(learned & set(told["missing_keys"])) + [str(item[0]) for item in told["mismatched_keys"]]
    if lacking:
        some = ", ".join(lacking[:3])
        raise CheckpointError(f"{folder / part}: {len(lacking)} weights do not fit config.json ({some}): {AGAIN}")
    return module


AGAIN = "copy or download it again, whole (`hf download OWNER/NAME`)"


def read_json(path: Path) -> dict[str, Any]:
    """Read a json file that holds an object; CheckpointError with its name where it does not."""
    if not path.is_file():
        raise CheckpointError(f"{path} is missing: {AGAIN}")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise CheckpointError(f"{path} is {_damage(path)} ({error}): {AGAIN}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds a {type(value).__name__}, expected an object: {AGAIN}")
    return value


def _damage(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(64)
    if start.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS, not the file: run `git lfs pull`, or"
    return "damaged or cut off" if start else "empty"


def _weights(folder: Path) -> list[Path]:
    """The safetensors files of a part; all that its index names, where it has one."""
    indices = sorted(folder.glob("*.safetensors.index.json"))
    named = {name for index in indices for name in dict(read_json(index).get("weight_map") or {}).values()}
    files = sorted(folder / str(name) for name in named) or sorted(folder.glob("*.safetensors"))
    if not files:
        raise CheckpointError(f"{folder} has no weights (*.safetensors; pickles are not read): {AGAIN}")
    return files


def _tensors(path: Path) -> int:
    """Count the tensors of a file, whose header says how long it should be."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise CheckpointError(f"{path} is missing: {AGAIN}")
    try:
        with safe_open(path, framework="pt") as file:
            return len(list(file.keys()))
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is {_damage(path)} ({error}): {AGAIN}") from error


def _counts(config: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Numbers of layers that a configuration names, also those of its parts."""
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _counts(value)
        elif re.search(r"(layers?|layers_per_block|depths?)$", key):
            yield from (
                (key, item) for item in (value if isinstance(value, list) else [value]) if isinstance(item, int)
            )


class About(NamedTuple):
    """A checkpoint: what its folder says of it.

    Attributes:
        checkpoint: its label.
        functional: layer indices known to control concepts, the strongest first; None if not known.
        functional_origin: where these are known from, in words.
        sampling: how it samples unless told otherwise, as settings of the architecture's own; None: as its presets.
        is_mini: whether it is the architecture's mini in the package.
        folder: where it is.
    """

    checkpoint: str
    functional: Sequence[int] | None = None
    functional_origin: str = "not known"
    sampling: Mapping[str, Any] | None = None
    is_mini: bool = False
    folder: Path | None = None


def about(path: Path, wanted: str, architecture: Architecture) -> About:
    """Read label, functional layers and sampling of the checkpoint in a folder.

    They are what its ``tada.json`` says (``label``, ``functional``, ``sampling``); else the hub id or the folder's name
    that was ``wanted``, and the paper's layers if the checkpoint is the paper's. Functional layers are a list, or what
    ``tada.patching.choose_functional`` found of them.
    """
    card = path / "tada.json"
    said = read_json(card) if card.is_file() else {}
    name = Path(wanted).name if Path(wanted).is_dir() else wanted
    found = said.get("functional")
    layers, origin = found, "said by the checkpoint"
    if isinstance(found, dict):
        layers, origin = found["layers"] or None, describe_choice(**found)
    elif found is None and wanted.partition("@")[0] == architecture.hub_id:
        layers, origin = architecture.paper_layers, PUBLISHED
    own = path == WEIGHTS / architecture.name
    return About(said.get("label", name), layers, origin if layers else "not known", said.get("sampling"), own, path)


def describe_choice(layers: Sequence[int], jaccard: float | None, concepts: int, pairs: int, seeds: Any = None) -> str:
    """Say where functional layers are known from, as from ``tada.patching.choose_functional``."""
    if not concepts:
        return "of no concept could an effect be told from none"
    agreed = "neither names any" if jaccard is None else f"Jaccard index {jaccard:.2f}"
    return f"localised on {pairs} pairs of {concepts} concepts; against the choice of as many others: {agreed}"
