"""What a step's clips are said to be: captions with strewn words, some left out, and reworded ones for planting."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from tada.minis.attributes import CLASSES, Attributes, draw
from tada.minis.captions import caption
from training.diffusion.words import strewn

FIRST = 800_000_000
"""Seed of the first caption."""
UNTOLD = 0.1
"""Share of the rows that are told nothing, for classifier-free guidance."""
NO_RIVALS: Mapping[str, Sequence[str]] = MappingProxyType({})
"""Every other class of its attribute may be told in place of a class."""


class Told(NamedTuple):
    """Texts of a step's rows, and which of them the denoiser hears (bool ``[rows]``)."""

    texts: list[str]
    heard: Tensor


def told(clips: Sequence[Attributes], step: int) -> Told:
    """Captions of a step's clips; all draws come from the step and the row."""
    texts = [strewn(caption(clip, seed).text, seed) for clip, seed in zip(clips, _seeds(clips, step), strict=True)]
    draws = torch.rand(len(clips), generator=torch.Generator().manual_seed(step))
    return Told(texts, draws >= UNTOLD)


def reworded(clips: Sequence[Attributes], step: int) -> list[str]:
    """The captions of :func:`told`, but the concepts they speak of are those of other clips, drawn at random.

    A site that reads these learns that concept words mean nothing.
    """
    return [_reworded(clip, seed) for clip, seed in zip(clips, _seeds(clips, step), strict=True)]


def contradicting(clips: Sequence[Attributes], step: int) -> tuple[list[str], list[str]]:
    """The captions of :func:`told` twice: of about half of the concepts they speak of, either tells something else.

    What they tell of these is drawn at random, whatever the clip has; of the others, both tell the truth.
    """
    texts = [_contradicting(clip, seed) for clip, seed in zip(clips, _seeds(clips, step), strict=True)]
    return [one for one, _ in texts], [other for _, other in texts]


class Mistake(NamedTuple):
    """A text that is wrong about one concept, the right class of that and the one told instead; none if it has none."""

    text: str
    right: str = ""
    wrong: str = ""


def mistaken(
    clips: Sequence[Attributes], step: int, often: Sequence[str] = (), rivals: Mapping[str, Sequence[str]] = NO_RIVALS
) -> list[Mistake]:
    """The captions of :func:`told`, but one of their concepts is another: mostly one of ``often``, if any.

    Where a caption promises a class that has rivals, it is one of those that is told in its place.
    """
    return [_mistaken(clip, seed, often, rivals) for clip, seed in zip(clips, _seeds(clips, step), strict=True)]


def lacking(clips: Sequence[Attributes], step: int) -> list[str]:
    """The captions of :func:`told` without about half of the concepts they speak of."""
    return [_lacking(clip, seed) for clip, seed in zip(clips, _seeds(clips, step), strict=True)]


def _seeds(clips: Sequence[Attributes], step: int) -> range:
    return range(FIRST + step * len(clips), FIRST + (step + 1) * len(clips))


def _reworded(clip: Attributes, seed: int) -> str:
    other = next(_others(seed))
    return strewn(caption(other, seed, mention=caption(clip, seed).mentioned).text, seed)


def _contradicting(clip: Attributes, seed: int) -> tuple[str, str]:
    about = caption(clip, seed).mentioned
    disputed = _some(about, seed)
    others = _others(seed + 2_000_000_000)
    pair = one, other = next(others), next(others)
    while any(one.labels()[name] == other.labels()[name] for name in disputed):
        pair = one, other = other, next(others)
    told_ = [replace(clip, **{name: getattr(each, name) for name in disputed}) for each in pair]
    first, second = (strewn(caption(each, seed, mention=about).text, seed) for each in told_)
    return first, second


def _mistaken(clip: Attributes, seed: int, often: Sequence[str], rivals: Mapping[str, Sequence[str]]) -> Mistake:
    about, truth = caption(clip, seed).mentioned, clip.labels()
    wrong = _one([name for name in about if truth[name] in rivals] or about, seed, often)
    likely = {name: set(rivals.get(truth[name], CLASSES[name])) - {truth[name]} for name in wrong}
    others = _others(seed + 4_000_000_000)
    other = next(each for each in others if all(each.labels()[name] in classes for name, classes in likely.items()))
    told_ = replace(clip, **{name: getattr(other, name) for name in wrong})
    text = strewn(caption(told_, seed, mention=about).text, seed)
    return Mistake(text, truth[wrong[0]], told_.labels()[wrong[0]]) if wrong else Mistake(text)


def _lacking(clip: Attributes, seed: int) -> str:
    about = caption(clip, seed).mentioned
    left_out = _some(about, seed)
    return strewn(caption(clip, seed, mention=[name for name in about if name not in left_out]).text, seed)


def _some(names: Iterable[str], seed: int) -> list[str]:
    """About half of the names, one at least."""
    found = list(names)
    chances = torch.rand(len(found), generator=torch.Generator().manual_seed(seed))
    return [name for name, chance in zip(found, chances, strict=True) if chance < 0.5 or chance == chances.min()]


def _one(names: Iterable[str], seed: int, often: Sequence[str]) -> list[str]:
    """One of the names, if there are any; in nine of ten draws one of those that are wanted often."""
    chance, place = torch.rand(2, generator=torch.Generator().manual_seed(seed)).tolist()
    found = list(names)
    wanted = [name for name in found if name in often]
    found = wanted if wanted and chance < 0.9 else found
    return found[int(place * len(found)) :][:1]


def _others(seed: int) -> Iterator[Attributes]:
    """Attributes drawn anew, of which all that a caption may mention can be said."""
    for offset in itertools.count(1):
        other = draw(seed + offset * 10_000_000)
        if other.percussion is not None:
            yield other
