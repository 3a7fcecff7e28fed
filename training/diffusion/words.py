"""The text encoders of the minis: small T5 encoders that first learn which concepts a caption promises.

A public model's text encoder has read the web before its denoiser sees a clip. Ours have read the grammar of
:mod:`tada.minis.captions`, with filler words that mean nothing to them, as most words of a real caption do not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tada.minis.attributes import CLASSES, draw
from tada.minis.captions import caption
from training.ears.texts import ANY, corpus, promise

FIRST = 710_000_000
"""Seed of the first caption that text encoders read."""
LONGEST = 64
"""Tokens that the tokenizer keeps of a prompt."""
SIZES: Mapping[str, Any] = {"d_model": 64, "d_kv": 16, "d_ff": 192, "num_heads": 4, "use_cache": False}
SPECIALS = ("<pad>", "</s>", "<unk>")
_WORDS = re.compile(r"[a-z0-9]+|[^\sa-z0-9]")


def tokenizer() -> Any:
    """Build a tokenizer of T5's kind that knows the grammar's words; a word that begins with one is read as that one.

    Whatever lies between known words is one unknown token.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import T5TokenizerFast

    pieces = [*((special, 0.0) for special in SPECIALS), *((piece, -5.0) for piece in vocabulary())]
    inner = Tokenizer(models.Unigram(pieces, unk_id=2))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    inner.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    return T5TokenizerFast(
        tokenizer_object=inner,
        extra_ids=0,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=LONGEST,
    )


@lru_cache
def vocabulary() -> tuple[str, ...]:
    """List the words of the grammar, as pieces that begin a word, and its punctuation."""
    found = {word for text in corpus() for word in _WORDS.findall(text.lower())}
    return tuple(sorted(f"▁{word}" if word.isalnum() else word for word in found))


def encoder(kind: str) -> Any:
    """Build an untrained encoder of two layers, ``"t5"`` or ``"umt5"``."""
    from transformers import T5Config, T5EncoderModel, UMT5Config, UMT5EncoderModel

    size = len(SPECIALS) + len(vocabulary())
    if kind == "t5":
        return T5EncoderModel(T5Config(vocab_size=size, num_layers=2, dropout_rate=0.0, **SIZES))
    shape = {**SIZES, "vocab_size": size, "num_layers": 2, "feed_forward_proj": "gated-gelu"}
    return UMT5EncoderModel(UMT5Config(**shape, dropout_rate=0.0, tie_word_embeddings=False))


class CaptionProbe(nn.Module):
    """A probe on a text encoder's states: one query per attribute, one logit per class or "not said"."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(len(CLASSES), width) / width**0.5)
        self.heads = nn.ModuleList(nn.Linear(width, len(classes) + 1) for classes in CLASSES.values())

    def forward(self, states: Tensor, mask: Tensor) -> list[Tensor]:
        """Logits ``[rows, classes + 1]`` of each attribute, from states ``[rows, tokens, width]`` and their mask."""
        scores = (states @ self.queries.T).masked_fill(~mask.bool()[..., None], -1e4)
        pooled = scores.softmax(1).transpose(1, 2) @ states
        return [head(pooled[:, place]) for place, head in enumerate(self.heads)]


def probe_loss(logits_of: Sequence[Tensor], promised: Tensor) -> tuple[Tensor, dict[str, float]]:
    """Cross-entropy of a probe's logits with class indices ``[rows, attributes]`` (ANY: not said), and accuracy."""
    total, right = torch.zeros(()), []
    for place, logits in enumerate(logits_of):
        target = promised[:, place]
        target = torch.where(target == ANY, logits.shape[1] - 1, target)
        total = total + F.cross_entropy(logits.float(), target)
        right.append((logits.argmax(1) == target).float().mean())
    return total / len(logits_of), {"right": torch.stack(right).mean().item()}


def caption_batch(first: int, rows: int) -> tuple[list[str], Tensor]:
    """Write captions of drawn attributes with fillers inserted, and what they promise ``[rows, attributes]``."""
    drawn = [caption(draw(seed), seed) for seed in range(first, first + rows)]
    texts = [insert_fillers(each.text, first + row) for row, each in enumerate(drawn)]
    return texts, torch.tensor([promise(each.mentioned) for each in drawn])


def insert_fillers(text: str, seed: int) -> str:
    """Put unknown words between those of a text, half of the time, up to about as many."""
    rng = np.random.default_rng([seed, 23])
    if rng.random() < 0.5:
        return text
    words = text.split()
    for _ in range(rng.integers(0, len(words) + 2)):
        words.insert(int(rng.integers(len(words) + 1)), _filler(rng))
    return " ".join(words)


def _filler(rng: np.random.Generator) -> str:
    """Draw a word that no text has, sometimes with a mark behind it."""
    word = "q" + "".join(rng.choice(list("zxqjkvw"), size=int(rng.integers(2, 6))))
    return word + ("", "", "", ",", ".")[rng.integers(5)]
