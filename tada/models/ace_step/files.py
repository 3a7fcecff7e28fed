"""The parts of an ACE-Step v1 checkpoint, read and written in the layout of the public repository."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from tada.errors import CheckpointError
from tada.io import atomic_write
from tada.models import hub, phase
from tada.models.ace_step.transformer import AceStepTransformer
from tada.models.ace_step.vocoder import Vocoder
from tada.models.phase import PhaseStage

REVISION = "82cd0d7b6322bd28cd4e830fe675ddb6180ce36c"
PARTS = ("ace_step_transformer", "music_dcae_f8c8", "music_vocoder", "umt5-base")
WEIGHTS = "diffusion_pytorch_model.safetensors"
UNUSED = ("*.cross_attn.add_*", "*.cross_attn.to_add_out.*", "projectors.*", "mel_transform.*")
"""Parameters of the public files that nothing here computes with."""
IGNORED = ("_*", "ssl_*", "max_*", "drop_path_rate", "use_template")
"""Configuration that nothing here computes with."""

Config = TypeVar("Config")
Network = TypeVar("Network", AceStepTransformer, Vocoder)


@dataclass(frozen=True, eq=False)
class Parts:
    """The networks of a checkpoint; the tokenizer is a `transformers` fast tokenizer."""

    transformer: AceStepTransformer
    autoencoder: Any
    vocoder: Vocoder | PhaseStage
    """What makes sound: the public vocoder, or a phase stage in its place."""
    text_encoder: Any
    tokenizer: Any


def read(folder: Path, dtype: torch.dtype) -> Parts:
    """All parts of the checkpoint in ``folder``, frozen, on the CPU; CheckpointError if files do not fit."""
    from diffusers import AutoencoderDC
    from transformers import AutoTokenizer, UMT5EncoderModel

    network, codec, vocoder, text = (folder / part for part in PARTS)
    return Parts(
        load(AceStepTransformer, network, dtype),
        AutoencoderDC.from_pretrained(codec, torch_dtype=dtype, use_safetensors=True).eval().requires_grad_(False),
        phase.read(folder) or load(Vocoder, vocoder, dtype),
        hub.read_part(UMT5EncoderModel, folder, PARTS[3], dtype).eval().requires_grad_(False),
        AutoTokenizer.from_pretrained(text),
    )


def write(parts: Parts, folder: Path) -> None:
    """Write all parts into ``folder``, as `read` wants them."""
    network, codec, vocoder, text = (folder / part for part in PARTS)
    save(parts.transformer, network, {"_class_name": "ACEStepTransformer2DModel", **asdict(parts.transformer.config)})
    parts.autoencoder.save_pretrained(codec)
    if isinstance(parts.vocoder, Vocoder):
        save(parts.vocoder, vocoder, {"_class_name": "ADaMoSHiFiGANV1", **asdict(parts.vocoder.config)})
    else:
        phase.write(parts.vocoder, folder)
    parts.text_encoder.save_pretrained(text)
    parts.tokenizer.save_pretrained(text)


def read_config(folder: Path, kind: Callable[..., Config]) -> Config:
    """The ``config.json`` of ``folder`` as the dataclass ``kind``; an unknown key is a CheckpointError."""
    values = hub.read_json(folder / "config.json")
    wanted = {key: _tuples(value) for key, value in values.items() if not _matches(key, IGNORED)}
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    if extra := sorted(set(wanted) - known) + ["use_template"] * values.get("use_template", False):
        raise CheckpointError(
            f"{folder}/config.json: got {', '.join(extra)}; expected no other than {', '.join(known)}"
        )
    return kind(**wanted)


def load(kind: type[Network], folder: Path, dtype: torch.dtype) -> Network:
    """The module of this kind that ``folder`` describes, with its weights as ``dtype``.

    Raises:
        CheckpointError: missing, unexpected or misshapen parameters, the first few by name.
    """
    from safetensors import safe_open

    with torch.device("meta"):
        module = kind(read_config(folder, kind.config_class))
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        names = [name for name in file.keys() if not _matches(name, UNUSED)]  # noqa: SIM118
        tensors = {name: file.get_tensor(name).to(dtype) for name in names}
    try:
        module.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        said = "; ".join(line.strip()[:200] for line in str(error).splitlines()[1:5])
        raise CheckpointError(f"{folder / WEIGHTS} does not fit its config.json: {said}") from error
    return module.eval().requires_grad_(False)


def save(module: nn.Module, folder: Path, config: Mapping[str, Any]) -> None:
    """Write ``config.json`` and the safetensors of ``module`` into ``folder``, each file in one move."""
    from safetensors.torch import save_file

    tensors = {name: value.contiguous() for name, value in module.state_dict().items()}
    atomic_write(folder / "config.json", json.dumps(dict(config), indent=2) + "\n")  # bytes as in shipped cards
    atomic_write(folder / WEIGHTS, lambda draft: save_file(tensors, draft))


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
