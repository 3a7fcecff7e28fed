"""Ranges by distance: strengths that take clips as far as asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from tada.evaluation import Arm
from tada.metrics.judges import MetricSuite
from tada.models.base import Model
from tada.steering import Vector
from tada.steering import distance as reach

SECONDS = 1.2
PROMPTS = ["a song", "slow music"]


@pytest.fixture(scope="module")
def model(tiny_model: Callable[[str], Model]) -> Model:
    return tiny_model("stable-audio")


@pytest.fixture(scope="module")
def panel() -> MetricSuite:
    return MetricSuite("mini")


@pytest.fixture
def one(model: Model) -> Arm:
    """Random directions at every site, strong enough to be heard."""
    rng = torch.Generator().manual_seed(0)
    directions = {site: torch.randn(1, model.site_width(site), generator=rng) for site in model.sites}
    return Arm("CAA", Vector(directions).unit(), "all", renorm=False)


def test_calibration_finds_the_strength_that_moves_clips_so_far(model: Model, panel: MetricSuite, one: Arm) -> None:
    sampling = model.sampling(None, steps=2)
    ladder = [float(2**power) for power in range(-1, 8)]
    with one.vector.apply(model, [3.0, 3.0], layers="all", renorm=False):
        heard = panel.listen(model.generate(PROMPTS, [2115, 2116], SECONDS, sampling))
    plain = panel.listen(model.generate(PROMPTS, [2115, 2116], SECONDS, sampling))
    target = float(panel.distance(heard, plain).mean())
    found = reach.find(model, one, PROMPTS, (target, 99.0), SECONDS, panel=panel, sampling=sampling, ladder=ladder)
    with one.vector.apply(model, found.strengths[0], layers="all", renorm=False):
        heard = panel.listen(model.generate(PROMPTS, [2115, 2116], SECONDS, sampling))
    assert float(panel.distance(heard, plain).mean()) == pytest.approx(target, rel=0.1)
    assert found.reached == (True, False) and found.strengths[1] in ladder
    assert replace(one, reach=found.strengths).raw(50) == pytest.approx(found.strengths[0] / 2)
    assert replace(one, reach=(10, 30)).raw(-50) == -15


def test_crossings_by_hand() -> None:
    ladder = [1.0, 2.0, 4.0, 8.0]
    assert reach._crossing(ladder, np.array([0.1, 0.2, 0.4, 0.5]), 0.3) == (pytest.approx(2 * 2**0.5), True)
    assert reach._crossing(ladder, np.array([0.2, 0.3, 0.4, 0.5]), 0.1) == (0.5, True)
    assert reach._crossing(ladder, np.array([0.1, 0.3, 0.2, 0.2]), 0.9) == (2.0, False)


def test_swapping_the_prompt_moves_clips_and_not_swapping_does_not(model: Model, panel: MetricSuite) -> None:
    up, down = reach.swap(
        model, PROMPTS, ["happy song", "sad song"], PROMPTS, SECONDS, panel=panel,
        sampling=model.sampling(None, steps=2),
    )  # fmt: skip
    assert up > 1e-6 and down == pytest.approx(0, abs=1e-6)
