"""``tada table``: the paper's Table 1 for a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click


def register(app: click.Group) -> None:
    """Add the command to ``tada``."""
    app.add_command(table)


@click.command()
@click.option("--model", "name", required=True, metavar="NAME", help="audioldm2, stable-audio or ace-step.")
@click.option("--checkpoint", default="public", metavar="ID", help="Hub id, folder, mini or planted. Default: public.")
@click.option("--profile", default="mini", show_default=True, metavar="NAME", help="smoke, mini, colab or paper.")
@click.option("--concept", "concepts", multiple=True, metavar="NAME", help="Default: all four. Repeatable.")
@click.option("--functional", default="", metavar="6+7", help="Functional layers. Default: planted or localised ones.")
@click.option(
    "--layer", default=-1, metavar="N", help="Layer of the autoencoder. Default: the strongest functional one."
)
@click.option("--words", default="", metavar="NAME", help="Vocabulary of the prompts: public or mini.")
@click.option("--reach", default="", metavar="NAME", help="What 100 % is: length, calibrated, distance, paper.")
@click.option("--prompts", "count", default=0, metavar="N", help="Prompts of a concept. Default: the profile's.")
@click.option("--seconds", default=0.0, metavar="S", help="Length of the clips. Default: the profile's.")
@click.option("--captions", default="", metavar="FILE", help="To train the autoencoder on. Default: synthetic ones.")
@click.option("--workers", default=1, show_default=True, metavar="N", help="Processes, each with a model, on CPUs.")
@click.option("--store", default="_build/steering", show_default=True, metavar="FOLDER", help="A run resumes here.")
@click.option("--localisation", default="_build/localisation", show_default=True, metavar="FOLDER", help="Its scores.")
@click.option("--aesthetics", is_flag=True, help="Let Audiobox Aesthetics rate the clips of a mini, too.")
@click.option("--smoothness", default="paper", show_default=True, metavar="NAME", help="paper, authors or authors-v2.")
@click.option("--out", metavar="FOLDER", help="For csv, LaTeX and HTML. Default: in the store.")
def table(concepts: Sequence[str], workers: int, smoothness: str, out: str | None, **choices: Any) -> None:
    """Steer the evaluation prompts by every row of Table 1, score the clips, and write the table with intervals."""
    from tada import evaluation
    from tada.experiments import table_1 as table_runs

    asked = tuple(concepts) or table_runs.CONCEPTS
    try:
        request = table_runs.settled(table_runs.Request(concepts=asked, **choices))
        click.echo(f"functional layers {request.functional} ({request.origin}); autoencoder on layer {request.layer}")
        cells = evaluation.table(table_runs.compute(request, workers), smoothness=smoothness)
    except (KeyError, ValueError, OSError, IndexError, ImportError) as error:
        click.echo(f"tada: {error.args[0] if isinstance(error, KeyError) else error}", err=True)
        raise SystemExit(2) from None
    for title, block in table_runs.blocks(cells).items():
        click.echo(f"\n{title}\n{evaluation.layout(block).to_string()}")
    files = table_runs.write(cells, Path(out) if out else table_runs.folder(request))
    click.echo(f"\nWritten: {', '.join(map(str, files))}")
