"""The recipe of a mini: codec, text encoder, latents, denoiser, one stage after the other, each resumable."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

import tada
from tada.errors import InputError, MissingFileError, UnknownNameError, unknown
from tada.minis.attributes import Attributes
from training.codecs import material as renders
from training.codecs.stages import complete, restore, trained
from training.diffusion import ace_step, audioldm2, balancing, lessons, material, planting, stable_audio, words


class Recipe(NamedTuple):
    """How a mini is trained: architecture, its module here, whether planted, steps, peak learning rate, batch, what its
    sampling has in place of the architecture's, classes of which so many times as many clips are drawn, and steps of
    a further cycle of the learning rate."""

    architecture: str
    course: ModuleType
    planted: bool = False
    steps: int = 6000
    rate: float = 1e-3
    batch: int = 32
    sampling: Mapping[str, Any] = MappingProxyType({})
    often: Mapping[str, int] = MappingProxyType({})
    again: int = 3000


RECIPES = {
    "stable-audio": Recipe("stable-audio", stable_audio, steps=8000, often={"techno": 2}),
    "ace-step": Recipe("ace-step", ace_step, steps=12000, often={"piano": 2}, again=7000),
    "audioldm2": Recipe("audioldm2", audioldm2, steps=8000, often={"flute": 2, "trumpet": 2}, again=3600),
    "stable-audio-planted": Recipe("stable-audio", stable_audio, planted=True, steps=3000),
    "ace-step-planted": Recipe("ace-step", ace_step, planted=True, steps=4000, sampling={"guidance": 12.0}),
}
"""Mini -> how it is trained. A planted one goes on from the mini of its architecture."""

CARD, START = "card.json", "start"
"""Names of a mini's card, and of the folder with card and curve of the mini that another cycle went on from."""
PARTS = 12
"""Parts of latents to learn from."""
READING_STEPS, READING_BATCH, READING_RATE = 600, 64, 2e-3
"""How a text encoder learns to read."""
AGAIN_RATE = 6e-4
"""Peak learning rate of a further cycle."""
BALANCING_STEPS, BALANCING_BATCH, BALANCING_RATE = 6000, 16, 1e-3
"""How a planted mini is balanced."""


def train(name: str, home: str | Path, device: str = "cpu", limit: float = math.inf, compiled: bool = True) -> bool:
    """Train a mini and write its checkpoint; a killed run goes on where its last checkpoint was.

    Args:
        name: a key of :data:`RECIPES`.
        home: folder of all recipes; this one's files are in ``home/name``.
        device: where to train.
        limit: seconds after which a stage stops, and with it this call; call again to go on.
        compiled: whether to compile what is trained.

    Returns:
        Whether the mini is complete; its pipeline is then in ``home/name/trained``.

    Raises:
        KeyError: an unknown name. FileNotFoundError: a planted mini whose mini is not there yet.
    """
    if name not in RECIPES:
        raise UnknownNameError(unknown("mini", name, RECIPES))
    recipe, folder = RECIPES[name], Path(home) / name
    start = Path(home) / recipe.architecture
    if recipe.planted and not (start / "trained").is_dir():
        raise MissingFileError(f"no {start / 'trained'}: train {start.name!r} first, {name!r} goes on from it")
    if not recipe.planted and not _prepared(recipe, folder, device, limit, compiled):
        return False
    model = tada.load(
        recipe.architecture, start / ("trained" if recipe.planted else "untrained"), device, torch.float32
    )
    latents, clips = material.load(start / "latents", PARTS, _missing)
    if not taught(recipe, folder, model, latents, clips, limit, compiled):
        return False
    if recipe.planted and not balanced(recipe, folder, model, start / "trained", latents, clips, limit):
        return False
    finish(name, home)
    return True


def again(
    name: str, home: str | Path, start: str | Path, device: str = "cpu", limit: float = math.inf, compiled: bool = True
) -> bool:
    """Let the denoiser of a finished mini learn for another cycle of the learning rate; all else stays as it is.

    Args:
        name: a key of :data:`RECIPES`, none of a planted one.
        home: folder of all recipes; this one's files are in ``home/name``.
        start: folder of the finished mini.
        device: as for :func:`train`.
        limit: as for :func:`train`.
        compiled: as for :func:`train`.

    Returns:
        Whether the cycle is complete; the pipeline is then in ``home/name/trained``.

    Raises:
        KeyError: an unknown name. ValueError: a planted mini, or a home where it was trained from nothing.
        FileNotFoundError: no mini in ``start``.
    """
    if name not in RECIPES:
        raise UnknownNameError(unknown("mini", name, RECIPES))
    recipe, folder = RECIPES[name], Path(home) / name
    if recipe.planted:
        raise InputError(f"{name!r} is planted: it goes on from {recipe.architecture!r}, so train that one further")
    if (folder / "denoiser").is_dir() and not (folder / START).is_dir():
        raise InputError(f"{folder} has a training from nothing: let another cycle have a home of its own")
    if not (Path(start) / CARD).is_file():
        raise MissingFileError(f"no {Path(start) / CARD}: start from a finished mini, as train leaves it in 'trained'")
    course, cycle = recipe.course, recipe._replace(steps=recipe.again, rate=AGAIN_RATE)
    model = tada.load(recipe.architecture, start, "cpu", torch.float32)
    latents, clips = material.load(folder / "latents", PARTS, course.encoder(course.parts(model)))
    model = tada.load(recipe.architecture, start, device, torch.float32)
    if not (folder / START / CARD).is_file():
        (folder / START).mkdir(parents=True, exist_ok=True)
        for file in ("curve.csv", CARD):
            shutil.copyfile(Path(start) / file, folder / START / file)
    if not taught(cycle, folder, model, latents, clips, limit, compiled, seed=1):
        return False
    model = tada.load(recipe.architecture, start, "cpu", torch.float32)  # as it was before anything was compiled
    restore(model.denoiser, folder / "denoiser")
    _written(recipe, model, course.parts(model), folder)
    return True


def _missing(audio: Tensor) -> Tensor:
    raise MissingFileError("latents are missing: train the mini of this architecture first")


def _prepared(recipe: Recipe, folder: Path, device: str, limit: float, compiled: bool) -> bool:
    """Codec, latents, text encoder and a pipeline with an untrained denoiser; False if the limit came first."""
    course = recipe.course
    if not complete(folder / "codec", course.codec.STAGES):
        audio = renders.repeated(renders.renders(folder / "renders.npy"))
        course.codec.train(folder / "codec", audio, device=device, limit=limit, compiled=compiled)
    if not complete(folder / "codec", course.codec.STAGES):
        return False
    encode = course.encoder(course.codec.load(folder / "codec"))
    for number in range(PARTS):
        material.make(folder / "latents", number, encode)
    return (folder / "untrained").is_dir() or begin(recipe, folder, limit)


def begin(recipe: Recipe, folder: Path, limit: float = math.inf) -> bool:
    """Teach the text side to read and write a pipeline around it; False if the limit came first."""
    torch.manual_seed(0)
    encoder = words.encoder(recipe.course.TEXT)
    if not reads(encoder, folder / "text", limit):
        return False
    partial = folder / "untrained.partial"
    recipe.course.assemble(partial, encoder)
    if hasattr(recipe.course, "readers") and not _speaks(recipe, folder, partial, limit):
        return False
    partial.replace(folder / "untrained")
    return True


def reads(encoder: nn.Module, folder: Path, limit: float = math.inf) -> bool:
    """Teach a text encoder which concepts a caption promises; False if the limit came first."""
    pupil, tokenizer = nn.ModuleList([encoder, words.Reader(words.SIZES["d_model"])]), words.tokenizer()

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        texts, promised = words.lessons(words.FIRST + step * READING_BATCH, READING_BATCH)
        batch = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        states = encoder(**batch).last_hidden_state
        return words.disagreement(pupil[1](states, batch["attention_mask"]), promised)

    return trained(pupil, loss, folder, READING_STEPS, READING_RATE, limit)


def _speaks(recipe: Recipe, folder: Path, pipeline: Path, limit: float) -> bool:
    """Teach a language model to say in its own words which concepts a caption promises."""
    model = tada.load(recipe.architecture, pipeline, "cpu", torch.float32)
    pupil = recipe.course.readers(model).requires_grad_(True)
    reader = words.Reader(words.SIZES["d_model"])

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        texts, promised = words.lessons(words.FIRST + step * READING_BATCH, READING_BATCH // 2)
        said = recipe.course.states(model, texts)[2]
        mask = torch.ones(said.shape[:2], dtype=torch.bool)
        return words.disagreement(reader(said, mask), promised[: len(texts)])

    done = trained(nn.ModuleList([pupil, reader]), loss, folder / "language", READING_STEPS // 2, READING_RATE, limit)
    if done:
        model.pipeline.save_pretrained(pipeline)  # type: ignore[attr-defined]
    return done


def taught(
    recipe: Recipe,
    folder: Path,
    model: Any,
    latents: Tensor,
    clips: Sequence[Attributes],
    limit: float = math.inf,
    compiled: bool = True,
    seed: int = 0,
) -> bool:
    """Train the denoiser; False if the limit came first."""
    model.denoiser.requires_grad_(True)
    if compiled:
        lessons.quicken(recipe.course, model)
    course = recipe.course
    latents, clips = material.repeated(latents, clips, recipe.often)
    if recipe.planted:
        loss = planting.lesson(course, model, latents, clips, recipe.batch, course.PLANTED)
    else:
        loss = lessons.lesson(course, model, latents, clips, recipe.batch, seed)
    with sdpa_kernel(SDPBackend.MATH):  # the fused kernel's backward pass takes half of a step on CPUs
        return trained(model.denoiser, loss, folder / "denoiser", recipe.steps, recipe.rate, limit)


def balanced(
    recipe: Recipe,
    folder: Path,
    model: Any,
    pipeline: Path,
    latents: Tensor,
    clips: Sequence[Attributes],
    limit: float = math.inf,
) -> bool:
    """Balance the planted sites of a model whose denoiser was taught; False if the limit came first."""
    course, teacher = recipe.course, tada.load(recipe.architecture, pipeline, str(model.device), torch.float32)
    restore(teacher.denoiser, folder / "denoiser")
    loss = balancing.lesson(course, model, teacher, latents, clips, BALANCING_BATCH, course.PLANTED)
    pupil = balancing.Blocks(course.blocks(model), model.denoiser, course.PLANTED)
    with sdpa_kernel(SDPBackend.MATH):
        return trained(pupil, loss, folder / "balance", BALANCING_STEPS, BALANCING_RATE, limit)


def finish(name: str, home: str | Path) -> Path:
    """Put the trained parts of a mini together, in fp16, as a checkpoint with its label and its own sampling.

    Args:
        name: a key of :data:`RECIPES`.
        home: folder of all recipes.

    Returns:
        ``home/name/trained``.
    """
    recipe, folder = RECIPES[name], Path(home) / name
    course, start = recipe.course, Path(home) / recipe.architecture
    model = tada.load(recipe.architecture, start / "untrained", "cpu", torch.float32)
    if recipe.planted:
        restore(balancing.Blocks(course.blocks(model), model.denoiser, course.PLANTED), folder / "balance")
    else:
        restore(model.denoiser, folder / "denoiser")
    return _written(recipe, model, course.codec.load(start / "codec"), folder)


def _written(recipe: Recipe, model: Any, parts: Any, folder: Path) -> Path:
    """Write a trained model with its codec, its label and its sampling."""
    course, partial, done = recipe.course, folder / "trained.partial", folder / "trained"
    course.finish(model, parts, partial)
    for config in [*partial.rglob("config.json"), *partial.glob("model_index.json")]:
        said = json.loads(config.read_text())
        if said.pop("_name_or_path", None):  # a folder of this machine
            config.write_text(json.dumps(said, indent=2, sort_keys=True) + "\n")
    about = described(recipe)
    (partial / "tada.json").write_text(json.dumps(about, indent=1) + "\n")
    shutil.rmtree(done, ignore_errors=True)  # of a run that was stopped before its card was written
    partial.replace(done)
    return done


def described(recipe: Recipe) -> dict[str, Any]:
    """What a mini says of itself in ``tada.json``: label, sampling, and the layers that are known to matter."""
    course = recipe.course
    about: dict[str, Any] = {
        "label": f"{recipe.architecture} mini" + (", planted" if recipe.planted else ""),
        "architecture": recipe.architecture,
        "sampling": {**course.SAMPLING, **recipe.sampling},
        "functional": list(course.PLANTED if recipe.planted else course.FUNCTIONAL),
    }
    if not recipe.planted:
        how = "the strongest functional layers of slow, fast, happy, sad, female and male"
        about["functional from"] = f"localisation, {course.PAIRS} pairs each: {how}"
    return about
