"""The live instrument in real headless Chromium: its clips are Python's, and what cannot run says why."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from selenium.webdriver import Keys

import tada
from checks import wait
from live import LAYERS, PROMPT, SECONDS, SOURCE, offer, small_model
from tada.audio import filters, lufs
from tada.display import live
from tada.io import sha256
from tada.minis.attributes import draw
from tada.minis.render import render
from tada.models import phase
from tada.models.phase import PhaseConfig, PhaseStage
from tada.steering import combine
from tests.site.conftest import Page, Server

IT = "const it = document.querySelector('steer-live');"
TOLERANCE = 1e-3
RUNTIME = live.ASSETS / "steer-live"


@pytest.fixture
def instrument(page: Page, address: str) -> Page:
    """The open page, whose model is loaded."""
    page.open(address)
    page.click(".live-start")
    loaded(page)
    return page


def loaded(page: Page) -> None:
    wait(lambda: it(page, "it.status === 'ready' && !!it.now"), 120, lambda: page.text(".live-panel"))


def said(page: Page, words: str) -> None:
    """Wait until the page says so."""
    wait(lambda: words in page.text(".live-said"), 60, lambda: page.text(".live-said"))


def it(page: Page, expression: str) -> Any:
    return page.driver.execute_script(f"{IT} return {expression}")


def clip(page: Page, **state: Any) -> np.ndarray:
    """Choose a state and return the clip that the page makes."""
    page.driver.set_script_timeout(120)
    script = f"{IT} it.choose(arguments[0]); it.hear('this').then(() => arguments[1]([...it.now.audio]))"
    return np.float32(page.driver.execute_async_script(script, {"prompt": PROMPT, "seed": 5, **state}))


def assert_same_clip(found: np.ndarray, clips: tada.Clips) -> None:
    wanted = clips.audio[0].mean(0).numpy()
    assert found.shape == wanted.shape
    assert np.abs(wanted).max() > 0.01
    assert np.abs(found - wanted).max() < TOLERANCE


def compute(page: Page, folder: Path, expression: str, *given: Any) -> Any:
    """Evaluate an expression of ``given`` and ``tools``, the functions of the instrument, on an empty page."""
    shutil.copy(RUNTIME / "tools.mjs", folder)
    (folder / "index.html").write_text("<!doctype html><title>tools</title><link rel=icon href='data:,'>")
    server = Server(folder)
    page.open(server())
    script = f"import('./tools.mjs').then((tools) => {{ const [...given] = arguments; given.at(-1)({expression}) }})"
    found = page.driver.execute_async_script(script, *given)
    server.http.shutdown()
    return found


def test_clips_are_those_of_python_plain_steered_and_patched(instrument: Page, live_model: Any) -> None:
    model = live_model
    plain = model.generate(PROMPT, 5, SECONDS)
    assert_same_clip(clip(instrument, mode="steer", layers=LAYERS, strengths={}), plain)

    vectors = list(offer(model).vectors.values())
    found = clip(instrument, mode="steer", layers=LAYERS, strengths={"tempo": 1.5, "piano": -0.5})
    with combine(vectors, [1.5, -0.5]).apply(model, 1.0, LAYERS):
        assert_same_clip(found, model.generate(PROMPT, 5, SECONDS))

    found = clip(instrument, mode="patch", layers=LAYERS, source=SOURCE)
    assert instrument.text(".live-differing") == "“slow” becomes “very fast”."
    context, noise = model.encode([PROMPT, SOURCE]), model.noise(5, SECONDS)
    with tada.route(model, LAYERS, context[1]):
        assert_same_clip(found, model.decode(model.sample(context[0], noise)))
    assert np.abs(found - plain.audio[0].mean(0).numpy()).max() > 5 * TOLERANCE  # patching does something


def test_it_is_played_by_keyboard_and_says_what_is_heard(instrument: Page) -> None:
    assert it(instrument, "it.request().layers").__len__() == 4
    instrument.find(".live-boxes input", 2).send_keys(Keys.SPACE)
    instrument.press(".live-strength input[type=range]", Keys.END)
    said(instrument, "at layers 0, 1, 3")
    assert instrument.find(".live-strength input[type=range]").get_attribute("aria-valuetext").startswith("strength +")
    instrument.find(".live-boxes input", 2).send_keys("b")
    said(instrument, "unchanged")
    assert "generate" in it(instrument, "it.python")
    assert it(instrument, "it.parts.audio.src").startswith("blob:")
    assert instrument.complaints() == []


def test_the_layers_of_a_plant_are_found_by_ticking_and_by_the_sweep(page: Page, tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="needs pip install 'tada-companion[book,dev]'")
    model = small_model(tmp_path / "model", with_phase=True)  # a judge hears what a phase stage made
    folder = live.export(model, tmp_path / "page", offer(model))
    live.write_page(folder)
    plain = (folder / "index.html").read_text().partition("<steer-live")[0]
    game = f"<find-layers data-first=3>{live.element('.', 1, mode='patch')}</find-layers>"
    (folder / "index.html").write_text(f"{plain}{game}</main></body></html>")
    server = Server(folder)
    page.open(server())
    page.click(".live-start")
    game = "const game = document.querySelector('find-layers');"

    def play(expression: str) -> Any:
        return page.driver.execute_script(f"{game} return {expression}")

    wait(lambda: play("!!game.instrument?.now"), 120, lambda: page.text("find-layers"))
    hidden = play("game.planted")
    assert 1 <= len(hidden) <= 3 and set(hidden) <= set(range(4)) and play("game.number") == 3
    assert not page.find(".live-mode").is_displayed() and not page.find("details").is_displayed()
    unplanted = next(layer for layer in range(4) if layer not in hidden)
    for layer in (unplanted, hidden[0]):
        page.find(".live-boxes input", layer).click()
    wait(lambda: play("game.instrument.request().layers") == hidden[:1], 10, lambda: page.text(".live-said"))
    page.click(".find-panel button")
    assert f"1 of {len(hidden)} found, 1 that are not planted" in page.text(".find-panel [role=status]")
    assert page.find("details").is_displayed()
    page.click(".find-panel button", 1)
    wait(lambda: len(page.all(".find-sweep tr")) == 6, 120, lambda: page.text(".find-panel"))
    levels = play("[...game.querySelectorAll('meter')].map((one) => one.value)")
    assert all((levels[1 + layer] == levels[0]) == (layer not in hidden) for layer in range(4))
    page.click(".find-panel button", 2)
    assert play("game.number") == 4 and not page.find("details").is_displayed()
    assert page.complaints() == []
    server.http.shutdown()


def test_unknown_words_are_told_and_a_link_holds_the_state(instrument: Page, address: str) -> None:
    clip(instrument, prompt="a söng", layers=[2], strengths={"piano": 0.5})
    assert instrument.text(".live-unknown") == "The model does not know: ö."
    link, state = it(instrument, "it.link"), it(instrument, "it.state")
    instrument.open(address + link)
    instrument.click(".live-start")
    loaded(instrument)
    assert it(instrument, "it.state") == state | {"mode": "steer", "source": ""}


def test_prompts_are_read_as_the_tokenizer_reads_them(page: Page, tmp_path: Path) -> None:
    tokenizer = tada.load("ace-step", "mini").parts.tokenizer
    inner = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    texts = ["A fast, happy song with a piano.", "pianoforte xyz", " two  spaces", "", "100 % Ünknown-words", "the the"]
    known = "new Map(given[0].map(([piece, score], id) => [piece, [id, score]]))"
    read = f"tools.tokenise(text, {{pieces: {known}, unk: 2, eos: 1, lowercase: true}}).ids"
    found = compute(page, tmp_path, f"given[1].map((text) => {read})", inner["vocab"], texts)
    assert found == tokenizer(texts)["input_ids"]


def test_sound_of_magnitudes_is_the_phase_stage_s(page: Page, tmp_path: Path) -> None:
    stage = PhaseStage(PhaseConfig(width=16, depth=1))
    magnitudes = stage.transform(torch.from_numpy(render(draw(3), 3))[None, 16_384:32_768]).abs()
    stage.magnitudes = lambda _: magnitudes
    wanted = stage.sound(magnitudes)[0].numpy()
    sizes = {"window": 1024, "hop": 256, "rounds": stage.config.rounds, "momentum": phase.MOMENTUM}
    sound = "[...tools.sound(Float32Array.from(given[0]), given[1])]"
    found = compute(page, tmp_path, sound, magnitudes.flatten().tolist(), sizes)
    assert np.abs(wanted).max() > 0.1
    assert np.abs(np.float32(found) - wanted).max() < TOLERANCE


def test_loudness_is_that_of_python(page: Page, tmp_path: Path) -> None:
    weights = [[part.tolist() for part in each] for each in filters(16_000)]
    clips = [render(draw(6), 6)[:24_000], render(draw(7), 7)[:3000], np.zeros(16_000, np.float32)]
    levels = "given[0].map((clip) => tools.lufs(Float32Array.from(clip), 16000, given[1]))"
    found = compute(page, tmp_path, levels, [clip.tolist() for clip in clips], weights)
    assert found == pytest.approx([lufs(clip, 16_000) for clip in clips], abs=1e-6)


def test_what_cannot_run_says_why_and_leaves_what_is_there(page: Page, exported: Path, address: str) -> None:
    page.open((exported / "index.html").as_uri())
    assert "opened from a folder" in page.text(".live-trouble")
    page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    page.open(address)
    assert "JavaScript off" in page.text("steer-live")
    page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    page.open(address)
    page.driver.execute_script(f"{IT} it.dataset.from = 'nowhere/live.json'; it.start()")
    assert "could not be loaded" in page.text(".live-trouble")
    assert page.text(".live-panel button") == "Try again"


def test_the_runtime_is_the_published_one() -> None:
    hashes = json.loads((RUNTIME / "runtime.json").read_text())["sha256"]
    assert sha256(RUNTIME / "ort.wasm.bundle.min.mjs") == hashes["ort.wasm.bundle.min.mjs"]
    packed = (RUNTIME / "ort-wasm-simd-threaded.wasm.gz").read_bytes()
    assert sha256(gzip.decompress(packed)) == hashes["ort-wasm-simd-threaded.wasm"]
