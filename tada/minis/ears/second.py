"""The second ear: a conformer over the log-mel spectrogram beside a convolution over words, in MuQ-MuLan's place."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tada.errors import MissingFileError
from tada.minis.ears.ear import DIM, Ear
from tada.minis.mel import log_mel

WIDTH, BLOCKS, HEADS = 96, 3, 4
CHANNELS = 24
"""Channels of the two convolutions that halve time and frequency before the conformer."""

LONGEST = 192
"""Words of a text, the rest is cut off."""


class SecondEar(Ear):
    """A conformer (Gulati et al. 2020) for audio, attention pooling over words for text."""

    name = "second"
    frames = 65_536

    def __init__(self, words: Sequence[str], width: int = WIDTH, blocks: int = BLOCKS) -> None:
        super().__init__()
        self.words, self.width, self.blocks = tuple(words), width, blocks
        self.audio, self.text = AudioBranch(width, blocks), TextBranch(len(self.words) + 2, width)
        self._index = {word: place + 2 for place, word in enumerate(self.words)}

    def spectrogram(self, audio: Tensor) -> Tensor:
        return log_mel(audio).transpose(1, 2)

    def encode_audio(self, spectrograms: Tensor) -> Tensor:
        return nn.functional.normalize(self.audio(spectrograms), dim=-1)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        rows = [[self._index.get(word, UNKNOWN) for word in split(text)][:LONGEST] or [UNKNOWN] for text in texts]
        longest = max(map(len, rows))
        padded = torch.tensor([row + [PADDING] * (longest - len(row)) for row in rows])
        return nn.functional.normalize(self.text(padded.to(self.text.embedding.weight.device)), dim=-1)


PADDING, UNKNOWN = 0, 1


def split(text: str) -> list[str]:
    """The words of a text in lower case; hyphens part words, full stops and commas are words.

    >>> split("A drums-based track.")
    ['a', 'drums', 'based', 'track', '.']
    """
    return re.findall(r"[a-z0-9']+|[.,]", text.lower())


class AudioBranch(nn.Module):
    """Log-mel ``[rows, time, 64]`` -> ``[rows, 128]``, whatever a clip's gain."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.front = nn.Sequential(
            nn.Conv2d(1, CHANNELS, 3, 2, 1), nn.GELU(), nn.Conv2d(CHANNELS, CHANNELS, 3, 2, 1), nn.GELU()
        )
        self.enter = nn.Linear(16 * CHANNELS, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(blocks))
        self.leave = nn.Sequential(nn.Linear(2 * width, 2 * width), nn.GELU(), nn.Linear(2 * width, DIM))

    def forward(self, mel: Tensor) -> Tensor:
        level = (mel - mel.mean((1, 2), keepdim=True)) / 3
        hidden = self.enter(self.front(level[:, None]).transpose(1, 2).flatten(2))
        for block in self.blocks:
            hidden = block(hidden)
        return self.leave(torch.cat([hidden.mean(1), hidden.std(1)], 1))


class Block(nn.Module):
    """One conformer block, ``[rows, time, width]``: half a feed-forward, attention, convolution, half another."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.before, self.after = _forward(width), _forward(width)
        self.attention = Attention(width)
        self.convolution = Convolution(width)
        self.norm = nn.LayerNorm(width)

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = hidden + self.before(hidden) / 2
        hidden = hidden + self.attention(hidden)
        hidden = hidden + self.convolution(hidden)
        return self.norm(hidden + self.after(hidden) / 2)


def _forward(width: int) -> nn.Module:
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))


class Attention(nn.Module):
    """Self-attention; the convolutions around it tell places apart."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.enter, self.leave = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, hidden: Tensor) -> Tensor:
        parts = self.enter(self.norm(hidden)).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        return self.leave(nn.functional.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2))


class Convolution(nn.Module):
    """A gated convolution over 15 steps, each channel by itself."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.enter, self.leave = nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.along = nn.Conv1d(width, width, 15, padding=7, groups=width)

    def forward(self, hidden: Tensor) -> Tensor:
        gated = nn.functional.glu(self.enter(self.norm(hidden)), -1)
        return self.leave(nn.functional.silu(self.along(gated.transpose(1, 2)).transpose(1, 2)))


class TextBranch(nn.Module):
    """Word numbers ``[rows, words]`` -> ``[rows, 128]``: neighbours first, then four weighted means of all."""

    def __init__(self, words: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width, padding_idx=PADDING)
        nn.init.normal_(self.embedding.weight[1:], std=0.5)
        self.near = nn.Conv1d(width, width, 3, padding=1)
        self.weight = nn.Linear(width, HEADS)
        self.leave = nn.Sequential(nn.Linear(HEADS * width, 2 * width), nn.GELU(), nn.Linear(2 * width, DIM))

    def forward(self, numbers: Tensor) -> Tensor:
        words = self.embedding(numbers)
        words = words + nn.functional.gelu(self.near(words.transpose(1, 2)).transpose(1, 2))
        weights = self.weight(words).masked_fill((numbers == PADDING)[..., None], -torch.inf).softmax(1)
        return self.leave((weights.transpose(1, 2) @ words).flatten(1))


def load(folder: str | Path) -> SecondEar:
    """Load the ear of a folder, in float32; FileNotFoundError where there is none."""
    path = Path(folder) / "model.safetensors"
    if not path.is_file():
        raise MissingFileError(f"no {path}: train it with python -m training second")
    ear = SecondEar(**json.loads((Path(folder) / "config.json").read_text(encoding="utf-8")))
    ear.load_state_dict(load_file(path))
    return ear.eval().requires_grad_(False)
