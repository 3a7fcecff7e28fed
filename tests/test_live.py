"""The graphs of the live instrument: equal to the model, plain, steered and patched, and the same at every export."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pandas as pd
import pytest
import torch

import tada
from live import LAYERS, PROMPT, SAMPLING, SECONDS, SOURCE, offer, small_model
from tada.display import live
from tada.display.live import graphs
from tada.errors import InputError
from tada.hooks import route
from tada.minis import probe
from tada.minis.attributes import draw
from tada.minis.render import render
from tada.steering import combine

onnxruntime = pytest.importorskip("onnxruntime", reason="needs pip install 'tada-companion[book,dev]'")
PAIRS = pd.DataFrame([("jazz", "a rock song", "a jazz song", 9)], columns=["concept", "source", "target", "seed"])


@pytest.fixture(scope="module", params=[False, True], ids=["vocoder", "phase stage"])
def exported(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("live")
    model = small_model(folder / "model", request.param)
    offered = offer(model) if request.param else replace(offer(model), pairs=PAIRS)
    return model, live.export(model, folder / "page", offered)


def unpacked(path):
    """A packed file as the page reads it: of its bytes every other one comes first."""
    split = np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8)
    whole = np.empty_like(split)
    whole[::2], whole[1::2] = np.split(split, [(len(split) + 1) // 2])
    return whole.tobytes()


@lru_cache
def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return onnxruntime.InferenceSession(unpacked(path), options)


def run(folder, name, **inputs):
    return session(folder / f"{name}.onnx.gz").run(None, inputs)


def read(model, folder, prompt):
    ids, mask = model.parts.tokenizer(
        [prompt], padding="max_length", max_length=live.TOKENS, return_tensors="np"
    ).values()
    return run(folder, "text", ids=ids.astype(np.int64), mask=mask.astype(np.int64))


def sample(folder, about, text, push):
    """The loop of the page."""
    noise = np.frombuffer(unpacked(folder / "noise.f32.gz"), np.float32)
    x = noise.reshape(-1, *about["latents"][1:])[1:2]
    given = dict(zip(("keys", "values", "used"), text, strict=True))
    for step, (high, low) in enumerate(zip(about["sigmas"], about["sigmas"][1:], strict=False)):
        levels = {"sigma": np.float32([high]), "guidance": np.float32([about["guidance"][step]])}
        (velocity,) = run(folder, "step", x=x, push=push[step], **levels, **given)
        x = x + np.float32(low - high) * velocity
    return x


def assert_close(found, wanted, tolerance=1e-4):
    assert np.abs(found - wanted.numpy()).max() <= tolerance * max(1.0, wanted.abs().max().item())


def test_latents_are_the_model_s_plain_steered_and_patched(exported):
    model, folder = exported
    about, vectors = json.loads((folder / live.INDEX).read_text()), offer(model).vectors
    context, noise = model.encode([PROMPT, SOURCE]), model.noise(5, SECONDS)
    own, other = (read(model, folder, prompt) for prompt in (PROMPT, SOURCE))
    none = np.zeros((SAMPLING["steps"], about["layers"], about["width"]), np.float32)
    assert_close(sample(folder, about, own, none), model.sample(context[0], noise).values)

    push = none.copy()
    for layer in LAYERS:
        push[:, layer] = 1.5 * vectors["tempo"].directions[model.sites[layer]]
        push[:, layer] -= 0.5 * vectors["piano"].directions[model.sites[layer]].numpy()
    with combine(list(vectors.values()), [1.5, -0.5]).apply(model, 1.0, LAYERS):
        steered = model.sample(context[0], noise).values
    assert_close(sample(folder, about, own, push), steered)

    mixed = [
        np.where(np.isin(np.arange(len(a)), LAYERS).reshape(-1, *[1] * (a.ndim - 1)), b, a)
        for a, b in zip(own, other, strict=True)
    ]
    with route(model, LAYERS, context[1]):
        patched = model.sample(context[0], noise).values
    assert_close(sample(folder, about, mixed, none), patched)


def test_weights_are_exact_in_two_bytes():
    draws = np.random.default_rng(0)
    half = draws.normal(size=300).astype(np.float16).astype(np.float32)
    whole = draws.integers(-900, 900, 300).astype(np.float32) * 2.0**-9
    for values, kind in ((half, np.float16), (whole, np.int16), (0 * whole, np.int16)):
        small, moved, step = graphs.in_steps(values)
        assert small.dtype == kind and ((small.astype(np.float32) + moved) * step == values).all()
    assert graphs.in_steps(whole)[0].max() < 900 + 129, "the largest step"


@pytest.mark.parametrize("exported", [False], indirect=True)
def test_pairs_to_patch_with_come_with_their_own_noise(exported):
    about = json.loads((exported[1] / live.INDEX).read_text())
    told = {"attribute": "genre", "class": "jazz"}
    assert about["pairs"] == [{"concept": "jazz", "prompt": "a rock song", "source": "a jazz song", "seed": 9, **told}]
    assert about["seeds"] == [0, 5, 9]


def test_the_sound_is_the_model_s_up_to_the_phase_stage(exported):
    model, folder = exported
    latents = model.noise(5, SECONDS).values
    (found,) = run(folder, "sound", latents=latents.numpy())
    with torch.no_grad():
        if json.loads((folder / live.INDEX).read_text())["phase"]:
            stage = model.codec.vocoder
            assert_close(found, stage.magnitudes(stage.whole(model.codec.image(latents)))[0])
        else:
            assert_close(found, model.codec.vocode(model.codec.mels(latents)).mean(1)[0])


@pytest.mark.parametrize("exported", [True], indirect=True)
def test_the_probe_hears_what_it_hears_in_python(exported):
    _, folder = exported
    audio = torch.from_numpy(render(draw(4), 4))[None, : round(SECONDS * 16_000)]
    power = torch.stft(audio, 1024, 256, window=torch.hann_window(1024), return_complex=True).abs().square()
    (found,) = run(folder, "probe", power=power[0].numpy())
    wanted = torch.cat([values[0] for values in probe.load().probabilities(audio, 16_000).values()])
    assert np.abs(found - wanted.numpy()).max() < 1e-3


@pytest.mark.parametrize("exported", [True], indirect=True)
def test_an_export_is_the_same_again_and_makes_a_page(exported, tmp_path):
    model, folder = exported
    again = live.export(model, tmp_path, offer(model))
    files = sorted(path.name for path in folder.iterdir())
    assert files == sorted(path.name for path in again.iterdir())
    assert [name for name in files if (folder / name).read_bytes() != (again / name).read_bytes()] == []
    assert 'data-from="./live.json"' in live.write_page(again).read_text()
    assert (again / "steer-live" / "worker.mjs").is_file()


@pytest.mark.parametrize("exported", [True], indirect=True)
def test_what_no_page_computes_is_refused(exported, tiny_model, tmp_path):
    model, _ = exported
    with pytest.raises(InputError, match="ace-step only"):
        live.export(tiny_model("stable-audio"), tmp_path, live.Live({}))
    with pytest.raises(InputError, match="method"):
        live.export(tiny_model("ace-step"), tmp_path, live.Live({}))
    vector = offer(model).vectors["piano"]
    few = tada.steering.Vector({model.sites[0]: vector.directions[model.sites[0]]})
    with pytest.raises(InputError, match="no direction at"):
        live.export(model, tmp_path, live.Live({"piano": few}))
    three = tada.steering.Vector({site: vector.directions[site].repeat(3, 1) for site in model.sites})
    with pytest.raises(InputError, match="has 3 steps; expected 1 or 4"):
        live.export(model, tmp_path, live.Live({"piano": three}))


def test_what_no_page_runs_is_said_in_its_place(tiny_model, tmp_path):
    model = small_model(tmp_path)
    model.is_mini = True
    shown = [(model, "mini"), (model, "smoke"), (tiny_model("ace-step"), "mini"), (tiny_model("stable-audio"), "mini")]
    told = ["of ACE-Step only" in live.show(one, "live", live.Live({}), profile).data for one, profile in shown]
    assert told == [False, True, True, True]
