"""Counterfactual prompt pairs, which differ in one concept."""

from tada.pairs.builder import (
    CARD,
    COLUMNS,
    EMBEDDED,
    INSTRUCTION,
    MUSICCAPS,
    Captions,
    Rewriter,
    build,
    export,
    language_model_rewriter,
    read,
    reorder,
    summary,
    synthetic,
    with_controls,
)
from tada.pairs.swaps import any_of, changes, faults, swap, swap_released

__all__ = [
    "any_of",
    "changes",
    "faults",
    "swap",
    "swap_released",
    "CARD",
    "COLUMNS",
    "Captions",
    "EMBEDDED",
    "INSTRUCTION",
    "MUSICCAPS",
    "Rewriter",
    "build",
    "export",
    "language_model_rewriter",
    "read",
    "reorder",
    "summary",
    "synthetic",
    "with_controls",
]
