"""The recipe of a mini: codec, text encoder, latents, denoiser, one stage after the other, each resumable."""

from __future__ import annotations

import math
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

import tada
from tada.errors import unknown
from tada.minis.codecs import material as renders
from tada.minis.codecs.stages import trained
from tada.minis.diffusion import ace_step, audioldm2, lessons, material, stable_audio, words


class Recipe(NamedTuple):
    """How a mini is trained: its architecture's module, the stage that starts it, steps, peak learning rate, batch."""

    course: ModuleType
    planted: bool = False
    steps: int = 6000
    rate: float = 1e-3
    batch: int = 32


RECIPES = {
    "stable-audio": Recipe(stable_audio),
    "ace-step": Recipe(ace_step),
    "audioldm2": Recipe(audioldm2),
    "stable-audio-planted": Recipe(stable_audio, planted=True, steps=2500),
    "ace-step-planted": Recipe(ace_step, planted=True, steps=2500),
}
"""Mini -> how it is trained. A planted one goes on from the mini of its architecture."""

PARTS = 12
"""Parts of latents to learn from."""
READING_STEPS, READING_BATCH, READING_RATE = 600, 64, 2e-3
"""How a text encoder learns to read."""


def train(name: str, home: str | Path, device: str = "cpu", limit: float = math.inf, compiled: bool = True) -> bool:
    """Train a mini and write its checkpoint; a killed run goes on where its last checkpoint was.

    Args:
        name: a key of :data:`RECIPES`.
        home: folder of all recipes; this one's files are in ``home/name``.
        device: where to train.
        limit: seconds after which a stage stops, and with it this call; call again to go on.
        compiled: whether to compile what is trained.

    Returns:
        Whether the mini is complete; its pipeline is then in ``home/name/checkpoint``.

    Raises:
        KeyError: an unknown name. FileNotFoundError: a planted mini whose mini is not there yet.
    """
    if name not in RECIPES:
        raise KeyError(unknown("mini", name, RECIPES))
    recipe, folder = RECIPES[name], Path(home) / name
    start = Path(home) / name.removesuffix("-planted")
    if recipe.planted and not (start / "checkpoint").is_dir():
        raise FileNotFoundError(f"no {start / 'checkpoint'}: train {start.name!r} first, {name!r} goes on from it")
    if not recipe.planted and not _prepared(recipe, folder, device, limit, compiled):
        return False
    model = tada.load(start.name.removesuffix("-planted"), start / "checkpoint", device, torch.float32)
    latents, clips = material.load(start / "latents", PARTS, _no_codec)
    return _taught(recipe, folder, model, latents, clips, limit, compiled)


def _no_codec(audio: Tensor) -> Tensor:
    raise FileNotFoundError("latents are missing: train the mini of this architecture from its start")


def _prepared(recipe: Recipe, folder: Path, device: str, limit: float, compiled: bool) -> bool:
    """Codec, text encoder, latents and a pipeline with an untrained denoiser; False if the limit came first."""
    course = recipe.course
    parts = course.codec.train(
        folder / "codec", renders.renders(folder / "renders.npy"), device=device, limit=limit, compiled=compiled
    )
    if not course.latents_known(folder / "codec"):
        return False
    encode = course.encoder(parts)
    for number in range(PARTS):
        material.make(folder / "latents", number, encode)
    if not (folder / "checkpoint").is_dir():
        torch.manual_seed(0)
        reader = reads(course.TEXT, folder / "text", limit)
        if reader is None:
            return False
        partial = folder / "checkpoint.partial"
        course.assemble(partial, reader)
        partial.replace(folder / "checkpoint")
    return True


def reads(kind: str, folder: Path, limit: float = math.inf) -> Any:
    """A text encoder that has learnt to read, or None where the limit came first."""
    torch.manual_seed(0)
    encoder = words.encoder(kind)
    pupil = nn.ModuleList([encoder, words.Reader(words.SIZES["d_model"])])
    tokenizer = words.tokenizer()

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        texts, promised = words.lessons(words.FIRST + step * READING_BATCH, READING_BATCH)
        batch = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        states = encoder(**batch).last_hidden_state
        return words.disagreement(pupil[1](states, batch["attention_mask"]), promised)

    done = trained(pupil, loss, folder, READING_STEPS, READING_RATE, limit)
    return encoder if done else None


def _taught(recipe: Recipe, folder: Path, model: Any, latents: Tensor, clips: Any, limit: float, fast: bool) -> bool:
    """Train the denoiser and put it into the checkpoint; False if the limit came first."""
    model.denoiser.requires_grad_(True)
    if fast:
        lessons.quicken(recipe.course, model)
    planted = recipe.course.PLANTED if recipe.planted else ()
    loss = lessons.lesson(recipe.course, model, latents, clips, recipe.batch, planted)
    with sdpa_kernel(SDPBackend.MATH):  # the fused kernel's backward pass takes half of a step on CPUs
        return trained(model.denoiser, loss, folder / "denoiser", recipe.steps, recipe.rate, limit)
