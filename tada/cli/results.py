"""``tada results``: the results that ship with a checkout are made, and held against a fresh run of the book."""

from __future__ import annotations

import os
import pkgutil
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from tada.cli import _options as options
from tada.cli._options import relative
from tada.errors import MissingFileError


@click.group()
def results() -> None:
    """Work on the results that ship with a checkout, which pages read and make a sample of again."""


@results.command()
@options.profile
@options.only
@options.jobs
@click.option(
    "--out", type=options.FOLDER, metavar="FOLDER", help="What is replaced. Default: results/ of the checkout."
)
@click.option("--grow", is_flag=True, help="Compute only what is missing from what ships.")
def make(profile: str, only: Sequence[str], jobs: int | None, out: str | None, grow: bool) -> None:
    """Execute the notebooks from nothing and pack what they used; a run that was stopped goes on.

    What ships for pages that --only leaves out stays.
    """
    from tada.book import pages
    from tada.book import results as kept
    from tada.store import packing
    from tada.store.shipped import ABOUT

    folder = Path(out) if out else pages.root() / "results"
    before = kept.find(pages.root()).shipped if grow else folder if only and (folder / ABOUT).is_file() else None
    root, home, used = _run_fresh(profile, only, jobs, before if grow else None)
    asked = [*(f"--only {name}" for name in only), *(["--grow"] if grow else [])]
    about = _about(root, " ".join(["tada results make --profile", profile, *asked]))
    units = packing.pack(home, used, folder, about, before)
    click.echo(
        f"{relative(folder)} holds {units:,} units and {len(list(folder.glob('made/*')))} vectors and autoencoders."
    )


def _run_fresh(
    profile: str, only: Sequence[str], jobs: int | None, shipped: Path | None = None
) -> tuple[Path, Path, dict[str, Any]]:
    """Execute pages from nothing, or from what ships: the checkout, the folder of stores, what each page used."""
    from tada.book import build, pages
    from tada.book import results as kept
    from tada.store.shipped import RESULTS

    root, profile = pages.root(), pages.check_profile(profile)
    fresh = kept.find(root, fresh=True)._replace(shipped=shipped, seed=None)
    options.when_stopped(f"What was computed is kept in {relative(fresh.home)}: the same command goes on from there.")
    specs = pages.select(root / "notebooks", only)
    done = build.execute(root, specs, profile, jobs=jobs, tell=click.echo, kept=fresh)
    os.environ[RESULTS] = ""  # stores are read as they are
    return root, fresh.home, {page.name: page.used | {"seconds": page.provenance.seconds} for page in done}


def _about(root: Path, command: str) -> dict[str, Any]:
    import torch

    from tada.book import colab

    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
        cwd=root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    machine = (
        f"{platform.system()} {platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, {os.cpu_count()} cores"
    )
    return {
        "date": colab.now(),
        "command": command,
        "commit": commit.stdout.strip() or "unknown",
        "machine": machine,
        "versions": colab.versions(),
    }


@results.command()
@options.profile
@options.jobs
@click.option("--out", default="_build/differences.csv", show_default=True, metavar="FILE", help="For the report.")
def check(profile: str, jobs: int | None, out: str) -> None:
    """Hold a fresh run, which `make book FRESH=1` may have made, against what ships; exit code 1 where they differ."""
    from tada.book import pages
    from tada.book import results as kept
    from tada.io import write_table
    from tada.models import ARCHITECTURES
    from tada.store import packing

    shipped = kept.find(pages.root()).shipped
    if shipped is None:
        raise MissingFileError("no results ship with this checkout: `tada results make` makes them, in results/")
    _, home, used = _run_fresh(profile, (), jobs)
    draw_tokens = [name for name, about in ARCHITECTURES.items() if pkgutil.resolve_name(about.adapter).draws_tokens]
    found = packing.compare(home, used, shipped, draw_tokens)
    write_table(out, found)
    rows = [("page", "values", "largest difference", "beyond rounding")]
    rows += [
        (str(page), f"{len(part):,}", f"{part['difference'].max():.1g}", f"{part['wrong'].sum():,}")
        for page, part in found.groupby("page", sort=False)
    ]
    options.print_table(rows)
    if found["wrong"].any():
        options.stop(f"{found['wrong'].sum():,} of {len(found):,} values differ, see {relative(Path(out))}", 1)


COMMANDS = (results,)
