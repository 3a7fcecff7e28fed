"""What an audio-text ear can do, whatever model is behind it: embed clips, embed texts, compare the two.

Conventions: embeddings are float32 rows on the CPU. A text's has unit length. A clip's is the mean of the unit
embeddings of its windows, so that its product with a text's is the mean of the windows' cosines, as published.

Range of the similarity: -1 to 1. Direction: higher is closer.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tada.errors import InputError
from tada.metrics.audio import prepare, windows
from tada.models.fingerprint import fingerprint, log_loaded

REMEMBERED = 4096
"""Clips whose embeddings an ear keeps."""


class Ear(ABC):
    """An audio-text model in evaluation mode.

    Attributes:
        name: what results call it.
        weights: what it was loaded from.
        rate: sample rate that it hears at, in Hz.
        window: frames that it hears at once.
        hop: frames between two windows.
        padding: how a short window is filled, see :func:`tada.metrics.audio.windows`.
    """

    name: str
    weights: str
    rate: int
    window: int
    hop: int
    padding: str = "repeatpad"

    def __init__(self) -> None:
        self._heard: OrderedDict[str, Tensor] = OrderedDict()
        self._told: dict[str, Tensor] = {}

    @abstractmethod
    def hear(self, pieces: Tensor) -> Tensor:
        """Unit rows ``[pieces, dim]`` of windows ``[pieces, window]``."""

    @abstractmethod
    def read(self, texts: Sequence[str]) -> Tensor:
        """Unit rows ``[texts, dim]``."""

    def pieces(self, mono: Tensor) -> Tensor:
        """``[clips, windows, window]`` of clips ``[clips, frames]`` at :attr:`rate`."""
        return windows(mono, self.window, self.hop, self.padding)

    def __repr__(self) -> str:
        return f"<{self.name}: {self.weights}, {self.rate} Hz, windows of {self.window / self.rate:g} s>"


def note(ear: Ear) -> None:
    """Log that an audio-text model was loaded."""
    name = ear.name if ear.weights == "mini" else f"{ear.name} {Path(ear.weights).name}"
    log_loaded(name, lambda: fingerprint(ear))


@torch.no_grad()
def embed(ear: Ear, audio: Any, sample_rate: int, batch: int = 16) -> Tensor:
    """Embeddings of clips; those of clips that the ear has lately heard are looked up.

    Args:
        ear: as from a metric's ``load``.
        audio: ``[clips, frames]`` or ``[clips, channels, frames]``.
        sample_rate: of the audio, in Hz; any.
        batch: windows at a time.

    Returns:
        float32 ``[clips, dim]``: the mean of the windows' unit embeddings, not of unit length itself.

    Raises:
        ValueError: see :func:`tada.metrics.audio.prepare`.
    """
    mono = prepare(audio, sample_rate, ear.rate)
    names = [hashlib.sha256(row.numpy().tobytes()).hexdigest() for row in mono]
    new = [i for i, name in enumerate(names) if name not in ear._heard and name not in names[:i]]
    if new:
        pieces = ear.pieces(mono[new])
        heard = torch.cat([ear.hear(some).float().cpu() for some in pieces.flatten(0, 1).split(batch)])
        ear._heard.update(zip([names[i] for i in new], heard.view(*pieces.shape[:2], -1).mean(1), strict=True))
    rows = torch.stack([ear._heard[name] for name in names])
    while len(ear._heard) > REMEMBERED:
        ear._heard.popitem(last=False)
    return rows


@torch.no_grad()
def embed_text(ear: Ear, texts: Sequence[str]) -> Tensor:
    """Embeddings of texts, float32 ``[texts, dim]``, unit length; each text is read once.

    Raises:
        ValueError: a single string, which would be taken for a list of letters, or no text at all.
    """
    if isinstance(texts, str) or not len(texts):
        raise InputError(f"got texts={texts!r}; expected a list of texts, such as ['a piano song']")
    for text in dict.fromkeys(texts):
        if text not in ear._told:
            ear._told[text] = ear.read([text])[0].float().cpu()
    return torch.stack([ear._told[text] for text in texts])


def similarity(clips: Tensor, texts: Tensor) -> Tensor:
    """How close each clip is to its text: the mean over its windows of the cosine.

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
