"""Activations of sites: streamed from a running model, kept on disk as they come, served shuffled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count, cycle, islice
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from tada.engine import Setting
from tada.errors import InputError
from tada.hooks import Steps, record
from tada.io import atomic_write
from tada.models.base import Layers, Model

Batch = Mapping[str, Tensor]

PIECE = 4096
"""Tokens that are encoded at a time."""

WINDOW = 2**30
"""Bytes of kept activations that are shuffled at a time."""


def activations(
    model: Model,
    prompts: Sequence[str],
    seeds: int | Iterable[int],
    setting: Setting,
    sites: Layers | None = "functional",
    steps: Steps = None,
) -> Iterator[dict[str, Tensor]]:
    """Stream cross-attention outputs of the conditional pass, one sampling run after the other, without end.

    Args:
        prompts: gone through in order, again and again.
        seeds: of the first clip, the next clips have those that follow; or one a clip, gone through again and again.
        sites: layers by index, site name or layer set; None for all.
        steps: denoising steps to keep; None for all.

    Yields:
        Site to ``[clips * steps * tokens, dim]``.
    """
    draws = count(seeds) if isinstance(seeds, int) else cycle(seeds)
    while True:
        for start in range(0, len(prompts), setting.batch):
            part = list(prompts[start : start + setting.batch])
            noise = model.noise(list(islice(draws, len(part))), setting.seconds)
            with record(model, sites, steps=steps) as kept:
                model.sample(model.encode(part, lyrics=setting.lyrics), noise, setting.sampling)
            yield {site: hidden.flatten(0, 2) for site, hidden in kept.items()}


def shuffle_buffer(stream: Iterable[Batch], tokens: int, buffer: int, seed: int = 0) -> Iterator[dict[str, Tensor]]:
    """Serve batches of single tokens, shuffled across clips and steps, the same tokens at every site.

    Args:
        stream: activations by site, ``[any, dim]``.
        tokens: per batch.
        buffer: tokens to hold; half of them are served before the buffer is filled again.

    Yields:
        Site to ``[tokens, dim]``.
    """
    if buffer < 2 * tokens:
        raise InputError(f"got a buffer of {buffer} tokens for batches of {tokens}; expected at least {2 * tokens}")
    draw, held = torch.Generator().manual_seed(seed), dict[str, Tensor]()
    for new in stream:
        held = {site: torch.cat([held[site], part]) if held else part for site, part in new.items()}
        size = len(next(iter(held.values())))
        if size < buffer:
            continue
        order = torch.randperm(size, generator=draw)
        held = {site: part[order.to(part.device)] for site, part in held.items()}
        batches = (size - buffer // 2) // tokens
        for start in range(0, batches * tokens, tokens):
            yield {site: part[start : start + tokens] for site, part in held.items()}
        held = {site: part[batches * tokens :] for site, part in held.items()}


# ---- kept on disk


def keep_part(hidden: Tensor, file: Path) -> None:
    """Keep activations ``[tokens, dim]`` in a file, float16; ValueError where one of them is too large for that."""
    half = hidden.half().cpu()
    if not half.isfinite().all():
        raise InputError(f"activations of up to {float(hidden.abs().max()):.3g}; float16 holds 65504 at most")
    atomic_write(file, save({"hidden": half.contiguous()}))


def read_part(file: Path) -> Tensor:
    """Map what :func:`keep_part` kept into memory: float16 ``[tokens, dim]``, read from the disk as it is used."""
    return load_file(file)["hidden"]


def epochs(files: Sequence[Path], tokens: int, seed: int = 0, window: int = WINDOW) -> Iterator[Tensor]:
    """Serve batches ``[tokens, dim]`` of kept activations for ever, every round in another order.

    Files are read in random order, as many at a time as fit into a window, and their tokens are shuffled; what is left
    of a window and is no whole batch is left out in this round.

    Args:
        files: as written by :func:`keep_part`.
        tokens: per batch.
        window: bytes that are held in memory, at least one file.
    """
    draw = torch.Generator().manual_seed(seed)
    together = max(1, window // max(file.stat().st_size for file in files))
    while True:
        order = [files[place] for place in torch.randperm(len(files), generator=draw).tolist()]
        for start in range(0, len(order), together):
            held = torch.cat([read_part(file) for file in order[start : start + together]])
            size = min(tokens, len(held))
            places = torch.randperm(len(held), generator=draw)
            for first in range(0, len(held) - size + 1, size):
                yield held[places[first : first + size]].float()


def pieces(hidden: Tensor | Iterable[Tensor], like: Tensor) -> Iterator[Tensor]:
    """Split activations, whole or in parts, into pieces of at most :data:`PIECE` tokens, of a tensor's kind."""
    for part in [hidden] if isinstance(hidden, Tensor) else hidden:
        for piece in part.split(PIECE):
            yield piece.to(like)
