"""What an architecture provides, so that it speaks the protocol."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from tada.models.context import Conditioning, Context, Stream
from tada.models.run import Latents, Sampling, SamplingState


class Adapter(ABC):
    """What :class:`tada.models.base.Model` is made of, whose documentation names the attributes."""

    sings: ClassVar[bool] = False
    draws_tokens: ClassVar[bool] = False
    public_seconds: ClassVar[float] = 10.0
    presets: Mapping[str, Sampling]
    projections: ClassVar[Mapping[Literal["keys", "values"], str]] = {"keys": "to_k", "values": "to_v"}
    streams: Mapping[str, str]
    denoiser: nn.Module
    sample_rate: int
    dtype: torch.dtype
    half: ClassVar[torch.dtype] = torch.float16

    @classmethod
    @abstractmethod
    def find(cls, checkpoint: str) -> Path:
        """The folder of a checkpoint, whose files have been looked at."""

    @classmethod
    @abstractmethod
    def read(cls, folder: Path, dtype: torch.dtype) -> Any:
        """What the model is made of: the first argument of its constructor."""

    @abstractmethod
    def encode_one(self, prompt: str, negative: str | None, lyrics: str | None) -> Context:
        """Encode one prompt on its own, as a context of one row."""

    @abstractmethod
    def tokenizers(self, sampling: Sampling) -> Sequence[tuple[Any, int]]:
        """The tokenizers of the text encoders, each with the tokens of a prompt that are read under these settings."""

    @abstractmethod
    def noise_shape(self, seconds: float) -> tuple[int, ...]:
        """Shape of one row of latents for a clip of ``seconds``; ValueError where the model cannot make it."""

    def draw(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """One row of noise."""
        return torch.randn(shape, generator=generator).to(self.dtype)

    def settled(self, sampling: Sampling, seconds: float) -> Sampling:
        """The settings of a run whose clips are that long."""
        return sampling

    def conditioning(self, context: Context, seconds: float, sampling: Sampling) -> Conditioning:
        """Prepare what the denoiser reads of ``context``; the same for every step of a run."""
        return Conditioning(context.cond, context.uncond if sampling.is_guided else None)

    @abstractmethod
    def denoise_loop(self, noise: Latents, run: SamplingState) -> Iterator[Tensor]:
        """Yield the latents after each step, calling ``run.enter`` before each denoiser call."""

    @abstractmethod
    def site_inputs(self, stream: Stream) -> dict[str, Any]:
        """Keyword arguments by which a site is fed ``stream``."""

    def site_states(self, stream: Stream) -> Tensor:
        """What the key and value projections of a site fed ``stream`` read, ``[rows, tokens, dim]``."""
        return stream.states

    @abstractmethod
    def to_audio(self, latents: Latents) -> Tensor:
        """Audio ``[rows, channels, frames]`` of latents, at least as long as they say."""

    @abstractmethod
    def to_latents(self, audio: Tensor) -> Tensor:
        """Latents of mono audio ``[rows, 1, frames]`` at the model's rate, as the denoiser would give them."""

    def site_width(self, site: str) -> int:
        """Width of what a site adds to the hidden states."""
        output: Any = self.denoiser.get_submodule(f"{site}.to_out.0")
        return int(output.out_features)

    def token_grid(self, tokens: int, seconds: float) -> tuple[int, int, int]:
        """Place the tokens that a site puts out in the time and pitch of a clip.

        Returns:
            Tokens in front that stand for no sound; then moments in time and bands of pitch, time slower.
        """
        return 0, tokens, 1
