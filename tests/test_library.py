"""Vectors kept in a folder."""

from __future__ import annotations

import pytest
import torch

import tada
from checks import SECONDS
from tada import steering
from tada.concepts import steered as prompts
from tada.errors import InputError
from tada.steering import Vector, library

QUICK = tada.Sampling(steps=2, guidance=3.0)


def recipe(concept="tempo", **changes):
    return library.Recipe(concept, tada.Setting(SECONDS, QUICK), count=2, vocabulary="mini", sites=[3], **changes)


def test_a_vector_is_fitted_once_for_each_recipe(tiny_model, tmp_path, monkeypatch):
    model = tiny_model("ace-step")
    first = library.fit(model, recipe(), tmp_path)
    assert first.sites == (model.sites[3],)
    calls = []
    monkeypatch.setattr(library, "contrast", lambda *a, **k: calls.append(1) or first)
    assert torch.equal(
        library.fit(model, recipe(), tmp_path).directions[first.sites[0]], first.directions[first.sites[0]]
    )
    assert not calls
    with pytest.raises(InputError, match="another folder.*--force"):
        library.fit(model, recipe(seed=11), tmp_path, force=False)
    assert not calls
    library.fit(model, recipe(seed=11), tmp_path)
    assert calls == [1]


def test_each_method_of_fitting_has_a_file_of_its_own(tiny_model, tmp_path):
    model = tiny_model("stable-audio")
    fitted = {method: library.fit(model, recipe(method=method), tmp_path) for method in library.METHODS}
    site, pairs = model.sites[3], prompts.pairs("tempo", "mini", count=2)
    setting = tada.Setting(SECONDS, QUICK)
    for method, sides in {
        "caa": (pairs.positive, pairs.negative),
        "difference": (pairs.positive, pairs.neutral),
    }.items():
        expected = steering.contrast(model, *sides, 10, setting, [3])
        torch.testing.assert_close(fitted[method].unit().directions[site], expected.directions[site])
    assert not torch.allclose(fitted["difference"].directions[site].norm(dim=-1), torch.ones(2))
    swapped = fitted["shuffled"].directions[site], fitted["caa"].directions[site]
    assert not torch.allclose(*swapped, atol=1e-3)
    assert fitted["austeer"].info["method"] == "austeer" and fitted["probe"].info["method"] == "probe"
    assert len(list(tmp_path.rglob("*.safetensors"))) == len(library.METHODS)
    with pytest.raises(KeyError, match="did you mean 'caa'"):
        library.fit(model, recipe(method="cca"), tmp_path)


def test_of_a_vector_its_mean_over_steps_can_be_kept(tiny_model, tmp_path):
    model = tiny_model("stable-audio")
    whole, mean = (library.fit(model, recipe(method="poles", step_mean=kept), tmp_path) for kept in (False, True))
    assert (whole.steps, mean.steps) == (2, 1) and whole.info["recipe"] != mean.info["recipe"]
    site = model.sites[3]
    assert torch.equal(mean.directions[site], whole.directions[site].mean(0, keepdim=True))


def test_a_vector_that_a_killed_run_left_half_written_is_fitted_again(tiny_model, tmp_path):
    model = tiny_model("ace-step")
    first, place = library.fit(model, recipe(), tmp_path), library.path(tmp_path, model, "tempo")
    about = place.with_suffix(".json").read_text()
    place.with_suffix(".json").unlink()
    again = library.fit(model, recipe(), tmp_path, force=False)
    assert torch.equal(again.directions[first.sites[0]], first.directions[first.sites[0]])
    assert place.with_suffix(".json").read_text() == about
    place.write_bytes(place.read_bytes()[:-1] + b"x")  # killed between the two files of a vector that was written over
    with pytest.raises(InputError, match="damaged"):
        library.fit(model, recipe(), tmp_path, force=False)
    library.fit(model, recipe(), tmp_path)
    assert Vector.load(place).info == first.info


def test_the_concepts_lyrics_reach_a_model_that_sings(tiny_model, monkeypatch):
    asked = []
    monkeypatch.setattr(library, "contrast", lambda *a: asked.append(a[4].lyrics) or Vector({"a": torch.ones(1, 2)}))
    for name in ("ace-step", "stable-audio"):
        library.fit(tiny_model(name), library.Recipe("tempo", tada.Setting(SECONDS, QUICK), count=1), None)
    assert asked == ["[inst]", None]


def test_a_concept_without_vector(tiny_model, tmp_path):
    model = tiny_model("ace-step")
    library.fit(model, recipe("mood"), tmp_path)
    assert library.find(tmp_path, model, "mood").info["concept"] == "mood"
    with pytest.raises(FileNotFoundError, match="there: mood.*tada vectors fit --model ace-step"):
        library.find(tmp_path, model, "tempo")
    with pytest.raises(KeyError, match="did you mean 'tempo'"):
        library.find(tmp_path, model, "tempos")
    with pytest.raises(FileNotFoundError, match="did you mean"):
        library.by_name(tmp_path, "ace-step/tiny-random-ace-step-seed-0/moods-caa")
