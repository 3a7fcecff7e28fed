"""What several commands share: options, the types of what is typed, messages, tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from tada.io import require_writable

PROFILE_HELP = "How much to run: smoke, mini, colab or paper."


class Finite(click.FloatRange):
    """A number in a range that is neither infinite nor NaN."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        return number if math.isfinite(number) else self.fail(f"{value} is not a finite number.", param, ctx)


class Folder(click.ParamType):
    """A folder that files can be written into, tried before anything is computed."""

    name = "folder"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Try the folder, and hand it on as it was typed."""
        if not value:
            self.fail("'' is no folder; write . for the one you are in.", param, ctx)
        return str(require_writable(value))


class SoundFile(click.ParamType):
    """A sound file that can be written."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Try name and folder, and hand them on as they were typed."""
        from tada.audio import sound_path

        path = sound_path(value)
        require_writable(path.parent)
        return self.fail(f"{path} is a folder.", param, ctx) if path.is_dir() else path


COUNT, STEPS, SECONDS = click.IntRange(1, 1_000_000), click.IntRange(1, 1000), Finite(0, 600, min_open=True)
WORKERS, SEED, FOLDER = click.IntRange(1, 64), click.IntRange(0, 2**63 - 1), Folder()

model = click.option(
    "--model", "name", required=True, metavar="NAME", help="audioldm2, stable-audio, ace-step or musicgen."
)
checkpoint = click.option("--checkpoint", metavar="ID", help="Hub id, folder or mini. Default: the paper's public one.")
profile = click.option("--profile", default="mini", show_default=True, metavar="NAME", help=PROFILE_HELP)
captions = click.option("--captions", metavar="FILE", help="csv, Parquet or google/MusicCaps. Default: synthetic.")
steps = click.option("--steps", type=STEPS, metavar="N", help="Denoising steps. Default: the profile's or preset's.")
words = click.option(
    "--words", "vocabulary", type=click.Choice(["public", "mini"]), help="Vocabulary. Default: the checkpoint's."
)
seconds = click.option("--seconds", type=SECONDS, metavar="S", help="Length of the clips. Default: the profile's.")
concepts = click.option("--concept", "concepts", multiple=True, metavar="NAME", help="Which. Default: all. Repeatable.")


def number(name: str, default: int, text: str, kind: click.ParamType = COUNT) -> Callable[[Any], Any]:
    """Make an option for a number, which --help shows with its default."""
    return click.option(name, default=default, type=kind, show_default=True, metavar="N", help=text)


def folder(name: str, default: str, text: str) -> Callable[[Any], Any]:
    """Make an option for a folder that is written into."""
    return click.option(name, default=default, type=FOLDER, show_default=True, metavar="FOLDER", help=text)


def choice(name: str, values: Sequence[str], default: str | None, text: str) -> Callable[[Any], Any]:
    """Make an option for one of several values, which --help lists."""
    return click.option(name, type=click.Choice(values), default=default, show_default=default is not None, help=text)


workers = number("--workers", 1, "Processes, each with a model.", WORKERS)
only = click.option(
    "--only", multiple=True, metavar="START", help="Only pages whose name starts so, e.g. 04. Repeatable."
)
jobs = click.option(
    "--jobs",
    type=WORKERS,
    metavar="N",
    help="Pages at once. Default: what cores and memory allow, 1 at the profiles that want a GPU.",
)


def together(*decorators: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return one decorator for several options, listed by --help in this order."""

    def decorate(command: Any) -> Any:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def when_stopped(remark: str) -> None:
    """Settle what is said when the command is stopped: what is kept, and how to go on."""
    click.get_current_context().obj["stopped"] = remark


def stop(message: str, code: int = 2) -> NoReturn:
    """End the program with a message on stderr; code 2 is for what a user got wrong."""
    click.echo(f"tada: {message}", err=True)
    raise SystemExit(code)


def print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows in columns of equal width."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(map(str.ljust, row, widths)).rstrip())


def relative(path: Path) -> str:
    """Return a path as seen from the working directory, if it is below it."""
    path = path.resolve()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
