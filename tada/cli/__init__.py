"""The command line `tada`. Heavy imports stay inside the commands, so that `tada --help` is instant."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import click

from tada.cli import book, live, localisation, minis, results, steering, store, table
from tada.cli._options import stop
from tada.errors import BookError, NotebookError, TadaError, unknown

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
"""What ends a program, where the system has it."""

STOPPED = 130
"""Exit code of a command that was stopped."""


def _leave() -> NoReturn:
    """End the program at once: it takes Python seconds to take a model apart. Semaphores of workers are given back."""
    if util := sys.modules.get("multiprocessing.util"):
        util._run_finalizers(0)  # as Python does when it ends, or its tracker of resources would warn of them
    os._exit(STOPPED)


class Commands(click.Group):
    """Commands, of which the one place that catches is here.

    What goes wrong is a line on stderr and exit code 2, or 130 where the command was stopped. With ``TADA_DEBUG=1`` in
    the environment the traceback is shown instead.
    """

    def main(self, *args: Any, **options: Any) -> NoReturn:
        """Run a command, and end the program."""
        about: dict[str, Any] = {"stopped": "Nothing was kept."}
        with _interrupts(about):
            try:
                code = super().main(*args, **{**options, "standalone_mode": False}, obj=about)
            except Exception as error:
                if os.environ.get("TADA_DEBUG") == "1":
                    raise
                if "signal" not in about and not isinstance(error, click.Abort):
                    stop(*_describe(error))
                click.echo(f"tada: stopped. {about['stopped']}", err=True)
                if "signal" in about:
                    _leave()
                code = STOPPED
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; an interrupt ends it without the empty line that click writes."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise click.Abort from None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse what is no text before anything reads it."""
        for text in args:
            if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
                hint = "" if sys.getfilesystemencoding() == "utf-8" else " (PYTHONUTF8=1 in the environment sees to it)"
                raise click.UsageError(f"got {text!r}; expected text in UTF-8{hint}.", ctx)
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find a command; for one that does not exist name the nearest."""
        if self.get_command(ctx, args[0]) is None:
            ctx.fail(unknown("command", args[0], self.list_commands(ctx)))
        return super().resolve_command(ctx, args)


@contextmanager
def _interrupts(about: dict[str, Any]) -> Iterator[None]:
    """Take every signal that ends a program as an interrupt from the keyboard, and note that it came."""

    def interrupt(number: int, frame: object) -> None:
        about["signal"] = number
        raise KeyboardInterrupt

    numbers = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
    heeded = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]  # nohup ignores one
    before = [signal.signal(number, interrupt) for number in heeded]
    try:
        yield
    finally:
        for number, handler in zip(heeded, before, strict=True):
            signal.signal(number, handler)


def _describe(error: Exception) -> tuple[str, int]:
    """Say what went wrong, and with which exit code the program ends."""
    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        more = f" See {context.command_path} --help." if context else ""
        return error.format_message().replace("\n", " ") + more, error.exit_code
    if isinstance(error, NotebookError | BookError):  # a notebook's parameters, or failed cell, on lines of their own
        return str(error), 1 if isinstance(error, BookError) else 2
    if isinstance(error, TadaError | OSError):
        return str(error).replace("\n", " "), 2
    reason = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {reason} (TADA_DEBUG=1 in the environment shows where)", 2


@click.group(name="tada", cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tada-companion", prog_name="tada")
def app() -> None:
    """The TADA companion: where audio diffusion models keep musical concepts, and how to steer them there."""


for part in (book, localisation, steering, minis, live, table, store, results):
    for command in part.COMMANDS:
        app.add_command(command)
