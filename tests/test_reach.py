"""Ranges by distance: strengths that take clips as far as asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

import tada
from tada.metrics import lpaps
from tada.metrics.suite import MetricSuite
from tada.models.base import Model
from tada.steering import Arm, Trial, Vector
from tada.steering import distance as reach

SECONDS = 1.2
PROMPTS = ["a song", "slow music"]
TRIAL = Trial("mood", tuple(zip(PROMPTS, (2115, 2116), strict=True)), tada.Setting(SECONDS, tada.Sampling(steps=2)))


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


def test_the_strength_that_moves_clips_so_far_is_found(model: Model, panel: MetricSuite, one: Arm) -> None:
    ladder = [float(2**power) for power in range(-1, 8)]

    def distance(strength: float) -> float:
        with one.vector.apply(model, strength, layers="all", renorm=False):
            heard = panel.listen(model.generate(PROMPTS, [2115, 2116], SECONDS, TRIAL.setting.sampling))
        return float(lpaps.distance(heard.stages, plain.stages).mean())

    plain = panel.listen(model.generate(PROMPTS, [2115, 2116], SECONDS, TRIAL.setting.sampling))
    target = distance(3.0)
    found, reached = reach.range_by_distance(model, one, TRIAL, (target, 99.0), panel, ladder)
    assert distance(found.scale[0]) == pytest.approx(target, rel=0.1)
    assert reached == (True, False) and found.scale[1] in ladder
    assert found.raw(50) == pytest.approx(found.scale[0] / 2)
    assert replace(one, scale=(10, 30)).raw(-50) == -15


def test_crossings_by_hand() -> None:
    ladder = [1.0, 2.0, 4.0, 8.0]
    assert reach._crossing(ladder, np.array([0.1, 0.2, 0.4, 0.5]), 0.3) == (pytest.approx(2 * 2**0.5), True)
    assert reach._crossing(ladder, np.array([0.2, 0.3, 0.4, 0.5]), 0.1) == (0.5, True)
    assert reach._crossing(ladder, np.array([0.1, 0.3, 0.2, 0.2]), 0.9) == (2.0, False)


def test_swapping_the_prompt_moves_clips_and_not_swapping_does_not(model: Model, panel: MetricSuite) -> None:
    up, down = reach.prompt_distance(model, TRIAL, ["happy song", "sad song"], PROMPTS, panel)
    assert up > 1e-6 and down == pytest.approx(0, abs=1e-6)
