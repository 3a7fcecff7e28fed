"""LPAPS: how different two clips sound to an audio network (Iashin and Rahtu 2021; LPIPS for spectrograms).

What: the outputs of CLAP's four Swin stages, normalised, squared differences summed over what was normalised and
averaged over the rest, summed over stages, mean over windows of 10 s that overlap by 10 %. Range 0 to 16; 0 for equal
clips, lower is closer. Conventions: both clips of one length.

LPAPS as defined normalises each token over its channels (``"channel"``). The authors' code normalises each channel
over its tokens (``"token"``); published values are of that kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tada.errors import InputError, check_name
from tada.metrics.audio import prepare
from tada.metrics.clap import Clap

AXES = {"channel": -1, "token": -2}
"""What is normalised over -> the axis of ``[..., tokens, channels]``."""


@torch.no_grad()
def embed(model: Clap, audio: Any, sample_rate: int, batch: int = 16) -> tuple[Tensor, ...]:
    """Compute the outputs of the four stages for clips: float32 ``[clips, windows, tokens, channels]`` on the CPU.

    Args:
        model: as from :func:`tada.metrics.clap.load`.
        audio, sample_rate: as for :func:`tada.metrics.audio.prepare`, which says what is refused.
        batch: windows at a time.
    """
    return model.features(prepare(audio, sample_rate, model.rate), batch)[1]


def distance(x: Sequence[Tensor], y: Sequence[Tensor], over: str = "channel") -> Tensor:
    """Compute how far each clip of ``x`` is from its partner in ``y``.

    Args:
        x, y: as from :func:`embed`; ``y`` may be one clip for all.
        over: ``"channel"`` as LPAPS is defined, ``"token"`` as the authors' code computes it.

    Returns:
        ``[clips]``, 0 to 16, lower is closer.

    Raises:
        KeyError: an unknown axis. ValueError: clips that cannot be partners.
    """
    check_name("axis", over, AXES)
    for a, b in zip(x, y, strict=True):
        if a.shape[1:] != b.shape[1:] or len(b) not in (1, len(a)):
            raise InputError(
                f"got features {list(a.shape)} and {list(b.shape)}; expected clips of one length, and as many of "
                "them or one"
            )
    axis = AXES[over]
    stages = [(_unit(a, axis) - _unit(b, axis)).square().sum(axis) for a, b in zip(x, y, strict=True)]
    return torch.stack([stage.flatten(1).mean(1) for stage in stages]).sum(0)


def _unit(features: Tensor, axis: int) -> Tensor:
    return features / (features.norm(dim=axis, keepdim=True) + 1e-10)


def between(model: Clap, x: Any, y: Any, sample_rate: int, over: str = "channel") -> Tensor:
    """Compute the :func:`distance` of clips, ``[clips]``; ``y`` may be one clip for all of ``x``."""
    return distance(embed(model, x, sample_rate), embed(model, y, sample_rate), over)
