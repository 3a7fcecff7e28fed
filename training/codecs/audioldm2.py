"""The AudioLDM2 mini's codec: an ``AutoencoderKL`` of mels and ``SpeechT5HifiGan``, latents ``[8, 52, 8]`` a clip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tada.minis.sounds import SAMPLE_RATE
from tada.models.ace_step.vocoder import log_mel
from tada.models.audioldm2 import MEL
from training.codecs.mels import MelCodec, mel_loss, waveform_loss
from training.codecs.stages import CodecRecipe, Crops, Stage
from training.fit import Loss, restore

CENTRE, SPREAD = -3.8, 2.1
"""About the mean and the standard deviation of a render's log-mel."""
VAE: Mapping[str, Any] = {
    "in_channels": 1,
    "out_channels": 1,
    "latent_channels": 8,
    "block_out_channels": (16, 32, 48, 48),
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "mid_block_add_attention": False,
}
VOCODER: Mapping[str, Any] = {
    "model_in_dim": MEL.n_mels,
    "sampling_rate": SAMPLE_RATE,
    "upsample_initial_channel": 128,
    "upsample_rates": [2, 4, 4, 5],
    "upsample_kernel_sizes": [4, 8, 8, 11],
    "resblock_kernel_sizes": [3, 7],
    "resblock_dilation_sizes": [[1, 3], [1, 3]],
    "normalize_before": True,
}
RATIO = 8
"""Mel frames per latent frame."""
STAGES: Mapping[str, Stage] = {
    "vae": Stage(2000, 1e-3, 8, 25_600, noise=0.35),
    "vocoder": Stage(5000, 1e-3, 4, 15_360, noise=0.35),
    "together": Stage(5000, 1e-3, 4, 15_360, noise=0.2),
    "finetune": Stage(6000, 5e-4, 4, 15_360, noise=0.1, finetune=True),
}


@dataclass(frozen=True, eq=False)
class Parts:
    """The autoencoder and the vocoder."""

    vae: Any
    vocoder: Any


def build(seed: int = 0) -> Parts:
    """Untrained parts; the first and the last layer know about the mel's mean and spread."""
    from diffusers import AutoencoderKL
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    torch.manual_seed(seed)
    vae, vocoder = AutoencoderKL(**VAE, scaling_factor=1.0), SpeechT5HifiGan(SpeechT5HifiGanConfig(**VOCODER))
    for module in vocoder.modules():
        if isinstance(module, torch.nn.Conv1d | torch.nn.ConvTranspose1d):
            module.reset_parameters()  # its own start is 100 times too quiet to learn from spectra
    with torch.no_grad():
        first, last = vae.encoder.conv_in, vae.decoder.conv_out
        first.weight /= SPREAD
        first.bias -= CENTRE * first.weight.sum((1, 2, 3))
        last.weight *= SPREAD
        last.bias.fill_(CENTRE)
        vocoder.mean.fill_(CENTRE)
        vocoder.scale.fill_(SPREAD)
    return Parts(vae, vocoder)


def _halves(parts: Parts) -> nn.ModuleList:
    """What makes sound of latents."""
    return nn.ModuleList([parts.vae.decoder, parts.vocoder])


def mel_input(audio: Tensor) -> Tensor:
    """Log-mels ``[rows, 1, time, 64]`` of audio ``[rows, frames]``, padded with silence to whole latent frames."""
    padded = F.pad(audio, (0, -audio.shape[-1] % (RATIO * MEL.hop_length)))
    return log_mel(padded, MEL).transpose(1, 2)[:, None]


def _encode(parts: Parts, mels: Tensor) -> Tensor:
    return parts.vae.encode(mels).latent_dist.mode()


def _decode(parts: Parts, latents: Tensor) -> Tensor:
    return parts.vae.decode(latents).sample


def modules(parts: Parts) -> dict[str, nn.Module]:
    """Stage -> what it trains."""
    both = _halves(parts)
    return {"vae": parts.vae, "vocoder": parts.vocoder, "together": both, "finetune": both}


def loss_fn(parts: Parts, name: str, stage: Stage, crops: Crops, compiled: bool) -> Loss:
    """The loss of a stage."""
    vocoder: Any = torch.compile(parts.vocoder) if compiled else parts.vocoder
    steps = MelCodec(
        mel_input,
        partial(_encode, parts),
        partial(_decode, parts),
        lambda latents: vocoder(_decode(parts, latents)[:, 0].float()),
        SPREAD,
        RATIO * MEL.hop_length,
    )
    return (mel_loss if name == "vae" else waveform_loss)(steps, crops, stage)


def encode(parts: Parts, audio: Tensor) -> Tensor:
    """Latents ``[rows, 8, time, 8]`` of audio ``[rows, frames]`` at 16 kHz, scaled as the diffusion model's are."""
    return _encode(parts, mel_input(audio)) * parts.vae.config.scaling_factor


def load(folder: str | Path) -> Parts:
    """What :func:`train` has made of the codec so far in ``folder``."""
    parts = build()
    for stage, module in {"vae": parts.vae, "finetune": _halves(parts)}.items():
        restore(module, Path(folder) / stage)
    return parts


RECIPE = CodecRecipe(STAGES, build, modules, loss_fn, load)
