"""A folder of real clips, a page with the slider, a server that can be slow or fail, and headless Chromium."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from scipy.signal import lfilter

from tada import slider
from tada.minis.attributes import Attributes
from tada.minis.render import render

ROOT = Path(__file__).parents[2]
RATE, SECONDS = 16000, 4.096
PERCENTS = (-100, -50, 0, 50, 100)
PAGE = """<!doctype html><html lang="en" data-content_root=""><head><meta charset="utf-8"><title>Sliders</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,"><link rel="stylesheet" href="steer-slider.css"><script src="steer-slider.js"></script></head>
<body><main><h1>Sliders</h1>{}<p style="height: 60rem">Words below.</p></main></body></html>"""
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars --mute-audio --window-size=1200,900"
)


def lufs(audio: np.ndarray) -> float:
    """Loudness without gates (ITU-R BS.1770) of mono audio at 16 kHz, by bilinear filters of the standard's prototypes."""
    k, q, gain = np.tan(np.pi * 1681.97 / RATE), 0.7072, 10 ** (4 / 20)
    shelf = (
        [gain + np.sqrt(gain) * k / q + k * k, 2 * (k * k - gain), gain - np.sqrt(gain) * k / q + k * k],
        [1 + k / q + k * k, 2 * (k * k - 1), 1 - k / q + k * k],
    )
    k, q = np.tan(np.pi * 38.135 / RATE), 0.5003
    high = ([1, -2, 1], [1 + k / q + k * k, 2 * (k * k - 1), 1 - k / q + k * k])
    for above, below in (shelf, high):
        audio = lfilter(np.array(above) / below[0], np.array(below) / below[0], audio)
    return float(-0.691 + 10 * np.log10(np.mean(audio**2) + 1e-12))


def ladder(folder: Path, concept: str, method: str, seed: int, gains: dict[int, float]) -> dict[str, Any]:
    """Tempo as a stand-in for strength: the same music from slow to fast."""
    clips = []
    for percent in PERCENTS:
        name = f"{method}-{'m' if percent < 0 else 'p'}{abs(percent):03d}" if percent else f"zero-{seed}"
        audio = render(Attributes(tempo=114 + 0.5 * percent), seed) * gains.get(percent, 1.0)
        soundfile.write(folder / f"{name}.mp3", audio, RATE)
        slider.spectrogram(audio, RATE, folder / f"{name}.webp")
        clips.append(
            {
                **{"file": f"{name}.mp3", "spectrogram": f"{name}.webp", "alpha": percent / 30, "percent": percent},
                **{"lufs": round(lufs(audio), 2), "peak": round(float(np.abs(audio).max()), 3)},
                "metrics": {"tempo": 114 + 0.5 * percent},
                "sha256": hashlib.sha256((folder / f"{name}.mp3").read_bytes()).hexdigest(),
            }
        )
    words = {"low": "slower", "high": "faster", "label": method.replace("-", " "), "prompt": "a <calm> & “odd” song"}
    return {"concept": concept, "method": method, "seed": seed, "layers": [6, 7], "clips": clips, **words}


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two ladders of real renders; the second has a quiet and a loud clip."""
    folder = tmp_path_factory.mktemp("clips")
    gains: dict[int, float] = {50: 0.5, 100: 1.4}
    ladders = [ladder(folder, "tempo", "all-layers", 7, {}), ladder(folder, "tempo", "two-layers", 8, gains)]
    manifest = {"title": "Tempo", "model": "stable-audio", "checkpoint": "mini", "seconds": SECONDS, "sample_rate": RATE}
    manifest |= {"command": "tada run notebooks/05.py -p seed 7", "metrics": {"tempo": "BPM"}, "ladders": ladders}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture
def site(clips: Path, tmp_path: Path) -> Path:
    """A page with one slider (index.html), and one with two and a native player (two.html)."""
    shutil.copytree(clips, tmp_path / "clips")
    for name in ("steer-slider.js", "steer-slider.css"):
        shutil.copy(ROOT / "book" / "_static" / name, tmp_path / name)
    one = slider.render(slider.read(clips), "clips")
    native = '<audio controls id="plain" src="clips/zero-7.mp3" aria-label="A plain player"></audio>'
    (tmp_path / "index.html").write_text(PAGE.format(one))
    (tmp_path / "two.html").write_text(PAGE.format(one + one + native))
    return tmp_path


class Handler(SimpleHTTPRequestHandler):
    slow: dict[str, float]
    broken: set[str]

    def do_GET(self) -> None:
        name = self.path.split("/")[-1].split("?")[0]
        time.sleep(self.slow.get(name, 0))
        if name in self.broken:
            self.send_error(503)
            return
        with contextlib.suppress(ConnectionError):
            super().do_GET()

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def log_message(self, *args: Any) -> None:
        pass


class Server:
    """Serves a folder; ``slow`` maps file names to seconds, ``broken`` names files that fail."""

    def __init__(self, folder: Path) -> None:
        self.slow: dict[str, float] = {}
        self.broken: set[str] = set()
        handler = type("Told", (Handler,), {"slow": self.slow, "broken": self.broken})
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def __call__(self, page: str = "index.html") -> str:
        return f"http://127.0.0.1:{self.http.server_port}/{page}"


@pytest.fixture
def server(site: Path) -> Iterator[Server]:
    server = Server(site)
    yield server
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

    def find(self, selector: str, number: int = 0) -> Any:
        return self.driver.find_elements("css selector", selector)[number]

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

    def until(self, expression: str, number: int = 0, seconds: float = 10) -> None:
        end = time.monotonic() + seconds
        while not self.slider(expression, number):
            state = "it.state + ': ' + it.querySelector('.steer-status').textContent"
            assert time.monotonic() < end, f"waited in vain for {expression}; the slider is {self.slider(state, number)}"
            time.sleep(0.05)

    def play(self, number: int = 0) -> None:
        self.click(".steer-play", number)
        self.until("it.state === 'playing' && it.position > 0.05", number)

    def complaints(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] in ("WARNING", "SEVERE")]
