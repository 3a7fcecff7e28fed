"""The stamp of a page, and the checkpoints that are noted for it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from tada.book import opened
from tada.book import provenance as stamp
from tada.book.notebooks import Parameter
from tada.book.provenance import Stamp
from tada.display.players import PAGE

DECLARED = [
    Parameter("steps", "int", "4", "sampling steps"),
    Parameter("concepts", "list[str]", '["tempo", "mood"]', "what is steered"),
    Parameter("prompt", "str", '"a song"', "what to ask for"),
]
STAMP = Stamp("key", 12.3, "2026-03-01 14:05 UTC", {"tada": "0.1.0"}, {"a mini": "0123456789ab"})


def test_the_line_that_makes_clips_again_names_what_was_chosen_and_nothing_else() -> None:
    line = stamp.again("04_localisation", checkpoint="mini", pairs=6, steps=0, score="", concepts=["slow"], layer="0")
    assert (
        line
        == """tada run notebooks/04_localisation.py -p checkpoint mini -p pairs 6 -p concepts '["slow"]' -p layer 0"""
    )


# ---- checkpoints


def test_elsewhere_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PAGE, raising=False)
    monkeypatch.chdir(tmp_path)
    opened.note("a mini", "abc")
    assert list(tmp_path.iterdir()) == []


# ---- in words


def test_a_stamp_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    assert stamp.read(path) is None
    STAMP.write(path)
    assert stamp.read(path) == STAMP
    path.write_text(json.dumps({"seconds": 3}))
    assert stamp.read(path) is None


def test_changes_are_told_as_they_stand_in_the_notebook() -> None:
    chosen = {"steps": 4, "concepts": ["piano"], "prompt": "a “sad” song"}
    assert stamp.changes(DECLARED, chosen) == {
        "concepts": ('["piano"]', '["tempo", "mood"]'),
        "prompt": ('"a “sad” song"', '"a song"'),
    }
    assert stamp.changes(DECLARED, {}) == {}


def test_the_commands_give_papermill_and_us_the_same_values() -> None:
    from tada.book import notebooks

    chosen = {"steps": -2, "concepts": ["vocal gender", "a,b"], "prompt": "it's 'fast'"}
    ours, theirs = (shlex.split(line) for line in stamp.commands("one", "one-more", chosen))
    assert ours[:3] == ["tada", "run", "notebooks/one.py"]
    given = [(ours[i + 1], ours[i + 2]) for i in range(3, len(ours), 3)]
    assert notebooks.values(DECLARED, given) == chosen
    assert theirs[:3] == ["papermill", "notebooks/one.ipynb", "one-more-again.ipynb"]
    assert _as_papermill_reads(theirs[5:]) == chosen
    for prompt in ("12", "1e3", "True", "", "stable-audio", "nan"):
        line = shlex.split(stamp.commands("one", "one", {"prompt": prompt})[1])
        assert _as_papermill_reads(line[5:]) == {"prompt": prompt}


def _as_papermill_reads(words: list[str]) -> dict[str, object]:
    import yaml
    from papermill.cli import _resolve_type

    found: dict[str, object] = {}
    while words:
        kind, *rest = words
        if kind == "-y":
            found |= yaml.safe_load(rest[0])
            words = rest[1:]
        else:
            found[rest[0]] = rest[1] if kind == "-r" else _resolve_type(rest[1])
            words = rest[2:]
    return found


def test_the_box_has_everything_that_made_the_page() -> None:
    text = stamp.table(STAMP, DECLARED, {"steps": 9, "prompt": "a song"}, "one", "one-more", ["two"])
    for part in (
        "| **`steps`** | `9` | `4` | sampling steps |",
        '| `prompt` | `"a song"` | | what to ask for |',
        "- **run on** 2026-03-01 14:05 UTC, in 12 s",
        "- **checkpoints** a mini `0123456789ab`",
        "- **reads the results of** [](/notebooks/two.ipynb)",
        "- **versions** tada 0.1.0",
        "tada run notebooks/one.py -p steps 9 -p prompt 'a song'",
        "papermill notebooks/one.ipynb one-more-again.ipynb --cwd notebooks -p steps 9 -p prompt 'a song'",
    ):
        assert part in text
    assert "default" not in stamp.table(STAMP, DECLARED, {}, "one", "one")
    assert "none was opened" in stamp.table(Stamp("key", 1, "then"), [], {}, "one", "one")
