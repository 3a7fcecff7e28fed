"""ACE-Step v1 behind the protocol: loading, conditioning, and the sampling loop with its two guidance passes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tada.arguments import integer, number
from tada.errors import InputError, unknown
from tada.models import ARCHITECTURES, hub, phase
from tada.models.ace_step import sampling as flow
from tada.models.ace_step.codec import SAMPLE_RATE, Codec, PhaseCodec
from tada.models.ace_step.files import PARTS, REVISION, Parts, read
from tada.models.ace_step.text import MAX_TOKENS, song_ids, text_states, tokenise
from tada.models.base import Model
from tada.models.context import Conditioning, Context, Stream, join
from tada.models.phase import PhaseStage
from tada.models.run import Latents, Pass, Sampling, SamplingState, cfg, whole_frames

LONGEST = 240.0
SMALL_CARD = 20 * 2**30
METHODS = ("apg", "cfg", "cfg_star")
SOLVERS: dict[str, Callable[..., Iterator[Tensor]]] = {"euler": flow.euler, "heun": flow.heun}


@dataclass(frozen=True)
class AceStepSampling(Sampling):
    """The settings of ACE-Step's denoising; the defaults are upstream's, but guided at every step.

    Attributes:
        steps: denoising steps.
        guidance: scale; 1 and below means no guidance.
        method: guidance rule: ``"apg"``, ``"cfg"`` or ``"cfg_star"``.
        interval: the middle share of the steps that is guided, 0 to 1; other steps have no unconditional pass.
        decay: 0 keeps the scale; 1 lets it fall to ``lowest`` over the guided steps.
        lowest: scale at the last guided step where ``decay`` is 1.
        omega: contrast of each step about its mean; 0 is none.
        batch_mean: take omega's mean over the whole batch, as upstream: rows then depend on their batch.
        solver: ``"euler"`` or ``"heun"``, whose evaluations (two a step) are what ``interval`` counts, as upstream.
        erg_tag: entropy rectifying guidance (ERG): the unconditional pass reads the prompt through weakened text
            attention, not zeros; acts only together with ``erg_lyric``, as upstream.
        erg_lyric: ERG: the unconditional pass reads the real lyrics through a weakened lyric encoder.
        erg_diffusion: ERG: the unconditional pass has weakened cross-attention in late blocks.
        pad_to: tokens to which the prompt is cut or padded, with positions that count the padding, so that lyrics
            start at one position; None counts real tokens only.
    """

    steps: int = 60
    guidance: float = 15.0
    method: Literal["apg", "cfg", "cfg_star"] = "apg"
    interval: float = 1.0
    decay: float = 0.0
    lowest: float = 3.0
    omega: float = 10.0
    batch_mean: bool = False
    solver: Literal["euler", "heun"] = "euler"
    erg_tag: bool = True
    erg_lyric: bool = True
    erg_diffusion: bool = True
    pad_to: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, valid in (("method", METHODS), ("solver", SOLVERS)):
            if getattr(self, name) not in valid:
                raise InputError(unknown(name, getattr(self, name), valid))
        for name, most in (("interval", 1.0), ("decay", 1.0), ("lowest", math.inf), ("omega", math.inf)):
            object.__setattr__(self, name, number(name, getattr(self, name), 0.0 if most == 1 else -math.inf, most))
        if self.pad_to is not None:
            object.__setattr__(self, "pad_to", integer("pad_to", self.pad_to, 1))


class AceStep(Model):
    """ACE-Step v1; one stream, ``"text"``: a speaker token, the prompt, the lyrics.

    Lyrics are English lines and tags such as ``[verse]``; ``[inst]`` asks for music without voice, None or ``""``
    leaves the singing to the model.

    Without ERG the unconditional pass knows of the prompt only how long it is. With ERG (the default) it reads the
    same prompt and lyrics, weakened: it then depends on the prompt, and a route over the conditional pass alone is
    not the same as sampling the source.
    """

    name = "ace-step"
    sings = True
    public_seconds = 30.0
    half = torch.bfloat16
    presets: Mapping[str, Sampling] = {
        "default": AceStepSampling(interval=0.5),
        "localisation": AceStepSampling(steps=50, guidance=7.0, omega=7.0, pad_to=128),
        "steering": AceStepSampling(steps=60, guidance=5.0),
        "steering-code": AceStepSampling(steps=30, guidance=5.0),
    }

    def __init__(self, parts: Parts, device: torch.device, about: hub.About) -> None:
        super().__init__(device, about)
        self.parts = parts
        self.denoiser = parts.transformer
        vocoder = parts.vocoder
        codec = PhaseCodec if isinstance(vocoder, PhaseStage) else Codec
        self.codec: Codec | PhaseCodec = codec(parts.autoencoder, vocoder).eval()  # type: ignore[arg-type]
        self.dtype = parts.transformer.final_layer.linear.weight.dtype
        self.sample_rate = SAMPLE_RATE
        self.sites = tuple(parts.transformer.sites)
        self.streams = dict.fromkeys(self.sites, "text")
        self.offload = device.type == "cuda" and torch.cuda.get_device_properties(device).total_memory < SMALL_CARD
        """Whether only the part at work (text encoder, denoiser, codec) is on the device; True on small cards."""
        for part in () if self.offload else (parts.text_encoder, parts.transformer, self.codec):
            part.to(device)

    @classmethod
    def find(cls, checkpoint: str) -> Path:
        from huggingface_hub import snapshot_download

        public = checkpoint.partition("@")[0] == ARCHITECTURES[cls.name].hub_id
        path = hub.folder(checkpoint, snapshot_download, f"{PARTS[0]}/config.json", REVISION if public else None)
        parts = [part for part in PARTS if part != PARTS[2] or not (path / phase.FOLDER).is_dir()]
        hub.check(path, dict.fromkeys(parts, "config.json"))
        return path

    @classmethod
    def read(cls, folder: Path, dtype: torch.dtype) -> Parts:
        return read(folder, dtype)

    # ---- text

    def encode_one(self, prompt: str, negative: str | None, lyrics: str | None, longest: int = MAX_TOKENS) -> Context:
        if negative is not None:
            raise InputError("ACE-Step has no negative prompt (see AceStepSampling.erg_tag); leave negative out")
        self._use(self.parts.text_encoder)
        encoder, blocks = self.parts.text_encoder, self.parts.text_encoder.config.num_layers
        ids, mask = tokenise(self.parts.tokenizer, [prompt], self.device, longest)
        positions = torch.arange(ids.shape[1], device=self.device)[None]

        def text(weak_blocks: range) -> Stream:
            states = text_states(encoder, ids, mask, weak_blocks).to(self.dtype)
            return Stream(states, mask, positions)

        tokens, real = (torch.tensor([x], device=self.device) for x in song_ids(lyrics or ""))
        sung = Stream(tokens, real, torch.arange(tokens.shape[1], device=self.device)[None])
        cond, uncond = ({"text": text(weak), "lyrics": sung} for weak in (range(0), weak_range(blocks, 8, 10, 12)))
        return Context((prompt,), (None,), (lyrics,), cond, uncond)

    def tokenizers(self, sampling: Sampling) -> Sequence[tuple[Any, int]]:
        tokens = sampling.pad_to if isinstance(sampling, AceStepSampling) else None
        return [(self.parts.tokenizer, min(tokens or MAX_TOKENS, MAX_TOKENS))]

    def conditioning(self, context: Context, seconds: float, sampling: Sampling) -> Conditioning:
        assert isinstance(sampling, AceStepSampling)
        context = self._shortened(context, sampling)
        self._use(self.denoiser)
        network, lyrics = self.parts.transformer, context.cond["lyrics"]
        text, weak = (_fitted(side["text"], sampling.pad_to) for side in (context.cond, context.uncond))
        cond = {"text": network.encode(text, lyrics)}
        if not sampling.is_guided:
            return Conditioning(cond)
        if not sampling.erg_lyric:
            return Conditioning(cond, {"text": network.encode(_blank(text), _blank(lyrics))})
        layers = weak_range(network.config.lyric_layers, 4, 6, 6)
        null = network.encode(weak if sampling.erg_tag else _blank(text), lyrics, weak_lyrics=layers)
        return Conditioning(cond, {"text": null})

    def _shortened(self, context: Context, sampling: AceStepSampling) -> Context:
        """``context``, encoded anew if a prompt has more than ``pad_to`` tokens: a prompt is cut, then encoded.

        Embeddings that are not those of their prompts, as of arms that alter text, are refused: they would be lost.
        """
        mask, tokens = context.cond["text"].mask, sampling.pad_to
        if tokens is None or mask is None or int(mask.sum(dim=1).max()) <= tokens:
            return context
        rows = list(zip(context.prompts, context.lyrics, strict=True))
        read = join([self.encode_one(prompt, None, lyrics) for prompt, lyrics in rows]).cond["text"].states
        held = context.cond["text"].states
        if (held[:, : read.shape[1]] - read).abs().max() > 1e-4 * read.abs().max():
            raise InputError(
                f"got embeddings that were altered, of prompts of which some have more than the {tokens} tokens of "
                "pad_to: they would have to be encoded anew; shorten these prompts, or sample with pad_to=None"
            )
        self.tell_cut(context.prompts, sampling)
        return join([self.encode_one(prompt, None, lyrics, tokens) for prompt, lyrics in rows])

    def site_inputs(self, stream: Stream) -> dict[str, Any]:
        return {"encoder": stream}

    # ---- sampling

    def noise_shape(self, seconds: float) -> tuple[int, ...]:
        frame = self.codec.hop / self.codec.vocoder.config.sampling_rate
        number("seconds", seconds, frame, LONGEST)
        config = self.parts.transformer.config
        return config.in_channels, config.patch_size[0], whole_frames(seconds / frame)

    def denoise_loop(self, noise: Latents, run: SamplingState) -> Iterator[Tensor]:
        settings = _settings(run)
        sigmas = flow.schedule(settings.steps).tolist()
        mix = flow.omega_mix(settings.omega, settings.batch_mean)
        return SOLVERS[settings.solver](noise.values, self.velocity(run), sigmas, mix)

    def velocity(self, run: SamplingState) -> flow.Velocity:
        """The guided velocity as a function of latents, noise level and index of the evaluation."""
        settings, average = _settings(run), None
        guided = flow.guided_steps(settings.steps, settings.interval if run.conditioning.uncond else 0.0)
        per_step = 2 if settings.solver == "heun" else 1

        def guided_velocity(x: Tensor, sigma: float, i: int) -> Tensor:
            nonlocal average
            if i not in guided:
                return self.predict(x, sigma, run, i // per_step, ("cond",))
            cond, uncond = self.both(x, sigma, run, i // per_step)
            scale = flow.decayed(settings.guidance, settings.lowest, settings.decay, i, guided)
            if settings.method == "cfg":
                return cfg(cond, uncond, scale)
            if settings.method == "cfg_star":
                return flow.cfg_star(cond, uncond, scale, i)
            v, average = flow.apg(cond, uncond, scale, average)
            return v

        def velocity(x: Tensor, sigma: float, i: int) -> Tensor:
            def poles() -> Tensor:
                return self.predict(torch.cat([x, x]), sigma, run, i // per_step, ("positive", "negative"))

            return self.live.guide(guided_velocity(x, sigma, i), poles)

        return velocity

    def both(self, x: Tensor, sigma: float, run: SamplingState, step: int) -> tuple[Tensor, Tensor]:
        """Conditional and unconditional velocity: one call, or two where ERG weakens blocks of the second."""
        if not _settings(run).erg_diffusion:
            cond, uncond = self.predict(torch.cat([x, x]), sigma, run, step, ("cond", "uncond")).chunk(2)
            return cond, uncond
        weak = weak_range(len(self.sites), 15, 20, 24)
        return self.predict(x, sigma, run, step, ("cond",)), self.predict(x, sigma, run, step, ("uncond",), weak)

    def predict(
        self, x: Tensor, sigma: float, run: SamplingState, step: int, passes: tuple[Pass, ...], weak: range = range(0)
    ) -> Tensor:
        """One denoiser call on latents ``[rows * passes, C, R, T]``; the velocity in float32."""
        run.enter(step, passes)
        timestep = torch.full((len(x),), 1000 * sigma, device=x.device)
        return self.denoiser(x, timestep, run.stream("text"), weak_blocks=weak).float()

    # ---- audio

    def to_audio(self, latents: Latents) -> Tensor:
        self._use(self.codec)
        return self.codec.decode(latents.values)

    def to_latents(self, audio: Tensor) -> Tensor:
        self._use(self.codec)
        return self.codec.encode(audio.expand(-1, 2, -1), self.sample_rate)

    def _use(self, part: nn.Module) -> None:
        """Put a part on a small device, the others on the CPU first."""
        stages = (self.parts.text_encoder, self.denoiser, self.codec)
        for stage in sorted(stages, key=lambda stage: stage is part) if self.offload else ():
            stage.to(self.device if stage is part else "cpu")


def weak_range(count: int, start: int, stop: int, of: int) -> range:
    """The layers that ERG weakens: ``start`` to ``stop`` of the public stack of ``of``, in proportion to ``count``."""
    first = start * count // of
    return range(first, max(stop * count // of, first + 1))


def _settings(run: SamplingState) -> AceStepSampling:
    assert isinstance(run.sampling, AceStepSampling)
    return run.sampling


def _blank(stream: Stream) -> Stream:
    return Stream(torch.zeros_like(stream.states), stream.mask, stream.positions)


def _fitted(text: Stream, tokens: int | None) -> Stream:
    """``text`` padded to ``tokens``, with positions that count the padding; as it is for None."""
    if tokens is None:
        return text
    assert text.mask is not None
    fitted = Stream(text.states[:, :tokens], text.mask[:, :tokens]).pad(tokens)  # what is cut off is padding
    return Stream(fitted.states, fitted.mask, torch.arange(tokens, device=text.states.device).expand(len(text), -1))
