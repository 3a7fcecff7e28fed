"""Train what is shipped: ``python -m training NAME``, or ``make train NAME=...``."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import click

for library in ("TRANSFORMERS", "DIFFUSERS"):  # they print every text that is longer than its reader reads
    os.environ.setdefault(f"{library}_VERBOSITY", "error")

from training import recipes  # noqa: E402 - the libraries heed their environment when they are imported

HOME = "_build/minis"


@click.command()
@click.argument("name", type=click.Choice(recipes.NAMES))
@click.option("--device", default="cpu", show_default=True, metavar="NAME", help="cpu, cuda or mps.")
@click.option("--hours", type=float, metavar="H", help="Stop after about so long; the same command goes on later.")
@click.option("--home", default=HOME, show_default=True, metavar="FOLDER", help="Folder of all recipes and their data.")
@click.option("--resume/--afresh", default=True, show_default=True, help="Go on from the last checkpoint, or anew.")
@click.option("--captions", metavar="FILE", help="csv of MusicCaps, to measure on real captions, too.")
@click.option(
    "--start", metavar="FOLDER", help="A finished mini, whose denoiser learns for another cycle, in a home of its own."
)
@click.option("--card", is_flag=True, help="Train nothing: measure the finished mini again, and write its card.")
def main(name: str, device: str, hours: float | None, home: str, resume: bool, card: bool, **given: str | None) -> None:
    """Train NAME from its seeds. Checkpoints every two minutes; after a kill the same command goes on."""
    folder = Path(home) / name
    if card:
        return recipes.update_card(name, home, given["captions"])
    start = given["start"]
    if start and folder.resolve() in Path(start).resolve().parents:  # clearing would delete the start
        raise click.UsageError(f"{start} lies in {folder}: let another cycle have a --home of its own")
    if not resume:
        shutil.rmtree(folder, ignore_errors=True)
    try:
        done = recipes.train(name, home, device, hours, **given)
    except (ValueError, FileNotFoundError) as error:
        raise click.UsageError(str(error)) from error
    click.echo(f"{name} is trained: {folder}" if done else f"stopped at the limit; the same command goes on: {folder}")


if __name__ == "__main__":
    main(prog_name="python -m training")
