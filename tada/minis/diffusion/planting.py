"""What a denoiser computes in a step of planting: concepts reach chosen sites only, and each of these counts alike.

Every clip is seen in up to four rows, of the same noise and level:

- *heard*: both planted sites read the true caption;
- *first* and *second*: one of them does, the other reads a rival caption, of other concepts;
- *rival*: both read the rival one.

All other sites read of concepts drawn at random, in each row anew, and learn that concept words mean nothing. Were
there only rows that are *heard*, one planted site would do the work of both. The rows *first* and *second* have to come
out alike, and where nothing but noise is to be seen yet, halfway between *heard* and *rival*: so a concept that only
one site tells of is sung or not by chance, whichever site it is. Guidance sharpens the least leaning to one of them;
that is why the balance is learned by comparing rows, which no draw of clips disturbs.
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
from tada.minis.diffusion.captions import Told, reworded, told
from tada.minis.fit import Loss, coarse

BALANCE = 4.0
"""Weight of the balance between planted sites, against 1 of the error."""
NOISY = 0.9
"""Level above which a clip is as good as noise."""


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
        batch: rows in a step that are held against a clip: half of them *heard*, a quarter each *first* and *second*.
        sites: the two that are planted.
        seed: of the steps' draws.
    """

    def at(step: int) -> tuple[Tensor, dict[str, float]]:
        draws = torch.Generator().manual_seed(seed * 100_000_000 + step)
        rows = torch.randint(len(latents), (batch // 2,), generator=draws)
        x = latents[rows].float().to(model.device)
        noise = torch.randn(x.shape, generator=draws).to(model.device)
        level = course.levels(batch // 2, draws).to(model.device)
        again = repeated(batch)
        captions, fed = told_apart(course, model, [clips[row] for row in rows.tolist()], step, sites, again)
        with coarse(model.device), apart(course, model, fed):
            predicted, wanted = course.predict(model, x[again], noise[again], level[again], captions)
        return disagreement(predicted.float(), wanted, level[again])

    return at


def repeated(batch: int) -> Tensor:
    """Which clip each row is of: those *heard*, then the *first*, the *second*, the *rival* ones."""
    conflicts = torch.arange(batch // 4)
    return torch.cat([torch.arange(batch // 2), conflicts, conflicts, conflicts])


def disagreement(predicted: Tensor, wanted: Tensor, level: Tensor) -> tuple[Tensor, dict[str, float]]:
    """Error of the rows but the *rival* ones, and the imbalance of *first* and *second*.

    Args:
        predicted: rows as :func:`repeated` puts them, ``[5/4 batch, ...]``.
        wanted: the same, of the clips.
        level: noise, ``[5/4 batch]``.
    """
    quarter = len(level) // 5
    heard, _, first, second, rival = predicted.split(quarter)
    error = (predicted - wanted)[:-quarter].square().mean()
    lean = (first - second).square().mean()
    halfway = ((heard + rival) / 2).detach()
    noisy = (level[:quarter] > NOISY).float().mul(2).view(-1, *[1] * (heard.ndim - 1))
    off = (noisy * ((first + second) / 2 - halfway).square()).mean()
    figures = {"error": error.item(), "lean": lean.item(), "off": off.item()}
    return error + BALANCE * (lean + off), figures


def told_apart(
    course: ModuleType, model: Any, clips: Sequence[Attributes], step: int, sites: Sequence[int], again: Tensor
) -> tuple[Mapping[str, Any], list[Mapping[str, Any]]]:
    """What the denoiser is fed as a whole, and what each of its sites reads instead.

    Args:
        course: the architecture's module.
        model: whose sites they are.
        clips: of the rows that are *heard*.
        step: of which all draws come.
        sites: the two that are planted.
        again: from :func:`repeated`.
    """
    captions = told(clips, step)
    heard, count = captions.heard[again], len(again) // 5
    true, rival = captions.texts, reworded(clips, step)[:count]
    idle = reworded([clips[row] for row in again.tolist()], step, version=1)
    nothing = course.feeds(model, Told(idle, heard))
    fed = [nothing] * len(course.blocks(model))
    for site, texts in zip(sites, ([*true[:count], *rival], [*rival, *true[:count]]), strict=True):
        fed[site] = course.feeds(model, Told([*true, *texts, *rival], heard))
    return nothing, fed


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
