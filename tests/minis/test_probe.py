"""The probe: rows by themselves, and what the shipped one hears."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tada.minis import cards
from tada.minis import probe as probes
from tada.minis.attributes import CLASSES
from tada.minis.mel import listenable, log_mel


def test_missing_weights_and_short_audio_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="python -m training probe"):
        probes.load(tmp_path / "nothing")
    with pytest.raises(ValueError, match="at least 1 s"):
        probes.Probe().probabilities(torch.zeros(1, 100), 16_000)


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


def test_the_shipped_probe_hears_renders(renders) -> None:
    labels = probes.load().labels(torch.from_numpy(renders.audio), 16_000)
    for name in CLASSES:
        truth = [attributes.labels()[name] for attributes in renders.attributes]
        assert np.mean(labels[name] == truth) >= (0.85 if name == "percussion" else 0.95), name


def test_the_shipped_probe_is_small_and_good_by_its_card() -> None:
    rows = cards.read("probe")["accuracy"]
    assert (probes.WEIGHTS / "probe.safetensors").stat().st_size < 1_000_000
    assert all(row["accuracy"] >= (0.93 if name == "percussion" else 0.97) for name, row in rows.items())
    assert all(row["clips"] >= 512 for row in rows.values())
