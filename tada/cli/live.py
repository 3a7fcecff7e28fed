"""Commands for the live instrument: ``tada live export``."""

from __future__ import annotations

import click

from tada.cli import _options as options


@click.group()
def live() -> None:
    """A mini that runs in a web page, steered and patched, without a server."""


@live.command()
@click.argument("model")
@click.argument("folder", type=options.FOLDER)
@click.option("--checkpoint", default="mini", show_default=True, metavar="ID", help="mini, hub id or folder.")
@click.option("--vectors", default="_build/vectors", show_default=True, metavar="FOLDER", help="As tada vectors fit.")
@options.concepts
@options.number("--seeds", 8, "Seeds that the page offers, from 0.", click.IntRange(1, 64))
def export(model: str, folder: str, checkpoint: str, vectors: str, concepts: tuple[str, ...], seeds: int) -> None:
    """Write MODEL (ace-step) into FOLDER as a page that plays it; any server of files will do."""
    from tada.concepts import steered
    from tada.display import live
    from tada.experiments.experiment import load_model
    from tada.steering import library

    for concept in concepts:
        steered.get(concept)
    options.when_stopped(f"What was written into {folder} is not whole: give the same command again.")
    loaded = load_model(model, checkpoint, "cpu")
    kept = concepts or sorted({info["concept"] for _, info in library.entries(vectors, loaded)})
    found = {name: library.find(vectors, loaded, name) for name in kept}
    page = live.write_page(live.export(loaded, folder, live.Live(found, range(seeds), vectors_folder=vectors)))
    click.echo(f"{page}: {', '.join(found) or 'no vectors, to patch only (tada vectors fit makes some)'}")
    click.echo(f"to play it: python -m http.server --directory {folder}")


COMMANDS = (live,)
