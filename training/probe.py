"""The recipe of the attribute probe: cross-entropy on renders, each seen once, and on some through the minis' codecs.

A probe that knew renders alone would miss what a codec leaves of them; one that knew a codec alone would hear it
instead of the music.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tada.io import atomic_write, sha256, write_json
from tada.minis.attributes import CLASSES, draw
from tada.minis.mel import log_mel
from tada.minis.probe import TEST_SEED, Probe, load
from tada.minis.render import render_batch
from tada.stats import proportion
from training.fit import Loss, describe, finished, fit

FIRST = 650_000_000
"""Seed of the first clip that goes through a codec."""
CODED = 1024
"""Clips that go through each codec."""
SHARE = 1 / 8
"""Of a step's clips, for each codec."""

Codec = Callable[[Tensor], Tensor]
"""Renders ``[rows, frames]`` at 16 kHz to what a codec makes of them."""


def train(
    folder: str | Path,
    codecs: Mapping[str, Codec],
    seed: int = 0,
    steps: int = 1000,
    batch: int = 48,
    limit: float = math.inf,
) -> pd.DataFrame:
    """Train a probe on renders, each seen once, and on some through codecs; a killed run goes on where it was.

    Args:
        folder: of checkpoint, curve and what the codecs made, and at the end of ``probe.safetensors`` (fp16) and
            ``card.json``.
        codecs: by name.
        seed: of weights, clips and augmentation.
        steps: how many.
        batch: clips in a step.
        limit: seconds after which this call stops; call again to go on.

    Returns:
        The curve so far.
    """
    torch.manual_seed(seed)
    probe = Probe()
    coded = [through(folder, name, codec) for name, codec in codecs.items()]
    curve = fit(probe, loss_fn(probe, coded, seed, batch), folder, steps, rate=3e-3, limit=limit)
    if finished(curve, steps):
        _write(probe, Path(folder), {"seed": seed, "steps": steps, "batch": batch}, curve)
    return curve


def through(folder: str | Path, name: str, codec: Codec) -> Tensor:
    """Load log-mels ``[CODED, 64, time]``, fp16, of clips that went through a codec; made where they are missing."""
    path = Path(folder) / "codecs" / f"{name}.safetensors"
    if not path.is_file():
        parts = [range(first, first + 16) for first in range(FIRST, FIRST + CODED, 16)]
        mels = torch.cat([log_mel(codec(_render(part))).half() for part in parts])
        atomic_write(path, lambda draft: save_file({"mel": mels}, draft))
    return load_file(path)["mel"]


def loss_fn(probe: Probe, coded: Sequence[Tensor], seed: int, batch: int) -> Loss:
    """The loss of a step: mean cross-entropy of the heads on the step's own clips.

    Args:
        probe: what learns.
        coded: log-mels of :func:`through`, one tensor a codec.
        seed: of the draws.
        batch: clips in a step.
    """
    each = round(SHARE * batch)

    def at(step: int) -> tuple[Tensor, dict[str, float]]:
        first = seed * 10_000_000 + step * batch
        draws = torch.Generator().manual_seed(first)
        seeds = [*range(first, first + batch - each * len(coded))]
        mels = [log_mel(_render(seeds))]
        for mel in coded:
            rows = torch.randint(len(mel), (each,), generator=draws)
            mels.append(mel[rows].float())
            seeds += (FIRST + rows).tolist()
        truth, logits = classes(seeds), probe(augment(torch.cat(mels), draws))
        losses = {name: nn.functional.cross_entropy(logits[name], truth[name]) for name in CLASSES}
        return torch.stack(list(losses.values())).mean(), {f"loss_{n}": value.item() for n, value in losses.items()}

    return at


def _render(seeds: Sequence[int]) -> Tensor:
    return torch.from_numpy(render_batch([draw(seed) for seed in seeds], seeds))


def classes(seeds: Sequence[int]) -> dict[str, Tensor]:
    """Class indices ``[rows]`` by attribute, of the clips that the seeds draw."""
    labels = [draw(seed).labels() for seed in seeds]
    return {name: torch.tensor([known.index(row[name]) for row in labels]) for name, known in CLASSES.items()}


def augment(mel: Tensor, generator: torch.Generator) -> Tensor:
    """Distort log-mels as a codec may: tilt and colour, a noise floor, a blur, a shift in time; each row its own."""
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


def _write(probe: Probe, folder: Path, recipe: Mapping[str, int], curve: pd.DataFrame) -> None:
    """Write the weights in fp16 and their card, with the accuracy of the weights as written."""
    tensors = {n: v.half() if v.is_floating_point() else v for n, v in probe.state_dict().items()}
    path = atomic_write(folder / "probe.safetensors", lambda draft: save_file(tensors, draft))
    content = {
        "what": "attribute probes on log-mel",
        "data": "synthetic renders, every clip seen once, and renders through the codecs of the minis",
        **recipe,
        **describe(curve),
        "sha256": {path.name: sha256(path)},
        "accuracy": accuracy(load(folder)).round(4).to_dict("index"),
    }
    write_json(folder / "card.json", content)


def accuracy(probe: Probe, clips: int = 1024) -> pd.DataFrame:
    """Measure a probe on renders it never saw: attribute -> accuracy, 95 % interval (Wilson), clips."""
    right: dict[str, list[Tensor]] = {name: [] for name in CLASSES}
    for first in range(0, clips, 64):
        seeds = range(TEST_SEED + first, TEST_SEED + min(first + 64, clips))
        truth = classes(seeds)
        with torch.no_grad():
            for name, logits in probe(log_mel(_render(seeds))).items():
                right[name].append(logits.argmax(1) == truth[name])
    hits = {name: int(torch.cat(parts).sum()) for name, parts in right.items()}
    rows = {name: (hit / clips, *proportion(hit, clips), clips) for name, hit in hits.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["accuracy", "low", "high", "clips"])
