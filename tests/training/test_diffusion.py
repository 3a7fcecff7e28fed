"""The recipes of the minis: text, conditioning, the denoiser's loss, and recipes that can be killed and go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner

import tada
from tada.display.live.graphs import in_steps
from tada.experiments import minis as measured
from tada.minis import cards
from tada.minis.attributes import CLASSES, draw
from tada.minis.captions import caption
from tada.models.run import Latents
from tada.patching import Functional
from tests.minis.spans import find
from training import recipes
from training.__main__ import main
from training.codecs import blocks
from training.codecs import recipe as codecs
from training.diffusion import RECIPES, ace_step, audioldm2, material, musicgen, recipe, words
from training.diffusion import captions as caption_module
from training.diffusion.captions import Captions, captions
from training.diffusion.loss import loss_fn
from training.ears.texts import ANY

TEXTS = [
    "a sad song with female vocals",
    "Fast techno. The mood is happy and the tempo is fast, with drums and a piano.",
]


def assemble(arch, folder):
    """Write an untrained mini, the codec included."""
    torch.manual_seed(0)
    code = blocks.fit([torch.randn(64, 128, 64)], *arch.codec.block, arch.codec.codes)
    own = torch.randn(*arch.codec.books, arch.codec.codes)
    trained = codecs.Trained(codecs.make_stage(arch.codec), code, own)
    arch.assemble(folder, words.encoder(arch.text_encoder), trained)


@pytest.fixture(scope="module", params=list(RECIPES))
def student(request, tmp_path_factory):
    """An untrained mini with its architecture."""
    arch, folder = RECIPES[request.param].arch, tmp_path_factory.mktemp(request.param)
    assemble(arch, folder)
    return SimpleNamespace(arch=arch, model=tada.load(request.param, folder))


# Text


def test_the_tokenizer_knows_words_by_their_beginnings():
    tokens = words.tokenizer().tokenize("A sad zorkmid gnusto rezrov song")
    assert tokens[:2] == ["▁a", "▁sad"] and tokens[-1] == "▁song" and len(tokens) == 4, "unknown words are one token"
    assert words.tokenizer().tokenize("females")[0] == "▁female"
    named = [f"▁{value}" for classes in CLASSES.values() for value in classes if value != "none"]
    assert set(named) <= set(words.vocabulary())


def test_fillers_change_no_promise_and_are_in_half_of_the_texts():
    changed = 0
    for seed in range(200):
        text = caption(draw(seed), seed).text
        filled = words.insert_fillers(text, seed)
        before, after = ([s for s in find(each) if _in_one_word(s)] for each in (text, filled))
        assert [span[2:] for span in after] == [span[2:] for span in before]
        changed += words.insert_fillers("a sad song", seed) != "a sad song"
    assert 60 < changed < 140


def _in_one_word(span):
    """Whether a concept is said in a single word, which nothing can be put into."""
    return span.attribute != "foreign" and span.value != "none"


def test_probe_loss_has_a_class_for_what_was_not_said():
    promised = torch.full((2, len(CLASSES)), ANY)
    sure = [torch.eye(len(classes) + 1)[[-1, -1]] * 50 for classes in CLASSES.values()]
    loss, figures = words.probe_loss(sure, promised)
    assert loss < 1e-6 and figures["right"] == 1
    loss, figures = words.probe_loss([logits.flip(1) for logits in sure], promised)
    assert loss > 10 and figures["right"] == 0


def test_a_step_decides_its_captions():
    clips = [draw(row) for row in range(64)]
    assert captions(clips, 3)[0] == captions(clips, 3)[0] != captions(clips, 4)[0]
    shares = torch.cat([captions(clips, step).conditional for step in range(20)]).float().mean()
    assert abs(shares - (1 - caption_module.UNCONDITIONAL)) < 0.03


# What the denoiser learns


def test_latents_are_those_of_the_checkpoints_own_codec(student):
    """Noise in, noise out: what the codec gives has the denoiser's shape and is as loud as its noise."""
    audio = torch.randn(2, round(measured.SECONDS * 16_000), generator=torch.Generator().manual_seed(2)) / 10
    latents = recipe.encode(student.model, audio)
    assert latents.shape == (2, *student.arch.latents) == (2, *student.model.noise_shape(measured.SECONDS))
    sound = student.model.to_audio(Latents(latents, (0, 1), measured.SECONDS))
    assert sound.shape[-1] == round(measured.SECONDS * student.model.sample_rate)


def test_conditioning_is_the_adapters_with_and_without_text(student):
    arch, model = student.arch, student.model
    sampling = model.sampling(None, **arch.sampling)
    true = model.conditioning(model.encode(TEXTS), measured.SECONDS, sampling)
    for flag, side in ((True, true.cond), (False, true.uncond)):
        given = arch.conditioning(model, Captions(TEXTS, torch.tensor([flag, flag])))
        for got, expected, mask in _pairs(arch, model, given, side):
            for row in range(len(TEXTS)):
                real = slice(None) if mask is None else mask[row].bool().nonzero().flatten()
                torch.testing.assert_close(got[row][real], expected[row][real], atol=2e-5, rtol=1e-4)


def _pairs(arch, model, given, side):
    """States of a recipe and of the adapter, with the mask of tokens."""
    if arch is audioldm2.ARCH:
        return [(given["gpt2"], side["gpt2"].states, None), (given["t5"], side["t5"].states, side["t5"].mask)]
    if arch is ace_step.ARCH:
        stream = model.denoiser.encode(given["text"], given["lyrics"])
        return [(stream.states, side["text"].states, side["text"].mask)]
    if arch is musicgen.ARCH:
        states = model.network.enc_to_dec_proj(given["text"]) * given["flags"][..., None]
        return [(states, side["text"].states, side["text"].mask)]
    return [(given["text"], side["text"].states, None)]


def test_predictions_and_targets_have_the_latents_shape(student):
    arch, model = student.arch, student.model
    if arch is musicgen.ARCH:
        pytest.skip("predicts which codes, not velocities: see the next test")
    draws = torch.Generator().manual_seed(0)
    x, noise = (torch.randn(2, *arch.latents, generator=draws) for _ in range(2))
    given = arch.conditioning(model, Captions(TEXTS, torch.tensor([True, True])))
    prediction, target = arch.predict(model, x, noise, arch.levels(2, draws), given)
    assert prediction.shape == target.shape == x.shape
    assert target.std() > 0.5


@pytest.mark.parametrize("student", ["musicgen"], indirect=True)
def test_musicgen_learns_to_predict_each_code_from_what_sampling_knows_then(student):
    arch, model = student.arch, student.model
    with torch.no_grad():
        for given in model.network.enc_to_dec_proj.parameters():
            given.normal_(std=0.5)
    noise, greedy = model.noise((1, 2), measured.SECONDS), model.sampling(guidance=1.0, top_k=1)
    codes = model.sample(model.encode(TEXTS), noise, greedy).values
    given = arch.conditioning(model, Captions(TEXTS, torch.tensor([True, True])))
    with torch.no_grad():
        logits, wanted = arch.predict(model, codes, codes, torch.zeros(2), given)
    assert torch.equal(wanted, codes.long().flatten())
    assert (logits.argmax(1) == wanted).float().mean() > 0.99 and len(wanted.unique()) > 4


def test_stable_audio_velocity_leads_the_scheduler_to_the_data():
    """One solver step with the true velocity from any noise level denoises to the data."""
    from diffusers import CosineDPMSolverMultistepScheduler

    scheduler = CosineDPMSolverMultistepScheduler(prediction_type="v_prediction", sigma_data=1.0)
    draws = torch.Generator().manual_seed(0)
    x, noise = (torch.randn(1, 4, 8, generator=draws) for _ in range(2))
    sigma = torch.tensor(2.5)
    angle = scheduler.precondition_noise(sigma) * torch.pi / 2
    velocity = angle.cos() * noise - angle.sin() * x
    torch.testing.assert_close(scheduler.precondition_outputs(x + sigma * noise, velocity, sigma), x, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        scheduler.precondition_inputs(x + sigma * noise, sigma), angle.cos() * x + angle.sin() * noise
    )


def test_ace_step_learns_details_too():
    levels = ace_step.ARCH.levels(4000, torch.Generator().manual_seed(0))
    assert levels.shape == (4000,) and levels.min() > 0 and levels.max() <= 1
    assert 0.05 < (levels < 0.2).float().mean() < 0.08 and (levels > 0.5).float().mean() > 0.65


def test_a_loss_depends_on_the_steps_number_alone(student):
    latents, clips = torch.randint(8, (8, *student.arch.latents)).half(), [draw(row) for row in range(8)]
    loss = loss_fn(student.arch, student.model, latents, clips, batch=2)
    with torch.no_grad():
        first, second, again = loss(0)[0], loss(1)[0], loss(0)[0]
    assert first == again != second


def test_latents_are_made_once(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(material, "PART", 4)
    monkeypatch.setattr(material, "render", lambda seeds: torch.arange(32.0)[:, None].repeat(1, 8))
    for _ in range(2):
        latents, clips = material.load(tmp_path, 1, lambda audio: calls.append(len(audio)) or audio[:, :6])
    assert calls == [32] and latents.shape == (32, 6) and len(clips) == 4


# Recipes


KILLED = """
import math, sys, torch
from pathlib import Path
from training import fit
from training.diffusion import recipe, words
torch.set_num_threads(1)
recipe.TEXT_STEPS, recipe.TEXT_BATCH, fit.SAVE_EVERY = 60, 4, 0.0
torch.manual_seed(0)
recipe.train_text_encoder(words.encoder("t5"), Path(sys.argv[1]), math.inf)
"""


def test_a_killed_recipe_ends_as_if_it_had_not_been(tmp_path):
    """SIGKILL somewhere in the middle, resumed: curve and weights are those of an undisturbed run."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}

    def start(folder):
        return subprocess.Popen([sys.executable, "-c", KILLED, str(folder)], env=environment)

    assert start(tmp_path / "whole").wait(180) == 0
    killed = start(tmp_path / "killed")
    curve = tmp_path / "killed" / "curve.csv"
    while killed.poll() is None and not (curve.is_file() and curve.read_text().count("\n") > 2):
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait(20) == -signal.SIGKILL
    assert start(tmp_path / "killed").wait(180) == 0
    one, other = (pd.read_csv(tmp_path / name / "curve.csv").drop(columns="seconds") for name in ("whole", "killed"))
    pd.testing.assert_frame_equal(one, other, check_dtype=False)


def test_a_checkpoint_is_written_anew_over_one_without_a_card(tmp_path, monkeypatch):
    arch = ace_step.AceStep()
    arch.sampling, arch.finish = {"steps": 7}, lambda model, to: to.mkdir()
    monkeypatch.setattr(recipe.tada, "load", lambda *_: SimpleNamespace(denoiser=None))
    monkeypatch.setattr(recipe, "restore", lambda *_: None)
    (tmp_path / "trained").mkdir(parents=True)
    (tmp_path / "trained/of the first run").touch()
    done = recipe.write_trained(arch, tmp_path, tmp_path)
    assert [path.name for path in done.iterdir()] == ["tada.json"]
    assert json.loads((done / "tada.json").read_text())["sampling"] == {"steps": 7}


def test_sampling_of_a_checkpoint_is_its_own(tmp_path):
    assemble(ace_step.ARCH, tmp_path)
    plain = tada.load("ace-step", tmp_path)
    assert plain.sampling().steps == 60
    (tmp_path / "tada.json").write_text(json.dumps(recipe.describe_mini(ace_step.ARCH)))
    own = tada.load("ace-step", tmp_path)
    assert own.sampling() == own.sampling("localisation") == own.sampling("mini")
    assert (own.sampling().steps, own.sampling().method) == (16, "cfg")
    assert plain.sampling().steps == 60


SHIPPED = [name for name in RECIPES if (cards.WEIGHTS / name).is_dir()]


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_mini_describes_itself_as_its_recipe_does(name):
    content = json.loads((cards.WEIGHTS / name / "tada.json").read_text())
    assert content.pop("functional").keys() == set(Functional._fields), "by tada minis functional --write"
    assert content == recipe.describe_mini(RECIPES[name].arch)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_finished_mini_goes_on_and_its_card_tells_of_both(name, tmp_path, monkeypatch):
    shipped = cards.WEIGHTS / name
    monkeypatch.setattr(recipe, "PARTS", 1)
    monkeypatch.setattr(material, "PART", 32)
    monkeypatch.setattr(recipe, "compile_blocks", lambda *_: None)
    monkeypatch.setattr(recipes, "measure", lambda *_: {"figure": 1 / 3})
    monkeypatch.setattr(recipes, "measure_bars", lambda *_: {})
    monkeypatch.setitem(RECIPES, name, replace(RECIPES[name], further=2, batch=2))
    assert recipes.train(name, tmp_path, start=shipped)
    one, other = (json.loads((path / "card.json").read_text()) for path in (shipped, tmp_path / name / "trained"))
    assert {file for file in one["sha256"] if one["sha256"][file] != other["sha256"][file]} == {_denoiser_of(shipped)}
    assert other["steps"] == other["stages"]["denoiser"]["steps"] == one["stages"]["denoiser"]["steps"] + 2
    assert other["stages"].keys() == one["stages"].keys() and other["hours"] >= one["hours"]
    assert other["figure"] == 0.3333
    before, after = (pd.read_csv(path / "curve.csv")["step"] for path in (shipped, tmp_path / name / "trained"))
    assert after.is_monotonic_increasing and after.iloc[-1] == other["steps"] and len(after) > len(before)


def _denoiser_of(folder):
    """The largest file of weights."""
    return max(folder.rglob("*.safetensors"), key=lambda path: path.stat().st_size).relative_to(folder).as_posix()


@pytest.mark.parametrize(
    ("name", "start", "error", "text"),
    [
        ("ace-step", "", FileNotFoundError, "start from a finished mini"),
        ("audioldm2", cards.WEIGHTS / "audioldm2", ValueError, "home of its own"),
        ("clap", "", ValueError, "is an ear"),
        ("stable-adio", None, KeyError, "stable-audio"),
    ],
)
def test_what_cannot_be_trained_says_why(name, start, error, text, tmp_path):
    (tmp_path / "audioldm2" / "denoiser").mkdir(parents=True)
    with pytest.raises(error, match=text):
        recipes.train(name, tmp_path, start=tmp_path if start == "" else start)


def test_the_command_explains_itself_and_never_clears_its_start(tmp_path):
    def refused(*arguments):
        result = CliRunner().invoke(main, [*map(str, arguments), "--home", str(tmp_path)])
        assert result.exit_code == 2
        return " ".join(result.output.replace("│", " ").split())

    assert "stable-audio" in refused("stable-adio")
    assert "start from a finished mini" in refused("ace-step", "--start", tmp_path)
    inside = tmp_path / "ace-step" / "trained"
    inside.mkdir(parents=True)
    assert "of its own" in refused("ace-step", "--afresh", "--start", inside)
    assert inside.is_dir()


def test_weights_are_kept_in_whole_steps() -> None:
    weight, bias = torch.randn(64, 48, generator=torch.Generator().manual_seed(0)), torch.full((3,), 0.1)
    kept, same = weight.clone(), bias.clone()
    for value in (kept, same):
        ace_step.keep_steps(value)
    assert torch.equal(same, bias), "vectors stay as they are"
    step = 1 / 64  # the largest power of two of which 40 fit into a spread of about 1
    assert set((kept / step % 2).unique().tolist()) == {0.0, 1.0}, "whole, and no larger step would do"
    assert float((kept - weight).abs().max()) <= step / 2
    again = kept.clone()
    ace_step.keep_steps(again)
    assert torch.equal(again, kept)
    numbers, moved, scale = in_steps(kept.numpy())
    assert numbers.dtype == np.int16 and np.array_equal((numbers + moved) * scale, kept.numpy())
