"""The provenance of a page: when it was run, on which checkpoints, with which versions, and by which command.

papermill records times and parameters in the notebook, and no versions, checkpoints or commands: those are kept here.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tada import escape
from tada.io import PAGE, write_json

if TYPE_CHECKING:
    from tada.book.notebooks import Parameter
    from tada.book.pages import PageSpec

DIGITS = 12
"""Digits that are kept of a checkpoint's hash."""


@dataclass(frozen=True)
class Provenance:
    """What is known of an execution.

    Attributes:
        key: hash of all that determined it.
        seconds: that it took.
        date: when it ended, in universal time.
        versions: name -> number.
        checkpoints: name -> the first digits of the hash of its weights, in the order in which they were opened.
        results: where its scores come from, in words; nothing where none that ship were made for it.
    """

    key: str
    seconds: float
    date: str
    versions: Mapping[str, str] = field(default_factory=dict)
    checkpoints: Mapping[str, str] = field(default_factory=dict)
    results: str = ""

    def write(self, path: Path) -> None:
        write_json(path, asdict(self))


def read(path: Path) -> Provenance | None:
    """Read what was kept at a path; None if there is nothing that can be read."""
    try:
        return Provenance(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


# ---- notes of a kernel


def environment(output: Path) -> dict[str, str]:
    """Return the variables of a kernel that executes a page into `output`.

    They say where files of the page go (``tada.io.PAGE``), and have the checkpoints that it opens written down.
    """
    folder = output.resolve().with_suffix("")
    startup = Path(__file__).with_name("kernel_startup.py")
    return {PAGE: str(folder), "TADA_LOADED": str(notes(output, "checkpoints")), "PYTHONSTARTUP": str(startup)}


def take_checkpoints(output: Path) -> dict[str, str]:
    """Return names and hashes of the checkpoints that were opened for the page at `output`, and forget them."""
    return {str(name): str(digest)[:DIGITS] for name, digest in take(output, "checkpoints")}


def take(output: Path, kind: str) -> list[Any]:
    """Return what a kernel noted of a kind for the page at `output`, and forget it."""
    file = notes(output, kind)
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    file.unlink(missing_ok=True)
    return list(map(json.loads, lines))


def notes(output: Path, kind: str) -> Path:
    """Return the file of a kernel's notes, a value a line."""
    return output.resolve().with_name(f".{output.stem}.{kind}")


# ---- in words


def format_value(value: object) -> str:
    """Write a parameter's value as it stands in a notebook."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return f"[{', '.join(map(format_value, value))}]"
    return repr(value)


def _is_changed(one: Parameter, chosen: Mapping[str, object]) -> bool:
    if one.name not in chosen:
        return False
    try:
        return bool(ast.literal_eval(one.default) != chosen[one.name])
    except (ValueError, SyntaxError):
        return one.default != format_value(chosen[one.name])


def commands(notebook: str, page: str, chosen: Mapping[str, object]) -> list[str]:
    """Write the lines that run a page of a notebook, both by name, again: by `tada run`, and by papermill alone."""
    texts = {name: value if isinstance(value, str) else format_value(value) for name, value in chosen.items()}
    ours = [f"-p {name} {_quote(text)}" for name, text in texts.items()]
    theirs = [_papermill_option(name, value) for name, value in chosen.items()]
    start = f"papermill notebooks/{notebook}.ipynb {page}-again.ipynb --cwd notebooks"
    return [" ".join([f"tada run notebooks/{notebook}.py", *ours]), " ".join([start, *theirs])]


def rerun_command(notebook: str, names: str, values: Mapping[str, object]) -> str:
    """Write the line that makes a notebook's clips again, with those parameters that are not empty, 0 or False.

    Args:
        notebook: its name, without folder and suffix.
        names: of its parameters, with spaces between them.
        values: of the parameters and of others.
    """
    return commands(notebook, notebook, {name: values[name] for name in names.split() if values[name]})[0]


def _quote(text: str) -> str:
    """Quote a text for a shell, on one line whatever it holds."""
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + text.encode("unicode_escape").decode().replace("'", r"\'") + "'"


def _papermill_option(key: str, value: object) -> str:
    """Write a parameter for papermill: text as it is, whatever it looks like, and lists as YAML."""
    if isinstance(value, (str, int, float)):
        return f"{'-r' if isinstance(value, str) else '-p'} {key} {_quote(str(value))}"
    return f"-y {_quote(f'{key}: {json.dumps(value)}')}"


def box(page: PageSpec, declared: Sequence[Parameter], chosen: Mapping[str, object], record: Provenance) -> str:
    """Write the Markdown of a page's box, one line that opens: its parameters, its provenance, how to run it again."""
    changed = {one.name for one in declared if _is_changed(one, chosen)}
    rows = [["parameter", "value", "default", "meaning"], ["---"] * 4]
    for one in declared:
        mark = "**" if one.name in changed else ""
        value = format_value(chosen[one.name]) if one.name in chosen else one.default
        default = escape.code(one.default) if mark else ""
        rows.append([f"{mark}{escape.code(one.name)}{mark}", escape.code(value), default, escape.markdown(one.help)])
    if not changed:
        rows = [[name, value, meaning] for name, value, _, meaning in rows]
    table = [f"| {' | '.join(row)} |" for row in rows] if declared else []
    again = commands(page.path.stem, page.name, chosen)
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", "".join(again))), 3)
    said = f"Run on {record.date}, and how to do so again"
    if chosen.get("profile") == "smoke":
        said = "Run at the profile `smoke`: its numbers mean nothing"
    lines = [f":::{{admonition}} {said}", ":class: dropdown tada-run", *table, "", *_facts(page, chosen, record), ""]
    lines += ["To run it again, with these values or with others:", f"{fence}shell", *again, fence, ":::"]
    return "\n".join(lines)


def _facts(page: PageSpec, chosen: Mapping[str, object], record: Provenance) -> list[str]:
    """Write what is known of an execution as the items of a Markdown list."""
    opened = "; ".join(f"{escape.markdown(name)} {escape.code(digest)}" for name, digest in record.checkpoints.items())
    said = {
        "run on": f"{record.date}, in {record.seconds:.0f} s",
        "profile": escape.code(chosen["profile"]) if "profile" in chosen else "",
        "checkpoints": opened or "none was opened",
        "results": record.results,
        "reads the results of": ", ".join(f"[](/notebooks/{name}.ipynb)" for name in page.after),
        "versions": ", ".join(f"{name} {number}" for name, number in record.versions.items() if number),
    }
    return [f"- **{what}** {text}" for what, text in said.items() if text]
