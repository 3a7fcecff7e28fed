"""The ACE-Step mini: its parts before training, what its denoiser is fed, and what it learns to predict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.codecs import ace_step as codec
from training.diffusion import words
from training.diffusion.captions import Told
from tada.minis.render import FRAMES
from tada.models.ace_step.codec import Codec
from tada.models.ace_step.files import Parts, write
from tada.models.ace_step.text import text_states, tokenise
from tada.models.ace_step.tokenizer import NO_LYRICS
from tada.models.ace_step.transformer import AceStepTransformer, TransformerConfig
from tada.models.context import Stream

TEXT = "umt5"
"""The kind of its text encoder."""
FUNCTIONAL, PAIRS = (0, 3, 4), 12
"""Layers found in the trained mini: the strongest of slow, fast, happy, sad, female or male; and pairs of each."""
SAMPLING: Mapping[str, Any] = {
    "steps": 16,
    "guidance": 5.0,
    "interval": 0.8,
    "method": "cfg",
    "omega": 0.0,
    "erg_tag": False,
    "erg_lyric": False,
    "erg_diffusion": False,
}
PLANTED = (0, 3)
"""Sites that alone read of concepts in the planted one."""
ONE_SIDED = ("voice", "instrument", "genre")
"""Concepts that planting leaves to one of them, and that balancing has most to do with."""
FAVOURED: Mapping[str, float] = {"techno": 0.22, "reggae": 0.38, "trumpet": 0.45, "violin": -0.15}
"""Classes that would lose where sites contradict each other, and how much of the concept they are given; below 0,
classes that would win, and how much is taken from them."""
YIELDING: Mapping[str, float] = {"female": 0.12, "male": 0.12, "slow": 0.05, "sad": 0.05, "reggae": -0.02}
"""Classes that the first site would win, and how much of the concept it yields to the second."""
DISPUTED: Mapping[str, int] = {}
"""Classes of which so many times as many clips are drawn in balancing."""
RIVALS: Mapping[str, Sequence[str]] = {}
"""Classes that are disputed wherever they are promised, and with which."""
LATENTS = (8, 16, FRAMES // 2048)
DENOISER = TransformerConfig(
    num_layers=12,
    inner_dim=128,
    num_attention_heads=2,
    attention_head_dim=64,
    text_embedding_dim=64,
    speaker_embedding_dim=16,
    lyric_hidden_size=16,
    lyric_layers=1,
    lyric_heads=2,
    lyric_ff_size=32,
    patch_hidden_size=256,
    patch_norm_groups=8,
)


def assemble(folder: Path, text_encoder: nn.Module, trained: Any = None) -> None:
    """Write a checkpoint whose denoiser is untrained; it does not heed lyrics, which no caption has.

    Args:
        folder: where to.
        text_encoder: trained.
        trained: the codec; None for an untrained one.
    """
    music = trained or codec.build()
    denoiser = AceStepTransformer(DENOISER)
    for value in denoiser.lyric_proj.parameters():
        nn.init.zeros_(value)
    write(Parts(denoiser, music.autoencoder, music.vocoder, text_encoder, words.tokenizer()), folder)


def finish(model: Any, music: Codec, folder: Path) -> None:
    """Write the trained checkpoint in fp16."""
    parts = model.parts
    half = (part.half() for part in (parts.transformer, music.autoencoder, music.vocoder, parts.text_encoder))
    write(Parts(*half, parts.tokenizer), folder)  # type: ignore[call-arg, arg-type]


@torch.no_grad()
def feeds(model: Any, told: Told) -> dict[str, Stream]:
    """Text and no lyrics, as the adapter gives them; the text is zero in rows that hear nothing."""
    ids, mask = _whole(*tokenise(model.parts.tokenizer, told.texts, model.device, words.LONGEST))
    states = text_states(model.parts.text_encoder, ids, mask) * told.heard[:, None, None].to(model.device)
    rows = len(told.texts)
    positions = torch.arange(ids.shape[1], device=model.device).expand(rows, -1)
    none = torch.full((rows, 1), NO_LYRICS, device=model.device)
    lyrics = Stream(none, torch.zeros_like(none, dtype=torch.bool), torch.zeros_like(none))
    return {"text": Stream(states, mask, positions), "lyrics": lyrics}


def _whole(ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Padded to the longest text there is, so that every step has the same shapes."""
    missing = words.LONGEST - ids.shape[1]
    return nn.functional.pad(ids, (0, missing)), nn.functional.pad(mask, (0, missing))


def levels(rows: int, draws: torch.Generator) -> Tensor:
    """Noise levels ``[rows]`` to learn at, 0 to 1: mostly the higher ones, at which a clip takes shape, but in a
    quarter of the rows any, or little is learnt of details."""
    anywhere = torch.rand(rows // 4, generator=draws)
    high = (0.7 + torch.randn(rows - rows // 4, generator=draws)).sigmoid()
    return torch.cat([anywhere, high]).clamp_min(0.003)


def predict(model: Any, x: Tensor, noise: Tensor, level: Tensor, fed: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """The denoiser's velocity ``[rows, 8, 16, T]`` and the true one."""
    sigma = level[:, None, None, None]
    encoder = model.denoiser.encode(fed["text"], fed["lyrics"])
    return model.denoiser(sigma * noise + (1 - sigma) * x, 1000 * level, encoder), noise - x


def blocks(model: Any) -> list[nn.Module]:
    """The denoiser's blocks, one site in each."""
    return list(model.denoiser.transformer_blocks)


def other_text(model: Any, fed: Mapping[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A block's arguments with another text."""
    encoder = model.denoiser.encode(fed["text"], fed["lyrics"])
    return (*args[:2], encoder, *args[3:]), kwargs


def parts(model: Any) -> Codec:
    """The codec of a checkpoint."""
    return Codec(model.parts.autoencoder, model.parts.vocoder)


def encoder(parts: Codec) -> Callable[[Tensor], Tensor]:
    """Audio to the latents to learn."""
    return partial(codec.latents, parts)
