"""The recipe of a mini: codec, text encoder, latents, denoiser, one stage after the other, each resumable."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

import tada
from tada.audio import Clips
from tada.errors import InputError, MissingFileError
from tada.experiments import agreement
from tada.io import atomic_write, write_json
from tada.metrics.audio import prepare as prepare_audio
from tada.minis.mel import listenable
from tada.minis.sounds import SAMPLE_RATE
from training.codecs import recipe as codecs
from training.codecs.material import renders
from training.codecs.recipe import Trained
from training.diffusion import ace_step, audioldm2, material, musicgen, stable_audio, words
from training.diffusion.arch import Arch
from training.diffusion.loss import compile_blocks, loss_fn
from training.fit import restore, train_and_freeze


@dataclass(frozen=True)
class Recipe:
    """How a mini is trained."""

    arch: Arch
    steps: int
    further: int = 3000
    """Steps of a further cycle of the learning rate."""
    rate: float = 1e-3
    batch: int = 32


RECIPES = {
    "stable-audio": Recipe(stable_audio.ARCH, steps=8000),
    "ace-step": Recipe(ace_step.ARCH, steps=8000, further=4000),
    "audioldm2": Recipe(audioldm2.ARCH, steps=8000, further=3000),
    "musicgen": Recipe(musicgen.ARCH, steps=5000, further=3000),
}
"""Mini -> how it is trained."""

CARD, START = "card.json", "start"
"""Names of a mini's card, and of the folder with card and curve of the mini that another cycle went on from."""
PARTS = 12
"""Parts of latents to learn from."""
TEXT_STEPS, TEXT_BATCH, TEXT_RATE = 600, 64, 2e-3
"""How a text encoder is trained."""
FURTHER_RATE = 6e-4
"""Peak learning rate of a further cycle."""


def train(name: str, home: str | Path, device: str, limit: float) -> bool:
    """Train a mini and write its checkpoint; a killed run goes on where its last checkpoint was.

    Args:
        name: a key of :data:`RECIPES`.
        home: folder of all recipes; this one's files are in ``home/name``.
        device: where to train.
        limit: seconds after which a stage stops, and with it this call; call again to go on.

    Returns:
        Whether the mini is complete; its checkpoint is then in ``home/name/trained``.
    """
    recipe, folder = RECIPES[name], Path(home) / name
    if not prepare(name, home, limit):
        return False
    return _train_from(recipe, folder, folder / "untrained", device, limit)


def prepare(name: str, home: str | Path, limit: float) -> bool:
    """Train a mini's codec and text encoder, and write its untrained checkpoint; False if the limit came first."""
    arch, folder = RECIPES[name].arch, Path(home) / name
    if (folder / "untrained").is_dir():
        return True
    codec = codecs.train(arch.codec, folder / "codec", renders(Path(home) / "renders.npy"), limit)
    return codec is not None and train_text(arch, folder, codec, limit)


def through_codec(name: str, home: str | Path, audio: Tensor) -> Tensor:
    """Encode renders ``[rows, frames]`` at 16 kHz by a mini's codec, and decode them again."""
    model = _untrained(name, str(home))
    clips = agreement.through_codec(model, Clips(audio[:, None], SAMPLE_RATE))
    return listenable(clips.audio, clips.sample_rate)


@cache
def _untrained(name: str, home: str) -> Any:
    return tada.load(name, Path(home) / name / "untrained", "cpu", torch.float32)


def train_further(name: str, home: str | Path, start: str | Path, device: str, limit: float) -> bool:
    """Train the denoiser of a finished mini for another cycle of the learning rate; all else stays as it is.

    Arguments and result are those of :func:`train`, and ``start``, the folder of the finished mini.

    Raises:
        InputError: a home where the mini was trained from nothing.
        MissingFileError: no mini in ``start``.
    """
    recipe, folder = RECIPES[name], Path(home) / name
    if (folder / "denoiser").is_dir() and not (folder / START).is_dir():
        raise InputError(f"{folder} has a training from nothing: let another cycle have a home of its own")
    if not (Path(start) / CARD).is_file():
        raise MissingFileError(f"no {Path(start) / CARD}: start from a finished mini, as train leaves it in 'trained'")
    cycle = replace(recipe, steps=recipe.further, rate=FURTHER_RATE)
    if not (folder / START / CARD).is_file():
        for file in ("curve.csv", CARD):
            atomic_write(folder / START / file, (Path(start) / file).read_bytes())
    return _train_from(cycle, folder, start, device, limit, seed=1)


def _train_from(recipe: Recipe, folder: Path, start: str | Path, device: str, limit: float, seed: int = 0) -> bool:
    """Train the denoiser of a checkpoint on latents of its own codec, and write it; False if the limit came first."""
    arch, model = recipe.arch, tada.load(recipe.arch.name, start, device, torch.float32)
    data = material.load(folder / "latents", PARTS, partial(encode, model))
    learner = arch.learner(model).requires_grad_(True)
    compile_blocks(arch, model)
    loss = loss_fn(arch, model, *data, recipe.batch, seed)
    with sdpa_kernel(SDPBackend.MATH):  # the fused kernel's backward pass takes half of a step on CPUs
        done = train_and_freeze(learner, loss, folder / "denoiser", recipe.steps, recipe.rate, limit)
    if done:
        write_trained(arch, start, folder)
    return done


def encode(model: Any, audio: Tensor) -> Tensor:
    """Encode renders ``[rows, frames]`` at 16 kHz as a model does."""
    heard = prepare_audio(audio, SAMPLE_RATE, model.sample_rate)
    return model.to_latents(heard[:, None].to(model.device)).cpu()


def train_text(arch: Arch, folder: Path, codec: Trained, limit: float) -> bool:
    """Train the text side and write an untrained checkpoint around it; False if the limit came first."""
    torch.manual_seed(0)
    encoder = words.encoder(arch.text_encoder)
    if not train_text_encoder(encoder, folder / "text", limit):
        return False
    draft = folder / "untrained.partial"
    arch.assemble(draft, encoder, codec)
    if not _train_language_model(arch, folder / "language", draft, limit):
        return False
    draft.replace(folder / "untrained")
    return True


def train_text_encoder(encoder: nn.Module, folder: Path, limit: float) -> bool:
    """Teach a text encoder which concepts a caption promises; False if the limit came first."""
    tokenizer = words.tokenizer()

    def read(texts: list[str]) -> tuple[Tensor, Tensor]:
        batch = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        return encoder(**batch).last_hidden_state, batch["attention_mask"]

    return _teach(encoder, read, folder, TEXT_STEPS, TEXT_BATCH, limit)


def _train_language_model(arch: Arch, folder: Path, pipeline: Path, limit: float) -> bool:
    """Teach a language model, if there is one, which concepts a caption promises, in half as many steps and rows."""
    model = tada.load(arch.name, pipeline, "cpu", torch.float32)
    language = arch.language(model)
    if language is None:
        return True
    learns, states_of = language

    def read(texts: list[str]) -> tuple[Tensor, Tensor]:
        states = states_of(texts)
        return states, torch.ones(states.shape[:2], dtype=torch.bool)

    done = _teach(learns.requires_grad_(True), read, folder, TEXT_STEPS // 2, TEXT_BATCH // 2, limit)
    if done:
        model.pipeline.save_pretrained(pipeline)  # type: ignore[attr-defined]
    return done


def _teach(
    reader: nn.Module,
    read: Callable[[list[str]], tuple[Tensor, Tensor]],
    folder: Path,
    steps: int,
    rows: int,
    limit: float,
) -> bool:
    """Train what reads texts to states and their mask by a probe on the states."""
    student = nn.ModuleList([reader, words.CaptionProbe(words.SIZES["d_model"])])

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        texts, promised = words.caption_batch(words.FIRST + step * TEXT_BATCH, rows)
        return words.probe_loss(student[1](*read(texts)), promised)

    return train_and_freeze(student, loss, folder, steps, TEXT_RATE, limit)


def write_trained(arch: Arch, start: str | Path, folder: Path) -> Path:
    """Write the checkpoint ``folder/trained``: ``start`` with the denoiser that ``folder`` trained, in fp16."""
    draft, done = folder / "trained.partial", folder / "trained"
    model = tada.load(arch.name, start, "cpu", torch.float32)  # as it was before anything was compiled
    restore(arch.learner(model), folder / "denoiser")
    arch.finish(model, draft)
    for config in [*draft.rglob("config.json"), *draft.glob("model_index.json")]:
        content = json.loads(config.read_text())
        if content.pop("_name_or_path", None):  # a folder of this machine
            config.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
    write_json(draft / "tada.json", describe_mini(arch))
    shutil.rmtree(done, ignore_errors=True)  # of a run that was stopped before its card was written
    return draft.replace(done)


def describe_mini(arch: Arch) -> dict[str, Any]:
    """What a mini tells of itself in ``tada.json``; ``tada minis functional`` adds its functional layers."""
    return {"label": f"{arch.name} mini", "architecture": arch.name, "sampling": dict(arch.sampling)}
