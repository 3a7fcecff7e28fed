"""Every option of every command with wrong, hostile and extreme values: a line, exit code 2, no model loaded."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

import checks
import tada.models
from tada.cli import app
from tada.cli._options import Folder, SoundFile

MODEL = ("--model", "ace-step", "--checkpoint", "mini")
NEEDED = {
    "run": ("notebooks/01_one.py",),
    "sweep": MODEL,
    "steer": (*MODEL, "--prompt", "a", "--out", "x.wav"),
    "vectors fit": (*MODEL, "--concept", "tempo"),
    "vectors show": ("a",),
    "sae train": (*MODEL, "--layer", "6"),
    "sae search": (*MODEL, "--layer", "6"),
    "minis functional": ("ace-step",),
    "live export": ("ace-step", "page"),
    "table": MODEL,
    "store merge": ("a", "b"),
}
"""Command -> what it cannot do without."""

HOSTILE = ("\udcff", "a\0b", "$(reboot)\udc00")
NUMBERS = ("", "x", "-1", "nan", "inf", "-inf", "1e400", str(2**70), "1,5", "²", "--", "0x10")
FOLDERS = ("", "file", "file/below", "/proc/nowhere", "n" * 300, "/dev/null")
SOUNDS = ("", ".", ".wav", "x.aiff", "x", "file/x.wav", "/proc/x.wav", "folder.wav", f"{'n' * 300}.wav")
NAMES = {
    "--model": ("", "ace", "Ace-Step", "日本語"),
    "--profile": ("", "smok", "MINI"),
    "--concept": ("", "temp", "a\nb"),
    "--device": ("", "cuda:99", "mps:7", "gpu", "cpu:x"),
    "--captions": ("nowhere.csv", "file"),
    "--alpha": ("", "nan", "inf%", "80%%", "much", "%"),
    "--vector": ("nowhere", "file"),
    "--score": ("builtins:len", "nowhere:x", ":", "../x:y", "bogus"),
    "--only": ("09",),
    "--jobs": ("0",),
}
"""Option -> values that name nothing, where its type does not say."""


def commands(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{path}{name} ")
        else:
            yield f"{path}{name}", command


def wrong(option: click.Option) -> Iterator[str]:
    """Values that an option cannot take."""
    yield from HOSTILE
    if isinstance(option.type, click.IntRange | click.FloatRange):
        yield from NUMBERS
        yield from ("0",) if option.type.min != 0 or option.type.min_open else ()
        yield from ("2.5",) if isinstance(option.type, click.IntRange) else ()
    if isinstance(option.type, click.Choice):
        yield from ("", "bogus", "PAPER")
    if isinstance(option.type, Folder):
        yield from FOLDERS
    if isinstance(option.type, SoundFile):
        yield from SOUNDS
    yield from NAMES.get(option.opts[0], ())


WALK = [
    (name, option.opts[0], value)
    for name, command in commands(app)
    for option in command.params
    if isinstance(option, click.Option) and not option.is_flag and option.nargs == 1
    for value in wrong(option)
]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A checkout with one notebook, and no model to be had."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "01_one.py").write_text("# %%\n1 + 1\n")
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: book/index\n")
    (tmp_path / "file").write_text("neither, a, table")
    (tmp_path / "folder.wav").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tada.models, "import_module", lambda name: pytest.fail("a model was loaded"))
    return tmp_path


def told(*arguments: str) -> str:
    said = checks.told(*arguments)
    assert said.startswith("tada: ") and said.count("\n") == 1, said
    return said


def test_the_walk_knows_every_command():
    needed = {name for name, command in commands(app) if any(one.required for one in command.params)}
    assert needed <= set(NEEDED) and len(WALK) > 500


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("name", [name for name, _ in commands(app)])
def test_wrong_values_of_every_option_are_told_in_a_line(name, place):
    before = sorted(place.rglob("*"))
    for command, option, value in WALK:
        if command == name:
            given = [*name.split(), *NEEDED.get(name, ()), option, value]
            said = told(*given)
            assert "TADA_DEBUG" not in said, (given, said)
    assert sorted(place.rglob("*")) == before, "nothing was written"


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("name", list(NEEDED))
def test_what_is_missing_or_too_much_is_told_in_a_line(name):
    needed, required = NEEDED[name], dict(commands(app))[name].params
    assert "Missing" in told(*name.split())
    assert "No such option" in told(*name.split(), *needed, "--bogus")
    assert "unexpected extra argument" in told(*name.split(), *needed, "one more") or any(
        one.nargs == -1 for one in required
    )
    for option in required:
        if isinstance(option, click.Option) and not option.is_flag:
            assert "requires" in told(*name.split(), *needed, option.opts[0])
