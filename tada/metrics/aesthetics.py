"""Audiobox Aesthetics: how clips would be rated (Tjandra et al. 2025), without a reference.

What: four predicted ratings: content enjoyment (CE), content usefulness (CU), production complexity (PC), production
quality (PQ). Range about 1 to 10; higher is better, for PC higher is more complex. Conventions: 16 kHz mono, pieces of
10 s, their mean weighted by length.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from tada.errors import CheckpointError
from tada.metrics.audio import prepare
from tada.metrics.packages import need

AXES = ("CE", "CU", "PC", "PQ")
RATE, BATCH = 16_000, 8


def load(checkpoint: str | Path | None = None) -> Any:
    """Load the predictor; it takes a GPU if there is one.

    Args:
        checkpoint: None for ``facebook/audiobox-aesthetics``, or a ``checkpoint.pt`` of it.

    Raises:
        ImportError: the package is not installed, with the line that installs it.
        OSError: the checkpoint cannot be had.
    """
    package = need("audiobox_aesthetics", "audiobox_aesthetics.infer")
    try:
        return package.AesPredictor(checkpoint_pth=None if checkpoint is None else str(checkpoint))
    except TypeError as error:  # offline the hub's class builder misses its configuration
        raise CheckpointError(
            f"facebook/audiobox-aesthetics cannot be had ({error}). Fetch it once with: hf download "
            "facebook/audiobox-aesthetics"
        ) from error


def score(predictor: Any, audio: Any, sample_rate: int) -> pd.DataFrame:
    """Rate clips: one row a clip, columns CE, CU, PC, PQ.

    Args:
        predictor: as from :func:`load`.
        audio, sample_rate: as for :func:`tada.metrics.audio.prepare`, which says what is refused.
    """
    mono = prepare(audio, sample_rate, RATE)
    clips = [{"path": row[None], "sample_rate": RATE} for row in mono]
    rows = [row for start in range(0, len(clips), BATCH) for row in predictor.forward(clips[start : start + BATCH])]
    return pd.DataFrame(rows, columns=list(AXES)).astype(float)
