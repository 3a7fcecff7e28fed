"""The command line `tada`. Heavy imports stay inside the commands, so that `tada --help` is instant."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from tada.cli import minis as cli_minis
from tada.cli import steering as cli_steer
from tada.cli import table as cli_table

PROFILE_HELP = "How much to run: smoke, mini, colab or paper."


class Commands(click.Group):
    """Commands whose user errors are one paragraph on stderr and exit code 2, never a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        from tada.book.build import BookError
        from tada.book.notebooks import NotebookError

        try:
            return super().invoke(ctx)
        except NotebookError as error:
            _stop(str(error), 2)
        except BookError as error:
            _stop(str(error), 1)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        from tada.errors import unknown

        if self.get_command(ctx, args[0]) is None:
            _stop(unknown("command", args[0], self.list_commands(ctx), "See tada --help."), 2)
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tada-companion", prog_name="tada")
def app() -> None:
    """The TADA companion: where audio diffusion models keep musical concepts, and how to steer them there."""


cli_steer.register(app)
cli_minis.register(app)
cli_table.register(app)


@app.command()
@click.option("--profile", default="mini", show_default=True, metavar="NAME", help=PROFILE_HELP)
@click.option(
    "--only", multiple=True, metavar="START", help="Only notebooks whose name starts so, e.g. 01. Repeatable."
)
@click.option("--force", is_flag=True, help="Execute notebooks that have not changed, too.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Processes at once. Default: what cores and free memory allow, 1 at the profiles that want a GPU.",
)
def book(profile: str, only: Sequence[str], force: bool, jobs: int | None) -> None:
    """Execute the notebooks, side by side, and build the site; warnings are errors."""
    from tada.book import build as books

    start = time.monotonic()
    with _stoppable("What was executed to its end is kept: `tada book` goes on from there."):
        page = books.build(books.root(), profile, only, force, jobs, tell=click.echo)
    click.echo(f"The book is ready after {time.monotonic() - start:.0f} s. Open {_near(page)}")


@app.command()
@click.argument("notebook")
@click.option(
    "-p",
    "--parameter",
    "given",
    nargs=2,
    multiple=True,
    metavar="NAME VALUE",
    help="Set a parameter. Repeatable.",
)
@click.option("--profile", metavar="NAME", help=PROFILE_HELP)
@click.option(
    "--out",
    default="_build/runs",
    show_default=True,
    metavar="FOLDER",
    help="Where the executed notebook goes.",
)
@click.option(
    "--gallery",
    "title",
    metavar="TITLE",
    help="Keep this run as a page of the book's gallery under this title, in place of --out.",
)
def run(notebook: str, given: Sequence[tuple[str, str]], profile: str | None, out: str, title: str | None) -> None:
    """Execute NOTEBOOK (.py or .ipynb) with parameters of your own; the notebook itself is not touched."""
    from tada.book import build as books
    from tada.book import notebooks

    path = notebooks.find(notebook)
    declared = notebooks.parameters(path)
    pairs = list(given)
    if profile and "profile" in {one.name for one in declared}:
        pairs.append(("profile", profile))
    elif profile:
        click.echo(f"{path.name} has no profiles: {books.profile(profile)} is the same as any other.", err=True)
    chosen = notebooks.values(declared, pairs)
    books.profile(str(chosen.get("profile", books.DEFAULT_PROFILE)))
    if title is None:
        _run(path, Path(out), chosen)
    else:
        _show(path, title, chosen)


def _run(path: Path, folder: Path, chosen: dict[str, object]) -> None:
    from tada.book import build as books
    from tada.book import notebooks

    output = notebooks.writable(folder) / f"{path.stem}.ipynb"
    if folder.samefile(path.parent):
        raise notebooks.NotebookError(f"{folder} is the notebook's own folder. Choose another with --out.")
    place = output.with_suffix("")
    if place.is_dir() and any(place.iterdir()) and not output.is_file():
        raise notebooks.NotebookError(f"{place} holds files that are not of this notebook. Choose another with --out.")
    with _stoppable(f"What was executed is in {_near(output)}."):
        done = notebooks.execute(path, output, chosen, books.page_environment(output))
    checkpoints = books.checkpoints(output)
    if done.failure:
        _stop(books.describe(path, done.failure), 1)
    on = f" on {', '.join(f'{name} ({digest})' for name, digest in checkpoints.items())}" if checkpoints else ""
    click.echo(f"{path.name} ran in {done.seconds:.1f} s{on}. Open {_near(output)}")


def _show(path: Path, title: str, chosen: dict[str, object]) -> None:
    from tada.book import build as books
    from tada.book import gallery

    root = books.root(path.parent)
    made = gallery.sheet(root / "notebooks", path, title, chosen)
    with _stoppable("Nothing was added to the gallery."):
        page = books.show(root, made, tell=click.echo)
    click.echo(f"{page.name} is in notebooks/{gallery.GALLERY}: `tada book` shows it. Open {_near(page.output)}")


@contextmanager
def _stoppable(remark: str) -> Iterator[None]:
    """While a notebook runs, end on a signal as on an interrupt from the keyboard: in order, and with a word."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    signals = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, interrupt) for number in signals]
    try:
        yield
    except KeyboardInterrupt:
        _stop(f"stopped. {remark}", 130)
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)


@app.command()
@click.option("--check", is_flag=True, help="Write nothing; fail if a pair differs.")
def pair(check: bool) -> None:
    """Write each notebooks/*.ipynb from its .py, the source."""
    from tada.book import build as books
    from tada.book import notebooks

    folder = books.root() / "notebooks"
    stale = notebooks.unpaired(folder)
    orphans = [path for path in stale if path.suffix == ".ipynb"]
    if orphans:
        raise notebooks.NotebookError(
            f"{_near(orphans[0])} has no .py beside it: the .py is the source. Add it or remove the .ipynb."
        )
    if check and stale:
        raise notebooks.NotebookError(
            f"{', '.join(map(_near, stale))}: the .ipynb differs from its .py. Run `tada pair`."
        )
    for path in stale:
        notebooks.write_pair(path)
        click.echo(f"wrote {_near(path.with_suffix('.ipynb'))}")
    if not stale:
        click.echo("every .ipynb matches its .py")


@app.command()
@click.option("--model", "name", required=True, metavar="NAME", help="audioldm2, stable-audio or ace-step.")
@click.option("--checkpoint", metavar="ID", help="Hub id, folder, mini or planted. Default: the paper's public one.")
@click.option("--concept", "wanted", multiple=True, metavar="NAME", help="Default: the profile's. Repeatable.")
@click.option("--profile", default="mini", show_default=True, metavar="NAME", help=PROFILE_HELP)
@click.option(
    "--score",
    default="",
    metavar="NAME",
    help="What judges: probe, clap, muq, paper or module:name. Default: probe for minis, clap for public ones.",
)
@click.option("--captions", metavar="FILE", help="csv, Parquet or google/MusicCaps. Default: synthetic captions.")
@click.option(
    "--rules", default="paper", show_default=True, metavar="NAME", help="Rule set of the pairs: paper, authors."
)
@click.option("--layers", "sets", multiple=True, metavar="6+7", help="A layer set. Default: every layer. Repeatable.")
@click.option("--controls", is_flag=True, help="Route a paraphrase and an unrelated prompt, too.")
@click.option("--steps", type=int, metavar="N", help="Denoising steps. Default: the profile's.")
@click.option("--seconds", type=float, metavar="S", help="Length of the clips. Default: the profile's.")
@click.option("--workers", default=1, show_default=True, metavar="N", help="Processes, each with a model, on CPUs.")
@click.option(
    "--store", default="_build/sweep", show_default=True, metavar="FOLDER", help="Scores; a run resumes here."
)
def sweep(name: str, checkpoint: str | None, workers: int, store: str, **choices: Any) -> None:
    """Route every layer of a model for prompt pairs, and write each layer's impact on each concept."""
    from tada.book import build as books
    from tada.experiments import localisation as localise

    books.profile(choices["profile"])
    try:
        table = localise.run(name, checkpoint, workers, store, tell=click.echo, **choices)
    except (KeyError, ValueError, OSError, IndexError, ImportError) as error:
        _stop(str(error.args[0] if isinstance(error, KeyError) else error), 2)
    click.echo(f"Impacts of {table['layers'].nunique()} layer sets: {_near(Path(store) / 'impact.csv')}")


@app.command()
def models() -> None:
    """List the architectures: names, public checkpoints, cross-attention sites, the paper's functional layers."""
    from tada.models import ARCHITECTURES

    header = ("name", "public checkpoint", "sites", "paper's layers", "notes")
    rows = [
        (
            item.name,
            item.hub_id,
            str(item.site_count),
            "{" + ", ".join(map(str, item.paper_layers)) + "}",
            item.notes,
        )
        for item in ARCHITECTURES.values()
    ]
    _table([header, *rows], click.echo)


def _table(rows: Sequence[tuple[str, ...]], tell: Callable[[str], None]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        tell("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip())


def _near(path: Path) -> str:
    path = path.resolve()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _stop(message: str, code: int) -> None:
    click.echo(f"tada: {message}", err=True)
    raise SystemExit(code)
