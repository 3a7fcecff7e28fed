"""AUSteer, probes and controls: naive references and known answers."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import tada
from checks import SECONDS
from tada import steering
from tada.errors import InputError
from tada.steering import Arm, ClampArm, PromptArm, TokenArm, Trial, Vector, pairwise, ranges, seeded
from tada.steering.arms import steer
from tada.store import Store

QUICK = tada.Sampling(steps=2, guidance=3.0)
SETTING = tada.Setting(SECONDS, QUICK, batch=4)
HAPPY, SAD = ["a happy song", "a happy tune with piano", "happy"], ["a sad song", "a sad tune with piano", "sad"]
SITES = [1, 5]


def outputs(model, pair, seed):
    """Site -> ``[2, steps, frames, dim]`` of a pair of clips."""
    with tada.record(model, SITES) as kept:
        model.sample(model.encode(list(pair)), model.noise([seed, seed], SECONDS), QUICK)
    return {site: kept[site].transpose(0, 1) for site in kept}


@pytest.fixture(scope="module")
def model_(tiny_model):
    return tiny_model("ace-step")


@pytest.fixture(scope="module")
def heard(model_):
    """Site -> outputs of all pairs, ``[pairs, 2, steps, frames, dim]``, one clip at a time."""
    pairs = [outputs(model_, pair, 1 + number) for number, pair in enumerate(zip(HAPPY, SAD, strict=True))]
    return {site: torch.stack([pair[site] for pair in pairs]) for site in pairs[0]}


def test_austeer_is_the_sign_consistency_of_all_frames(model_, heard):
    vector = steering.sign_consistency(model_, HAPPY, SAD, 1, replace(SETTING, batch=2), SITES)
    for site, both in heard.items():
        m = (both[:, 0] - both[:, 1]).transpose(0, 1).flatten(1, 2)  # steps, frames of all pairs, dim
        up, down = (m > 0).float().mean(1), (m < 0).float().mean(1)
        beta = torch.where(up >= down, 1.0, -1.0) * torch.maximum(up, down)
        torch.testing.assert_close(vector.directions[site], beta, atol=1e-6, rtol=0)


def test_austeer_counts_the_same_in_any_batch(model_):
    """But for differences of about 0, whose sign is rounding's."""
    one, other = (steering.sign_consistency(model_, HAPPY, SAD, 1, replace(SETTING, batch=n), SITES) for n in (2, 6))
    for site in one.sites:
        assert ((one.directions[site] - other.directions[site]).abs() > 1e-6).float().mean() < 0.01


def test_the_largest_entries_of_a_step_are_kept_over_all_sites():
    directions = {"a": torch.tensor([[0.5, -0.9, 0.1], [1.0, 0.0, 0.0]]), "b": torch.tensor([[0.5, 0.6], [1.0, -1.0]])}
    kept = steering.keep_largest(Vector(directions), 3).directions
    assert kept["a"].tolist() == [[0.5, pytest.approx(-0.9), 0.0], [1.0, 0.0, 0.0]]
    assert kept["b"].tolist() == [[0.0, pytest.approx(0.6)], [1.0, -1.0]]
    one = steering.keep_largest(Vector(directions), 1, ["b"])
    assert one.sites == ("b",) and one.directions["b"].tolist() == [[0.0, pytest.approx(0.6)], [1.0, 0.0]]
    with pytest.raises(InputError, match="count=6"):
        steering.keep_largest(Vector(directions), 6)


@pytest.mark.parametrize("ridge", [0.3, 1.0])
def test_a_probe_is_ridge_regression(model_, heard, ridge):
    vector = steering.probe_direction(model_, HAPPY, SAD, 1, replace(SETTING, batch=2), SITES, ridge)
    for site, both in heard.items():
        for step in range(2):
            x = both[:, :, step].double().mean(2).flatten(0, 1).numpy()
            x -= x.mean(0)
            penalty = ridge * (x**2).sum() / len(x) * np.eye(x.shape[1])
            weights = np.linalg.solve(x.T @ x + penalty, x.T @ np.tile([1.0, -1.0], len(HAPPY)))
            found = vector.directions[site][step].double().numpy()
            np.testing.assert_allclose(found, weights / np.linalg.norm(weights), atol=1e-6)


def test_a_probe_of_a_step_in_which_nothing_differs_is_zero():
    same = torch.ones(1, 2, 2, 3).double()
    means = torch.cat([same, same + torch.eye(4).view(1, 2, 2, 4)[..., :3]])
    found = pairwise._probe(means, 1.0)
    assert (found[0] == 0).all() and found[1].isfinite().all() and found[1].any()


def test_a_probe_of_great_penalty_is_the_mean_difference(model_):
    probe = steering.probe_direction(model_, HAPPY, SAD, 1, SETTING, SITES, 1e6)
    caa = steering.contrast(model_, HAPPY, SAD, 1, SETTING, SITES)
    for site in caa.sites:
        torch.testing.assert_close(probe.directions[site], caa.directions[site], atol=1e-4, rtol=0)


# ---- controls


def test_a_random_vector_keeps_lengths_and_angles_between_steps():
    draw = torch.Generator().manual_seed(0)
    vector = Vector({site: torch.randn(steps, dim, generator=draw) for site, steps, dim in (("a", 6, 40), ("b", 6, 4))})
    first, again, other = (steering.random_like(vector, seed) for seed in (1, 1, 2))
    for site, own in vector.directions.items():
        turned = first.directions[site]
        torch.testing.assert_close(turned @ turned.T, own @ own.T, atol=1e-4, rtol=1e-4)
        assert torch.equal(turned, again.directions[site]) and not torch.allclose(turned, other.directions[site])


def test_random_vectors_point_nowhere():
    """The mean cosine of many is 0 within its interval, and their squares are those of chance, 1 / dim."""
    vector = Vector({"a": torch.eye(1, 50)})
    cosines = torch.stack([steering.random_like(vector, seed).directions["a"][0, 0] for seed in range(400)])
    assert abs(cosines.mean()) < 3 / math.sqrt(50 * 400)
    assert cosines.square().mean() * 50 == pytest.approx(1, abs=0.25)


def test_shuffled_labels_are_the_same_prompts_and_half_are_swapped():
    positive, negative = ([f"{word} {n}" for n in range(9)] for word in ("happy", "sad"))
    one, other = steering.shuffle_labels(positive, negative, 0)
    assert [set(pair) for pair in zip(one, other, strict=True)] == [
        set(pair) for pair in zip(positive, negative, strict=True)
    ]
    assert sum(text.startswith("sad") for text in one) == 4
    assert (
        (one, other) == steering.shuffle_labels(positive, negative, 0) != steering.shuffle_labels(positive, negative, 1)
    )
    with pytest.raises(InputError, match="two or more"):
        steering.shuffle_labels(["a"], ["b"], 0)


def test_an_unrelated_vector_has_the_lengths_of_the_other():
    vector = Vector({"a": torch.tensor([[3.0, 4.0], [0.0, 1.0]])})
    other = steering.unrelated(Vector({"a": torch.tensor([[0.0, 2.0]]), "b": torch.ones(1, 2)}), vector)
    assert other.sites == ("a",) and other.directions["a"].tolist() == [[0.0, 5.0], [0.0, 1.0]]
    with pytest.raises(InputError, match="lacks 1 of 1 sites"):
        steering.unrelated(Vector({"b": torch.ones(1, 2)}), vector)


# ---- as the engine runs them


def loud(clips, rows):
    return {"level": clips.audio.square().mean((1, 2))}


def test_the_engine_runs_every_kind_of_arm(model_, tmp_path):
    prompts = ("a song q", "a tune q")
    poles = {prompt: (f"happy {prompt}", f"sad {prompt}") for prompt in prompts}
    vector = steering.contrast(model_, HAPPY, SAD, 1, SETTING, SITES)
    token = steering.token_vector(model_, ["a z"], ["a y"], "z")
    arms = [
        Arm("CAA", vector, SITES),
        ClampArm("clamp", vector, SITES),
        PromptArm("PCI", steering.switch_prompt, poles, scale=(2.0, 2.0)),
        PromptArm("TextEmb", steering.shift_text, poles, SITES, options={"steps": [1]}),
        PromptArm("FreeSliders", steering.guide_apart, poles, "all"),
        PromptArm("paraphrase", steering.switch_prompt, steering.paraphrases(prompts), scale=(2.0, 2.0)),
        TokenArm("TokEmb", token, "q"),
    ]
    for layers in ([1], [4]):
        slider = steering.sliders.draw_slider(model_, layers)
        slider = replace(slider, up={name: torch.ones_like(up) / 9 for name, up in slider.up.items()})
        arms.append(steering.SliderArm("Concept Sliders", slider, layers, (1.0, 1.0)))
    trial = Trial("mood", seeded(prompts, 7), SETTING)
    together = steer(model_, arms, trial, [-100.0, 100.0], loud, Store(tmp_path))
    assert len(together) == 2 * (1 + 2 * len(arms)) and together["value"].notna().all()
    assert together["value"].nunique() == len(together) - 2, "a paraphrase's other side is the prompt itself"
    for arm in arms:
        alone = steer(model_, [arm], trial, [-100.0, 100.0], loud)
        both = alone.merge(together, on="unit_hash")
        assert len(both) == len(alone)
        np.testing.assert_allclose(both["value_x"], both["value_y"], rtol=1e-4)
    with pytest.raises(KeyError, match="no prompt with poles"):
        steer(model_, [arms[2]], Trial("mood", seeded(["another song"], 7), SETTING), [50.0], loud)


def moved(clips, rows):
    """Every strength moves a clip by its size."""
    return {"lpaps": rows["alpha"].abs().to_numpy()}


def test_any_arm_is_calibrated_by_distance(model_):
    arm = PromptArm("TextEmb", steering.shift_text, {"a song": ("a happy song", "a sad song")})
    trial = Trial("mood", seeded(["a song"], 7), SETTING)
    found, reached = ranges.range_by_distance(model_, arm, trial, (0.5, 9.0), moved, [0.5, 1.0])
    assert found.scale == (0.5, 1.0) and reached == (True, False) and found.equation is steering.shift_text
