"""The stamp of a page: when it was run, on which checkpoints, with which versions, and by which command."""

from __future__ import annotations

import ast
import json
import platform
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import tada
from tada.book.notebooks import Parameter
from tada.io import write_json

_STAMPED = ("torch", "diffusers", "transformers")


@dataclass(frozen=True)
class Stamp:
    """What is known of an execution.

    Attributes:
        key: hash of all that determined it.
        seconds: that it took.
        date: when it ended, in universal time.
        versions: name -> number.
        checkpoints: name -> the first digits of the hash of its weights, in the order in which they were opened.
    """

    key: str
    seconds: float
    date: str
    versions: Mapping[str, str] = field(default_factory=dict)
    checkpoints: Mapping[str, str] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Keep it as json, whole or not at all."""
        write_json(path, asdict(self))


def read(path: Path) -> Stamp | None:
    """The stamp kept at a path, None if there is none that can be read."""
    try:
        return Stamp(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def now() -> str:
    """Date and minute, universal time."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def versions() -> dict[str, str]:
    """The versions a page is stamped with: the package's, Python's and those of the libraries underneath."""
    found = {"tada": tada.__version__, "Python": platform.python_version()}
    for name in _STAMPED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


# ---- in words


def written(value: object) -> str:
    """A parameter's value as it stands in a notebook."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    return repr(value)


def changes(declared: Sequence[Parameter], chosen: Mapping[str, object]) -> dict[str, tuple[str, str]]:
    """The chosen values that are not the defaults: name -> value and default, as they stand in a notebook."""
    return {
        one.name: (written(chosen[one.name]), one.default)
        for one in declared
        if one.name in chosen and not _same(one.default, chosen[one.name])
    }


def _same(default: str, value: object) -> bool:
    try:
        return bool(ast.literal_eval(default) == value)
    except (ValueError, SyntaxError):
        return default == written(value)


def commands(notebook: str, name: str, chosen: Mapping[str, object]) -> list[str]:
    """The lines that run a page again: by `tada run`, and by papermill alone.

    Args:
        notebook: its name, without folder and suffix.
        name: of the page.
        chosen: its parameters.
    """
    ours = [f"-p {key} {shlex.quote(_told(value))}" for key, value in chosen.items()]
    theirs = [_papermill(key, value) for key, value in chosen.items()]
    start = f"papermill notebooks/{notebook}.ipynb {name}-again.ipynb --cwd notebooks"
    return [" ".join([f"tada run notebooks/{notebook}.py", *ours]), " ".join([start, *theirs])]


def again(notebook: str, **chosen: object) -> str:
    """The line that makes a notebook's clips again; parameters that are empty, 0 or False are left out.

    Args:
        notebook: its name, without folder and suffix.
        chosen: its parameters.
    """
    return commands(notebook, notebook, {name: value for name, value in chosen.items() if value})[0]


def _told(value: object) -> str:
    return value if isinstance(value, str) else written(value)


def _papermill(key: str, value: object) -> str:
    """A parameter for papermill, which takes text that looks like a number for one, and lists as YAML only."""
    if isinstance(value, str):
        return f"{'-r' if _read_as_another(value) else '-p'} {key} {shlex.quote(value)}"
    if isinstance(value, (int, float)):
        return f"-p {key} {value}"
    return f"-y {shlex.quote(f'{key}: {json.dumps(value)}')}"


def _read_as_another(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text in ("True", "False", "None")
    return True


def table(
    stamp: Stamp,
    declared: Sequence[Parameter],
    chosen: Mapping[str, object],
    notebook: str,
    name: str,
    after: Sequence[str] = (),
) -> str:
    """The Markdown of a page's box: its parameters, its stamp, and how to run it again.

    Args:
        stamp: of the execution.
        declared: the notebook's parameters.
        chosen: the values that were given.
        notebook: its name, without folder and suffix.
        name: of the page.
        after: names of the pages whose results it reads.
    """
    changed = changes(declared, chosen)
    rows = [
        f"| {_bold(f'`{one.name}`', one.name in changed)} | `{_value(one, chosen)}` | "
        + (f"`{one.default}` | " if changed and one.name in changed else "| " if changed else "")
        + f"{one.help} |"
        for one in declared
    ]
    head = ["| parameter | value | default | meaning |", "|---|---|---|---|"] if changed else _PLAIN
    lines = [":::{admonition} This page was run with", ":class: tada-run"]
    lines += [*head, *rows, ""] if rows else []
    lines += [f"- **{what}** {said}" for what, said in facts(stamp, chosen, after).items()]
    lines += ["", "To run it again, with these values or with others:", "```shell"]
    return "\n".join([*lines, *commands(notebook, name, chosen), "```", ":::"])


_PLAIN = ["| parameter | value | meaning |", "|---|---|---|"]


def facts(stamp: Stamp, chosen: Mapping[str, object], after: Sequence[str] = ()) -> dict[str, str]:
    """What a page's stamp says, in Markdown."""
    opened = "; ".join(f"{name} `{digest}`" for name, digest in stamp.checkpoints.items())
    return {
        "run on": f"{stamp.date}, in {stamp.seconds:.0f} s",
        **({"profile": f"`{chosen['profile']}`"} if "profile" in chosen else {}),
        "checkpoints": opened or "none was opened",
        **({"reads the results of": ", ".join(f"[](/notebooks/{name}.ipynb)" for name in after)} if after else {}),
        "versions": ", ".join(f"{name} {number}" for name, number in stamp.versions.items()),
    }


def _value(parameter: Parameter, chosen: Mapping[str, object]) -> str:
    return written(chosen[parameter.name]) if parameter.name in chosen else parameter.default


def _bold(text: str, wanted: bool) -> str:
    return f"**{text}**" if wanted else text
