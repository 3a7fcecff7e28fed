"""The slider and the live instrument in headless Firefox: its clips are Python's there, too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from live import LAYERS, PROMPT, SECONDS, offer
from tada.steering import combine
from tests.site.conftest import Server
from tests.site.firefox import Firefox, start

TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def firefox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    with start(tmp_path_factory.mktemp("firefox")) as browser:
        yield browser


def test_a_slider_plays(firefox: Firefox, server: Server) -> None:
    firefox.open(server())
    sound = "const sound = new AudioContext(); await wait(() => sound.state === 'running'); return sound.state"
    if firefox.run(sound) != "running":
        pytest.skip("needs a sound device, such as a null sink of pulseaudio")
    playing = """const it = document.querySelector("steer-slider");
        await wait(() => it.querySelector(".steer-play"));
        it.querySelector(".steer-play").click();
        await wait(() => it.state === "playing" && it.position > 0.05);
        return [it.state, it.position > 0.05]"""
    assert firefox.run(playing) == ["playing", True]
    assert firefox.complaints == []


def test_the_instrument_makes_the_clips_of_python(firefox: Firefox, address: str, live_model: Any) -> None:
    firefox.open(address)
    make = """const it = document.querySelector("steer-live");
        if (it.status !== "ready") await it.start();
        it.choose(STATE);
        await it.hear("this");
        return [...it.now.audio]"""
    state = {"prompt": PROMPT, "seed": 5, "mode": "steer", "layers": LAYERS}
    vectors, strengths = offer(live_model).vectors, {"tempo": 1.5, "piano": -0.5}
    plain = live_model.generate(PROMPT, 5, SECONDS)
    with combine(list(vectors.values()), list(strengths.values())).apply(live_model, 1.0, LAYERS):
        steered = live_model.generate(PROMPT, 5, SECONDS)
    for given, clips in (({}, plain), (strengths, steered)):
        found = np.float32(firefox.run(make.replace("STATE", json.dumps(state | {"strengths": given}))))
        assert np.abs(found - clips.audio[0].mean(0).numpy()).max() < TOLERANCE < 0.01 < np.abs(found).max()
    assert firefox.complaints == []
