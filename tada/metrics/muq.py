"""MuQ-MuLan: how well a clip fits a text, by a second model (Zhu et al. 2025).

What: product of an audio and a text embedding; whole clip, cut by the model into 10 s pieces whose embeddings are
averaged. Range -1 to 1, higher is closer. Conventions: 24 kHz mono.

``load("mini")`` gives the package's own second ear in its place: another architecture than the CLAP-class one, 16 kHz.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tada.metrics.ear import Ear, embed, embed_text, note, similarity
from tada.metrics.packages import need

__all__ = ["PUBLIC", "MuQ", "SecondEar", "embed", "embed_text", "load", "similarity"]

PUBLIC = "OpenMuQ/MuQ-MuLan-large"


class Whole(Ear):
    """An ear that cuts clips into pieces itself."""

    def pieces(self, mono: Tensor) -> Tensor:
        return mono[:, None]

    def __repr__(self) -> str:
        return f"<{self.name}: {self.weights}, {self.rate} Hz>"


class MuQ(Whole):
    """Through the package ``muq``; clip by clip, so that none depends on its neighbours."""

    name, window, hop = "muq", 0, 0

    def __init__(self, model: Any, weights: str) -> None:
        super().__init__()
        self.model, self.weights, self.rate = model.eval().requires_grad_(False), weights, int(model.sr)

    def hear(self, pieces: Tensor) -> Tensor:
        return torch.cat([self.model(wavs=piece[None].to(self.model.device)) for piece in pieces])

    def read(self, texts: Sequence[str]) -> Tensor:
        return torch.cat([self.model(texts=[text]) for text in texts])


class SecondEar(Whole):
    """The package's own second ear."""

    name, weights, window, hop = "mini-second", "mini", 0, 0

    def __init__(self, tower: Any) -> None:
        from tada.minis.sounds import SAMPLE_RATE

        super().__init__()
        self.tower, self.rate = tower, SAMPLE_RATE

    def hear(self, pieces: Tensor) -> Tensor:
        return self.tower.embed_audio(pieces, self.rate)

    def read(self, texts: Sequence[str]) -> Tensor:
        return self.tower.embed_text(texts)


def load(checkpoint: str | Path | None = None, device: str = "auto") -> Ear:
    """MuQ-MuLan, or what stands in its place; the same arguments give the same object.

    Args:
        checkpoint: None for the public one, ``"mini"`` for the package's own second ear, a hub id or a folder.
        device: a torch device; ``"auto"`` takes a GPU if there is one.

    Raises:
        ImportError: the package muq is wanted and not installed, with the line that installs it.
        OSError: a hub id that cannot be had.
    """
    return _load(str(checkpoint or PUBLIC), device)


@lru_cache
def _load(checkpoint: str, device: str) -> Ear:
    ear = _opened(checkpoint, device)
    note(ear)
    return ear


def _opened(checkpoint: str, device: str) -> Ear:
    from tada.models.base import pick_device

    if checkpoint == "mini":
        from tada.minis import ears

        return SecondEar(ears.load("second"))
    package = need("muq")
    try:
        model = package.MuQMuLan.from_pretrained(checkpoint)
    except (TypeError, OSError) as error:  # offline the hub's class builder misses its configuration
        raise OSError(
            f"{checkpoint} cannot be had ({type(error).__name__}: {error}). It and what it is built on are fetched "
            f"once with: hf download {checkpoint} && hf download OpenMuQ/MuQ-large-msd-iter && hf download "
            "xlm-roberta-base"
        ) from error
    return MuQ(model.to(pick_device(device)), checkpoint)
