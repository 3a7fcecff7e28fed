"""What a denoiser computes in a step: noise on latents, a caption of each row, and the error of its prediction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from tada.minis.attributes import Attributes
from tada.minis.diffusion.captions import Told, alone, reworded, told
from tada.minis.fit import Loss, coarse


def lesson(
    course: ModuleType,
    model: Any,
    latents: Tensor,
    clips: Sequence[Attributes],
    batch: int,
    planted: Sequence[int] = (),
    seed: int = 0,
) -> Loss:
    """The loss of a step.

    Args:
        course: the architecture's module beside this one.
        model: whose denoiser learns.
        latents: ``[clips, ...]``.
        clips: their attributes.
        batch: clips in a step.
        planted: sites that alone read true captions; none: all do.
        seed: of the steps' draws.
    """

    def at(step: int) -> tuple[Tensor, dict[str, float]]:
        draws = torch.Generator().manual_seed(seed * 100_000_000 + step)
        rows = torch.randint(len(latents), (batch,), generator=draws)
        x = latents[rows].float().to(model.device)
        noise = torch.randn(x.shape, generator=draws).to(model.device)
        level = course.levels(batch, draws).to(model.device)
        about = [clips[row] for row in rows.tolist()]
        captions = told(about, step)
        fed = course.feeds(model, captions)
        with ExitStack() as stack:
            stack.enter_context(coarse(model.device))
            if planted:
                stack.enter_context(apart(course, model, told_apart(course, model, captions, about, step, planted)))
            predicted, wanted = course.predict(model, x, noise, level, fed)
        return (predicted.float() - wanted).square().mean(), {}

    return at


def told_apart(
    course: ModuleType, model: Any, captions: Told, clips: Sequence[Attributes], step: int, planted: Sequence[int]
) -> list[Mapping[str, Any]]:
    """What each site reads when only the planted ones hear of concepts, and each of these has to do without the others.

    In half of the rows all planted sites read the true caption, in the others one of them does. So a concept comes to
    live in every planted site: had they read the same always, one of them would do the work of all.
    """
    other, one = reworded(clips, step), alone(len(clips), step, len(planted))
    nothing = course.feeds(model, Told(other, captions.heard))
    fed = [nothing] * len(course.blocks(model))
    for place, site in enumerate(planted):
        hears = [which in (-1, place) for which in one]
        texts = [true if ear else false for true, false, ear in zip(captions.texts, other, hears, strict=True)]
        fed[site] = course.feeds(model, Told(texts, captions.heard))
    return fed


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


def quicken(course: ModuleType, model: Any) -> None:
    """Compile the denoiser's blocks, one graph for all of them; hooks on blocks go on working."""
    for block in course.blocks(model):
        compiled = torch.compile(type(block).forward)
        block.forward = compiled.__get__(block)
