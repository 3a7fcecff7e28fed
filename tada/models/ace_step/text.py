"""Prompts to text states with UMT5, plain or weakened (ERG)."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from tada.models.ace_step.lyrics import ERG_SCALE

MAX_TOKENS = 256


def tokenise(
    tokenizer: Any, prompts: list[str], device: torch.device | str = "cpu", longest: int = MAX_TOKENS
) -> tuple[Tensor, Tensor]:
    """Token ids and bool mask ``[B, L]`` of prompts, padded to the longest of them and cut at ``longest``."""
    batch = tokenizer(prompts, padding=True, truncation=True, max_length=longest, return_tensors="pt")
    return batch["input_ids"].to(device), batch["attention_mask"].to(device).bool()


def text_states(encoder: Any, ids: Tensor, mask: Tensor, weak_blocks: Collection[int] = ()) -> Tensor:
    """Text states ``[B, L, text_dim]`` of ids and mask ``[B, L]``; ``weak_blocks`` have weakened queries (ERG)."""
    with ExitStack() as hooks:
        for index in weak_blocks:
            queries = encoder.encoder.block[index].layer[0].SelfAttention.q
            hooks.callback(queries.register_forward_hook(lambda _, __, output: output * ERG_SCALE).remove)
        return encoder(input_ids=ids, attention_mask=mask.long()).last_hidden_state
