"""Attribute probes: a small network that hears a clip's attributes, trained on renders alone.

One trunk of convolutions over the log-mel spectrogram, one linear head per attribute. Its answers are probabilities,
per clip.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tada.errors import InputError, MissingFileError
from tada.minis import cards
from tada.minis.attributes import CLASSES
from tada.minis.mel import listenable, log_mel

WEIGHTS = cards.WEIGHTS / "probe"

TEST_SEED = 2_000_000_000
"""Clips for tests have seeds from here on; recipes never use them."""

WIDTHS = (16, 32, 48, 64)
FEATURES = 96


class Probe(nn.Module):
    """Convolutions that halve time and frequency four times, mean and spread over time, one head per attribute."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((1, *WIDTHS), WIDTHS, strict=False):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(after), nn.GELU()]
        layers += [
            nn.Conv2d(WIDTHS[-1], FEATURES, (4, 3), padding=(0, 1), bias=False),
            nn.BatchNorm2d(FEATURES),
            nn.GELU(),
        ]
        self.trunk = nn.Sequential(*layers)
        self.heads = nn.ModuleDict({name: nn.Linear(2 * FEATURES, len(classes)) for name, classes in CLASSES.items()})

    def forward(self, mel: Tensor) -> dict[str, Tensor]:
        """Logits ``[rows, classes]`` of each attribute, from log-mel ``[rows, 64, time]``, whatever a clip's gain."""
        level = (mel - mel.mean((1, 2), keepdim=True)) / 3
        hidden = self.trunk(level[:, None]).flatten(2)
        features = torch.cat([hidden.mean(2), hidden.std(2)], 1)
        return {name: head(features) for name, head in self.heads.items()}

    @torch.no_grad()
    def probabilities(self, audio: Tensor, sample_rate: int, batch: int = 64) -> dict[str, Tensor]:
        """Estimate the attributes of clips, which are at least a second long; ``batch``: rows at a time.

        Returns:
            Attribute -> ``[rows, classes]``, classes as in :data:`tada.minis.attributes.CLASSES`.
        """
        if audio.shape[-1] < sample_rate:
            raise InputError(f"got {audio.shape[-1] / sample_rate:.2f} s of audio; expected at least 1 s")
        parts = [self(log_mel(listenable(rows, sample_rate))) for rows in audio.split(batch)]
        return {name: torch.cat([part[name] for part in parts]).softmax(1) for name in CLASSES}

    def labels(self, audio: Tensor, sample_rate: int) -> pd.DataFrame:
        """Find the likeliest class of every attribute, one row per clip; arguments as for :meth:`probabilities`."""
        heard = self.probabilities(audio, sample_rate)
        return pd.DataFrame({name: [CLASSES[name][i] for i in heard[name].argmax(1)] for name in CLASSES})


def load(folder: str | Path = WEIGHTS) -> Probe:
    """Load the trained probe, in float32.

    Raises:
        FileNotFoundError: no weights there.
    """
    path = Path(folder) / "probe.safetensors"
    if not path.is_file():
        raise MissingFileError(f"no {path}: train it with python -m training probe, or name a folder that has one")
    probe = Probe()
    probe.load_state_dict(load_file(path))
    return probe.eval().requires_grad_(False)
