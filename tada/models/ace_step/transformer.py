"""The ACE-Step v1 denoiser: linear self-attention, cross-attention and gated convolutions over latent frames.

Symbols: B rows, C latent channels, R latent bins (16), T latent frames, S text tokens, D model width, H heads,
d head width. Parameter names and shapes at `TransformerConfig()` are those of the public checkpoint.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tada.errors import InputError
from tada.models.ace_step.convolution import Convolution
from tada.models.ace_step.lyrics import ERG_SCALE, LyricEncoder
from tada.models.context import Stream


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes of the denoiser; the defaults are the public 3.5B checkpoint's.

    Attributes named as in the public config.json keep its meaning; `patch_hidden_size`, `patch_norm_groups` and
    `lyric_{layers,heads,ff_size}` are ours (fixed upstream), and `lyric_hidden_size` is really the width.
    """

    in_channels: int = 8
    out_channels: int = 8
    patch_size: tuple[int, int] = (16, 1)
    num_layers: int = 24
    inner_dim: int = 2560
    num_attention_heads: int = 20
    attention_head_dim: int = 128
    mlp_ratio: float = 2.5
    rope_theta: float = 1e6
    text_embedding_dim: int = 768
    speaker_embedding_dim: int = 512
    lyric_encoder_vocab_size: int = 6693
    lyric_hidden_size: int = 1024
    lyric_layers: int = 6
    lyric_heads: int = 16
    lyric_ff_size: int = 4096
    patch_hidden_size: int = 2048
    patch_norm_groups: int = 32

    def __post_init__(self) -> None:
        if self.num_attention_heads * self.attention_head_dim != self.inner_dim or self.patch_size[1] != 1:
            raise InputError(f"got {self}; expected inner_dim = heads * attention_head_dim, and patches one frame wide")


Rotary = tuple[Tensor, Tensor]


def rotary_table(positions: Tensor, dim: int, theta: float, dtype: torch.dtype) -> Rotary:
    """Cosines and sines ``[..., dim]`` of integer ``positions`` ``[...]``, in two equal halves."""
    frequencies = theta ** (-torch.arange(0, dim, 2, device=positions.device, dtype=torch.float32) / dim)
    angles = positions[..., None].float() * frequencies
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def rotate(x: Tensor, table: Rotary) -> Tensor:
    """Rotate neighbouring pairs of ``x`` ``[B, H, T, d]`` by tables ``[T, d]`` or ``[B, 1, T, d]``.

    The checkpoint's own rule: partners are neighbours, yet each takes the angle of its own place in a table of two
    equal halves, so a pair turns by two different angles.
    """
    cos, sin = (part.float() for part in table)
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    partners = torch.stack([-odd, even], dim=-1).flatten(-2)
    return (x.float() * cos + partners * sin).to(x.dtype)


def rms_norm(x: Tensor) -> Tensor:
    """Root-mean-square norm over the last axis, without weight."""
    return F.rms_norm(x, x.shape[-1:], eps=1e-6)


class _Attention(nn.Module):
    """Query, key, value and output projections shared by both kinds of attention."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = (nn.Linear(dim, dim) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(dim, dim)])

    def split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def merge(self, x: Tensor) -> Tensor:
        return self.to_out[0](x.transpose(1, 2).flatten(-2))


class SelfAttention(_Attention):
    """Linear attention with ReLU features over all frames, in float32."""

    def forward(self, hidden: Tensor, rotary: Rotary) -> Tensor:
        """Attend ``hidden`` ``[B, T, D]`` to itself."""
        q, k, v = (self.split(project(hidden)) for project in (self.to_q, self.to_k, self.to_v))
        q, k = F.relu(rotate(q, rotary)).float(), F.relu(rotate(k, rotary)).float()
        total = (q * k.sum(dim=2, keepdim=True)).sum(dim=-1, keepdim=True)
        out = q @ (k.transpose(-1, -2) @ v.float()) / (total + 1e-15)
        return self.merge(out.clamp(-65504, 65504).to(hidden.dtype))


class CrossAttention(_Attention):
    """Softmax attention from frames to text tokens; one such module is one site."""

    def __init__(self, dim: int, heads: int, theta: float) -> None:
        super().__init__(dim, heads)
        self.theta = theta

    def forward(self, hidden: Tensor, encoder: Stream, rotary: Rotary, query_scale: float = 1.0) -> Tensor:
        """Return what the block adds to its hidden states ``[B, T, D]``.

        Args:
            encoder: states ``[B, S, D]``, mask and positions ``[B, S]``; keys turn by its positions.
            rotary: table of the frames, ``[T, d]`` each.
            query_scale: factor on the queries.
        """
        keys, values = self.keys_values(encoder)
        mask = None if encoder.mask is None else encoder.mask.bool()[:, None, None]
        queries = rotate(self.split(self.to_q(hidden) * query_scale), rotary)
        out = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        return self.merge(out)

    def keys_values(self, encoder: Stream) -> tuple[Tensor, Tensor]:
        """Keys and values ``[B, H, S, d]``, computed once per stream unless gradients flow."""
        if self in encoder.memo:
            return encoder.memo[self]
        positions = stream_positions(encoder)[:, None]
        states, width = encoder.states, encoder.states.shape[-1] // self.heads
        keys = rotate(self.split(self.to_k(states)), rotary_table(positions, width, self.theta, states.dtype))
        pair = keys, self.split(self.to_v(states))
        if not keys.requires_grad:
            encoder.memo[self] = pair
        return pair


class GatedConv(nn.Module):
    """Feed-forward: expand, mix three neighbouring frames per channel, gate, contract."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        depthwise = Convolution(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden)
        self.inverted_conv = nn.Sequential(OrderedDict(conv=Convolution(dim, 2 * hidden, 1)))
        self.depth_conv = nn.Sequential(OrderedDict(conv=depthwise))
        self.point_conv = nn.Sequential(OrderedDict(conv=Convolution(hidden, dim, 1, bias=False)))

    def forward(self, hidden: Tensor) -> Tensor:
        """``[B, T, D]`` to ``[B, T, D]``."""
        x = self.depth_conv(F.silu(self.inverted_conv(hidden.transpose(1, 2))))
        values, gates = x.chunk(2, dim=1)
        return self.point_conv(values * F.silu(gates)).transpose(1, 2)


class Block(nn.Module):
    """One transformer block: gated self-attention, plain cross-attention, gated feed-forward."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        dim, heads = config.inner_dim, config.num_attention_heads
        self.attn = SelfAttention(dim, heads)
        self.cross_attn = CrossAttention(dim, heads, config.rope_theta)
        self.ff = GatedConv(dim, int(dim * config.mlp_ratio))
        self.scale_shift_table = nn.Parameter(torch.randn(6, dim) / math.sqrt(dim))

    def forward(self, hidden: Tensor, time: Tensor, encoder: Stream, rotary: Rotary, query_scale: float) -> Tensor:
        """``hidden`` ``[B, T, D]`` under time vectors ``[B, 6, D]`` and the text ``encoder``."""
        shift1, scale1, gate1, shift2, scale2, gate2 = (self.scale_shift_table + time).split(1, dim=1)
        hidden = hidden + gate1 * self.attn(rms_norm(hidden) * (1 + scale1) + shift1, rotary)
        hidden = hidden + self.cross_attn(hidden, encoder=encoder, rotary=rotary, query_scale=query_scale)
        return hidden + gate2 * self.ff(rms_norm(hidden) * (1 + scale2) + shift2)


def patch_embed(config: TransformerConfig) -> nn.Module:
    """Latents ``[B, C, R, T]`` to ``[B, D, 1, T]``; the GroupNorm takes statistics over all frames of a row."""
    hidden, patch = config.patch_hidden_size, config.patch_size
    first, last = nn.Conv2d(config.in_channels, hidden, patch, stride=patch), nn.Conv2d(hidden, config.inner_dim, 1)
    layers = nn.Sequential(first, nn.GroupNorm(config.patch_norm_groups, hidden, eps=1e-6), last)
    return nn.Sequential(OrderedDict(early_conv_layers=layers))


class TimestepEmbedder(nn.Module):
    """Noise level to a vector."""

    def __init__(self, dim: int, waves: int = 256) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(waves, dim), nn.Linear(dim, dim)

    def forward(self, timestep: Tensor) -> Tensor:
        """``timestep`` ``[B]`` in 0..1000 to ``[B, D]``."""
        half = self.linear_1.in_features // 2
        rates = torch.exp(-math.log(10000) / half * torch.arange(half, device=timestep.device, dtype=torch.float32))
        angles = timestep.float()[:, None] * rates
        waves = torch.cat([angles.cos(), angles.sin()], dim=-1).to(self.linear_1.weight.dtype)
        return self.linear_2(F.silu(self.linear_1(waves)))


class FinalLayer(nn.Module):
    """Tokens back to latent frames."""

    def __init__(self, dim: int, bins: int, channels: int) -> None:
        super().__init__()
        self.bins = bins
        self.linear = nn.Linear(dim, bins * channels)
        self.scale_shift_table = nn.Parameter(torch.randn(2, dim) / math.sqrt(dim))

    def forward(self, hidden: Tensor, time: Tensor) -> Tensor:
        """``hidden`` ``[B, T, D]`` and time vector ``[B, D]`` to ``[B, C, R, T]``."""
        shift, scale = (self.scale_shift_table + time[:, None]).split(1, dim=1)
        out = self.linear(rms_norm(hidden) * (1 + scale) + shift)
        return out.unflatten(-1, (self.bins, -1)).permute(0, 3, 2, 1)


class AceStepTransformer(nn.Module):
    """The denoiser of ACE-Step v1: `encode` text and lyrics once, then predict velocities."""

    config_class = TransformerConfig

    def __init__(self, config: TransformerConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or TransformerConfig()
        dim, lyric_dim = config.inner_dim, config.lyric_hidden_size
        self.proj_in = patch_embed(config)
        self.timestep_embedder = TimestepEmbedder(dim)
        self.t_block = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim))
        self.speaker_embedder = nn.Linear(config.speaker_embedding_dim, dim)
        self.genre_embedder = nn.Linear(config.text_embedding_dim, dim)
        self.lyric_embs = nn.Embedding(config.lyric_encoder_vocab_size, lyric_dim)
        self.lyric_encoder = LyricEncoder(lyric_dim, config.lyric_layers, config.lyric_heads, config.lyric_ff_size)
        self.lyric_proj = nn.Linear(lyric_dim, dim)
        self.transformer_blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.final_layer = FinalLayer(dim, config.patch_size[0], config.out_channels)

    @property
    def sites(self) -> list[str]:
        """Dotted names of the cross-attention modules, in forward order."""
        return [f"transformer_blocks.{i}.cross_attn" for i in range(len(self.transformer_blocks))]

    def encode(
        self, text: Stream, lyrics: Stream, speaker: Tensor | None = None, weak_lyrics: Collection[int] = ()
    ) -> Stream:
        """Encode what cross-attention reads: speaker, text and lyrics in one sequence.

        Args:
            text: states ``[B, L, text_dim]`` and mask; positions count valid tokens unless the stream has its own.
            lyrics: token ids ``[B, M]`` and mask.
            speaker: ``[B, speaker_dim]``; None is zeros, all that the public checkpoint supports.
            weak_lyrics: lyric encoder layers with weakened queries (ERG).

        Returns:
            A stream of ``1 + L + M`` tokens of width D.
        """
        if speaker is None:
            speaker = text.states.new_zeros(len(text), self.config.speaker_embedding_dim)
        sung = self.lyric_encoder(self.lyric_embs(lyrics.states), stream_mask(lyrics), weak_lyrics)
        voice = self.speaker_embedder(speaker)[:, None]
        states = torch.cat([voice, self.genre_embedder(text.states), self.lyric_proj(sung)], dim=1)
        first = torch.zeros(len(text), 1, dtype=torch.long, device=states.device)
        told = stream_positions(text) + 1
        positions = torch.cat([first, told, stream_positions(lyrics) + told.amax(1, keepdim=True) + 1], dim=1)
        return Stream(states, torch.cat([first == 0, stream_mask(text), stream_mask(lyrics)], dim=1), positions)

    def forward(self, latents: Tensor, timestep: Tensor, encoder: Stream, weak_blocks: Collection[int] = ()) -> Tensor:
        """Velocity (noise minus data) at one noise level.

        Args:
            latents: ``[B, C, R, T]``, as is what it returns.
            timestep: ``[B]`` in 0..1000, which is 1000 sigma.
            encoder: from `encode`.
            weak_blocks: blocks with weakened cross-attention queries (ERG).
        """
        time = self.timestep_embedder(timestep)
        vectors = self.t_block(time).unflatten(-1, (6, -1))
        hidden = self.proj_in(latents).flatten(2).transpose(1, 2)
        frames, config = torch.arange(hidden.shape[1], device=hidden.device), self.config
        rotary = rotary_table(frames, config.attention_head_dim, config.rope_theta, hidden.dtype)
        for index, block in enumerate(self.transformer_blocks):
            scale = ERG_SCALE if index in weak_blocks else 1.0
            hidden = block(hidden, vectors, encoder, rotary, scale)
        return self.final_layer(hidden, time)


def stream_mask(stream: Stream) -> Tensor:
    """The stream's mask as bool ``[B, tokens]``, all True where it has none."""
    if stream.mask is None:
        return torch.ones(stream.states.shape[:2], dtype=torch.bool, device=stream.states.device)
    return stream.mask.bool()


def stream_positions(stream: Stream) -> Tensor:
    """Positions ``[B, tokens]``: the stream's own, else the count of valid tokens before each."""
    if stream.positions is not None:
        return stream.positions
    return (stream_mask(stream).long().cumsum(dim=1) - 1).clamp(min=0)
