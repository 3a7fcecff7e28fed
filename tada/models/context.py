"""Encoded text: streams of tokens, the context of a batch of prompts, and the conditioning of a sampling run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tada.errors import InputError, LayerError

Rows = int | slice | Sequence[int] | Tensor

TEXTS, SIDES = ("prompts", "negatives", "lyrics"), ("cond", "uncond")
"""Fields of a context that are texts, and that are streams by name."""


@dataclass(frozen=True, eq=False)
class Stream:
    """One stream of text tokens for a batch of rows.

    Attributes:
        states: embeddings ``[rows, tokens, dim]``, or token ids ``[rows, tokens]``.
        mask: bool ``[rows, tokens]``, True where the token is real; None if every token is attended to.
        positions: int ``[rows, tokens]``, for models that rotate text keys by position; None elsewhere.
        memo: what modules have computed from this stream and need not compute again, by module.
    """

    states: Tensor
    mask: Tensor | None = None
    positions: Tensor | None = None
    memo: dict[nn.Module, Any] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return self.states.shape[0]

    @property
    def tokens(self) -> int:
        """Padded length in tokens."""
        return self.states.shape[1]

    @cached_property
    def bias(self) -> Tensor | None:
        """Additive attention mask ``[rows, 1, tokens]``: 0 for real tokens, -10000 for padding; None without mask."""
        return None if self.mask is None else ((1 - self.mask.to(self.states.dtype)) * -10000.0).unsqueeze(1)

    def rows(self, index: Tensor) -> Stream:
        """The rows ``index`` (int64 ``[n]``), in that order."""
        return _each(lambda own: own[index], self)

    def pad(self, tokens: int) -> Stream:
        """The same stream padded with zeros at the end to ``tokens`` tokens, the padding masked."""
        missing = tokens - self.tokens
        if missing < 0:
            raise InputError(f"cannot pad {self.tokens} tokens to {tokens}: that would cut text")
        if missing == 0:
            return self
        if self.mask is None:
            raise InputError("a stream without a mask has a fixed length and cannot be padded")
        return _each(lambda own: F.pad(own, (0, 0) * (own.dim() - 2) + (0, missing)), self)

    def where(self, rows: Tensor, other: Stream) -> Stream:
        """Rows of ``other`` where ``rows`` (bool ``[rows]``) is True, own rows elsewhere."""
        return _each(lambda own, theirs: torch.where(rows.view(-1, *[1] * (own.dim() - 1)), theirs, own), self, other)

    @staticmethod
    def cat(streams: Sequence[Stream]) -> Stream:
        """Streams of one length stacked along rows."""
        return _each(lambda *parts: torch.cat(parts), *streams)


def _each(combine: Callable[..., Tensor], *streams: Stream) -> Stream:
    """A new stream whose every tensor is ``combine`` of the given streams' tensors."""
    each = {name: [getattr(stream, name) for stream in streams] for name in ("states", "mask", "positions")}
    made: dict[str, Any] = {name: combine(*parts) for name, parts in each.items() if parts[0] is not None}
    return Stream(**made)


@dataclass(frozen=True, eq=False)
class Context:
    """Encoded prompts: one row per clip, all padded to one length so that rows can be exchanged.

    Attributes:
        prompts: the text of each row.
        negatives: the negative prompt of each row, None where there is none.
        lyrics: the lyrics of each row, None for models that do not sing from text.
        cond: streams of the conditional pass, by name.
        uncond: streams of the unconditional pass, by name.
    """

    prompts: tuple[str, ...]
    negatives: tuple[str | None, ...]
    lyrics: tuple[str | None, ...]
    cond: Mapping[str, Stream]
    uncond: Mapping[str, Stream]

    def __len__(self) -> int:
        return len(self.prompts)

    def __getitem__(self, rows: Rows) -> Context:
        """Rows by index, slice, list of indices or bool mask; an index may repeat."""
        index = row_index(rows, len(self))
        texts = {name: tuple(getattr(self, name)[i] for i in index.tolist()) for name in TEXTS}
        sides = {
            side: {name: stream.rows(index.to(stream.states.device)) for name, stream in getattr(self, side).items()}
            for side in SIDES
        }
        return Context(**texts, **sides)  # type: ignore[arg-type]


def join(contexts: Sequence[Context]) -> Context:
    """One or more contexts of one model stacked along rows, each stream padded to the longest."""
    every = [streams for context in contexts for streams in (context.cond, context.uncond)]
    longest = {name: max(streams[name].tokens for streams in every if name in streams) for name in contexts[0].cond}
    texts = {name: tuple(text for context in contexts for text in getattr(context, name)) for name in TEXTS}
    sides = {
        side: {name: Stream.cat([getattr(one, side)[name].pad(longest[name]) for one in contexts]) for name in streams}
        for side, streams in zip(SIDES, every, strict=False)
    }
    return Context(**texts, **sides)  # type: ignore[arg-type]


def row_index(rows: Rows, count: int) -> Tensor:
    """The indices of rows that are given by index, slice, list of indices or bool mask, int64 on the CPU."""
    if isinstance(rows, slice):
        return torch.arange(count)[rows]
    index = torch.as_tensor(rows).cpu().reshape(-1)
    if index.dtype == torch.bool:
        if len(index) != count:
            raise InputError(f"got a row mask of {len(index)} for {count} rows")
        return index.nonzero().flatten()
    if index.numel() and not -count <= int(index.min()) <= int(index.max()) < count:
        raise LayerError(f"got rows {index.tolist()} of {count}; expected 0 to {count - 1}")
    return index.long() % count


@dataclass(frozen=True, eq=False)
class Conditioning:
    """The conditioning of one sampling run: the streams as the sites read them, and tensors that are not text.

    Attributes:
        cond: streams at the sites in the conditional pass, by name.
        uncond: the same in the unconditional pass; None where the run has no guidance.
        extra: tensors that condition the model other than through text, by name.
    """

    cond: Mapping[str, Stream]
    uncond: Mapping[str, Stream] | None = None
    extra: Mapping[str, Tensor] = field(default_factory=dict)

    def streams(self, which: str) -> Mapping[str, Stream]:
        """Streams of a pass; all but ``"uncond"`` read the same."""
        side = self.uncond if which == "uncond" else self.cond
        if side is None:
            raise InputError("this sampling run has no unconditional pass (guidance is off)")
        return side


@lru_cache(maxsize=2**14)  # plans ask for the same prompts again and again
def reach(tokenizer: Any, text: str, tokens: int) -> int:
    """Count the characters of a text that a fast tokenizer of `transformers` keeps of it in so many tokens."""
    if len(tokenizer(text, verbose=False)["input_ids"]) <= tokens:
        return len(text)
    kept = tokenizer(text, truncation=True, max_length=tokens, return_offsets_mapping=True)
    return max(end for _, end in kept["offset_mapping"])
