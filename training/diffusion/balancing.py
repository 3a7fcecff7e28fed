"""What a denoiser computes in a step of balancing: neither of two planted sites is to outvote the other.

Planting leaves some concepts to one site, which wins wherever the two contradict each other. How much a prediction
follows the first site more than the second is its *lean*, and guidance multiplies it: a site that leans a little wins
every time. So a planted mini goes on by learning from itself as it was, which gives targets without noise. Where the
sites agree, it is to predict what it did. Where they contradict each other, it is to predict what lies halfway between
what it did when both told the truth and when both were wrong, whichever site tells the truth now. Only the blocks of
the two sites are changed.

Halfway is not yet a fair contest: of a happy and a sad prediction, all clips may become happy. A class that loses may
be favoured, whichever site tells it, and a site that wins may have to yield to the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tada.minis.attributes import Attributes
from training.diffusion.captions import Mistake, Told, mistaken, reworded, told
from training.diffusion.material import drawn, repeated
from training.diffusion.planting import apart
from training.fit import Loss, coarse
from tada.models.context import Stream

AGREED, LEAN = 4.0, 4.0
"""How much more than what is missed counts errors where both sites tell the truth, and a lean."""
FLOOR = 0.1
"""Of a concept's part in a prediction, in units of the batch's mean: below it, errors are not taken for larger ones."""

Fed = Mapping[str, Stream | Tensor]


class Wanted(NamedTuple):
    """Of a concept where sites contradict each other ``[rows]``: how much of the truth is to be predicted, whichever
    site tells it (a half: as much as of what is wrong), and how much less where the first tells it than the second.
    """

    share: Tensor
    yielded: Tensor


class Blocks(nn.Module):
    """A denoiser of which some blocks alone have parameters to learn."""

    def __init__(self, blocks: Sequence[nn.Module], denoiser: nn.Module, places: Sequence[int]) -> None:
        super().__init__()
        self.denoiser = denoiser.requires_grad_(False)
        self._learning = [blocks[place].requires_grad_(True) for place in places]

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """Those of the blocks."""
        return (value for block in self._learning for value in block.parameters())


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
        course: the architecture's module beside this one. Concepts that are ``ONE_SIDED`` there are disputed most;
            clips of classes that are ``DISPUTED`` are drawn so many times as often, and a class that has ``RIVALS``
            is disputed with these wherever it is promised. Classes that are ``FAVOURED`` weigh so much more than
            others, and of those that are ``YIELDING`` the first site has so much less than the second.
        model: whose denoiser learns.
        teacher: the same planted mini, which stays as it is.
        latents: ``[clips, ...]``.
        clips: their attributes.
        batch: clips in a step, an even number: about the first half of them the sites disagree.
        sites: the two that are planted.
        seed: of the steps' draws.
    """
    latents, clips = repeated(latents, clips, course.DISPUTED)
    half = batch // 2
    disputed, agreed, every = range(half), range(half, batch), range(batch)

    def at(step: int) -> tuple[Tensor, dict[str, float]]:
        draws = torch.Generator().manual_seed(seed * 100_000_000 + step)
        rows, x, noise = drawn(latents, batch, draws, model.device)
        level = torch.cat([levels(half, draws), course.levels(batch - half, draws)]).to(model.device)
        true, wrong, other, wanted = texts(course, model, [clips[row] for row in rows.tolist()], step)

        def said(who: Any, *ways: tuple[Fed, Fed, Sequence[int]]) -> list[Tensor]:
            """What a model predicts where the first site reads one text and the second another, of some rows."""
            index = torch.tensor([row for _, _, part in ways for row in part], device=model.device)
            whole = joined([some(other, part) for _, _, part in ways])
            fed = [whole] * len(course.blocks(who))
            fed[sites[0]] = joined([some(first, part) for first, _, part in ways])
            fed[sites[1]] = joined([some(second, part) for _, second, part in ways])
            with coarse(model.device), apart(course, who, fed):
                predicted, _ = course.predict(who, x[index], noise[index], level[index], whole)
            return list(predicted.float().split([len(part) for _, _, part in ways]))

        with torch.no_grad():
            before = said(teacher, (true, true, every), (wrong, wrong, disputed))
        predicted = said(model, (true, wrong, disputed), (wrong, true, disputed), (true, true, agreed))
        return graded(predicted, before, Wanted(*(each[:half].to(model.device) for each in wanted)))

    return at


def texts(course: ModuleType, model: Any, clips: Sequence[Attributes], step: int) -> tuple[Fed, Fed, Fed, Wanted]:
    """The true captions of a step's clips, those with a wrong concept, and random ones, as the denoiser is fed them.

    In the second half some rows are told nothing, as in training: guidance needs to know what that sounds like. With
    them comes what is wanted of each row.
    """
    captions, half = told(clips, step), len(clips) // 2
    heard = captions.heard | (torch.arange(len(clips)) < half)
    wrong = mistaken(clips, step, course.ONE_SIDED, course.RIVALS)
    every = [*captions.texts, *(each.text for each in wrong), *reworded(clips, step)]
    fed = course.feeds(model, Told(every, heard.repeat(3)))
    first, second, third = (some(fed, range(start, start + len(clips))) for start in range(0, len(every), len(clips)))
    return first, second, third, sought(course, wrong)


def sought(course: ModuleType, wrong: Sequence[Mistake]) -> Wanted:
    """What is wanted where sites contradict each other about classes of the course's."""
    favour, yields = course.FAVOURED, course.YIELDING
    share = [0.5 + favour.get(each.right, 0.0) - favour.get(each.wrong, 0.0) for each in wrong]
    return Wanted(torch.tensor(share), torch.tensor([yields.get(each.right, 0.0) for each in wrong]))


def levels(rows: int, draws: torch.Generator) -> Tensor:
    """Noise levels ``[rows]`` to learn at: high ones (0.7 to 1), at which it is decided what a clip will be."""
    return 1 - 0.3 * torch.rand(rows, generator=draws) ** 2


def graded(predicted: Sequence[Tensor], before: Sequence[Tensor], wanted: Wanted) -> tuple[Tensor, dict[str, float]]:
    """The loss of predictions, and its parts; 1 is the difference that a concept makes.

    Args:
        predicted: of disputed rows, of these with the sites exchanged, and of agreed rows.
        before: the teacher's: of all rows where both sites tell the truth, and of disputed rows where both are wrong.
        wanted: of disputed rows.
    """
    true, wrong = before
    known, agreed = true.split([len(wrong), len(true) - len(wrong)])
    concept = known - wrong
    size, (share, yielded) = _mean(concept), (each.view(-1, *[1] * (wrong.ndim - 1)) for each in wanted)
    scale = 1 / (size + FLOOR * size.mean())
    middle, apart_ = (predicted[0] + predicted[1]) / 2, (predicted[0] - predicted[1]) / 2
    parts = {
        "lean": (_mean(apart_ + yielded * concept) * scale).mean(),
        "missed": (_mean(middle - wrong - share * concept) * scale).mean(),
        "agreed": _mean(predicted[2] - agreed).mean() / size.mean(),
    }
    loss = LEAN * parts["lean"] + parts["missed"] + AGREED * parts["agreed"]
    return loss, {name: part.item() for name, part in parts.items()}


def some(fed: Fed, rows: Sequence[int]) -> Fed:
    """Some rows of what a denoiser is fed."""
    index = torch.tensor(list(rows))
    return {name: each.rows(index) if isinstance(each, Stream) else each[index] for name, each in fed.items()}


def joined(parts: Sequence[Fed]) -> Fed:
    """What a denoiser is fed, one after the other."""
    return {name: _cat([part[name] for part in parts]) for name in parts[0]}


def _cat(values: Sequence[Any]) -> Stream | Tensor:
    return Stream.cat(list(values)) if isinstance(values[0], Stream) else torch.cat(list(values))


def _mean(error: Tensor) -> Tensor:
    """Mean square of each row."""
    return error.square().flatten(1).mean(1)
