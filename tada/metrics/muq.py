"""MuQ-MuLan: how well a clip fits a text, by a second model (Zhu et al. 2025).

What: product of an audio and a text embedding; whole clip, cut by the model into 10 s pieces whose embeddings are
averaged. Range -1 to 1, higher is closer. Conventions: 24 kHz mono.

``load("mini")`` gives the package's own second model in its place: another architecture than the CLAP-class one,
16 kHz.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tada.errors import CheckpointError
from tada.metrics.embedding import AudioTextModel, log_model
from tada.metrics.packages import need
from tada.minis import ears
from tada.minis.sounds import SAMPLE_RATE
from tada.models.device import pick_device

PUBLIC = "OpenMuQ/MuQ-MuLan-large"


class MuQ(AudioTextModel):
    """MuQ-MuLan through the package ``muq``; clip by clip, so that none depends on its neighbours."""

    name = "muq"

    def __init__(self, model: Any, weights: str) -> None:
        super().__init__()
        self.model, self.weights, self.rate = model.eval().requires_grad_(False), weights, int(model.sr)

    def embed_audio(self, mono: Tensor, batch: int) -> Tensor:
        return torch.cat([self.model(wavs=clip[None].to(self.model.device)).float().cpu() for clip in mono])

    def embed_text(self, texts: Sequence[str]) -> Tensor:
        return torch.cat([self.model(texts=[text]) for text in texts])


class MiniSecond(AudioTextModel):
    """The package's own second model, in MuQ-MuLan's place."""

    name, weights, rate = "mini-second", "mini", SAMPLE_RATE

    def __init__(self) -> None:
        super().__init__()
        self.tower = ears.load("second")

    def embed_audio(self, mono: Tensor, batch: int) -> Tensor:
        return self.tower.embed_audio(mono, self.rate, batch)

    def embed_text(self, texts: Sequence[str]) -> Tensor:
        return self.tower.embed_text(texts)


def load(checkpoint: str | Path | None = None, device: str = "auto") -> AudioTextModel:
    """Load MuQ-MuLan, or the package's own model in its place.

    Args:
        checkpoint: None for the public one, ``"mini"`` for the package's own, a hub id or a folder.
        device: a torch device; ``"auto"`` takes a GPU if there is one.

    Raises:
        ImportError: the package muq is wanted and not installed, with the line that installs it.
        OSError: a hub id that cannot be had.
    """
    model = MiniSecond() if checkpoint == "mini" else _load_public(str(checkpoint or PUBLIC), device)
    log_model(model)
    return model


def _load_public(checkpoint: str, device: str) -> MuQ:
    package = need("muq")
    try:
        model = package.MuQMuLan.from_pretrained(checkpoint)
    except (TypeError, OSError) as error:  # offline the hub's class builder misses its configuration
        raise CheckpointError(
            f"{checkpoint} cannot be had ({type(error).__name__}: {error}). It and what it is built on are fetched "
            f"once with: hf download {checkpoint} && hf download OpenMuQ/MuQ-large-msd-iter && hf download "
            "xlm-roberta-base"
        ) from error
    return MuQ(model.to(pick_device(device)), checkpoint)
