"""Ranges by distance: the strengths at which clips have moved as far as when the prompt asks for the concept.

The authors' second version ranges every way of steering so: all end at the same distance from the unsteered clip, which
makes rows of Table 1 comparable at equal change. :mod:`tada.steering.ranges` finds ranges by a judge instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tada.arguments import sung
from tada.metrics import lpaps
from tada.metrics.suite import MetricSuite
from tada.models.base import Model
from tada.steering.arms import BASELINE, Arm, Trial, steer
from tada.store import Store

LADDER = tuple(float(2**power) for power in range(-3, 11))
"""Raw strengths that are tried: an eighth to 1024, each twice the one before."""


def range_by_distance(
    model: Model,
    arm: Arm,
    trial: Trial,
    targets: tuple[float, float],
    suite: MetricSuite,
    ladder: Sequence[float] = LADDER,
    store: Store | None = None,
) -> tuple[Arm, tuple[bool, bool]]:
    """Find the raw strengths at which clips have moved by given distances (LPAPS), one for each direction.

    Args:
        model: the model.
        arm: the way to steer; its own scale does not count.
        trial: prompts, each tried with every strength of the ladder.
        targets: mean LPAPS to reach on the positive and on the negative side, such as from :func:`prompt_distance`.
        suite: the metrics.
        ladder: raw strengths that are tried, rising; between two of them the strength is interpolated on a log scale.
        store: where values are kept, and found again.

    Returns:
        The arm with its scale, and for each side whether the distance was reached; a direction that never gets there
        has the strength with the largest distance.
    """
    raw = replace(arm, scale=(100.0, 100.0))
    percents = [sign * strength for sign in (1.0, -1.0) for strength in ladder]
    rows = steer(model, [raw], trial, percents, suite, store)
    rows = rows[(rows["metric"] == "lpaps") & (rows["method"] != BASELINE)]
    means = rows.groupby("alpha")["value"].mean()
    (up, reached_up), (down, reached_down) = (
        _crossing(ladder, means.loc[[sign * strength for strength in ladder]].to_numpy(), target)
        for sign, target in zip((1.0, -1.0), targets, strict=True)
    )
    return replace(arm, scale=(up, down)), (reached_up, reached_down)


def prompt_distance(
    model: Model, trial: Trial, positive: Sequence[str], negative: Sequence[str], suite: MetricSuite
) -> tuple[float, float]:
    """Measure how far clips move (mean LPAPS) when the prompt itself asks for each pole: the ceiling to expect.

    Args:
        model: the model.
        trial: neutral prompts.
        positive: the same that ask for the first pole.
        negative: the same that ask for the other one.
        suite: the metrics.
    """
    setting, prompts = trial.setting, [prompt for prompt, _ in trial.rows]
    words = sung(setting.lyrics, prompts)
    plain, *poles = (
        suite.listen(model.generate(list(texts), trial.seeds, setting.seconds, setting.sampling, lyrics=words))
        for texts in (prompts, positive, negative)
    )
    up, down = (float(lpaps.distance(pole.stages, plain.stages, suite.over).double().numpy().mean()) for pole in poles)
    return up, down


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
