"""How a codec is made: the code of its blocks, then the phase stage that makes sound of what the code leaves."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from tada.models.phase import FLOOR, PhaseConfig, PhaseStage
from training.codecs import blocks, books
from training.codecs.blocks import BlockCode
from training.codecs.material import Clips, crops
from training.fit import Loss, bf16_autocast, train_and_freeze
from training.material import kept

STEPS, RATE, CROPS, FRAMES = 4000, 1.5e-3, 4, 24_576
"""Of the phase stage: steps, peak learning rate, crops a step and their length in samples."""
FITTED = 1024
"""Clips that a code is found from."""
POINTS = 65_536
"""Codes that codebooks are found from."""
NOISE = 0.15
"""Standard deviation of what is added to codes: those of a diffusion model are not exact."""


@dataclass(frozen=True)
class CodecRecipe:
    """What a codec is: bands and frames of a block, its codes, whether the autoencoder sees blocks as channels, and how
    many codebooks there are and entries in each, if latents are numbers of entries."""

    block: tuple[int, int]
    codes: int
    folded: bool = True
    books: tuple[int, int] = (0, 0)


class Trained(NamedTuple):
    """A finished codec: its phase stage, its code, and its codebooks if it has any."""

    stage: PhaseStage
    code: BlockCode
    books: Tensor | None = None


def make_stage(recipe: CodecRecipe) -> PhaseStage:
    """Make an untrained phase stage."""
    torch.manual_seed(0)
    return PhaseStage(PhaseConfig(block=recipe.block if recipe.folded else ()))


def train(
    recipe: CodecRecipe, folder: Path, audio: Clips, limit: float = math.inf, steps: int = STEPS
) -> Trained | None:
    """Find the code and train the phase stage; a killed run goes on from its last checkpoint.

    Args:
        recipe: the codec's.
        folder: of the code, and of the stage's checkpoint and curve.
        audio: renders, from :func:`training.codecs.material.renders`.
        limit: seconds after which it stops and gives None; call again to go on.
        steps: of the phase stage.
    """
    stage, path = make_stage(recipe), folder / "code.safetensors"
    if not path.is_file():
        blocks.save(blocks.fit(_spectra(stage, audio), *recipe.block, recipe.codes), path)
    code = blocks.load(path)
    found = find_books(recipe, stage, code, audio, folder / "books.safetensors")
    done = train_and_freeze(stage, sound_loss(stage, code, audio, found), folder / "phase", steps, RATE, limit)
    return Trained(stage, code, found) if done else None


def find_books(recipe: CodecRecipe, stage: PhaseStage, code: BlockCode, audio: Clips, path: Path) -> Tensor | None:
    """Find the codebooks ``[books, entries, codes]`` of a code, or read them from ``path``; None: it has none."""
    if not recipe.books[0]:
        return None

    def make() -> dict[str, Tensor]:
        points = torch.cat([points_of(code.encode(part)) for part in _spectra(stage, audio)])
        some = points[torch.randperm(len(points), generator=_draws(0))[:POINTS]]
        return {"books": books.fit(some, *recipe.books)}

    return kept(path, make)["books"]


def _spectra(stage: PhaseStage, audio: Clips) -> Iterator[Tensor]:
    """Spectra of the clips that a code is found from, some at a time."""
    return map(stage.spectra, torch.from_numpy(audio[:FITTED].astype("float32")).split(16))


def points_of(codes: Tensor) -> Tensor:
    """Codes ``[rows, codes, down, along]`` as points ``[rows * down * along, codes]``."""
    return codes.permute(0, 2, 3, 1).flatten(0, 2)


def spoil(codes: Tensor, found: Tensor | None, step: int) -> Tensor:
    """Codes as a model makes them: a little wrong, or of codebooks."""
    if found is None:
        return codes + NOISE * torch.randn(codes.shape, generator=_draws(step))
    rows, width, *places = codes.shape
    return books.quantise(points_of(codes), found).view(rows, *places, width).permute(0, 3, 1, 2)


def sound_loss(stage: PhaseStage, code: BlockCode, audio: Clips, own: Tensor | None = None) -> Loss:
    """The loss of a phase stage: its magnitudes, of spectra as they are and through the code, against the true ones.

    Logarithms tell faint partials apart, roots weigh what is heard. ``own``: codebooks ``[books, entries, codes]``.
    """

    def at(step: int) -> tuple[Tensor, dict[str, float]]:
        truth = crops(audio, step, CROPS, FRAMES)
        with torch.no_grad():
            magnitudes, spectra = stage.transform(truth).abs(), stage.spectra(truth)
            spectra[::2] = code.decode(spoil(code.encode(spectra[::2]), own, step))
        with bf16_autocast(truth.device):
            hidden = stage.blocks(stage.enter(spectra))
        found = stage.levels(spectra) + stage.leave(hidden.float())
        logs = (found - (magnitudes + FLOOR).log()).abs().mean()
        roots = ((found.exp() - FLOOR).clamp_min(1e-6).sqrt() - magnitudes.clamp_min(1e-6).sqrt()).abs().mean()
        roots = roots / magnitudes.clamp_min(1e-6).sqrt().mean()
        return logs / 2 + roots, {"logs": logs.item(), "roots": roots.item()}

    return at


def _draws(step: int) -> torch.Generator:
    return torch.Generator().manual_seed(step)
