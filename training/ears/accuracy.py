"""How often an ear is right about renders that it never heard."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
import torch
from torch import Tensor

from tada.minis.attributes import CLASSES
from tada.minis.ears.ear import Ear
from tada.minis.probe import TEST_SEED
from tada.minis.sounds import SAMPLE_RATE
from tada.stats import proportion
from training.ears import material
from training.ears.texts import FRAMES, counterfactual, prompts


def accuracy(ear: Ear, clips: int = 1024) -> pd.DataFrame:
    """Measure how often the nearest of an attribute's prompts is the true one.

    Returns:
        One row per attribute and frame of the prompts: attribute, frame, right, clips, accuracy and its 95 % interval
        (Wilson), low and high.
    """
    texts = {(name, frame): ear.embed_text(prompts(name, frame)) for name in CLASSES for frame in FRAMES}
    right: dict[tuple[str, str], list[Tensor]] = {key: [] for key in texts}
    for seeds, audio in _batches(ear, clips):
        truth = dict(zip(CLASSES, material.truth(seeds).T, strict=True))
        for key, rows in texts.items():
            right[key].append((audio @ rows.T).argmax(1) == truth[key[0]])
    hits = {key: int(torch.cat(parts).sum()) for key, parts in right.items()}
    table = [(*key, hit, clips, hit / clips, *proportion(hit, clips)) for key, hit in hits.items()]
    return pd.DataFrame(table, columns=["attribute", "frame", "right", "clips", "accuracy", "low", "high"])


def _batches(ear: Ear, clips: int) -> Iterator[tuple[range, Tensor]]:
    """Seeds of test clips, and the embeddings of their renders."""
    for first in range(TEST_SEED, TEST_SEED + clips, 64):
        seeds = range(first, min(first + 64, TEST_SEED + clips))
        yield seeds, ear.embed_audio(material.audio(seeds), SAMPLE_RATE)


def counterfactuals(ear: Ear, clips: int = 1024) -> dict[str, float]:
    """Measure how often a clip's caption is nearer to it than the caption with one class changed.

    Returns:
        accuracy, its 95 % interval (Wilson), low and high, and how many clips: those whose caption mentions anything.
    """
    hits: list[bool] = []
    for seeds, audio in _batches(ear, clips):
        pairs = [counterfactual(row, seed) for row, seed in zip(material.truth(seeds).tolist(), seeds, strict=True)]
        true, changed = (ear.embed_text([pair[side].text for pair in pairs]) for side in (0, 1))
        nearer = (audio * true).sum(1) > (audio * changed).sum(1)
        hits += [bool(near) for near, (a, b) in zip(nearer, pairs, strict=True) if a.promised != b.promised]
    low, high = proportion(sum(hits), len(hits))
    return {
        "accuracy": round(sum(hits) / len(hits), 4),
        "low": round(low, 4),
        "high": round(high, 4),
        "clips": len(hits),
    }


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Summarise each attribute: mean accuracy over the frames and its interval, the worst and the best frame, clips.

    The interval is that of the clips alone: all frames are asked about the same ones.
    """
    rows = {}
    for name, group in table.groupby("attribute", sort=False):
        clips, mean = int(group["clips"].iloc[0]), float(group["accuracy"].mean())
        low, high = proportion(round(mean * clips), clips)
        frames = {f"accuracy_{frame}": value for frame, value in zip(group["frame"], group["accuracy"], strict=True)}
        worst = group["accuracy"].min()
        rows[name] = {"accuracy": mean, "low": low, "high": high, "worst": worst, "clips": clips, **frames}
    return pd.DataFrame.from_dict(rows, orient="index")
