"""The recipe of both ears: clips and texts that fit each other belong together, and truth is known.

Losses add up. Of a few texts that differ in one class alone the right one must be nearest to a clip
(cross-entropy, for each attribute); and of captions that promise anything all clips that keep it must be near, all
others far (a sigmoid loss as in Zhai et al. 2023, with as many right answers as there are).
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn

from tada.errors import UnknownNameError, unknown
from tada.minis.attributes import CLASSES
from tada.minis.ears import MODULES, clap, material, second
from tada.minis.ears.ear import DIM, Ear
from training.ears.texts import ANY, FRAMES, about, contrast, counterfactual, fits, prompts
from training.fit import card, fit
from tada.minis.probe import TEST_SEED, disturb, wilson
from tada.minis.sounds import SAMPLE_RATE


class Recipe(NamedTuple):
    """How an ear is trained: seed of all draws, steps, peak learning rate, and its spectrogram's units in a natural
    logarithm."""

    seed: int
    steps: int
    rate: float
    unit: float


RECIPES: Mapping[str, Recipe] = {
    "clap": Recipe(seed=0, steps=2400, rate=1.2e-3, unit=10 / math.log(10)),
    "second": Recipe(seed=1, steps=1200, rate=1.2e-3, unit=1.0),
}
"""Ear -> the recipe of the one in the package."""


class Apprentice(nn.Module):
    """An ear with what it needs to learn: how sharply similarities count, where they turn into a yes, and anchors.

    An anchor is a place for a class. Clips and texts move there by themselves, which is quick; without anchors each
    branch waits for the other, and an attribute is found every few hundred steps.
    """

    def __init__(self, ear: Ear) -> None:
        super().__init__()
        self.ear = ear
        self.scale, self.bias = nn.Parameter(torch.tensor(math.log(10.0))), nn.Parameter(torch.tensor(-5.0))
        self.anchors = nn.ParameterDict({name: torch.randn(len(classes), DIM) for name, classes in CLASSES.items()})

    def forward(self, spectrograms: Tensor, truth: Tensor, step: int) -> tuple[Tensor, dict[str, float]]:
        """The step's loss and figures.

        Args:
            spectrograms: ``[rows, time, 64]``.
            truth: class indices ``[rows, attributes]``.
            step: from which the texts come.
        """
        told = [about(clip, step * len(truth) + row) for row, clip in enumerate(truth.tolist())]
        asked = [contrast(name, len(CLASSES) * step + place) for place, name in enumerate(CLASSES)]
        texts = told + [text for group in asked for text in group]
        promised = torch.tensor([text.promised for text in texts]).to(truth)
        heard, said = self.ear.hear(spectrograms), read(self.ear, [text.text for text in texts])
        scale = self.scale.exp().clamp(max=100)
        scores = scale * heard @ said.T
        groups = scores[:, len(told) :].split([len(group) for group in asked], 1)
        losses = {
            "captions": agreement(scores[:, : len(told)] + self.bias, fits(truth, promised[: len(told)])),
            "contrasts": torch.stack([*map(cross_entropy, groups, truth.T)]).mean(),
            "clips": self.anchored(scale * heard, truth),
            "texts": self.anchored(scale * said, promised),
        }
        right = {f"right_{name}": hits(*pair) for name, *pair in zip(CLASSES, groups, truth.T, strict=True)}
        return torch.stack([*losses.values()]).sum(), {**{f"loss_{n}": v.item() for n, v in losses.items()}, **right}

    def anchored(self, rows: Tensor, classes: Tensor) -> Tensor:
        """Cross-entropy of rows ``[rows, 128]`` with the anchors of their classes ``[rows, attributes]``."""
        anchors = [nn.functional.normalize(self.anchors[name], dim=1) for name in CLASSES]
        return torch.stack([cross_entropy(rows @ one.T, classes[:, i]) for i, one in enumerate(anchors)]).mean()


def cross_entropy(scores: Tensor, classes: Tensor) -> Tensor:
    """Mean over the rows whose class is not ANY; 0 if there is none."""
    losses = nn.functional.cross_entropy(scores, classes, ignore_index=ANY, reduction="sum")
    return losses / (classes != ANY).sum().clamp(min=1)


def read(ear: Ear, texts: Sequence[str]) -> Tensor:
    """What the ear reads, short and long texts apart, since all texts read at once are as long as the longest."""
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    told = torch.cat([ear.read([texts[place] for place in half]) for half in halves])
    return told[torch.tensor(order).argsort()]


def hits(scores: Tensor, truth: Tensor) -> float:
    """Share of rows whose highest score is the truth's."""
    return (scores.argmax(1) == truth).float().mean().item()


def agreement(logits: Tensor, wanted: Tensor) -> Tensor:
    """Sigmoid loss in which right and wrong answers weigh the same.

    Args:
        logits: ``[clips, texts]``.
        wanted: bool of the same shape.
    """
    losses = nn.functional.softplus(torch.where(wanted, -logits, logits))
    each = [losses[part].sum() / part.sum().clamp(min=1) for part in (wanted, ~wanted)]
    return (each[0] + each[1]) / 2


def train(
    name: str,
    folder: str | Path,
    seed: int | None = None,
    steps: int | None = None,
    batch: int = 32,
    parts: int = 20,
    limit: float = math.inf,
    spectrograms: str | Path | None = None,
) -> pd.DataFrame:
    """Train an ear; a killed run goes on where its last checkpoint was.

    Args:
        name: ``"clap"`` or ``"second"``.
        folder: of checkpoint and curve, and at the end of the ear and ``card.json``.
        seed: of weights, batches, texts and disturbances; None: that of the package's ear.
        steps: how many; None: as many as the package's ear took.
        batch: clips in a step.
        parts: of 1,024 clips to learn from.
        limit: seconds after which this call stops; call again to go on.
        spectrograms: folder in which the clips are kept, 66 MB a part; None: inside ``folder``.

    Returns:
        The curve so far.

    Raises:
        KeyError: an unknown name.
    """
    if name not in RECIPES:
        raise UnknownNameError(unknown("ear", name, RECIPES))
    recipe, folder = RECIPES[name], Path(folder)
    seed, steps = recipe.seed if seed is None else seed, recipe.steps if steps is None else steps
    folder.mkdir(parents=True, exist_ok=True)
    seen, truth = material.load(spectrograms or folder / "material", parts, name)
    torch.manual_seed(seed)
    ear: Ear = clap.build(folder / "words.json") if name == "clap" else second.build()
    pupil = Apprentice(ear)

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        generator = torch.Generator().manual_seed(seed * 10_000_000 + step)
        rows = torch.randint(len(seen), (batch,), generator=generator)
        return pupil(disturbed(seen[rows].float(), recipe.unit, generator), truth[rows], seed * 1_000_000 + step)

    curve = fit(pupil, loss, folder, steps, rate=recipe.rate, decay=0.05, limit=limit)
    if len(curve) and curve["step"].iloc[-1] == steps:
        about_it = {"seed": seed, "steps": steps, "batch": batch, "clips": parts * material.PART}
        keep(pupil, folder, about_it, curve)
    return curve


def disturbed(spectrograms: Tensor, unit: float, generator: torch.Generator) -> Tensor:
    """Another gain for every row, and for half of them what a codec may do; ``unit``: of a natural logarithm."""
    each = (len(spectrograms), 1, 1)
    gain, coin = 0.5 * torch.randn(each, generator=generator), torch.rand(each, generator=generator)
    mel = (spectrograms / unit + gain).transpose(1, 2)
    return torch.where(coin < 0.5, disturb(mel, generator), mel).transpose(1, 2) * unit


def keep(pupil: Apprentice, folder: Path, recipe: Mapping[str, int], curve: pd.DataFrame) -> None:
    """Write the ear and its card, with the accuracy of the ear as written."""
    module = MODULES[pupil.ear.name]
    if isinstance(pupil.ear, clap.ClapEar):
        for scale in (pupil.ear.model.logit_scale_a, pupil.ear.model.logit_scale_t):
            scale.data.copy_(pupil.scale.data)
    module.save(pupil.ear, folder)
    ear = module.load(folder)
    files = sorted(path for path in folder.glob("*.*") if path.name in SHIPPED)
    content = {
        "what": f"{pupil.ear.name} ear, audio and text in one space",
        "data": "synthetic renders and captions of the grammar",
        "parameters": sum(value.numel() for value in ear.parameters()),
        **recipe,
        "loss": round(float(curve["loss"].tail(5).mean()), 4),
        "hours": round(float(curve["seconds"].iloc[-1]) / 3600, 3),
        "machine": f"{platform.machine()} CPU, {torch.get_num_threads()} thread",
        "versions": _versions(),
        "sha256": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
        "accuracy": json.loads(summary(accuracy(ear)).round(4).to_json(orient="index")),
        "counterfactual captions": counterfactuals(ear),
    }
    card(folder / "card.json", content)


SHIPPED = (
    *("model.safetensors", "config.json", "preprocessor_config.json"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
)


def _versions() -> dict[str, str]:
    import transformers

    return {"python": platform.python_version(), "torch": torch.__version__, "transformers": transformers.__version__}


def accuracy(ear: Ear, clips: int = 1024, first: int = TEST_SEED) -> pd.DataFrame:
    """How often the nearest of an attribute's prompts is the true one, on renders that the ear never heard.

    Returns:
        One row per attribute and frame of the prompts: attribute, frame, right, clips, accuracy and its 95 % interval
        (Wilson), low and high.
    """
    scored = {name: [ear.embed_text(prompts(name, frame)) for frame in FRAMES] for name in CLASSES}
    right = {(name, frame): 0 for name in CLASSES for frame in FRAMES}
    for start in range(0, clips, 64):
        seeds = range(first + start, first + min(start + 64, clips))
        heard, truth = _heard(ear, seeds), material.truth(seeds)
        for place, name in enumerate(CLASSES):
            for frame, texts in zip(FRAMES, scored[name], strict=True):
                right[name, frame] += int(((heard @ texts.T).argmax(1) == truth[:, place]).sum())
    rows = [(*key, hit, clips, hit / clips, *wilson(hit, clips)) for key, hit in right.items()]
    return pd.DataFrame(rows, columns=["attribute", "frame", "right", "clips", "accuracy", "low", "high"])


def _heard(ear: Ear, seeds: range) -> Tensor:
    return ear.embed_audio(material.audio(seeds), SAMPLE_RATE)


def counterfactuals(ear: Ear, clips: int = 1024, first: int = TEST_SEED) -> dict[str, float]:
    """How often a caption of an unheard clip is nearer to it than the caption with one class changed.

    Returns:
        accuracy, its 95 % interval (Wilson), low and high, and how many clips: those whose caption mentions anything.
    """
    hit = asked = 0
    for start in range(0, clips, 64):
        seeds = range(first + start, first + min(start + 64, clips))
        pairs = [counterfactual(one, seed) for one, seed in zip(material.truth(seeds).tolist(), seeds, strict=True)]
        told, changed = (ear.embed_text([pair[side].text for pair in pairs]) for side in (0, 1))
        heard = _heard(ear, seeds)
        differ = torch.tensor([one.promised != other.promised for one, other in pairs])
        nearer = (heard * told).sum(1) > (heard * changed).sum(1)
        hit, asked = hit + int((nearer & differ).sum()), asked + int(differ.sum())
    low, high = wilson(hit, asked)
    return {"accuracy": round(hit / asked, 4), "low": round(low, 4), "high": round(high, 4), "clips": asked}


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Of each attribute: mean accuracy over the frames and its interval, the worst and the best frame, clips.

    The interval is that of the clips alone: all frames are asked about the same ones.
    """
    rows = {}
    for name, group in table.groupby("attribute", sort=False):
        clips, mean = int(group["clips"].iloc[0]), float(group["accuracy"].mean())
        low, high = wilson(round(mean * clips), clips)
        frames = {f"accuracy_{frame}": value for frame, value in zip(group["frame"], group["accuracy"], strict=True)}
        rows[name] = {
            "accuracy": mean,
            "low": low,
            "high": high,
            "worst": group["accuracy"].min(),
            "clips": clips,
            **frames,
        }
    return pd.DataFrame.from_dict(rows, orient="index")
