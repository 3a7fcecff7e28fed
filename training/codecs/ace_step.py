"""The ACE-Step mini's codec: an ``AutoencoderDC`` of mels and the vocoder at 16 kHz, latents ``[8, 16, 32]`` a clip."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tada.minis.sounds import SAMPLE_RATE
from tada.models.ace_step.codec import LATENT_SCALE, LATENT_SHIFT, MEL_HIGH, MEL_LOW, Codec
from tada.models.ace_step.vocoder import Vocoder, VocoderConfig, log_mel
from training.codecs.mels import MelCodec, mel_loss, waveform_loss
from training.codecs.stages import CodecRecipe, Crops, Stage
from training.fit import Loss, restore

VOCODER = VocoderConfig(
    depths=(1, 1),
    dims=(96, 96),
    num_mels=96,
    upsample_rates=(4, 4, 4, 4),
    upsample_kernel_sizes=(8, 8, 8, 8),
    resblock_kernel_sizes=(3, 7),
    resblock_dilation_sizes=((1, 3),) * 2,
    upsample_initial_channel=128,
    pre_conv_kernel_size=3,
    post_conv_kernel_size=13,
    sampling_rate=SAMPLE_RATE,
    n_fft=1024,
    win_length=1024,
    hop_length=256,
    f_min=40,
    f_max=7800,
)
SIDE: Mapping[str, Any] = {
    "block_types": "ResBlock",
    "block_out_channels": (32, 32, 64, 64),  # the first counts for the ratio only: no layers there
    "layers_per_block": (0, 1, 1, 1),
    "qkv_multiscales": ((),) * 4,
}
RATIO = 8
"""Mel frames per latent frame."""
STAGES: Mapping[str, Stage] = {
    "autoencoder": Stage(2000, 1e-3, 8, 32_768, noise=0.4),
    "vocoder": Stage(5000, 1e-3, 4, 16_384, noise=0.4),
    "together": Stage(8000, 1e-3, 4, 16_384, noise=0.2),
    "finetune": Stage(6000, 5e-4, 4, 16_384, noise=0.1, finetune=True),
}
SPREAD = 0.31
"""About the standard deviation of what :func:`mel_input` returns."""


def build(seed: int = 0) -> Codec:
    """An untrained codec; what the adapter does to latents is in the autoencoder's weights."""
    from diffusers import AutoencoderDC

    torch.manual_seed(seed)
    sides = {f"{side}_{key}": value for side in ("encoder", "decoder") for key, value in SIDE.items()}
    shape = {
        "in_channels": 2,
        "latent_channels": 8,
        "downsample_block_type": "Conv",
        "upsample_block_type": "interpolate",
    }
    autoencoder = AutoencoderDC(**shape, **sides, encoder_out_shortcut=False, decoder_in_shortcut=False)
    vocoder = Vocoder(VOCODER)
    with torch.no_grad():
        last, first = autoencoder.encoder.conv_out, autoencoder.decoder.conv_in
        last.weight /= LATENT_SCALE
        last.bias.copy_(last.bias / LATENT_SCALE + LATENT_SHIFT)
        first.weight *= LATENT_SCALE
        first.bias -= LATENT_SHIFT * first.weight.sum((1, 2, 3))
        for stage in vocoder.backbone.stages:
            stage[0].gamma.fill_(0.1)  # type: ignore[index]
    return Codec(autoencoder, vocoder)


def _halves(codec: Codec) -> nn.ModuleList:
    """What makes sound of latents."""
    return nn.ModuleList([codec.autoencoder.decoder, codec.vocoder])


def mel_input(audio: Tensor) -> Tensor:
    """Mels ``[rows, 2, 128, frames // 256]`` of mono audio as the autoencoder wants them, -1..1, both sides alike."""
    mel = (log_mel(audio, VOCODER) - MEL_LOW) / (MEL_HIGH - MEL_LOW) * 2 - 1
    return mel[:, None].expand(-1, 2, -1, -1)


def latents(codec: Codec, audio: Tensor) -> Tensor:
    """Latents ``[rows, 8, 16, frames / 2048]`` of audio ``[rows, frames]`` at 16 kHz, all rows at once."""
    return _encode(codec, mel_input(audio))


def _encode(codec: Codec, mels: Tensor) -> Tensor:
    return (codec.autoencoder.encode(mels).latent - LATENT_SHIFT) * LATENT_SCALE


def _decode(codec: Codec, latents: Tensor) -> Tensor:
    return codec.autoencoder.decode(latents / LATENT_SCALE + LATENT_SHIFT).sample


def _log_mels(codec: Codec, latents: Tensor) -> Tensor:
    """Log-mels ``[rows, 128, time]`` of latents, one side."""
    return (_decode(codec, latents)[:, 0].float() * 0.5 + 0.5) * (MEL_HIGH - MEL_LOW) + MEL_LOW


def modules(codec: Codec) -> dict[str, nn.Module]:
    """Stage -> what it trains."""
    both = _halves(codec)
    return {"autoencoder": codec.autoencoder, "vocoder": codec.vocoder, "together": both, "finetune": both}


def loss_fn(codec: Codec, name: str, stage: Stage, crops: Crops, compiled: bool) -> Loss:
    """The loss of a stage."""
    vocoder: Any = torch.compile(codec.vocoder) if compiled else codec.vocoder
    steps = MelCodec(
        mel_input,
        partial(_encode, codec),
        partial(_decode, codec),
        lambda latents: vocoder(_log_mels(codec, latents))[:, 0],
        SPREAD,
        RATIO * VOCODER.hop_length,
    )
    return (mel_loss if name == "autoencoder" else waveform_loss)(steps, crops, stage)


def load(folder: str | Path) -> Codec:
    """What :func:`train` has made of the codec so far in ``folder``, with both sides decoded as the left one.

    The vocoder learnt from the left side, and sides that are the same are decoded once.
    """
    parts = build()
    for stage, module in {"autoencoder": parts.autoencoder, "finetune": _halves(parts)}.items():
        restore(module, Path(folder) / stage)
    last = parts.autoencoder.decoder.conv_out.conv
    last.weight[1], last.bias[1] = last.weight[0], last.bias[0]
    return parts


RECIPE = CodecRecipe(STAGES, build, modules, loss_fn, load)
