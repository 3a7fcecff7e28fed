"""The provenance of a page, and the checkpoints that are noted for it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from tada.book import notebooks, provenance
from tada.book.notebooks import Parameter
from tada.book.pages import PageSpec
from tada.book.provenance import Provenance

DECLARED = [
    Parameter("steps", "int", "4", "sampling steps"),
    Parameter("concepts", "list[str]", '["tempo", "mood"]', "what is steered"),
    Parameter("prompt", "str", '"a song"', "what to ask for"),
]
RECORD = Provenance("key", 12.3, "2026-03-01 14:05 UTC", {"tada": "0.1.0"}, {"a mini": "0123456789ab"})


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    assert provenance.read(path) is None
    RECORD.write(path)
    assert provenance.read(path) == RECORD
    path.write_text(json.dumps({"seconds": 3}))
    assert provenance.read(path) is None


def test_the_commands_give_papermill_and_us_the_same_values() -> None:
    chosen = {"steps": -2, "concepts": ["vocal gender", "a,b"], "prompt": "it's 'fast'"}
    ours, theirs = (shlex.split(line) for line in provenance.commands("one", "one-more", chosen))
    assert ours[:3] == ["tada", "run", "notebooks/one.py"]
    given = [(ours[i + 1], ours[i + 2]) for i in range(3, len(ours), 3)]
    assert notebooks.values(DECLARED, given) == chosen
    assert theirs[:3] == ["papermill", "notebooks/one.ipynb", "one-more-again.ipynb"]
    assert _as_papermill_reads(theirs[5:]) == chosen
    for prompt in ("12", "1e3", "True", "", "stable-audio", "nan"):
        line = shlex.split(provenance.commands("one", "one", {"prompt": prompt})[1])
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


def test_the_line_that_makes_clips_again_names_what_was_chosen() -> None:
    values = {"checkpoint": "mini", "pairs": 6, "steps": 0, "score": "", "concepts": ["slow"], "other": 1}
    line = provenance.rerun_command("04_localisation", "checkpoint pairs steps score concepts", values)
    assert line == """tada run notebooks/04_localisation.py -p checkpoint mini -p pairs 6 -p concepts '["slow"]'"""


def test_the_box_has_everything_that_made_the_page() -> None:
    page, chosen = PageSpec("one-more", Path("one.py"), after=("two",)), {"steps": 9, "prompt": "a song"}
    changed = {"concepts": ["piano"], "prompt": "a “sad” song", "steps": 4}
    text = provenance.box(page, DECLARED, chosen, RECORD)
    for part in (
        "| **`steps`** | `9` | `4` | sampling steps |",
        '| `prompt` | `"a song"` |  | what to ask for |',
        "- **run on** 2026-03-01 14:05 UTC, in 12 s",
        "- **checkpoints** a mini `0123456789ab`",
        "- **reads the results of** [](/notebooks/two.ipynb)",
        "- **versions** tada 0.1.0",
        "tada run notebooks/one.py -p steps 9 -p prompt 'a song'",
        "papermill notebooks/one.ipynb one-more-again.ipynb --cwd notebooks -p steps 9 -r prompt 'a song'",
    ):
        assert part in text
    text = provenance.box(page, DECLARED, changed, RECORD)
    assert '| **`concepts`** | `["piano"]` | `["tempo", "mood"]` |' in text and "| `steps` | `4` |  |" in text
    assert '| **`prompt`** | `"a “sad” song"` | `"a song"` |' in text
    assert "numbers mean nothing" not in text
    assert "numbers mean nothing" in provenance.box(page, DECLARED, {"profile": "smoke"}, RECORD)
    assert "default" not in provenance.box(page, DECLARED, {}, RECORD)
    assert "- **checkpoints** none was opened" in provenance.box(page, DECLARED, {}, Provenance("key", 1, "then"))
    assert "|" not in provenance.box(page, [], {}, RECORD)
