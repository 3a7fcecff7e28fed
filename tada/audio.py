"""Clips: generated audio with the record of how it was made; loudness as people hear it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tada.arguments import number
from tada.errors import InputError, MissingPackageError
from tada.io import atomic_write

FORMATS = (".wav", ".flac", ".ogg", ".mp3")
"""Suffixes of the sound files that clips are saved as."""

LOUDEST = 1000.0
"""Largest sample that counts as sound, full scale at 1.0; mp3 encoders end the process at about a million."""

BLOCK = 65_536
"""Frames that an encoder is given at once: a long clip in one piece is more than Vorbis has a stack for."""

LOWEST_RATE = 4000.0
"""Hz; the shelf of K-weighting lies at 1.7 kHz."""

SILENCE = -70.0
"""Loudness of silence in LUFS: the absolute gate, below which nothing counts."""


@dataclass(frozen=True, eq=False)
class Clip:
    """One piece of audio.

    Attributes:
        samples: float32 ``[channels, frames]`` on the CPU, full scale at 1.0.
        sample_rate: frames per second, in Hz.
        record: how it was made: checkpoint, prompt, seed, sampling, intervention, versions.

    Raises:
        InputError: samples of another shape, or some that are NaN, infinite or above :data:`LOUDEST`.
    """

    samples: Tensor
    sample_rate: int
    record: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        samples = torch.as_tensor(self.samples).detach().to("cpu", torch.float32)
        if samples.dim() != 2:
            raise InputError(f"got samples of the shape {list(samples.shape)}; expected [channels, frames]")
        _require_sound(samples[None])
        object.__setattr__(self, "samples", samples)

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.samples.shape[-1] / self.sample_rate

    def save(self, path: str | Path) -> Path:
        """Write a sound file in the format its suffix names (wav, flac, ogg, mp3), replacing it only when complete.

        Raises:
            InputError: as :func:`encode`.
        """
        return atomic_write(path, encode(self.samples.T.numpy(), self.sample_rate, Path(path).suffix))


def sound_path(path: str | Path) -> Path:
    """Return the path of a sound file to be written; InputError where its suffix is none of :data:`FORMATS`."""
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"got the file {str(path)!r}; expected one such as clip.wav, ending in {', '.join(FORMATS)}")
    return path


def encode(samples: NDArray[Any], sample_rate: int, suffix: str, **options: Any) -> bytes:
    """Encode samples as a sound file, block by block.

    Args:
        samples: ``[frames]`` or ``[frames, channels]``, full scale at 1.0.
        sample_rate: in Hz.
        suffix: one of :data:`FORMATS`.
        options: of ``soundfile.SoundFile``.

    Raises:
        InputError: a suffix, a number of channels or a sample rate that cannot be written.
        MissingPackageError: the installed libsndfile does not know the format.
    """
    import soundfile

    kind = sound_path(f"clip{suffix}").suffix[1:].upper()
    if kind not in soundfile.available_formats():
        raise MissingPackageError(
            f"the installed libsndfile {soundfile.__libsndfile_version__} cannot write {kind.lower()}: "
            "version 1.1 and later can"
        )
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    buffer = BytesIO()
    try:
        with soundfile.SoundFile(buffer, "w", sample_rate, channels, format=kind, **options) as file:
            for start in range(0, len(samples), BLOCK):
                file.write(samples[start : start + BLOCK])
    except (soundfile.LibsndfileError, ValueError) as error:
        reason = getattr(error, "error_string", str(error)).strip(". ")
        raise InputError(
            f"{kind.lower()} cannot hold {channels} channels at {sample_rate} Hz ({reason}): choose another format"
        ) from None
    return buffer.getvalue()


def _require_sound(audio: Tensor) -> None:
    """Raise InputError where rows of ``[rows, channels, frames]`` hold samples that no file can."""
    low, high = audio.aminmax() if audio.numel() else (0.0, 0.0)
    if not (low >= -LOUDEST and high <= LOUDEST):  # NaN is neither
        bad = (audio.abs() <= LOUDEST).flatten(1).all(1).logical_not().nonzero().flatten().tolist()
        raise InputError(
            f"NaN or infinite samples, or some above {LOUDEST:g} times full scale, in the audio of rows {bad} "
            f"(of {len(audio)}): decode in float32, or lower the strength of the intervention"
        )


def source(record: Mapping[str, Any]) -> str:
    """Name the model and the checkpoint of a clip's record in words: ``"ace-step mini"``."""
    model, checkpoint = str(record.get("model") or ""), str(record.get("checkpoint") or "")
    return checkpoint if checkpoint.startswith(model) else f"{model} {checkpoint}".strip()


class Clips(Sequence[Clip]):
    """Clips of one length and sample rate, one per row of a batch."""

    def __init__(self, audio: Tensor, sample_rate: int, records: Sequence[Mapping[str, Any]] = ()) -> None:
        """Wrap ``audio``, float32 ``[rows, channels, frames]``; raise InputError as :class:`Clip` does."""
        self.audio = audio.detach().to("cpu", torch.float32)
        self.sample_rate = sample_rate
        self.records = tuple(records) or tuple({} for _ in range(len(audio)))
        _require_sound(self.audio)

    @staticmethod
    def join(parts: Sequence[Clips]) -> Clips:
        """Put the clips of several batches, alike in length and sample rate, one after the other."""
        records = [record for part in parts for record in part.records]
        return Clips(torch.cat([part.audio for part in parts]), parts[0].sample_rate, records)

    def __len__(self) -> int:
        return len(self.audio)

    @overload
    def __getitem__(self, row: int) -> Clip: ...
    @overload
    def __getitem__(self, row: slice) -> Clips: ...
    def __getitem__(self, row: int | slice) -> Clip | Clips:
        if isinstance(row, slice):
            return Clips(self.audio[row], self.sample_rate, self.records[row])
        return Clip(self.audio[row], self.sample_rate, self.records[row])

    def __repr__(self) -> str:
        _, channels, frames = self.audio.shape
        return f"Clips({len(self)} x {frames / self.sample_rate:.2f} s, {channels} ch, {self.sample_rate} Hz)"


# ---- loudness


def lufs(samples: Any, sample_rate: int) -> float:
    """Measure integrated loudness by ITU-R BS.1770-4, gated; -70 LUFS for silence and what never exceeds it.

    Args:
        samples: float ``[frames]`` or ``[frames, channels]``, full scale at 1.0; left and right only.
        sample_rate: in Hz.

    Raises:
        InputError: no samples, some that are not finite, or a rate below 4 kHz, where the filters have no meaning.
    """
    from scipy.signal import lfilter

    audio = np.asarray(samples, np.float64)
    audio = audio[:, None] if audio.ndim == 1 else audio
    if not audio.size or not np.isfinite(audio).all():
        raise InputError(f"got {audio.size} samples, {np.isnan(audio).sum()} of them NaN; expected finite ones")
    number("sample_rate", sample_rate, LOWEST_RATE)
    for above, below in filters(sample_rate):
        audio = lfilter(above, below, audio, axis=0)
    power = _blocks(audio, sample_rate)
    loud = power[_level(power) > SILENCE]
    if not len(loud):
        return SILENCE
    loud = loud[_level(loud) > _level(loud.mean()) - 10]
    return float(_level(loud.mean()))


def matching_gain(samples: Any, sample_rate: int, level: float, peak: float = np.inf) -> float:
    """Find the gain in dB that brings mono samples to a loudness; 0 for silence.

    Args:
        samples: float ``[frames]``, full scale at 1.0.
        sample_rate: in Hz.
        level: in LUFS; less is reached where the clip would exceed the peak.
        peak: highest absolute value after the gain.
    """
    now, highest = lufs(samples, sample_rate), float(np.abs(samples).max())
    return min(level - now, 20 * float(np.log10(peak / highest))) if now > SILENCE else 0.0


def _blocks(audio: NDArray[np.float64], sample_rate: int) -> NDArray[np.float64]:
    """Measure the power of blocks of 400 ms, one every 100 ms, summed over channels; a shorter clip is one block."""
    size, hop = min(len(audio), round(0.4 * sample_rate)), round(0.1 * sample_rate)
    starts = range(0, len(audio) - size + 1, hop)
    return np.array([np.mean(audio[start : start + size] ** 2, axis=0).sum() for start in starts])


def _level(power: Any) -> Any:
    return -0.691 + 10 * np.log10(np.maximum(power, 1e-20))


def filters(sample_rate: int) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Compute K-weighting at any rate: numerator and denominator of the shelf and of the high-pass.

    The standard gives them at 48 kHz; these are the bilinear transforms of the analogue filters behind its numbers.
    """
    k, q, gain = np.tan(np.pi * 1681.974450955533 / sample_rate), 0.7071752369554196, 10 ** (3.999843853973347 / 20)
    bend = gain**0.4996667741545416
    shelf = np.array([gain + bend * k / q + k * k, 2 * (k * k - gain), gain - bend * k / q + k * k])
    shelf_poles = np.array([1 + k / q + k * k, 2 * (k * k - 1), 1 - k / q + k * k])
    k, q = np.tan(np.pi * 38.13547087602444 / sample_rate), 0.5003270373238773
    poles = np.array([1 + k / q + k * k, 2 * (k * k - 1), 1 - k / q + k * k])
    return [(shelf / shelf_poles[0], shelf_poles / shelf_poles[0]), (np.array([1.0, -2.0, 1.0]), poles / poles[0])]
