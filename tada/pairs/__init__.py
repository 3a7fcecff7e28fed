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
    whole,
    with_controls,
)

__all__ = [
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
    "whole",
    "with_controls",
]
