"""What a denoiser computes in a step of planting: concepts reach two chosen sites only, and each can undo them.

Both planted sites read the true caption in a quarter of the rows. In another quarter one of them reads a caption that
lacks some concepts: what one tells and the other does not deny counts. In half of the rows they contradict each other:
each tells something else of some concepts, drawn at random, whatever the clip has, so that a concept which the two
disagree about might as well not have been mentioned. All other sites read of concepts drawn at random in every row, and
learn that concept words mean nothing. Were there no contradictions, one planted site would do the work of both.
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
from training.diffusion.captions import Told, contradicting, lacking, reworded, told
from training.diffusion.material import drawn
from training.fit import Loss, coarse


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
        rows, x, noise = drawn(latents, batch, draws, model.device)
        level = course.levels(batch, draws).to(model.device)
        whole, fed = told_apart(course, model, [clips[row] for row in rows.tolist()], step, sites)
        with coarse(model.device), apart(course, model, fed):
            predicted, wanted = course.predict(model, x, noise, level, whole)
        error = (predicted.float() - wanted).square().flatten(1).mean(1)
        told_, disputed = (half.mean().item() for half in error.tensor_split(2))
        return error.mean(), {"told": told_, "disputed": disputed}

    return at


def told_apart(
    course: ModuleType, model: Any, clips: Sequence[Attributes], step: int, sites: Sequence[int]
) -> tuple[Mapping[str, Any], list[Mapping[str, Any]]]:
    """What the denoiser is fed as a whole, and what each of its sites reads instead.

    Args:
        course: the architecture's module.
        model: whose sites they are.
        clips: of the rows, a multiple of eight; the planted sites agree in the first quarter, one of them says less in
            the eighth after it, the other in the next, and they contradict each other in the rest.
        step: of which all draws come.
        sites: the two that are planted.
    """
    captions, less, versions = told(clips, step), lacking(clips, step), contradicting(clips, step)
    true, eighth = captions.texts, len(clips) // 8
    whole = course.feeds(model, Told(reworded(clips, step), captions.heard))
    fed = [whole] * len(course.blocks(model))
    a, b, c = 2 * eighth, 3 * eighth, 4 * eighth
    one = [*true[:a], *less[a:b], *true[b:c], *versions[0][c:]]
    other = [*true[:b], *less[b:c], *versions[1][c:]]
    for site, texts in zip(sites, (one, other), strict=True):
        fed[site] = course.feeds(model, Told(texts, captions.heard))
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
