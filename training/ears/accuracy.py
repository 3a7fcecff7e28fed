"""How often an ear is right about renders that it never heard."""

from __future__ import annotations

import pandas as pd

from tada.minis.attributes import CLASSES
from tada.minis.ears.ear import Ear
from tada.minis.sounds import SAMPLE_RATE
from tada.stats import proportion
from training import material
from training.ears.texts import FRAMES, counterfactual, prompts


def accuracy(ear: Ear) -> pd.DataFrame:
    """Measure how often the nearest of an attribute's prompts is the true one.

    Returns:
        One row per attribute and frame of the prompts: attribute, frame, right, clips, accuracy and its 95 % interval
        (Wilson), low and high.
    """
    texts = {(name, frame): ear.embed_text(prompts(name, frame)) for name in CLASSES for frame in FRAMES}
    hits, clips = dict.fromkeys(texts, 0), material.TESTED
    for seeds in material.unheard():
        audio = ear.embed_audio(material.render(seeds), SAMPLE_RATE)
        classes = dict(zip(CLASSES, material.truth(seeds).T, strict=True))
        for key, rows in texts.items():
            hits[key] += int(((audio @ rows.T).argmax(1) == classes[key[0]]).sum())
    table = [(*key, hit, clips, hit / clips, *proportion(hit, clips)) for key, hit in hits.items()]
    return pd.DataFrame(table, columns=["attribute", "frame", "right", "clips", "accuracy", "low", "high"])


def counterfactuals(ear: Ear) -> dict[str, float]:
    """Measure how often a clip's caption is nearer to it than the caption with one class changed.

    Returns:
        accuracy, its 95 % interval (Wilson), low and high, and how many clips: those whose caption mentions anything.
    """
    hits: list[bool] = []
    for seeds in material.unheard():
        audio = ear.embed_audio(material.render(seeds), SAMPLE_RATE)
        pairs = [counterfactual(row, seed) for row, seed in zip(material.truth(seeds).tolist(), seeds, strict=True)]
        true, changed = (ear.embed_text([pair[side].text for pair in pairs]) for side in (0, 1))
        nearer = (audio * true).sum(1) > (audio * changed).sum(1)
        hits += [bool(near) for near, (a, b) in zip(nearer, pairs, strict=True) if a.promised != b.promised]
    low, high = proportion(sum(hits), len(hits))
    figures = {"accuracy": sum(hits) / len(hits), "low": low, "high": high}
    return {**{name: round(value, 4) for name, value in figures.items()}, "clips": len(hits)}


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
