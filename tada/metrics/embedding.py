"""Embed clips and texts with an audio-text model, whatever model it is, and compare the two.

Conventions: embeddings are float32 rows on the CPU. A text's has unit length. A clip's is the mean of the unit
embeddings of its windows, so that its product with a text's is the mean of the windows' cosines, as published.

Range of the similarity: -1 to 1. Direction: higher is closer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tada.errors import InputError
from tada.metrics.audio import prepare
from tada.models.fingerprint import fingerprint, log_loaded


class AudioTextModel(ABC):
    """An audio-text model in evaluation mode.

    Attributes:
        name: what results call it.
        weights: what it was loaded from.
        rate: sample rate that it takes, in Hz.
    """

    name: str
    weights: str
    rate: int

    def __init__(self) -> None:
        self.text_memory: dict[str, Tensor] = {}

    @abstractmethod
    def embed_audio(self, mono: Tensor, batch: int) -> Tensor:
        """Embed clips ``[clips, frames]`` at :attr:`rate`: ``[clips, dim]``, the mean of windows of unit length."""

    @abstractmethod
    def embed_text(self, texts: Sequence[str]) -> Tensor:
        """Embed texts: ``[texts, dim]``, of unit length."""

    def __repr__(self) -> str:
        return f"<{self.name}: {self.weights}, {self.rate} Hz>"


def log_model(model: AudioTextModel) -> None:
    """Log that an audio-text model was loaded."""
    name = model.name if model.weights == "mini" else f"{model.name} {Path(model.weights).name}"
    log_loaded(name, lambda: fingerprint(model))


@torch.no_grad()
def embed(model: AudioTextModel, audio: Any, sample_rate: int, batch: int = 16) -> Tensor:
    """Embed clips.

    Args:
        model: as from a metric's ``load``.
        audio: ``[clips, frames]`` or ``[clips, channels, frames]``.
        sample_rate: of the audio, in Hz; any.
        batch: windows at a time.

    Returns:
        float32 ``[clips, dim]``: the mean of the windows' unit embeddings, not of unit length itself.

    Raises:
        ValueError: see :func:`tada.metrics.audio.prepare`.
    """
    return model.embed_audio(prepare(audio, sample_rate, model.rate), batch).float().cpu()


@torch.no_grad()
def embed_text(model: AudioTextModel, texts: Sequence[str]) -> Tensor:
    """Embed texts, each once: float32 ``[texts, dim]``, of unit length.

    Raises:
        ValueError: a single string, which would be taken for a list of letters, or no text at all.
    """
    if isinstance(texts, str) or not len(texts):
        raise InputError(f"got texts={texts!r}; expected a list of texts, such as ['a piano song']")
    for text in dict.fromkeys(texts):
        if text not in model.text_memory:
            model.text_memory[text] = model.embed_text([text])[0].float().cpu()
    return torch.stack([model.text_memory[text] for text in texts])


def similarity(clips: Tensor, texts: Tensor) -> Tensor:
    """Compute how close each clip is to its text: the mean over its windows of the cosine.

    Args:
        clips: ``[clips, dim]`` as from :func:`embed`.
        texts: ``[clips, dim]``, or ``[1, dim]`` for one text for all, as from :func:`embed_text`.

    Returns:
        ``[clips]``, -1 to 1, higher is closer.

    Raises:
        ValueError: numbers that do not match.
    """
    if texts.ndim != 2 or clips.ndim != 2 or len(texts) not in (1, len(clips)) or clips.shape[1] != texts.shape[1]:
        raise InputError(
            f"got clips {list(clips.shape)} and texts {list(texts.shape)}; expected [clips, dim] and as many texts, "
            "or one"
        )
    return (clips * texts).sum(1)
