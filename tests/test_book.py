"""The book's build: which pages there are, execution side by side, reuse, staging and the Sphinx build."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tada.book import build as book
from tada.book import notebooks, pages, provenance
from tada.book.build import Page
from tada.book.pages import PageSpec
from tada.errors import BookError, NotebookError
from tada.experiments import profiles

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
    pair(tmp_path)
    return tmp_path


def pair(checkout: Path) -> None:
    for path in sorted((checkout / "notebooks").glob("*.py")):
        notebooks.write_pair(path)


def page_of(checkout: Path, name: str = "01_one", values: dict[str, Any] | None = None, **options: Any) -> Page:
    """The executed page of a notebook."""
    spec = PageSpec(name, checkout / "notebooks" / f"{name}.py", values or {})
    return book.execute(checkout, [spec], "smoke", **options)[0]


# ---- configuration and contents


def test_buttons_appear_only_with_a_repository(tmp_path: Path) -> None:
    path = tmp_path / "_config.yml"
    path.write_text(CONFIG)
    assert not {"repository", "html"} & set(book.configuration(path))
    path.write_text(CONFIG.replace('url: ""', "url: https://example.org/tada"))
    config = book.configuration(path)
    assert config["html"] == {"use_repository_button": True, "use_issues_button": True}


def test_select_by_the_start_of_a_name(checkout: Path) -> None:
    folder = checkout / "notebooks"
    assert [spec.name for spec in pages.select(folder, ["02"])] == ["02_two"]
    assert len(pages.select(folder, [])) == 2
    with pytest.raises(NotebookError, match="no notebook '03'"):
        pages.select(folder, ["03"])


def test_the_book_and_the_experiments_have_the_same_profiles() -> None:
    assert set(pages.PROFILES) == set(profiles.PROFILES)


# ---- running and presenting


def test_a_run_is_reused_until_something_that_determines_it_changes(checkout: Path) -> None:
    path, package = checkout / "notebooks" / "01_one.py", checkout / "tada"
    assert not page_of(checkout).reused
    assert page_of(checkout).reused
    assert not page_of(checkout, values={"steps": 5}).reused
    (package / "new.py").write_text("x = 1\n")
    assert not page_of(checkout, values={"steps": 5}).reused
    path.write_text(NOTEBOOK + "\n# %%\n'more'\n")
    assert not page_of(checkout, values={"steps": 5}).reused
    assert page_of(checkout, values={"steps": 5}).reused
    assert not page_of(checkout, values={"steps": 5}, force=True).reused
    assert not book.execute(checkout, pages.select(checkout / "notebooks", ["01"]), "mini")[0].reused
    assert page_of(checkout, values={"steps": 5}).reused, "each profile keeps pages of its own"


def test_a_failure_leaves_the_finished_page_of_an_earlier_run(checkout: Path) -> None:
    path = checkout / "notebooks" / "01_one.py"
    before = page_of(checkout)
    path.write_text("# %%\n1 / 0\n")
    for _ in range(2):
        with pytest.raises(BookError, match=r"ZeroDivisionError(.|\n)*kept at .*unfinished/01_one\.ipynb"):
            page_of(checkout)
    path.write_text(NOTEBOOK)
    after = page_of(checkout)
    assert after.reused and after.provenance == before.provenance


def test_a_page_is_executed_again_when_a_page_that_it_reads_is(checkout: Path) -> None:
    (checkout / "notebooks" / "pages.yml").write_text("02_two:\n  02_two: {after: [01_one]}\n")
    specs = pages.select(checkout / "notebooks")
    assert specs[1].after == ("01_one",)
    assert [page.reused for page in book.execute(checkout, specs)] == [False, False]
    assert [page.reused for page in book.execute(checkout, specs)] == [True, True]
    (checkout / "notebooks" / "01_one.py").write_text(NOTEBOOK + "\n# %%\n'more'\n")
    assert [page.reused for page in book.execute(checkout, specs[1:])] == [False]


def test_the_page_shows_what_it_was_run_with_and_no_trace_of_papermill(checkout: Path) -> None:
    page = page_of(checkout, values={"steps": 5})
    spec = PageSpec("01_one", checkout / "notebooks" / "01_one.py", {"steps": 5})
    text = book.present(page, spec, {"steps": 5})
    cells = json.loads(text)["cells"]
    box = "".join(cells[1]["source"])
    assert "| **`steps`** | `5` | `4` | sampling steps |" in box and page.provenance.date in box
    assert '"papermill"' not in text and "injected-parameters" not in text
    assert len(cells) == 3


def test_a_page_names_the_checkpoints_that_were_opened_for_it(checkout: Path) -> None:
    code = '\n# %%\nprint(sorted(set(dir()) & {"_listen", "json", "logging"}))\nimport logging\nfor _ in range(2):\n'
    code += "    logging.getLogger('tada.loaded').info('%s %s', 'a mini', 'abcdef0123456789')\n"
    (checkout / "notebooks" / "01_one.py").write_text(NOTEBOOK + code)
    page = page_of(checkout)
    assert page.provenance.checkpoints == {"a mini": "abcdef012345"}
    assert "[]\\n" in page.output.read_text(), "what listens leaves no names in the notebook"
    assert provenance.read(page.output.with_suffix(".json")) == page.provenance
    assert not list((checkout / "_build").rglob("*.checkpoints"))
    assert page_of(checkout).provenance == page.provenance, "a page that is reused keeps its date"


# ---- side by side


MEETING = """\
# %%
import pathlib, time
place = pathlib.Path({place!r})
(place / "{name}.here").touch()
end = time.monotonic() + 30
while not (place / "{other}.here").exists():
    assert time.monotonic() < end, "the other one never came"
    time.sleep(0.05)
"""


ENDLESS = """\
# %%
import pathlib, time
for number in range(600):
    pathlib.Path({place!r}, str(number)).touch()
    time.sleep(0.1)
"""


def test_two_notebooks_run_side_by_side(checkout: Path) -> None:
    for name, other in (("01_one", "02_two"), ("02_two", "01_one")):
        code = MEETING.format(place=str(checkout), name=name, other=other)
        (checkout / "notebooks" / f"{name}.py").write_text(code)
    lines: list[str] = []
    done = book.execute(checkout, pages.select(checkout / "notebooks"), jobs=2, tell=lines.append)
    assert [page.name for page in done] == ["01_one", "02_two"]
    assert sorted(lines[:2]) == ["01_one: begun", "02_two: begun"]
    assert lines[3].endswith("(2 of 2)")


def test_after_a_failure_what_is_under_way_is_finished_and_no_other_is_begun(checkout: Path) -> None:
    (checkout / "notebooks" / "01_one.py").write_text("# %%\n1 / 0\n")
    (checkout / "notebooks" / "02_two.py").write_text("# %%\nimport time\ntime.sleep(4)\n")
    (checkout / "notebooks" / "03_three.py").write_text("# %%\n3\n")
    specs, lines = pages.select(checkout / "notebooks"), list[str]()
    with pytest.raises(BookError, match=r"01_one\.py failed in cell \[1\]"):
        book.execute(checkout, specs, jobs=2, tell=lines.append)
    assert not any("03_three" in line for line in lines)
    assert book.execute(checkout, specs[1:2])[0].reused


def test_an_interrupt_stops_what_runs_and_keeps_what_is_finished(checkout: Path) -> None:
    marks = checkout / "marks"
    marks.mkdir()
    (checkout / "notebooks" / "02_two.py").write_text(ENDLESS.format(place=str(marks)))
    specs = pages.select(checkout / "notebooks")

    def tell(line: str) -> None:
        if line.startswith("01_one: executed"):
            end = time.monotonic() + 30
            while not any(marks.iterdir()):
                assert time.monotonic() < end
                time.sleep(0.05)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        book.execute(checkout, specs, jobs=2, tell=tell)
    before, end = -1, time.monotonic() + 15
    while (count := len(list(marks.iterdir()))) != before:
        assert time.monotonic() < end, "the kernel still runs"
        before = count
        time.sleep(0.5)
    assert book.execute(checkout, specs[:1])[0].reused


def test_pages_that_wait_for_each_other_are_refused(checkout: Path) -> None:
    (checkout / "notebooks" / "pages.yml").write_text(
        "01_one:\n  01_one: {after: [02_two]}\n02_two:\n  02_two: {after: [01_one]}\n"
    )
    with pytest.raises(BookError, match=r"01_one waits for .*: none can be first"):
        book.execute(checkout, pages.select(checkout / "notebooks"))


# ---- the whole


def test_a_small_book_builds_reuses_and_leaves_the_sources_alone(checkout: Path) -> None:
    before = {path: path.read_bytes() for path in checkout.rglob("*") if path.is_file()}
    lines: list[str] = []
    page = book.build(checkout, "smoke", tell=lines.append)
    assert page == checkout / "_build" / "html" / "index.html"
    assert page.is_file()
    html = (checkout / "_build" / "html" / "notebooks" / "01_one.html").read_text()
    assert "smoke" in html
    assert any(line.startswith("01_one: executed in") for line in lines)
    assert {path: path.read_bytes() for path in before} == before
    assert all("_build" in path.parts for path in checkout.rglob("*") if path.is_file() and path not in before)
    lines.clear()
    book.build(checkout, "smoke", only=["02"], tell=lines.append)
    assert lines[0] == "02_two: unchanged, reused (1 of 1)"
    left_out = (checkout / "_build" / "html" / "notebooks" / "01_one.html").read_text()
    assert "left out of this build" in left_out
    assert "smoke" not in left_out
    assert "left out" not in (checkout / "_build" / "html" / "notebooks" / "02_two.html").read_text()


def test_sources_that_must_not_be_are_found_before_anything_runs(checkout: Path) -> None:
    (checkout / "notebooks" / "01_one.py").write_text(NOTEBOOK + "\n# %%\n'more'\n")
    lines: list[str] = []
    with pytest.raises(BookError, match=r"1 problem in the sources:\n  notebooks/01_one.py: its pair differs"):
        book.build(checkout, tell=lines.append)
    assert lines == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("### A heading two levels down", r"Sphinx did not build the book cleanly(.|\n)*header level"),
        ('<img src="gone.png" alt="A picture">', "'gone.png' leads nowhere"),
    ],
)
def test_what_sphinx_or_a_check_finds_fails_the_build(checkout: Path, text: str, message: str) -> None:
    (checkout / "book" / "index.md").write_text(f"# A book\n\n{text}\n")
    with pytest.raises(BookError, match=message):
        book.build(checkout, only=["02"])


# ---- one notebook, several pages


PAGES = """\
01_one:
  01_one: {title: First of all}
  01_one-again: {title: Once again, parameters: {steps: 9}}
"""


def test_a_notebook_becomes_the_pages_it_is_given(checkout: Path) -> None:
    folder = checkout / "notebooks"
    (folder / "pages.yml").write_text(PAGES)
    specs = pages.select(folder, ())
    assert [(spec.name, spec.path.stem) for spec in specs] == [
        ("01_one", "01_one"),
        ("01_one-again", "01_one"),
        ("02_two", "02_two"),
    ]
    assert specs[1].parameters == {"steps": 9}
    assert [spec.name for spec in pages.select(folder, ["01_one-"])] == ["01_one-again"]


def test_the_sentence_of_a_page_stands_below_its_title(checkout: Path) -> None:
    spec = PageSpec("01_one-again", checkout / "notebooks" / "01_one.py", title="Again", about="Why not")
    assert '"# Again\\n",\n    "\\n",\n    "*Why not*' in book.present_unexecuted(spec)


def test_after_takes_patterns(checkout: Path) -> None:
    folder = checkout / "notebooks"
    (folder / "pages.yml").write_text(PAGES + "02_two:\n  02_two: {after: [01_one*]}\n")
    assert pages.select(folder)[-1].after == ("01_one", "01_one-again")
    (folder / "pages.yml").write_text(PAGES + "02_two:\n  02_two: {after: [01_one]}\n")
    assert pages.select(folder)[-1].after == ("01_one",)


def test_a_second_page_of_a_notebook_has_labels_of_its_own(checkout: Path) -> None:
    folder = checkout / "notebooks"
    labelled = NOTEBOOK.replace("# # One\n", "# # One\n#\n# See [the end](#end).\n#\n# (end)=\n# ## The end\n")
    (folder / "01_one.py").write_text(labelled)
    (folder / "pages.yml").write_text(PAGES)
    own, again = (book.present_unexecuted(spec) for spec in pages.select(folder, ["01"]))
    assert "[the end](#end)" in own and "(end)=" in own
    assert "[the end](#01_one-again-end)" in again and "(01_one-again-end)=" in again


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ("01_on:\n  01_on: {}\n", "did you mean '01_one'"),
        ("01_one:\n  one: {}\n", "does not begin with '01_one'"),
        ("01_one:\n  01_one: {parameters: {stps: 1}}\n", "did you mean 'steps'"),
        ("01_one:\n  01_one: {parameters: {profile: smok}}\n", "did you mean 'smoke'"),
        ("01_one:\n  01_one: {titel: One}\n", "did you mean 'title'"),
        ("01_one:\n  01_one: {after: [03_x]}\n", "no page '03_x'"),
    ],
)
def test_pages_that_cannot_be_are_refused(checkout: Path, entries: str, message: str) -> None:
    (checkout / "notebooks" / "pages.yml").write_text(entries)
    with pytest.raises(BookError, match=message):
        pages.select(checkout / "notebooks", ())


def test_every_page_is_run_with_its_own_parameters_and_brings_its_files(checkout: Path) -> None:
    writes = '\n# %%\nimport os, pathlib\nplace = pathlib.Path(os.environ["TADA_PAGE"])\nplace.mkdir()\n'
    writes += '(place / "clip.txt").write_text(str(steps * 2))\nplace.name'
    (checkout / "notebooks" / "01_one.py").write_text(NOTEBOOK + writes)
    pair(checkout)
    (checkout / "notebooks" / "pages.yml").write_text(PAGES)
    (checkout / "_toc.yml").write_text(TOC + "      - file: notebooks/01_one-again\n")
    book.build(checkout, "smoke", ["01"])
    built = checkout / "_build" / "html" / "notebooks"
    again = (built / "01_one-again.html").read_text()
    assert "Once again" in again and "First of all" in (built / "01_one.html").read_text()
    assert "tada run notebooks/01_one.py -p profile smoke -p steps 9" in text_of(again)
    found = [(built / name / "clip.txt").read_text() for name in ("01_one", "01_one-again")]
    assert found == ["8", "18"]
    before = checkout / "_build" / "notebooks" / "smoke" / "01_one" / "old.txt"
    before.write_text("of an earlier run")
    book.build(checkout, "smoke", ["01_one"], force=True)
    assert not before.exists(), "a page keeps no files of an earlier run"


def text_of(html: str) -> str:
    from bs4 import BeautifulSoup

    return BeautifulSoup(html, "html.parser").get_text()
