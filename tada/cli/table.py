"""``tada table``: the paper's Table 1 for a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from tada.cli import _options as options

SCALES = click.Choice(["length", "calibrated", "distance", "paper", "authors"])
VARIANTS = click.Choice(["paper", "authors", "authors-v2"])


@click.command()
@options.model
@options.checkpoint
@options.profile
@click.option("--concept", "concepts", multiple=True, metavar="NAME", help="Default: all four. Repeatable.")
@click.option("--functional", metavar="6+7", help="Functional layers. Default: localised ones.")
@click.option("--layer", type=click.IntRange(0, 999), help="Of the autoencoder. Default: the strongest one.")
@options.words
@options.choice("--wording", ["paper", "revised"], "paper", "Of queries, templates and prompts.")
@click.option("--lyrics", default="", metavar="FILE", help="csv: lyrics of prompts of vocal concepts.")
@click.option("--scale", "--reach", type=SCALES, help="What 100 % is. Default: the profile's.")
@click.option("--prompts", type=options.COUNT, metavar="N", help="Prompts of a concept. Default: the profile's.")
@options.seconds
@options.captions
@options.workers
@options.folder("--store", "_build/steering", "A run resumes here.")
@click.option("--localisation", default="_build/localisation", show_default=True, metavar="FOLDER", help="Its scores.")
@click.option("--aesthetics", is_flag=True, help="Let Audiobox Aesthetics rate the clips of a mini, too.")
@click.option(
    "--variant", "--smoothness", type=VARIANTS, default="paper", show_default=True, help="Of delta, smoothness and AUC."
)
@click.option("--out", type=options.FOLDER, metavar="FOLDER", help="For csv, LaTeX and HTML. Default: in the store.")
def table(
    name: str,
    checkpoint: str | None,
    concepts: Sequence[str],
    workers: int,
    variant: str,
    out: str | None,
    **choices: Any,
) -> None:
    """Steer the evaluation prompts by every row of Table 1, score the clips, and write the table with intervals."""
    from tada import evaluation
    from tada.concepts import steered
    from tada.experiments import table_1

    options.when_stopped(f"What was computed is kept in {choices['store']}: the same command goes on from there.")
    asked = tuple(dict.fromkeys(steered.get(concept).name for concept in concepts)) or table_1.CONCEPTS
    given = {option: value for option, value in choices.items() if value is not None}
    config = table_1.Config(name, checkpoint or "public", concepts=asked, **given)
    made = table_1.open_table(config)
    config = made.config
    click.echo(f"functional layers {config.functional} ({config.origin}); autoencoder on layer {config.layer}")
    cells = evaluation.table(table_1.compute(made, workers), variant=variant)
    for title, block in evaluation.blocks(cells).items():
        click.echo(f"\n{title}\n{evaluation.layout(block).to_string()}")
    files = evaluation.write(cells, Path(out) if out else made.folder)
    click.echo(f"\nWritten: {', '.join(map(str, files))}")


COMMANDS = (table,)
