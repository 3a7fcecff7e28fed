"""The ACE-Step v1 vocoder: log-mel to waveform, a ConvNeXt backbone and a HiFi-GAN head; and its mel analysis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tada.models.ace_step.convolution import convolve, deconvolve


@dataclass(frozen=True)
class VocoderConfig:
    """Sizes of the vocoder, named as in the public config.json; the defaults are the public checkpoint's."""

    input_channels: int = 128
    depths: Sequence[int] = (3, 3, 9, 3)
    dims: Sequence[int] = (128, 256, 384, 512)
    kernel_sizes: Sequence[int] = (7,)
    upsample_rates: Sequence[int] = (4, 4, 2, 2, 2, 2, 2)
    upsample_kernel_sizes: Sequence[int] = (8, 8, 4, 4, 4, 4, 4)
    resblock_kernel_sizes: Sequence[int] = (3, 7, 11, 13)
    resblock_dilation_sizes: Sequence[Sequence[int]] = ((1, 3, 5),) * 4
    num_mels: int = 512
    upsample_initial_channel: int = 1024
    pre_conv_kernel_size: int = 13
    post_conv_kernel_size: int = 13
    sampling_rate: int = 44100
    n_fft: int = 2048
    win_length: int = 2048
    hop_length: int = 512
    f_min: float = 40
    f_max: float = 16000
    n_mels: int = 128

    @property
    def resblocks(self) -> list[tuple[int, Sequence[int]]]:
        """Kernel size and dilations of each residual block of a stage."""
        return list(zip(self.resblock_kernel_sizes, self.resblock_dilation_sizes, strict=True))

    @property
    def halo(self) -> int:
        """Mel frames on each side that can reach a sample: half the receptive field, rounded up."""
        reach = self.kernel_sizes[0] // 2 * (1 + sum(self.depths)) + self.pre_conv_kernel_size // 2
        rate, head = 1, 0.0
        for up, kernel in zip(self.upsample_rates, self.upsample_kernel_sizes, strict=True):
            head += math.ceil(kernel / up) / rate
            rate *= up
            head += max((n // 2) * (sum(d) + len(d)) for n, d in self.resblocks) / rate
        return reach + math.ceil(head + self.post_conv_kernel_size / rate)


class NormedConv(nn.Module):
    """Conv1d, or ConvTranspose1d where ``up`` > 1, with weight norm under the checkpoint's names."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int = 1, up: int = 1) -> None:
        super().__init__()
        ends = (inputs, outputs) if up > 1 else (outputs, inputs)
        self.weight_v = nn.Parameter(torch.randn(*ends, kernel) / math.sqrt(inputs * kernel))
        self.weight_g = nn.Parameter(self.weight_v.detach().norm(dim=(1, 2), keepdim=True))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.up, self.dilation = up, dilation
        self.padding = (kernel - up) // 2 if up > 1 else dilation * (kernel - 1) // 2

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight_v * (self.weight_g / self.weight_v.norm(dim=(1, 2), keepdim=True))
        if self.up > 1:
            return deconvolve(x, weight, self.bias, self.up, self.padding)
        if len(weight) == 1 and not x.is_cuda:
            return self._single(x, weight[0])
        return convolve(x, weight, self.bias, self.padding, self.dilation)

    def _single(self, x: Tensor, weight: Tensor) -> Tensor:
        """One output channel: a product for all taps, then their sum; CPUs' convolutions are five times as slow."""
        taps = weight.T @ F.pad(x, (self.padding, self.padding))
        shifts = (taps[:, k, k * self.dilation :][:, : x.shape[-1]] for k in range(len(weight.T)))
        return (sum(shifts) + self.bias)[:, None]


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of ``[B, C, T]``."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution and a two-layer perceptron, scaled, on a residual."""

    def __init__(self, dim: int, kernel: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pwconv1 = nn.Linear(dim, 4 * dim)
        self.pwconv2 = nn.Linear(4 * dim, dim)
        self.gamma = nn.Parameter(torch.full((dim,), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.norm(self.dwconv(x).transpose(1, 2))
        return x + (self.gamma * self.pwconv2(F.gelu(self.pwconv1(hidden)))).transpose(1, 2)


class Backbone(nn.Module):
    """ConvNeXt stages over mel frames; the frame rate stays."""

    def __init__(self, config: VocoderConfig) -> None:
        super().__init__()
        dims, kernel = config.dims, config.kernel_sizes[0]
        stem = nn.Conv1d(config.input_channels, dims[0], kernel, padding=kernel // 2, padding_mode="replicate")
        steps = [(ChannelNorm(a, eps=1e-6), nn.Conv1d(a, b, 1)) for a, b in zip(dims, dims[1:], strict=False)]
        layers = [(stem, ChannelNorm(dims[0], eps=1e-6)), *steps]
        self.channel_layers = nn.ModuleList(nn.Sequential(*layer) for layer in layers)
        stages = ([ConvNeXtBlock(dim, kernel) for _ in range(n)] for dim, n in zip(dims, config.depths, strict=True))
        self.stages = nn.ModuleList(nn.Sequential(*stage) for stage in stages)
        self.norm = ChannelNorm(dims[-1], eps=1e-6)

    def forward(self, mel: Tensor) -> Tensor:
        """``[B, mels, T]`` to ``[B, dims[-1], T]``."""
        for change, stage in zip(self.channel_layers, self.stages, strict=True):
            mel = stage(change(mel))
        return self.norm(mel)


class ResBlock(nn.Module):
    """Pairs of convolutions, the first of each pair dilated, each pair on a residual."""

    def __init__(self, channels: int, kernel: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(NormedConv(channels, channels, kernel, dilation) for dilation in dilations)
        self.convs2 = nn.ModuleList(NormedConv(channels, channels, kernel) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        for first, second in zip(self.convs1, self.convs2, strict=True):
            x = x + second(F.silu(first(F.silu(x))))
        return x


class Head(nn.Module):
    """HiFi-GAN: transposed convolutions up to the sample rate, each followed by the mean of some `ResBlock`."""

    def __init__(self, config: VocoderConfig) -> None:
        super().__init__()
        widths = [config.upsample_initial_channel >> i for i in range(len(config.upsample_rates) + 1)]
        self.conv_pre = NormedConv(config.num_mels, widths[0], config.pre_conv_kernel_size)
        stages = zip(widths, widths[1:], config.upsample_kernel_sizes, config.upsample_rates, strict=False)
        self.ups = nn.ModuleList(NormedConv(a, b, kernel, up=up) for a, b, kernel, up in stages)
        self.resblocks = nn.ModuleList(
            ResBlock(width, kernel, dilations) for width in widths[1:] for kernel, dilations in config.resblocks
        )
        self.conv_post = NormedConv(widths[-1], 1, config.post_conv_kernel_size)
        self.kernels = len(config.resblock_kernel_sizes)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, num_mels, T]`` to ``[B, 1, hop * T]``."""
        x = self.conv_pre(x)
        for stage, up in enumerate(self.ups):
            x = up(F.silu(x))
            blocks = self.resblocks[stage * self.kernels : (stage + 1) * self.kernels]
            x = sum(block(x) for block in blocks) / self.kernels
        return self.conv_post(F.silu(x)).tanh()


class Vocoder(nn.Module):
    """Log-mel to waveform."""

    config_class = VocoderConfig

    def __init__(self, config: VocoderConfig | None = None) -> None:
        super().__init__()
        self.config = config or VocoderConfig()
        self.backbone = Backbone(self.config)
        self.head = Head(self.config)

    @property
    def upsampling(self) -> int:
        """Samples per mel frame."""
        return math.prod(self.config.upsample_rates)

    def forward(self, mel: Tensor) -> Tensor:
        """``mel`` ``[B, input_channels, T]`` (natural log) to samples ``[B, 1, upsampling * T]`` in -1..1."""
        return self.head(self.backbone(mel))

    def chunked(self, mel: Tensor, frames: int = 1024) -> Tensor:
        """The same in pieces of ``frames`` mel frames, each computed with all the context that reaches it."""
        halo, total, rate, parts = self.config.halo, mel.shape[-1], self.upsampling, []
        for start in range(0, total, frames):
            stop, left = min(start + frames, total), max(start - halo, 0)
            wave = self(mel[..., left : stop + halo])
            parts.append(wave[..., (start - left) * rate : (stop - left) * rate])
        return torch.cat(parts, dim=-1)


def log_mel(audio: Tensor, config: VocoderConfig) -> Tensor:
    """Log-mel ``[B, n_mels, T]`` of mono ``audio`` ``[B, samples]`` at the config's rate: the vocoder's input."""
    size, hop = config.n_fft, config.hop_length
    margin = config.win_length - hop
    padded = F.pad(audio[:, None], (margin // 2, (margin + 1) // 2), "reflect")[:, 0]
    window = torch.hann_window(config.win_length, device=audio.device)
    spectrum = torch.stft(padded, size, hop, config.win_length, window, center=False, return_complex=True)
    magnitude = (spectrum.real**2 + spectrum.imag**2 + 1e-6).sqrt()
    return (mel_filters(config).to(audio.device) @ magnitude).clamp(min=1e-5).log()


def mel_filters(config: VocoderConfig) -> Tensor:
    """Triangular mel filters ``[n_mels, n_fft // 2 + 1]`` on Slaney's scale, each of unit area (Slaney's norm)."""
    from transformers.audio_utils import mel_filter_bank

    ends, scale = (config.f_min, config.f_max), {"norm": "slaney", "mel_scale": "slaney"}
    bank = mel_filter_bank(config.n_fft // 2 + 1, config.n_mels, *ends, config.sampling_rate, **scale)
    return torch.from_numpy(bank.T).float()
