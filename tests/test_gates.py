"""The gates: each with a page or a checkout that must not pass, and one that must."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tada.book import checks as gates
from tada.book import notebooks

Gate = Callable[[Path], list[str]]
PAGE = '<html lang="en"><head><title>A page</title></head><body><article><h1>A page</h1>{}</article></body></html>'
PLAYER = '<audio controls src="" aria-label="A calm song"></audio>'
CELL = '<div class="cell tag_player"><div class="cell_input">x</div>{}</div>'
OUTPUT = '<div class="cell_output">{}</div>'
SLIDER = '<steer-slider data-players="{}">{}</steer-slider>'

# gate, a body that must not pass, one that must
PAGES: list[tuple[Gate, str, str]] = [
    (gates.machine_paths, "<pre>f(folder=PosixPath('x'))</pre>", "<pre>f(folder=WEIGHTS)</pre>"),
    (gates.machine_paths, "<pre>wrote /home/ada/x.wav</pre>", "<pre>wrote _build/tmp/x.wav</pre>"),
    (gates.embedded_files, f"<img alt='A line.' src='data:image/png;base64,{'A' * 20_001}'>", "base64,AAAA"),
    (gates.lost_players, SLIDER.format(2, PLAYER), SLIDER.format(1, PLAYER)),
    (gates.lost_players, SLIDER.format(0, ""), "<p></p>"),
    (gates.lost_players, CELL.format(OUTPUT.format("None")), CELL.format(OUTPUT.format(PLAYER))),
    (gates.lost_players, CELL.format(OUTPUT.format("")), CELL.format("")),  # a page left out of the build is no loss
    (gates.missing_captions, "<audio controls></audio>", PLAYER),
    (gates.missing_captions, "<figure><img></figure>", "<figure><figcaption>A line</figcaption></figure>"),
    (
        gates.missing_captions,
        "<figure><audio></audio><figcaption> </figcaption></figure>".replace("<audio>", '<audio title="x">'),
        "<figure><audio></audio><figcaption>A song</figcaption></figure>",
    ),
    (
        gates.missing_captions,
        SLIDER.format(0, "<table></table>"),
        SLIDER.format(0, "<table><caption>Tempo</caption></table>"),
    ),
    (gates.unnamed_controls, "<button><i></i></button>", "<button>Play</button>"),
    (gates.unnamed_controls, '<input type="range">', '<label>Strength <input type="range"></label>'),
    (gates.unnamed_controls, '<input id="a">', '<label for="a">Strength</label><input id="a">'),
    (gates.unnamed_controls, '<a href="x"></a>', '<a href="x"><img alt="A page"></a>'),
    (gates.unnamed_controls, "<h1>Two</h1>", "<h2>Two</h2>"),
    (gates.repeated_ids, '<p id="a"></p><p id="a"></p>', '<p id="a"></p><p id="b"></p>'),
    (
        gates.dead_links,
        '<table><tr data-spectrogram="gone.webp"></tr></table>',
        '<table><tr data-spectrogram="page.html"></tr></table>',
    ),
]


def site(folder: Path, body: str, page: str = PAGE) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "page.html").write_text(page.format(body))
    gates._soup.cache_clear()
    return folder


@pytest.mark.parametrize(("gate", "bad", "good"), PAGES)
def test_a_gate_stops_the_bad_page_and_lets_the_good_one_pass(gate: Gate, bad: str, good: str, tmp_path: Path) -> None:
    assert len(gate(site(tmp_path / "bad", bad))) == 1
    assert gate(site(tmp_path / "good", good)) == []


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (PAGE.replace(' lang="en"', ""), "language"),
        (PAGE.replace("<title>A page</title>", ""), "no title"),
        (PAGE.replace("<h1>A page</h1>", ""), "0 first-level headings"),
    ],
)
def test_a_page_has_a_language_a_title_and_a_heading(page: str, expected: str, tmp_path: Path) -> None:
    (problem,) = gates.unnamed_controls(site(tmp_path, "", page))
    assert expected in problem


def test_a_heavy_site_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = site(tmp_path, "")
    (folder / "clip.mp3").write_bytes(bytes(5000))
    assert gates.heavy_site(folder) == []
    monkeypatch.setattr(gates, "SITE_BYTES", 5000)
    assert gates.heavy_site(folder) == ["the site: 0.0 MB, at most 0"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "notebooks").mkdir()
    (tmp_path / ".github" / "workflows").mkdir(parents=True)
    (tmp_path / "_toc.yml").write_text("root: a\n")
    source = '# %% tags=["parameters"]\nsteps: int = 4  # sampling steps\n\n# %%\nsteps\n'
    (tmp_path / "notebooks" / "01_one.py").write_text(source)
    notebooks.write_pair(tmp_path / "notebooks" / "01_one.py")
    return tmp_path


COLAB = '<a href="https://colab.research.google.com/github/some/where/blob/v1/notebooks/{}.ipynb">Colab</a>'


def test_a_link_to_colab_opens_a_committed_notebook_without_outputs(checkout: Path) -> None:
    built = checkout / "_build" / "html"
    (problem,) = gates.dead_colab(site(built, COLAB.format("01_one")))
    assert "is not in the repository of _config.yml (none is set, main)" in problem
    (checkout / "_config.yml").write_text("repository: {url: https://github.com/some/where, branch: v2}\n")
    assert "v2" in gates.dead_colab(site(built, COLAB.format("01_one")))[0]
    (checkout / "_config.yml").write_text("repository: {url: https://github.com/some/where, branch: v1}\n")
    assert gates.dead_colab(site(built, COLAB.format("01_one"))) == []
    (problem,) = gates.dead_colab(site(built, COLAB.format("02_two")))
    assert "opens no notebook" in problem
    path = checkout / "notebooks" / "01_one.ipynb"
    text = json.loads(path.read_text())
    text["cells"][1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["4"]}]
    path.write_text(json.dumps(text))
    (problem,) = gates.dead_colab(site(built, COLAB.format("01_one")))
    assert "with outputs" in problem


def test_a_sound_checkout_passes(checkout: Path) -> None:
    assert gates.check_sources(checkout) == []


def spoil_pair(checkout: Path) -> None:
    path = checkout / "notebooks" / "01_one.ipynb"
    path.write_text(path.read_text().replace("steps: int = 4", "steps: int = 5"))


def inject(checkout: Path) -> None:
    path = checkout / "notebooks" / "01_one.ipynb"
    text = json.loads(path.read_text())
    text["cells"].insert(1, {**text["cells"][0], "id": "x", "metadata": {"tags": ["injected-parameters"]}})
    path.write_text(json.dumps(text, indent=1) + "\n")


def repeat_key(checkout: Path) -> None:
    (checkout / "_config.yml").write_text("execute:\n  a: 1\nexecute:\n  b: 2\n")


def repeat_key_of_a_workflow(checkout: Path) -> None:
    (checkout / ".github" / "workflows" / "test.yml").write_text("jobs: {a: 1, a: 2}\n")


def drop_type(checkout: Path) -> None:
    path = checkout / "notebooks" / "01_one.py"
    path.write_text(path.read_text().replace("steps: int = 4", "steps = 4"))
    notebooks.write_pair(path)


def drop_help(checkout: Path) -> None:
    path = checkout / "notebooks" / "01_one.py"
    path.write_text(path.read_text().replace("  # sampling steps", ""))
    notebooks.write_pair(path)


SPOILED: list[tuple[Callable[[Path], None], Gate, str]] = [
    (spoil_pair, gates.stray_pairs, "its pair differs"),
    (inject, gates.stray_pairs, "its pair differs"),
    (repeat_key, gates.repeated_keys, "execute is given twice"),
    (repeat_key_of_a_workflow, gates.repeated_keys, "a is given twice"),
    (drop_type, gates.poor_parameters, "what it does"),
    (drop_help, gates.poor_parameters, "what it does"),
]


@pytest.mark.parametrize(("spoil", "gate", "expected"), SPOILED)
def test_a_gate_stops_a_spoiled_checkout(
    spoil: Callable[[Path], None], gate: Gate, expected: str, checkout: Path
) -> None:
    spoil(checkout)
    (problem,) = gate(checkout)
    assert expected in problem
    assert gates.check_sources(checkout) == [problem]


def test_every_gate_is_in_the_list_and_shown_able_to_fail() -> None:
    """Those not here are in test_book.py, by name."""
    elsewhere = (Path(__file__).parent / "test_book.py").read_text()
    shown = {gate for gate, _, _ in PAGES} | {gate for _, gate, _ in SPOILED} | {gates.heavy_site, gates.dead_colab}
    missing = [gate.__name__ for gate in (*gates.GATES, *gates.SOURCE_GATES) if gate not in shown]
    assert [name for name in missing if f"gates.{name}," not in elsewhere] == []
