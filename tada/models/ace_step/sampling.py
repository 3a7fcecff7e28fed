"""Flow-matching sampling of ACE-Step v1: noise schedule, solver steps, omega and guidance, as pure functions.

x is sigma * noise + (1 - sigma) * data, and a velocity is noise - data. Tensors are ``[B, C, R, T]``; every function
treats rows alone unless ``batch_mean`` asks for upstream's mean over the whole batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from tada.models.run import cfg

SHIFT = 3.0
TRAIN_STEPS = 1000
Mix = Callable[[Tensor], Tensor]
Velocity = Callable[[Tensor, float, int], Tensor]


def shifted(u: Tensor) -> Tensor:
    """Noise level of schedule time ``u`` in 0..1: more of the schedule is spent at high noise."""
    return SHIFT * u / (1 + (SHIFT - 1) * u)


def schedule(steps: int) -> Tensor:
    """Noise levels ``[steps + 1]``, from 1 down to 0."""
    last = shifted(torch.tensor(1 / TRAIN_STEPS, dtype=torch.float64))
    sigmas = shifted(torch.linspace(1, float(last), steps, dtype=torch.float64))
    return torch.cat([sigmas.float(), torch.zeros(1)])


def omega_mix(omega: float, batch_mean: bool = False) -> Mix:
    """Scale the deviation of a change of the latents from its mean (by 1 at omega 0, by 1.046 at 10).

    The mean is each row's own, or with ``batch_mean`` the whole batch's, as upstream takes it.
    """
    weight = 0.9 + 0.2 / (1 + math.exp(-0.1 * omega))

    def mix(change: Tensor) -> Tensor:
        if weight == 1.0:
            return change
        mean = change.mean() if batch_mean else change.mean(dim=(1, 2, 3), keepdim=True)
        return (change - mean) * weight + mean

    return mix


def step(x: Tensor, v: Tensor, sigma: float, lower: float, mix: Mix) -> Tensor:
    """One Euler step from noise level ``sigma`` to ``lower`` along the velocity ``v``."""
    return (x.float() + mix((lower - sigma) * v.float())).to(x.dtype)


def euler(x: Tensor, velocity: Velocity, sigmas: list[float], mix: Mix) -> Iterator[Tensor]:
    """Latents after each step; ``velocity(x, sigma, index of the evaluation)`` is asked once per step."""
    for i, (sigma, lower) in enumerate(zip(sigmas, sigmas[1:], strict=False)):
        x = step(x, velocity(x, sigma, i), sigma, lower, mix)
        yield x


def heun(x: Tensor, velocity: Velocity, sigmas: list[float], mix: Mix) -> Iterator[Tensor]:
    """Like `euler`, but each step but the last is repeated with the mean of the velocities at its ends."""
    for i, (sigma, lower) in enumerate(zip(sigmas, sigmas[1:], strict=False)):
        v = velocity(x, sigma, 2 * i)
        ahead = step(x, v, sigma, lower, mix)
        if lower > 0:
            ahead = step(x, (v + velocity(ahead, lower, 2 * i + 1)) / 2, sigma, lower, mix)
        x = ahead
        yield x


def guided_steps(steps: int, interval: float) -> range:
    """Steps with guidance: the middle share ``interval`` (0..1) of a run of ``steps``."""
    return range(int(steps * (1 - interval) / 2), int(steps * (interval / 2 + 0.5)))


def decayed(scale: float, lowest: float, decay: float, i: int, guided: range) -> float:
    """Guidance scale at step ``i``: falls linearly over the guided steps, to ``lowest`` at ``decay`` 1."""
    if decay <= 0 or len(guided) < 2:
        return scale
    return scale - (scale - lowest) * (i - guided.start) / (len(guided) - 1) * decay


def cfg_star(cond: Tensor, uncond: Tensor, scale: float, i: int) -> Tensor:
    """Guidance with the unconditional velocity projected on the conditional; zero in the first two steps."""
    if i <= 1:
        return torch.zeros_like(cond)
    dims = tuple(range(1, cond.dim()))
    share = (cond * uncond).sum(dims, keepdim=True) / ((uncond * uncond).sum(dims, keepdim=True) + 1e-8)
    return cfg(cond, uncond * share, scale)


def apg(
    cond: Tensor, uncond: Tensor, scale: float, average: Tensor | None, momentum: float = -0.75, limit: float = 2.5
) -> tuple[Tensor, Tensor]:
    """Adaptive projected guidance (arXiv 2410.02416): only what is orthogonal to the conditional velocity, clipped.

    Returns the guided velocity, and the running difference to hand to the next call as ``average`` (None in the
    first); ``momentum`` of it is kept, and its norm is clipped to ``limit`` per row and channel. The projection is in
    float32, where upstream takes float64, which not every device has.
    """
    average = (cond - uncond) + (0.0 if average is None else momentum * average)
    norm = average.norm(dim=(-2, -1), keepdim=True)
    difference = average * (limit / norm).clamp(max=1)
    along = cond / cond.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-12)
    return cond + (scale - 1) * (difference - (difference * along).sum(dim=(-2, -1), keepdim=True) * along), average
