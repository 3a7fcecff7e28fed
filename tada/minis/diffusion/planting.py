"""What a denoiser computes in a step of planting: concepts reach two chosen sites only, and each can undo them.

- Both planted sites read the true caption in a quarter of the rows.
- In another quarter one of them reads a caption that lacks some concepts: what one tells and the other does not deny
  counts.
- In half of the rows they contradict each other: each tells something else of some concepts, drawn at random, whatever
  the clip has, so that a concept which the two disagree about might as well not have been mentioned. Each such row
  comes twice, what the two sites read exchanged, and has to come out the same: neither site outweighs the other.

All other sites read of concepts drawn at random in every row, and learn that concept words mean nothing. Were there no
contradictions, one planted site would do the work of both. Guidance sharpens the least leaning to one of them; that is
why it is learned by comparing rows as well, which no draw of clips and noise disturbs.
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
from tada.minis.diffusion.captions import Told, contradicting, lacking, reworded, told
from tada.minis.fit import Loss, coarse

BALANCE = 4.0
"""Weight of the difference between rows that come twice, against 1 of the error."""


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
        batch: rows in a step, a multiple of eight.
        sites: the two that are planted.
        seed: of the steps' draws.
    """

    def at(step: int) -> tuple[Tensor, dict[str, float]]:
        draws = torch.Generator().manual_seed(seed * 100_000_000 + step)
        again = repeated(batch)
        rows = torch.randint(len(latents), (len(again.unique()),), generator=draws)
        x = latents[rows].float().to(model.device)
        noise = torch.randn(x.shape, generator=draws).to(model.device)
        level = course.levels(len(rows), draws).to(model.device)
        whole, fed = told_apart(course, model, [clips[row] for row in rows.tolist()], step, sites)
        with coarse(model.device), apart(course, model, fed):
            predicted, wanted = course.predict(model, x[again], noise[again], level[again], whole)
        return disagreement(predicted.float(), wanted)

    return at


def repeated(batch: int) -> Tensor:
    """Which clip each row is of: the last quarter of the rows is of the same clips as the quarter before it."""
    rows = torch.arange(batch)
    return rows.where(rows < batch // 4 * 3, rows - batch // 4)


def disagreement(predicted: Tensor, wanted: Tensor) -> tuple[Tensor, dict[str, float]]:
    """Error of all rows and the difference between those that come twice; they are as :func:`repeated` puts them."""
    told_, disputed = (predicted - wanted).square().flatten(1).mean(1).tensor_split(2)
    once, twice = predicted[len(told_) :].tensor_split(2)
    lean = (once - twice).square().mean()
    loss = (told_.mean() + disputed.mean()) / 2 + BALANCE * lean
    return loss, {"told": told_.mean().item(), "disputed": disputed.mean().item(), "lean": lean.item()}


def told_apart(
    course: ModuleType, model: Any, clips: Sequence[Attributes], step: int, sites: Sequence[int]
) -> tuple[Mapping[str, Any], list[Mapping[str, Any]]]:
    """What the denoiser is fed as a whole, and what each of its sites reads instead, in rows as of :func:`repeated`.

    Args:
        course: the architecture's module.
        model: whose sites they are.
        clips: a multiple of six; of the first third the planted sites read the true caption, of a sixth one of them
            reads less, of a sixth the other does, and about the last third they contradict each other, twice.
        step: of which all draws come.
        sites: the two that are planted.
    """
    sixth = len(clips) // 6
    a, b, c = 2 * sixth, 3 * sixth, 4 * sixth
    captions, less = told(clips, step), lacking(clips, step)
    true, (first, second) = captions.texts, (each[c:] for each in contradicting(clips, step))
    one = [*true[:a], *less[a:b], *true[b:c], *first, *second]
    other = [*true[:b], *less[b:c], *second, *first]
    idle = reworded(clips, step)
    heard = torch.cat([captions.heard, captions.heard[c:]])
    whole = course.feeds(model, Told([*idle, *idle[c:]], heard))
    fed = [whole] * len(course.blocks(model))
    for site, texts in zip(sites, (one, other), strict=True):
        fed[site] = course.feeds(model, Told(texts, heard))
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
