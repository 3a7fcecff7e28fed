"""An autoencoder's features: scores for concepts, vectors, and a browser of what each is active in and does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
from safetensors.torch import load, save
from torch import Tensor

from tada.audio import Clips
from tada.engine import Texts, generate
from tada.errors import InputError, UnknownNameError, unknown
from tada.hooks import record
from tada.io import atomic_write
from tada.models.base import Model
from tada.sae.model import SparseAutoencoder
from tada.sae.streams import pieces
from tada.steering.arms import Arm, Trial
from tada.steering.ranges import read_clips, write_clips
from tada.steering.vector import Vector

Activity = Literal["topk", "relu"]
Score = Literal["tfidf", "difference", "cohen"]


@torch.no_grad()
def feature_moments(
    sae: SparseAutoencoder, hidden: Tensor | Iterable[Tensor], activity: Activity = "topk"
) -> tuple[Tensor, Tensor]:
    """Compute the mean and variance of every feature's activity.

    Args:
        hidden: activations ``[..., tokens, dim]``, or a stream of parts ``[tokens, dim]``, held one at a time.
        activity: ``"topk"``, the code as the paper writes, or ``"relu"``, all positive pre-activations, as the
            authors' code does.

    Returns:
        Two tensors ``[..., latents]``.
    """
    if activity not in ("topk", "relu"):
        raise InputError(unknown("activity", activity, ("topk", "relu")))
    if isinstance(hidden, Tensor) and hidden.dim() > 2:
        means, variances = zip(*(feature_moments(sae, part, activity) for part in hidden), strict=True)
        return torch.stack(means), torch.stack(variances)
    tokens, total, squares = 0, *torch.zeros(2, sae.config.latents, dtype=torch.float64)
    for part in pieces(hidden, sae.W_dec):
        active = sae.pre_activations(part).relu()
        if activity == "topk":
            values, places = active.topk(sae.config.k, dim=-1, sorted=False)
            active = torch.zeros_like(active).scatter_(1, places, values)
        tokens += len(part)
        total += active.sum(dim=0).cpu()
        squares += active.square().sum(dim=0).cpu()
    mean = total / tokens
    return mean.float(), (squares / tokens - mean.square()).clamp_min(0).float()


def scores(
    sae: SparseAutoencoder,
    positive: Tensor | Iterable[Tensor],
    negative: Tensor | Iterable[Tensor],
    kind: Score = "tfidf",
    activity: Activity = "topk",
    epsilon: float = 1e-6,
) -> Tensor:
    """Score how much each feature speaks for a concept (eq. 6).

    Args:
        positive: activations with the concept, ``[tokens, dim]`` or a stream of such parts, or
            ``[steps, tokens, dim]`` for a score per step.
        negative: activations without it, likewise.
        kind: ``"tfidf"`` (eq. 6), ``"difference"`` of means, or ``"cohen"``'s d.
        activity: ``"topk"`` as the paper writes, or ``"relu"`` as the authors' code does.
        epsilon: of equation 6.

    Returns:
        ``[latents]`` or ``[steps, latents]``, higher for features of the concept.
    """
    if kind not in ("tfidf", "difference", "cohen"):
        raise InputError(unknown("score", kind, ("tfidf", "difference", "cohen")))
    (with_, spread), (without, other) = (feature_moments(sae, hidden, activity) for hidden in (positive, negative))
    if kind == "tfidf":
        return with_ * torch.log(1 + 1 / (without + epsilon))
    difference = with_ - without
    return difference if kind == "difference" else difference / ((spread + other) / 2 + 1e-12).sqrt()


def vector(sae: SparseAutoencoder, site: str, score: Tensor, tau: int, info: Mapping[str, Any] | None = None) -> Vector:
    """Sum the directions of the ``tau`` features with the highest scores to a steering vector (eq. 7).

    Args:
        site: the site it was trained on.
        score: ``[latents]``, or ``[steps, latents]`` for features and a direction per step.
        info: where it comes from; ``checkpoint`` belongs in it.

    Returns:
        A vector for :meth:`tada.steering.Vector.apply`; equation 8 is ``renorm=False``.
    """
    if not 1 <= tau <= sae.config.latents:
        raise InputError(f"got tau={tau}; expected 1 to {sae.config.latents}")
    chosen = score.reshape(-1, sae.config.latents).topk(tau, dim=-1).indices
    direction = sae.W_dec.detach().float()[chosen].sum(dim=1).cpu()
    about = {"method": "sae", "features": chosen.tolist(), "tau": tau, "sites": [site], **(info or {})}
    return Vector({site: direction}, about)


# ---- the browser


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
    outputs: list[Tensor] = []

    def reduce(hidden: Tensor) -> Tensor:
        return _activity(sae, in_time(model, hidden, trial.setting.seconds), features, moments)

    @contextmanager
    def record_site(model: Model, rows: pd.DataFrame, texts: Texts) -> Iterator[None]:
        with record(model, [site], reduce) as kept:
            yield
        outputs.append(kept[site].mean(dim=0).cpu())

    plan = pd.DataFrame(trial.rows, columns=["prompt", "seed"]).assign(chunk=0)
    made = [(clips, outputs.pop()[: len(clips)]) for _, clips in generate(model, plan, trial.setting, record_site)]
    parts, active = zip(*made, strict=True)
    activity = torch.cat(active)
    heard = FeatureActivity(Clips.join(parts), tuple(features), activity)
    if keep is not None:
        write_clips(heard.clips, Path(f"{keep}.clips"))
        atomic_write(f"{keep}.activity", save({"activity": activity.contiguous()}))
    return heard


@torch.no_grad()
def _activity(sae: SparseAutoencoder, hidden: Tensor, features: Sequence[int], moments: int) -> Tensor:
    """``[rows, time, bands, dim]`` to ``[rows, features, moments]``."""
    code = sae.encode(hidden.flatten(0, -2).to(sae.W_dec))
    values = torch.stack([(code.values * (code.indices == feature)).sum(dim=1) for feature in features])
    activity = values.view(len(features), *hidden.shape[:-1]).mean(dim=-1).transpose(0, 1)
    return torch.nn.functional.adaptive_avg_pool1d(activity, min(moments, activity.shape[-1]))


def in_time(model: Model, hidden: Tensor, seconds: float) -> Tensor:
    """What a site puts out ``[..., tokens, dim]`` as ``[..., time, bands, dim]``.

    Transformers have a token per frame of sound, Stable Audio one more in front, which is left out; the U-Net has
    patches of time and pitch, time slower.
    """
    skip, time, bands = model.token_grid(hidden.shape[-2], seconds)
    return hidden[..., skip:, :].unflatten(-2, (time, bands))


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


def top(table: pd.DataFrame, count: int = 3) -> pd.DataFrame:
    """The features with the highest scores of each concept: ``concept, place, feature, score, share``.

    ``share`` is the score over the sum of the feature's positive scores for all concepts: 1 for a feature of this
    concept alone.
    """
    positive = table.clip(lower=0)
    share: Any = positive.div(positive.sum(axis=1), axis=0).fillna(0)
    rows = [
        (name, place, feature, table[name][feature], share[name][feature])
        for name in table
        for place, feature in enumerate(table[name].sort_values(ascending=False, kind="stable").index[:count])
    ]
    return pd.DataFrame(rows, columns=["concept", "place", "feature", "score", "share"])


def arm(sae: SparseAutoencoder, site: str, feature: int, checkpoint: str) -> Arm:
    """Make the arm that steers with one feature alone (eq. 8)."""
    return Arm("SAE", single(sae, site, feature, {"checkpoint": checkpoint}), None, renorm=False)


def single(sae: SparseAutoencoder, site: str, feature: int, info: Mapping[str, Any] | None = None) -> Vector:
    """The vector of one feature."""
    score = torch.zeros(sae.config.latents)
    score[feature] = 1.0
    return vector(sae, site, score, 1, info)
