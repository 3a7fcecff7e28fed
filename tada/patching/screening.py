"""Rank layers before a sweep: one denoiser call at a few steps tells where the text has influence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from tada.arguments import Seeds, integer, integers, own_seeds
from tada.engine import Setting
from tada.errors import InputError
from tada.models.base import Layers, Model
from tada.models.context import Context, Stream
from tada.models.run import Latents, Sampling
from tada.patching.sweeps import Change, changed, checked_pairs, heard_pairs, resolve_sets


def screen(
    model: Model,
    pairs: pd.DataFrame,
    seeds: Seeds,
    layer_sets: Iterable[Layers] | None = None,
    setting: Setting = Setting(10.0),  # noqa: B008 (a frozen value)
    *,
    steps: int | Sequence[int] = 5,
) -> pd.DataFrame:
    """Rank layers cheaply: how far routing them moves the denoiser's prediction, at a few steps of plain generations.

    One generation of the counterfactual prompt a pair and seed, and one denoiser call a step with a row for every
    layer set. It says where the text has influence, not whether that influence can be heard: a ranking to choose what
    to sweep, no result.

    Args:
        pairs: ``concept, target, source`` and optionally ``pair``, as from ``tada.pairs.build``.
        seeds: one generation of every pair each; of the first pair, as for ``tada.patching.sweep``.
        layer_sets: indices, site names or names of layer sets; None for every layer by itself.
        steps: how many steps, evenly spread, or which.

    Returns:
        ``concept, pair, seed, step, layers, change``: ``|v_routed - v_base| / |v_target - v_base|`` of the prediction v
        of the conditional pass.
    """
    if model.residuals:
        raise InputError(f"got {model.name}, whose steps depend on all before; expected a diffusion model: use sweep")
    settings = model.sampling(setting.sampling)
    chosen = _spread(steps, settings.steps)
    sets = resolve_sets(model, layer_sets)
    rows: list[tuple[Any, ...]] = []
    pairs = heard_pairs(model, checked_pairs(pairs), settings)
    for pair, own in zip(pairs.itertuples(index=False), own_seeds(seeds, len(pairs)), strict=True):
        context = model.encode([str(pair.source), str(pair.target)], setting.negative, setting.lyrics)
        for seed in own:
            noise = model.noise(seed, setting.seconds)
            for step, call in _calls(model, context[0], noise, settings, chosen).items():
                changes = _prediction_changes(model, context, noise, settings, step, call, [*sets.values()])
                rows += [(pair.concept, pair.pair, seed, step, name, m) for name, m in zip(sets, changes, strict=True)]
    return pd.DataFrame(rows, columns=["concept", "pair", "seed", "step", "layers", "change"])


def rank(screened: pd.DataFrame) -> list[str]:
    """List the layer sets of :func:`screen`, the most influential first."""
    means = screened.groupby("layers")["change"].mean()
    return [str(name) for name in means.sort_values(ascending=False, kind="stable").index]


def _spread(steps: int | Sequence[int], total: int) -> list[int]:
    if np.iterable(steps):
        return sorted(set(integers("steps", steps, 0, total - 1)))
    count = min(integer("steps", steps, 1), total)
    return sorted({int(step) for step in np.linspace(0, total - 1, count).round()})


_Call = tuple[tuple[Any, ...], dict[str, Any]]
"""What the denoiser was called with in one conditional pass."""


def _calls(
    model: Model, context: Context, noise: Latents, sampling: Sampling, steps: Sequence[int]
) -> dict[int, _Call]:
    """Sample one row, keeping what the denoiser is called with at the wanted steps."""
    kept: dict[int, _Call] = {}

    def keep(_: nn.Module, positional: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        run = model.live.run
        if run is not None and run.step in steps and "cond" in run.passes and run.step not in kept:
            index, count = torch.tensor([run.passes.index("cond")]), len(run.passes)
            kept[run.step] = _rows(positional, index, count), _rows(keywords, index, count)

    with model.denoiser.register_forward_pre_hook(keep, with_kwargs=True):
        model.sample(context, noise, sampling)
    return kept


def _prediction_changes(
    model: Model, context: Context, noise: Latents, sampling: Sampling, step: int, call: _Call, sets: Sequence[Change]
) -> list[float]:
    """Relative change of the prediction for each change of layers, all in one denoiser call."""
    count = len(sets) + 2
    index = torch.zeros(count, dtype=torch.long)
    rows = [Change(()), Change(model.sites), *sets]
    base, target = context[[0] * count], context[[1] * count]
    running = model.running(base, noise[[0] * count], sampling)
    with torch.no_grad(), changed(model, rows, target, "cond"), running as run:
        run.enter(step, ("cond",))
        positional, keywords = (_rows(value, index, 1) for value in call)
        output = model.denoiser(*positional, **keywords)
    values = (output[0] if isinstance(output, tuple) else output).cpu().double().flatten(1)
    change = (values[1:] - values[0]).norm(dim=1)
    return (change[1:] / change[0]).tolist()


def _rows(value: Any, index: Tensor, count: int) -> Any:
    """Rows ``index`` of what has ``count`` rows, also in tuples and mappings; all else as it is."""
    if isinstance(value, tuple):
        return tuple(_rows(item, index, count) for item in value)
    if isinstance(value, dict):
        return {name: _rows(item, index, count) for name, item in value.items()}
    if isinstance(value, Stream):
        return value.rows(index.to(value.states.device))
    if isinstance(value, Tensor) and value.dim() and value.shape[0] == count:
        return value[index.to(value.device)]
    return value
