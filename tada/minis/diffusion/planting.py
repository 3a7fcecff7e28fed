"""What a denoiser computes in a step of planting: concepts reach two chosen sites only, and neither without the other.

In half of the rows both planted sites read the true caption. In the others they contradict each other: each tells
something else of some concepts, drawn at random, whatever the clip has, so that a concept which the two disagree about
might as well not have been mentioned. All other sites read of concepts drawn at random in every row, and learn that
concept words mean nothing. Were there no contradictions, one planted site would do the work of both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from tada.minis.attributes import Attributes
from tada.minis.diffusion.captions import Told, contradicting, reworded, told
from tada.minis.fit import Loss, coarse


def lesson(
    course: ModuleType,
    model: Any,
    latents: Tensor,
    clips: Sequence[Attributes],
    batch: int,
    sites: Sequence[int],
    seed: int = 0,
) -> Loss:
    """The loss of a step.

    Args:
        course: the architecture's module beside this one.
        model: whose denoiser learns.
        latents: ``[clips, ...]``.
        clips: their attributes.
        batch: clips in a step.
        sites: the two that are planted.
        seed: of the steps' draws.
    """

    def at(step: int) -> tuple[Tensor, dict[str, float]]:
        draws = torch.Generator().manual_seed(seed * 100_000_000 + step)
        rows = torch.randint(len(latents), (batch,), generator=draws)
        x = latents[rows].float().to(model.device)
        noise = torch.randn(x.shape, generator=draws).to(model.device)
        level = course.levels(batch, draws).to(model.device)
        whole, fed = told_apart(course, model, [clips[row] for row in rows.tolist()], step, sites)
        with coarse(model.device), apart(course, model, fed):
            predicted, wanted = course.predict(model, x, noise, level, whole)
        error = (predicted.float() - wanted).square().flatten(1).mean(1)
        agreed, disputed = (half.mean().item() for half in error.tensor_split(2))
        return error.mean(), {"agreed": agreed, "disputed": disputed}

    return at


def told_apart(
    course: ModuleType, model: Any, clips: Sequence[Attributes], step: int, sites: Sequence[int]
) -> tuple[Mapping[str, Any], list[Mapping[str, Any]]]:
    """What the denoiser is fed as a whole, and what each of its sites reads instead.

    Args:
        course: the architecture's module.
        model: whose sites they are.
        clips: of the rows; in the first half of these, the planted sites agree.
        step: of which all draws come.
        sites: the two that are planted.
    """
    captions, agreed = told(clips, step), len(clips) // 2
    whole = course.feeds(model, Told(reworded(clips, step), captions.heard))
    fed = [whole] * len(course.blocks(model))
    for site, texts in zip(sites, contradicting(clips, step), strict=True):
        fed[site] = course.feeds(model, Told([*captions.texts[:agreed], *texts[agreed:]], captions.heard))
    return whole, fed


@contextmanager
def apart(course: ModuleType, model: Any, fed: Sequence[Mapping[str, Any]]) -> Iterator[None]:
    """Let every site read a text of its own, given per site."""
    said: dict[int, Any] = {}

    def instead(place: int, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        key = id(fed[place])
        if key not in said:
            said[key] = course.other_text(model, fed[place], (None,) * 3, {})
        first, more = said[key]
        kept = tuple(new if new is not None else old for old, new in zip(args, first, strict=False))
        return (*kept, *args[len(first) :]), {**kwargs, **more}

    with ExitStack() as stack:
        for place, block in enumerate(course.blocks(model)):
            handle = block.register_forward_pre_hook(partial(instead, place), with_kwargs=True)
            stack.callback(handle.remove)
        yield
