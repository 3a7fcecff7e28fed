"""Ranges by distance: the strengths at which clips have moved as far as when the prompt asks for the concept.

The authors' second version ranges every way of steering so: all end at the same distance from the unsteered clip, which
makes rows of Table 1 comparable at equal change (``reach="distance"`` of a table).
:mod:`tada.steering.ranges` finds ranges by what a judge hears instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tada.evaluation.grid import SEED, Arm, generate
from tada.metrics.judges import MetricSuite
from tada.models.base import Model, Sampling

LADDER = tuple(float(2**power) for power in range(-3, 11))
"""Raw strengths that are tried: an eighth to 1024, each twice the one before."""


class Reach(NamedTuple):
    """Raw strengths at +100 and -100 percent, the distances they were chosen for, and whether those were reached."""

    strengths: tuple[float, float]
    targets: tuple[float, float]
    reached: tuple[bool, bool]


def find(
    model: Model,
    arm: Arm,
    prompts: Sequence[str],
    targets: tuple[float, float],
    seconds: float,
    *,
    panel: MetricSuite,
    sampling: Sampling | str | None = None,
    lyrics: str | None = None,
    ladder: Sequence[float] = LADDER,
    batch: int = 16,
) -> Reach:
    """Find the raw strengths at which clips have moved by given distances (LPAPS), one for each direction.

    Args:
        model: the model.
        arm: the way to steer; its own ``reach`` does not count.
        prompts: some; each is tried with every strength of the ladder.
        targets: mean LPAPS to reach on the positive and on the negative side, such as from :func:`swap`.
        seconds: length of the clips.
        panel: who listens.
        sampling: as for ``tada.evaluation.run``.
        lyrics: to sing in all clips.
        ladder: raw strengths that are tried, rising; between two of them the strength is interpolated on a log scale.
        batch: clips in one denoiser call.

    Returns:
        What to give to ``dataclasses.replace(arm, reach=...)``. A direction that never gets there has the strength
        with the largest distance, and ``reached`` says so.
    """
    settings, context = model.sampling(sampling), model.encode(list(prompts), lyrics=lyrics)
    seeds = [SEED + i for i in range(len(prompts))]
    plain = panel.listen(generate(model, context, model.noise(seeds, seconds), settings))
    found = []
    for sign, target in zip((1.0, -1.0), targets, strict=True):
        tries = [(place, sign * strength) for strength in ladder for place in range(len(prompts))]
        values: list[float] = []
        for start in range(0, len(tries), batch):
            places, alpha = (list(part) for part in zip(*tries[start : start + batch], strict=True))
            noise = model.noise([seeds[place] for place in places], seconds)
            heard = panel.listen(generate(model, context[places], noise, settings, arm, alpha))
            values += panel.distance(heard, plain[places]).tolist()
        found.append(_crossing(ladder, np.reshape(values, (len(ladder), len(prompts))).mean(1), target))
    (up, reached_up), (down, reached_down) = found
    return Reach((up, down), targets, (reached_up, reached_down))


def _crossing(ladder: Sequence[float], distances: NDArray[np.float64], target: float) -> tuple[float, bool]:
    """Where a rising curve first gets to a target."""
    beyond = np.flatnonzero(distances >= target)
    if not len(beyond):
        return float(ladder[int(distances.argmax())]), False
    last = int(beyond[0])
    if last == 0:
        return float(ladder[0] * target / distances[0]), True
    part = (target - distances[last - 1]) / (distances[last] - distances[last - 1])
    return float(ladder[last - 1] * (ladder[last] / ladder[last - 1]) ** part), True


def swap(
    model: Model,
    prompts: Sequence[str],
    positive: Sequence[str],
    negative: Sequence[str],
    seconds: float,
    *,
    panel: MetricSuite,
    sampling: Sampling | str | None = None,
    lyrics: str | None = None,
) -> tuple[float, float]:
    """How far clips move (mean LPAPS) when the prompt itself asks for each pole: the ceiling of what to expect.

    Args:
        model: the model.
        prompts: neutral ones.
        positive: the same that ask for the first pole.
        negative: the same that ask for the other one.
        seconds: length of the clips.
        panel: who listens.
        sampling: as for ``tada.evaluation.run``.
        lyrics: to sing in all clips.
    """
    seeds = [SEED + i for i in range(len(prompts))]
    plain, *poles = (
        panel.listen(model.generate(list(texts), seeds, seconds, sampling, lyrics=lyrics))
        for texts in (prompts, positive, negative)
    )
    up, down = (float(panel.distance(heard, plain).mean()) for heard in poles)
    return up, down
