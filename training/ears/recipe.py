"""The recipes of both ears: clips and texts that fit each other belong together.

The CLAP-class ear knows the truth, and its losses add up: of a few texts that differ in one class alone the right one
must be nearest to a clip (cross-entropy, for each attribute); and of captions that promise anything all clips that keep
it must be near, all others far (a sigmoid loss as in Zhai et al. 2023, with as many right answers as there are).

The second ear is told no class. It hears other clips, distorted in another way, and is to find each one's caption
among the captions of a batch, and each caption's clip (Radford et al. 2021), as public ears learnt to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
import transformers
from torch import Tensor, nn

from tada.io import sha256, write_json
from tada.minis import ears
from tada.minis.attributes import CLASSES, of_labels
from tada.minis.captions import caption
from tada.minis.ears.ear import DIM, Ear
from training.ears import material
from training.ears.accuracy import accuracy, counterfactuals, summary
from training.ears.models import build, save
from training.ears.texts import ANY, about, contrast, fits
from training.fit import describe, finished, fit
from training.probe import augment


class EarTrainer(nn.Module):
    """An ear with what it learns with: how sharply similarities count, where they turn into a yes, and anchors.

    An anchor is a place for a class. Clips and texts move there by themselves, which is quick; without anchors each
    branch waits for the other, and an attribute is found every few hundred steps.
    """

    def __init__(self, ear: Ear) -> None:
        super().__init__()
        self.ear = ear
        self.scale, self.bias = nn.Parameter(torch.tensor(math.log(10.0))), nn.Parameter(torch.tensor(-5.0))
        self.anchors = nn.ParameterDict({name: torch.randn(len(classes), DIM) for name, classes in CLASSES.items()})

    def forward(self, spectrograms: Tensor, truth: Tensor, step: int) -> tuple[Tensor, dict[str, float]]:
        """Compute loss and figures of spectrograms ``[rows, time, 64]`` and their classes; texts come from the step."""
        captions = [about(clip, step * len(truth) + row) for row, clip in enumerate(truth.tolist())]
        contrasts = [contrast(name, len(CLASSES) * step + place) for place, name in enumerate(CLASSES)]
        texts = captions + [text for group in contrasts for text in group]
        promised = torch.tensor([text.promised for text in texts]).to(truth)
        clips, words = self.ear.encode_audio(spectrograms), embed_texts(self.ear, [text.text for text in texts])
        scale, count = self.scale.exp().clamp(max=100), len(captions)
        scores = scale * clips @ words.T
        groups = scores[:, count:].split([len(group) for group in contrasts], 1)
        losses = {
            "captions": agreement(scores[:, :count] + self.bias, fits(truth, promised[:count])),
            "contrasts": torch.stack([*map(cross_entropy, groups, truth.T)]).mean(),
            "clips": self.anchor_loss(scale * clips, truth),
            "texts": self.anchor_loss(scale * words, promised),
        }
        right = {f"right_{name}": hit_share(*pair) for name, *pair in zip(CLASSES, groups, truth.T, strict=True)}
        return torch.stack([*losses.values()]).sum(), {**{f"loss_{n}": v.item() for n, v in losses.items()}, **right}

    def anchor_loss(self, rows: Tensor, classes: Tensor) -> Tensor:
        """Cross-entropy of rows ``[rows, 128]`` with the anchors of their classes ``[rows, attributes]``."""
        anchors = [nn.functional.normalize(self.anchors[name], dim=1) for name in CLASSES]
        return torch.stack([cross_entropy(rows @ each.T, classes[:, i]) for i, each in enumerate(anchors)]).mean()


def cross_entropy(scores: Tensor, classes: Tensor) -> Tensor:
    """Mean over the rows whose class is not ANY; 0 if there is none."""
    losses = nn.functional.cross_entropy(scores, classes, ignore_index=ANY, reduction="sum")
    return losses / (classes != ANY).sum().clamp(min=1)


def embed_texts(ear: Ear, texts: Sequence[str]) -> Tensor:
    """Embed short and long texts apart, since texts are padded to the longest of their batch."""
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    rows = torch.cat([ear.encode_text([texts[place] for place in half]) for half in halves])
    return rows[torch.tensor(order).argsort()]


def hit_share(scores: Tensor, truth: Tensor) -> float:
    """Share of rows whose highest score is the truth's."""
    return (scores.argmax(1) == truth).float().mean().item()


def agreement(logits: Tensor, target: Tensor) -> Tensor:
    """Sigmoid loss of ``[clips, texts]`` in which right and wrong answers weigh the same."""
    losses = nn.functional.softplus(torch.where(target, -logits, logits))
    each = [losses[part].sum() / part.sum().clamp(min=1) for part in (target, ~target)]
    return (each[0] + each[1]) / 2


class CaptionTrainer(nn.Module):
    """An ear that learns from clips and their captions alone, and how sharply similarities count."""

    def __init__(self, ear: Ear) -> None:
        super().__init__()
        self.ear, self.scale = ear, nn.Parameter(torch.tensor(math.log(10.0)))

    def forward(self, spectrograms: Tensor, truth: Tensor, step: int) -> tuple[Tensor, dict[str, float]]:
        """Compute loss and figures, as :class:`EarTrainer` does."""
        drawn = [{n: c[index] for index, (n, c) in zip(row, CLASSES.items(), strict=True)} for row in truth.tolist()]
        texts = [caption(of_labels(labels), step * len(drawn) + row).text for row, labels in enumerate(drawn)]
        scores = self.ear.encode_audio(spectrograms) @ embed_texts(self.ear, texts).T
        scores, own = self.scale.exp().clamp(max=100) * scores, torch.arange(len(drawn))
        loss = (cross_entropy(scores, own) + cross_entropy(scores.T, own)) / 2
        return loss, {"right_caption": hit_share(scores, own)}


def augment_spectrograms(spectrograms: Tensor, unit: float, generator: torch.Generator) -> Tensor:
    """Change every row's gain, and distort half of the rows as a codec may; ``unit``: of a natural logarithm."""
    each = (len(spectrograms), 1, 1)
    gain, coin = 0.5 * torch.randn(each, generator=generator), torch.rand(each, generator=generator)
    mel = (spectrograms / unit + gain).transpose(1, 2)
    return torch.where(coin < 0.5, augment(mel, generator), mel).transpose(1, 2) * unit


def mask_spectrograms(spectrograms: Tensor, unit: float, generator: torch.Generator) -> Tensor:
    """Change every row's gain, and hide up to a fifth of its time and of its bands (Park et al. 2019)."""
    rows = len(spectrograms)
    heard = spectrograms + 0.5 * unit * torch.randn((rows, 1, 1), generator=generator)
    mean = heard.mean((1, 2), keepdim=True)
    for axis in (1, 2):
        place = torch.linspace(0, 1, heard.shape[axis])
        first, share = torch.rand((2, rows, 1), generator=generator)
        hidden = (place >= 0.8 * first) & (place < 0.8 * first + 0.2 * share)
        heard = torch.where(hidden.unsqueeze(3 - axis), mean, heard)
    return heard


class Recipe(NamedTuple):
    """How an ear is trained: what computes its loss and what distorts its clips, seed of all draws, steps, clips in a
    step, the first of its parts of clips, and its spectrogram's units in a natural logarithm."""

    trainer: Callable[[Ear], nn.Module]
    augment: Callable[[Tensor, float, torch.Generator], Tensor]
    seed: int
    steps: int
    batch: int
    first: int
    unit: float


PARTS = 20
"""Parts of clips that an ear learns from."""
RECIPES: Mapping[str, Recipe] = {
    "clap": Recipe(EarTrainer, augment_spectrograms, 0, steps=2400, batch=32, first=0, unit=10 / math.log(10)),
    "second": Recipe(CaptionTrainer, mask_spectrograms, 1, steps=8000, batch=64, first=PARTS, unit=1.0),
}
"""Ear -> the recipe of the one in the package."""
RATE, DECAY = 1.2e-3, 0.05
"""Peak learning rate and weight decay of both."""


def train(name: str, folder: Path, spectrograms: Path, limit: float = math.inf) -> pd.DataFrame:
    """Train an ear; a killed run goes on where its last checkpoint was.

    Args:
        name: ``"clap"`` or ``"second"``.
        folder: of checkpoint and curve, and at the end of the ear and ``card.json``.
        spectrograms: folder in which the clips are kept, 66 MB a part.
        limit: seconds after which this call stops; call again to go on.

    Returns:
        The curve so far.
    """
    recipe = RECIPES[name]
    folder.mkdir(parents=True, exist_ok=True)
    inputs, truth = material.load(spectrograms, range(recipe.first, recipe.first + PARTS), name)
    torch.manual_seed(recipe.seed)
    trainer = recipe.trainer(build(name, folder))

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        generator = torch.Generator().manual_seed(recipe.seed * 10_000_000 + step)
        rows = torch.randint(len(inputs), (recipe.batch,), generator=generator)
        heard = recipe.augment(inputs[rows].float(), recipe.unit, generator)
        return trainer(heard, truth[rows], recipe.seed * 1_000_000 + step)

    curve = fit(trainer, loss, folder, recipe.steps, rate=RATE, decay=DECAY, limit=limit)
    if finished(curve, recipe.steps):
        about_run = {"seed": recipe.seed, "steps": recipe.steps, "batch": recipe.batch, "clips": PARTS * material.PART}
        write(name, trainer, folder, {**about_run, **describe(curve)})
    return curve


def write(name: str, trainer: Any, folder: Path, about_run: Mapping[str, Any]) -> None:
    """Write the ear and its card, with the accuracy of the ear as written."""
    save(name, trainer.ear, folder, trainer.scale)
    ear = ears.load(name, folder)
    content = {
        "what": f"{name} ear, audio and text in one space",
        "data": "synthetic renders and captions of the grammar",
        "parameters": sum(value.numel() for value in ear.parameters()),
        **about_run,
        "sha256": {path.name: sha256(path) for path in sorted(folder.glob("*.*")) if path.name in SHIPPED},
        "accuracy": summary(accuracy(ear)).round(4).to_dict("index"),
        "counterfactual captions": counterfactuals(ear),
    }
    content["versions"]["transformers"] = transformers.__version__
    write_json(folder / "card.json", content)


SHIPPED = (
    *("model.safetensors", "config.json", "preprocessor_config.json"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
)
