"""Find the cross-attention modules of a denoiser by their being fed text, not by their names."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

TEXT_KEYWORDS = ("encoder_hidden_states", "encoder")


def trace(denoiser: nn.Module, feed: tuple[dict[str, Any], dict[str, Tensor]]) -> dict[str, str]:
    """Run a copy of ``denoiser`` once, under the meta device without weights, and note which modules are handed text.

    Args:
        denoiser: a diffusers model (its ``config`` rebuilds it without weights).
        feed: keyword arguments of a forward pass, and the text tensors among them by stream name.

    Returns:
        Site name to stream name, in the order of the forward pass. A site is a module that is handed text by keyword
        and hands it by keyword to none of its own modules.
    """
    arguments, texts = feed
    ghost = type(denoiser).from_config(denoiser.config).eval()  # type: ignore[attr-defined]
    handed: dict[str, str] = {}

    def note(name: str, keywords: dict[str, Any]) -> None:
        text = next((keywords[k] for k in TEXT_KEYWORDS if keywords.get(k) is not None), None)
        if text is not None:
            handed[name] = next((stream for stream, t in texts.items() if t is text), next(iter(texts)))

    with ExitStack() as stack, torch.no_grad():
        for name, module in ghost.named_modules():
            if name:
                hook = module.register_forward_pre_hook(lambda _, __, kw, name=name: note(name, kw), with_kwargs=True)
                stack.enter_context(hook)
        ghost(**arguments)
    return {
        name: stream for name, stream in handed.items() if not any(other.startswith(name + ".") for other in handed)
    }
