"""Loading: what is found where, and errors that come at once and say what to do."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import tada
from tada.models import hub


def test_unknown_architecture_names_the_nearest():
    with pytest.raises(KeyError, match="did you mean 'audioldm2'"):
        tada.load("audioldm")


def test_a_mini_that_is_not_shipped_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(tada.models, "WEIGHTS", tmp_path)
    (tmp_path / "stable-audio").mkdir()
    with pytest.raises(KeyError, match=r"no mini of audioldm2.*\(stable-audio\).*tada\.tiny\.build"):
        tada.load("audioldm2", "mini")


def test_an_unreachable_hub_fails_at_once(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    start = time.monotonic()
    with pytest.raises(hub.CheckpointError, match="hf download cvssp/audioldm2-large"):
        tada.load("audioldm2")
    assert time.monotonic() - start < 20


@pytest.mark.parametrize("trouble", [None, hub.CheckpointError("offline")])
def test_without_a_network_what_is_cached_is_taken(monkeypatch, tmp_path, trouble):
    monkeypatch.setattr(hub, "probe", lambda *asked: trouble)
    asked = {}
    found = hub.folder("a/b@v1", lambda name, **how: asked.update(how, name=name) or tmp_path, "model_index.json")
    assert found == tmp_path
    assert asked == {"name": "a/b", "revision": "v1", "local_files_only": trouble is not None}


def test_what_holds_no_checkpoint_says_so(tmp_path, tiny_folder):
    faults = {
        "no/such/folder": "no folder",
        "./nowhere": "no folder",
        "word": "no folder",
        tmp_path: "no model_index.json",
    }
    for checkpoint, words in {**faults, tiny_folder("stable-audio"): r"tada.load\('stable-audio'"}.items():
        with pytest.raises(hub.CheckpointError, match=words):
            tada.load("audioldm2", checkpoint)


def test_the_language_model_is_named_as_on_the_hub(tiny_folder):
    index = json.loads((tiny_folder("audioldm2") / "model_index.json").read_text())
    assert index["language_model"] == ["transformers", "GPT2Model"]


def test_tiny_checkpoints_depend_on_the_seed_alone_and_leave_the_global_generator(tmp_path):
    state = torch.get_rng_state()
    folders = [tada.tiny.build("stable-audio", tmp_path / name, seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))]
    assert torch.equal(torch.get_rng_state(), state)
    one, same, other = (tada.load("stable-audio", folder, device="cpu").fingerprint() for folder in folders)
    assert one == same != other


def test_tiny_names_what_it_can_build(tmp_path):
    for wrong, error, words in (
        ({"name": "stableaudio"}, KeyError, "did you mean 'stable-audio'"),
        ({"name": "audioldm2", "topology": "huge"}, KeyError, "topology"),
        ({"name": "audioldm2", "width": 5}, ValueError, "width=5"),
    ):
        with pytest.raises(error, match=words):
            tada.tiny.build(folder=tmp_path, **wrong)


def test_threads_may_load_at_once(tiny_folder):
    """The libraries change torch for the whole process while they read weights."""
    folders = [tiny_folder(name) for name in ("stable-audio", "ace-step")] * 2
    with ThreadPoolExecutor(4) as pool:
        models = list(pool.map(lambda folder: tada.load(folder.name[:-1], folder, device="cpu"), folders))
    assert len({model.fingerprint() for model in models}) == 2
    assert not any(weight.is_meta for model in models for weight in model.denoiser.parameters())
