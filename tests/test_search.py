"""The search over autoencoders, and the features of one: rule, measures, browser."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

import tada
from checks import SECONDS
from tada.display.features import feature_table
from tada.experiments import autoencoder
from tada.experiments.experiment import Experiment
from tada.experiments.profiles import PROFILES, get_profile
from tada.sae import SaeConfig, SparseAutoencoder, features
from tada.sae.search import choose, search
from tada.sae.streams import epochs, keep_part, read_part
from tada.sae.training import measure
from tada.steering import Trial, seeded
from tada.steering.ranges import grid

DIM = 12


@pytest.fixture
def hidden():
    draw = torch.Generator().manual_seed(0)
    atoms = torch.nn.functional.normalize(torch.randn(20, DIM, generator=draw), dim=1)
    picks = torch.randint(20, (2048, 3), generator=draw)
    return (atoms[picks] * torch.rand(2048, 3, 1, generator=draw)).sum(dim=1)


def test_measures_are_what_they_say(hidden):
    torch.manual_seed(0)
    sae = SparseAutoencoder(SaeConfig(DIM, 2 * DIM, 3))
    sae.initialise(hidden)
    found = measure(sae, hidden.split(100))
    with torch.no_grad():
        rebuilt, code = sae(hidden), sae.encode(hidden)
    share = (rebuilt - hidden).square().sum() / (hidden - hidden.mean(dim=0)).square().sum()
    on = torch.zeros(len(hidden), 2 * DIM).scatter(1, code.indices, (code.values > 0).float())
    assert found["unexplained"] == pytest.approx(float(share), rel=1e-4)
    assert found["l0"] == pytest.approx(float(on.sum(dim=1).mean()))
    assert found["dead"] == pytest.approx(float((on.sum(dim=0) == 0).float().mean()))
    assert found["frequent"] == pytest.approx(float((on.mean(dim=0) > 0.1).float().mean()))


def test_the_rule_adds_up_the_three_shares():
    rows = [(8, 16, 0.1, 0.0, 0.2), (4, 64, 0.1, 0.1, 0.1), (2, 16, 0.5, 0.0, 0.0), (4, 16, 0.1, 0.1, 0.1)]
    chosen = choose(pd.DataFrame(rows, columns=["m", "k", "unexplained", "dead", "frequent"]))
    assert chosen.loc[chosen["chosen"], ["m", "k"]].to_numpy().tolist() == [[4, 16]]


def test_combinations_of_many_dead_features_are_passed_over_where_there_are_others():
    table = pd.DataFrame(
        {"m": [2, 4], "k": [32, 32], "unexplained": [0.1, 0.1], "dead": [0.1, 0.2], "frequent": [0.5, 0.1]}
    )
    assert choose(table)["chosen"].tolist() == [True, False]
    assert choose(table.assign(dead=[0.9, 0.2]))["chosen"].tolist() == [False, True]


def test_every_combination_is_trained_on_the_same_tokens(hidden):
    def batches():
        return iter(hidden[:1024].split(128) * 4)

    held_out = hidden[1024:].split(500)
    table, found = search(batches, held_out, 30, (2, 4), (2, 4), rate=3e-3)
    by = table.set_index(["m", "k"])
    assert list(by.index) == [(2, 2), (2, 4), (4, 2), (4, 4)]
    assert (found.config.latents // DIM, found.config.k) == by.index[by["chosen"]][0]
    assert measure(found, held_out)["unexplained"] == by.loc[by["chosen"], "unexplained"].item()
    alone, _ = search(batches, held_out, 30, (4,), (4,), rate=3e-3)
    assert alone["unexplained"][0] == by.loc[(4, 4), "unexplained"]
    with pytest.raises(ValueError, match="k <= m"):
        search(batches, held_out, 1, (1,), (99,))


def test_training_goes_on_where_it_was(hidden):
    torch.manual_seed(0)
    sae = SparseAutoencoder(SaeConfig(DIM, 2 * DIM, 3))
    tada.sae.train({"x": sae}, ({"x": hidden[:256]} for _ in range(5)), 5)
    bias = sae.b_pre.detach().clone()
    tada.sae.train({"x": sae}, ({"x": hidden[:256] + 100} for _ in range(1)), 1, rate=1e-12)
    torch.testing.assert_close(sae.b_pre.detach(), bias)


# ---- kept activations


@pytest.fixture
def files(tmp_path):
    """Tokens 0 to 63 in files of 16."""
    places = [tmp_path / f"{number}.safetensors" for number in range(4)]
    for place, part in zip(places, torch.arange(64.0)[:, None].split(16), strict=True):
        keep_part(part, place)
    return places


@pytest.mark.parametrize("window", [10**6, 1])
def test_epochs_serve_every_token_once_a_round(files, window):
    batches = epochs(files, 8, seed=3, window=window)
    rounds = [torch.cat([next(batches) for _ in range(8)]).flatten() for _ in range(2)]
    for served in rounds:
        assert torch.equal(served.sort().values, torch.arange(64.0))
    assert not torch.equal(*rounds)
    in_one_file = (rounds[0].view(4, 16) // 16).diff(dim=1).abs().sum() == 0
    assert in_one_file == (window == 1)
    again = epochs(files, 8, seed=3, window=window)
    assert torch.equal(torch.cat([next(again) for _ in range(8)]).flatten(), rounds[0])


def test_what_float16_does_not_hold_is_refused(tmp_path):
    with pytest.raises(ValueError, match="7e\\+04"):
        keep_part(torch.tensor([[7e4]]), tmp_path / "x.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def work(tiny_model):
    """A tiny experiment: three clips, of which one is held out, at two of three denoising steps."""
    size = replace(get_profile("smoke").autoencoder, clips=2, steps=2, expansions=(2,), tokens=16)
    profile = replace(get_profile("smoke"), autoencoder=size)
    setting = tada.Setting(SECONDS, tada.Sampling(3, 3.0), batch=1)
    return Experiment(tiny_model("ace-step"), setting, None, profile, "mini")


def test_activations_are_kept_by_the_batch_and_a_stopped_run_goes_on(work, tmp_path, monkeypatch):
    site = work.model.sites[7]
    first = autoencoder.gather_activations(work, site, ["a song", "a tune"], 5, tmp_path)
    with tada.record(work.model, site, steps=[0, 1]) as kept:
        work.model.sample(work.model.encode("a tune"), work.model.noise([6], SECONDS), work.setting.sampling)
    torch.testing.assert_close(read_part(first[1]).float(), kept[site].flatten(0, 2), rtol=1e-3, atol=1e-6)
    written = first[0].stat().st_mtime_ns, first[1].read_bytes()
    first[1].unlink()
    assert autoencoder.gather_activations(work, site, ["a song", "a tune"], 5, tmp_path) == first
    assert (first[0].stat().st_mtime_ns, first[1].read_bytes()) == written
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=10))
    with pytest.raises(ValueError, match="name another folder"):
        autoencoder.gather_activations(work, site, ["a song", "a tune"], 9, tmp_path)


def test_a_stopped_search_is_not_done_again(work, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(autoencoder.saes, "train", lambda *args, **kwargs: pytest.exit("stopped"))
        with pytest.raises(pytest.exit.Exception):
            autoencoder.train_or_load(work, 7, tmp_path)
    monkeypatch.setattr(autoencoder, "search", lambda *args, **kwargs: pytest.fail("searched again"))
    found = autoencoder.train_or_load(work, 7, tmp_path)
    assert found.table["chosen"].sum() == 1 and len(found.log) and found.measured["l0"] > 0


PUBLIC_SITES = {
    "audioldm2": lambda seconds: [(100 * seconds, 512), (26 * seconds, 768), (7 * seconds, 1280)],
    "stable-audio": lambda seconds: [(1025, 1536)],
    "ace-step": lambda seconds: [(11 * seconds, 2560)],
}
"""Tokens and widths of the public checkpoints' sites, for a clip of so many seconds."""


@pytest.mark.parametrize("name", PUBLIC_SITES)
@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_fits_into_12_gb_of_memory(profile, name):
    """Whatever the site: also the paper's 5,521 clips, whose activations lie on the disk (15 to 88 GB)."""
    size, steps = get_profile(profile).autoencoder, {"smoke": 3, "mini": 8, "colab": 5, "paper": 5}
    for tokens, width in PUBLIC_SITES[name](int(size.seconds or 30)):
        wanted = autoencoder.estimate_bytes(size, tokens, width, steps[profile], batch=8)
        assert wanted["memory"] < 12e9
        assert wanted["disk"] < (90e9 if profile == "paper" else 8e9)


# ---- the browser


@pytest.fixture
def sae_of(tiny_model):
    def build(name, layer):
        model = tiny_model(name)
        torch.manual_seed(0)
        return model, model.sites[layer], SparseAutoencoder(SaeConfig(model.site_width(model.sites[layer]), 32, 4))

    return build


TRIAL = Trial("x", seeded(("a song", "a tune", "a beat"), 1), tada.Setting(SECONDS, tada.Sampling(2, 3.0), batch=2))


@pytest.mark.parametrize("name", list(tada.ARCHITECTURES))
def test_activity_is_the_mean_of_the_codes(sae_of, name):
    model, site, sae = sae_of(name, 1)
    heard = features.listen(model, sae, site, TRIAL, [3, 5], moments=4)
    assert heard.activity.shape[:2] == (3, 2)
    with tada.record(model, [site]) as kept:
        model.sample(model.encode(["a tune"]), model.noise([1], SECONDS), TRIAL.setting.sampling)
    hidden = features.in_time(model, kept[site], SECONDS)[:, 0].flatten(0, -2)
    code = sae.encode(hidden)
    expected = (code.values * (code.indices == 5)).sum().detach() / len(hidden)
    even = heard.of(5).shape[1] == 1 or name != "audioldm2"
    assert float(heard.of(5)[1].mean()) == pytest.approx(float(expected), rel=0.2 if even else 0.5, abs=1e-4)


@pytest.mark.parametrize(("name", "layer"), [("audioldm2", 0), ("audioldm2", 24), ("stable-audio", 3), ("ace-step", 3)])
def test_time_goes_from_left_to_right(sae_of, name, layer):
    """As many moments as the latents have, at the resolution of the layer."""
    model, site, _ = sae_of(name, layer)
    with tada.record(model, [site], steps=[0]) as kept:
        model.sample(model.encode(["a"]), model.noise([1], SECONDS), TRIAL.setting.sampling)
    placed, shape = features.in_time(model, kept[site], SECONDS), model.noise_shape(SECONDS)
    assert placed.shape[2] * placed.shape[3] == kept[site].shape[2] - (name == "stable-audio")
    if name == "audioldm2":
        assert placed.shape[2] / placed.shape[3] == pytest.approx(shape[1] / shape[2], rel=0.34)
    else:
        assert placed.shape[2] == shape[-1]


def test_most_active_clips_and_moments():
    activity = torch.zeros(3, 1, 4)
    activity[2, 0, 1], activity[0, 0, 3] = 5.0, 2.0
    clips = tada.Clips(torch.zeros(3, 1, 800), 100)
    heard = features.FeatureActivity(clips, (7,), activity)
    table = features.most_active(heard, 7, 2)
    assert table["clip"].tolist() == [2, 0]
    assert table["second"].tolist() == [3.0, 7.0]
    with pytest.raises(KeyError, match="feature 8"):
        features.most_active(heard, 8)


def test_top_features_of_each_concept():
    table = pd.DataFrame({"tempo": [3.0, 1.0, 0.0], "mood": [1.0, 4.0, 0.0]})
    best = features.top(table, 1)
    assert best[["concept", "feature"]].to_numpy().tolist() == [["tempo", 0], ["mood", 1]]
    assert best["share"].tolist() == [0.75, 0.8]


def test_the_page_has_a_player_and_a_curve_for_every_clip(sae_of, tmp_path, page):
    model, site, sae = sae_of("ace-step", 3)
    heard = features.listen(model, sae, site, TRIAL, [3, 5], keep=tmp_path / "heard")
    again = features.listen(model, sae, site, TRIAL, [3, 5], keep=tmp_path / "heard")
    assert torch.equal(again.activity, heard.activity)
    best = pd.DataFrame({"concept": ["tempo<", "mood"], "feature": [3, 5], "score": [1.0, 2.0], "share": [1.0, 0.5]})
    effects = pd.DataFrame({"feature": [3, 3], "alpha": [-1.0, 1.0], "metric": "concept", "value": [0.25, 0.75]})
    table = feature_table(heard, best, "feature", 2, effects).data
    assert table.count("<audio") == table.count("<svg") == 4
    assert "tempo&lt;" in table and "+1: 0.75" in table
    assert len(list(page.glob("*/*.mp3"))) >= 3


def test_features_that_are_not_there(sae_of):
    model, site, sae = sae_of("ace-step", 3)
    with pytest.raises(ValueError, match="0 to 31"):
        features.listen(model, sae, site, TRIAL, [32])
    with pytest.raises(ValueError, match="width"):
        features.listen(model, SparseAutoencoder(SaeConfig(5, 10, 2)), site, TRIAL, [1])


def test_one_feature_steers(sae_of):
    model, site, sae = sae_of("ace-step", 3)

    def score(clips, rows):
        return {"concept": clips.audio.abs().mean((1, 2)).numpy()}

    score.key = "level"
    rows = grid(model, features.arm(sae, site, 4, model.checkpoint), TRIAL, [0.0, 30.0], score)
    means = rows.groupby("alpha")["value"].mean()
    assert not np.isclose(means[0.0], means[30.0])
    torch.testing.assert_close(features.single(sae, site, 4).directions[site][0], sae.W_dec[4].detach())
