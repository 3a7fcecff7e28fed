"""Loading: what is found where, and errors that come at once and say what to do."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

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


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("GatedRepoError", "accept its licence.*HF_TOKEN"),
        ("RepositoryNotFoundError", "check the spelling"),
        ("RevisionNotFoundError", "no revision"),
        ("OfflineModeIsEnabled", "HF_HUB_OFFLINE is set"),
        ("ConnectTimeout", "cannot be reached.*hf download"),
    ],
)
def test_every_trouble_with_the_hub_is_explained(monkeypatch, error, words):
    from huggingface_hub import HfApi, errors

    kind = getattr(errors, error, None) or type(error, (Exception,), {})

    def fail(*args, **keywords):
        raise kind.__new__(kind)

    monkeypatch.setattr(HfApi, "model_info", fail)
    trouble = hub.probe("stabilityai/stable-audio-open-1.0", "main")
    with pytest.raises(hub.CheckpointError, match=words):
        raise trouble


def test_offline_takes_what_is_cached(monkeypatch, tmp_path):
    monkeypatch.setattr(hub, "probe", lambda *asked: hub.CheckpointError("offline"))
    asked = {}

    def fetch(name, **keywords):
        asked.update(keywords, name=name)
        return tmp_path

    assert hub.folder("a/b@v1", fetch, "model_index.json") == tmp_path
    assert asked == {"name": "a/b", "revision": "v1", "local_files_only": True}


def test_online_downloads(monkeypatch, tmp_path):
    monkeypatch.setattr(hub, "probe", lambda *asked: None)
    assert (
        hub.folder("a/b", lambda name, revision, local_files_only: tmp_path / str(local_files_only), "x")
        == tmp_path / "False"
    )


@pytest.mark.parametrize("checkpoint", ["no/such/folder", "./nowhere", "word"])
def test_what_is_neither_folder_nor_id(checkpoint):
    with pytest.raises(hub.CheckpointError, match="no folder"):
        tada.load("audioldm2", checkpoint)


def test_a_folder_that_is_no_pipeline(tmp_path):
    with pytest.raises(hub.CheckpointError, match=r"has no model_index.json"):
        tada.load("audioldm2", tmp_path)


def test_the_folder_of_another_architecture_says_which(tiny_folder):
    with pytest.raises(hub.CheckpointError, match=r"tada.load\('stable-audio'"):
        tada.load("audioldm2", tiny_folder("stable-audio"))


def test_the_language_model_is_named_as_on_the_hub(tiny_folder):
    index = json.loads((tiny_folder("audioldm2") / "model_index.json").read_text())
    assert index["language_model"] == ["transformers", "GPT2Model"]


def test_tiny_checkpoints_depend_on_the_seed_alone(tmp_path):
    import torch

    def weights(folder, seed):
        return tada.load(
            "stable-audio", tada.tiny.build("stable-audio", tmp_path / folder, seed), device="cpu"
        ).denoiser.state_dict()

    one, same, other = weights("a", 1), weights("b", 1), weights("c", 2)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_building_does_not_touch_the_global_generator(tmp_path):
    import torch

    torch.manual_seed(3)
    state = torch.get_rng_state()
    tada.tiny.build("stable-audio", tmp_path)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "stableaudio"}, "did you mean 'stable-audio'"),
        ({"name": "audioldm2", "topology": "huge"}, "topology"),
    ],
)
def test_tiny_names_what_it_can_build(tmp_path, arguments, words):
    with pytest.raises(KeyError, match=words):
        tada.tiny.build(folder=tmp_path, **arguments)
    with pytest.raises(ValueError, match="width=5"):
        tada.tiny.build("audioldm2", tmp_path, width=5)


def test_the_default_checkpoint_knows_its_functional_layers(monkeypatch, tiny_folder):
    """The public id brings the paper's layers along; a folder does not."""
    monkeypatch.setattr(hub, "folder", lambda *args: tiny_folder("stable-audio"))
    model = tada.load("stable-audio", device="cpu")
    assert model.resolve("functional") == model.sites[11:13]


def test_threads_may_load_at_once(tiny_folder):
    """The libraries change torch for the whole process while they read weights."""
    folders = [tiny_folder(name) for name in ("stable-audio", "ace-step")] * 2
    with ThreadPoolExecutor(4) as pool:
        models = list(pool.map(lambda folder: tada.load(folder.name[:-1], folder, device="cpu"), folders))
    assert len({model.fingerprint() for model in models}) == 2
    assert not any(weight.is_meta for model in models for weight in model.denoiser.parameters())
