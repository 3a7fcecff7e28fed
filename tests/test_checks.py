"""The checks of the built site and its sources: each with something that must not pass, and something that must."""

from __future__ import annotations

from pathlib import Path

import pytest

from tada.book import checks, notebooks
from tada.book.checks import Check

PLAYER = '<audio controls src="" aria-label="A calm song"></audio>'
OUTPUT = '<div class="cell_output">{}</div>'
SLIDER = '<steer-slider data-players="{}">{}</steer-slider>'
BLOB = "A" * 20_001

# check, a body that must not pass, one that must
PAGES: list[tuple[Check, str, str]] = [
    (checks.broken_output, "<pre>Traceback (most recent call last)</pre>", "<p>A traceback is a list of calls.</p>"),
    (checks.broken_output, "<pre>ModuleNotFoundError: x</pre>", "<pre>fine</pre>"),
    (checks.broken_output, OUTPUT.format('<div class="output stderr">hm</div>'), OUTPUT.format("4")),
    (checks.broken_output, OUTPUT.format("a.py:1: FutureWarning: soon"), "<p>FutureWarning: soon</p>"),
    (checks.embedded_files, '<audio src="data:audio/wav;base64,AAAA"></audio>', '<audio src="clip.mp3"></audio>'),
    (checks.embedded_files, f"<img alt='A line.' src='data:image/png;base64,{BLOB}'>", "base64,AAAA"),
    (checks.dead_links, '<a href="nowhere.html">x</a>', '<a href="page.html">x</a>'),
    (checks.dead_links, '<a href="#nowhere">x</a>', '<a href="#here">x</a><p id="here"></p>'),
    (checks.dead_links, '<img src="gone.png" alt="A picture">', '<a href="https://example.org/">x</a>'),
    (checks.dead_links, '<audio src="gone.mp3"></audio>', '<a href="page.html#">x</a>'),
    (checks.dead_links, '<tr data-spectrogram="gone.webp"></tr>', '<tr data-spectrogram="/page.html"></tr>'),
    (checks.outside_assets, '<script src="https://example.org/a.js"></script>', '<script src="a.js"></script>'),
    (checks.poor_labels, '<img src="a.png" alt="_images/3f9c.png">', '<img src="a.png" alt="A line that rises.">'),
    (checks.poor_labels, '<img src="a.png">', "<p></p>"),
    (checks.poor_labels, "<audio controls></audio>", PLAYER),
    (checks.poor_labels, "<figure></figure>", "<figure><figcaption>A line</figcaption></figure>"),
    (checks.machine_paths, "<pre>f(folder=PosixPath('x'))</pre>", "<pre>f(folder=WEIGHTS)</pre>"),
    (checks.machine_paths, "<pre>wrote /home/ada/x.wav</pre>", "<pre>wrote _build/tmp/x.wav</pre>"),
    (checks.lost_players, SLIDER.format(2, PLAYER), SLIDER.format(1, PLAYER)),
    (checks.lost_players, SLIDER.format(0, ""), "<p></p>"),
    (checks.heavy_pages, "x" * 300_001, "x" * 1000),
]


def site(folder: Path, body: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "page.html").write_text(f"<html><body><article>{body}</article></body></html>")
    checks._soup.cache_clear()
    return folder


@pytest.mark.parametrize(("check", "bad", "good"), PAGES)
def test_the_bad_page_is_stopped_and_the_good_one_passes(check: Check, bad: str, good: str, tmp_path: Path) -> None:
    (problem,) = check(site(tmp_path / "bad", bad))
    assert problem.startswith("page.html: ")
    assert check(site(tmp_path / "good", good)) == []


def test_an_empty_site_fails_and_every_check_is_run(tmp_path: Path) -> None:
    assert checks.check(tmp_path) == [f"{tmp_path}: holds no page"]
    assert len(checks.check(site(tmp_path, "<img src='data:audio/x'><img src='gone.png'>"))) >= 4


def test_a_heavy_site_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = site(tmp_path, "")
    (folder / "clip.mp3").write_bytes(bytes(5000))
    monkeypatch.setattr(checks, "SITE_BYTES", 5000)
    assert checks.heavy_site(folder) == ["the site: 0.0 MB, at most 0"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "_toc.yml").write_text("root: a\nchapters:\n  - file: notebooks/01_one\n")
    source = '# %% tags=["parameters"]\nsteps: int = 4  # sampling steps\n\n# %%\nsteps\n'
    (tmp_path / "notebooks" / "01_one.py").write_text(source)
    notebooks.write_pair(tmp_path / "notebooks" / "01_one.py")
    return tmp_path


INJECTED = (
    '"cells": [{"cell_type": "markdown", "id": "x", "metadata": {"tags": ["injected-parameters"]}, "source": ""},'
)
PY, IPYNB = "notebooks/01_one.py", "notebooks/01_one.ipynb"

# check, a file, what is replaced in it by what, what is said
SPOILED: list[tuple[Check, str, str, str, str]] = [
    (checks.stray_pairs, IPYNB, "steps: int = 4", "steps: int = 5", "its pair differs"),
    (checks.stray_pairs, IPYNB, '"cells": [', INJECTED, "its pair differs"),
    (checks.repeated_keys, "_config.yml", "", "execute:\n  a: 1\nexecute:\n  b: 2\n", "execute is given twice"),
    (checks.repeated_keys, ".github/workflows/test.yml", "", "jobs: {a: 1, a: 2}\n", "a is given twice"),
    (checks.poor_parameters, PY, "steps: int", "steps", "what it does"),
    (checks.poor_parameters, PY, "  # sampling steps", "", "what it does"),
    (checks.missing_contents, "_toc.yml", "01_one", "01_one-more", "does not name notebooks/01_one"),
]


@pytest.mark.parametrize(("check", "file", "old", "new", "expected"), SPOILED)
def test_a_spoiled_checkout_is_stopped(
    check: Check, file: str, old: str, new: str, expected: str, checkout: Path
) -> None:
    assert checks.check_sources(checkout) == []
    path = checkout / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(path.read_text().replace(old, new) if path.exists() else new)
    if path.suffix == ".py":
        notebooks.write_pair(path)
    (problem,) = check(checkout)
    assert expected in problem
    assert checks.check_sources(checkout) == [problem]


def test_every_check_is_shown_able_to_fail() -> None:
    shown = {checks.heavy_site} | {check for check, *_ in [*PAGES, *SPOILED]}
    assert shown == {*checks.CHECKS, *checks.SOURCE_CHECKS}
