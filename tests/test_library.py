"""Vectors kept in a folder, and folders for model hubs."""

from __future__ import annotations

import json

import pytest
import torch

import tada
from checks import SECONDS
from tada import steering
from tada.sae import SaeConfig, SparseAutoencoder, exchange
from tada.steering import library

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
    library.fit(model, recipe(seed=11), tmp_path)
    assert calls == [1]


def test_the_concepts_lyrics_reach_a_model_that_sings(tiny_model, monkeypatch):
    asked = []
    monkeypatch.setattr(
        library, "contrast", lambda *a: asked.append(a[4].lyrics) or steering.Vector({"a": torch.ones(1, 2)})
    )
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


def test_a_vector_through_a_hub_folder(tmp_path):
    vector = steering.Vector({"b": torch.randn(2, 3), "a": torch.randn(2, 3)}, {"concept": "mood", "sites": ["b", "a"]})
    folder = exchange.export_vector(vector, tmp_path / "v")
    again = exchange.load_vector(folder)
    assert again.sites == ("b", "a") and torch.equal(again.directions["a"], vector.directions["a"])
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlicense:") and "mood" in card


def test_pickled_vectors_are_refused(tmp_path):
    (tmp_path / "sv.pkl").write_bytes(b"x")
    with pytest.raises(FileNotFoundError, match="sv.pkl, and pickles run code"):
        exchange.load_vector(tmp_path)
    with pytest.raises(FileNotFoundError, match="no hub id"):
        exchange.load_vector(tmp_path / "none" / "at" / "all")


@pytest.mark.parametrize("bias", [False, True])
def test_an_autoencoder_in_our_layout_and_in_the_authors(tmp_path, bias):
    torch.manual_seed(0)
    sae = SparseAutoencoder(SaeConfig(8, 32, 4, encoder_bias=bias)).eval()
    with torch.no_grad():
        sae.scale.fill_(2.5)
        sae.b_pre.normal_()
        if bias:
            sae.b_enc.normal_(std=0.1)
    hidden = torch.randn(40, 8) * 3
    folder = exchange.export_sae(sae, tmp_path / "s", {"site": "x"})
    ours, theirs = exchange.load_sae(folder), exchange.load_sae(folder / "authors")
    assert torch.equal(ours(hidden), sae(hidden))
    torch.testing.assert_close(theirs(hidden), sae(hidden), atol=1e-5, rtol=1e-5)
    assert set(json.loads((folder / "authors" / "cfg.json").read_text())) >= {"d_in", "num_latents", "k"}
    with pytest.raises(FileNotFoundError, match="no cfg.json"):
        exchange.load_sae(tmp_path)
    (folder / "authors" / "cfg.json").unlink()
    with pytest.raises(FileNotFoundError, match="no cfg.json"):
        exchange.load_sae(folder / "authors")
