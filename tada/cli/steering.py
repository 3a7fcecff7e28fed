"""Commands for steering: ``tada steer``, ``tada vectors``, ``tada sae``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tada.errors import InputError
from tada.io import write_table

if TYPE_CHECKING:
    from tada.models.base import Layers, Model, Sampling

VECTORS, SAES = "_build/vectors", "_build/sae"
MODEL_HELP = "audioldm2, stable-audio or ace-step."
CHECKPOINT_HELP = "Hub id, folder, mini or planted. Default: the paper's public one."
WORDS_HELP = "Vocabulary of prompts: public or mini. Default: the checkpoint's."


def register(app: click.Group) -> None:
    """Add the commands to ``tada``."""
    for command in (steer, vectors, sae):
        app.add_command(command)


def _model_options(command: Any) -> Any:
    for option in (
        click.option("--steps", type=int, metavar="N", help="Denoising steps. Default: the preset's."),
        click.option("--seconds", type=float, metavar="S", help="Length of clips. Default: the checkpoint's."),
        click.option("--words", type=click.Choice(["public", "mini"]), help=WORDS_HELP),
        click.option("--device", default="auto", show_default=True, metavar="NAME", help="cpu, cuda, mps or auto."),
        click.option("--checkpoint", metavar="ID", help=CHECKPOINT_HELP),
        click.option("--model", "name", required=True, metavar="NAME", help=MODEL_HELP),
    ):
        command = option(command)
    return command


@dataclass(frozen=True)
class _Loaded:
    """A model and how its clips are made."""

    model: Model
    sampling: Sampling
    seconds: float
    words: Any


def _load(
    name: str, checkpoint: str | None, device: str, words: str | None, seconds: float | None, steps: int | None
) -> _Loaded:
    import tada
    from tada.models.base import MINI_SECONDS

    model = tada.load(name, checkpoint, device=device)
    words = words or model.vocabulary
    mini = words == "mini"
    preset = "mini" if mini and "mini" in model.presets else "steering" if "steering" in model.presets else "default"
    sampling = model.sampling(preset, **({"steps": steps} if steps else {}))
    return _Loaded(model, sampling, seconds or (MINI_SECONDS if mini else model.default_seconds), words)


@click.command()
@_model_options
@click.option("--prompt", required=True, metavar="TEXT", help="What to play.")
@click.option("--concept", "concepts", multiple=True, metavar="NAME", help="What to steer. Repeatable.")
@click.option(
    "--alpha", "alphas", multiple=True, metavar="X", help="Strength of each concept: raw, or 80% of its range."
)
@click.option("--vector", "paths", multiple=True, metavar="PATH", help="A saved vector in place of a concept's.")
@click.option("--layers", default=None, metavar="SET", help="functional, all, all-but-functional or 6+7.")
@click.option("--orthogonal", is_flag=True, help="Take from each concept what those before it already do.")
@click.option("--method", default="caa", show_default=True, metavar="NAME", help="caa or sae.")
@click.option("--seed", default=0, show_default=True, metavar="N", help="Of the noise.")
@click.option("--lyrics", metavar="TEXT", help="To sing (ACE-Step).")
@click.option("--folder", default=VECTORS, show_default=True, metavar="FOLDER", help="Where vectors are kept.")
@click.option("--out", required=True, metavar="FILE", help="wav, flac, ogg or mp3.")
def steer(
    prompt: str,
    concepts: Sequence[str],
    alphas: Sequence[str],
    paths: Sequence[str],
    layers: str | None,
    orthogonal: bool,
    method: str,
    seed: int,
    lyrics: str | None,
    folder: str,
    out: str,
    **model_options: Any,
) -> None:
    """Play a prompt, steered: one concept or several, each with its strength."""
    with _told():
        from contextlib import nullcontext

        from tada.steering import library
        from tada.steering.vector import Vector, combine

        if len(alphas) != len(concepts) + len(paths):
            raise InputError(
                f"got {len(concepts) + len(paths)} concepts and vectors and {len(alphas)} strengths; expected one "
                "--alpha for each --concept or --vector, concepts first"
            )
        used = _load(**model_options)
        chosen = _layers(used.model, layers)
        own = [library.find(folder, used.model, concept, method) for concept in concepts]
        own += [Vector.load(path) for path in paths]
        strengths = [_strength(text, used.model, vector, chosen) for text, vector in zip(alphas, own, strict=True)]
        renorm = all(vector.info.get("method") != "sae" for vector in own)
        mixed = combine(own, strengths, orthogonal) if len(own) > 1 else own[0] if own else None
        alpha = strengths[0] if len(own) == 1 else 1.0
        where = None if method == "sae" else chosen
        with mixed.apply(used.model, alpha, where, renorm=renorm) if mixed else nullcontext():
            made = used.model.generate(prompt, seed, used.seconds, used.sampling, lyrics=lyrics)
        path = made[0].save(_sound_file(out))
    said = ", ".join(f"{name} {value:+.3g}" for name, value in zip([*concepts, *paths], strengths, strict=True))
    click.echo(f"{path}: {said or 'unsteered'}, layers {chosen}, seed {seed}, {used.model.checkpoint}")


@click.group()
def vectors() -> None:
    """Fit steering vectors, and see those that are there."""


@vectors.command("fit")
@_model_options
@click.option("--concept", "concepts", multiple=True, required=True, metavar="NAME", help="Repeatable.")
@click.option("--pairs", "count", default=50, show_default=True, metavar="N", help="Prompt pairs a concept.")
@click.option("--wording", default="paper", show_default=True, help="Of the templates: paper or revised.")
@click.option("--calibrated", default="", metavar="SET", help="Also find the range of strengths for these layers.")
@click.option("--prompts", "tried", default=4, show_default=True, metavar="N", help="Prompts of that search.")
@click.option("--batch", default=8, show_default=True, metavar="N", help="Clips in one run.")
@click.option("--folder", default=VECTORS, show_default=True, metavar="FOLDER", help="Where vectors are kept.")
def fit(
    concepts: Sequence[str],
    count: int,
    wording: Any,
    calibrated: str,
    tried: int,
    batch: int,
    folder: str,
    **model_options: Any,
) -> None:
    """Fit the vector of each concept (CAA) and keep it."""
    with _told():
        from tada.concepts import steered as prompts
        from tada.engine import Setting
        from tada.steering import Arm, Trial, calibrate, cross, library

        for concept in concepts:
            prompts.get(concept)
        used = _load(**model_options)
        for concept in concepts:
            setting = Setting(used.seconds, used.sampling, batch=batch, progress=True)
            recipe = library.Recipe(concept, setting, count, vocabulary=used.words, wording=wording)
            vector = library.fit(used.model, recipe, folder)
            if calibrated:
                arm = Arm("CAA", vector, _layers(used.model, calibrated))
                trial = Trial(concept, cross(prompts.neutral(concept, tried, used.words), [0]), setting)
                vector = calibrate(used.model, arm, trial, _judge(used.words)).vector
                vector.save(library.path(folder, used.model, concept))
            click.echo(f"{concept}: {library.path(folder, used.model, concept)}{_ranges(vector.info)}")


@vectors.command("list")
@click.option("--folder", default=VECTORS, show_default=True, metavar="FOLDER", help="Where vectors are kept.")
def list_(folder: str) -> None:
    """List the vectors in a folder."""
    from tada.steering import library

    rows = [("name", "concept", "method", "checkpoint", "steps", "ranges")]
    for path, info in library.entries(folder):
        steps = str(info.get("sampling", {}).get("steps", "?"))
        name = path.relative_to(folder).with_suffix("").as_posix()
        ranges = "; ".join(_range(entry) for entry in info.get("ranges", ())) or "none"
        rows.append((name, info["concept"], info["method"], str(info.get("checkpoint", "?")), steps, ranges))
    if len(rows) == 1:
        click.echo(f"no vectors in {folder}: fit one with `tada vectors fit`")
    else:
        from tada.cli._options import print_table

        print_table(rows)


@vectors.command("show")
@click.argument("name")
@click.option("--folder", default=VECTORS, show_default=True, metavar="FOLDER", help="Where vectors are kept.")
def show(name: str, folder: str) -> None:
    """Show what a vector is: NAME as `tada vectors list` gives it, or a path."""
    import json

    with _told():
        from tada.steering import library
        from tada.steering.vector import Vector

        path = Path(name)
        path = path if path.suffix == ".safetensors" and path.is_file() else library.by_name(folder, name)
        vector = Vector.load(path)
    brief = {key: value for key, value in vector.info.items() if key not in ("sites", "ranges")}
    for side in ("positive", "negative"):
        if len(brief.get(side, ())) > 3:
            brief[side] = [*brief[side][:3], f"and {len(brief[side]) - 3} more"]
    click.echo(f"{path}\n{len(vector.sites)} sites, {vector.steps} steps{_ranges(vector.info)}")
    click.echo(json.dumps(brief, indent=1, ensure_ascii=False))


@click.group()
def sae() -> None:
    """Train sparse autoencoders on a layer of a running model."""


def _sae_options(command: Any) -> Any:
    for option in (
        click.option("--out", default=SAES, show_default=True, metavar="FOLDER", help="Where it goes."),
        click.option("--seed", default=0, show_default=True, metavar="N", help="Of weights, clips and order."),
        click.option("--held-out", default=4, show_default=True, metavar="N", help="Clips to measure on."),
        click.option("--rate", type=float, metavar="X", help="Learning rate. Default: by the number of features."),
        click.option("--batch", default=8, show_default=True, metavar="N", help="Clips in one run."),
        click.option("--tokens", default=2048, show_default=True, metavar="N", help="Tokens in a training step."),
        click.option("--updates", default=2000, show_default=True, metavar="N", help="Training steps."),
        click.option("--captions", metavar="FILE", help="csv, Parquet or google/MusicCaps. Default: synthetic."),
        click.option("--layer", required=True, metavar="N", help="Index or site name."),
    ):
        command = option(command)
    return _model_options(command)


@sae.command("train")
@_sae_options
@click.option("--m", default=4, show_default=True, metavar="N", help="Features per dimension.")
@click.option("--k", default=64, show_default=True, metavar="N", help="Active features per token.")
def train(m: int, k: int, **options: Any) -> None:
    """Train one autoencoder and keep it."""
    _train([m], [k], **options)


@sae.command("search")
@_sae_options
@click.option("--m", "expansions", multiple=True, type=int, metavar="N", help="Default: 2, 4, 8, 16. Repeatable.")
@click.option("--k", "sparsities", multiple=True, type=int, metavar="N", help="Default: 16, 32, 64. Repeatable.")
def search(expansions: Sequence[int], sparsities: Sequence[int], **options: Any) -> None:
    """Train every m with every k on one stream; print the table, keep the one that the rule selects."""
    from tada.sae.search import EXPANSIONS, SPARSITIES

    _train(expansions or EXPANSIONS, sparsities or SPARSITIES, **options)


def _train(
    expansions: Sequence[int],
    sparsities: Sequence[int],
    layer: str,
    captions: str | None,
    updates: int,
    tokens: int,
    batch: int,
    rate: float | None,
    held_out: int,
    seed: int,
    out: str,
    **model_options: Any,
) -> None:
    with _told():
        from tada.engine import Setting
        from tada.sae import search as searching
        from tada.sae.features import stream

        used = _load(**model_options)
        site = used.model.resolve(int(layer) if layer.lstrip("-").isdigit() else layer)[0]
        training, rest = stream(
            used.model, site, Setting(used.seconds, used.sampling, batch=batch), tokens, held_out, seed, captions
        )
        table, found = searching.search(
            training, rest, updates, expansions, sparsities, seed,
            rate=rate, dead_after=updates * tokens // 10, progress=True,
        )  # fmt: skip
        best = table[table["chosen"]].iloc[0]
        info = {"site": site, "checkpoint": used.model.checkpoint, "seconds": used.seconds, "updates": updates}
        folder = found[int(best["m"]), int(best["k"])].save(Path(out), info)
        write_table(folder / "search.csv", table)
    click.echo(table.round(4).to_string(index=False))
    click.echo(f"{folder}: m = {int(best['m'])}, k = {int(best['k'])}, layer {layer} of {used.model.checkpoint}")


# ---- parts


@contextmanager
def _told() -> Iterator[None]:
    """User errors as one paragraph on stderr and exit code 2."""
    from tada.cli._options import stop

    try:
        yield
    except (KeyError, ValueError, OSError, IndexError, RuntimeError, ModuleNotFoundError) as error:
        stop(str(error.args[0] if isinstance(error, KeyError) and error.args else error), 2)


def _layers(model: Model, text: str | None) -> Layers:
    """The layers that are meant; without a word the functional ones if they are known, else all."""
    from tada.experiments.localisation import layer_set

    if text:
        return layer_set(text) if text != "all" else "all"
    return "functional" if model.functional is not None else "all"


def _strength(text: str, model: Model, vector: Any, layers: Layers) -> float:
    """A raw strength from ``3.5`` or ``80%``."""
    from tada.steering import Arm, limits
    from tada.steering import strength as raw_strength

    number = text.strip().removesuffix("%")
    try:
        value = float(number)
    except ValueError:
        raise InputError(f"got the strength {text!r}; expected a number such as 3.5, or 80% of the range") from None
    if value != value or value in (float("inf"), float("-inf")):
        raise InputError(f"got the strength {text!r}; expected a finite number")
    if not text.strip().endswith("%"):
        return value
    by_sae = vector.info.get("method") == "sae"
    arm = Arm("", vector, None if by_sae else layers, renorm=not by_sae)
    return raw_strength(value, limits(model, arm))


def _sound_file(out: str) -> Path:
    path = Path(out)
    if path.suffix.lower() not in (".wav", ".flac", ".ogg", ".mp3"):
        raise InputError(f"got --out {out}; expected a file that ends in .wav, .flac, .ogg or .mp3")
    return path


def _judge(words: str) -> Any:
    from tada.metrics.judges import steering_judge

    return steering_judge(words)


def _ranges(info: Any) -> str:
    return "".join(f"\n  {_range(entry)}" for entry in info.get("ranges", ()))


def _range(entry: Any) -> str:
    return f"layers {entry['layers']}: {entry['low']:.3g} to {entry['high']:.3g}"
