"""Intervals: known formulas, and how often they hold the truth with few prompts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, t

from tada import stats as intervals


def test_draws_start_with_the_sample_and_weigh_prompts_as_they_are_drawn() -> None:
    drawn = intervals.draws(5, 300)
    assert drawn.shape == (301, 5) and np.allclose(drawn.sum(1), 1)
    assert drawn[0].tolist() == [0.2] * 5
    counts = drawn[1:] * 5
    assert np.allclose(counts, counts.round()) and counts.max() >= 3
    assert np.array_equal(drawn, intervals.draws(5, 300)) and not np.array_equal(drawn, intervals.draws(5, 300, seed=1))


@pytest.mark.parametrize("count", [4, 40])
def test_the_interval_of_a_mean_is_about_student_s(count: int) -> None:
    values = np.random.default_rng(1).normal(size=count)
    low, high = intervals.bootstrap(intervals.draws(count, 20_000) @ values, count)
    half = t.ppf(0.975, count - 1) * values.std(ddof=1) / np.sqrt(count)
    assert (high - low) / 2 == pytest.approx(half, rel=0.06)
    narrow = intervals.bootstrap(intervals.draws(count, 20_000) @ values, count, confidence=0.5)
    assert low < narrow[0] < values.mean() < narrow[1] < high


def test_the_interval_keeps_its_lopsidedness() -> None:
    values = np.r_[np.zeros(9), 5.0]
    low, high = intervals.bootstrap(intervals.draws(10) @ values, 10)
    assert high - values.mean() > 1.5 * (values.mean() - low)


def test_one_prompt_tells_nothing() -> None:
    assert intervals.bootstrap(np.ones(1001), 1) == (-np.inf, np.inf)


def test_few_prompts_hold_the_truth_as_often_as_they_say_and_plain_percentiles_do_not() -> None:
    rng, drawn, hits, plain = np.random.default_rng(0), intervals.draws(4), 0, 0
    for _ in range(300):
        values = drawn @ rng.normal(size=4)
        low, high = intervals.bootstrap(values, 4)
        hits += low <= 0 <= high
        low, high = np.percentile(values[1:], (2.5, 97.5))
        plain += low <= 0 <= high
    assert hits >= 0.92 * 300 and plain <= 0.86 * 300


def test_a_jackknife_s_interval_is_that_of_a_mean() -> None:
    values = np.random.default_rng(0).normal(3, 1, 200)
    groups = np.arange(200) % 10
    parts = np.array([values.mean(), *(values[groups != g].mean() for g in range(10))])
    half = t.ppf(0.975, 9) * values.reshape(20, 10).mean(0).std(ddof=1) / np.sqrt(10)
    assert intervals.jackknife(parts) == pytest.approx((values.mean() - half, values.mean() + half), rel=1e-3)


def test_a_share_of_none_or_all_is_not_certain() -> None:
    low, high = intervals.proportion(5, 5)
    assert 0.5 < low < 0.6 and high == 1
    z = norm.ppf(0.975)
    low, high = intervals.proportion(3, 4)
    middle = (3 + z**2 / 2) / (4 + z**2)
    assert (low + high) / 2 == pytest.approx(middle)
    low, high = intervals.proportion(510, 512)
    assert 0.98 < low < 510 / 512 < high < 1


def test_a_mean_and_a_ratio_have_the_intervals_of_their_resamples() -> None:
    values = np.random.default_rng(0).normal(3, 1, 12)
    means = intervals.draws(12) @ values
    assert intervals.mean_interval(values) == (pytest.approx(values.mean()), *intervals.bootstrap(means, 12))
    assert intervals.mean_interval([2.0]) == (2.0, -np.inf, np.inf)
    assert intervals.ratio_interval(2 * values, values) == pytest.approx((2, 2, 2))
    ratio, low, high = intervals.ratio_interval(values, values[::-1] + 1)
    assert ratio == pytest.approx(values.mean() / (values.mean() + 1)) and low < ratio < high


def test_undefined_draws_are_left_out() -> None:
    values = intervals.draws(20) @ np.arange(20.0)
    holed = np.r_[values, [np.nan] * 50]
    assert intervals.bootstrap(holed, 20) == intervals.bootstrap(values, 20)
