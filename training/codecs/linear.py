"""Autoencoders that start as a linear code: its maps are written into the weights of the three classes.

What lies between is made to do nothing: residual branches end in zeros, and norms and activations are kept in the range
where they are straight, by constant channels beside which everything else is small, and by an offset.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from tada.models.pipeline import quiet_loading
from training.codecs.blocks import BlockCode

STRAIGHT = 12.0
"""Logarithm of the width within which Snake is straight."""
CONSTANT = 300.0
"""Value of constant channels."""
OFFSET = 16.0
"""Above which an activation passes what it gets."""
STRAIGHT_ELU = 100.0
"""Offset that no code is far enough from its mean to make negative."""


def make_oobleck(code: BlockCode) -> Any:
    """Make an ``AutoencoderOobleck`` of spectra."""
    from diffusers import AutoencoderOobleck

    codes = code.synthesis.shape[0]
    with quiet_loading():  # the class's weight norm is an old one
        vae = AutoencoderOobleck(
            encoder_hidden_size=2 * codes,  # the class wants it so
            downsampling_ratios=[code.frames],
            channel_multiples=[1],
            decoder_channels=code.bands,
            decoder_input_channels=codes,
            audio_channels=code.bands,
            sampling_rate=16_000,
        )
    write_oobleck(vae, code)
    return vae


def make_encodec(code: BlockCode, books: Tensor) -> Any:
    """Make an ``EncodecModel`` whose channels are the places of a block, and whose codebooks are given."""
    from transformers import EncodecConfig, EncodecModel

    size, codes = code.analysis.shape
    rate, bits = 31, math.ceil(math.log2(books.shape[1]))  # of blocks: the class counts in whole hertz
    codec = EncodecModel(
        EncodecConfig(
            sampling_rate=rate,
            target_bandwidths=[(len(books) + 0.5) * rate * bits / 1000],  # from which the class counts its codebooks
            audio_channels=size,
            num_filters=codes,
            hidden_size=codes,
            upsampling_ratios=[],
            codebook_size=books.shape[1],
            codebook_dim=codes,
            num_lstm_layers=1,
            kernel_size=1,
            last_kernel_size=1,
            use_causal_conv=False,
        )
    )
    write_encodec(codec, code, books)
    return codec


def make_kl(code: BlockCode) -> Any:
    """Make an ``AutoencoderKL`` of spectra, whose channels are the places of a block."""
    from diffusers import AutoencoderKL

    size, codes = code.analysis.shape
    vae = AutoencoderKL(
        in_channels=size,
        out_channels=size,
        latent_channels=codes,
        block_out_channels=(2 * codes + 2,),
        layers_per_block=1,
        norm_num_groups=1,
        down_block_types=("DownEncoderBlock2D",),
        up_block_types=("UpDecoderBlock2D",),
        mid_block_add_attention=False,
        scaling_factor=1.0,
    )
    write_kl(vae, code)
    return vae


def make_dc(code: BlockCode, scale: float, shift: float) -> Any:
    """Make an ``AutoencoderDC`` of spectra, whose latents are codes over ``scale`` plus ``shift``."""
    from diffusers import AutoencoderDC

    size, codes = code.analysis.shape
    side = {"block_types": "ResBlock", "layers_per_block": (1,), "qkv_multiscales": ((),)}
    autoencoder = AutoencoderDC(
        in_channels=2 * size,
        latent_channels=codes,
        encoder_block_out_channels=(size,),
        decoder_block_out_channels=(2 * size + 2,),
        **{f"{name}_{key}": value for name in ("encoder", "decoder") for key, value in side.items()},
        encoder_out_shortcut=False,
        decoder_in_shortcut=False,
    )
    write_dc(autoencoder, code)
    last, first = autoencoder.encoder.conv_out, autoencoder.decoder.conv_in
    with torch.no_grad():
        last.weight /= scale
        last.bias.copy_(last.bias / scale + shift)
        first.weight *= scale
        first.bias -= shift * first.weight.sum((1, 2, 3))
    return autoencoder


def write_oobleck(vae: Any, code: BlockCode) -> None:
    """Write a code of whole spectra over ``frames`` into an ``AutoencoderOobleck`` with one block of that stride."""
    bands, frames, codes = code.bands, code.frames, code.synthesis.shape[0]
    taps = slice(-(-frames // 2), -(-frames // 2) + frames)
    encoder, decoder = vae.encoder, vae.decoder
    down, up = encoder.block[0], decoder.block[0]
    with torch.no_grad():
        for snake in (down.snake1, encoder.snake1, up.snake1, decoder.snake1):
            snake.beta.fill_(STRAIGHT)
        for block in (down, up):
            for unit in (block.res_unit1, block.res_unit2, block.res_unit3):
                unit.conv2.weight_g.zero_()
                unit.conv2.bias.zero_()
        analysis, synthesis = torch.zeros_like(down.conv1.weight_v), torch.zeros_like(up.conv_t1.weight_v)
        analysis[:codes, :bands, taps] = code.analysis.T.unflatten(1, (bands, frames))
        synthesis[:codes, :bands, taps] = code.synthesis.unflatten(1, (bands, frames))
        _set(encoder.conv1, _passing(encoder.conv1))
        _set(down.conv1, analysis, -torch.nn.functional.pad(code.mean @ code.analysis, (0, len(analysis) - codes)))
        _set(encoder.conv2, _passing(encoder.conv2, codes))
        encoder.conv2.bias[codes:] = -5.0
        _set(decoder.conv1, _passing(decoder.conv1))
        _set(up.conv_t1, synthesis, code.mean.unflatten(0, (bands, frames)).mean(1))
        _set(decoder.conv2, _passing(decoder.conv2))


def write_encodec(codec: Any, code: BlockCode, books: Tensor) -> None:
    """Write a code and codebooks into an ``EncodecModel`` that does not sample down."""
    codes = code.synthesis.shape[0]
    with torch.no_grad():
        for side, first, bias, last, rest in (
            (codec.encoder, code.analysis.T, -code.mean @ code.analysis, torch.eye(codes), torch.zeros(codes)),
            (codec.decoder, torch.eye(codes), torch.zeros(codes), code.synthesis.T, code.mean),
        ):
            enter, memory, _, leave = side.layers
            for value in memory.parameters():
                value.zero_()
            _write_kernel(enter.conv, first, bias + STRAIGHT_ELU)
            _write_kernel(leave.conv, last, rest - STRAIGHT_ELU * last.sum(1))
        for layer, entries in zip(codec.quantizer.layers, books, strict=True):
            layer.codebook.embed.copy_(entries)


def _write_kernel(conv: Any, maps: Tensor, bias: Tensor) -> None:
    """Write a map into a convolution of kernel 1 under weight norm."""
    conv.weight = maps[:, :, None]
    conv.bias.copy_(bias)


def write_kl(vae: Any, code: BlockCode) -> None:
    """Write a code into an ``AutoencoderKL`` of one level; between its first and last layers there are codes alone."""
    codes = code.synthesis.shape[0]
    with torch.no_grad():
        for side in (vae.encoder, vae.decoder):
            for module in side.modules():
                if type(module).__name__ == "ResnetBlock2D":
                    module.conv2.weight.zero_()
                    module.conv2.bias.zero_()
            _straighten(side.conv_norm_out, 2 * codes + 2)
        _write_in(vae.encoder.conv_in, code.analysis.T, -code.mean @ code.analysis)
        _write_out(vae.encoder.conv_out, torch.eye(codes), torch.zeros(codes))
        vae.encoder.conv_out.bias[codes:] = -10.0
        _write_in(vae.decoder.conv_in, torch.eye(codes), torch.zeros(codes))
        _write_out(vae.decoder.conv_out, code.synthesis.T, code.mean)
        for conv in (vae.quant_conv, vae.post_quant_conv):
            conv.weight.copy_(torch.eye(len(conv.weight))[:, :, None, None])
            conv.bias.zero_()


def write_dc(autoencoder: Any, code: BlockCode) -> None:
    """Write a code into an ``AutoencoderDC`` of one level for two sides, which are decoded alike."""
    size, _ = code.analysis.shape
    encoder, decoder = autoencoder.encoder, autoencoder.decoder
    with torch.no_grad():
        for side in (encoder, decoder):
            for module in side.modules():
                if type(module).__name__ == "ResBlock":
                    module.norm.weight.zero_()
                    module.norm.bias.zero_()
        _centre(encoder.conv_in, torch.cat([torch.eye(size), torch.eye(size)], 1) / 2, torch.zeros(size))
        _centre(encoder.conv_out, code.analysis.T, -code.mean @ code.analysis)
        _write_in(decoder.conv_in, code.synthesis.T, code.mean)
        _straighten(decoder.norm_out, 2 * size + 2)
        _write_out(decoder.conv_out, torch.cat([torch.eye(size), torch.eye(size)]), torch.zeros(2 * size))


def _write_in(conv: nn.Conv2d, maps: Tensor, bias: Tensor) -> None:
    """Let a convolution put out maps of its input, their opposites, and two constants that are opposite, too."""
    constants = torch.tensor([CONSTANT, -CONSTANT])
    _centre(conv, torch.cat([maps, -maps, torch.zeros(2, maps.shape[1])]), torch.cat([bias, -bias, constants]))


def _straighten(norm: nn.Module, channels: int) -> None:
    """Let a norm over all channels give back what it gets, offset: the constants are all that it sees."""
    norm.weight.fill_(CONSTANT * (2 / channels) ** 0.5)  # type: ignore[operator]
    norm.bias.fill_(OFFSET)  # type: ignore[operator]


def _write_out(conv: nn.Conv2d, maps: Tensor, bias: Tensor) -> None:
    """Let a convolution put out maps of the first channels, without their offset."""
    _centre(conv, maps, bias - OFFSET * maps.sum(1))


def _centre(conv: nn.Conv2d, maps: Tensor, bias: Tensor) -> None:
    """Write a map into the middle of a convolution's kernel; further channels get nothing."""
    conv.weight.zero_()
    conv.bias.zero_()  # type: ignore[union-attr]
    middle = conv.weight.shape[-1] // 2
    conv.weight[: maps.shape[0], : maps.shape[1], middle, middle] = maps
    conv.bias[: len(bias)] = bias  # type: ignore[index]


def _passing(conv: nn.Module, most: int | None = None) -> Tensor:
    """The kernel that passes channels on."""
    weight = torch.zeros_like(conv.weight_v)  # type: ignore[arg-type]
    count = min(*weight.shape[:2], most or len(weight))
    weight[range(count), range(count), weight.shape[2] // 2] = 1.0
    return weight


def _set(conv: Any, weight: Tensor, bias: Tensor | None = None) -> None:
    """Write the weight of a convolution under weight norm; its norm may be 0."""
    norm = weight.flatten(1).norm(dim=1)[:, None, None]
    conv.weight_v.copy_(torch.where(norm > 0, weight, conv.weight_v))
    conv.weight_g.copy_(norm)
    if conv.bias is not None:
        conv.bias.zero_()
        if bias is not None:
            conv.bias[: len(bias)] = bias
