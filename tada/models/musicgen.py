"""MusicGen: a language model over the codes of an audio codec, a frame at a time, that reads T5 text."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from tada.arguments import integer, number
from tada.errors import CheckpointError, InputError
from tada.models import hub, phase
from tada.models.base import Model
from tada.models.context import Context, Stream
from tada.models.phase import PhaseStage
from tada.models.pipeline import quiet_loading
from tada.models.run import Latents, Pass, Sampling, SamplingState, guided, whole_frames

FILES = ["*.json", "*.safetensors", "spiece.model"]


@dataclass(frozen=True)
class MusicGenSampling(Sampling):
    """The settings of MusicGen's sampling; the defaults are those of its authors' code (of `transformers` top-k 50).

    Attributes:
        steps: frames that are generated. The length of the clip says how many: what is given here is not read, a
            clip's record tells the number.
        guidance: scale; 1 and below means no guidance.
        top_k: codes to choose from in each codebook, the likeliest; 1 is greedy.
    """

    most_steps: ClassVar[int] = 1_000_000
    guidance: float = 3.0
    top_k: int = 250

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "top_k", integer("top_k", self.top_k, 1))


class Parts(NamedTuple):
    """The networks, the tokenizer of the text encoder, and what makes sound where the codec ends at spectra."""

    network: Any
    tokenizer: Any
    phase: PhaseStage | None = None


class MusicGen(Model):
    """``MusicgenForConditionalGeneration`` behind the protocol; one stream, ``"text"``.

    A step is a frame, for which sites put out one token. Each codebook lags a step behind the one before: step ``s``
    generates frame ``s - k`` of codebook ``k``, and the last frame takes as many steps more as there are codebooks but
    one. Latents are the codes, ``[rows, codebooks, frames]`` as float32. Of noise only the seeds are read: each step
    draws from them the noise of its choices.
    """

    name, draws_tokens = "musicgen", True
    presets: Mapping[str, Sampling] = dict.fromkeys(("default", "localisation", "steering"), MusicGenSampling())
    projections: ClassVar = {"keys": "k_proj", "values": "v_proj"}

    def __init__(self, parts: Parts, device: torch.device, about: hub.About) -> None:
        super().__init__(device, about)
        self.network = parts.network.to(device).eval().requires_grad_(False)
        self.tokenizer = parts.tokenizer
        self.denoiser: nn.Module = self.network.decoder.model.decoder
        self.config: Any = self.network.decoder.config
        self.dtype = self.network.dtype
        self.residuals = tuple(f"layers.{layer}" for layer in range(self.config.num_hidden_layers))
        self.sites = tuple(f"{layer}.encoder_attn" for layer in self.residuals)
        self.streams = dict.fromkeys(self.sites, "text")
        self.codec, sizes = self.network.audio_encoder, self.network.config.audio_encoder
        self.phase = parts.phase.to(device) if parts.phase else None
        self.sample_rate = self.phase.config.sampling_rate if self.phase else sizes.sampling_rate
        hop = math.prod(sizes.upsampling_ratios) * (self.phase.hop if self.phase else 1)
        self.frame_rate = self.sample_rate / hop

    @classmethod
    def find(cls, checkpoint: str) -> Path:
        from huggingface_hub import snapshot_download

        path = hub.folder(checkpoint, partial(snapshot_download, allow_patterns=FILES), "config.json")
        kind = hub.read_json(path / "config.json").get("model_type")
        if kind != "musicgen":
            raise CheckpointError(
                f"{path} holds a {kind}, expected a musicgen (musicgen_melody has no cross-attention)"
            )
        hub.check(path, {"": "config.json"})
        return path

    @classmethod
    def read(cls, folder: Path, dtype: torch.dtype) -> Parts:
        from transformers import MusicgenForConditionalGeneration, T5TokenizerFast

        with quiet_loading():
            network = hub.read_part(MusicgenForConditionalGeneration, folder, "", dtype)
            return Parts(network, T5TokenizerFast.from_pretrained(folder), phase.read(folder))

    # ---- text

    def encode_one(self, prompt: str, negative: str | None, lyrics: str | None) -> Context:
        if lyrics is not None:
            raise InputError("MusicGen does not sing from lyrics; leave lyrics out")
        cond, uncond = self._text(prompt), self._text(negative or "", negative is not None)
        return Context((prompt,), (negative,), (None,), {"text": cond}, {"text": uncond})

    def _text(self, prompt: str, is_read: bool = True) -> Stream:
        read = self.tokenizer(prompt, truncation=True, return_tensors="pt").to(self.device)
        states = self.network.text_encoder(read.input_ids, read.attention_mask).last_hidden_state
        states = getattr(self.network, "enc_to_dec_proj", nn.Identity())(states)
        return Stream(states * is_read, read.attention_mask.bool() & is_read)

    def tokenizers(self, sampling: Sampling) -> Sequence[tuple[Any, int]]:
        return [(self.tokenizer, self.tokenizer.model_max_length)]

    def site_inputs(self, stream: Stream) -> dict[str, Any]:
        assert stream.bias is not None
        cached = {"past_key_values": self.cached(stream, new_cache())}
        return {"key_value_states": stream.states, "attention_mask": stream.bias[:, None], **cached}

    def cached(self, stream: Stream, frames: Any) -> Any:
        """Keys and values of what was generated, ``frames``, with those of a stream, which are computed once."""
        from transformers import EncoderDecoderCache

        return EncoderDecoderCache(frames, stream.memo.setdefault(self.denoiser, new_cache()))

    def site_width(self, site: str) -> int:
        return int(self.config.hidden_size)

    # ---- sampling

    def settled(self, sampling: Sampling, seconds: float) -> Sampling:
        codebooks, frames = self.noise_shape(seconds)
        return replace(sampling, steps=frames + codebooks // self.config.audio_channels - 1)

    def noise_shape(self, seconds: float) -> tuple[int, ...]:
        codebooks, positions = self.config.num_codebooks, self.config.max_position_embeddings
        number("seconds", seconds, codebooks / self.frame_rate, (positions - codebooks) / self.frame_rate)
        return codebooks, whole_frames(seconds * self.frame_rate)

    def draw(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        return torch.randint(self.config.vocab_size, shape, generator=generator).float()

    def denoise_loop(self, noise: Latents, run: SamplingState) -> Iterator[Tensor]:
        assert isinstance(run.sampling, MusicGenSampling)
        broken = torch.zeros(run.rows, dtype=torch.bool, device=self.device)
        caches: dict[tuple[Pass, ...], Any] = defaultdict(new_cache)
        draws = [torch.Generator().manual_seed(seed) for seed in noise.seeds]
        pad, length = self.config.pad_token_id, run.sampling.steps + 1
        first = torch.full((run.rows * self.config.num_codebooks, 1), pad, device=self.device)
        _, tokens = self.network.decoder.build_delay_pattern_mask(first, pad, length)
        is_free = tokens == -1
        for step in range(run.sampling.steps):
            ask = partial(self.logits, tokens[:, : step + 1], caches, run)
            logits = self.live.guide(guided(ask, run, ("cond", "uncond")), partial(ask, ("positive", "negative")))
            broken |= ~logits.isfinite().flatten(1).all(1)
            chosen = choose(logits, draws, run.sampling.top_k).flatten()
            tokens[:, step + 1] = torch.where(is_free[:, step + 1], chosen, tokens[:, step + 1])
            yield tokens[is_free].view(noise.values.shape).float().masked_fill(broken.view(-1, 1, 1), math.nan)

    def logits(
        self, tokens: Tensor, caches: Mapping[tuple[Pass, ...], Any], run: SamplingState, passes: tuple[Pass, ...]
    ) -> Tensor:
        """Logits ``[rows * passes, codebooks, codes]`` of what follows ``tokens`` ``[rows * codebooks, steps]``."""
        run.enter(tokens.shape[1] - 1, passes)
        text, frames = run.stream("text"), caches[passes]
        fresh = tokens[:, frames.get_seq_length() :].repeat(len(passes), 1)
        asked = {"encoder_hidden_states": text.states, "encoder_attention_mask": text.mask}
        found = self.network.decoder(fresh, **asked, past_key_values=self.cached(text, frames)).logits[:, -1]
        return found.float().view(len(passes) * run.rows, self.config.num_codebooks, -1)

    # ---- audio

    def to_audio(self, latents: Latents) -> Tensor:
        is_code = (latents.values >= 0) & (latents.values < self.config.vocab_size)
        if not is_code.all():
            rows = (~is_code).flatten(1).any(1).nonzero().flatten().tolist()
            raise InputError(f"got latents that are no codes, rows {rows}; expected 0 to {self.config.vocab_size - 1}")
        codes = latents.values.long()
        if self.phase:
            image = self.codec.decoder(self.codec.quantizer.decode(codes.transpose(0, 1)))
            return self.phase.audio(image[:, :, None])[:, None]
        channels = self.config.audio_channels
        sides = [codes[None, :, channel::channels] for channel in range(channels)]
        return torch.cat([self.codec.decode(side, [None]).audio_values for side in sides], dim=1)

    def to_latents(self, audio: Tensor) -> Tensor:
        if self.phase:
            image = self.phase.image(audio[:, 0], self.phase.hop)[:, :, 0]
            return self.codec.quantizer.encode(self.codec.encoder(image)).transpose(0, 1).float()
        codes = self.codec.encode(audio).audio_codes[0]
        return codes.repeat_interleave(self.config.audio_channels, dim=1).float()


def new_cache() -> Any:
    """Make an empty cache of keys and values."""
    from transformers import DynamicCache

    return DynamicCache()


def choose(logits: Tensor, draws: Sequence[torch.Generator], top_k: int) -> Tensor:
    """Draw codes ``[rows, codebooks]`` by their probability among the ``top_k`` likeliest of each codebook.

    They are the largest of logit ``[rows, codebooks, codes]`` and Gumbel noise, for which each row has its generator.
    """
    noise = torch.stack([-torch.empty(logits.shape[1:]).exponential_(generator=draw).log() for draw in draws])
    least = logits.topk(min(top_k, logits.shape[-1])).values[..., -1:]
    return (logits + noise.to(logits.device)).masked_fill(logits < least, -math.inf).argmax(dim=-1)
