"""Where a model is put, and in which precision."""

from __future__ import annotations

import torch

from tada.errors import InputError


def pick_device(device: str | torch.device) -> torch.device:
    """Give a device that can be used; ``"auto"`` is CUDA if there is one, then MPS, then the CPU.

    Raises:
        ValueError: no device, or one that this computer or this build of PyTorch lacks.
    """
    if str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.mps.is_available() else "cpu")
    try:
        return torch.empty(0, device=torch.device(device)).device
    except (RuntimeError, AssertionError, TypeError, AttributeError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"got device={device!r}, which cannot be used ({reason}); expected 'auto' or 'cpu'") from None


def pick_dtype(dtype: torch.dtype | None, device: torch.device, half: torch.dtype) -> torch.dtype:
    """Give the dtype of weights: what was asked for, else ``half`` on CUDA and float32 on all other devices."""
    if dtype is None:
        return half if device.type == "cuda" else torch.float32
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise InputError(f"got dtype={dtype!r}; expected torch.float32, torch.float16, torch.bfloat16, or None")
    return dtype
