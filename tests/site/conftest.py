"""Pages with the slider of real clips and with the live instrument, a server that can be slow or fail, Chromium."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from checks import wait
from live import offer, small_model
from tada.audio import Clip
from tada.display import live, slider
from tada.display.players import Sound
from tada.minis.attributes import Attributes
from tada.minis.render import render

ROOT = Path(__file__).parents[2]
RATE = 16000
PERCENTS = (-100, -50, 0, 50, 100)
PAGE = """<!doctype html><html lang="en" data-content_root=""><head><meta charset="utf-8"><title>Sliders</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,"><link rel="stylesheet" href="steer-slider.css">
<script src="steer-slider.js"></script></head>
<body><main><h1>Sliders</h1>{}<p style="height: 60rem">Words below.</p></main></body></html>"""
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync "
    "--hide-scrollbars --mute-audio --window-size=1200,900"
)


def ladder(method: str, seed: int, gains: Mapping[int, float]) -> slider.AlphaSweep:
    """Tempo as a stand-in for strength: the same music from slow to fast."""
    record = {"prompt": "a <calm> & “odd” song", "seed": seed, "model": "stable-audio", "checkpoint": "mini"}
    sounds = []
    for percent in PERCENTS:
        audio = torch.from_numpy(render(Attributes(tempo=114 + 0.5 * percent), seed))[None] * gains.get(percent, 1.0)
        scores = {"BPM": 114 + 0.5 * percent}
        sounds.append(Sound(Clip(audio, RATE, record), f"{percent} %", percent / 30, percent, scores))
    return slider.AlphaSweep("tempo", method, sounds, method.replace("-", " "), "slower", "faster", (6, 7))


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two ladders of real renders; the second has a quiet and a loud clip."""
    ladders = [ladder("all-layers", 7, {}), ladder("two-layers", 8, {50: 0.5, 100: 1.4})]
    command = "tada run notebooks/05.py -p seed 7"
    return slider.write(ladders, tmp_path_factory.mktemp("clips") / "tempo", command)


def name(clips: Path, number: int, percent: int) -> str:
    """The file of one clip of a ladder."""
    return next(clip["file"] for clip in slider.read(clips)["sweeps"][number]["clips"] if clip["percent"] == percent)


@pytest.fixture
def site(clips: Path, tmp_path: Path) -> Path:
    """A page with one slider (index.html), and one with two and a native player (two.html)."""
    shutil.copytree(clips, tmp_path / "clips")
    for file in ("steer-slider.js", "steer-slider.css"):
        shutil.copy(ROOT / "book" / "_static" / file, tmp_path / file)
    one = slider.render(slider.read(clips), "clips")
    native = f'<audio controls id="plain" src="clips/{name(clips, 0, 0)}" aria-label="A plain player"></audio>'
    (tmp_path / "index.html").write_text(PAGE.format(one))
    (tmp_path / "two.html").write_text(PAGE.format(one + one + native))
    return tmp_path


class Server:
    """Serves a folder; ``slow`` maps file names to seconds, ``broken`` names files that fail."""

    def __init__(self, folder: Path) -> None:
        self.slow = slow = dict[str, float]()
        self.broken = broken = set[str]()

        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.split("/")[-1].split("?")[0]
                time.sleep(slow.get(name, 0))
                with contextlib.suppress(ConnectionError):
                    self.send_error(503) if name in broken else super().do_GET()

            def end_headers(self) -> None:
                self.send_header("Cache-Control", "no-store")
                super().end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def __call__(self, page: str = "index.html") -> str:
        return f"http://127.0.0.1:{self.http.server_port}/{page}"


@pytest.fixture
def server(site: Path) -> Iterator[Server]:
    server = Server(site)
    yield server
    server.http.shutdown()


@pytest.fixture(scope="session")
def live_model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model that the live instrument can run."""
    return small_model(tmp_path_factory.mktemp("live") / "model")


@pytest.fixture(scope="session")
def exported(live_model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of that model's live instrument."""
    pytest.importorskip("onnx", reason="needs pip install 'tada-companion[book,dev]'")
    folder = live.export(live_model, tmp_path_factory.mktemp("page"), offer(live_model))
    live.write_page(folder)
    return folder


@pytest.fixture
def address(exported: Path) -> Iterator[str]:
    server = Server(exported)
    yield server()
    server.http.shutdown()


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("needs chromium and chromedriver (Debian: apt-get install chromium chromium-driver)")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in [*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture
def page(driver: Any) -> Iterator[Page]:
    page = Page(driver)
    yield page
    page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    page.driver.get("about:blank")
    page.driver.get_log("browser")


class Page:
    """The open page, as a person uses it."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, address: str) -> None:
        self.driver.get("about:blank")
        self.driver.get(address)

    def all(self, selector: str) -> list[Any]:
        return list(self.driver.find_elements("css selector", selector))

    def find(self, selector: str, number: int = 0) -> Any:
        """Wait for an element: sliders are upgraded after the page has loaded, on a busy machine much later."""
        wait(lambda: len(self.all(selector)) > number, 10, lambda: f"{selector} number {number}")
        return self.all(selector)[number]

    def click(self, selector: str, number: int = 0) -> None:
        self.find(selector, number).click()

    def press(self, selector: str, *keys: str) -> None:
        self.find(selector).send_keys(*keys)

    def slider(self, expression: str, number: int = 0) -> Any:
        """Evaluate an expression of ``it``, the slider."""
        return self.driver.execute_script(
            f"const it = document.querySelectorAll('steer-slider')[{number}]; return {expression}"
        )

    def text(self, selector: str) -> str:
        return self.find(selector).text

    def until(self, expression: str, number: int = 0) -> None:
        state = "it.state + ': ' + it.querySelector('.steer-status').textContent"
        words = lambda: f"{expression}; it is {self.slider(state, number)}"  # noqa: E731
        wait(lambda: self.slider(expression, number), 10, words)

    def play(self, number: int = 0) -> None:
        self.click(".steer-play", number)
        self.until("it.state === 'playing' && it.position > 0.05", number)

    def complaints(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] in ("WARNING", "SEVERE")]
