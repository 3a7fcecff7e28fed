"""CLAP: how well a clip fits a text (Wu et al. 2022), and the features that LPAPS compares.

What: cosine of an audio and a text embedding, windows of 10 s that overlap by 10 %, mean over windows (as the authors
publish it; a clip of just 10 s has a second window, its last second repeated). Range -1 to 1, higher is closer.
Conventions: 48 kHz mono; see :mod:`tada.metrics.audio` for what is done to other clips.

The checkpoint is the paper's, a file of laion-clap (:data:`PUBLIC`), in transformers' ``ClapModel`` (:func:`convert`).
``laion/larger_clap_music`` does not stand for it: its text embeddings are reported to be near-constant (mean cosine
.9993). The package's own small model is of the same class and is loaded by the same code; it takes 5 s at 16 kHz.

Fusion checkpoints, whose audio side reads several parts of a long clip at once, are refused. The authors' code scores
localisation with laion-clap's default, which is such a one, so that their values of impact are not those found here.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tada.errors import CheckpointError, InputError, MissingFileError
from tada.metrics.audio import windows
from tada.metrics.embedding import AudioTextModel, embed_text, log_model
from tada.minis.cards import WEIGHTS
from tada.minis.mel import power
from tada.models import hub
from tada.models.context import reach
from tada.models.device import pick_device

PUBLIC = "lukewys/laion_clap/music_audioset_epoch_15_esc_90.14.pt"
"""The paper's checkpoint: a repository of the hub and a file in it."""

OVERLAP = 0.1
TOKENS = 77
"""Longest text that laion-clap reads; the rest is cut off."""

UNLIKE = ("a piano song", "heavy metal with screaming", "a calm female voice")
ALIKE = 0.95
"""Cosine from which on two texts that are unlike count as alike."""

MINI = WEIGHTS / "clap"


class Clap(AudioTextModel):
    """A CLAP-class model without fusion, through transformers' ``ClapModel``."""

    def __init__(self, model: Any, extractor: Any, tokenizer: Any, weights: str) -> None:
        super().__init__()
        if model.config.audio_config.enable_fusion:
            raise InputError(f"{weights} is a fusion checkpoint; expected one without, such as {PUBLIC}")
        self.model, self.extractor, self.tokenizer = model.eval().requires_grad_(False), extractor, tokenizer
        self.weights, self.name = weights, "mini-clap" if weights == "mini" else "clap"
        self.rate, self.window = int(extractor.sampling_rate), int(extractor.nb_max_samples)
        self.hop, self.padding = int(self.window * (1 - OVERLAP)), str(extractor.padding)

    def spectrogram(self, pieces: Tensor) -> Tensor:
        """Compute the feature extractor's mel spectrograms in dB, for whole batches: ``[windows, 1, time, bands]``."""
        bank = torch.as_tensor(self.extractor.mel_filters_slaney, dtype=torch.float32, device=pieces.device)
        mel = bank.T @ power(pieces, self.extractor.fft_window_size, self.extractor.hop_length)
        return 10 * mel.clamp_min(1e-10).log10().transpose(1, 2)[:, None]

    def embed_windows(self, pieces: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Embed windows ``[windows, frames]`` as unit rows ``[windows, dim]``.

        Beside them are the outputs of the four Swin stages, ``[windows, tokens, channels]`` each.
        """
        spectrograms = self.spectrogram(pieces.to(self.model.logit_scale_a.device)).to(self.model.logit_scale_a.dtype)
        output = self.model.audio_model(input_features=spectrograms, output_hidden_states=True)
        rows = nn.functional.normalize(self.model.audio_projection(output.pooler_output).float(), dim=-1)
        return rows, tuple(stage.flatten(2).transpose(1, 2).float() for stage in output.hidden_states[1:])

    def features(self, mono: Tensor, batch: int = 16) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Embed clips ``[clips, frames]`` at :attr:`rate`.

        Returns:
            The mean of their windows' unit rows, ``[clips, dim]``, and the outputs of the four Swin stages,
            ``[clips, windows, tokens, channels]`` each; float32 on the CPU.
        """
        pieces = windows(mono, self.window, self.hop, self.padding)
        parts = [self.embed_windows(some) for some in pieces.flatten(0, 1).split(batch)]
        rows = torch.cat([rows for rows, _ in parts]).cpu().view(*pieces.shape[:2], -1).mean(1)
        stages = zip(*(stages for _, stages in parts), strict=True)
        return rows, tuple(torch.cat(outputs).cpu().unflatten(0, pieces.shape[:2]) for outputs in stages)

    def embed_audio(self, mono: Tensor, batch: int) -> Tensor:
        return torch.cat([self.features(some, batch)[0] for some in mono.split(batch)])

    def embed_text(self, texts: Sequence[str]) -> Tensor:
        for text in texts:
            if (end := reach(self.tokenizer, text, self.tokenizer.model_max_length)) < len(text):
                warnings.warn(
                    f"{self.name} does not read {text[end:][:40]!r} and what follows in {text[:40]!r}", stacklevel=2
                )
        words = self.tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
        words = words.to(self.model.logit_scale_a.device)
        output = self.model.text_model(input_ids=words["input_ids"], attention_mask=words["attention_mask"])
        return nn.functional.normalize(self.model.text_projection(output.pooler_output).float(), dim=-1)

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, windows of {self.window / self.rate:g} s>"


def load(checkpoint: str | Path | None = None, device: str = "auto") -> Clap:
    """Load a CLAP-class model.

    Args:
        checkpoint: None for the paper's, ``"mini"`` for the package's own, a hub id or a folder in transformers'
            layout, or a laion-clap file (``.pt``, ``.safetensors``), here or on the hub as ``owner/name/file``.
        device: a torch device; ``"auto"`` takes a GPU if there is one.

    Raises:
        ValueError: a fusion checkpoint. FileNotFoundError: no such file. OSError: a hub id that cannot be had, or
            weights to which texts that are unlike (:data:`UNLIKE`) are alike.
    """
    name = str(checkpoint or PUBLIC)
    load_model = _load_laion if name.endswith((".pt", ".safetensors")) else _load_transformers
    model = load_model(name, pick_device(device))
    rows = embed_text(model, UNLIKE)
    highest = float((rows @ rows.T).fill_diagonal_(-1).max())
    if not highest < ALIKE:
        raise CheckpointError(
            f"{model.weights} does not tell texts apart: cosine {highest:.4f} between two of {', '.join(UNLIKE)}; "
            f"expected less than {ALIKE}. Take the paper's checkpoint, {PUBLIC}"
        )
    log_model(model)
    return model


def _load_transformers(checkpoint: str, device: torch.device) -> Clap:
    from huggingface_hub import hf_hub_download
    from transformers import ClapModel, ClapProcessor

    place = str(MINI) if checkpoint == "mini" else checkpoint
    if Path(place).is_absolute() and not Path(place).is_dir():
        raise MissingFileError(f"no folder {place}: expected a folder, a hub id such as {PUBLIC}, or 'mini'")
    if not Path(place).is_dir():  # the libraries ask a hub that does not answer for minutes
        hub.folder(place, partial(hf_hub_download, filename="config.json"), "config.json")
    model = ClapModel.from_pretrained(place).float().to(device)
    processor = ClapProcessor.from_pretrained(place)
    return Clap(model, processor.feature_extractor, processor.tokenizer, checkpoint)


def _load_laion(path: str, device: torch.device) -> Clap:
    """Load a laion-clap file into ``ClapModel``; the tokenizer is that of roberta-base."""
    from transformers import AutoTokenizer, ClapConfig, ClapFeatureExtractor, ClapModel

    state = read_state(find_file(path))
    model = ClapModel(ClapConfig(**config_of(state)))
    model.load_state_dict(convert(state))
    extractor = ClapFeatureExtractor(frequency_min=50, truncation="rand_trunc", padding="repeatpad")
    tokenizer = AutoTokenizer.from_pretrained("roberta-base", model_max_length=TOKENS)
    return Clap(model.to(device), extractor, tokenizer, Path(path).name)


def find_file(path: str) -> Path:
    """Find a file that is here, or fetch ``owner/name/file`` from the hub; MissingFileError or CheckpointError."""
    repository, _, name = path.rpartition("/")
    if Path(path).is_file():
        return Path(path)
    if repository.count("/") != 1 or repository.startswith((".", "/")):
        raise MissingFileError(f"no {path}: expected a file, or one on the hub as owner/name/file, such as {PUBLIC}")
    from huggingface_hub import hf_hub_download

    try:
        return hub.folder(repository, partial(hf_hub_download, filename=name), name)
    except CheckpointError as error:
        wanted = f"hf download {repository} {name} && hf download roberta-base"
        raise CheckpointError(f"{error} (of this repository one file is enough: {wanted})") from error


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a laion-clap file, without running anything that is pickled in it."""
    if Path(path).suffix == ".safetensors":
        state: Mapping[str, Any] = load_file(path)
    else:
        scalar = getattr(np, "_core" if hasattr(np, "_core") else "core").multiarray.scalar
        with torch.serialization.safe_globals([scalar, np.dtype, type(np.dtype("float64")), type(np.dtype("int64"))]):
            state = torch.load(path, map_location="cpu", weights_only=True)
    state = state.get("state_dict", state)
    return {name.removeprefix("module."): value for name, value in state.items() if isinstance(value, Tensor)}


def config_of(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Give the settings of ``ClapConfig`` that fit the tensors of a laion-clap file; ValueError for one with fusion."""
    if any("fusion_model" in name for name in state):
        raise InputError("got a fusion checkpoint of laion-clap; expected one without, such as music_audioset_epoch_15")
    blocks = [re.match(r"audio_branch\.layers\.(\d+)\.blocks\.(\d+)\.norm1\.weight", name) for name in state]
    places = [(int(found[1]), int(found[2])) for found in blocks if found]
    stages = max(stage for stage, _ in places) + 1
    bias = "audio_branch.layers.{}.blocks.0.attn.relative_position_bias_table"
    width = len(state["audio_branch.patch_embed.proj.weight"])
    words, hidden = state["text_branch.embeddings.word_embeddings.weight"].shape
    layers = {name.split(".")[3] for name in state if name.startswith("text_branch.encoder.layer.")}
    dim = len(state["audio_projection.2.weight"])
    audio = {
        "patch_embeds_hidden_size": width,
        "hidden_size": width * 2 ** (stages - 1),
        "depths": [sum(stage == place for place, _ in places) for stage in range(stages)],
        "num_hidden_layers": stages,
        "num_attention_heads": [state[bias.format(stage)].shape[1] for stage in range(stages)],
        "window_size": (round(len(state[bias.format(0)]) ** 0.5) + 1) // 2,
        "projection_dim": dim,
        "enable_fusion": False,
    }
    text = {
        "vocab_size": words,
        "hidden_size": hidden,
        "intermediate_size": len(state["text_branch.encoder.layer.0.intermediate.dense.weight"]),
        "num_hidden_layers": len(layers),
        "num_attention_heads": max(1, hidden // 64),
        "max_position_embeddings": len(state["text_branch.embeddings.position_embeddings.weight"]),
        "layer_norm_eps": 1e-5,  # of roberta-base
        "type_vocab_size": len(state["text_branch.embeddings.token_type_embeddings.weight"]),
        "projection_dim": dim,
    }
    return {"audio_config": audio, "text_config": text, "projection_dim": dim}


NAMES = (
    (r"^audio_branch\.", "audio_model.audio_encoder."),
    (r"^text_branch\.", "text_model."),
    (r"^(audio|text)_projection\.0\.", r"\1_projection.linear1."),
    (r"^(audio|text)_projection\.2\.", r"\1_projection.linear2."),
    (r"(layers\.\d+\.blocks\.\d+)\.attn\.proj\.", r"\1.attention.output.dense."),
    (r"(layers\.\d+\.blocks\.\d+)\.attn\.", r"\1.attention.self."),
    (r"(layers\.\d+\.blocks\.\d+)\.mlp\.fc1\.", r"\1.intermediate.dense."),
    (r"(layers\.\d+\.blocks\.\d+)\.mlp\.fc2\.", r"\1.output.dense."),
    (r"(layers\.\d+\.blocks\.\d+)\.norm1\.", r"\1.layernorm_before."),
    (r"(layers\.\d+\.blocks\.\d+)\.norm2\.", r"\1.layernorm_after."),
    (r"\.bn0\.", ".batch_norm."),
)
"""Names of laion-clap's tensors -> those of ``ClapModel``."""

UNUSED = re.compile(
    r"spectrogram_extractor|logmel_extractor|tscam_conv|audio_branch\.head\.|attn_mask|(audio|text)_transform|position_ids"
)
"""Tensors that no embedding depends on."""


def convert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the tensors of a laion-clap checkpoint the names of transformers' ``ClapModel``."""
    tensors: dict[str, Tensor] = {}
    for name, value in state.items():
        if UNUSED.search(name):
            continue
        for pattern, new in NAMES:
            name = re.sub(pattern, new, name)
        if ".attention.self.qkv." in name:
            for part, rows in zip(("query", "key", "value"), value.chunk(3), strict=True):
                tensors[name.replace("qkv", part)] = rows
        else:
            tensors[name] = value
    positions = torch.arange(len(tensors["text_model.embeddings.position_embeddings.weight"]))[None]
    tensors["text_model.embeddings.position_ids"] = positions  # which laion-clap does not keep
    tensors["text_model.embeddings.token_type_ids"] = torch.zeros_like(positions)
    return tensors
