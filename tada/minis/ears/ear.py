"""The base of the two mini ears: towers that put clips and texts into one space."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tada.errors import InputError
from tada.minis.ears.spectra import windows
from tada.minis.mel import listenable

DIM = 128
"""Size of the embeddings."""


class Ear(nn.Module):
    """An audio-text tower; every row is embedded by itself."""

    name: str
    frames: int
    """Length of a piece at 16 kHz; longer clips are cut into pieces, shorter ones are repeated."""

    @abstractmethod
    def spectrogram(self, audio: Tensor) -> Tensor:
        """Compute spectrograms ``[rows, time, 64]`` of pieces ``[rows, frames]`` at 16 kHz."""

    @abstractmethod
    def encode_audio(self, spectrograms: Tensor) -> Tensor:
        """Embed spectrograms: unit rows ``[rows, dim]``; gradients pass."""

    @abstractmethod
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Embed texts: unit rows ``[rows, dim]``; gradients pass."""

    @torch.no_grad()
    def embed_audio(self, audio: Tensor, sample_rate: int, batch: int = 64) -> Tensor:
        """Embed clips, float32 ``[rows, dim]`` of unit length; of a clip in pieces their mean, at unit length.

        Args:
            audio: ``[rows, frames]`` or ``[rows, channels, frames]``, channels are averaged; ValueError under 0.1 s.
            sample_rate: in Hz; any.
            batch: pieces at a time.
        """
        spectrograms = self.features(audio, sample_rate)
        pieces = torch.cat([self.encode_audio(rows) for rows in spectrograms.flatten(0, 1).split(batch)])
        return nn.functional.normalize(pieces.view(*spectrograms.shape[:2], -1).mean(1), dim=-1)

    def features(self, audio: Tensor, sample_rate: int) -> Tensor:
        """Compute spectrograms ``[rows, pieces, time, 64]`` of clips; arguments as for :meth:`embed_audio`."""
        if audio.ndim not in (2, 3):
            raise InputError(
                f"got audio of shape {list(audio.shape)}; expected [rows, frames] or [rows, channels, frames]"
            )
        if audio.shape[-1] < 0.1 * sample_rate:
            raise InputError(f"got {audio.shape[-1] / sample_rate:.3f} s of audio; expected at least 0.1 s")
        pieces = windows(listenable(audio, sample_rate), self.frames)
        return self.spectrogram(pieces.flatten(0, 1)).unflatten(0, pieces.shape[:2])

    @torch.no_grad()
    def embed_text(self, texts: Sequence[str], batch: int = 256) -> Tensor:
        """Embed texts: float32 ``[rows, dim]``, unit length.

        Raises:
            ValueError: a single string, which would be taken for a list of letters, or no text at all.
        """
        if isinstance(texts, str) or not len(texts):
            raise InputError(f"got texts={texts!r}; expected a list of texts, such as ['a piano song']")
        return torch.cat(
            [self.encode_text(list(texts[start : start + batch])) for start in range(0, len(texts), batch)]
        )
