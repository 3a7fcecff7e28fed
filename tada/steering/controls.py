"""Controls: what steers as far as an arm does, and ought to leave the concept alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from tada.errors import InputError
from tada.pairs.builder import reorder
from tada.steering.vector import Vector


def random_like(vector: Vector, seed: int) -> Vector:
    """Turn a vector into a random one, by a rotation that all steps of a site share.

    Each step keeps its length, and any two steps of a site the angle between them, so that a random vector pushes as
    steadily as the given one does.

    Args:
        vector: what is turned.
        seed: of the rotations; every site has one of its own.
    """
    draw = torch.Generator().manual_seed(seed)
    turned = {site: _rotate(directions, draw) for site, directions in vector.directions.items()}
    return Vector(turned, {**vector.info, "method": "random", "turned": vector.info.get("method"), "seed": seed})


def _rotate(directions: Tensor, draw: torch.Generator) -> Tensor:
    """``[steps, dim]`` as ``R' Q'`` becomes ``R' P'``, with Q orthonormal and P a random orthonormal frame."""
    factor = torch.linalg.qr(directions.double().T).R
    drawn = torch.randn(directions.shape[1], len(factor), generator=draw, dtype=torch.float64)
    frame, signs = torch.linalg.qr(drawn)
    frame = frame * signs.diagonal().sign()  # or the signs of the decomposition would make some directions likelier
    return (factor.T @ frame.T).to(directions.dtype)


def unrelated(other: Vector, vector: Vector) -> Vector:
    """Give the vector of an unrelated concept the lengths of a vector, at the sites and steps of that one.

    Raises:
        ValueError: sites or steps that the other one lacks.
    """
    missing = [site for site in vector.sites if site not in other.directions]
    if missing or other.steps not in (1, vector.steps):
        raise InputError(
            f"the unrelated vector has {other.steps} steps and lacks {len(missing)} of {len(vector.sites)} sites; "
            f"expected {vector.steps} steps at all of them: fit both alike"
        )
    unit = other.unit().directions
    directions = {site: unit[site] * own.norm(dim=-1, keepdim=True) for site, own in vector.directions.items()}
    return replace(other, directions=directions, info={**other.info, "sites": list(vector.sites)})


def shuffle_labels(
    positive: Sequence[str], negative: Sequence[str], seed: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Swap the sides of half of the pairs, drawn at random: what is fitted from them knows of no concept.

    Args:
        positive: prompts with the concept.
        negative: their counterparts, in the same order.
        seed: of the draw.

    Returns:
        The two sides; of an odd number of pairs, the half that is swapped is rounded down.

    Raises:
        ValueError: fewer than two pairs, or sides of different length.
    """
    if len(positive) != len(negative) or len(positive) < 2:
        raise InputError(
            f"got {len(positive)} positive and {len(negative)} negative prompts; expected two or more pairs"
        )
    swapped = set(np.random.default_rng(seed).permutation(len(positive))[: len(positive) // 2].tolist())
    pairs = [
        pair[::-1] if place in swapped else pair for place, pair in enumerate(zip(positive, negative, strict=True))
    ]
    return tuple(one for one, _ in pairs), tuple(other for _, other in pairs)


def paraphrases(prompts: Iterable[str], say: Callable[[str], str] = reorder) -> dict[str, tuple[str, str]]:
    """Pair every prompt with the same in other words, as the poles of a prompt arm: no concept lies between them.

    Args:
        say: says a prompt in another way.

    Returns:
        Prompt -> the other way to say it, and the prompt itself.
    """
    return {prompt: (say(prompt), prompt) for prompt in prompts}
