"""The last polish of a decoder: a critic that learns to tell its sound from the truth, and the decoder to please it.

Distances of spectra forgive what is everywhere a little wrong: a veil of noise between notes, dull cymbals. A critic
finds it (Kong et al. 2020; hinge losses and matching of features as there are in Defossez et al. 2022).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from tada.minis.codecs.distance import magnitude

WINDOWS = (512, 1024, 2048)
WIDTH = 16
MATCH, PLEASE = 2.0, 0.3
"""Weights of the features' distance and of the critic's verdict beside a decoder's other losses."""

Opinion = tuple[list[Tensor], list[Tensor]]
"""Features of all layers, and scores of patches, of every window."""


class Critic(nn.Module):
    """Convolutions over spectrograms under several windows, with a score for each patch: high is true."""

    def __init__(self) -> None:
        super().__init__()
        self.towers = nn.ModuleList(_tower() for _ in WINDOWS)

    def forward(self, audio: Tensor) -> Opinion:
        """What it thinks of audio ``[rows, frames]``."""
        features, scores = [], []
        for window, tower in zip(WINDOWS, self.towers, strict=True):
            hidden = (magnitude(audio, window) + 1e-4).log()[:, None] / 3 + 2
            layers = list(tower.children())
            for layer in layers[:-1]:
                hidden = F.leaky_relu(layer(hidden), 0.2)
                features.append(hidden)
            scores.append(layers[-1](hidden))
        return features, scores


def _tower() -> nn.ModuleList:
    widths = (1, WIDTH, 2 * WIDTH, 2 * WIDTH)
    layers = [
        nn.Conv2d(a, b, (5, 3), stride=(3, 1 + (a > 1)), padding=(2, 1))
        for a, b in zip(widths, widths[1:], strict=False)
    ]
    return nn.ModuleList([*layers, nn.Conv2d(widths[-1], 1, 3, padding=1)])


class Polish(nn.Module):
    """A decoder to polish, and an untrained critic: what is trained together."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.decoder, self.critic = decoder, Critic()


def contest(critic: Critic, sound: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """Losses of decoder and critic, to be added and minimised together: each learns from its own alone.

    Args:
        critic: learns.
        sound: ``[rows, frames]``, of the decoder, which learns.
        truth: the same shape.
    """
    still: Mapping[str, Tensor] = {name: value.detach() for name, value in critic.named_parameters()}
    features, scores = functional_call(critic, dict(still), (sound,))
    true_features, true_scores = critic(truth)
    _, false_scores = critic(sound.detach())
    apart = [
        F.relu(1 - true).mean() + F.relu(1 + false).mean()
        for true, false in zip(true_scores, false_scores, strict=True)
    ]
    unlike = [
        (one - other.detach()).abs().mean() / other.detach().abs().mean()
        for one, other in zip(features, true_features, strict=True)
    ]
    return {
        "match": MATCH * torch.stack(unlike).mean(),
        "please": PLEASE * torch.stack([-score.mean() for score in scores]).mean(),
        "critic": torch.stack(apart).mean(),
    }
