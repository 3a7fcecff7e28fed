"""The command line: what it prints, and what a user who mistypes is told."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from checks import NOTEBOOK, run, told, wait

ROOT = Path(__file__).parents[1]
TADA = (sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tada.cli import app; app()")


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "01_one.py").write_text(NOTEBOOK)
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: book/index\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_help_is_instant_and_imports_nothing_heavy() -> None:
    code = "import sys, tada.cli; print(*{'torch', 'diffusers', 'papermill', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == []
    assert all(name in run("--help").stdout for name in ("book", "run", "pair", "models"))


def test_models_lists_every_architecture_with_its_facts() -> None:
    lines = run("models").stdout.splitlines()
    stable = next(line for line in lines if line.startswith("stable-audio"))
    assert "stabilityai/stable-audio-open-1.0" in stable
    assert "24" in stable
    assert "{11, 12}" in stable
    assert "{44, 45, 50, 51}" in next(line for line in lines if line.startswith("audioldm2"))


@pytest.mark.parametrize("suffix", [".py", ".ipynb"])
def test_run_writes_elsewhere_with_the_parameters_given(book: Path, suffix: str) -> None:
    assert run("pair").exit_code == 0
    before = {path: path.read_text() for path in (book / "notebooks").iterdir()}
    result = run("run", f"notebooks/01_one{suffix}", "-p", "steps", "-7", "--profile", "smoke", "--out", "out")
    assert result.exit_code == 0, result.output
    assert "out/01_one.ipynb" in result.stdout
    assert "steps -14 smoke" in (book / "out" / "01_one.ipynb").read_text()
    assert {path: path.read_text() for path in (book / "notebooks").iterdir()} == before


@pytest.mark.usefixtures("book")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("bok",), "did you mean 'book'"),
        (("run", "notebooks/01_one.py", "-p", "stps", "1"), 'profile: str = "mini"  # how much to run'),
        (("run", "notebooks/01_one.py", "--profile", "smok"), "did you mean 'smoke'"),
        (("run", "notebooks/01_one.py", "-p", "profile", "smok"), "did you mean 'smoke'"),
        (("run", "notebooks/01_one.py", "--out", "/proc/nowhere"), "cannot write into /proc/nowhere"),
        (("run", "notebooks/01_one.py", "--out", "notebooks/01_one.py"), "cannot write into notebooks/01_one.py"),
        (("run", "notebooks"), "no notebook 'notebooks'"),
        (("run", "notebooks/01_one.py", "-p", "profile", "mini", "--profile", "smoke"), "profile was given twice"),
        (("book", "--profile", "papr"), "did you mean 'paper'"),
        (("book", "--only", "09"), "no notebook '09'"),
    ],
)
def test_what_a_user_gets_wrong_is_answered_with_what_is_right(arguments: tuple[str, ...], message: str) -> None:
    assert message in told(*arguments)


def test_a_notebook_without_profiles_runs_and_says_so(book: Path) -> None:
    (book / "notebooks" / "01_one.py").write_text('# %% tags=["parameters"]\nsteps: int = 4  # sampling steps\n')
    result = run("run", "notebooks/01_one.py", "--profile", "smoke")
    assert result.exit_code == 0, result.output
    assert "01_one.py has no profiles: smoke is the same as any other." in result.stderr
    assert "did you mean 'smoke'" in told("run", "notebooks/01_one.py", "--profile", "smok")


PAGE = (
    NOTEBOOK
    + """
import os, pathlib
pathlib.Path(os.environ["TADA_PAGE"], "clips").mkdir(parents=True)
pathlib.Path(os.environ["TADA_PAGE"], "clips", "a.mp3").write_text("sound")
"""
)


def test_a_run_replaces_what_the_last_one_left_and_nothing_else(book: Path) -> None:
    given = ("run", "notebooks/01_one.py", "--out", "out")
    notebook, folder = book / "notebooks" / "01_one.py", book / "out" / "01_one"
    notebook.write_text(PAGE)
    assert run(*given).exit_code == 0
    assert run(*given).exit_code == 0
    for name in ("mine.txt", "clips/a.mp3", "../01_one.ipynb"):  # added, or changed since
        before = (folder / name).read_text() if (folder / name).exists() else None
        (folder / name).write_text("mine")
        assert "is not as a run left it" in told(*given)
        assert (folder / name).read_text() == "mine"
        (folder / name).write_text(before) if before else (folder / name).unlink()
    (book / "notebooks" / "b").mkdir()
    notebook.rename(book / "notebooks" / "b" / "01_one.py")
    assert "of another notebook" in told("run", "notebooks/b/01_one.py", "--out", "out")
    (folder / "clips" / "a.mp3").rename(book / "kept")
    (folder / "clips" / "a.mp3").symlink_to(book / "kept")
    (book / "notebooks" / "b" / "01_one.py").rename(notebook)
    assert "is not as a run left it" in told(*given)
    assert (book / "kept").read_text() == "sound"


def test_a_run_writes_over_no_notebook_and_through_no_link(book: Path) -> None:
    assert run("pair").exit_code == 0
    pair, before = book / "notebooks" / "01_one.ipynb", (book / "notebooks" / "01_one.ipynb").read_text()
    (book / "other").mkdir()
    (book / "other" / "01_one.py").write_text(PAGE)
    (book / "links").mkdir()
    (book / "links" / "01_one.ipynb").symlink_to(pair)
    for notebook, folder, message in (
        ("notebooks/01_one.py", "notebooks", "own folder"),
        ("notebooks/01_one.ipynb", "notebooks", "own folder"),
        ("other/01_one.py", "notebooks", "own folder"),
        ("other/01_one.py", "links", "is not as a run left it"),
    ):
        assert message in told("run", notebook, "--out", folder)
        assert pair.read_text() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="to the superuser no folder is read-only")
def test_a_folder_that_is_read_only_is_said_to_be(book: Path) -> None:
    (book / "out").mkdir(mode=0o555)
    assert "cannot write into out (Permission denied)" in told("run", "notebooks/01_one.py", "--out", "out")


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_ended_takes_its_kernel_along(book: Path, end: signal.Signals) -> None:
    (book / "notebooks" / "01_one.py").write_text(
        "# %%\nimport os, pathlib, time\npathlib.Path('kernel.tmp').write_text(str(os.getpid()))\n"
        "pathlib.Path('kernel.tmp').rename('kernel')\ntime.sleep(60)\n"
    )
    process = subprocess.Popen([*TADA, "run", "notebooks/01_one.py"], stderr=subprocess.PIPE, text=True)
    mark = book / "notebooks" / "kernel"
    wait(mark.exists)
    process.send_signal(end)
    _, said = process.communicate(timeout=30)
    assert process.returncode == (130 if end == signal.SIGTERM else -end)
    assert said.startswith("tada: stopped. What was executed is in _build/runs/01_one.ipynb.") or end == signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        wait(lambda: os.kill(int(mark.read_text()), 0), 15, lambda: "the kernel still runs")


def test_a_sweep_that_is_stopped_takes_its_workers_along(tmp_path: Path) -> None:
    concepts = ("--concept", "slow", "--concept", "fast")  # a chunk each
    arguments = ("--checkpoint", "mini", *concepts, "--workers", "2", "--store", "s")
    command = [*TADA, "sweep", "--model", "ace-step", *arguments]
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(command, stderr=said, cwd=tmp_path, start_new_session=True)
    wait(lambda: "0/" in (tmp_path / "said").read_text(), 60)  # the progress bar: the workers are there
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    assert process.wait(60) == 130
    wait(lambda: _states(process.pid) <= {"Z"}, 5, lambda: "a worker still runs")
    lines = (tmp_path / "said").read_text()  # when nobody is left who could say something
    assert lines.endswith("tada: stopped. What was scored is kept in s: the same command goes on from there.\n")
    assert "Traceback" not in lines


def _states(session: int) -> set[str]:
    """States of the processes of a session."""
    found = subprocess.run(["ps", "-o", "stat=", "-g", str(session)], capture_output=True, text=True, check=False)
    return {line[0] for line in found.stdout.split()}


def test_outside_a_checkout_the_book_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "not inside a checkout" in told("book")


def test_a_failing_notebook_ends_with_its_words(book: Path) -> None:
    (book / "notebooks" / "01_one.py").write_text("# %%\nlost = {}['key']\n")
    result = run("run", "notebooks/01_one.py")
    assert result.exit_code == 1
    assert "cell [1]:\n    lost = {}['key']\n  KeyError: 'key'" in result.stderr


def test_pair_writes_and_checks(book: Path) -> None:
    assert "differs" in told("pair", "--check")
    assert "wrote notebooks/01_one.ipynb" in run("pair").stdout
    assert run("pair", "--check").exit_code == 0
    (book / "notebooks" / "lonely.ipynb").write_text("{}")
    assert "has no .py" in told("pair")


CELL = (
    '{"cell_type": "code", "execution_count": null, "id": "mine", "metadata": {}, "outputs": [], "source": ["x = 1"]}'
)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"cells": [', f'"cells": [\n  {CELL},'),
        ("steps * 2", "steps * 3"),
        ('"parameters"', '"parameters", "hide-cell"'),
        ('"outputs": []', '"outputs": [{"name": "stdout", "output_type": "stream", "text": ["a result"]}]'),
        ('"nbformat"', ""),
    ],
)
def test_pair_writes_over_no_edit(book: Path, old: str, new: str) -> None:
    assert run("pair").exit_code == 0
    source, path = book / "notebooks" / "01_one.py", book / "notebooks" / "01_one.ipynb"
    source.write_text(NOTEBOOK.replace("4", "5"))
    assert run("pair").exit_code == 0, "only the source was changed"
    edited = path.read_text().replace(old, new, 1)
    path.write_text(edited)
    for arguments in (("pair",), ("pair", "--check")):
        assert "01_one.ipynb was edited by hand since it was paired:" in told(*arguments) or not new
    source.write_text(NOTEBOOK)
    assert "and so was 01_one.py" in told("pair") or not new
    assert path.read_text() == edited
    assert run("pair", "--force").exit_code == 0
    assert run("pair", "--check").exit_code == 0


def test_pair_writes_over_what_git_keeps(book: Path) -> None:
    run("pair")
    path = book / "notebooks" / "01_one.ipynb"
    path.write_text(path.read_text().replace("steps * 2", "steps * 3"))
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@b")
    for command in (("init", "-q"), ("add", "."), ("commit", "-qm", "edited")):
        subprocess.run([*git, *command], check=True, cwd=book)
    assert run("pair").exit_code == 0
    assert "steps * 3" not in path.read_text()


def test_the_readme_s_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (ROOT / "README.md").read_text().split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    exec(code, {})
