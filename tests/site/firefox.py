"""Headless Firefox, driven by its own WebDriver BiDi: no driver has to be installed beside it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

BINARIES = ("firefox", "firefox-esr")
WAIT = """const wait = async (done) => {
    for (let n = 0; n < 400 && !done(); n++) await new Promise((next) => setTimeout(next, 50)); };"""
PREFS = 'user_pref("remote.active-protocols", 1);user_pref("media.autoplay.default", 0);'


class Firefox:
    """An open window: go somewhere, run scripts in it, see what it complains about."""

    def __init__(self, socket: Any) -> None:
        self.socket, self.number = socket, 0
        self.complaints: list[str] = []
        self.call("session.new", capabilities={})
        self.call("session.subscribe", events=["log.entryAdded"])
        self.window = self.call("browsingContext.getTree")["contexts"][0]["context"]

    def call(self, method: str, **params: Any) -> Any:
        """Send a command and return its result; what is logged meanwhile is kept."""
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": params}))
        while True:
            answer = json.loads(self.socket.recv())
            entry = answer.get("params", {})
            if answer.get("method") == "log.entryAdded" and entry["level"] in ("warn", "error"):
                self.complaints.append(entry["text"])
            if answer.get("id") == self.number:
                assert answer["type"] == "success", answer
                return answer["result"]

    def open(self, address: str) -> None:
        self.call("browsingContext.navigate", context=self.window, url=address, wait="complete")

    def run(self, body: str) -> Any:
        """Run the body of an asynchronous function, which may ``wait`` for a condition, and return its json."""
        script = f"(async () => JSON.stringify(await (async () => {{ {WAIT} {body} }})() ?? null))()"
        target = {"context": self.window}
        found = self.call("script.evaluate", expression=script, target=target, awaitPromise=True, userActivation=True)
        assert found["type"] == "success", found["exceptionDetails"]["text"]
        return json.loads(found["result"]["value"])

    def resize(self, width: int, height: int) -> None:
        size = {"width": width, "height": height}
        self.call("browsingContext.setViewport", context=self.window, viewport=size)


@contextmanager
def start(profile: Path) -> Iterator[Firefox]:
    """Start Firefox with a new profile in a folder; skip the test where it is not installed."""
    binary = next(filter(None, map(shutil.which, BINARIES)), None)
    if binary is None:
        pytest.skip("needs Firefox (Debian: apt-get install firefox-esr)")
    from websocket import create_connection

    profile.mkdir(parents=True, exist_ok=True)
    (profile / "user.js").write_text(PREFS)
    command = [binary, "--headless", "--no-remote", "--profile", str(profile), "--remote-debugging-port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stderr is not None
            address = next(line.split()[-1] for line in process.stderr if "listening on ws" in line)
            socket = create_connection(f"{address}/session", timeout=180, suppress_origin=True)
            yield Firefox(socket)
            socket.close()
        finally:
            process.kill()
