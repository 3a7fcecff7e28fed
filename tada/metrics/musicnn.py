"""musicnn: the tags of a clip, by networks that others trained on recorded music (Pons and Serra 2019).

What: how likely each of fifty tags is, mean over windows of 3 s, as published. ``MTT`` learnt from 19,000 clips of
MagnaTagATune, ``MSD`` from 200,000 of the Million Song Dataset. Range 0 to 1, higher is likelier; rare tags stay low.
Conventions: 16 kHz mono, and the level matters; what a last window does not fill is left out, and clips shorter than a
window are repeated.

The weights are those of the published package, in 16 bits, under its licence (see the folder ``musicnn`` of the shipped
weights); ``training/musicnn.py`` converts them and holds the port against the published example.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tada.errors import check_name
from tada.metrics.audio import fill, prepare
from tada.minis.cards import WEIGHTS
from tada.minis.mel import mel_filters, power

FOLDER = WEIGHTS / "musicnn"
NAMES = ("MTT", "MSD")
RATE, WINDOW, HOP, BANDS = 16_000, 512, 256, 96
FRAMES = 187
"""Spectra in a window."""

TIMBRAL, TEMPORAL, CHANNELS, UNITS, TAGS = 204, 51, 64, 200, 50
"""Filters over time and pitch, filters over time alone, channels between the pooled layers, and units after them."""


class Tagger(nn.Module):
    """Convolutions over a whole spectrum or along one band, three over time, maximum and mean, two dense layers."""

    def __init__(self, tags: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.tags = tags
        width = 2 * TIMBRAL + 3 * TEMPORAL
        self.enter = nn.BatchNorm2d(1, eps=1e-3)
        timbral = [_layer(TIMBRAL, 7, int(part * BANDS)) for part in (0.4, 0.7)]
        self.front = nn.ModuleList(timbral + [_layer(TEMPORAL, frames, 1) for frames in (128, 64, 32)])
        self.middle = nn.ModuleList(_layer(CHANNELS, 7, size) for size in (width, CHANNELS, CHANNELS))
        pooled = 2 * (width + 3 * CHANNELS)
        self.leave = nn.Sequential(
            *(nn.BatchNorm1d(pooled, eps=1e-3), nn.Linear(pooled, UNITS), nn.ReLU()),
            *(nn.BatchNorm1d(UNITS, eps=1e-3), nn.Linear(UNITS, TAGS)),
        )

    def forward(self, spectra: Tensor) -> Tensor:
        """Log-odds ``[rows, 50]`` of log-mel spectra ``[rows, time, 96]``."""
        level = self.enter(spectra[:, None])
        parts = [torch.cat([layer(level).amax(3) for layer in self.front], 1)]
        for layer in self.middle:
            found = layer(parts[-1].transpose(1, 2)[:, None]).squeeze(3)
            parts.append(found + parts[-1] if len(parts) > 1 else found)
        features = torch.cat(parts, 1)
        return self.leave(torch.stack([features.amax(2), features.mean(2)], 2).flatten(1))

    @torch.no_grad()
    def probabilities(self, audio: Any, sample_rate: int) -> Tensor:
        """Tag clips, window by window (more at a time take longer): float32 ``[clips, 50]``, tags as in ``tags``.

        Audio, sample rate and errors are those of :func:`tada.metrics.audio.prepare`.
        """
        pieces = windows(log_mel(prepare(audio, sample_rate, RATE)))
        found = torch.cat([self(some).sigmoid() for some in pieces.flatten(0, 1).split(1)])
        return found.view(*pieces.shape[:2], TAGS).mean(1)


def _layer(channels: int, frames: int, bands: int) -> nn.Sequential:
    """A convolution that keeps the number of frames, and what follows it."""
    return nn.Sequential(
        nn.ZeroPad2d((0, 0, (frames - 1) // 2, frames // 2)),
        nn.Conv2d(1, channels, (frames, bands)),
        nn.ReLU(),
        nn.BatchNorm2d(channels, eps=1e-3),
    )


def log_mel(mono: Tensor) -> Tensor:
    """Compute compressed mel power spectra ``[clips, time, 96]`` of clips ``[clips, frames]`` at 16 kHz."""
    bank = mel_filters(WINDOW, BANDS, 0.0, RATE / 2)
    return (1 + 10_000 * power(mono, WINDOW, HOP).transpose(1, 2) @ bank).log10()


def windows(spectra: Tensor) -> Tensor:
    """Cut spectra ``[clips, time, 96]`` into ``[clips, windows, 187, 96]``, one after the other."""
    if spectra.shape[1] < FRAMES:
        flat = spectra.transpose(1, 2).flatten(0, 1)
        spectra = fill(flat, FRAMES, "repeat").unflatten(0, (-1, BANDS)).transpose(1, 2)
    count = spectra.shape[1] // FRAMES
    return spectra[:, : count * FRAMES].unflatten(1, (count, FRAMES))


@lru_cache
def read_tags(folder: str | Path = FOLDER) -> dict[str, list[str]]:
    """Read the fifty tags of each network, in the order of its outputs."""
    return json.loads((Path(folder) / "tags.json").read_text(encoding="utf-8"))


def find_tags(name: str) -> list[tuple[str, int]]:
    """Find network and place of tags that say a name alone, such as *female*, *female vocal* and *female vocalists*.

    ``"no voice"`` finds *no vocals*, too.
    """
    said = re.compile(rf"{name.removesuffix(' voice')}( (vocal|voice|vocalist)s?)?", re.IGNORECASE)
    return [(one, place) for one, tags in read_tags().items() for place, tag in enumerate(tags) if said.fullmatch(tag)]


@lru_cache
def load(name: str = "MTT", folder: str | Path = FOLDER) -> Tagger:
    """Load a network, ``"MTT"`` or ``"MSD"``, in float32; KeyError for another name."""
    check_name("network of musicnn", name, NAMES)
    tagger = Tagger(tuple(read_tags(folder)[name]))
    tagger.load_state_dict(load_file(Path(folder) / f"{name}.safetensors"))
    return tagger.eval().requires_grad_(False)
