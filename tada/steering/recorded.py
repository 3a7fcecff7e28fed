"""Patching of activations from a run of the positive prompt: what a vector is held against."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
import torch
from torch import Tensor

from tada.engine import Setting, Texts
from tada.hooks import edit, record
from tada.models.base import Layers, Model
from tada.models.context import Context
from tada.models.run import Latents
from tada.steering.arms import Way
from tada.steering.prompted import find_poles

How = Literal["outputs", "means"]


@contextmanager
def patch_outputs(
    model: Model, alpha: Tensor, contexts: tuple[Context, Context], noise: Latents, setting: Setting, layers: Layers
) -> Iterator[None]:
    """Move what sites put out towards what they put out under another prompt: ``h' = h + alpha (h_positive - h)``.

    Args:
        alpha: strength a row, ``[rows]``; 1 replaces.
        contexts: neutral and positive prompts; the second is sampled first, from the same noise.
        noise: of each row.
        setting: of the clips.
        layers: where.
    """
    with record(model, layers) as kept:
        model.sample(contexts[1], noise, setting.sampling)
    wanted = {site: outputs.unbind() for site, outputs in kept.items()}
    strength = alpha.to(model.device).view(-1, 1, 1)
    with edit(model, {s: lambda h, when: h + strength * (wanted[when.site][when.step] - h) for s in wanted}, "cond"):
        yield


@contextmanager
def shift_means(
    model: Model, alpha: Tensor, contexts: tuple[Context, Context], noise: Latents, setting: Setting, layers: Layers
) -> Iterator[None]:
    """Add the difference of frame means between two prompts, of each row its own: ``h' = h + alpha (m_pos - m)``.

    Arguments are those of :func:`patch_outputs`; both prompts are sampled first.
    """
    means: list[Mapping[str, Tensor]] = []
    for context in contexts:
        with record(model, layers, reduce="mean") as kept:
            model.sample(context, noise, setting.sampling)
        means.append(dict(kept))
    strength = alpha.to(model.device).view(1, -1, 1)
    moves = {site: (strength * (means[1][site] - means[0][site])).unbind() for site in means[0]}
    with edit(model, {s: lambda h, when: h + moves[when.site][when.step][:, None] for s in moves}, "cond"):
        yield


EQUATIONS = {"outputs": patch_outputs, "means": shift_means}


@dataclass(frozen=True, eq=False)
class RecordedArm(Way):
    """A way to steer by what the very same prompt and noise give with the concept.

    Attributes:
        method: ``"output patch"``, say.
        how: ``"outputs"`` (:func:`patch_outputs`) or ``"means"`` (:func:`shift_means`).
        poles: prompt that is steered -> the same asking for the positive and for the negative pole.
        setting: of the clips.
        layers: where.
        scale: raw strength at +100 and at -100 percent, both above 0; 1 replaces.
    """

    method: str
    how: How
    poles: Mapping[str, tuple[str, str]]
    setting: Setting
    layers: Layers = "functional"
    scale: tuple[float, float] = (1.0, 1.0)

    def describe(self, model: Model) -> dict[str, Any]:
        return {"sites": list(self.sites(model)), "recorded": self.how}

    def texts(self, prompt: str) -> dict[str, str]:
        return {"positive": find_poles(self.poles, prompt)[0]}

    @contextmanager
    def intervene(self, model: Model, rows: pd.DataFrame, texts: Texts) -> Iterator[None]:
        noise = model.noise([int(seed) for seed in rows["seed"]], self.setting.seconds)
        contexts = texts(rows["prompt"]), texts(rows["positive"])
        alpha = torch.tensor(rows["alpha"].tolist())
        with EQUATIONS[self.how](model, alpha, contexts, noise, self.setting, self.layers):
            yield
