"""One-dimensional convolutions, with the layout that CPUs are fast in."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Convolution(nn.Conv1d):
    """``torch.nn.Conv1d`` by :func:`convolve`."""

    def forward(self, x: Tensor) -> Tensor:
        """``[B, in_channels, T]`` to ``[B, out_channels, T']``."""
        return convolve(x, self.weight, self.bias, int(self.padding[0]), self.dilation[0], self.groups)


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, padding: int = 0, dilation: int = 1, groups: int = 1
) -> Tensor:
    """Compute ``torch.nn.functional.conv1d``; on CPUs the channels of a frame lie side by side, in the output too.

    ``x`` ``[B, C, T]``, ``weight`` ``[outputs, C / groups, kernel]``, ``bias`` ``[outputs]``; ``[B, outputs, T']``.
    """
    if x.device.type != "cpu":
        return F.conv1d(x, weight, bias, padding=padding, dilation=dilation, groups=groups)
    return F.conv2d(_flat(x), _flat(weight), bias, padding=(0, padding), dilation=(1, dilation), groups=groups)[:, :, 0]


def deconvolve(x: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int) -> Tensor:
    """Compute ``torch.nn.functional.conv_transpose1d``, in the layout of :func:`convolve`.

    ``x`` ``[B, C, T]``, ``weight`` ``[C, outputs, kernel]``, ``bias`` ``[outputs]``; ``[B, outputs, T']``.
    """
    if x.device.type != "cpu":
        return F.conv_transpose1d(x, weight, bias, stride=stride, padding=padding)
    wide = F.conv_transpose2d(_flat(x), _flat(weight), bias, stride=(1, stride), padding=(0, padding))
    return wide[:, :, 0]


def _flat(x: Tensor) -> Tensor:
    """``[a, b, n]`` as an image of one line, b innermost; no copy where it is so already."""
    return x[:, :, None].contiguous(memory_format=torch.channels_last)
