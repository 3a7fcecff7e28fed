"""``tada table``: the paper's Table 1 for a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from tada.cli import _options as options


def register(app: click.Group) -> None:
    """Add the command to ``tada``."""
    app.add_command(table)


@click.command()
@options.model
@options.checkpoint
@options.profile
@click.option("--concept", "concepts", multiple=True, metavar="NAME", help="Default: all four. Repeatable.")
@click.option("--functional", default="", metavar="6+7", help="Functional layers. Default: planted or localised ones.")
@click.option(
    "--layer", default=-1, metavar="N", help="Layer of the autoencoder. Default: the strongest functional one."
)
@click.option("--words", "vocabulary", default="", metavar="NAME", help="Vocabulary of the prompts: public or mini.")
@click.option("--scale", "--reach", default="", metavar="NAME", help="100 %: length, calibrated, distance or paper.")
@click.option("--prompts", default=0, metavar="N", help="Prompts of a concept. Default: the profile's.")
@click.option("--seconds", default=0.0, metavar="S", help="Length of the clips. Default: the profile's.")
@options.captions
@options.workers
@click.option("--store", default="_build/steering", show_default=True, metavar="FOLDER", help="A run resumes here.")
@click.option("--localisation", default="_build/localisation", show_default=True, metavar="FOLDER", help="Its scores.")
@click.option("--aesthetics", is_flag=True, help="Let Audiobox Aesthetics rate the clips of a mini, too.")
@click.option("--smoothness", default="paper", show_default=True, metavar="NAME", help="paper, authors or authors-v2.")
@click.option("--out", metavar="FOLDER", help="For csv, LaTeX and HTML. Default: in the store.")
def table(
    name: str,
    checkpoint: str | None,
    concepts: Sequence[str],
    captions: str | None,
    workers: int,
    smoothness: str,
    out: str | None,
    **choices: Any,
) -> None:
    """Steer the evaluation prompts by every row of Table 1, score the clips, and write the table with intervals."""
    from tada import evaluation
    from tada.experiments import table_1

    asked = tuple(concepts) or table_1.CONCEPTS
    made = table_1.open_table(
        table_1.Config(name, checkpoint or "public", concepts=asked, captions=captions or "", **choices)
    )
    config = made.config
    click.echo(f"functional layers {config.functional} ({config.origin}); autoencoder on layer {config.layer}")
    cells = evaluation.table(table_1.compute(made, workers), smoothness=smoothness)
    for title, block in table_1.blocks(cells).items():
        click.echo(f"\n{title}\n{evaluation.layout(block).to_string()}")
    files = table_1.write(cells, Path(out) if out else made.folder)
    click.echo(f"\nWritten: {', '.join(map(str, files))}")
