"""How far judges agree: with what was asked for and with each other, on renders, codecs' clips and generated ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from tada.audio import Clips
from tada.experiments.minis import SECONDS, draw_with, judge_answers
from tada.metrics.audio import prepare
from tada.metrics.judges import ConceptJudge, EarJudge, EveryConcept, OutsideJudge, ProbeJudge, SignalJudge
from tada.minis.attributes import CLASSES, Attributes
from tada.minis.render import render_batch
from tada.minis.sounds import SAMPLE_RATE
from tada.models.base import Model
from tada.models.run import Latents
from tada.stats import proportion
from tada.store import UNIT, Store, key, load_or_make

ASKED = "asked for"
"""Stands for what a clip was asked to be; of renders it is what they are."""


def make_judges() -> dict[str, ConceptJudge]:
    """Make a judge of every kind: what was trained on renders first, then what was not."""
    every = [ProbeJudge(), EarJudge("clap", "mini"), EarJudge("muq", "mini"), SignalJudge(), OutsideJudge()]
    return {judge.metric: judge for judge in every}


def agreement(scores: pd.DataFrame, asked: pd.DataFrame, judges: Mapping[str, ConceptJudge]) -> pd.DataFrame:
    """Measure in how many clips judges name the same class.

    Args:
        scores: as from :func:`listen`, one a row of ``asked``.
        asked: ``attribute, wanted``, as from ``tada.experiments.minis.questions``: about equally many clips a class.
        judges: by their names.

    Returns:
        ``attribute, judge, against`` (:data:`ASKED` or another judge), the ``share`` of clips, its interval ``low,
        high``, how many ``clips`` both can speak of, and ``chance``, the share by guessing.
    """
    rows = []
    for attribute, part in asked.groupby("attribute", sort=False):
        heard = pd.DataFrame({ASKED: part["wanted"].tolist()})
        for name, judge in judges.items():
            own = {
                one: scores.loc[part.index, f"{name}: {one}"] for one in class_names(str(attribute)) if judge.knows(one)
            }
            named = name_classes(pd.DataFrame(own), part["wanted"], judge.absolute)
            if named:
                heard[name] = named
        for against, other in combinations(heard, 2):
            both = heard[[against, other]].dropna()
            same, count = (both[against] == both[other]).sum(), len(both)
            chance = 1 / heard.loc[heard[other].notna(), ASKED].nunique()
            rows.append((attribute, other, against, same / count, *proportion(same, count), count, chance))
    return pd.DataFrame(rows, columns=["attribute", "judge", "against", "share", "low", "high", "clips", "chance"])


def class_names(attribute: str) -> list[str]:
    """List the classes of an attribute, that of none as judges know it."""
    return [f"no {attribute}" if name == "none" else name for name in CLASSES[attribute]]


def name_classes(scores: pd.DataFrame, wanted: pd.Series, absolute: bool) -> list[str | None] | None:
    """Name the class of each clip by a judge's scores.

    A judge whose scores are not comparable chooses among the classes that it knows and that were asked for, after each
    class's scores were brought to mean 0 and spread 1 over the clips.

    Args:
        scores: a row a clip, a column a class that the judge knows.
        wanted: the class that each clip was asked for.
        absolute: whether scores of different classes can be compared.

    Returns:
        One name a clip, None where the judge does not know the class that was asked for; no list where it knows fewer
        than two classes.
    """
    known = [name for name in wanted.unique() if name in scores]
    if len(known) < 2:
        return None
    own, names = wanted.isin(known).to_numpy(), list(scores) if absolute else known
    values = scores.loc[own, names].to_numpy()
    if not absolute:
        values = (values - values.mean(0)) / np.maximum(values.std(0), 1e-9)
    found = np.full(len(wanted), None, object)
    found[own] = np.where(values.any(1), np.array(names, object)[values.argmax(1)], "neither")
    return found.tolist()


def compare(
    models: Mapping[str, Model], asked: pd.DataFrame, steps: Sequence[int | None], store: str | Path | None
) -> pd.DataFrame:
    """Measure :func:`agreement` on renders, on renders through each mini's codec, and on clips that it generates.

    Args:
        models: minis by their names.
        asked: as from ``tada.experiments.minis.questions``; renders are drawn by the same.
        steps: denoising steps of generated clips; None for a mini's own.
        store: folder where scores are kept.

    Returns:
        As from :func:`agreement`, with ``source``, whose clips they are.
    """
    judges, kept = make_judges(), None if store is None else Store(store)
    sources = {"renders": render_and_listen(None, asked, judges, kept)}
    for name, model in models.items():
        sources[f"renders, codec of {name}"] = render_and_listen(model, asked, judges, kept)
        for count in steps:
            found = generate_and_listen(model, asked, judges, count, kept)
            sources[f"{name}, {count or model.sampling(None).steps} steps"] = found
    parts = [agreement(scores, asked, judges).assign(source=source) for source, scores in sources.items()]
    return pd.concat(parts, ignore_index=True)


def listen(clips: Clips, asked: pd.DataFrame, judges: Mapping[str, ConceptJudge]) -> pd.DataFrame:
    """Score clips, one a row of ``asked``, for every class of the attribute that each was asked for.

    Returns:
        The index of ``asked``, and columns such as ``"probe: slow"``; NaN for classes of other attributes.
    """
    return _wide(_judge(clips, asked.assign(**{UNIT: asked.index}), judges)).loc[asked.index]


def _judge(clips: Clips, asked: pd.DataFrame, judges: Mapping[str, ConceptJudge]) -> pd.DataFrame:
    """Score clips as :func:`listen` does, ``asked`` with a unit for each: a row a unit and metric."""
    parts = []
    for attribute in asked["attribute"].unique():
        places = np.flatnonzero(asked["attribute"] == attribute).tolist()
        own, part = Clips(clips.audio[places], clips.sample_rate), asked.iloc[places]
        about = part[[UNIT, "prompt", "seed"]].assign(concept=attribute)
        found = EveryConcept(list(judges.values()), class_names(attribute))(own, part)
        parts += [about.assign(metric=metric, value=values) for metric, values in found.items()]
    return pd.concat(parts, ignore_index=True)


def _wide(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.pivot(index=UNIT, columns="metric", values="value")


def render_and_listen(
    model: Model | None, asked: pd.DataFrame, judges: Mapping[str, ConceptJudge], store: Store | None
) -> pd.DataFrame:
    """Render a clip for each row of ``asked``, let it pass a model's codec, if one is given, and score it as
    :func:`listen` does; scores are kept in the store."""
    about = {"model": "renderer", "method": "render"} if model is None else {"model": model.name, "method": "codec"}
    told = about | {"weights": model and model.fingerprint(), "judges": [judge.key for judge in judges.values()]}
    units = [key({**told, **{str(name): value for name, value in row.items()}}) for row in asked.to_dict("records")]

    def make(some: Collection[str]) -> pd.DataFrame:
        part = asked.assign(**{UNIT: units}).loc[[unit in some for unit in units]]
        clips = render_asked(part)
        return _judge(through_codec(model, clips) if model else clips, part, judges).assign(**about)

    return _wide(load_or_make(units, make, store)).loc[units].set_axis(asked.index)


def generate_and_listen(
    model: Model, asked: pd.DataFrame, judges: Mapping[str, ConceptJudge], steps: int | None, store: Store | None
) -> pd.DataFrame:
    """Generate a clip for each row of ``asked`` and score it as :func:`listen` does; scores are kept in the store."""
    parts = []
    for attribute, part in asked.groupby("attribute", sort=False):
        judge = EveryConcept(list(judges.values()), class_names(str(attribute)))
        found = judge_answers(model, part, judge, steps, store).groupby("metric", sort=False)["value"]
        parts.append(pd.DataFrame({metric: values.to_numpy() for metric, values in found}, index=part.index))
    return pd.concat(parts).loc[asked.index]


# ---- clips


def render_asked(asked: pd.DataFrame) -> Clips:
    """Render a clip for each row of ``attribute, wanted, prompt, seed``."""
    drawn = [draw_with(*row) for row in asked[["attribute", "wanted", "seed"]].itertuples(index=False)]
    return render(drawn, asked["seed"].tolist(), asked["prompt"].tolist())


def render(attributes: Sequence[Attributes], seeds: Sequence[int], texts: Sequence[str]) -> Clips:
    """Render clips, and say so in their records; ``texts`` are the captions that they go with."""
    about = {"model": "renderer", "checkpoint": "renders"}
    records = [{**about, "prompt": text, "seed": seed} for text, seed in zip(texts, seeds, strict=True)]
    return Clips(torch.from_numpy(render_batch(attributes, seeds))[:, None], SAMPLE_RATE, records)


def generate_asked(model: Model, asked: pd.DataFrame, steps: int | None = None, batch: int = 16) -> Clips:
    """Generate a clip for each row of ``prompt, seed``, in so many denoising steps; None for the model's own."""
    sampling = model.sampling(steps=steps)
    parts = [asked.iloc[start : start + batch] for start in range(0, len(asked), batch)]
    made = [model.generate(some["prompt"].tolist(), some["seed"].tolist(), SECONDS, sampling) for some in parts]
    return Clips.join(made)


@torch.no_grad()
def through_codec(model: Model, clips: Clips, batch: int = 16) -> Clips:
    """Encode renders by a mini's codec and decode them again: what a perfect denoiser would make of them."""
    seconds, made = clips[0].seconds, []
    for audio in prepare(clips.audio, clips.sample_rate, model.sample_rate)[:, None].split(batch):
        latents = Latents(model.to_latents(audio), tuple(range(len(audio))), seconds)
        made.append(model.to_audio(latents)[..., : round(seconds * model.sample_rate)])
    records = [{**record, "model": model.name, "checkpoint": f"{model.checkpoint}, codec"} for record in clips.records]
    return Clips(torch.cat(made), model.sample_rate, records)
