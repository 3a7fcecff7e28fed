"""AudioLDM2: a U-Net over mel spectrograms that reads two text streams, GPT-2's and T5's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from tada.arguments import number
from tada.errors import InputError
from tada.models.ace_step.vocoder import VocoderConfig, log_mel
from tada.models.base import LONGEST
from tada.models.context import Context, Stream
from tada.models.hub import About
from tada.models.pipeline import PipelineModel, no_remarks
from tada.models.run import Latents, Sampling, SamplingState, whole_frames

MEL = VocoderConfig(sampling_rate=16_000, n_fft=1024, win_length=1024, hop_length=160, f_min=0, f_max=8000, n_mels=64)
"""The mel spectrogram that the autoencoder takes."""


class AudioLDM2(PipelineModel):
    """``AudioLDM2Pipeline`` behind the protocol; streams ``"gpt2"`` (generated embeddings) and ``"t5"``."""

    name = "audioldm2"
    denoiser_part = "unet"
    encoders: ClassVar = {
        "language_model": "GPT2LMHeadModel",
        "text_encoder": "ClapModel",
        "text_encoder_2": "T5EncoderModel",
        "vocoder": "SpeechT5HifiGan",
    }
    presets: Mapping[str, Sampling] = dict.fromkeys(("default", "localisation", "steering"), Sampling(100, 4.5))

    def __init__(self, pipeline: Any, device: torch.device, about: About) -> None:
        super().__init__(pipeline, device, about)
        vocoder = pipeline.vocoder.config
        scale, hop, bands = pipeline.vae_scale_factor, math.prod(vocoder.upsample_rates), vocoder.model_in_dim
        self.sample_rate = vocoder.sampling_rate
        if self.phase:
            own = self.phase.config
            self.sample_rate, hop, bands = own.sampling_rate, self.phase.hop, own.bands // own.block[0]
        self.hop, self.bands = scale * hop, bands // scale

    def encode_one(self, prompt: str, negative: str | None, lyrics: str | None) -> Context:
        if lyrics is not None:
            raise InputError("AudioLDM2 does not sing from lyrics; leave lyrics out")
        with no_remarks():
            t5, mask, gpt2 = self.pipeline.encode_prompt(
                [prompt], self.device, 1, True, negative_prompt=[negative or ""]
            )
        sides = [{"gpt2": Stream(gpt2[i : i + 1]), "t5": Stream(t5[i : i + 1], mask[i : i + 1].bool())} for i in (1, 0)]
        return Context((prompt,), (negative,), (None,), *sides)

    def tokenizers(self, sampling: Sampling) -> Sequence[tuple[Any, int]]:
        return [(one, one.model_max_length) for one in (self.pipeline.tokenizer, self.pipeline.tokenizer_2)]

    def noise_shape(self, seconds: float) -> tuple[int, ...]:
        shortest = self.hop / self.sample_rate
        number("seconds", seconds, shortest, LONGEST)
        return (self.config.in_channels, whole_frames(seconds / shortest), self.bands)

    def denoise(self, x: Tensor, t: Tensor, run: SamplingState) -> Tensor:
        gpt2, t5 = run.stream("gpt2"), run.stream("t5")
        return self.denoiser(
            x,
            t,
            encoder_hidden_states=gpt2.states,
            encoder_hidden_states_1=t5.states,
            encoder_attention_mask_1=t5.mask,
            return_dict=False,
        )[0]

    def site_inputs(self, stream: Stream) -> dict[str, Any]:
        return {"encoder_hidden_states": stream.states, "attention_mask": stream.bias}

    def token_grid(self, tokens: int, seconds: float) -> tuple[int, int, int]:
        _, time, pitch = self.noise_shape(seconds)
        bands = max(1, round((tokens * pitch / time) ** 0.5))
        return 0, tokens // bands, bands

    def to_audio(self, latents: Latents) -> Tensor:
        vae = self.pipeline.vae
        mel = vae.decode(latents.values / vae.config.scaling_factor).sample
        if self.phase:
            return self.phase.audio(mel.transpose(2, 3))[:, None]
        return self.pipeline.mel_spectrogram_to_waveform(mel)[:, None]

    def to_latents(self, audio: Tensor) -> Tensor:
        vae = self.pipeline.vae
        if self.phase:
            mels = self.phase.image(audio[:, 0], self.hop).transpose(2, 3)
        else:
            mels = log_mel(F.pad(audio[:, 0], (0, -audio.shape[-1] % self.hop)), MEL).transpose(1, 2)[:, None]
        return vae.encode(mels).latent_dist.mode() * vae.config.scaling_factor

    def trace_inputs(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        config = self.config
        size = 2 ** (len(config.block_out_channels) - 1)
        widths = next(dims for dims in config.cross_attention_dim if isinstance(dims, list | tuple))
        gpt2_width, t5_width = [width for width in widths if width is not None]
        texts = {"gpt2": torch.empty(1, 1, gpt2_width), "t5": torch.empty(1, 1, t5_width)}
        arguments = {
            "sample": torch.empty(1, config.in_channels, size, size),
            "timestep": torch.zeros(1),
            "encoder_hidden_states": texts["gpt2"],
            "encoder_hidden_states_1": texts["t5"],
        }
        return arguments, texts
