"""What a codec keeps of a clip: attributes as the probes read them, spectra, and what its latents are like."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from tada.minis.attributes import CLASSES, draw
from training.codecs.distance import mel, spectral
from tada.minis.mel import listenable
from tada.minis.probe import TEST_SEED, Probe
from tada.minis.render import render_batch
from tada.stats import proportion

FIRST = TEST_SEED + 100_000
"""Seed of the first clip; nothing was trained on these."""


def measure(
    encode: Callable[[Tensor], Tensor], decode: Callable[[Tensor], Tensor], rate: int, probe: Probe, clips: int = 512
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Judge a codec by clips it never saw.

    Args:
        encode: audio ``[rows, frames]`` at 16 kHz to latents, as the diffusion model has them.
        decode: latents to audio ``[rows, frames]`` or ``[rows, channels, frames]`` at ``rate``.
        rate: in Hz.
        probe: reads the attributes.
        clips: how many.

    Returns:
        Per attribute: accuracy after the codec, its 95 % interval, accuracy before, clips. And figures: distances of
        spectra, seconds to decode 16 clips, mean, least and greatest standard deviation over the latents' channels.
    """
    heard, truth, figures, latents = [], [], [], []
    for first in range(FIRST, FIRST + clips, 16):
        seeds = range(first, min(first + 16, FIRST + clips))
        audio = torch.from_numpy(render_batch([draw(seed) for seed in seeds], seeds))
        latents.append(encode(audio))
        began = time.perf_counter()
        sound = decode(latents[-1])
        seconds = (time.perf_counter() - began) * 16 / len(seeds)
        again = listenable(sound, rate)[:, : audio.shape[1]]
        heard.append(probe.labels(again, 16_000).assign(which="after"))
        heard.append(probe.labels(audio, 16_000).assign(which="before"))
        truth += [draw(seed).labels() for seed in seeds]
        figures.append({"mel": mel(again, audio).item(), "spectral": spectral(again, audio).item(), "seconds": seconds})
    summary = pd.DataFrame(figures).mean().to_dict() | _form(torch.cat(latents))
    return _compare(pd.concat(heard), pd.DataFrame(truth)), {str(name): value for name, value in summary.items()}


def _compare(heard: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    rows: dict[str, tuple[Any, ...]] = {}
    for name in CLASSES:
        right = {which: sum(part[name].to_numpy() == truth[name].to_numpy()) for which, part in heard.groupby("which")}
        total = len(truth)
        rows[name] = (right["after"] / total, *proportion(right["after"], total), right["before"] / total, total)
    return pd.DataFrame.from_dict(rows, orient="index", columns=["accuracy", "low", "high", "before", "clips"])


def _form(latents: Tensor) -> dict[str, float]:
    channels = latents.transpose(0, 1).flatten(1)
    std = channels.std(1)
    tails = ((channels - channels.mean(1, keepdim=True)) / std[:, None]).pow(4).mean()
    return {
        "latent_mean": channels.mean(1).abs().max().item(),
        "latent_std_low": std.min().item(),
        "latent_std_high": std.max().item(),
        "latent_kurtosis": tails.item(),
    }
