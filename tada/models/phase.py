"""The phase stage: sound from spectra, for checkpoints whose autoencoder ends at spectra instead of a waveform.

A checkpoint that has one keeps it in its folder ``phase``; the public checkpoints have none. Spectra are log-magnitudes
in bands as narrow as the window can tell apart up to 2.5 kHz, so that they keep the pitch of what sounds. A small
network makes magnitudes of them; each peak's phase advances by the peak's own frequency (Beauregard, Harish and Wyse
2015), and a few rounds of Griffin-Lim with momentum (Perraudin, Balazs and Sondergaard 2013) put the frames in order.
Nothing in it is random.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tada.io import atomic_write, write_json
from tada.models import hub

FOLDER, CONFIG, WEIGHTS = "phase", "config.json", "model.safetensors"
FLOOR = 2e-3
"""Magnitude below which is silence; a full-scale sine has 256."""
MOMENTUM = 0.9
FLAT = 0.1
"""Curvature of a peak's logarithm below which its place between bins would hang on rounding; a sinusoid's is 1.4."""


@dataclass(frozen=True)
class PhaseConfig:
    """Sizes of the stage.

    Attributes:
        sampling_rate: in Hz.
        window, hop: of frames, in samples.
        bands: of spectra; those up to ``linear`` Hz are two bins apart, the others grow up to ``highest`` Hz.
        width, depth: channels and blocks of the network.
        rounds: of Griffin-Lim.
        block: bands and frames that the autoencoder sees in one place, as channels; empty: it sees spectra as they are.
        mean, spread: about those of log-magnitudes; spectra are brought to 0 and 1 by them.
    """

    sampling_rate: int = 16_000
    window: int = 1024
    hop: int = 256
    bands: int = 128
    linear: float = 2500.0
    highest: float = 7900.0
    width: int = 256
    depth: int = 4
    rounds: int = 8
    block: Sequence[int] = ()
    mean: float = -1.4
    spread: float = 2.05


class Block(nn.Module):
    """A depthwise convolution over time and a two-layer perceptron, on a residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.over_time = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.norm = nn.GroupNorm(1, width)
        self.widen, self.narrow = nn.Conv1d(width, 2 * width, 1), nn.Conv1d(2 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.narrow(F.gelu(self.widen(self.norm(self.over_time(x)))))


class PhaseStage(nn.Module):
    """Audio to spectra, and spectra to audio; every row is treated alone."""

    def __init__(self, config: PhaseConfig = PhaseConfig()) -> None:
        super().__init__()
        self.config = config
        self.enter = nn.Conv1d(config.bands, config.width, 5, padding=2)
        self.blocks = nn.Sequential(*(Block(config.width) for _ in range(config.depth)))
        self.leave = nn.Conv1d(config.width, config.window // 2 + 1, 1)
        bank = torch.from_numpy(band_weights(config))
        self.taper: Tensor
        self.bank: Tensor
        self.spread_bank: Tensor
        self.register_buffer("taper", torch.hann_window(config.window), persistent=False)
        self.register_buffer("bank", bank, persistent=False)  # [bands, bins], triangles that sum to 1
        self.register_buffer("spread_bank", bank.T / bank.T.sum(1, keepdim=True).clamp_min(1e-6), persistent=False)

    @property
    def hop(self) -> int:
        """Samples of what the autoencoder sees in one place."""
        return self.config.hop * (self.config.block[1] if self.config.block else 1)

    def image(self, audio: Tensor, hop: int) -> Tensor:
        """Make what the autoencoder sees of audio ``[rows, frames]``, padded with silence to a multiple of ``hop``.

        Returns:
            ``[rows, bands, time]``, or ``[rows, places of a block, bands / its bands, time / its frames]``.
        """
        spectra = self.spectra(F.pad(audio, (0, -audio.shape[-1] % hop)))
        if not self.config.block:
            return spectra
        return cut(spectra, *self.config.block).permute(0, 3, 1, 2)

    def audio(self, image: Tensor) -> Tensor:
        """Make audio ``[rows, frames]`` of what the autoencoder decoded."""
        return self(self.whole(image))

    def whole(self, image: Tensor) -> Tensor:
        """Spectra ``[rows, bands, time]`` of what the autoencoder decoded."""
        return join(image.permute(0, 2, 3, 1), *self.config.block) if self.config.block else image

    def spectra(self, audio: Tensor) -> Tensor:
        """Measure the bands of audio ``[rows, frames]`` at the stage's rate, frames a multiple of ``hop``.

        They are ``[rows, bands, frames / hop]``, about of mean 0 and spread 1.
        """
        levels = (self.bank @ self.transform(audio).abs()).clamp_min(FLOOR).log()
        return (levels - self.config.mean) / self.config.spread

    def forward(self, spectra: Tensor) -> Tensor:
        """Make audio ``[rows, hop * time]`` of spectra ``[rows, bands, time]``, row by row: in any batch the same."""
        return torch.cat([self.sound(row) for row in spectra.float().split(1)])

    def sound(self, spectra: Tensor) -> Tensor:
        """Make audio of spectra, all rows at once."""
        magnitudes = self.magnitudes(spectra)
        turns = torch.polar(torch.ones_like(magnitudes), phases(magnitudes, self.config.hop))
        before = torch.zeros_like(turns)
        for _ in range(self.config.rounds):
            found = self.transform(self.overlap_add(_turn(magnitudes, turns)))
            moved = found.sub(before).mul_(MOMENTUM).add_(found)
            before, turns = found, moved.div_(moved.abs().clamp_min_(1e-9))
        return self.overlap_add(_turn(magnitudes, turns))

    def magnitudes(self, spectra: Tensor) -> Tensor:
        """Estimate magnitudes ``[rows, window / 2 + 1, time]`` of spectra ``[rows, bands, time]``.

        No band and no magnitude is larger than that of audio within full scale: vocoders put out no sample beyond it.
        """
        largest = self.config.window / 2
        spectra = spectra.clamp_max((math.log(largest) - self.config.mean) / self.config.spread)
        corrected = self.levels(spectra) + self.leave(self.blocks(self.enter(spectra)))
        return (corrected.exp() - FLOOR).clamp(1e-6, largest)

    def levels(self, spectra: Tensor) -> Tensor:
        """Log-magnitudes of bins as those of the bands about them."""
        return (self.spread_bank @ (spectra * self.config.spread + self.config.mean).exp() + 1e-5).log()

    def transform(self, audio: Tensor) -> Tensor:
        """The short-time Fourier transform ``[rows, window / 2 + 1, frames / hop]``, frames centred on their hops."""
        window, hop = self.config.window, self.config.hop
        edge = (window - hop) // 2
        frames = F.pad(audio[:, None], (edge, edge), mode="reflect")[:, 0].unfold(-1, window, hop)
        return torch.fft.rfft(frames * self.taper).transpose(1, 2)

    def overlap_add(self, spectrum: Tensor) -> Tensor:
        """The audio whose transform is nearest to a spectrum."""
        window, hop, time = self.config.window, self.config.hop, spectrum.shape[-1]
        frames = torch.fft.irfft(spectrum.transpose(1, 2), window).mul_(self.taper)
        total, weight = (_fold(part, hop) for part in (frames, self.taper.square().expand(1, time, -1)))
        edge = (window - hop) // 2
        return (total / weight.clamp_min(1e-2))[:, edge : edge + hop * time]


def cut(spectra: Tensor, bands: int, frames: int) -> Tensor:
    """Cut spectra ``[rows, all bands, time]`` into blocks ``[rows, down, along, bands * frames]``."""
    return spectra.unfold(1, bands, bands).unfold(2, frames, frames).flatten(3)


def join(blocks: Tensor, bands: int, frames: int) -> Tensor:
    """Join blocks from :func:`cut` again."""
    return blocks.unflatten(3, (bands, frames)).permute(0, 1, 3, 2, 4).flatten(3).flatten(1, 2)


def band_weights(config: PhaseConfig) -> np.ndarray:
    """Compute triangles over frequency, float32 ``[bands, window / 2 + 1]``, each of sum 1."""
    step = 2 * config.sampling_rate / config.window
    low = np.arange(0, config.linear + 1, step)
    high = np.geomspace(config.linear, config.highest, config.bands + 3 - len(low))[1:]
    edges, bins = np.concatenate([low, high]), np.arange(config.window // 2 + 1) * step / 2
    left, middle, right = (edges[start : start + config.bands, None] for start in range(3))
    weights = np.clip(np.minimum((bins - left) / (middle - left), (right - bins) / (right - middle)), 0, None)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def phases(magnitudes: Tensor, hop: int) -> Tensor:
    """Estimate phases in one pass: those of a peak advance by its frequency, and those around it go with it.

    From magnitudes ``[rows, bins, time]`` of frames under Hann's window, ``hop`` samples apart, to as many radians.
    """
    bins = magnitudes.shape[1]
    place = torch.arange(bins, device=magnitudes.device)[None, :, None].expand_as(magnitudes)
    left, middle, right = (
        F.pad(magnitudes.clamp_min(1e-9).log(), (0, 0, 1, 1), value=-30.0)[:, k : k + bins] for k in range(3)
    )
    peak = (middle > left) & (middle >= right)
    shift = (0.5 * (left - right) / (left - 2 * middle + right).clamp_max(-FLAT)).clamp(-0.5, 0.5)
    window = 2 * (bins - 1)
    advance = place * hop % window / window + hop / window * torch.where(peak, shift, 0.0)  # in turns
    below = torch.where(peak, place, -bins).cummax(1).values
    above = torch.where(peak, place, 2 * bins).flip(1).cummin(1).values.flip(1)
    nearest = torch.where(place - below <= above - place, below, above).clamp(0, bins - 1)
    turn, found = torch.zeros_like(magnitudes[:, :, 0]), []
    for time in range(magnitudes.shape[2]):
        own = nearest[:, :, time]
        turn = (turn.gather(1, own) + advance[:, :, time].gather(1, own)) % 1  # or float32 loses the place in a turn
        found.append(turn)
    return 2 * math.pi * torch.stack(found, 2) + math.pi * ((place - nearest) % 2)


def _turn(magnitudes: Tensor, turns: Tensor) -> Tensor:
    """Multiply magnitudes by complex numbers; in memory they lie as the magnitudes do, on which rounding depends."""
    return torch.view_as_complex(magnitudes[..., None] * torch.view_as_real(turns))


def _fold(frames: Tensor, hop: int) -> Tensor:
    """Add overlapping frames ``[rows, time, window]`` up; the window is a multiple of the hop."""
    rows, time, window = frames.shape
    total = frames.new_zeros(rows, time - 1 + window // hop, hop)
    for late, part in enumerate(frames.split(hop, dim=2)):
        total[:, late : late + time] += part
    return total.flatten(1)


def read(folder: Path) -> PhaseStage | None:
    """Read the phase stage of a checkpoint, in float32; None where it has none.

    Raises:
        CheckpointError: a folder of one that is damaged.
    """
    own = folder / FOLDER
    if not own.is_dir():
        return None
    sizes = hub.read_json(own / CONFIG)
    stage = PhaseStage(PhaseConfig(**sizes | {"block": tuple(sizes["block"])}))
    with hub.reading(own / WEIGHTS):
        stage.load_state_dict(load_file(own / WEIGHTS))
    return stage.eval().requires_grad_(False)


def write(stage: PhaseStage, folder: Path) -> None:
    """Write the phase stage of a checkpoint, in fp16."""
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    write_json(folder / FOLDER / CONFIG, asdict(stage.config))
    tensors = {name: value.half().contiguous() for name, value in stage.state_dict().items()}
    atomic_write(folder / FOLDER / WEIGHTS, lambda draft: save_file(tensors, draft))
