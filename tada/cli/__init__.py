"""The command line `tada`. Heavy imports stay inside the commands, so that `tada --help` is instant."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from tada.cli import _options as options
from tada.cli import book as cli_book
from tada.cli import minis as cli_minis
from tada.cli import steering as cli_steer
from tada.cli import table as cli_table
from tada.cli._options import print_table, relative, stop
from tada.errors import BookError, TadaError, unknown


class Commands(click.Group):
    """Commands whose user errors are one paragraph on stderr and exit code 2, never a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BookError as error:
            stop(str(error), 1)
        except (TadaError, OSError) as error:
            stop(str(error), 2)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if self.get_command(ctx, args[0]) is None:
            stop(unknown("command", args[0], self.list_commands(ctx), "See tada --help."), 2)
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tada-companion", prog_name="tada")
def app() -> None:
    """The TADA companion: where audio diffusion models keep musical concepts, and how to steer them there."""


cli_book.register(app)
cli_steer.register(app)
cli_minis.register(app)
cli_table.register(app)


@app.command()
@options.model
@options.checkpoint
@click.option("--concept", "wanted", multiple=True, metavar="NAME", help="Default: the profile's. Repeatable.")
@options.profile
@click.option(
    "--score",
    "judge",
    default="",
    metavar="NAME",
    help="What judges: probe, clap, muq, paper or module:name. Default: probe for minis, clap for public ones.",
)
@options.captions
@click.option(
    "--rules", default="paper", show_default=True, metavar="NAME", help="Rule set of the pairs: paper, authors."
)
@click.option("--layers", "sets", multiple=True, metavar="6+7", help="A layer set. Default: every layer. Repeatable.")
@click.option("--controls", is_flag=True, help="Route a paraphrase and an unrelated prompt, too.")
@click.option("--steps", type=int, metavar="N", help="Denoising steps. Default: the profile's.")
@click.option("--seconds", type=float, metavar="S", help="Length of the clips. Default: the profile's.")
@options.workers
@click.option(
    "--store", default="_build/sweep", show_default=True, metavar="FOLDER", help="Scores; a run resumes here."
)
def sweep(
    name: str,
    checkpoint: str | None,
    wanted: Sequence[str],
    rules: str,
    sets: Sequence[str],
    controls: bool,
    workers: int,
    store: str,
    **choices: Any,
) -> None:
    """Route every layer of a model for prompt pairs, and write each layer's impact on each concept."""
    from tada import concepts
    from tada.experiments import localisation
    from tada.experiments.experiment import parse_layers

    for concept in wanted:
        concepts.get(concept, rules)
    work = localisation.plan(name, checkpoint, **choices)
    pairs = localisation.build_pairs(work, wanted, rules)
    layers = [parse_layers(text) for text in sets] or None
    table = localisation.run(work, pairs, store, layers, controls=controls, workers=workers, tell=click.echo)
    click.echo(f"Impacts of {table['layers'].nunique()} layer sets: {relative(Path(store) / 'impact.csv')}")


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
    print_table([header, *rows])
