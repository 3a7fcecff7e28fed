"""What metrics are worth, measured on renders, whose attributes are known: Fréchet distances, LPAPS, ears, loudness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tada import concepts
from tada.audio import Clips
from tada.experiments.profiles import SEEDS
from tada.metrics import embedding, fad, lpaps, signals
from tada.metrics.clap import Clap
from tada.metrics.embedding import AudioTextModel
from tada.metrics.judges import class_of, class_probability
from tada.minis import probe
from tada.minis.attributes import CLASSES, Attributes, draw
from tada.minis.render import render_batch
from tada.minis.sounds import SAMPLE_RATE
from tada.models.base import Model
from tada.models.run import Sampling
from tada.stats import Values, bootstrap
from tada.steering import Arm, Trial, Vector, ranges
from tada.store import key

Ears = Mapping[str, AudioTextModel]
"""``clap`` and ``muq`` -> the audio-text model that stands for it."""


@dataclass(frozen=True, eq=False)
class Renders:
    """Rendered clips with their attributes.

    Attributes:
        labels: class of every attribute, a row a clip.
        audio: ``[clips, frames]`` at ``tada.minis.sounds.SAMPLE_RATE``.
    """

    seeds: range
    attributes: list[Attributes]
    labels: pd.DataFrame
    audio: Tensor


def make_renders(count: int) -> Renders:
    """Render clips with seeds that no recipe uses, every class of every attribute equally likely."""
    seeds = SEEDS["validity"][:count]
    attributes = [draw(seed) for seed in seeds]
    labels = pd.DataFrame([one.labels() for one in attributes])
    return Renders(seeds, attributes, labels, torch.from_numpy(render_batch(attributes, seeds)))


def model_clips(model: Model, texts: Sequence[str], seconds: float, sampling: Sampling, folder: str | Path) -> Clips:
    """Generate two clips of each text, each from a seed of its own; kept in a folder and found again.

    Returns:
        The first takes of all texts, then the second ones.
    """
    seeds = SEEDS["validity"][: 2 * len(texts)]
    about = {"texts": list(texts), "weights": model.fingerprint(), "sampling": str(sampling), "seconds": seconds}
    about |= {"first seed": seeds[0]}
    path = Path(folder) / f"{key(about)}.safetensors"
    if not path.is_file():
        parts = [
            model.generate([*texts, *texts][start : start + 8], seeds[start : start + 8], seconds, sampling)
            for start in range(0, len(seeds), 8)
        ]
        ranges.write_clips(Clips.join(parts), path)
    return ranges.read_clips(path)


def lpaps_row(ear: Clap, x: Tensor, y: Tensor, rate: int, change: str, source: str = "renders") -> dict[str, Any]:
    """Summarise LPAPS of clips ``[clips, frames]`` or ``[clips, channels, frames]`` and their partners.

    Returns:
        ``change`` (what sets the partners apart), ``clips`` (whose they are), ``n``, ``LPAPS`` (mean), ``lowest,
        highest``, and the mean in the ``authors' kind``.
    """
    one, other = (lpaps.embed(ear, part, rate) for part in (x, y))
    ours, theirs = (lpaps.distance(one, other, over).numpy() for over in ("channel", "token"))
    row = {"change": change, "clips": source, "n": len(ours), "LPAPS": ours.mean()}
    return row | {"lowest": ours.min(), "highest": ours.max(), "authors' kind": theirs.mean()}


def random_pushes(model: Model, trial: Trial, shares: Sequence[float], folder: str | Path) -> dict[float, Clips]:
    """Push a model's layers in random directions, so weakly that it cannot matter; clips are kept in the folder.

    Returns:
        Share of the length of what the layers put out -> clips, one of every prompt and seed; those of 0 are unpushed.
    """
    generator = torch.Generator().manual_seed(0)
    push = Vector({site: torch.randn(1, model.site_width(site), generator=generator) for site in model.sites}).unit()
    unit = ranges.lengths(model, push, trial, None)
    every = [0.0, *shares]
    made = ranges.clips(model, Arm("random", push, None), trial, [share * unit for share in every], folder)
    return {share: made[place :: len(every)] for place, share in enumerate(every)}


def hearing(renders: Renders, ears: Ears, embeddings: Mapping[str, Tensor], rng: np.random.Generator) -> pd.DataFrame:
    """Measure how well ears, by their embeddings of renders, and the probe tell clips with a concept from the others.

    Returns:
        ``concept, ear, area`` (under the ROC curve: 1 is perfect, 0.5 deaf), ``low, high`` (95 %), ``clips``.
    """
    chances = probe.load().probabilities(renders.audio, SAMPLE_RATE)
    rows = []
    for concept in concepts.TABLE_1:
        wanted, against = concepts.judged(concept).poles
        attribute, _ = class_of(wanted)
        positive = (renders.labels[attribute] == wanted).to_numpy()
        negative = (renders.labels[attribute] == against).to_numpy() if against else ~positive
        answers = {ears[name].name: _answers(ears, name, embeddings[name], concept) for name in ears}
        answers["probe"] = class_probability(chances, wanted)
        for name, values in answers.items():
            area = _roc_area(values[positive], values[negative], rng)
            rows.append((concept, name, *area, int((positive | negative).sum())))
    return pd.DataFrame(rows, columns=["concept", "ear", "area", "low", "high", "clips"])


def _answers(ears: Ears, name: str, clips: Tensor, concept: str) -> Values:
    """What an ear answers to a concept's query, a value a clip."""
    text = embedding.embed_text(ears[name], [concepts.judged(concept).query(name)])
    return embedding.similarity(clips, text).numpy()


def _roc_area(positive: Values, negative: Values, rng: np.random.Generator) -> tuple[float, float, float]:
    """Area under the ROC curve with a 95 % interval by bootstrap over clips."""
    drawn = [(rng.choice(positive, len(positive)), rng.choice(negative, len(negative))) for _ in range(200)]
    areas = [(np.sign(a[:, None] - b).mean() + 1) / 2 for a, b in [(positive, negative), *drawn]]
    return float(areas[0]), *bootstrap(np.array(areas), min(len(positive), len(negative)))


def recognition(renders: Renders) -> pd.DataFrame:
    """Share of renders whose class the probe reads right, by attribute, and of pulses within 4 %, up to octaves."""
    rows = [
        (name, float((chance.argmax(1).numpy() == renders.labels[name].map(list(CLASSES[name]).index)).mean()))
        for name, chance in probe.load().probabilities(renders.audio, SAMPLE_RATE).items()
    ]
    octaves = np.log2(signals.pulse(renders.audio.numpy()) / [one.tempo for one in renders.attributes])
    close = np.abs(octaves - np.round(octaves)) < np.log2(1.04)
    rows.append(("pulse within 4 %, by signal", float(close.mean())))
    return pd.DataFrame(rows, columns=["attribute", "right"])


def tempo_answers(renders: Renders, ears: Ears, tempi: Sequence[float], takes: int) -> pd.DataFrame:
    """What ears and the probe answer to *fast* for music whose tempo, in beats per minute, rises evenly.

    The mean of so many takes, with the seeds and genres of renders.

    Returns:
        A row a tempo (the index), a column an ear, and ``probe``.
    """
    genres = [one.genre for one in renders.attributes[:takes]]
    ladder = [Attributes(tempo=float(tempo), genre=genre) for tempo in tempi for genre in genres]
    audio = torch.from_numpy(render_batch(ladder, list(renders.seeds)[:takes] * len(tempi)))
    found = {
        one.name: _answers(ears, name, embedding.embed(one, audio, SAMPLE_RATE), "tempo") for name, one in ears.items()
    }
    found["probe"] = class_probability(probe.load().probabilities(audio, SAMPLE_RATE), "fast")
    means = {name: values.reshape(len(tempi), takes).mean(1) for name, values in found.items()}
    return pd.DataFrame(means, index=pd.Index(tempi, name="tempo"))


def evenness(answers: pd.DataFrame) -> pd.DataFrame:
    """How evenly answers rise: ``ear, rank correlation with tempo``, and ``largest step, share of the range``."""
    steps = answers.diff().abs().max() / (answers.max() - answers.min())
    ranks = answers.corrwith(answers.index.to_series(), method="spearman")
    columns = {"rank correlation with tempo": ranks, "largest step, share of the range": steps}
    return pd.DataFrame(columns).rename_axis("ear").reset_index()


def loudness_effects(
    renders: Renders, ears: Ears, embeddings: Mapping[str, Tensor], levels: Sequence[float]
) -> pd.DataFrame:
    """What metrics make of the same clips, only louder or softer, by ``levels`` in dB.

    Returns:
        ``gain, dB``, ``LPAPS``, ``FAD to other renders``, and for each ear the ``largest shift`` of a similarity over
        the concepts of Table 1, in units of its spread over renders. The last row, of gain 0, is unchanged clips.
    """
    count = min(len(renders.audio) // 2, 64)
    clips, others = renders.audio[:count], embeddings["clap"][count : 2 * count]
    rows = []
    for level in [*levels, 0.0]:
        changed = (clips * 10 ** (level / 20)).clamp(-1, 1)
        moved = {name: embedding.embed(one, changed, SAMPLE_RATE) for name, one in ears.items()}
        apart = lpaps_row(cast(Clap, ears["clap"]), changed, clips, SAMPLE_RATE, "gain")["LPAPS"]
        row = {"gain, dB": level, "LPAPS": apart}
        row["FAD to other renders"] = fad.distance(moved["clap"], others) if len(others) > 1 else np.nan
        for name, one in ears.items():
            shifts = []
            for concept in concepts.TABLE_1:
                plain = _answers(ears, name, embeddings[name], concept)
                shift = (_answers(ears, name, moved[name], concept) - plain[:count]).mean()
                shifts.append(float(shift / plain.std(ddof=1)))
            row[f"largest shift, {one.name}"] = max(shifts, key=abs)
        rows.append(row)
    return pd.DataFrame(rows)
