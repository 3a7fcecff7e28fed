"""The mini ears: two audio-text towers that learnt from renders and captions alone.

``clap`` is of transformers' ``ClapModel`` class; ``second`` is a conformer beside a convolution over words. Both put
audio and text into one space: ``embed_audio(audio, sample_rate)`` and ``embed_text(texts)`` give rows of unit length.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tada.errors import check_name
from tada.minis.cards import WEIGHTS
from tada.minis.ears import clap, second
from tada.minis.ears.ear import Ear

__all__ = ["WEIGHTS", "Ear", "load"]

MODULES: dict[str, Any] = {"clap": clap, "second": second}


def load(name: str, folder: str | Path | None = None) -> Ear:
    """Load a trained ear, ``"clap"`` or ``"second"``, the package's own or a folder's; FileNotFoundError for none."""
    check_name("ear", name, MODULES)
    return MODULES[name].load(folder or WEIGHTS / name)
