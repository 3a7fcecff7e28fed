"""Directions from the clips of prompt pairs: mean differences (CAA), AUSteer's sign consistency, linear probes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from tada.arguments import Seeds, integer, number, own_seeds, sung
from tada.engine import Setting
from tada.errors import InputError
from tada.hooks import Passes, record
from tada.models.base import Layers, Model
from tada.models.fingerprint import versions
from tada.steering.vector import Vector

Sides = tuple[Sequence[str], Sequence[str]]


def means(
    model: Model,
    prompts: Sequence[str],
    seeds: Seeds,
    setting: Setting,
    sites: Layers | None = None,
    passes: Passes = "cond",
) -> dict[str, Tensor]:
    """Average cross-attention outputs over frames, seeds and prompts.

    Args:
        prompts: one or more.
        seeds: of the first prompt, an int or several in a row; the next prompt has the ones that follow, see
            ``tada.arguments.own_seeds``.
        setting: what the clips share; lyrics for all prompts, or one per prompt.
        sites: layers by index, site name or layer set; None for all.
        passes: ``"cond"`` or ``"uncond"``.

    Returns:
        Site to float32 ``[steps, dim]`` on the CPU.
    """
    from tqdm.auto import tqdm

    if passes == "both":
        raise InputError("got passes='both'; expected 'cond' or 'uncond': fit the two passes apart")
    if not prompts:
        raise InputError("got no prompts; expected one or more")
    jobs = fit_rows([prompts], seeds, setting)
    totals: dict[str, Tensor] = {}
    for start in tqdm(range(0, len(jobs), setting.batch), disable=not setting.progress, desc="means", leave=False):
        texts, lyrics, draws = zip(*jobs[start : start + setting.batch], strict=True)
        context = model.encode(texts, setting.negative, lyrics)
        with record(model, sites, reduce="mean", passes=passes) as kept:
            model.sample(context, model.noise(draws, setting.seconds), setting.sampling)
        for site, hidden in kept.items():
            totals[site] = totals.get(site, torch.zeros(())) + hidden.float().sum(dim=1).cpu()
    return {site: total / len(jobs) for site, total in totals.items()}


def contrast(
    model: Model,
    positive: Sequence[str],
    negative: Sequence[str],
    seeds: Seeds,
    setting: Setting,
    sites: Layers | None = None,
    passes: Passes = "cond",
) -> Vector:
    """Fit a steering vector from prompt pairs (eq. 2), one unit direction per site and step.

    Args:
        positive: prompts with the concept.
        negative: their counterparts without it, in the same order (not a negative prompt of the sampler).
        seeds: of the first pair, an int or several in a row; the next pair has the ones that follow, and both sides of
            a pair share their noise. ``[[10]] * pairs`` has all pairs share that of seed 10, as in the authors' code.
        setting: what the clips share; lyrics for all pairs, or one per pair.
        sites: layers by index, site name or layer set; None for all.
        passes: the guidance pass that is looked at, ``"cond"`` or ``"uncond"``.

    Returns:
        A vector that pushes from the negative to the positive side.

    Raises:
        ValueError: sides of different length, or pairs that differ nowhere.
    """
    return difference(model, positive, negative, seeds, setting, sites, passes).unit()


def difference(
    model: Model,
    positive: Sequence[str],
    negative: Sequence[str],
    seeds: Seeds,
    setting: Setting,
    sites: Layers | None = None,
    passes: Passes = "cond",
) -> Vector:
    """Fit the mean difference of prompt pairs before it is scaled to length 1; arguments as for :func:`contrast`."""
    check_pairs(model, positive, negative, setting)
    with_, without = (means(model, prompts, seeds, setting, sites, passes) for prompts in (positive, negative))
    differences = {site: with_[site] - without[site] for site in with_}
    if not any(difference.any() for difference in differences.values()):
        raise InputError("the positive and the negative prompts give the same outputs at every site: do they differ?")
    return _vector(differences, model, "caa", (positive, negative), seeds, setting, passes)


def check_pairs(model: Model, positive: Sequence[str], negative: Sequence[str], setting: Setting) -> None:
    """Raise for sides of different length, and for pairs that differ only where the model does not read."""
    if len(positive) != len(negative):
        raise InputError(f"got {len(positive)} positive and {len(negative)} negative prompts; expected pairs")
    pairs = [(one, other) for one, other in zip(positive, negative, strict=True) if one != other]
    unread = sum(model.heard(one, setting.sampling) == model.heard(other, setting.sampling) for one, other in pairs)
    if unread:
        raise InputError(f"{unread} of {len(positive)} pairs differ only in words that {model.name} does not read")


def fit_rows(sides: Sequence[Sequence[str]], seeds: Seeds, setting: Setting) -> list[tuple[Any, ...]]:
    """List the clips to fit from: a prompt of every side, the lyrics, and the seed, for each seed of every row."""
    words, noise = sung(setting.lyrics, sides[0]), own_seeds(seeds, len(sides[0]))
    return [(*row, seed) for *row, own in zip(*sides, words, noise, strict=True) for seed in own]


def _vector(
    directions: Mapping[str, Tensor],
    model: Model,
    method: str,
    sides: Sides,
    seeds: Seeds,
    setting: Setting,
    passes: Passes = "cond",
) -> Vector:
    """The vector of directions that were fitted from prompt pairs (positive and negative side)."""
    info = {
        "method": method,
        "model": model.name,
        "checkpoint": model.checkpoint,
        "positive": list(sides[0]),
        "negative": list(sides[1]),
        "lyrics": setting.lyrics if isinstance(setting.lyrics, str | None) else sung(setting.lyrics, sides[0]),
        "seeds": own_seeds(seeds, len(sides[0])),
        "seconds": setting.seconds,
        "sampling": asdict(model.settled(model.sampling(setting.sampling), setting.seconds)),
        "passes": passes,
        "versions": versions(),
        "sites": list(directions),
    }
    return Vector(directions, info)


def sign_consistency(
    model: Model,
    positive: Sequence[str],
    negative: Sequence[str],
    seeds: Seeds,
    setting: Setting,
    sites: Layers | None = None,
) -> Vector:
    """Fit AUSteer's directions: how consistently each channel is larger with the concept than without.

    Of the differences ``m`` of all frames of all pairs, ``r+`` is the share above 0, ``r-`` that below, and the
    direction is ``r+`` where that is the larger, else ``-r-``. The arm steers with the largest, see
    :func:`keep_largest`. Arguments are those of :func:`contrast`.

    Returns:
        A vector of values from -1 to 1, not of length 1.

    Raises:
        ValueError: sides of different length, or pairs that the model reads as the same.
    """

    def count(hidden: Tensor) -> Tensor:
        with_, without = hidden.chunk(2)
        signs = torch.sign(with_ - without).flatten(0, 1)
        return torch.stack([(signs > 0).sum(0), (signs < 0).sum(0), torch.ones_like(signs[0]).long() * len(signs)])[
            None
        ]

    counts = _compare(model, (positive, negative), seeds, setting, sites, count)
    directions = {}
    for site, parts in counts.items():
        up, down, total = parts.sum(1).cpu().unbind(1)
        directions[site] = torch.where(up >= down, up, -down) / total
    return _vector(directions, model, "austeer", (positive, negative), seeds, setting)


def keep_largest(vector: Vector, count: int, sites: Sequence[str] | None = None) -> Vector:
    """Keep the largest entries in size of each step over all sites together, the first of equal ones; others are 0.

    Args:
        vector: as from :func:`sign_consistency`.
        count: entries a step; v2 of the paper takes 3 % of all sites' and 40 % of the functional ones'.
        sites: those that are steered; None for all of the vector.
    """
    chosen = vector.sites if sites is None else tuple(sites)
    flat = torch.cat([vector.directions[site] for site in chosen], dim=1)
    count = integer("count", count, 1, flat.shape[1])
    places = flat.abs().sort(dim=1, descending=True, stable=True).indices[:, :count]
    kept = torch.zeros_like(flat).scatter(1, places, flat.gather(1, places))
    parts = kept.split([vector.directions[site].shape[1] for site in chosen], dim=1)
    return replace(
        vector,
        directions=dict(zip(chosen, parts, strict=True)),
        info={**vector.info, "sites": list(chosen), "largest": count},
    )


def pair_means(
    model: Model,
    positive: Sequence[str],
    negative: Sequence[str],
    seeds: Seeds,
    setting: Setting,
    sites: Layers | None = None,
) -> dict[str, Tensor]:
    """Average cross-attention outputs over frames, for every pair apart; arguments as for :func:`contrast`.

    Returns:
        Site -> float32 ``[steps, pairs, 2, dim]``, the positive side first.
    """

    def means(hidden: Tensor) -> Tensor:
        return torch.stack(hidden.float().mean(1).chunk(2), dim=1)

    return _compare(model, (positive, negative), seeds, setting, sites, means)


def probe_direction(
    model: Model,
    positive: Sequence[str],
    negative: Sequence[str],
    seeds: Seeds,
    setting: Setting,
    sites: Layers | None = None,
    ridge: float = 1.0,
) -> Vector:
    """Fit the unit weights of a linear probe that tells the poles apart by frame means, one per site and step.

    The probe is ridge regression on labels 1 and -1: ``w = X' (X X' + c I)^-1 y`` with centred frame means ``X``
    ``[clips, dim]`` and ``c = ridge tr(X X') / clips``. Further arguments are those of :func:`contrast`.

    Args:
        ridge: strength of the penalty, above 0; a very large one gives the mean difference.

    Raises:
        ValueError: sides of different length, or pairs that the model reads as the same.
    """
    ridge = number("ridge", ridge, 1e-9)
    kept = pair_means(model, positive, negative, seeds, setting, sites)
    directions = {site: _probe(both.cpu().double(), ridge).float() for site, both in kept.items()}
    return _vector(directions, model, "probe", (positive, negative), seeds, setting).unit()


def _probe(means: Tensor, ridge: float) -> Tensor:
    """Weights ``[steps, dim]`` for means ``[steps, pairs, 2, dim]``, the positive side first; 0 where none differ."""
    x = means.flatten(1, 2)
    x = x - x.mean(1, keepdim=True)
    gram = x @ x.mT
    penalty = (ridge * gram.diagonal(dim1=1, dim2=2).mean(1)).clamp_min(1e-30)
    labels = torch.tensor([1.0, -1.0]).to(x).repeat(x.shape[1] // 2).expand(len(x), -1)
    weights = torch.linalg.solve(gram + penalty[:, None, None] * torch.eye(x.shape[1]).to(x), labels)
    return (weights[:, None] @ x)[:, 0]


def _compare(
    model: Model,
    sides: Sides,
    seeds: Seeds,
    setting: Setting,
    sites: Layers | None,
    reduce: Callable[[Tensor], Tensor],
) -> dict[str, Tensor]:
    """Sample both sides of every pair from the same noise, and reduce what sites put out in the conditional pass.

    ``reduce`` sees the positive rows of some pairs, then their negative ones; its results are joined along their rows.
    """
    check_pairs(model, *sides, setting)
    jobs = fit_rows(sides, seeds, setting)
    size = max(1, setting.batch // 2)
    with record(model, sites, reduce) as kept:
        for start in range(0, len(jobs), size):
            positive, negative, lyrics, draws = zip(*jobs[start : start + size], strict=True)
            context = model.encode([*positive, *negative], setting.negative, [*lyrics, *lyrics])
            model.sample(context, model.noise([*draws, *draws], setting.seconds), setting.sampling)
    return dict(kept)
