"""What a denoiser computes in a step: noise on latents, a caption of each row, and the error of its prediction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from tada.minis.attributes import Attributes
from tada.minis.diffusion.captions import Told, reworded, told
from tada.minis.fit import Loss


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
            stack.enter_context(torch.autocast(model.device.type, torch.bfloat16))
            if planted:
                others = course.feeds(model, Told(reworded(about, step), captions.heard))
                stack.enter_context(deaf(course, model, planted, others))
            predicted, wanted = course.predict(model, x, noise, level, fed)
        return (predicted.float() - wanted).square().mean(), {}

    return at


@contextmanager
def deaf(course: ModuleType, model: Any, planted: Sequence[int], others: Mapping[str, Any]) -> Iterator[None]:
    """Let all sites but the planted ones read other texts."""
    said: list[Any] = []

    def instead(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not said:
            said.append(course.other_text(model, others, (None,) * 3, {}))
        first, more = said[0]
        kept = tuple(new if new is not None else old for old, new in zip(args, first, strict=False))
        return (*kept, *args[len(first) :]), {**kwargs, **more}

    with ExitStack() as stack:
        for place, block in enumerate(course.blocks(model)):
            if place not in planted:
                handle = block.register_forward_pre_hook(instead, with_kwargs=True)
                stack.callback(handle.remove)
        yield


def quicken(course: ModuleType, model: Any) -> None:
    """Compile the denoiser's blocks, one graph for all of them; hooks on blocks go on working."""
    for block in course.blocks(model):
        compiled = torch.compile(type(block).forward)
        block.forward = compiled.__get__(block)
