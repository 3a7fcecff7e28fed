"""Clips: generated audio with the record of how it was made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import torch
from torch import Tensor

from tada.errors import InputError
from tada.io import atomic_write


@dataclass(frozen=True, eq=False)
class Clip:
    """One piece of audio.

    Attributes:
        samples: float32 ``[channels, frames]``, full scale at 1.0.
        sample_rate: frames per second, in Hz.
        record: how it was made: checkpoint, prompt, seed, sampling, intervention, versions.
    """

    samples: Tensor
    sample_rate: int
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.samples.shape[-1] / self.sample_rate

    def save(self, path: str | Path) -> Path:
        """Write a sound file in the format its suffix names (wav, flac, ogg, mp3), replacing it only when complete."""
        import soundfile

        return atomic_write(path, lambda draft: soundfile.write(draft, self.samples.T.numpy(), self.sample_rate))


def source(record: Mapping[str, Any]) -> str:
    """The model and the checkpoint that a clip's record names, in words: ``"ace-step mini"``."""
    model, checkpoint = str(record.get("model") or ""), str(record.get("checkpoint") or "")
    return checkpoint if checkpoint.startswith(model) else f"{model} {checkpoint}".strip()


class Clips(Sequence[Clip]):
    """Clips of one length and sample rate, one per row of a batch."""

    def __init__(self, audio: Tensor, sample_rate: int, records: Sequence[Mapping[str, Any]] = ()) -> None:
        """Wrap ``audio``, float32 ``[rows, channels, frames]``; raise ValueError where it is NaN or infinite."""
        self.audio = audio.detach().to("cpu", torch.float32)
        self.sample_rate = sample_rate
        self.records = tuple(records) or tuple({} for _ in range(len(audio)))
        sound = self.audio.abs().amax((1, 2)).isfinite() if self.audio.numel() else torch.ones(len(audio))
        bad = sound.logical_not().nonzero().flatten().tolist()
        if bad:
            raise InputError(
                f"NaN or infinite samples in the decoded audio of rows {bad} (of {len(audio)}): "
                "decode in float32, or look at the latents that were decoded"
            )

    def __len__(self) -> int:
        return len(self.audio)

    @overload
    def __getitem__(self, row: int) -> Clip: ...
    @overload
    def __getitem__(self, row: slice) -> Clips: ...
    def __getitem__(self, row: int | slice) -> Clip | Clips:
        if isinstance(row, slice):
            return Clips(self.audio[row], self.sample_rate, self.records[row])
        return Clip(self.audio[row], self.sample_rate, self.records[row])

    def __iter__(self) -> Iterator[Clip]:
        return (self[row] for row in range(len(self)))

    def __repr__(self) -> str:
        _, channels, frames = self.audio.shape
        return f"Clips({len(self)} x {frames / self.sample_rate:.2f} s, {channels} ch, {self.sample_rate} Hz)"
