"""The book's build: staging, reuse, the Sphinx build, and the gates, each with a page that must not pass."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tada import book, gates
from tada.book import BookError
from tada.notebooks import NotebookError, Parameter

ROOT = Path(__file__).parents[1]
NOTEBOOK = """\
# %% [markdown]
# # One

# %% tags=["parameters"]
steps: int = 4  # sampling steps
profile: str = "mini"  # how much to run

# %%
steps * 2
"""
CONFIG = """\
title: A book
only_build_toc_files: true
execute: {execute_notebooks: "off"}
repository: {url: "", branch: main}
sphinx:
  recursive_update: true
  config:
    html_context: {default_mode: auto}
"""
TOC = """\
format: jb-book
root: book/index
parts:
  - caption: Pages
    chapters:
      - file: notebooks/01_one
      - file: notebooks/02_two
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for folder in ("book", "notebooks", "tada"):
        (tmp_path / folder).mkdir()
    (tmp_path / "_config.yml").write_text(CONFIG)
    (tmp_path / "_toc.yml").write_text(TOC)
    (tmp_path / "book" / "index.md").write_text("# A book\n\nWords.\n")
    (tmp_path / "notebooks" / "01_one.py").write_text(NOTEBOOK)
    (tmp_path / "notebooks" / "02_two.py").write_text("# %% [markdown]\n# # Two\n\n# %%\n1 + 1\n")
    (tmp_path / "tada" / "__init__.py").write_text("")
    return tmp_path


def site(tmp_path: Path, body: str) -> Path:
    (tmp_path / "page.html").write_text(f"<html><body><article>{body}</article></body></html>")
    return tmp_path


# ---- the gates


@pytest.mark.parametrize(
    ("gate", "bad", "good"),
    [
        (gates.broken_output, "<pre>Traceback (most recent call last)</pre>", "<p>A traceback is a list of calls.</p>"),
        (gates.broken_output, "<pre>ModuleNotFoundError: x</pre>", "<pre>fine</pre>"),
        (gates.broken_output, '<div class="cell_output"><div class="output stderr">hm</div></div>', ""),
        (
            gates.broken_output,
            '<div class="cell_output">a.py:1: FutureWarning: soon</div>',
            "<p>FutureWarning: soon</p>",
        ),
        (gates.inline_audio, '<audio src="data:audio/wav;base64,AAAA"></audio>', '<audio src="clip.mp3"></audio>'),
        (gates.dead_links, '<a href="nowhere.html">x</a>', '<a href="page.html">x</a>'),
        (gates.dead_links, '<a href="#nowhere">x</a>', '<a href="#here">x</a><p id="here"></p>'),
        (gates.dead_links, '<img src="gone.png" alt="A picture">', '<a href="https://example.org/">x</a>'),
        (gates.dead_links, '<audio src="gone.mp3"></audio>', '<a href="page.html#">x</a>'),
        (gates.outside_assets, '<script src="https://example.org/a.js"></script>', '<script src="a.js"></script>'),
        (gates.poor_alts, '<img src="a.png" alt="_images/3f9c.png">', '<img src="a.png" alt="A line that rises.">'),
        (gates.poor_alts, '<img src="a.png">', "<p></p>"),
        (gates.heavy_pages, "x" * 300_001, "x" * 1000),
    ],
)
def test_a_gate_stops_the_bad_page_and_lets_the_good_one_pass(
    gate: Callable[[Path], list[str]], bad: str, good: str, tmp_path: Path
) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "good").mkdir()
    assert len(gate(site(tmp_path / "bad", bad))) == 1
    assert gate(site(tmp_path / "good", good)) == []


def test_a_gate_names_the_page(tmp_path: Path) -> None:
    assert gates.dead_links(site(tmp_path, '<a href="gone.html">x</a>')) == ["page.html: 'gone.html' leads nowhere"]


def test_every_gate_is_used_and_an_empty_site_fails(tmp_path: Path) -> None:
    assert gates.check(tmp_path) == [f"{tmp_path}: holds no page"]
    assert len(gates.check(site(tmp_path, "<img src='data:audio/x'><img src='gone.png'>"))) >= 4


# ---- configuration and contents


def test_a_key_given_twice_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "_config.yml"
    path.write_text("execute:\n  a: 1\nexecute:\n  b: 2\n")
    with pytest.raises(BookError, match="execute is given twice"):
        book.load_yaml(path)


def test_buttons_appear_only_with_a_repository(tmp_path: Path) -> None:
    path = tmp_path / "_config.yml"
    path.write_text(CONFIG)
    assert "launch_buttons" not in book.configuration(path)
    path.write_text(CONFIG.replace('url: ""', "url: https://example.org/tada"))
    config = book.configuration(path)
    assert "colab_url" in config["launch_buttons"]
    assert config["html"]["use_repository_button"] is True


def test_this_book_s_contents_are_its_notebooks() -> None:
    toc = book.load_yaml(ROOT / "_toc.yml")
    chapters = [chapter for part in toc["parts"] for chapter in part["chapters"]]
    files = [entry["file"] for chapter in chapters for entry in (chapter, *chapter.get("sections", ()))]
    found = sorted(f"notebooks/{sheet.name}" for sheet in book.select(ROOT / "notebooks", ()))
    assert sorted(file for file in files if file.startswith("notebooks/")) == found
    assert book.configuration(ROOT / "_config.yml")["execute"]["execute_notebooks"] == "off"


def test_select_by_the_start_of_a_name(checkout: Path) -> None:
    folder = checkout / "notebooks"
    assert [sheet.name for sheet in book.select(folder, ["02"])] == ["02_two"]
    assert len(book.select(folder, [])) == 2
    with pytest.raises(NotebookError, match="no notebook '03'"):
        book.select(folder, ["03"])


# ---- running and presenting


def test_a_run_is_reused_until_something_that_determines_it_changes(checkout: Path) -> None:
    path, build, package = checkout / "notebooks" / "01_one.py", checkout / "_build", checkout / "tada"
    assert not book.run(path, build, {}, package).reused
    assert book.run(path, build, {}, package).reused
    assert not book.run(path, build, {"steps": 5}, package).reused
    (package / "new.py").write_text("x = 1\n")
    assert not book.run(path, build, {"steps": 5}, package).reused
    path.write_text(NOTEBOOK + "\n# %%\n'more'\n")
    assert not book.run(path, build, {"steps": 5}, package).reused
    assert book.run(path, build, {"steps": 5}, package).reused
    assert not book.run(path, build, {"steps": 5}, package, force=True).reused


def test_a_failed_run_is_never_reused(checkout: Path) -> None:
    path = checkout / "notebooks" / "01_one.py"
    path.write_text("# %%\n1 / 0\n")
    for _ in range(2):
        with pytest.raises(BookError, match="ZeroDivisionError"):
            book.run(path, checkout / "_build", {}, checkout / "tada")


def test_a_run_that_a_failure_overwrote_is_not_reused(checkout: Path) -> None:
    path, build, package = checkout / "notebooks" / "01_one.py", checkout / "_build", checkout / "tada"
    book.run(path, build, {}, package)
    path.write_text("# %%\n1 / 0\n")
    with pytest.raises(BookError, match="ZeroDivisionError"):
        book.run(path, build, {}, package)
    path.write_text(NOTEBOOK)
    assert not book.run(path, build, {}, package).reused


def test_the_page_shows_what_it_was_run_with_and_no_trace_of_papermill(checkout: Path) -> None:
    path = checkout / "notebooks" / "01_one.py"
    page = book.run(path, checkout / "_build", {"steps": 5}, checkout / "tada")
    declared = [Parameter("steps", "int", "4", "sampling steps"), Parameter("profile", "str", '"mini"', "how much")]
    text = book.present(page, declared, {"steps": 5})
    cells = json.loads(text)["cells"]
    table = "".join(cells[1]["source"])
    assert "| `steps` | `5` | sampling steps |" in table
    assert '| `profile` | `"mini"` | how much |' in table
    assert "papermill" not in text
    assert "injected-parameters" not in text
    assert len(cells) == 3


# ---- the whole


def test_a_small_book_builds_reuses_and_leaves_the_sources_alone(checkout: Path) -> None:
    before = {path: path.read_bytes() for path in checkout.rglob("*") if path.is_file()}
    lines: list[str] = []
    page = book.build(checkout, "smoke", tell=lines.append)
    assert page == checkout / "_build" / "html" / "index.html"
    assert page.is_file()
    html = (checkout / "_build" / "html" / "notebooks" / "01_one.html").read_text()
    assert "smoke" in html
    assert lines[0].startswith("01_one: executed in")
    assert {path: path.read_bytes() for path in before} == before
    assert all("_build" in path.parts for path in checkout.rglob("*") if path.is_file() and path not in before)
    lines.clear()
    book.build(checkout, "smoke", only=["02"], tell=lines.append)
    assert lines[0] == "02_two: unchanged, reused"
    left_out = (checkout / "_build" / "html" / "notebooks" / "01_one.html").read_text()
    assert "left out of this build" in left_out
    assert "smoke" not in left_out
    assert "left out" not in (checkout / "_build" / "html" / "notebooks" / "02_two.html").read_text()


def test_a_warning_of_sphinx_fails_the_build(checkout: Path) -> None:
    (checkout / "book" / "index.md").write_text("# A book\n\n### A heading two levels down\n")
    with pytest.raises(BookError, match=r"Sphinx did not build the book cleanly(.|\n)*header level"):
        book.build(checkout, only=["02"])


def test_a_gate_fails_the_build(checkout: Path) -> None:
    (checkout / "book" / "index.md").write_text('# A book\n\n<img src="gone.png" alt="A picture">\n')
    with pytest.raises(BookError, match="'gone.png' leads nowhere"):
        book.build(checkout, only=["02"])


def test_root_is_found_from_below(checkout: Path) -> None:
    assert book.root(checkout / "notebooks") == checkout


# ---- one notebook, several pages


PAGES = """\
01_one:
  01_one: {title: First of all}
  01_one-again: {title: Once again, parameters: {steps: 9}}
"""


def test_a_notebook_becomes_the_pages_it_is_given(checkout: Path) -> None:
    folder = checkout / "notebooks"
    (folder / "pages.yml").write_text(PAGES)
    sheets = book.select(folder, ())
    assert [(sheet.name, sheet.path.stem) for sheet in sheets] == [
        ("01_one", "01_one"),
        ("01_one-again", "01_one"),
        ("02_two", "02_two"),
    ]
    assert sheets[1].parameters == {"steps": 9}
    assert [sheet.name for sheet in book.select(folder, ["01_one-"])] == ["01_one-again"]


@pytest.mark.parametrize(
    ("pages", "message"),
    [
        ("01_on:\n  01_on: {}\n", "did you mean '01_one'"),
        ("01_one:\n  one: {}\n", "does not begin with '01_one'"),
        ("01_one:\n  01_one: {parameters: {stps: 1}}\n", "did you mean 'steps'"),
    ],
)
def test_pages_that_cannot_be_are_refused(checkout: Path, pages: str, message: str) -> None:
    (checkout / "notebooks" / "pages.yml").write_text(pages)
    with pytest.raises(BookError, match=message):
        book.select(checkout / "notebooks", ())


def test_every_page_is_run_with_its_own_parameters_and_brings_its_files(checkout: Path) -> None:
    writes = '\n# %%\nimport os, pathlib\nplace = pathlib.Path(os.environ["TADA_PAGE"])\nplace.mkdir()\n'
    writes += '(place / "clip.txt").write_text(str(steps * 2))\nplace.name'
    (checkout / "notebooks" / "01_one.py").write_text(NOTEBOOK + writes)
    (checkout / "notebooks" / "pages.yml").write_text(PAGES)
    (checkout / "_toc.yml").write_text(TOC + "      - file: notebooks/01_one-again\n")
    book.build(checkout, "smoke", ["01"])
    pages = checkout / "_build" / "html" / "notebooks"
    again = (pages / "01_one-again.html").read_text()
    assert "Once again" in again and "First of all" in (pages / "01_one.html").read_text()
    assert "tada run notebooks/01_one.py" in again.replace("</span>", "").replace('<span class="w">', "")
    found = [(pages / name / "clip.txt").read_text() for name in ("01_one", "01_one-again")]
    assert found == ["8", "18"]
    before = checkout / "_build" / "notebooks" / "01_one" / "old.txt"
    before.write_text("of an earlier run")
    book.build(checkout, "smoke", ["01_one"], force=True)
    assert not before.exists(), "a page keeps no files of an earlier run"
