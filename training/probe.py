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
from safetensors.torch import save_file
from torch import Tensor, nn

from tada.io import atomic_write, sha256, write_json
from tada.minis.attributes import CLASSES
from tada.minis.mel import log_mel
from tada.minis.probe import Probe, load
from tada.stats import proportion
from training import material
from training.fit import Loss, describe, finished, fit

FIRST = 650_000_000
"""Seed of the first clip that goes through a codec."""
CODED = 1024
"""Clips that go through each codec."""
STEPS, BATCH, SHARE = 1000, 48, 1 / 8
"""Steps, clips in a step, and the share of them for each codec."""

Codec = Callable[[Tensor], Tensor]
"""Renders ``[rows, frames]`` at 16 kHz to what a codec makes of them."""


def train(folder: Path, codecs: Mapping[str, Codec], limit: float = math.inf) -> pd.DataFrame:
    """Train a probe on renders, each seen once, and on some through codecs; a killed run goes on where it was.

    Args:
        folder: of checkpoint, curve and what the codecs made, and at the end of ``probe.safetensors`` (fp16) and
            ``card.json``.
        codecs: what renders go through, by name.
        limit: seconds after which this call stops; call again to go on.

    Returns:
        The curve so far.
    """
    torch.manual_seed(0)
    probe = Probe()
    coded = [through(folder, name, codec) for name, codec in codecs.items()]
    curve = fit(probe, loss_fn(probe, coded), folder, STEPS, rate=3e-3, limit=limit)
    if finished(curve, STEPS):
        _write(probe, folder, curve)
    return curve


def through(folder: Path, name: str, codec: Codec) -> Tensor:
    """Load log-mels ``[CODED, 64, time]``, fp16, of clips that went through a codec; made where they are missing."""

    def make() -> dict[str, Tensor]:
        parts = [range(first, first + 16) for first in range(FIRST, FIRST + CODED, 16)]
        return {"mel": torch.cat([log_mel(codec(material.render(part))).half() for part in parts])}

    return material.kept(folder / "codecs" / f"{name}.safetensors", make)["mel"]


def loss_fn(probe: Probe, coded: Sequence[Tensor]) -> Loss:
    """The loss of a step: mean cross-entropy of the heads on the step's own clips, and on some of each codec's."""
    each = round(SHARE * BATCH)

    def at(step: int) -> tuple[Tensor, dict[str, float]]:
        first = step * BATCH
        draws = torch.Generator().manual_seed(first)
        seeds = [*range(first, first + BATCH - each * len(coded))]
        mels = [log_mel(material.render(seeds))]
        for mel in coded:
            rows = torch.randint(len(mel), (each,), generator=draws)
            mels.append(mel[rows].float())
            seeds += (FIRST + rows).tolist()
        logits = probe(augment(torch.cat(mels), draws))
        classes = dict(zip(CLASSES, material.truth(seeds).T, strict=True))
        losses = {name: nn.functional.cross_entropy(logits[name], classes[name]) for name in CLASSES}
        return torch.stack(list(losses.values())).mean(), {f"loss_{n}": value.item() for n, value in losses.items()}

    return at


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


def _write(probe: Probe, folder: Path, curve: pd.DataFrame) -> None:
    """Write the weights in fp16 and their card, with the accuracy of the weights as written."""
    tensors = {n: v.half() if v.is_floating_point() else v for n, v in probe.state_dict().items()}
    path = atomic_write(folder / "probe.safetensors", lambda draft: save_file(tensors, draft))
    content = {
        "what": "attribute probes on log-mel",
        "data": "synthetic renders, every clip seen once, and renders through the codecs of the minis",
        **{"seed": 0, "steps": STEPS, "batch": BATCH},
        **describe(curve),
        "sha256": {path.name: sha256(path)},
        "accuracy": accuracy(load(folder)).round(4).to_dict("index"),
    }
    write_json(folder / "card.json", content)


def accuracy(probe: Probe) -> pd.DataFrame:
    """Measure a probe on renders it never saw: attribute -> accuracy, 95 % interval (Wilson), clips."""
    hits, clips = dict.fromkeys(CLASSES, 0), material.TESTED
    for seeds in material.unheard():
        with torch.no_grad():
            logits = probe(log_mel(material.render(seeds)))
        for name, classes in zip(CLASSES, material.truth(seeds).T, strict=True):
            hits[name] += int((logits[name].argmax(1) == classes).sum())
    rows = {name: (hit / clips, *proportion(hit, clips), clips) for name, hit in hits.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["accuracy", "low", "high", "clips"])
