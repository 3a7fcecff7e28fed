"""The lyric encoder of ACE-Step v1: a transformer with relative positions over lyric tokens."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ERG_SCALE = 0.01
"""Factor on attention queries that entropy rectifying guidance (ERG) weakens."""


class RelativeAttention(nn.Module):
    """Full attention whose scores also depend on the distance between tokens (Transformer-XL)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.linear_q, self.linear_k, self.linear_v, self.linear_out = (nn.Linear(dim, dim) for _ in range(4))
        self.linear_pos = nn.Linear(dim, dim, bias=False)
        self.pos_bias_u, self.pos_bias_v = (nn.Parameter(torch.randn(heads, dim // heads) * 0.1) for _ in range(2))

    def forward(self, hidden: Tensor, mask: Tensor, distances: Tensor, query_scale: float = 1.0) -> Tensor:
        """``hidden`` ``[B, M, D]``, key mask ``[B, M]``, waves ``[2M - 1, D]`` of distances M-1 down to 1-M."""
        projected = self.linear_q(hidden) * query_scale, self.linear_k(hidden), self.linear_v(hidden)
        heads = (
            x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (*projected, self.linear_pos(distances)[None])
        )
        q, k, v, p = heads
        by_distance = (q + self.pos_bias_v[:, None]) @ p.transpose(-1, -2)
        bias = _shift(by_distance) / math.sqrt(q.shape[-1])
        bias = bias.masked_fill(~mask[:, None, None], torch.finfo(bias.dtype).min)
        out = F.scaled_dot_product_attention(q + self.pos_bias_u[:, None], k, v, attn_mask=bias)
        out = out * mask.any(dim=1)[:, None, None, None]
        return self.linear_out(out.transpose(1, 2).flatten(-2))


def _shift(scores: Tensor) -> Tensor:
    """Scores ``[..., M, 2M - 1]`` by distance (M-1 first) to scores ``[..., M, M]`` by key."""
    count = scores.shape[-2]
    token = torch.arange(count, device=scores.device)
    index = token[None] - token[:, None] + count - 1
    return scores.gather(-1, index.expand(*scores.shape[:-1], count))


class LyricLayer(nn.Module):
    """Pre-norm attention and feed-forward, each with a residual."""

    def __init__(self, dim: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm_mha, self.norm_ff = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.self_attn = RelativeAttention(dim, heads)
        layers = OrderedDict(w_1=nn.Linear(dim, hidden), silu=nn.SiLU(), w_2=nn.Linear(hidden, dim))
        self.feed_forward = nn.Sequential(layers)

    def forward(self, x: Tensor, mask: Tensor, distances: Tensor, query_scale: float) -> Tensor:
        x = x + self.self_attn(self.norm_mha(x), mask, distances, query_scale)
        return x + self.feed_forward(self.norm_ff(x))


class LyricEncoder(nn.Module):
    """Lyric embeddings to contextual states."""

    def __init__(self, dim: int = 1024, layers: int = 6, heads: int = 16, hidden: int = 4096) -> None:
        super().__init__()
        self.embed = nn.Sequential(OrderedDict(out=nn.Sequential(nn.Linear(dim, dim), nn.LayerNorm(dim))))
        self.encoders = nn.ModuleList(LyricLayer(dim, heads, hidden) for _ in range(layers))
        self.after_norm = nn.LayerNorm(dim)

    def forward(self, embeddings: Tensor, mask: Tensor, weak_layers: Collection[int] = ()) -> Tensor:
        """Embeddings ``[B, M, D]`` and bool mask ``[B, M]`` (a row may have no real token) to states ``[B, M, D]``.

        The queries of ``weak_layers`` are weakened (ERG).
        """
        x = self.embed(embeddings) * math.sqrt(embeddings.shape[-1])
        distances = waves(x.shape[1], x.shape[2], x.device).to(x.dtype)
        for index, layer in enumerate(self.encoders):
            x = layer(x, mask, distances, ERG_SCALE if index in weak_layers else 1.0)
        return self.after_norm(x)


def waves(count: int, dim: int, device: torch.device) -> Tensor:
    """Sines and cosines ``[2 count - 1, dim]`` of the distances count-1 down to 1-count."""
    distance = torch.arange(count - 1, -count, -1, device=device, dtype=torch.float32)
    rates = 10000 ** (-torch.arange(0, dim, 2, device=device, dtype=torch.float32) / dim)
    angles = distance[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)
