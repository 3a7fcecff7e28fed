"""Intervals: known formulas, and how often they hold the truth with few prompts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, t

from tada import stats as intervals


def held(ends: tuple[np.ndarray, np.ndarray]) -> float:
    """How often intervals hold 0."""
    return float(((ends[0] <= 0) & (ends[1] >= 0)).mean())


def test_draws_start_with_the_sample_and_weigh_prompts_as_they_are_drawn() -> None:
    drawn = intervals.draws(5, 300)
    assert drawn.shape == (301, 5) and np.allclose(drawn.sum(1), 1)
    assert drawn[0].tolist() == [0.2] * 5
    counts = drawn[1:] * 5
    assert np.allclose(counts, counts.round()) and counts.max() >= 3
    assert not drawn.flags.writeable, "whoever asks again is given the same"
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


@pytest.mark.parametrize("count", [3, 6, 8, 12, 32])
def test_intervals_of_few_units_hold_the_truth_as_often_as_they_say_and_plain_percentiles_do_not(count: int) -> None:
    values = intervals.draws(count, 500) @ np.random.default_rng(count).normal(size=(count, 3000))
    assert 0.93 <= held(intervals.bootstrap(values, count)) <= 0.97
    assert held(np.percentile(values[1:], (2.5, 97.5), axis=0)) < 0.94


def test_strata_with_few_units_each_have_the_certainty_of_all_together() -> None:
    rng, drawn = np.random.default_rng(0), [intervals.draws(3, 500, seed) for seed in range(10)]
    values = np.mean([one @ rng.normal(size=(3, 2000)) for one in drawn], axis=0)
    assert 0.93 <= held(intervals.bootstrap(values, 3, strata=10)) <= 0.97


def test_rows_of_a_unit_are_drawn_together() -> None:
    rng, pairs = np.random.default_rng(0), np.repeat(np.arange(10), 4)
    values = rng.normal(size=(10, 2000))[pairs] + rng.normal(size=(40, 2000))
    weights, units = intervals.cluster_draws(pairs, resamples=500)
    assert units == 10 and 0.93 <= held(intervals.bootstrap(weights @ values, units)) <= 0.97
    assert held(intervals.bootstrap(intervals.draws(40, 500) @ values, 40)) < 0.85, "rows are not units"


def test_seeds_that_pairs_share_are_units_too() -> None:
    rng = np.random.default_rng(0)
    pairs, seeds = np.repeat(np.arange(12), 8), np.tile(np.arange(8), 12)
    noise = rng.normal(size=(12, 2000))[pairs] + 2 * rng.normal(size=(8, 2000))[seeds]
    values = noise + rng.normal(size=(96, 2000))
    weights, units = intervals.cluster_draws(pairs, seeds, resamples=500)
    assert units == 8 and 0.93 <= held(intervals.bootstrap(weights @ values, units)) <= 0.995
    weights, units = intervals.cluster_draws(pairs, resamples=500)
    assert held(intervals.bootstrap(weights @ values, units)) < 0.75, "pairs alone know nothing of the shared noise"
    assert intervals.cluster_draws(pairs, [7] * 96)[1] == 12, "one seed alone cannot be drawn"


@pytest.mark.parametrize(("count", "quantities"), [(8, 12), (8, 24), (12, 12), (12, 24), (32, 24)])
def test_bounds_of_many_quantities_hold_at_once(count: int, quantities: int) -> None:
    rng, drawn, wrong = np.random.default_rng(count), intervals.draws(count, 200), 0
    for _ in range(300):
        wrong += (intervals.lower_bounds(drawn @ rng.normal(size=(count, quantities)), count) > 0).any()
    assert wrong <= 0.05 * 300
    certain = drawn @ np.full((count, quantities), 0.5)
    assert intervals.lower_bounds(certain, count) == pytest.approx(0.5)
    assert intervals.lower_bounds(certain, 1).max() == -np.inf


def test_paired_values_are_held_against_each_other_pair_by_pair() -> None:
    rng = np.random.default_rng(0)
    level, gain = 10 * rng.normal(size=12), 1 + 0.1 * rng.normal(size=12)
    mean, low, high = intervals.difference_interval(level + gain, level)
    assert mean == pytest.approx(gain.mean()) and 0.8 < low < 1 < high < 1.2
    assert intervals.mean_interval(level + gain)[1] < intervals.mean_interval(level)[2], "their intervals overlap"


def test_a_verdict_needs_eight_units_and_a_whole_interval_on_one_side() -> None:
    assert intervals.decide(0.1, 0.4, 8) == "above" and intervals.decide(0.1, 0.4, 8, 0.5) == "below"
    assert intervals.decide(0.1, 0.4, 8, 0.2) == "undecided" and intervals.decide(0.1, 0.4, 7) == "too few"


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
    assert np.mean(intervals.proportion(3, 4)) == pytest.approx((3 + z**2 / 2) / (4 + z**2))
    assert {(intervals.proportion(0, n)[0], intervals.proportion(n, n)[1]) for n in range(1, 60)} == {(0.0, 1.0)}
    low, high = intervals.proportion(510, 512)
    assert 0.98 < low < 510 / 512 < high < 1


def test_a_mean_has_the_interval_of_its_resamples() -> None:
    values = np.random.default_rng(0).normal(3, 1, 12)
    ends = intervals.bootstrap(intervals.draws(12) @ values, 12)
    assert intervals.mean_interval(values) == pytest.approx((values.mean(), *ends))
    assert intervals.mean_interval([2.0]) == (2.0, -np.inf, np.inf)
    twice = intervals.mean_interval(np.repeat(values, 2), np.repeat(np.arange(12), 2))
    assert np.mean(twice) == pytest.approx(np.mean(intervals.mean_interval(values)), rel=0.02)


def test_undefined_draws_are_left_out() -> None:
    values = intervals.draws(20) @ np.arange(20.0)
    assert intervals.bootstrap(np.r_[values, [np.nan] * 50], 20) == intervals.bootstrap(values, 20)


@pytest.mark.parametrize("resamples", [0, -1, 2.5, "x", None])
def test_resamples_are_a_number(resamples) -> None:
    for make in (lambda: intervals.draws(4, resamples), lambda: intervals.cluster_draws("abc", resamples=resamples)):
        with pytest.raises(ValueError, match="got resamples="):
            make()
