"""Stable Audio Open: a diffusion transformer over waveform latents that reads T5 text and the clip's timing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tada.arguments import number
from tada.errors import InputError
from tada.models.context import Conditioning, Context, Stream
from tada.models.hub import About
from tada.models.pipeline import PipelineModel, no_remarks
from tada.models.run import Latents, Sampling, SamplingState

BLOCK = 32_768
"""Values of an activation that are computed at a time, about: what stays in a CPU's cache."""


class StableAudio(PipelineModel):
    """``StableAudioPipeline`` behind the protocol; one stream, ``"text"``: T5 tokens, then start and end second."""

    name = "stable-audio"
    denoiser_part = "transformer"
    encoders: ClassVar = {"text_encoder": "T5EncoderModel"}
    presets: Mapping[str, Sampling] = dict.fromkeys(("default", "localisation", "steering"), Sampling(100, 7.0))

    def __init__(self, pipeline: Any, device: torch.device, about: About) -> None:
        super().__init__(pipeline, device, about)
        pipeline.vae.enable_slicing()  # clip by clip: less memory, faster on a CPU
        compute_in_blocks(pipeline.vae)
        own = self.phase.config if self.phase else None
        self.sample_rate = own.sampling_rate if own else pipeline.vae.config.sampling_rate
        self.hop = pipeline.vae.hop_length * (own.hop if own else 1)
        self.longest = self.config.sample_size * self.hop / self.sample_rate

    def encode_one(self, prompt: str, negative: str | None, lyrics: str | None) -> Context:
        if lyrics is not None:
            raise InputError("Stable Audio does not sing from lyrics; leave lyrics out")
        guided = negative is not None
        with no_remarks():
            states = self.pipeline.encode_prompt([prompt], self.device, guided, [negative] if guided else None)
        cond = states[-1:]
        uncond = states[:1] if guided else torch.zeros_like(cond)
        return Context((prompt,), (negative,), (None,), {"text": Stream(cond)}, {"text": Stream(uncond)})

    def tokenizers(self, sampling: Sampling) -> Sequence[tuple[Any, int]]:
        return [(self.pipeline.tokenizer, self.pipeline.tokenizer.model_max_length)]

    def noise_shape(self, seconds: float) -> tuple[int, ...]:
        number("seconds", seconds, 1 / self.sample_rate, self.longest)
        return (self.config.in_channels, self.config.sample_size)

    def conditioning(self, context: Context, seconds: float, sampling: Sampling) -> Conditioning:
        timing = self.pipeline.encode_duration(0.0, seconds, self.device, False, len(context))
        told = torch.tensor([negative is not None for negative in context.negatives], device=self.device)
        uncond = None
        if sampling.is_guided:
            timed = _with_timing(context.uncond["text"], timing)
            uncond = {"text": Stream(timed.states * told.view(-1, 1, 1).to(timed.states.dtype))}
        cond = {"text": _with_timing(context.cond["text"], timing)}
        return Conditioning(cond, uncond, {"duration": torch.cat(timing, dim=2)})

    def prepare(self, scheduler: Any, noise: Latents) -> None:
        """Give the scheduler its noise: that of a seed is drawn once, however many rows have it."""
        scheduler.noise_sampler = _SharedNoise(noise, scheduler.config)

    def denoise(self, x: Tensor, t: Tensor, run: SamplingState) -> Tensor:
        duration = run.conditioning.extra["duration"]
        return self.denoiser(
            x,
            t.unsqueeze(0),
            encoder_hidden_states=run.stream("text").states,
            global_hidden_states=torch.cat([duration] * len(run.passes)),
            rotary_embedding=_rotary(self.pipeline.rotary_embed_dim, x.shape[2] + 1),  # one global token in front
            return_dict=False,
        )[0]

    def site_inputs(self, stream: Stream) -> dict[str, Any]:
        return {"encoder_hidden_states": self.site_states(stream)}

    def site_states(self, stream: Stream) -> Tensor:
        project: Any = self.denoiser.cross_attention_proj
        if project not in stream.memo:
            stream.memo[project] = project(stream.states)
        return stream.memo[project]

    def token_grid(self, tokens: int, seconds: float) -> tuple[int, int, int]:
        frames = self.noise_shape(seconds)[-1]
        return tokens - frames, frames, 1

    def to_audio(self, latents: Latents) -> Tensor:
        decoded = self.pipeline.vae.decode(latents.values).sample
        return self.phase.audio(decoded)[:, None] if self.phase else decoded

    def to_latents(self, audio: Tensor) -> Tensor:
        vae = self.pipeline.vae
        if self.phase:
            return vae.encode(self.phase.image(audio[:, 0], self.hop)).latent_dist.mode()
        whole = F.pad(audio, (0, -audio.shape[-1] % self.hop)).expand(-1, vae.config.audio_channels, -1)
        return vae.encode(whole).latent_dist.mode()

    def trace_inputs(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        config = self.config
        text = torch.empty(1, 1, config.cross_attention_input_dim)
        arguments = {
            "hidden_states": torch.empty(1, config.in_channels, 1),
            "timestep": torch.zeros(1),
            "encoder_hidden_states": text,
            "global_hidden_states": torch.empty(1, 1, config.global_states_input_dim),
        }
        return arguments, {"text": text}


@lru_cache(maxsize=4)
def _rotary(dim: int, positions: int) -> tuple[Tensor, Tensor]:
    from diffusers.models.embeddings import get_1d_rotary_pos_embed

    return get_1d_rotary_pos_embed(dim, positions, use_real=True, repeat_interleave_real=False)


class _SharedNoise:
    """The scheduler's own Brownian trees, one for each seed instead of one for each row."""

    def __init__(self, noise: Latents, config: Any) -> None:
        from diffusers.schedulers.scheduling_dpmsolver_sde import BrownianTreeNoiseSampler

        place = {seed: number for number, seed in enumerate(dict.fromkeys(noise.seeds))}
        self.rows = [place[seed] for seed in noise.seeds]
        some = noise.values[: len(place)]
        self.trees = BrownianTreeNoiseSampler(some, config.sigma_min, config.sigma_max, seed=list(place))

    def __call__(self, sigma: Tensor, sigma_next: Tensor) -> Tensor:
        return self.trees(sigma, sigma_next)[self.rows]


def _with_timing(text: Stream, timing: Sequence[Tensor]) -> Stream:
    return Stream(torch.cat([text.states, *timing], dim=1))


def compute_in_blocks(autoencoder: nn.Module) -> None:
    """Let every ``Snake1d`` of a diffusers ``AutoencoderOobleck`` compute by :func:`snake`."""
    from diffusers.models.autoencoders.autoencoder_oobleck import Snake1d

    for part in autoencoder.modules():
        if isinstance(part, Snake1d):
            part.forward = partial(snake, part)


def snake(part: Any, x: Tensor) -> Tensor:
    """``x + sin(alpha x)^2 / beta`` of ``[B, C, T]``; alpha and beta are exponentials of a ``Snake1d``'s parameters."""
    if x.device.type != "cpu" or torch.is_grad_enabled() or not part.logscale:
        return type(part).forward(part, x)
    alpha, scale = part.alpha[0].exp(), (part.beta[0].exp() + 1e-9).reciprocal()
    y, channels = torch.empty_like(x), max(1, BLOCK // x.shape[2])
    for row, out in zip(x, y, strict=True):
        blocks = zip(*(each.split(channels) for each in (row, out, alpha, scale)), strict=True)
        for part_in, part_out, a, b in blocks:
            torch.add(part_in, (part_in * a).sin_().pow_(2).mul_(b), out=part_out)
    return y
