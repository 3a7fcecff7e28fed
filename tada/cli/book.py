"""Commands that run notebooks and build the book: `tada book`, `tada run`, `tada pair`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import click

from tada.cli import _options as options
from tada.cli._options import PROFILE_HELP, relative, stop
from tada.errors import NotebookError


@click.command()
@options.profile
@options.only
@click.option("--force", is_flag=True, help="Execute notebooks that have not changed, too.")
@options.jobs
@click.option("--fresh", is_flag=True, help="Compute all anew, and keep it apart; use no results that ship along.")
@click.option("--seed", type=options.SEED, metavar="N", help="Of the shipped results computed again. Default: another.")
def book(profile: str, only: Sequence[str], force: bool, jobs: int | None, fresh: bool, seed: int | None) -> None:
    """Execute the notebooks, side by side, and build the site; warnings are errors."""
    from tada.book import build, pages, results

    options.when_stopped("What was executed to its end is kept: `tada book` goes on from there.")
    start = time.monotonic()
    kept = results.find(pages.root(), fresh, seed)
    page = build.build(pages.root(), profile, only, click.echo, force=force, jobs=jobs, kept=kept)
    click.echo(f"The book is ready after {time.monotonic() - start:.0f} s. Open {relative(page)}")


@click.command()
@click.argument("notebook")
@click.option(
    "-p", "--parameter", "given", nargs=2, multiple=True, metavar="NAME VALUE", help="Set a parameter. Repeatable."
)
@click.option("--profile", metavar="NAME", help=PROFILE_HELP)
@options.folder("--out", "_build/runs", "Where the executed notebook goes.")
def run(notebook: str, given: Sequence[tuple[str, str]], profile: str | None, out: str) -> None:
    """Execute NOTEBOOK (.py or .ipynb) with parameters of your own; the notebook itself is not touched."""
    from tada.book import notebooks, pages, provenance, runs

    path = notebooks.find(notebook)
    declared = notebooks.parameters(path)
    pairs = list(given)
    if profile is not None and "profile" in {one.name for one in declared}:
        pairs.append(("profile", profile))
    elif profile is not None:
        click.echo(f"{path.name} has no profiles: {pages.check_profile(profile)} is the same as any other.", err=True)
    chosen = notebooks.values(declared, pairs)
    if "profile" in chosen:
        pages.check_profile(str(chosen["profile"]))
    output = Path(out) / f"{path.stem}.ipynb"
    options.when_stopped(f"What was executed is in {relative(output)}.")
    done = runs.run(path, output, chosen)
    checkpoints = provenance.take_checkpoints(output)
    if done.failure:
        stop(done.failure, 1)
    on = f" on {', '.join(f'{name} ({digest})' for name, digest in checkpoints.items())}" if checkpoints else ""
    click.echo(f"{path.name} ran in {done.seconds:.1f} s{on}. Open {relative(output)}")


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; fail if a pair differs.")
@click.option("--force", is_flag=True, help="Write over an .ipynb that was edited by hand, too.")
def pair(check: bool, force: bool) -> None:
    """Write each notebooks/*.ipynb from its .py, the source."""
    from tada.book import notebooks, pages

    stale = notebooks.unpaired(pages.root() / "notebooks")
    orphans = [path for path in stale if path.suffix == ".ipynb"]
    if orphans:
        raise NotebookError(
            f"{relative(orphans[0])} has no .py beside it: the .py is the source. Add it or remove the .ipynb."
        )
    edits = [] if force else list(filter(None, map(notebooks.describe_edit, stale)))
    if edits:
        raise NotebookError(
            f"{'; '.join(edits)}: bring the edit into the .py, the source (jupytext --to py:percent), "
            "then write over it with `tada pair --force`"
        )
    if check and stale:
        raise NotebookError(f"{', '.join(map(relative, stale))}: the .ipynb differs from its .py. Run `tada pair`.")
    for path in stale:
        click.echo(f"wrote {relative(notebooks.write_pair(path))}")
    if not stale:
        click.echo("every .ipynb matches its .py")


COMMANDS = (book, run, pair)
