"""Vectors and sparse autoencoders as folders that a model hub takes: weights, config, and a card for people.

Nothing is uploaded here: ``hf upload OWNER/NAME FOLDER`` does that. A hub id in place of a folder is downloaded. An
autoencoder's folder holds the layout of the authors' release (``cfg.json`` and ``sae.safetensors`` with
``encoder.weight``, ``W_dec``, ``b_dec``) beside ours, and either is read; pickled vectors are not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from tada.errors import InputError, MissingFileError
from tada.io import atomic_write, write_json
from tada.sae.model import SaeConfig, SparseAutoencoder
from tada.steering.vector import Vector

VECTOR = "vector"
LICENCE = "mit"


def export_vector(vector: Vector, folder: str | Path) -> Path:
    """Write a vector as ``vector.safetensors``, ``vector.json`` and ``README.md``; return the folder."""
    folder = Path(folder)
    vector.save(folder / VECTOR)
    info = vector.info
    what = f"{info.get('concept', 'a concept')} ({info.get('method', 'vector')})"
    lines = [
        f"A steering vector for {what}, fitted on `{info.get('checkpoint', 'an unknown checkpoint')}`.",
        f"It has {len(vector.sites)} sites and {vector.steps} step(s).",
        "```python\nvector = tada.sae.exchange.load_vector(FOLDER_OR_HUB_ID)\n"
        "with vector.apply(model, alpha): clips = model.generate(...)\n```",
        *(_range(entry) for entry in info.get("ranges", ())),
    ]
    return _card(folder, f"Steering vector: {what}", ["tada", "steering-vector"], lines)


def load_vector(source: str | Path, revision: str | None = None) -> Vector:
    """A vector from a folder that :func:`export_vector` wrote, or from a hub repository with that layout.

    Raises:
        FileNotFoundError: no such folder, or one without a vector; a pickled vector is named as such.
        ValueError: a damaged file.
    """
    folder = _folder(source, revision)
    if (folder / f"{VECTOR}.safetensors").is_file():
        return Vector.load(folder / VECTOR)
    pickled = sorted(path.name for path in folder.glob("*.pkl"))
    hint = f": it has {', '.join(pickled)}, and pickles run code when opened, so they are not" if pickled else ""
    raise MissingFileError(f"{folder} has no {VECTOR}.safetensors{hint}; fit one with `tada vectors fit`")


def export_sae(sae: SparseAutoencoder, folder: str | Path, info: Mapping[str, Any] | None = None) -> Path:
    """Write an autoencoder in our layout, in the authors' (``authors/``), and a card; return the folder."""
    from safetensors.torch import save

    folder, info = Path(folder), dict(info or {})
    sae.save(folder, info)
    ours = {name: value.detach().float() for name, value in sae.state_dict().items()}
    bias = ours.get("b_enc", torch.zeros(sae.config.latents)) * ours["scale"]
    tensors = {"encoder.weight": ours["W_enc"], "encoder.bias": bias, "W_dec": ours["W_dec"], "b_dec": ours["b_pre"]}
    config = {
        "d_in": sae.config.dim,
        "num_latents": sae.config.latents,
        "expansion_factor": sae.config.latents // sae.config.dim,
        "k": sae.config.k,
        "normalize_decoder": True,
        "batch_topk": False,
    }
    place = folder / "authors"
    place.mkdir(parents=True, exist_ok=True)
    atomic_write(place / "sae.safetensors", save({name: value.contiguous() for name, value in tensors.items()}))
    write_json(place / "cfg.json", config)
    lines = [
        f"A TopK sparse autoencoder of {sae.config.latents} features, {sae.config.k} active, on activations of width "
        f"{sae.config.dim}: site `{info.get('site', 'unknown')}` of `{info.get('checkpoint', 'unknown')}`.",
        "```python\nsae = tada.sae.exchange.load_sae(FOLDER_OR_HUB_ID)\n```",
    ]
    return _card(folder, "Sparse autoencoder", ["tada", "sparse-autoencoder"], lines)


def load_sae(source: str | Path, revision: str | None = None) -> SparseAutoencoder:
    """An autoencoder from a folder or hub repository, in our layout or in that of the authors' release.

    Raises:
        FileNotFoundError: no such folder, or one without an autoencoder. ValueError: another layout, or damage.
    """
    from safetensors.torch import load

    folder = _folder(source, revision)
    missing = [name for name in ("cfg.json", "sae.safetensors") if not (folder / name).is_file()]
    if missing:
        inside = sorted(path.parent.name for path in folder.glob("*/sae.safetensors"))
        hint = f": name one of its folders {', '.join(inside)}" if inside else ""
        raise MissingFileError(f"{folder} has no {' and no '.join(missing)}{hint}")
    about = json.loads((folder / "cfg.json").read_text(encoding="utf-8"))
    if "latents" in about:
        return SparseAutoencoder.load(folder)
    tensors = load((folder / "sae.safetensors").read_bytes())
    if not {"encoder.weight", "encoder.bias", "W_dec", "b_dec"} <= set(tensors):
        raise InputError(f"{folder}/sae.safetensors holds {sorted(tensors)}; expected our layout or the authors'")
    latents, dim = tensors["W_dec"].shape
    sae = SparseAutoencoder(SaeConfig(dim, latents, int(about["k"]), encoder_bias=True))
    names = {"W_enc": "encoder.weight", "b_enc": "encoder.bias", "W_dec": "W_dec", "b_pre": "b_dec"}
    sae.load_state_dict({own: tensors[theirs].float() for own, theirs in names.items()}, strict=False)
    return sae.eval()


def _folder(source: str | Path, revision: str | None) -> Path:
    path = Path(source).expanduser()
    if path.is_dir():
        return path
    if str(source).count("/") != 1 or str(source).startswith((".", "/", "~")):
        raise MissingFileError(f"no folder {path}, and it is no hub id (owner/name)")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(str(source), revision=revision, ignore_patterns=["*.pkl", "*.pt", "*.bin"]))
    except Exception as error:  # the hub's client raises a different class for every way of having no network
        raise MissingFileError(
            f"no folder {path}, and the hub repository {source} cannot be had ({type(error).__name__}): check the "
            "name and the network, or download it elsewhere and give the folder"
        ) from error


def _range(entry: Mapping[str, Any]) -> str:
    return f"Range of strengths, layers {entry['layers']}: {entry['low']:.3g} to {entry['high']:.3g}."


def _card(folder: Path, title: str, tags: list[str], lines: list[str]) -> Path:
    head = "\n".join(["---", f"license: {LICENCE}", "library_name: tada-companion", "tags:", *(f"- {t}" for t in tags)])
    atomic_write(folder / "README.md", "\n\n".join([f"{head}\n---", f"# {title}", *lines, ""]))
    return folder
