"""Commands for the small trained checkpoints: ``tada minis train``, ``verify``, ``localise``, ``list``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

HOME = "_build/minis"
HOME_HELP = "Folder of all recipes: checkpoints, curves, what they learn from."


def register(app: click.Group) -> None:
    """Add the commands to ``tada``."""
    app.add_command(minis)


@click.group()
def minis() -> None:
    """Small trained checkpoints and ears: train them anew, check them, list them."""


@minis.command()
@click.argument("name")
@click.option("--device", default="cpu", show_default=True, metavar="NAME", help="cpu, cuda or mps.")
@click.option("--hours", type=float, metavar="H", help="Stop after about so long; the same command goes on later.")
@click.option("--home", default=HOME, show_default=True, metavar="FOLDER", help=HOME_HELP)
@click.option(
    "--resume/--afresh", default=True, show_default=True, help="Go on from the last checkpoint, or start anew."
)
@click.option("--captions", metavar="FILE", help="csv of MusicCaps, to measure on real captions, too.")
@click.option(
    "--start", metavar="FOLDER", help="A finished mini, whose denoiser learns for another cycle, in a home of its own."
)
def train(
    name: str, device: str, hours: float | None, home: str, resume: bool, captions: str | None, start: str | None
) -> None:
    """Train NAME from its seeds. Checkpoints every two minutes; after a kill the same command goes on."""
    from tada.minis import recipes

    if name not in recipes.NAMES:
        from tada.errors import unknown

        raise click.BadParameter(unknown("mini", name, recipes.NAMES), param_hint="NAME")
    for library in ("TRANSFORMERS", "DIFFUSERS"):  # they print every text that is longer than its reader reads
        os.environ.setdefault(f"{library}_VERBOSITY", "error")
    if start and (Path(home) / name).resolve() in Path(start).resolve().parents:  # clearing would delete the start
        raise click.UsageError(f"{start} lies in {Path(home) / name}: let another cycle have a --home of its own")
    if not resume:
        recipes.clear(name, home)
    try:
        done = recipes.train(name, home, device, hours, captions, click.echo, start)
    except (ValueError, FileNotFoundError) as error:
        raise click.UsageError(str(error)) from error
    folder = Path(home) / name
    click.echo(f"{name} is trained: {folder}" if done else f"stopped at the limit; the same command goes on: {folder}")


@minis.command()
@click.argument("names", nargs=-1)
@click.option("--quick", is_flag=True, help="Hashes only; measure nothing.")
@click.option("--clips", default=128, show_default=True, metavar="N", help="Clips to measure each mini with, about.")
def verify(names: tuple[str, ...], quick: bool, clips: int) -> None:
    """Check the shipped weights against the hashes of their cards, and measure accuracy again."""
    from tada.minis import recipes

    trouble = recipes.verify(names, 0 if quick else clips, click.echo)
    if trouble:
        raise click.ClickException("; ".join(trouble))
    click.echo("every file is as its card says")


@minis.command()
@click.argument("architecture", type=click.Choice(["ace-step", "stable-audio"]))
@click.option("--concept", "concepts", multiple=True, metavar="NAME", help="Which, repeatable. Default: all.")
@click.option("--pairs", default=48, show_default=True, metavar="N", help="Pairs a concept, and of each control.")
@click.option("--workers", default=1, show_default=True, metavar="N", help="Processes.")
@click.option("--store", metavar="FOLDER", help="Where scores are kept, so that a stopped run goes on.")
def localise(architecture: str, concepts: tuple[str, ...], pairs: int, workers: int, store: str | None) -> None:
    """Localise concepts in the planted mini of ARCHITECTURE, and hold what is found against its planted layers."""
    from tada.experiments import planted

    for library in ("TRANSFORMERS", "DIFFUSERS"):
        os.environ.setdefault(f"{library}_VERBOSITY", "error")
    table = planted.measure(architecture, pairs=pairs, concepts=concepts, store=store, workers=workers, progress=True)
    click.echo(table.round(2).to_string(index=False))


@minis.command(name="list")
def list_() -> None:
    """List the shipped weights: what they are, parameters, steps, hours, size."""
    from tada.minis import recipes

    for row in recipes.shipped():
        click.echo("  ".join(_cells(row)))


def _cells(row: dict[str, Any]) -> list[str]:
    return [
        f"{row['name']:<22}",
        f"{row['megabytes']:6.2f} MB",
        f"{row['steps']:>6} steps",
        f"{row['hours']:.2f} h",
        row["what"],
    ]
