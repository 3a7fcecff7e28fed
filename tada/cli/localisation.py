"""Commands for localisation: `tada sweep`, and the architectures by `tada models`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from tada.cli import _options as options


@click.command()
@options.model
@options.checkpoint
@options.concepts
@options.profile
@click.option(
    "--score",
    "judge",
    default="",
    metavar="NAME",
    help="What judges: probe, clap, muq, paper or module:name. Default: probe for minis, clap for public ones.",
)
@options.captions
@options.choice("--rules", ["paper", "authors"], "paper", "Of the pairs.")
@click.option("--decorated", is_flag=True, help="Put the words around the pairs that the authors' code does.")
@click.option("--negative", metavar="TEXT", help="Negative prompt; the authors': 'Low quality, average quality.'")
@click.option("--layers", "sets", multiple=True, metavar="6+7", help="A layer set. Default: every layer. Repeatable.")
@click.option("--controls", is_flag=True, help="Route a paraphrase and an unrelated prompt, too.")
@options.steps
@options.seconds
@options.workers
@options.folder("--store", "_build/sweep", "Scores; a run resumes here.")
def sweep(
    name: str,
    checkpoint: str | None,
    concepts: Sequence[str],
    rules: str,
    decorated: bool,
    negative: str | None,
    sets: Sequence[str],
    controls: bool,
    workers: int,
    store: str,
    **choices: Any,
) -> None:
    """Route every layer of a model for prompt pairs, and write each layer's impact on each concept."""
    import pandas as pd

    from tada import concepts as known
    from tada import patching
    from tada.experiments import localisation
    from tada.experiments.experiment import parse_layers
    from tada.io import write_table
    from tada.pairs import decorate

    options.when_stopped(f"What was scored is kept in {store}: the same command goes on from there.")
    wanted = tuple(dict.fromkeys(known.get(concept, rules).name for concept in concepts))
    layers = [parse_layers(text) for text in sets] or None
    work = localisation.plan(name, checkpoint, **choices)
    work = replace(work, setting=replace(work.setting, negative=negative))
    pairs = localisation.build_pairs(work, wanted, rules)
    pairs = decorate(pairs) if decorated else pairs
    if pairs.attrs["left_out"]:
        click.echo(f"left out, since {work.judge.label} cannot judge them: {', '.join(pairs.attrs['left_out'])}")
    count = len(patching.resolve_sets(work.model, layers))
    clips = localisation.count_clips(work, pairs, count, len(patching.CONTROLS) if controls else 0)
    click.echo(
        f"{work.model!r}: {len(pairs)} pairs of {pairs['concept'].nunique()} concepts, "
        f"clips of {work.setting.seconds:g} s, {work.setting.sampling}: {clips} clips"
    )
    how: dict[str, Any] = {"controls": controls, "store": store, "workers": workers, "progress": True}
    scores = pd.concat(localisation.sweep_by_metric(work, pairs, layers, **how).values(), ignore_index=True)
    impacts = patching.impact(scores)
    for file, table in {"pairs.parquet": pairs, "scores.parquet": scores, "impact.csv": impacts}.items():
        write_table(Path(store) / file, table)
    place = options.relative(Path(store) / "impact.csv")
    click.echo(f"Impacts of {impacts['layers'].nunique()} layer sets: {place}")


@click.command()
def models() -> None:
    """List the architectures: names, public checkpoints, cross-attention sites, the paper's functional layers."""
    from tada.models import ARCHITECTURES

    rows = [("name", "public checkpoint", "sites", "paper's layers", "notes")]
    for item in ARCHITECTURES.values():
        layers = "{" + ", ".join(map(str, item.paper_layers)) + "}" if item.paper_layers else "-"
        rows.append((item.name, item.hub_id, str(item.site_count), layers, item.notes))
    options.print_table(rows)


COMMANDS = (sweep, models)
