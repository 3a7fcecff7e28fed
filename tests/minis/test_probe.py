"""The probe: what it hears, and training that survives being killed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from tada.minis import probe as probes
from tada.minis.attributes import CLASSES
from training.fit import fit, schedule
from tada.minis.mel import listenable, log_mel


def toy(folder: Path, limit: float = 1e9) -> tuple[nn.Module, pd.DataFrame]:
    """A regression whose batches depend on the step alone."""
    torch.manual_seed(0)
    model = nn.Linear(3, 1)

    def loss(step: int) -> tuple[torch.Tensor, dict[str, float]]:
        x = torch.randn(16, 3, generator=torch.Generator().manual_seed(step))
        if step == 30 and limit == 0.5:
            raise KeyboardInterrupt
        error = (model(x) - x.sum(1, keepdim=True)).square().mean()
        return error, {"size": error.item() ** 0.5}

    every = 0.0 if limit == 0.5 else 1e9
    return model, fit(model, loss, folder, 60, rate=0.05, every=every)


def test_a_killed_run_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole, curve = toy(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        toy(tmp_path / "killed", limit=0.5)
    with (tmp_path / "killed" / "curve.csv").open("a") as curve_file:
        curve_file.write("9000,1.0,1.0,1.0\n")  # a row whose checkpoint was never written
    resumed, again = toy(tmp_path / "killed")
    assert torch.equal(whole.weight, resumed.weight)
    assert np.array_equal(curve["loss"], again["loss"])
    assert again["step"].tolist() == [10, 20, 30, 40, 50, 60]
    assert curve["loss"].iloc[-1] < curve["loss"].iloc[0]


def test_a_time_limit_leaves_a_checkpoint_to_go_on_from(tmp_path: Path) -> None:
    model = nn.Linear(1, 1)

    def loss(step: int) -> tuple[torch.Tensor, dict[str, float]]:
        return model(torch.ones(1, 1)).square().mean(), {}

    fit(model, loss, tmp_path, 50, limit=0.0)
    assert (tmp_path / "checkpoint.safetensors").is_file()
    fit(model, loss, tmp_path, 50)
    assert pd.read_csv(tmp_path / "curve.csv")["step"].iloc[-1] == 50
    assert not list(tmp_path.glob("*.partial"))


def test_the_schedule_rises_and_falls() -> None:
    rates = [schedule(step, 1000) for step in range(1000)]
    assert rates[0] < 0.1
    assert max(rates) == pytest.approx(1)
    assert rates[-1] == pytest.approx(0.02, abs=1e-3)


def test_training_writes_weights_that_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "accuracy", lambda probe: pd.DataFrame({"accuracy": {"tempo": 0.5}}))
    curve = probes.train(tmp_path, steps=2, batch=2)
    assert len(curve) == 1
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["steps"] == 2
    assert set(card["sha256"]) == {"probe.safetensors"}
    loaded = probes.load(tmp_path)
    heard = loaded.probabilities(torch.randn(3, 2, 32_000), 16_000)
    assert {name: values.shape[1] for name, values in heard.items()} == {n: len(c) for n, c in CLASSES.items()}


def test_missing_weights_and_short_audio_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"probe\.train"):
        probes.load(tmp_path / "nothing")
    with pytest.raises(ValueError, match="at least 1 s"):
        probes.Probe().probabilities(torch.zeros(1, 100), 16_000)


def test_training_and_test_clips_do_not_meet() -> None:
    seen = []
    original, probes.examples = probes.examples, lambda seeds: seen.extend(seeds) or original([0])
    try:
        for seed in (0, 3):
            loss = probes._loss(probes.Probe(), seed, 4)
            loss(7), loss(8)
    finally:
        probes.examples = original
    assert len(set(seen)) == 16
    assert max(seen) < probes.TEST_SEED


def test_disturbance_keeps_rows_apart_and_can_be_repeated() -> None:
    mel = torch.randn(3, 64, 50)
    one = probes.disturb(mel, torch.Generator().manual_seed(1))
    assert torch.equal(one, probes.disturb(mel, torch.Generator().manual_seed(1)))
    other = mel.clone()
    other[1] += 5
    changed = probes.disturb(other, torch.Generator().manual_seed(1))
    assert torch.equal(changed[[0, 2]], one[[0, 2]])
    assert not torch.equal(changed[1], one[1])


def test_log_mel_sees_a_tone_where_it_is() -> None:
    time = torch.arange(16_000) / 16_000
    low, high = log_mel(torch.stack([torch.sin(2 * torch.pi * f * time) for f in (300.0, 4000.0)]))
    assert low.shape == (64, 63)
    assert low.mean(1).argmax() < 20 < 40 < high.mean(1).argmax()


def test_listenable_makes_mono_at_16_khz() -> None:
    time = torch.arange(44_100) / 44_100
    stereo = torch.sin(2 * torch.pi * 440 * time).expand(2, 2, -1)
    heard = listenable(stereo, 44_100)
    assert heard.shape == (2, 16_000)
    expected = torch.sin(2 * torch.pi * 440 * torch.arange(16_000) / 16_000)
    assert (heard[0, 200:-200] - expected[200:-200]).abs().max() < 0.02


needs_weights = pytest.mark.skipif(not (probes.WEIGHTS / "probe.safetensors").is_file(), reason="no trained probe")


@needs_weights
def test_the_shipped_probe_hears_renders(renders) -> None:
    heard = probes.load().labels(torch.from_numpy(renders.audio), 16_000)
    for name in CLASSES:
        truth = [attributes.labels()[name] for attributes in renders.attributes]
        assert np.mean(heard[name] == truth) >= 0.95, name


@needs_weights
def test_the_shipped_probe_is_what_its_card_says() -> None:
    import hashlib

    card = json.loads((probes.WEIGHTS / "card.json").read_text())
    data = (probes.WEIGHTS / "probe.safetensors").read_bytes()
    assert card["sha256"] == {"probe.safetensors": hashlib.sha256(data).hexdigest()}
    assert len(data) < 1_000_000
    assert all(row["accuracy"] >= 0.98 for row in card["accuracy"].values())
    assert all(row["clips"] >= 512 for row in card["accuracy"].values())
