"""Concept Sliders: the loss by merged weights, a training that falls and resumes, strengths a row."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import tada
from checks import SECONDS, assert_same
from tada import steering
from tada.errors import InputError
from tada.models.run import SamplingState
from tada.steering import Poles, SliderRecipe, sliders

QUICK = tada.Sampling(steps=3, guidance=3.0)
SETTING = tada.Setting(SECONDS, QUICK, batch=2)
TEXTS = ["a song", "a happy song", ""]
NEUTRAL, HAPPY = ["a song", "a tune with piano"], ["a happy song", "a happy tune with piano"]


@pytest.fixture
def model(model):
    if model.residuals:
        with pytest.raises(InputError, match="diffusion model"):
            sliders.draw_slider(model)
        pytest.skip("no diffusion model")
    return model


def drawn(model, layers=None):
    """A slider that changes something."""
    slider = sliders.draw_slider(model, layers, rank=4)
    draw = torch.Generator().manual_seed(3)
    return replace(slider, up={name: torch.randn(up.shape, generator=draw) / 4 for name, up in slider.up.items()})


def sample(model, rows=1):
    return model.sample(model.encode(["a song"] * rows), model.noise([7] * rows, SECONDS), QUICK).values


def naive_loss(model, slider, contexts, noise, step, monkeypatch):
    """The changes are added to the weights, and every prediction is a call of its own."""
    name, seen = "both" if model.name == "ace-step" else "ask", []
    original, settings = getattr(model, name), model.sampling(QUICK)
    monkeypatch.setattr(model, name, lambda x, t, *rest: seen.append((x, t)) or original(x, t, *rest))

    def predict(context):
        run = SamplingState(model.conditioning(context, SECONDS, settings), settings, SECONDS, len(noise))
        x, t = seen[step]
        return model.denoise(x, t, run) if name == "ask" else model.predict(x, t, run, step, ("cond",))

    plain = {module: model.denoiser.get_submodule(module).weight.clone() for module in slider.up}
    with torch.no_grad():
        for module, up in slider.up.items():
            model.denoiser.get_submodule(module).weight += up @ slider.down[module] / 4
        model.sample(contexts[0], noise, QUICK)
        changed = predict(contexts[1])
        for module, weight in plain.items():
            model.denoiser.get_submodule(module).weight.copy_(weight)
        neutral, positive, empty = (predict(context) for context in contexts)
    return (changed - neutral - 7.0 * (positive - empty)).square().mean()


@pytest.mark.parametrize("layers", [None, [1, 4]])
def test_the_loss_is_that_of_merged_weights(model, monkeypatch, layers):
    slider, encoded = drawn(model, layers), model.encode(TEXTS)
    poles, noise = Poles(*(encoded[[row, row]] for row in range(3))), model.noise([1, 2], SECONDS)
    found = sliders.slider_loss(model, slider, poles, noise, model.sampling(QUICK), 2)
    expected = naive_loss(model, slider, poles, noise, 2, monkeypatch)
    assert float(found) == pytest.approx(float(expected), rel=1e-5, abs=1e-6)
    assert not model.live.guides


def test_layers_are_their_blocks_with_both_kinds_of_attention(model):
    block = model.sites[4].rpartition(".")[0]
    assert all(name.startswith(f"{block}.") for name in sliders.draw_slider(model, [4]).down)
    assert len(sliders.draw_slider(model, [4]).down) == 8


@pytest.mark.parametrize("layers", [None, [1, 4], [0, 2]], ids=["all", "functional", "others"])
def test_strength_0_is_plain_and_a_batch_is_one_by_one(model, layers):
    slider, grid, plain = drawn(model, layers), [-1.0, 0.0, 2.0], sample(model, 3)
    with slider.apply(model, 0.0):
        assert torch.equal(sample(model, 3), plain)
    with slider.apply(model, grid):
        together = sample(model, 3)
    assert torch.equal(together[1], plain[1]) and not torch.equal(together[0], plain[0])
    for alpha, row in zip(grid, together, strict=True):
        with slider.apply(model, alpha):
            assert_same(sample(model)[0], row)
    with pytest.raises(InputError, match="3 strengths for 1 rows"), slider.apply(model, grid):
        sample(model)


@pytest.fixture
def small(tiny_model):
    return tiny_model("stable-audio")


def test_training_lowers_the_loss_and_a_slider_is_a_file(small, tmp_path):
    recipe, quick = SliderRecipe([1, 4], rank=4, eta=2.0, iterations=12, rate=3e-3), tada.Sampling(2, 3.0)
    encoded = small.encode(TEXTS)
    poles, noise = Poles(*(encoded[[row]] for row in range(3))), small.noise(1, SECONDS)
    setting = tada.Setting(SECONDS, quick, batch=1)
    slider = steering.train_slider(small, TEXTS[:1], TEXTS[1:2], setting, recipe, tmp_path / "happy.safetensors")
    again = steering.Slider.load(tmp_path / "happy.safetensors")
    assert len(again.info["losses"]) == 12 and again.info["checkpoint"] == small.checkpoint
    assert all(torch.equal(again.up[name], up) and up.any() for name, up in slider.up.items())
    before, after = (
        float(sliders.slider_loss(small, one, poles, noise, small.sampling(quick), 1, recipe.eta))
        for one in (sliders.draw_slider(small, [1, 4], 4), again)
    )
    assert after < before / 2


def test_a_training_that_goes_on_ends_up_the_same(small, tmp_path):
    path, recipe = tmp_path / "one.safetensors", SliderRecipe([1], rank=2, iterations=4, rate=1e-2)
    whole = steering.train_slider(small, NEUTRAL, HAPPY, SETTING, recipe, tmp_path / "whole.safetensors")
    steering.train_slider(small, NEUTRAL, HAPPY, SETTING, replace(recipe, iterations=2), path)
    parts = steering.train_slider(small, NEUTRAL, HAPPY, SETTING, recipe, path)
    assert parts.info["losses"] == whole.info["losses"]
    assert all(torch.equal(parts.down[name], down) for name, down in whole.down.items())
    with pytest.raises(InputError, match="another recipe"):
        steering.train_slider(small, NEUTRAL, HAPPY, SETTING, replace(recipe, eta=1.0), path)
    one = replace(SETTING, sampling=tada.Sampling(1, 3.0))
    with pytest.raises(InputError, match="1 denoising step"):
        steering.train_slider(small, NEUTRAL, HAPPY, one, recipe, tmp_path / "other.safetensors")


def test_a_slider_of_another_checkpoint_is_refused(small):
    slider = replace(drawn(small, [1]), info={"checkpoint": "another"})
    with pytest.raises(InputError, match="this slider is of another"), slider.apply(small, 1.0):
        pass
