"""The recipe of the attribute probe: cross-entropy on renders, each seen once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tada.io import atomic_write, sha256, write_json
from tada.minis.attributes import CLASSES, draw
from tada.minis.mel import log_mel
from tada.minis.probe import TEST_SEED, Probe, load
from tada.minis.render import render_batch
from tada.stats import proportion
from training.fit import Loss, describe, finished, fit


def train(
    folder: str | Path, seed: int = 0, steps: int = 1000, batch: int = 48, limit: float = math.inf
) -> pd.DataFrame:
    """Train a probe on renders, each seen once; a killed run goes on where its last checkpoint was.

    Args:
        folder: of checkpoint and curve, and at the end of ``probe.safetensors`` (fp16) and ``card.json``.
        seed: of weights, clips and augmentation.
        steps: how many.
        batch: clips in a step.
        limit: seconds after which this call stops; call again to go on.

    Returns:
        The curve so far.
    """
    torch.manual_seed(seed)
    probe = Probe()
    curve = fit(probe, loss_fn(probe, seed, batch), folder, steps, rate=3e-3, limit=limit)
    if finished(curve, steps):
        _write(probe, Path(folder), {"seed": seed, "steps": steps, "batch": batch}, curve)
    return curve


def loss_fn(probe: Probe, seed: int, batch: int) -> Loss:
    """The loss of a step: mean cross-entropy of the heads on the step's own clips."""

    def at(step: int) -> tuple[Tensor, dict[str, float]]:
        first = seed * 10_000_000 + step * batch
        mel, truth = examples(range(first, first + batch))
        logits = probe(augment(mel, torch.Generator().manual_seed(first)))
        losses = {name: nn.functional.cross_entropy(logits[name], truth[name]) for name in CLASSES}
        return torch.stack(list(losses.values())).mean(), {f"loss_{n}": value.item() for n, value in losses.items()}

    return at


def examples(seeds: Sequence[int]) -> tuple[Tensor, dict[str, Tensor]]:
    """Render the clips that the seeds draw: log-mel ``[rows, 64, time]``, and class indices ``[rows]`` by attribute."""
    drawn = [draw(seed) for seed in seeds]
    audio = torch.from_numpy(render_batch(drawn, seeds))
    labels = [attributes.labels() for attributes in drawn]
    truth = {name: torch.tensor([classes.index(row[name]) for row in labels]) for name, classes in CLASSES.items()}
    return log_mel(audio), truth


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
        "data": "synthetic renders, every clip seen once",
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
        mel, truth = examples(range(TEST_SEED + first, TEST_SEED + min(first + 64, clips)))
        with torch.no_grad():
            for name, logits in probe(mel).items():
                right[name].append(logits.argmax(1) == truth[name])
    hits = {name: int(torch.cat(parts).sum()) for name, parts in right.items()}
    rows = {name: (hit / clips, *proportion(hit, clips), clips) for name, hit in hits.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["accuracy", "low", "high", "clips"])
