"""A browser of an autoencoder's features: where each is most active, which concept it speaks for, what it does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import load, save
from torch import Tensor

from tada.audio import Clips
from tada.engine import Setting, Texts, generate
from tada.errors import InputError, UnknownNameError
from tada.hooks import record
from tada.io import atomic_write
from tada.metrics.judges import JudgeLike
from tada.models.base import Model
from tada.pairs import read
from tada.sae import model as saes
from tada.sae.model import SparseAutoencoder
from tada.steering.arms import Arm, Trial
from tada.steering.ranges import grid, read_clips, write_clips
from tada.steering.vector import Vector


@dataclass(frozen=True, eq=False)
class FeatureActivity:
    """Clips and how active features were in them.

    Attributes:
        clips: one per prompt and seed.
        features: which features, in the order of the second axis of ``activity``.
        activity: ``[clips, features, moments]``, the mean over denoising steps of the code's values; moments are equal
            parts of the clip, from its beginning.
    """

    clips: Clips
    features: tuple[int, ...]
    activity: Tensor

    def of(self, feature: int) -> Tensor:
        """Activity ``[clips, moments]`` of one feature; KeyError if it was not listened for."""
        if feature not in self.features:
            raise UnknownNameError(f"feature {feature} was not listened for; expected one of {list(self.features)}")
        return self.activity[:, self.features.index(feature)]


def listen(
    model: Model,
    sae: SparseAutoencoder,
    site: str,
    trial: Trial,
    features: Sequence[int],
    moments: int = 32,
    keep: str | Path | None = None,
) -> FeatureActivity:
    """Generate clips and note how active features are while they are made.

    Args:
        model: the model.
        sae: an autoencoder of the site.
        site: its name.
        trial: prompts, seeds and setting.
        features: which.
        moments: parts that a clip is divided into, at most as many as it has frames.
        keep: path, without suffix, under which all this was kept, or is; the caller sees to it that another
            autoencoder or trial has another path. None keeps nothing.

    Raises:
        ValueError: an autoencoder of another width, or features it does not have.
    """
    width = model.site_width(site)
    if sae.config.dim != width:
        raise InputError(f"got an autoencoder of width {sae.config.dim} for {site}, which has {width}")
    if not features or not 0 <= min(features) <= max(features) < sae.config.latents:
        raise InputError(f"got features {list(features)}; expected one or more of 0 to {sae.config.latents - 1}")
    if keep is not None and Path(f"{keep}.activity").is_file():
        activity = load(Path(f"{keep}.activity").read_bytes())["activity"]
        return FeatureActivity(read_clips(Path(f"{keep}.clips")), tuple(features), activity)
    made, active = zip(*_recorded(model, site, trial), strict=True)
    audio, records = torch.cat([part.audio for part in made]), [record for part in made for record in part.records]
    activity = torch.cat([_activity(sae, hidden, features, moments) for hidden in active])
    heard = FeatureActivity(Clips(audio, made[0].sample_rate, records), tuple(features), activity)
    if keep is not None:
        write_clips(heard.clips, Path(f"{keep}.clips"))
        atomic_write(f"{keep}.activity", save({"activity": activity.contiguous()}))
    return heard


def _recorded(model: Model, site: str, trial: Trial) -> Iterator[tuple[Clips, Tensor]]:
    """Clips of a trial, a batch at a time, with the site's outputs ``[steps, rows, time, bands, dim]``."""
    outputs: list[Tensor] = []

    @contextmanager
    def record_site(model: Model, rows: pd.DataFrame, texts: Texts) -> Iterator[None]:
        with record(model, [site]) as kept:
            yield
        outputs.append(kept[site])

    plan = pd.DataFrame(trial.rows, columns=["prompt", "seed"]).assign(chunk=0)
    for rows, clips in generate(model, plan, trial.setting, record_site):
        yield clips, in_time(model, outputs.pop()[:, : len(rows)], trial.setting.seconds)


def in_time(model: Model, hidden: Tensor, seconds: float) -> Tensor:
    """What a site puts out ``[steps, rows, tokens, dim]`` as ``[steps, rows, time, bands, dim]``.

    Transformers have a token per frame of sound, Stable Audio one more in front, which is left out; the U-Net has
    patches of time and pitch, time slower.
    """
    skip, time, bands = model.token_grid(hidden.shape[2], seconds)
    return hidden[:, :, skip:].unflatten(2, (time, bands))


def most_active(heard: FeatureActivity, feature: int, count: int = 3) -> pd.DataFrame:
    """The clips in which a feature is most active.

    Returns:
        ``clip`` (row), ``second`` (middle of the moment where it peaks), ``peak``, ``mean``; the highest peak first.
    """
    activity = heard.of(feature)
    peak, where = activity.max(dim=1)
    order = peak.argsort(descending=True, stable=True)[:count]
    length = heard.clips[0].seconds / activity.shape[1]
    return pd.DataFrame(
        {
            "clip": order.tolist(),
            "second": [(int(where[row]) + 0.5) * length for row in order],
            "peak": peak[order].tolist(),
            "mean": activity.mean(dim=1)[order].tolist(),
        }
    )


def score_table(
    sae: SparseAutoencoder, sides: Mapping[str, tuple[Tensor, Tensor]], kind: saes.Score = "tfidf"
) -> pd.DataFrame:
    """Every feature's score for every concept (eq. 6).

    Args:
        sae: the autoencoder.
        sides: concept -> activations with and without it, ``[tokens, dim]`` each.
        kind: as for ``tada.sae.scores``.

    Returns:
        A row a feature, a column a concept.
    """
    return pd.DataFrame({name: saes.scores(sae, *pair, kind=kind).cpu().numpy() for name, pair in sides.items()})


def top(table: pd.DataFrame, count: int = 3) -> pd.DataFrame:
    """The features with the highest scores of each concept: ``concept, place, feature, score, share``.

    ``share`` is the score over the sum of the feature's positive scores for all concepts: 1 for a feature of this
    concept alone.
    """
    rows = []
    total: Any = table.clip(lower=0).sum(axis=1)
    for name in table:
        best: Any = table[name].sort_values(ascending=False, kind="stable").head(count)
        for place, (feature, value) in enumerate(best.items()):
            rows.append((name, place, feature, float(value), float(max(value, 0) / total[feature] if value > 0 else 0)))
    return pd.DataFrame(rows, columns=["concept", "place", "feature", "score", "share"])


def effect(
    model: Model,
    sae: SparseAutoencoder,
    site: str,
    feature: int,
    alphas: Sequence[float],
    trial: Trial,
    judge: JudgeLike,
) -> pd.DataFrame:
    """Steer with one feature alone (eq. 8): rows as from ``tada.steering.ranges.grid``, with ``feature``."""
    arm = Arm("SAE", single(sae, site, feature, {"checkpoint": model.checkpoint}), None, renorm=False)
    return grid(model, arm, trial, alphas, judge).assign(feature=feature)


def single(sae: SparseAutoencoder, site: str, feature: int, info: Mapping[str, Any] | None = None) -> Vector:
    """The vector of one feature."""
    score = torch.zeros(sae.config.latents)
    score[feature] = 1.0
    return saes.vector(sae, site, score, 1, info)


# ---- parts


@torch.no_grad()
def _activity(sae: SparseAutoencoder, hidden: Tensor, features: Sequence[int], moments: int) -> Tensor:
    """``[steps, rows, time, bands, dim]`` to ``[rows, features, moments]``."""
    rows = []
    for row in hidden.transpose(0, 1).to(sae.W_dec.dtype):
        code = sae.encode(row.flatten(0, -2))
        values = torch.stack([(code.values * (code.indices == feature)).sum(dim=1) for feature in features])
        rows.append(values.view(len(features), *row.shape[:-1]).mean(dim=(1, 3)))
    activity = torch.stack(rows)
    return torch.nn.functional.adaptive_avg_pool1d(activity, min(moments, activity.shape[-1])).cpu()


def stream(
    model: Model,
    site: str,
    setting: Setting,
    tokens: int,
    held_out: int,
    seed: int,
    captions: Any = None,
) -> tuple[Iterator[Tensor], Tensor]:
    """Activations of one site for training, and others to measure on.

    Args:
        model: the model, sampled as the stream is read.
        site: name of the site.
        setting: of the clips.
        tokens: in a training step.
        held_out: clips of the second part, whose captions are not among the first's.
        seed: of noise and order.
        captions: as for ``tada.pairs.build``; None for the synthetic ones.

    Returns:
        Shuffled ``[tokens, dim]`` without end, and ``[any, dim]``.
    """
    texts = read(captions)["caption"].tolist()
    rest, texts = texts[:held_out], texts[held_out:]
    some = saes.activations(model, rest, seed + 1_000_000, setting, [site])
    runs = [next(some)[site] for _ in range(-(-held_out // setting.batch))]
    flow = saes.activations(model, texts, seed, setting, [site])
    buffer = max(2 * tokens, 4 * len(runs[0]))
    return (part[site] for part in saes.shuffle_buffer(flow, tokens, buffer, seed)), torch.cat(runs)
