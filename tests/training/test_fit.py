"""The training loop: a killed run ends as if it had not been; and the probe's recipe on top of it."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from tada.minis import probe as probes
from tada.minis.attributes import CLASSES
from training import fit as fits
from training import material, recipes
from training import probe as recipe
from training.fit import fit, schedule


def toy(folder: Path, dies: bool = False) -> tuple[nn.Module, pd.DataFrame]:
    """A regression whose batches depend on the step alone."""
    torch.manual_seed(0)
    model = nn.Linear(3, 1)

    def loss(step: int) -> tuple[torch.Tensor, dict[str, float]]:
        x = torch.randn(16, 3, generator=torch.Generator().manual_seed(step))
        if step == 30 and dies:
            raise KeyboardInterrupt
        error = (model(x) - x.sum(1, keepdim=True)).square().mean()
        return error, {"size": error.item() ** 0.5}

    return model, fit(model, loss, folder, 60, rate=0.05)


def test_a_killed_run_ends_as_if_it_had_not_been(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, curve = toy(tmp_path / "whole")
    monkeypatch.setattr(fits, "SAVE_EVERY", 0.0)
    with pytest.raises(KeyboardInterrupt):
        toy(tmp_path / "killed", dies=True)
    with (tmp_path / "killed" / "curve.csv").open("a") as curve_file:
        curve_file.write("9000,1.0,1.0,1.0\n")  # a row whose checkpoint was never written
    resumed, again = toy(tmp_path / "killed")
    assert torch.equal(whole.weight, resumed.weight)
    both = [pd.read_csv(tmp_path / name / "curve.csv", dtype=str) for name in ("whole", "killed")]
    pd.testing.assert_frame_equal(*(each.drop(columns="seconds") for each in both))
    pd.testing.assert_frame_equal(curve.drop(columns="seconds"), again.drop(columns="seconds"))
    assert again["step"].tolist() == [10, 20, 30, 40, 50, 60]
    assert curve["loss"].iloc[-1] < curve["loss"].iloc[0]
    assert {path.name for path in (tmp_path / "killed").iterdir()} == {"checkpoint.safetensors", "curve.csv"}


def test_what_a_killed_run_was_writing_is_removed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "train", lambda folder, codecs, limit: None)
    monkeypatch.setattr(recipes.diffusion, "prepare", lambda mini, home, limit: True)
    names = f".{'0' * 12}.renders.npy.part.npy", ".mine.part", "curve.csv"
    for name in names:
        (tmp_path / "probe" / "codec").mkdir(parents=True, exist_ok=True)
        (tmp_path / "probe" / "codec" / name).touch()
    assert not recipes.train("probe", tmp_path)
    assert {path.name for path in (tmp_path / "probe" / "codec").iterdir()} == {*names[1:]}


def test_a_time_limit_leaves_a_checkpoint_to_go_on_from(tmp_path: Path) -> None:
    model = nn.Linear(1, 1)

    def loss(step: int) -> tuple[torch.Tensor, dict[str, float]]:
        return model(torch.ones(1, 1)).square().mean(), {}

    fit(model, loss, tmp_path, 50, limit=0.0)
    assert (tmp_path / "checkpoint.safetensors").is_file()
    fit(model, loss, tmp_path, 50)
    assert pd.read_csv(tmp_path / "curve.csv")["step"].iloc[-1] == 50


def test_tied_weights_are_kept_once_and_come_back(tmp_path: Path) -> None:
    def build() -> nn.ModuleDict:
        model = nn.ModuleDict({"one": nn.Linear(4, 4), "two": nn.Linear(4, 4)})
        model["two"].weight = model["one"].weight
        return model

    model = build()
    curve = fit(model, lambda step: (model["two"](model["one"](torch.ones(1, 4))).square().sum(), {}), tmp_path, 4)
    other = build()
    fit(other, lambda step: (other["two"](torch.ones(1, 4)).sum(), {}), tmp_path, 4)
    assert len(curve) and torch.equal(other["two"].weight, model["one"].weight)
    with pytest.raises(ValueError, match="another model"):
        fit(nn.Linear(2, 2), lambda step: (torch.zeros(()), {}), tmp_path, 5)


def test_the_schedule_rises_and_falls() -> None:
    rates = [schedule(step, 1000) for step in range(1000)]
    assert rates[0] < 0.1 and max(rates) == pytest.approx(1) and rates[-1] == pytest.approx(0.02, abs=1e-3)


def test_probe_training_writes_weights_that_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(material, "TESTED", 2)
    for name, value in {"CODED": 16, "STEPS": 2, "BATCH": 8}.items():
        monkeypatch.setattr(recipe, name, value)
    heard: list[int] = []
    codecs = {"quiet": lambda audio: heard.append(len(audio)) or audio / 2}
    curve = recipe.train(tmp_path, codecs)
    assert heard == [16] and recipe.through(tmp_path, "quiet", codecs["quiet"]).shape[0] == 16 and heard == [16]
    card = json.loads((tmp_path / "card.json").read_text())
    assert len(curve) == 1 and card["steps"] == 2 and card["accuracy"].keys() == CLASSES.keys()
    assert set(card["sha256"]) == {"probe.safetensors"}
    found = probes.load(tmp_path).probabilities(torch.randn(3, 2, 32_000), 16_000)
    assert {name: values.shape[1] for name, values in found.items()} == {n: len(c) for n, c in CLASSES.items()}


def test_training_and_test_clips_do_not_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, original = [], material.render
    monkeypatch.setattr(material, "render", lambda seeds: seen.extend(seeds) or original([0] * len(seeds)))
    monkeypatch.setattr(recipe, "BATCH", 8)
    loss = recipe.loss_fn(probes.Probe(), [torch.randn(4, 64, 257).half()])
    loss(7), loss(8)
    assert len(set(seen)) == 14 and max(seen) < recipe.FIRST < recipe.FIRST + recipe.CODED < probes.TEST_SEED


def test_a_step_hears_what_codecs_made_with_its_own_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[torch.Tensor] = []
    monkeypatch.setattr(recipe, "augment", lambda mel, draws: given.append(mel) or mel)
    truths, truth = [], material.truth
    monkeypatch.setattr(material, "truth", lambda seeds: truths.append(list(seeds)) or truth(seeds))
    monkeypatch.setattr(recipe, "BATCH", 16)
    coded = torch.arange(5).half()[:, None, None].expand(5, 64, 257)
    recipe.loss_fn(probes.Probe(), [coded, coded])(1)
    assert given[0].shape == (16, 64, 257)
    assert [recipe.FIRST + int(row) for row in given[0][12:, 0, 0]] == truths[0][12:]


def test_augmentation_keeps_rows_apart_and_can_be_repeated() -> None:
    mel = torch.randn(3, 64, 50)
    first = recipe.augment(mel, torch.Generator().manual_seed(1))
    assert torch.equal(first, recipe.augment(mel, torch.Generator().manual_seed(1)))
    other = mel.clone()
    other[1] += 5
    changed = recipe.augment(other, torch.Generator().manual_seed(1))
    assert torch.equal(changed[[0, 2]], first[[0, 2]]) and not torch.equal(changed[1], first[1])
