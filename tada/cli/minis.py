"""Commands for the small trained checkpoints: ``tada minis verify``, ``functional``, ``list``."""

from __future__ import annotations

import click

from tada.cli import _options as options


@click.group()
def minis() -> None:
    """Small trained checkpoints and ears: check them, list them."""


@minis.command()
@click.argument("names", nargs=-1)
@click.option("--quick", is_flag=True, help="Hashes only; measure nothing.")
@options.number("--clips", 128, "Clips to measure each mini with, about.")
def verify(names: tuple[str, ...], quick: bool, clips: int) -> None:
    """Check the shipped weights against the hashes of their cards, and measure accuracy again."""
    from tada.experiments.minis import verify as check

    options.when_stopped("Nothing was changed.")
    trouble = check(names, 0 if quick else clips, click.echo)
    if trouble:
        options.stop("; ".join(trouble), 1)
    click.echo("every file is as its card says")


@minis.command()
@click.argument("architecture")
@click.option("--checkpoint", default="mini", show_default=True, metavar="FOLDER", help="As for tada.load.")
@options.number("--pairs", 32, "Pairs a concept, half of which choose.")
@options.workers
@click.option("--store", type=options.FOLDER, help="Where scores are kept, so that a stopped run goes on.")
@click.option("--write", is_flag=True, help="Keep them in the checkpoint's tada.json.")
def functional(architecture: str, checkpoint: str, pairs: int, workers: int, store: str | None, write: bool) -> None:
    """Choose the functional layers of a mini of ARCHITECTURE, on pairs that no page measures with."""
    from tada.experiments import localisation
    from tada.models import mini_folder
    from tada.models.hub import describe_choice

    options.when_stopped("What was scored is kept where --store says: the same command goes on from there.")
    work = localisation.plan(architecture, checkpoint, judge="probe")
    chosen = localisation.measure_functional(work, pairs, store=store, workers=workers, progress=True)
    click.echo(f"{', '.join(map(str, chosen.layers)) or 'none'}: {describe_choice(**chosen._asdict())}")
    if write:
        folder = mini_folder(architecture) if checkpoint == "mini" else checkpoint
        click.echo(f"kept in {localisation.keep_functional(folder, chosen)}")


@minis.command(name="list")
def list_() -> None:
    """List the shipped weights: what they are, parameters, steps, hours, size."""
    from tada.minis.cards import shipped

    for row in shipped():
        size, steps, hours = f"{row['megabytes']:6.2f} MB", f"{row['steps']:>6} steps", f"{row['hours']:.2f} h"
        click.echo(f"{row['name']:<22}  {size}  {steps}  {hours}  {row['what']}")


COMMANDS = (minis,)
