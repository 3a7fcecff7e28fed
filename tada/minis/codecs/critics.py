"""Critics of sound: small networks that learn to tell a codec's clips from true ones, for the codec to convince.

Distances of spectra are least where a decoder in doubt says something between, so that pauses hum and consonants
smear. A critic hears that at once. (Least-squares critics of magnitude spectra, with feature matching: Jang et al.
2021.)
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.parametrizations import weight_norm

from tada.minis.codecs.distance import magnitude

WINDOWS = (512, 1024, 2048)
CENTRE, SPREAD, FLOOR = -6.0, 2.0, 1e-4
"""About the mean and the standard deviation of log-magnitudes; magnitudes below the floor are silence."""
CONVINCES, ALIKE = 0.1, 0.2
"""Weights of a critic's opinion, and of what its layers see alike, beside distances of spectra."""


class Critic(nn.Module):
    """Convolutions over log-magnitudes under one window; a score at each place, 1 for what seems true."""

    def __init__(self, window: int, width: int = 16) -> None:
        super().__init__()
        self.window = window
        sizes = [(1, width, (2, 1)), (width, width, (2, 2)), (width, 2 * width, (2, 1)), (2 * width, 2 * width, 1)]
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(wide, narrow, (7, 3), stride=stride, padding=(3, 1)))
            for wide, narrow, stride in sizes
        )
        self.score = weight_norm(nn.Conv2d(2 * width, 1, 3, padding=1))

    def forward(self, audio: Tensor) -> list[Tensor]:
        """What each layer sees of audio ``[rows, frames]``, and the scores last."""
        seen = ((magnitude(audio, self.window) + FLOOR).log()[:, None] - CENTRE) / SPREAD
        found = []
        for layer in self.layers:
            seen = F.leaky_relu(layer(seen), 0.2)
            found.append(seen)
        return [*found, self.score(seen)]


def critics() -> nn.ModuleList:
    """One critic for each window."""
    return nn.ModuleList(Critic(window) for window in WINDOWS)


def verdict(judges: nn.ModuleList, sound: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """What critics and codec learn from each other in a step, each from a loss that only it can lower.

    Args:
        judges: from :func:`critics`.
        sound: ``[rows, frames]``, the codec's.
        truth: the same shape.

    Returns:
        Losses: ``convinces`` and ``alike`` for the codec, weighted; ``critics`` for them.
    """
    convinces, alike, doubts = [], [], []
    for judge in judges:
        true, false = judge(truth), judge(sound.detach())
        doubts.append((1 - true[-1]).square().mean() + false[-1].square().mean())
        fixed = {name: value.detach() for name, value in judge.named_parameters()}
        heard = functional_call(judge, fixed, (sound,))
        convinces.append((1 - heard[-1]).square().mean())
        alike += [(one - other.detach()).abs().mean() for one, other in zip(heard[:-1], true[:-1], strict=True)]
    return {
        "convinces": CONVINCES * torch.stack(convinces).mean(),
        "alike": ALIKE * torch.stack(alike).mean(),
        "critics": torch.stack(doubts).mean(),
    }
