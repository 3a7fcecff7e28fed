"""The book's build: which pages there are, execution side by side, reuse, staging and the Sphinx build."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup

from checks import NOTEBOOK, wait
from tada.book import build as book
from tada.book import notebooks, pages, provenance
from tada.book.build import Page
from tada.book.pages import PageSpec
from tada.book.results import Kept
from tada.errors import BookError, NotebookError
from tada.experiments import profiles
from tada.io import write_json

MORE = "\n# %%\n'more'\n"
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
PAGES = """\
01_one:
  01_one: {title: First of all}
  01_one-again: {title: Once again, parameters: {steps: 9}}
"""


class Checkout:
    """A folder with a small book."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.notebooks, self.lines = folder, folder / "notebooks", list[str]()
        for name, text in {
            "_config.yml": CONFIG,
            "_toc.yml": TOC,
            "book/index.md": "# A book\n\nWords.\n",
            "tada/__init__.py": "",
            "notebooks/01_one.py": NOTEBOOK,
            "notebooks/02_two.py": "# %% [markdown]\n# # Two\n\n# %%\n1 + 1\n",
        }.items():
            self.write(name, text)

    def write(self, name: str, text: str) -> None:
        """Write a file, and its pair where it is a notebook."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        if name.startswith("notebooks/") and path.suffix == ".py":
            notebooks.write_pair(path)

    def specs(self, *only: str) -> list[PageSpec]:
        return pages.select(self.notebooks, only)

    def run(self, *only: str, profile: str = "mini", **options: Any) -> list[Page]:
        """Execute pages and note what is told."""
        self.lines.clear()
        return book.execute(self.folder, self.specs(*only), profile, tell=self.lines.append, **options)

    def page(self, values: dict[str, Any] | None = None, **options: Any) -> Page:
        """The executed page of the first notebook."""
        spec = PageSpec("01_one", self.notebooks / "01_one.py", values or {})
        return book.execute(self.folder, [spec], "smoke", **options)[0]

    def build(self, *only: str) -> Path:
        """Build the site at the profile smoke and return its folder of notebooks."""
        self.lines.clear()
        return book.build(self.folder, "smoke", only, self.lines.append).parent / "notebooks"


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


# ---- configuration and contents


def test_buttons_appear_only_with_a_repository(tmp_path: Path) -> None:
    path = tmp_path / "_config.yml"
    path.write_text(CONFIG)
    assert not {"repository", "html"} & set(book.configuration(path))
    path.write_text(CONFIG.replace('url: ""', "url: https://example.org/tada"))
    assert book.configuration(path)["html"] == {"use_repository_button": True, "use_issues_button": True}


def test_the_book_and_the_experiments_have_the_same_profiles() -> None:
    assert set(pages.PROFILES) == set(profiles.PROFILES)


def test_a_notebook_becomes_the_pages_it_is_given(checkout: Checkout) -> None:
    checkout.write("notebooks/pages.yml", PAGES + "02_two:\n  02_two: {after: [01_one*]}\n")
    specs = checkout.specs()
    assert [(spec.name, spec.path.stem) for spec in specs[:2]] == [("01_one", "01_one"), ("01_one-again", "01_one")]
    assert specs[1].parameters == {"steps": 9} and specs[2].after == ("01_one", "01_one-again")
    assert checkout.specs("01_one-", "02") == specs[1:]
    with pytest.raises(NotebookError, match="no notebook '03'"):
        checkout.specs("03")
    checkout.write("notebooks/pages.yml", PAGES + "02_two:\n  02_two: {after: [01_one]}\n")
    assert checkout.specs()[-1].after == ("01_one",)


def test_a_page_may_have_other_parameters_at_smoke(checkout: Checkout) -> None:
    checkout.write("notebooks/pages.yml", "01_one:\n  01_one: {parameters: {steps: 9}, smoke: {steps: 2}}\n")
    assert [book.parameters(checkout.specs()[0], profile)["steps"] for profile in ("smoke", "mini")] == [2, 9]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ("01_on:\n  01_on: {}\n", "did you mean '01_one'"),
        ("01_one:\n  one: {}\n", "does not begin with '01_one'"),
        ("01_one:\n  01_one: {parameters: {stps: 1}}\n", "did you mean 'steps'"),
        ("01_one:\n  01_one: {smoke: {stps: 1}}\n", "did you mean 'steps'"),
        ("01_one:\n  01_one: {smoke: {profile: mini}}\n", "no parameter of 01_one.py at smoke 'profile'"),
        ("01_one:\n  01_one: {parameters: {profile: smok}}\n", "did you mean 'smoke'"),
        ("01_one:\n  01_one: {titel: One}\n", "did you mean 'title'"),
        ("01_one:\n  01_one: {after: [03_x]}\n", "no page '03_x'"),
        ("01_one:\n  01_one: {after: [02_two]}\n02_two:\n  02_two: {after: [01_one]}\n", "01_one waits for .*be first"),
    ],
)
def test_pages_that_cannot_be_are_refused(checkout: Checkout, entries: str, message: str) -> None:
    checkout.write("notebooks/pages.yml", entries)
    with pytest.raises(BookError, match=message):
        checkout.run()


# ---- running and presenting


def test_a_run_is_reused_until_something_that_determines_it_changes(checkout: Checkout) -> None:
    assert not checkout.page().reused
    assert checkout.page().reused
    assert not checkout.page({"steps": 5}).reused
    checkout.write("tada/new.py", "x = 1\n")
    assert not checkout.page({"steps": 5}).reused
    checkout.write("notebooks/01_one.py", NOTEBOOK + MORE)
    assert not checkout.page({"steps": 5}).reused
    assert not checkout.page({"steps": 5}, force=True).reused
    assert not checkout.run("01", profile="mini")[0].reused
    assert checkout.page({"steps": 5}).reused, "each profile keeps pages of its own"


def test_a_failure_leaves_the_finished_page_of_an_earlier_run(checkout: Checkout) -> None:
    before = checkout.page()
    checkout.write("notebooks/01_one.py", "# %%\n1 / 0\n")
    for _ in range(2):
        with pytest.raises(BookError, match=r"ZeroDivisionError(.|\n)*kept at .*unfinished/01_one\.ipynb"):
            checkout.page()
    checkout.write("notebooks/01_one.py", NOTEBOOK)
    after = checkout.page()
    assert after.reused and after.provenance == before.provenance


def test_a_page_is_executed_again_when_a_page_that_it_reads_is(checkout: Checkout) -> None:
    checkout.write("notebooks/pages.yml", "02_two:\n  02_two: {after: [01_one]}\n")
    assert [page.reused for page in checkout.run()] == [False, False]
    assert [page.reused for page in checkout.run()] == [True, True]
    checkout.write("notebooks/01_one.py", NOTEBOOK + MORE)
    assert [page.reused for page in checkout.run("02")] == [False]


def test_the_page_shows_what_it_was_run_with_and_no_trace_of_papermill(checkout: Checkout) -> None:
    page = checkout.page({"steps": 5})
    spec = PageSpec("01_one", checkout.notebooks / "01_one.py", {"steps": 5})
    text = book.present(page, spec, {"steps": 5})
    cells = json.loads(text)["cells"]
    box = "".join(cells[1]["source"])
    assert "| **`steps`** | `5` | `4` | sampling steps |" in box and page.provenance.date in box
    assert '"papermill"' not in text and "injected-parameters" not in text and len(cells) == 3


def test_a_page_names_the_checkpoints_that_were_opened_for_it(checkout: Checkout) -> None:
    code = '\n# %%\nprint(sorted(set(dir()) & {"_listen", "json", "logging"}))\nimport logging\nfor _ in range(2):\n'
    code += "    logging.getLogger('tada.loaded').info('%s %s', 'a mini', 'abcdef0123456789')\n"
    checkout.write("notebooks/01_one.py", NOTEBOOK + code)
    page = checkout.page()
    assert page.provenance.checkpoints == {"a mini": "abcdef012345"}
    assert "[]\\n" in page.output.read_text(), "what listens leaves no names in the notebook"
    assert provenance.read(page.output.with_suffix(".json")) == page.provenance
    assert not list((checkout.folder / "_build").rglob("*.checkpoints"))
    assert checkout.page().provenance == page.provenance, "a page that is reused keeps its date"


def test_a_second_page_of_a_notebook_has_a_title_and_labels_of_its_own(checkout: Checkout) -> None:
    labelled = NOTEBOOK.replace("# # One\n", "# # One\n#\n# See [the end](#end).\n#\n# (end)=\n# ## The end\n")
    checkout.write("notebooks/01_one.py", labelled)
    checkout.write("notebooks/pages.yml", PAGES.replace("Once again", "Once again, about: Why not"))
    own, again = (book.present_unexecuted(spec) for spec in checkout.specs("01"))
    assert "[the end](#end)" in own and "(end)=" in own
    assert "[the end](#01_one-again-end)" in again and "(01_one-again-end)=" in again
    assert '"# Once again\\n",\n    "\\n",\n    "*Why not*' in again


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


def test_two_notebooks_run_side_by_side(checkout: Checkout) -> None:
    for name, other in (("01_one", "02_two"), ("02_two", "01_one")):
        checkout.write(f"notebooks/{name}.py", MEETING.format(place=str(checkout.folder), name=name, other=other))
    assert [page.name for page in checkout.run(jobs=2)] == ["01_one", "02_two"]
    assert sorted(checkout.lines[:2]) == ["01_one: begun", "02_two: begun"]
    assert checkout.lines[3].endswith("(2 of 2)")


def test_pages_that_others_wait_for_come_first(checkout: Checkout) -> None:
    for name in ("03_three", "04_four", "05_five"):
        checkout.write(f"notebooks/{name}.py", "# %%\n1\n")
    later = "04_four:\n  04_four: {after: [03_three]}\n05_five:\n  05_five: {after: [04_four]}\n"
    checkout.write("notebooks/pages.yml", later)
    checkout.run(jobs=1)
    begun = [line.partition("_")[0] for line in checkout.lines if line.endswith("begun")]
    assert begun == ["03", "04", "01", "02", "05"]


def test_of_pages_that_can_begin_the_longest_comes_first(checkout: Checkout) -> None:
    for name in ("03_three", "04_four", "05_five"):
        checkout.write(f"notebooks/{name}.py", "# %%\n1\n")
    checkout.write("notebooks/pages.yml", "05_five:\n  05_five: {after: [01_one]}\n")
    took = {"02_two": {"seconds": 3}, "03_three": {"seconds": 80.5}, "05_five": {"seconds": 40}}
    pages_of = {page: {"units": [], **about} for page, about in took.items()}
    about = {"date": "2026-03-01", "command": "tada results make", "pages": pages_of}
    write_json(checkout.folder / "results" / "about.json", about)
    checkout.run(jobs=1, kept=Kept(checkout.folder, checkout.folder / "results", None))
    begun = [line.partition("_")[0] for line in checkout.lines if line.endswith("begun")]
    assert begun == ["01", "03", "05", "02", "04"]


def test_after_a_failure_what_is_under_way_is_finished_and_no_other_is_begun(checkout: Checkout) -> None:
    for name, code in (("01_one", "1 / 0"), ("02_two", "import time\ntime.sleep(4)"), ("03_three", "3")):
        checkout.write(f"notebooks/{name}.py", f"# %%\n{code}\n")
    with pytest.raises(BookError, match=r"01_one\.py failed in cell \[1\]"):
        checkout.run(jobs=2)
    assert not any("03_three" in line for line in checkout.lines)
    assert checkout.run("02")[0].reused


def test_an_interrupt_stops_what_runs_and_keeps_what_is_finished(checkout: Checkout) -> None:
    marks = checkout.folder / "marks"
    marks.mkdir()
    checkout.write("notebooks/02_two.py", ENDLESS.format(place=str(marks)))

    def tell(line: str) -> None:
        if line.startswith("01_one: executed"):
            wait(lambda: any(marks.iterdir()))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        book.execute(checkout.folder, checkout.specs(), "mini", jobs=2, tell=tell)
    before, end = -1, time.monotonic() + 15
    while (count := len(list(marks.iterdir()))) != before:
        assert time.monotonic() < end, "the kernel still runs"
        before = count
        time.sleep(0.5)
    assert checkout.run("01")[0].reused


# ---- the whole


def test_a_small_book_builds_reuses_and_leaves_the_sources_alone(checkout: Checkout) -> None:
    writes = '\n# %%\nimport os, pathlib\nplace = pathlib.Path(os.environ["TADA_PAGE"])\nplace.mkdir()\n'
    writes += '(place / "clip.txt").write_text(str(steps * 2))\nplace.name'
    checkout.write("notebooks/01_one.py", NOTEBOOK + writes)
    checkout.write("notebooks/pages.yml", PAGES)
    checkout.write("_toc.yml", TOC + "      - file: notebooks/01_one-again\n")
    before = {path: path.read_bytes() for path in checkout.folder.rglob("*") if path.is_file()}
    built = checkout.build()
    first, again = ((built / f"{name}.html").read_text() for name in ("01_one", "01_one-again"))
    assert "Once again" in again and "First of all" in first and "smoke" in first
    said = BeautifulSoup(again, "html.parser").get_text()
    assert "tada run notebooks/01_one.py -p profile smoke -p steps 9" in said
    assert [(built / name / "clip.txt").read_text() for name in ("01_one", "01_one-again")] == ["8", "18"]
    assert any(line.startswith("01_one: executed in") for line in checkout.lines)
    old = checkout.folder / "_build" / "notebooks" / "smoke" / "01_one" / "old.txt"
    old.write_text("of an earlier run")
    checkout.page(force=True)
    assert not old.exists(), "a page keeps no files of an earlier run"
    checkout.build("02")
    assert checkout.lines[0] == "02_two: unchanged, reused (1 of 1)"
    left_out = (built / "01_one.html").read_text()
    assert "left out of this build" in left_out and "smoke" not in left_out
    assert "left out" not in (built / "02_two.html").read_text()
    assert {path: path.read_bytes() for path in before} == before
    after = {path for path in checkout.folder.rglob("*") if path.is_file()} - before.keys()
    assert all("_build" in path.parts for path in after)


def test_sources_that_must_not_be_are_found_before_anything_runs(checkout: Checkout) -> None:
    (checkout.notebooks / "01_one.py").write_text(NOTEBOOK + MORE)
    with pytest.raises(BookError, match=r"1 problem in the sources:\n  notebooks/01_one.py: its pair differs"):
        checkout.build()
    assert checkout.lines == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("### A heading two levels down", r"Sphinx did not build the book cleanly(.|\n)*header level"),
        ('<img src="gone.png" alt="A picture">', "'gone.png' leads nowhere"),
    ],
)
def test_what_sphinx_or_a_check_finds_fails_the_build(checkout: Checkout, text: str, message: str) -> None:
    checkout.write("book/index.md", f"# A book\n\n{text}\n")
    with pytest.raises(BookError, match=message):
        checkout.build("02")
