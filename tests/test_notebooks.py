"""Notebooks: pairs, parameters, execution."""

import json
import os
import re
from pathlib import Path

import pytest

from tada.book import checks, colab, notebooks
from tada.book.pages import load_yaml
from tada.errors import NotebookError

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "notebooks").glob("*.py"))

NOTEBOOK = """\
# %% [markdown]
# # A title

# %% tags=["parameters"]
steps: int = 4  # sampling steps
prompt: str = "a song"  # what to ask for
alphas: list[float] = [0.0, 1.0]  # strengths
loud: bool = False  # whether to shout
guidance: float = 3.5  # guidance scale

# %%
print(steps * 2, prompt, alphas, loud, guidance)
"""


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    path = tmp_path / "one.py"
    path.write_text(NOTEBOOK)
    return path


def test_this_book_s_sources_pass_their_checks() -> None:
    assert len(SOURCES) >= 9
    assert checks.check_sources(ROOT) == []


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_pair_is_clean_and_its_setup_cell_collapsed(source: Path) -> None:
    public = load_yaml(ROOT / "_config.yml")["repository"]
    cells = json.loads(source.with_suffix(".ipynb").read_text())["cells"]
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in cells)
    assert len({cell["id"] for cell in cells}) == len(cells)
    first = next(cell for cell in cells if cell["cell_type"] == "code")
    assert "".join(first["source"]) == colab.first_cell(public["url"], public["branch"])
    assert {"setup", "hide-cell"} <= set(first["metadata"]["tags"])
    for cell in cells:
        if cell["cell_type"] == "code" and "plt.show()" in "".join(cell["source"]):
            assert len(cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")) > 20, cell["source"]


def test_pairing_is_deterministic_and_drops_outputs(notebook: Path, tmp_path: Path) -> None:
    assert notebooks.pair(notebook) == notebooks.pair(notebook)
    executed = tmp_path / "out" / "one.ipynb"
    assert notebooks.execute(notebook, executed, {"steps": 5}).failure == ""
    assert "10 a song" in executed.read_text()
    assert notebook.read_text() == NOTEBOOK, "the source is never written"
    assert notebooks.pair(executed) == notebooks.pair(notebook)  # outputs and the injected cell are gone


def test_the_setup_cell_is_completed_from_the_settings(tmp_path: Path) -> None:
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "_config.yml").write_text("repository: {url: https://github.com/some/where, branch: v1}\n")
    path = tmp_path / "notebooks" / "one.py"
    path.write_text('# %% tags=["setup"]\nimport tada.book.colab\n\ntada.book.colab.setup()\n\n# %%\n1 + 1\n')
    text = notebooks.pair(path)
    assert "git+https://github.com/some/where@v1" in text
    assert notebooks.pair(notebooks.write_pair(path)) == text
    assert "install" not in path.read_text()
    (tmp_path / "_config.yml").write_text("repository: {url: https://github.com/else/where, branch: main}\n")
    assert notebooks.unpaired(path.parent) == [path]
    assert "else/where" in notebooks.pair(path.with_suffix(".ipynb"))


def test_parameters_are_read_and_values_are_typed(notebook: Path) -> None:
    steps = notebooks.parameters(notebook)[0]
    assert (steps.name, steps.type, steps.default, steps.help) == ("steps", "int", "4", "sampling steps")
    given = [("steps", "7"), ("prompt", "3"), ("alphas", "-1, 2"), ("loud", "TRUE"), ("guidance", "2")]
    expected = {"steps": 7, "prompt": "3", "alphas": [-1.0, 2.0], "loud": True, "guidance": 2.0}
    assert notebooks.values(notebooks.parameters(notebook), given) == expected
    assert notebooks.values(notebooks.parameters(notebook), [("alphas", "[0.5]")]) == {"alphas": [0.5]}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["steps", "2.5"], "steps is an int, got '2.5'"),
        (["loud", "maybe"], "loud is a bool, got 'maybe'"),
        (["alphas", "1,x"], r"alphas is a list\[float\], got '1,x'"),
        (["guidance", "high"], "guidance is a float, got 'high'"),
        (["step", "1"], r"did you mean 'steps'\?(.|\n)*steps: int = 4  # sampling steps(.|\n)*guidance: float"),
        (["steps", "1", "steps", "2"], "given twice"),
    ],
)
def test_a_wrong_parameter_says_what_is_right(notebook: Path, given: list[str], expected: str) -> None:
    with pytest.raises(NotebookError, match=expected):
        notebooks.values(notebooks.parameters(notebook), zip(given[::2], given[1::2], strict=True))
    with pytest.raises(NotebookError, match="declares none"):
        notebooks.values([], [("steps", "1")])


@pytest.mark.parametrize(
    ("declared", "text", "is_path"),
    [
        ('captions: str = ""  # csv file, or google/MusicCaps', "mine.csv", True),
        ('captions: str = ""  # csv file, or google/MusicCaps', "not there.csv", True),
        ('captions: str = ""  # csv file, or google/MusicCaps', "google/MusicCaps", False),
        ('store: str = ""  # where scores are kept', "日本 語", True),
        ('table: str = ""', "mine.csv", True),
        ('table: str = ""', "./not there", True),
        ('checkpoint: str = ""  # mini, a hub id or a folder', "mini", False),
        ('checkpoint: str = ""  # mini, a hub id or a folder', "some/where", False),
        ('checkpoint: str = ""  # mini, a hub id or a folder', "my folder", True),
        ('prompt: str = ""  # what to ask for', "my folder", False),
        ('prompt: str = ""  # what to ask for', "a calm/slow song.", False),
        ("words: list[str] = []  # files", "mine.csv", True),
    ],
)
def test_paths_that_are_typed_are_those_of_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, declared: str, text: str, is_path: bool
) -> None:
    (tmp_path / "book").mkdir()
    (tmp_path / "my folder").mkdir()
    (tmp_path / "mine.csv").touch()
    path = tmp_path / "book" / "one.py"
    path.write_text(f'# %% tags=["parameters"]\n{declared}\n')
    monkeypatch.chdir(tmp_path)
    [parameter] = notebooks.parameters(path)
    [found] = notebooks.values([parameter], [(parameter.name, text)]).values()
    expected = str(tmp_path / text.removeprefix("./")) if is_path else text
    assert found == ([expected] if parameter.type.startswith("list") else expected)


def test_what_is_no_notebook_is_refused(notebook: Path) -> None:
    with pytest.raises(NotebookError, match=r"did you mean '.*one\.py'"):
        notebooks.find(notebook.with_name("ones.py"))
    notebook.with_name("notes.txt").touch()
    with pytest.raises(NotebookError, match="not a notebook"):
        notebooks.find(notebook.with_name("notes.txt"))
    for text in ("{", "{}", "[1]", '{"cells": 3}'):
        notebook.with_suffix(".ipynb").write_text(text)
        with pytest.raises(NotebookError, match=r"one\.ipynb cannot be read as a notebook"):
            notebooks.find(notebook.with_suffix(".ipynb"))


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        ("{}['lost']", r"failed in cell \[2\]:\n    {}\['lost'\]\n  KeyError: 'lost'\n.* kept at"),
        ("import os\nos._exit(9)", r"was stopped in this cell:\n    import os\n    os\._exit\(9\)\n.*Kernel died"),
    ],
)
def test_a_failing_cell_is_named_and_the_partial_run_kept(tmp_path: Path, code: str, failure: str) -> None:
    path = tmp_path / "bad.py"
    path.write_text(f"# %%\nprint('reached')\n\n# %%\n{code}\n")
    done = notebooks.execute(path, tmp_path / "out" / "bad.ipynb", {})
    assert re.search(failure, done.failure)
    assert "reached" in done.output.read_text()


def test_values_and_variables_reach_the_notebook_as_they_are(tmp_path: Path) -> None:
    path, output, before = tmp_path / "one.py", tmp_path / "out" / "one.ipynb", dict(os.environ)
    values = dict(zip("abcdefgh", (1e-05, "1e-05", "", "yes", ["a: b", "ü"], True, -3, "2024-01-01"), strict=True))
    declared = "".join(f"{name}: object = None  # anything\n" for name in values)
    shown = f"import os\nprint([{', '.join(values)}, os.environ['OF_A_PAGE'], os.environ['TQDM_DISABLE']])"
    path.write_text(f'# %% tags=["parameters"]\n{declared}\n# %%\n{shown}\n')
    notebooks.execute(path, output, values, {"OF_A_PAGE": "yes"})
    told = "".join(json.loads(output.read_text())["cells"][-1]["outputs"][0]["text"])
    assert told == f"{[*values.values(), 'yes', '1']}\n"
    assert dict(os.environ) == before, "this process is left as it was"


def test_a_folder_that_cannot_be_written_is_an_error(notebook: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "one.ipynb").mkdir(parents=True)
    with pytest.raises(NotebookError, match=r"cannot write .*one\.ipynb: a folder has that name"):
        notebooks.execute(notebook, tmp_path / "out" / "one.ipynb", {})
