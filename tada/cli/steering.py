"""Commands for steering: ``tada steer``, ``tada vectors``, ``tada sae``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
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


class Strength(click.ParamType):
    """A strength as ``3.5``, raw, or as ``80%`` of a range: the number, and whether it is a percentage."""

    name = "strength"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, bool]:
        number, mark, rest = value.strip().partition("%")
        try:
            strength = float(number)
        except ValueError:
            strength = math.nan
        if rest or not math.isfinite(strength):
            self.fail(f"{value!r} is not a finite number such as 3.5, or 80% of the range.", param, ctx)
        return strength, bool(mark)


folder_option = options.folder("--folder", "_build/vectors", "Where vectors go.")
kept_option = click.option("--folder", default="_build/vectors", show_default=True, help="Where vectors are kept.")
batch_option = options.number("--batch", 8, "Clips in one run.")
model_options = options.together(
    options.model,
    options.checkpoint,
    click.option("--device", default="auto", show_default=True, metavar="NAME", help="cpu, cuda, mps or auto."),
    options.words,
    options.seconds,
    options.steps,
)


@click.command()
@model_options
@click.option("--prompt", required=True, metavar="TEXT", help="What to play.")
@click.option("--concept", "concepts", multiple=True, metavar="NAME", help="What to steer. Repeatable.")
@click.option("--alpha", "alphas", type=Strength(), multiple=True, help="Strength of each: raw, or as 80%.")
@click.option("--vector", "paths", multiple=True, metavar="PATH", help="A saved vector in place of a concept's.")
@click.option("--layers", metavar="SET", help="functional, all, all-but-functional or 6+7.")
@click.option("--orthogonal", is_flag=True, help="Take from each concept what those before it already do.")
@options.choice("--method", ["caa", "sae"], "caa", "Of the vectors.")
@options.number("--seed", 0, "Of the noise.", options.SEED)
@click.option("--lyrics", metavar="TEXT", help="To sing (ACE-Step).")
@kept_option
@click.option("--out", type=options.SoundFile(), required=True, metavar="FILE", help="wav, flac, ogg or mp3.")
@click.option("--overwrite", is_flag=True, help="Write over a file that is there.")
def steer(
    prompt: str,
    concepts: Sequence[str],
    alphas: Sequence[tuple[float, bool]],
    paths: Sequence[str],
    layers: str | None,
    orthogonal: bool,
    method: str,
    seed: int,
    lyrics: str | None,
    folder: str,
    out: Path,
    overwrite: bool,
    **given: Any,
) -> None:
    """Play a prompt, steered: one concept or several, each with its strength."""
    from tada.concepts import steered
    from tada.steering import Vector, combine, library

    if len(alphas) != len(concepts) + len(paths):
        raise InputError(
            f"got {len(concepts) + len(paths)} concepts and vectors and {len(alphas)} strengths; expected one "
            "--alpha for each --concept or --vector, concepts first"
        )
    if out.exists() and not overwrite:
        raise InputError(f"{out} is there already: choose another name, or write over it with --overwrite")
    for concept in concepts:
        steered.get(concept)
    loaded = [Vector.load(path) for path in paths]
    model, setting, _ = _open(**given)
    chosen = _layers(model, layers)
    own = [*(library.find(folder, model, concept, method) for concept in concepts), *loaded]
    strengths = [_raw(alpha, model, vector, chosen) for alpha, vector in zip(alphas, own, strict=True)]
    renorm = not any(map(_by_autoencoder, own))
    vector = combine(own, strengths, orthogonal) if len(own) > 1 else own[0] if own else None
    alpha = strengths[0] if len(own) == 1 else 1.0
    where = None if method == "sae" else chosen
    with vector.apply(model, alpha, where, renorm=renorm) if vector else nullcontext():
        clips = model.generate(prompt, seed, setting.seconds, setting.sampling, lyrics=lyrics)
    path = clips[0].save(out)
    said = ", ".join(f"{name} {value:+.3g}" for name, value in zip([*concepts, *paths], strengths, strict=True))
    click.echo(f"{path}: {said or 'unsteered'}, layers {chosen}, seed {seed}, {model.checkpoint}")


# ---- tada vectors


@click.group()
def vectors() -> None:
    """Fit steering vectors, and see those that are there."""


@vectors.command("fit")
@model_options
@click.option("--concept", "concepts", multiple=True, required=True, metavar="NAME", help="Repeatable.")
@options.number("--pairs", 50, "Prompt pairs a concept.")
@options.choice("--wording", ["paper", "revised"], "paper", "Of the templates.")
@click.option("--calibrated", metavar="SET", help="Also find the range of strengths for these layers.")
@options.number("--prompts", 4, "Prompts of that search.")
@batch_option
@folder_option
@click.option("--force", is_flag=True, help="Write over a vector that was fitted in another way.")
def fit(
    concepts: Sequence[str],
    pairs: int,
    wording: Any,
    calibrated: str | None,
    prompts: int,
    batch: int,
    folder: str,
    force: bool,
    **given: Any,
) -> None:
    """Fit the vector of each concept (CAA) and keep it."""
    from tada.concepts import steered
    from tada.experiments.profiles import first_seed
    from tada.metrics.steering_judges import steering_judge
    from tada.steering import Arm, Trial, calibrate, library, seeded

    options.when_stopped(f"Vectors that were fitted are in {folder}: the same command goes on from there.")
    for concept in concepts:
        steered.get(concept)
    model, setting, words = _open(**given)
    layers = _layers(model, calibrated)
    setting = replace(setting, batch=batch, progress=True)
    for concept in concepts:
        recipe = library.Recipe(concept, setting, pairs, vocabulary=words, wording=wording)
        vector, path = library.fit(model, recipe, folder, force), library.path(folder, model, concept)
        if calibrated:
            trial = Trial(concept, seeded(steered.neutral(concept, prompts, words), first_seed("ranges")), setting)
            arm = Arm("CAA", vector, layers)
            vector = calibrate(model, arm, trial, steering_judge(words)).vector
            vector.save(path)
        click.echo("\n  ".join([f"{concept}: {path}", *_ranges(vector.info)]))


@vectors.command("list")
@kept_option
def list_(folder: str) -> None:
    """List the vectors in a folder."""
    from tada.steering import library

    rows = [("name", "concept", "method", "checkpoint", "steps", "ranges")]
    for path, info in library.entries(folder):
        name = path.relative_to(folder).with_suffix("").as_posix()
        about = str(info.get("checkpoint", "?")), str(info.get("sampling", {}).get("steps", "?"))
        ranges = "; ".join(_ranges(info)) or "none"
        rows.append((name, info["concept"], info["method"], *about, ranges))
    if len(rows) == 1:
        click.echo(f"no vectors in {folder}: fit one with `tada vectors fit`")
    else:
        print_table(rows)


@vectors.command("show")
@click.argument("name")
@kept_option
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
    click.echo("\n  ".join([f"{path}\n{len(vector.sites)} sites, {vector.steps} steps", *_ranges(vector.info)]))
    click.echo(json.dumps(brief, indent=1, ensure_ascii=False))


# ---- tada sae


@click.group()
def sae() -> None:
    """Train sparse autoencoders on what a layer puts out."""


RATE, FEATURES = options.Finite(0, 1, min_open=True), click.IntRange(1, 4096)
sae_options = options.together(
    model_options,
    click.option("--layer", required=True, metavar="N", help="Index or site name."),
    options.captions,
    options.number("--clips", 200, "Clips to train on; captions repeat."),
    options.number("--recorded", 5, "Denoising steps that are recorded.", options.STEPS),
    options.number("--updates", 2000, "Training steps."),
    options.number("--tokens", 2048, "Tokens in a training step."),
    batch_option,
    click.option("--rate", type=RATE, metavar="X", help="Learning rate. Default: by the number of features."),
    options.number("--held-out", 4, "Clips to measure on."),
    options.number("--seed", 0, "Of weights, clips and order.", options.SEED),
    options.folder("--out", "_build/sae", "Where it and activations go."),
)


@sae.command("train")
@sae_options
@options.number("--m", 4, "Features per dimension.", FEATURES)
@options.number("--k", 64, "Active features per token.", FEATURES)
def train(m: int, k: int, **given: Any) -> None:
    """Train one autoencoder and keep it."""
    _train((m,), (k,), **given)


@sae.command("search")
@sae_options
@click.option("--m", "expansions", multiple=True, type=FEATURES, help="Default: 2, 4, 8, 16. Repeatable.")
@click.option("--k", "sparsities", multiple=True, type=FEATURES, help="Default: 16, 32, 64. Repeatable.")
def search(expansions: tuple[int, ...], sparsities: tuple[int, ...], **given: Any) -> None:
    """Train every m with every k on the same clips; print the table, keep the one that the rule selects."""
    from tada.sae.search import EXPANSIONS, SPARSITIES

    _train(expansions or EXPANSIONS, sparsities or SPARSITIES, **given)


def _train(
    expansions: tuple[int, ...],
    sparsities: tuple[int, ...],
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
    from tada import pairs
    from tada.experiments import autoencoder, profiles
    from tada.experiments.experiment import Experiment, parse_layers
    from tada.metrics.steering_judges import steering_judge

    options.when_stopped(f"What was recorded is kept in {out}: the same command goes on from there.")
    texts = None if captions is None else pairs.read(captions)
    model, setting, words = _open(**given)
    site = model.resolve(parse_layers(layer))[0]
    size = profiles.Autoencoder(clips, held_out, expansions, sparsities, updates, 0, tokens, 0, rate, recorded)
    profile = replace(profiles.get_profile("paper"), autoencoder=size)
    setting = replace(setting, batch=batch, progress=True)
    work = Experiment(model, setting, steering_judge(words), profile, words, texts)
    found = autoencoder.train_or_load(work, site, out, seed)
    best = found.table[found.table["chosen"]].iloc[0]
    click.echo(found.table.round(4).to_string(index=False))
    place = Path(out) / found.key[:16]
    click.echo(f"{place}: m = {best['m']:.0f}, k = {best['k']:.0f}, layer {layer} of {model.checkpoint}")


# ---- parts


def _open(
    name: str, checkpoint: str | None, device: str, vocabulary: Any, seconds: float | None, steps: int | None
) -> tuple[Model, Setting, Any]:
    """Load a model; it, the setting of its clips, and the vocabulary of its prompts."""
    from tada.experiments.experiment import load_model
    from tada.experiments.steering import default_setting
    from tada.models.device import pick_device

    model = load_model(name, checkpoint, pick_device(device))
    vocabulary = vocabulary or model.vocabulary
    return model, default_setting(model, vocabulary, seconds, steps), vocabulary


def _layers(model: Model, text: str | None) -> Layers:
    """The layers that are meant; without a word the functional ones if they are known, else all."""
    from tada.experiments.experiment import parse_layers

    chosen = parse_layers(text) if text is not None else "all" if model.functional is None else "functional"
    model.resolve(chosen)
    return chosen


def _by_autoencoder(vector: Vector) -> bool:
    return bool(vector.info.get("method") == "sae")


def _raw(alpha: tuple[float, bool], model: Model, vector: Vector, layers: Layers) -> float:
    from tada.steering import Arm, calibrated

    value, is_percentage = alpha
    if not is_percentage:
        return value
    by_sae = _by_autoencoder(vector)
    return calibrated(model, Arm("", vector, None if by_sae else layers, renorm=not by_sae)).raw(value)


def _ranges(info: Mapping[str, Any]) -> list[str]:
    return [f"layers {one['layers']}: {one['low']:.3g} to {one['high']:.3g}" for one in info.get("ranges", ())]


COMMANDS = (steer, vectors, sae)
