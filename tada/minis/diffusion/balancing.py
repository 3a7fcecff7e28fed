"""What a denoiser computes in a step of balancing: neither planted site is to outvote the other.

Planting leaves some concepts to one site, which wins wherever the two contradict each other. So a planted mini goes on
by learning from itself as it was. It is to predict what it did for the true caption, not only where both planted sites
read that one, but also where one of them reads a caption that lacks some concepts, or that tells other ones. Which of
the two is right, it cannot know; what is audible through the noise has to decide. Each of these clips comes twice, with
the sites exchanged. Half of the difference is the *lean*: where it is not zero, it matters which site says what.
Guidance multiplies a lean, so it counts more than other errors, and noise is strong: that is where clips are decided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from tada.minis.attributes import Attributes
from tada.minis.diffusion.captions import Told, lacking, mistaken, reworded, told
from tada.minis.diffusion.planting import apart
from tada.minis.fit import Loss, coarse
from tada.models.context import Stream

AGREED, LEAN = 2.0, 2.0
"""How much more errors count where both sites tell the truth, and leans, than where one of them is to be doubted."""
FLOOR = 0.2
"""Of a concept's part in a prediction, in units of the batch's mean: below it, errors are not taken for larger ones."""

Fed = Mapping[str, Stream | Tensor]


def lesson(
    course: ModuleType,
    model: Any,
    teacher: Any,
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
        teacher: the same planted mini, which stays as it is.
        latents: ``[clips, ...]``.
        clips: their attributes.
        batch: rows in a step, a multiple of eight; three in eight come twice.
        sites: the two that are planted.
        seed: of the steps' draws.
    """
    once, pairs = batch // 8 * 2, batch // 8 * 3

    def at(step: int) -> tuple[Tensor, dict[str, float]]:
        draws = torch.Generator().manual_seed(seed * 100_000_000 + step)
        rows = torch.randint(len(latents), (once + pairs,), generator=draws)
        x = latents[rows].float().to(model.device)
        noise = torch.randn(x.shape, generator=draws).to(model.device)
        level = levels(len(rows), draws).to(model.device)
        true, wrong, whole, fed = exchanged(course, model, [clips[row] for row in rows.tolist()], step, sites)
        twice = torch.tensor([*range(len(rows)), *range(once, len(rows))], device=model.device)
        with coarse(model.device):
            with torch.no_grad():
                wanted, other = (course.predict(teacher, x, noise, level, read)[0].float() for read in (true, wrong))
            with apart(course, model, fed):
                predicted, _ = course.predict(model, x[twice], noise[twice], level[twice], whole)
        return graded(predicted.float(), wanted, other, once)

    return at


def levels(rows: int, draws: torch.Generator) -> Tensor:
    """Noise levels ``[rows]`` to learn at, 0 to 1: mostly high ones, at which it is decided what a clip will be."""
    return 1 - torch.rand(rows, generator=draws) ** 3


def exchanged(
    course: ModuleType, model: Any, clips: Sequence[Attributes], step: int, sites: Sequence[int]
) -> tuple[Fed, Fed, Fed, list[Fed]]:
    """The true captions, those with a wrong concept, what the denoiser is fed, and what each site reads instead.

    Args:
        course: the architecture's module.
        model: whose sites they are.
        clips: of the rows, a multiple of five. Of the first two fifths both planted sites read the truth, of the next
            one of them reads less, and of the rest one of them reads a wrong concept. All but the first two fifths come
            again after them, with the planted sites exchanged.
        step: of which all draws come.
        sites: the two that are planted.
    """
    count, fifth = len(clips), len(clips) // 5
    once, captions = 2 * fifth, told(clips, step)
    texts = [captions.texts, mistaken(clips, step), lacking(clips, step), reworded(clips, step)]
    every = course.feeds(model, Told([text for each in texts for text in each], captions.heard.repeat(len(texts))))
    true, wrong, less, others = (list(range(start, start + count)) for start in range(0, len(texts) * count, count))
    doubted = [*less[once : once + fifth], *wrong[once + fifth :]]
    whole = rows_of(every, [*others, *others[once:]])
    fed = [whole] * len(course.blocks(model))
    fed[sites[0]] = rows_of(every, [*true, *doubted])
    fed[sites[1]] = rows_of(every, [*true[:once], *doubted, *true[once:]])
    return rows_of(every, true), rows_of(every, wrong), whole, fed


def rows_of(fed: Fed, index: Sequence[int]) -> Fed:
    """Some rows of what a denoiser is fed."""
    rows = torch.tensor(index)
    return {name: each.rows(rows) if isinstance(each, Stream) else each[rows] for name, each in fed.items()}


def graded(predicted: Tensor, wanted: Tensor, wrong: Tensor, once: int) -> tuple[Tensor, dict[str, float]]:
    """The loss of predictions, and its parts; 1 is the difference that a single concept makes.

    Args:
        predicted: all rows, then all but the first ``once`` again.
        wanted: the teacher's predictions.
        wrong: the teacher's with a concept that is wrong.
        once: rows that come once.
    """
    size = _mean(wanted - wrong)
    scale = (1 / (size + FLOOR * size.mean())).split([once, len(size) - once])
    agreed, one, other = predicted.split([once, *[len(wanted) - once] * 2])
    known, doubted = wanted.split([once, len(wanted) - once])
    errors = {
        "agreed": _mean(agreed - known) * scale[0],
        "doubted": _mean((one + other) / 2 - doubted) * scale[1],
        "lean": _mean(one - other) * scale[1],
    }
    means = {name: error.mean() for name, error in errors.items()}
    loss = AGREED * means["agreed"] + means["doubted"] + LEAN * means["lean"]
    return loss, {name: mean.item() for name, mean in means.items()}


def _mean(error: Tensor) -> Tensor:
    """Mean square of each row."""
    return error.square().flatten(1).mean(1)
