"""What several commands share: options, messages, tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

PROFILE_HELP = "How much to run: smoke, mini, colab or paper."

model = click.option("--model", "name", required=True, metavar="NAME", help="audioldm2, stable-audio or ace-step.")
checkpoint = click.option(
    "--checkpoint", metavar="ID", help="Hub id, folder, mini or planted. Default: the paper's public one."
)
profile = click.option("--profile", default="mini", show_default=True, metavar="NAME", help=PROFILE_HELP)
captions = click.option("--captions", metavar="FILE", help="csv, Parquet or google/MusicCaps. Default: synthetic.")
workers = click.option("--workers", default=1, show_default=True, metavar="N", help="Processes, each with a model.")


def together(*decorators: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return one decorator for several options, listed by --help in this order."""

    def decorate(command: Any) -> Any:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def stop(message: str, code: int = 2) -> NoReturn:
    """End the program with a message on stderr; code 2 is for what a user got wrong."""
    click.echo(f"tada: {message}", err=True)
    raise SystemExit(code)


def print_table(rows: Sequence[tuple[str, ...]], tell: Callable[[str], None] = click.echo) -> None:
    """Print rows in columns of equal width."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        tell("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip())


def relative(path: Path) -> str:
    """Return a path as seen from the working directory, if it is below it."""
    path = path.resolve()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
