"""Every row has its own noise, and what chooses shares neither prompts nor seeds with what measures."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

import tada
from checks import SECONDS
from tada import patching
from tada.arguments import own_seeds
from tada.concepts import steered
from tada.experiments import autoencoder, localisation, steering
from tada.experiments.experiment import check_disjoint
from tada.experiments.profiles import PROFILES, SEEDS
from tada.steering import Arm, Vector, library, seeded
from tada.steering.arms import plan_steering


def test_seeds_follow_each_other_row_by_row_unless_a_list_says_which():
    assert own_seeds(7, 3) == [[7], [8], [9]]
    assert own_seeds(range(2), 2) == own_seeds([0, 1], 2) == [[0, 1], [2, 3]]
    assert own_seeds([[10]] * 3, 3) == [[10]] * 3
    assert seeded(["a", "b"], range(2)) == (("a", 0), ("a", 1), ("b", 2), ("b", 3))


@pytest.fixture(scope="module")
def localised(tiny_folder):
    return localisation.plan("ace-step", tiny_folder("ace-step"), "mini", judge="probe", steps=2, seconds=SECONDS)


def test_a_pair_shares_its_noise_and_pairs_do_not(localised):
    pairs = localisation.build_pairs(localised, ["sad", "violin"], limit=3)
    sets, each = [[3], "functional"], localised.profile.localisation.seeds
    controlled = tada.pairs.with_controls(pairs)
    model = localised.model.with_functional([1, 2])
    plan = patching.plan_sweep(model, controlled, localisation.seeds_of(pairs), sets, localised.setting, None)
    assert each >= 2 and plan.groupby("pair")["seed"].nunique().unique() == [each]
    assert plan.groupby("seed")["pair"].nunique().max() == 1
    assert plan.groupby(["pair", "seed"]).size().nunique() == 1, "none, all, layers and controls, for every seed"
    assert set(plan["seed"]) <= set(SEEDS["localisation"])
    few = localisation.build_pairs(localised, ["violin"], limit=2)
    assert set(few["seed"]) < set(pairs["seed"]), "neither more pairs nor other concepts change a pair's noise"
    with pytest.raises(ValueError, match="17 seeds a pair; expected at most 16"):
        localisation.build_pairs(localised, ["violin"], seeds=17)
    once = localisation.build_pairs(localised, ["violin"], limit=2, seeds=1)
    assert [[seed] for seed in once["seed"]] == [list(own[:1]) for own in localisation.seeds_of(few)]


def test_two_blocks_of_seeds_agree_within_their_intervals_unless_pairs_share_their_noise(localised):
    """Impacts that depend on the noise as much as on the pair: with one noise for all, no interval knows of it."""
    pairs = localisation.build_pairs(localised, ["sad", "violin", "slow"])
    blocks = [pairs.assign(seed=pairs["seed"] + shift) for shift in (0, 500_000)]
    own = agreement(*(impacts(localised, pairs, localisation.seeds_of(block)) for block in blocks))
    shared = agreement(*(impacts(localised, pairs, [[seed]] * len(pairs)) for seed in (0, 1)))
    assert own >= 0.95 and shared < 0.5


def impacts(work, pairs, seeds):
    """Equation 9 on scores that are drawn by pair, by seed and by clip, each with its layer."""
    plan = patching.plan_sweep(work.model, pairs, seeds, None, work.setting, None)
    layers = plan["layers"].replace({"none": "100", "all": "101"}).astype(int)
    means = np.where(layers == 100, 0.0, np.where(layers == 101, 1.0, 0.02 * layers))
    places = plan["pair"].factorize()[0]
    by_pair, by_seed = (
        np.array([np.random.default_rng([kind, *one]).normal(0, size) for one in zip(causes, layers, strict=True)])
        for kind, (causes, size) in enumerate(((places, 0.1), (plan["seed"], 0.3)))
    )
    named = {"checkpoint": "tiny", "model": "ace-step", "metric": "drawn", "value": means + by_pair + by_seed}
    return patching.impact(plan.assign(**named))


def agreement(one, other):
    """The share of cells whose two intervals have a value in common."""
    both = one.merge(other, on=["concept", "layers"])
    return ((both["low_x"] <= both["high_y"]) & (both["low_y"] <= both["high_x"])).mean()


@pytest.fixture(scope="module")
def steered_work(tiny_folder):
    return steering.plan("ace-step", tiny_folder("ace-step"), "mini", vocabulary="mini")


def test_a_held_out_prompt_has_its_own_noise_at_every_strength(steered_work):
    """As page 05 says."""
    trial = steering.result_trial(steered_work, "tempo")
    vector = Vector({steered_work.model.sites[0]: torch.ones(1, 8)})
    plan = plan_steering(steered_work.model, [Arm("caa", vector, None)], trial, [-50.0, 50.0], None)
    assert len(set(trial.seeds)) == len(trial.rows) == steered_work.profile.steering.prompts
    assert plan.groupby("prompt")["seed"].nunique().max() == plan.groupby("seed")["prompt"].nunique().max() == 1
    assert plan.groupby("seed")["percent"].nunique().min() == 3


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("vocabulary", ["mini", "public"])
def test_what_chooses_is_not_what_measures(steered_work, profile, vocabulary):
    work = replace(steered_work, profile=PROFILES[profile], vocabulary=vocabulary)
    size, ranged = work.profile.steering, work.profile.table.scale != "paper"
    for concept in steered.CONCEPTS:
        ranges, results = steering.range_trial(work, concept), steering.result_trial(work, concept)
        table = steering.result_trial(work, concept, work.profile.table.prompts, ranged)
        assert len(table.rows) == work.profile.table.prompts
        pairs, recipe = steered.pairs(concept, vocabulary, count=size.pairs), steering.recipe(work, concept)
        fitted = (*pairs.positive, *pairs.negative)
        check_disjoint("prompts", contrast=fitted, ranges=ranges.prompts, results=results.prompts)
        check_disjoint("seeds", contrast=range(recipe.seed, recipe.seed + recipe.count), results=table.seeds)
    autoencoder._split_captions(work)


def test_prompts_that_choose_are_refused_as_results(steered_work, monkeypatch):
    monkeypatch.setattr(steering, "range_trial", lambda work, concept: steering.result_trial(work, concept, 2, False))
    profile = steered_work.profile
    profile = replace(profile, steering=replace(profile.steering, range_prompts=0))
    with pytest.raises(ValueError, match="ranges and results share 2 prompts.*must not measure"):
        steering.result_trial(replace(steered_work, profile=profile), "tempo")


def test_blocks_of_seeds_do_not_meet_and_recipes_draw_from_none():
    assert all(one.stop <= other.start for one, other in pairwise(SEEDS.values()))
    assert min(SEEDS.values(), key=min).start >= 2_100_000_000 and max(SEEDS.values(), key=max).stop < 2**31


def test_the_authors_shared_noise_has_a_name(tiny_model):
    model = tiny_model("stable-audio")
    recipe = library.Recipe("mood", tada.Setting(SECONDS, tada.Sampling(2, 3.0)), 2, sites=[1])
    own, shared = (library.fit(model, replace(recipe, shared_noise=given), None) for given in (False, True))
    assert own.info["seeds"] == [[10], [11]] and shared.info["seeds"] == [[10], [10]]
    assert not torch.equal(own.directions[model.sites[1]], shared.directions[model.sites[1]])
