"""A hub that refuses, breaks, or never answers: a server of our own stands for it, and the words say what to do."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tada.errors import CheckpointError
from tada.models import hub

CASES = {
    "401-RepoNotFound": "no 'owner/401-RepoNotFound' that you may see.*spelling.*hf auth login",
    "401": "(refuses your token|that you may see).*hf auth login",
    "403-GatedRepo": "gated: accept its licence.*HF_TOKEN",
    "403": "forbids it .HTTP 403.*token",
    "404-RepoNotFound": "spelling",
    "404-RevisionNotFound": "no revision 'v1'",
    "404": "HTTP 404",
    "429": "too many requests.*wait",
    "500": "out of order .HTTP 500.*try again",
    "503": "HTTP 503",
    "hang": "cannot be reached",
    "ends-": "'owner/ends-' is no hub id",
}
"""Name of a repository, which is what the hub answers -> words of the error."""

ASK = """
import json, sys, time
from tada.errors import CheckpointError
from tada.models import hub
def fetch(*asked, **how):
    raise FileNotFoundError("not in the cache")
said = {}
for name in sys.argv[1:]:
    start = time.monotonic()
    try:
        hub.folder(f"owner/{name}@v1", fetch, "model_index.json")
    except CheckpointError as error:
        said[name] = [str(error), time.monotonic() - start]
print(json.dumps(said))
"""


class Answer(BaseHTTPRequestHandler):
    """Answers as the name of the repository says, or not before the test is over."""

    over = threading.Event()

    def do_GET(self) -> None:
        name = self.path.split("/owner/")[1].split("/")[0]
        if name == "hang":
            self.over.wait(60)
            return
        status, _, code = name.partition("-")
        self.send_response(int(status))
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def said() -> dict[str, tuple[str, float]]:
    """What a process of its own is told by such a hub, and after how many seconds."""
    serving = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    serving.daemon_threads = True
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    place = {"HF_ENDPOINT": f"http://127.0.0.1:{serving.server_port}", "HF_HUB_OFFLINE": "0", "HF_TOKEN": ""}
    ran = subprocess.run(
        [sys.executable, "-c", ASK, *CASES], capture_output=True, text=True, env={**os.environ, **place}, check=True
    )
    Answer.over.set()
    serving.shutdown()
    return json.loads(ran.stdout)


@pytest.mark.parametrize("name", CASES)
def test_every_answer_is_told_in_words_within_ten_seconds(said, name):
    words, seconds = said[name]
    assert re.search(CASES[name], words) and len(words) < 500, words
    assert seconds < 10


@pytest.mark.parametrize(
    ("error", "words"),
    [(OSError(28, "No space left on device"), "disk is full.*HF_HOME"), (OSError("reset"), "reached")],
)
def test_a_full_disk_and_a_download_that_breaks_are_told(monkeypatch, error, words):
    monkeypatch.setattr(hub, "probe", lambda *asked: None)

    def fetch(name, **how):
        raise error

    with pytest.raises(CheckpointError, match=words):
        hub.folder("owner/name", fetch, "model_index.json")
