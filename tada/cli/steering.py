"""Commands for steering: ``tada steer``, ``tada vectors``, ``tada sae``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tada.cli import _options as options
from tada.cli._options import print_table
from tada.errors import InputError

if TYPE_CHECKING:
    from tada.engine import Setting
    from tada.models.base import Layers, Model
    from tada.steering import Vector

VECTORS, SAES = "_build/vectors", "_build/sae"
SOUNDS = (".wav", ".flac", ".ogg", ".mp3")

folder_option = click.option(
    "--folder", default=VECTORS, show_default=True, metavar="FOLDER", help="Where vectors are kept."
)
batch_option = click.option("--batch", default=8, show_default=True, metavar="N", help="Clips in one run.")
model_options = options.together(
    options.model,
    options.checkpoint,
    click.option("--device", default="auto", show_default=True, metavar="NAME", help="cpu, cuda, mps or auto."),
    click.option("--words", type=click.Choice(["public", "mini"]), help="Vocabulary. Default: the checkpoint's."),
    click.option("--seconds", type=float, metavar="S", help="Length of clips. Default: the checkpoint's."),
    click.option("--steps", type=int, metavar="N", help="Denoising steps. Default: the preset's."),
)


def register(app: click.Group) -> None:
    """Add the commands to ``tada``."""
    for command in (steer, vectors, sae):
        app.add_command(command)


@click.command()
@model_options
@click.option("--prompt", required=True, metavar="TEXT", help="What to play.")
@click.option("--concept", "concepts", multiple=True, metavar="NAME", help="What to steer. Repeatable.")
@click.option("--alpha", "alphas", multiple=True, metavar="X", help="Strength of each: raw, or 80% of its range.")
@click.option("--vector", "paths", multiple=True, metavar="PATH", help="A saved vector in place of a concept's.")
@click.option("--layers", default="", metavar="SET", help="functional, all, all-but-functional or 6+7.")
@click.option("--orthogonal", is_flag=True, help="Take from each concept what those before it already do.")
@click.option("--method", default="caa", show_default=True, metavar="NAME", help="caa or sae.")
@click.option("--seed", default=0, show_default=True, metavar="N", help="Of the noise.")
@click.option("--lyrics", metavar="TEXT", help="To sing (ACE-Step).")
@folder_option
@click.option("--out", required=True, metavar="FILE", help="wav, flac, ogg or mp3.")
def steer(
    prompt: str,
    concepts: Sequence[str],
    alphas: Sequence[str],
    paths: Sequence[str],
    layers: str,
    orthogonal: bool,
    method: str,
    seed: int,
    lyrics: str | None,
    folder: str,
    out: str,
    **given: Any,
) -> None:
    """Play a prompt, steered: one concept or several, each with its strength."""
    from tada.steering import Vector, combine, library

    if len(alphas) != len(concepts) + len(paths):
        raise InputError(
            f"got {len(concepts) + len(paths)} concepts and vectors and {len(alphas)} strengths; expected one "
            "--alpha for each --concept or --vector, concepts first"
        )
    model, setting, _ = _open(**given)
    chosen = _layers(model, layers)
    own = [library.find(folder, model, concept, method) for concept in concepts]
    own += [Vector.load(path) for path in paths]
    strengths = [_strength(text, model, vector, chosen) for text, vector in zip(alphas, own, strict=True)]
    if Path(out).suffix.lower() not in SOUNDS:
        raise InputError(f"got --out {out}; expected a file that ends in one of {', '.join(SOUNDS)}")
    renorm = not any(map(_by_autoencoder, own))
    vector = combine(own, strengths, orthogonal) if len(own) > 1 else own[0] if own else None
    alpha = strengths[0] if len(own) == 1 else 1.0
    where = None if method == "sae" else chosen
    with vector.apply(model, alpha, where, renorm=renorm) if vector else nullcontext():
        clips = model.generate(prompt, seed, setting.seconds, setting.sampling, lyrics=lyrics)
    path = clips[0].save(Path(out))
    said = ", ".join(f"{name} {value:+.3g}" for name, value in zip([*concepts, *paths], strengths, strict=True))
    click.echo(f"{path}: {said or 'unsteered'}, layers {chosen}, seed {seed}, {model.checkpoint}")


# ---- tada vectors


@click.group()
def vectors() -> None:
    """Fit steering vectors, and see those that are there."""


@vectors.command("fit")
@model_options
@click.option("--concept", "concepts", multiple=True, required=True, metavar="NAME", help="Repeatable.")
@click.option("--pairs", "count", default=50, show_default=True, metavar="N", help="Prompt pairs a concept.")
@click.option("--wording", default="paper", show_default=True, help="Of the templates: paper or revised.")
@click.option("--calibrated", default="", metavar="SET", help="Also find the range of strengths for these layers.")
@click.option("--prompts", "tried", default=4, show_default=True, metavar="N", help="Prompts of that search.")
@batch_option
@folder_option
def fit(
    concepts: Sequence[str],
    count: int,
    wording: Any,
    calibrated: str,
    tried: int,
    batch: int,
    folder: str,
    **given: Any,
) -> None:
    """Fit the vector of each concept (CAA) and keep it."""
    from dataclasses import replace

    from tada.concepts import steered
    from tada.experiments.profiles import first_seed
    from tada.metrics.judges import steering_judge
    from tada.steering import Arm, Trial, calibrate, library, seeded

    for concept in concepts:
        steered.get(concept)
    model, setting, words = _open(**given)
    setting = replace(setting, batch=batch, progress=True)
    for concept in concepts:
        recipe = library.Recipe(concept, setting, count, vocabulary=words, wording=wording)
        vector, path = library.fit(model, recipe, folder), library.path(folder, model, concept)
        if calibrated:
            trial = Trial(concept, seeded(steered.neutral(concept, tried, words), first_seed("ranges")), setting)
            arm = Arm("CAA", vector, _layers(model, calibrated))
            vector = calibrate(model, arm, trial, steering_judge(words)).vector
            vector.save(path)
        click.echo(f"{concept}: {path}{_ranges(vector.info)}")


@vectors.command("list")
@folder_option
def list_(folder: str) -> None:
    """List the vectors in a folder."""
    from tada.steering import library

    rows = [("name", "concept", "method", "checkpoint", "steps", "ranges")]
    for path, info in library.entries(folder):
        name = path.relative_to(folder).with_suffix("").as_posix()
        about = str(info.get("checkpoint", "?")), str(info.get("sampling", {}).get("steps", "?"))
        ranges = "; ".join(map(_range, info.get("ranges", ()))) or "none"
        rows.append((name, info["concept"], info["method"], *about, ranges))
    if len(rows) == 1:
        click.echo(f"no vectors in {folder}: fit one with `tada vectors fit`")
    else:
        print_table(rows)


@vectors.command("show")
@click.argument("name")
@folder_option
def show(name: str, folder: str) -> None:
    """Show what a vector is: NAME as `tada vectors list` gives it, or a path."""
    from tada.steering import Vector, library

    path = Path(name)
    path = path if path.suffix == ".safetensors" and path.is_file() else library.by_name(folder, name)
    vector = Vector.load(path)
    brief = {key: value for key, value in vector.info.items() if key not in ("sites", "ranges")}
    for side in ("positive", "negative"):
        if len(brief.get(side, ())) > 3:
            brief[side] = [*brief[side][:3], f"and {len(brief[side]) - 3} more"]
    click.echo(f"{path}\n{len(vector.sites)} sites, {vector.steps} steps{_ranges(vector.info)}")
    click.echo(json.dumps(brief, indent=1, ensure_ascii=False))


# ---- tada sae


@click.group()
def sae() -> None:
    """Train sparse autoencoders on what a layer puts out."""


sae_options = options.together(
    model_options,
    click.option("--layer", required=True, metavar="N", help="Index or site name."),
    options.captions,
    click.option("--clips", default=200, show_default=True, metavar="N", help="Clips to train on; captions repeat."),
    click.option("--recorded", default=5, show_default=True, metavar="N", help="Denoising steps that are recorded."),
    click.option("--updates", default=2000, show_default=True, metavar="N", help="Training steps."),
    click.option("--tokens", default=2048, show_default=True, metavar="N", help="Tokens in a training step."),
    batch_option,
    click.option("--rate", type=float, metavar="X", help="Learning rate. Default: by the number of features."),
    click.option("--held-out", default=4, show_default=True, metavar="N", help="Clips to measure on."),
    click.option("--seed", default=0, show_default=True, metavar="N", help="Of weights, clips and order."),
    click.option("--out", default=SAES, show_default=True, metavar="FOLDER", help="Where it and activations go."),
)


@sae.command("train")
@sae_options
@click.option("--m", default=4, show_default=True, metavar="N", help="Features per dimension.")
@click.option("--k", default=64, show_default=True, metavar="N", help="Active features per token.")
def train(m: int, k: int, **given: Any) -> None:
    """Train one autoencoder and keep it."""
    _train([m], [k], **given)


@sae.command("search")
@sae_options
@click.option("--m", "expansions", multiple=True, type=int, metavar="N", help="Default: 2, 4, 8, 16. Repeatable.")
@click.option("--k", "sparsities", multiple=True, type=int, metavar="N", help="Default: 16, 32, 64. Repeatable.")
def search(expansions: Sequence[int], sparsities: Sequence[int], **given: Any) -> None:
    """Train every m with every k on the same clips; print the table, keep the one that the rule selects."""
    from tada.sae.search import EXPANSIONS, SPARSITIES

    _train(expansions or EXPANSIONS, sparsities or SPARSITIES, **given)


def _train(
    expansions: Sequence[int],
    sparsities: Sequence[int],
    layer: str,
    captions: str | None,
    clips: int,
    recorded: int,
    updates: int,
    tokens: int,
    batch: int,
    rate: float | None,
    held_out: int,
    seed: int,
    out: str,
    **given: Any,
) -> None:
    from dataclasses import replace

    from tada.experiments import autoencoder, profiles
    from tada.experiments.experiment import Experiment
    from tada.metrics.judges import steering_judge

    model, setting, words = _open(**given)
    size = profiles.Autoencoder(
        clips, held_out, tuple(expansions), tuple(sparsities), updates, 0, tokens, 0, rate, recorded
    )
    profile = replace(profiles.get_profile("paper"), autoencoder=size)
    setting = replace(setting, batch=batch, progress=True)
    work = Experiment(model, setting, steering_judge(words), profile, words, captions)
    found = autoencoder.train_or_load(work, int(layer) if layer.lstrip("-").isdigit() else layer, out, seed)
    best = found.table[found.table["chosen"]].iloc[0]
    click.echo(found.table.round(4).to_string(index=False))
    place = Path(out) / found.key[:16]
    click.echo(f"{place}: m = {best['m']:.0f}, k = {best['k']:.0f}, layer {layer} of {model.checkpoint}")


# ---- parts


def _open(
    name: str, checkpoint: str | None, device: str, words: str | None, seconds: float | None, steps: int | None
) -> tuple[Model, Setting, Any]:
    """Load a model; it, the setting of its clips, and the vocabulary of its prompts."""
    from tada.experiments.experiment import load_model
    from tada.experiments.steering import default_setting

    model = load_model(name, checkpoint, device)
    vocabulary = words or model.vocabulary
    return model, default_setting(model, vocabulary, seconds, steps), vocabulary


def _layers(model: Model, text: str) -> Layers:
    """The layers that are meant; without a word the functional ones if they are known, else all."""
    from tada.experiments.experiment import parse_layers

    return parse_layers(text) if text else "all" if model.functional is None else "functional"


def _by_autoencoder(vector: Vector) -> bool:
    return bool(vector.info.get("method") == "sae")


def _strength(text: str, model: Model, vector: Vector, layers: Layers) -> float:
    """A raw strength from ``3.5`` or ``80%``."""
    from tada.steering import Arm, calibrated

    number = text.strip().removesuffix("%")
    try:
        value = float(number)
    except ValueError:
        raise InputError(f"got the strength {text!r}; expected a number such as 3.5, or 80% of the range") from None
    if value != value or value in (float("inf"), float("-inf")):
        raise InputError(f"got the strength {text!r}; expected a finite number")
    if not text.strip().endswith("%"):
        return value
    by_sae = _by_autoencoder(vector)
    return calibrated(model, Arm("", vector, None if by_sae else layers, renorm=not by_sae)).raw(value)


def _ranges(info: Mapping[str, Any]) -> str:
    return "".join(f"\n  {_range(entry)}" for entry in info.get("ranges", ()))


def _range(entry: Mapping[str, Any]) -> str:
    return f"layers {entry['layers']}: {entry['low']:.3g} to {entry['high']:.3g}"
