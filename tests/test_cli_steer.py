"""The commands for steering: from a prompt to a sound file, and what mistakes get."""

from __future__ import annotations

import pytest
import soundfile
import torch

from checks import run, told
from tada.steering import Vector

QUICK = ("--steps", "2", "--seconds", "0.4", "--words", "mini", "--device", "cpu")


@pytest.fixture(scope="module")
def fitted(tiny_folder, tmp_path_factory):
    model = ("--model", "ace-step", "--checkpoint", tiny_folder("ace-step"), *QUICK)
    folder = tmp_path_factory.mktemp("vectors")
    done = run("vectors", "fit", *model, "--concept", "tempo", "--concept", "mood", "--pairs", 2, "--folder", folder)
    assert done.exit_code == 0, done.output
    return model, folder


def test_a_prompt_becomes_a_steered_clip(fitted, tmp_path):
    model, folder = fitted
    made = {}
    for name, more in (
        ("plain", ()),
        ("zero", ("--concept", "tempo", "--alpha", "0")),
        ("fast", ("--concept", "tempo", "--alpha", "3")),
        ("both", ("--concept", "tempo", "--alpha", "-3", "--concept", "mood", "--alpha", "2", "--layers", "6+7")),
    ):
        out = tmp_path / f"{name}.wav"
        done = run("steer", *model, "--prompt", "a song", "--folder", folder, "--out", out, *more)
        assert done.exit_code == 0, done.output
        made[name] = torch.from_numpy(soundfile.read(out)[0])
    assert torch.equal(made["plain"], made["zero"])
    assert not torch.equal(made["plain"], made["fast"])
    assert not torch.equal(made["fast"], made["both"])


def test_vectors_are_listed_and_shown(fitted):
    _, folder = fitted
    listed = run("vectors", "list", "--folder", folder).stdout
    assert "mood-caa" in listed and "tempo-caa" in listed
    name = listed.splitlines()[1].split()[0]
    assert '"concept": "mood"' in run("vectors", "show", name, "--folder", folder).stdout
    assert "no vectors" in run("vectors", "list", "--folder", folder / "none").stdout


def test_what_mistakes_get(fitted, tmp_path):
    model, folder = fitted
    steer = ("steer", *model, "--prompt", "a", "--folder", folder, "--out", tmp_path / "x.wav")
    assert "did you mean 'tempo'" in told(*steer, "--concept", "temp", "--alpha", "1")
    assert "tada vectors fit" in told(*steer, "--concept", "piano", "--alpha", "1")
    assert "1 concepts and vectors and 0 strengths" in told(*steer, "--concept", "tempo")
    assert "finite" in told(*steer, "--concept", "tempo", "--alpha", "nan")
    assert "3.5, or 80%" in told(*steer, "--concept", "tempo", "--alpha", "much")
    assert "not calibrated" in told(*steer, "--concept", "tempo", "--alpha", "80%")
    assert ".wav" in told(*steer[:-1], tmp_path / "x.txt")
    assert "no layer 99" in told(*steer, "--concept", "tempo", "--alpha", "1", "--layers", "99")
    assert "2 steps, the run has 3" in told(*steer, "--concept", "tempo", "--alpha", "1", "--steps", "3")
    assert "another folder" in told("vectors", "fit", *model, "--concept", "tempo", "--pairs", 3, "--folder", folder)
    assert "did you mean" in told("vectors", "show", "ace-step/tiny-random-ace-step-seed-0/mod-caa", "--folder", folder)


def test_files_that_are_not_whole(fitted, tmp_path):
    model, folder = fitted
    path = Vector({"a": torch.ones(1, 4)}, {"checkpoint": "another"}).save(tmp_path / "v")
    steer = ("steer", *model, "--prompt", "a", "--out", tmp_path / "x.wav", "--alpha", "1", "--vector", path)
    assert "fitted on another" in told(*steer)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert "damaged" in told(*steer)


def test_an_autoencoder_is_searched_and_kept(tiny_folder, tmp_path):
    model = ("--model", "ace-step", "--checkpoint", tiny_folder("ace-step"), *QUICK)
    few = ("--layer", 7, "--updates", 5, "--tokens", 16, "--clips", 3, "--held-out", 1, "--batch", 2, "--recorded", 1)
    model = (*model, "--out", tmp_path)
    done = run("sae", "search", *model, *few, "--m", 2, "--m", 4, "--k", 4)
    assert done.exit_code == 0, done.output
    assert {path.name for path in tmp_path.glob("*/*.*")} >= {"sae.safetensors", "search.csv"}
    assert "explained_variance" in done.stdout
