"""Attribute probes: a small network that hears a clip's attributes, trained on renders alone.

One trunk of convolutions over the log-mel spectrogram, one linear head per attribute. Its answers are probabilities,
per clip.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from tada.errors import InputError, MissingFileError
from tada.minis.attributes import CLASSES, draw
from training.fit import card, fit
from tada.minis.mel import listenable, log_mel
from tada.minis.render import render_batch
from tada.stats import proportion

WEIGHTS = Path(__file__).parent / "weights" / "probe"

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
        """What each clip is.

        Args:
            audio: ``[rows, frames]`` or ``[rows, channels, frames]``, at least a second.
            sample_rate: in Hz.
            batch: rows at a time.

        Returns:
            Attribute -> ``[rows, classes]``, classes as in :data:`tada.minis.attributes.CLASSES`.
        """
        if audio.shape[-1] < sample_rate:
            raise InputError(f"got {audio.shape[-1] / sample_rate:.2f} s of audio; expected at least 1 s")
        parts = [self(log_mel(listenable(rows, sample_rate))) for rows in audio.split(batch)]
        return {name: torch.cat([part[name] for part in parts]).softmax(1) for name in CLASSES}

    def labels(self, audio: Tensor, sample_rate: int) -> pd.DataFrame:
        """The likeliest class of every attribute, one row per clip; arguments as for :meth:`probabilities`."""
        heard = self.probabilities(audio, sample_rate)
        return pd.DataFrame({name: [CLASSES[name][i] for i in heard[name].argmax(1)] for name in CLASSES})


@lru_cache
def load(folder: str | Path = WEIGHTS) -> Probe:
    """The trained probe, ready to listen, in float32.

    Raises:
        FileNotFoundError: no weights there.
    """
    path = Path(folder) / "probe.safetensors"
    if not path.is_file():
        raise MissingFileError(
            f"no {path}: train it with tada.minis.probe.train(folder), or name a folder that has one"
        )
    probe = Probe()
    probe.load_state_dict({name: _single(value) for name, value in load_file(path).items()})
    return probe.eval().requires_grad_(False)


def _single(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value


def train(
    folder: str | Path, seed: int = 0, steps: int = 1000, batch: int = 48, limit: float = math.inf
) -> pd.DataFrame:
    """Train a probe on renders, each seen once; a killed run goes on where its last checkpoint was.

    Args:
        folder: of checkpoint and curve, and at the end of ``probe.safetensors`` (fp16) and ``card.json``.
        seed: of weights, clips and augmentation.
        steps, batch: how many clips, and how many at a time.
        limit: seconds after which this call stops; call again to go on.

    Returns:
        The curve so far.
    """
    torch.manual_seed(seed)
    probe = Probe()
    curve = fit(probe, _loss(probe, seed, batch), folder, steps, rate=3e-3, limit=limit)
    if len(curve) and curve["step"].iloc[-1] == steps:
        _keep(probe.eval(), Path(folder), {"seed": seed, "steps": steps, "batch": batch}, curve)
    return curve


def _loss(probe: Probe, seed: int, batch: int) -> Callable[[int], tuple[Tensor, dict[str, float]]]:
    """Mean cross-entropy of the heads on a step's own clips."""

    def at(step: int) -> tuple[Tensor, dict[str, float]]:
        first = seed * 10_000_000 + step * batch
        mel, truth = examples(range(first, first + batch))
        logits = probe(disturb(mel, torch.Generator().manual_seed(first)))
        losses = {name: nn.functional.cross_entropy(logits[name], truth[name]) for name in CLASSES}
        return torch.stack(list(losses.values())).mean(), {f"loss_{n}": value.item() for n, value in losses.items()}

    return at


def examples(seeds: Sequence[int]) -> tuple[Tensor, dict[str, Tensor]]:
    """Log-mel ``[rows, 64, time]`` of the clips that the seeds draw, and each attribute's class indices ``[rows]``."""
    wanted = [draw(seed) for seed in seeds]
    audio = torch.from_numpy(render_batch(wanted, seeds))
    labels = [attributes.labels() for attributes in wanted]
    truth = {name: torch.tensor([classes.index(one[name]) for one in labels]) for name, classes in CLASSES.items()}
    return log_mel(audio), truth


def disturb(mel: Tensor, generator: torch.Generator) -> Tensor:
    """What a codec may do to a clip: tilt and colour, a noise floor, a blur, a shift in time; each row its own."""
    rows, bands, frames = mel.shape
    place = torch.linspace(-1, 1, bands)[None, :, None]
    tilt, bend, phase = (torch.randn(rows, 1, 1, generator=generator) for _ in range(3))
    coloured = mel + 0.6 * tilt * place + 0.4 * bend * torch.cos(3 * place + 3 * phase)
    floor = mel.mean((1, 2), keepdim=True) - 8 + 6 * torch.rand(rows, 1, 1, generator=generator)
    noisy = torch.logaddexp(coloured, floor + 0.5 * torch.randn(rows, bands, frames, generator=generator))
    blurred = nn.functional.avg_pool2d(noisy[:, None], 3, stride=1, padding=1, count_include_pad=False)[:, 0]
    mixed = noisy.lerp(blurred, torch.rand(rows, 1, 1, generator=generator))
    shifts = torch.randint(0, 40, (rows,), generator=generator).tolist()
    return torch.stack([row.roll(shift, 1) for row, shift in zip(mixed, shifts, strict=True)])


def _keep(probe: Probe, folder: Path, recipe: Mapping[str, int], curve: pd.DataFrame) -> None:
    """Write the weights in fp16 and their card, with the accuracy of the weights as written."""
    path = folder / "probe.safetensors"
    tensors = {n: v.half() if v.is_floating_point() else v for n, v in probe.state_dict().items()}
    partial = path.with_suffix(".partial")
    partial.write_bytes(save(tensors))
    partial.replace(path)
    probe.load_state_dict({name: _single(value) for name, value in tensors.items()})
    content = {
        "what": "attribute probes on log-mel",
        "data": "synthetic renders, every clip seen once",
        **recipe,
        "loss": round(float(curve["loss"].tail(5).mean()), 4),
        "hours": round(float(curve["seconds"].iloc[-1]) / 3600, 3),
        "machine": f"{platform.machine()} CPU, {torch.get_num_threads()} thread",
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "sha256": {path.name: hashlib.sha256(path.read_bytes()).hexdigest()},
        "accuracy": json.loads(accuracy(probe).round(4).to_json(orient="index")),
    }
    card(folder / "card.json", content)


def accuracy(probe: Probe, clips: int = 1024) -> pd.DataFrame:
    """How often the probe is right on renders it never saw: attribute -> accuracy, 95 % interval (Wilson), clips."""
    right = dict.fromkeys(CLASSES, 0)
    for first in range(0, clips, 64):
        seeds = range(TEST_SEED + first, TEST_SEED + min(first + 64, clips))
        mel, truth = examples(seeds)
        with torch.no_grad():
            for name, logits in probe(mel).items():
                right[name] += int((logits.argmax(1) == truth[name]).sum())
    rows = {name: (hits / clips, *proportion(hits, clips), clips) for name, hits in right.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["accuracy", "low", "high", "clips"])
