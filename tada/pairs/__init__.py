"""Counterfactual prompt pairs, which differ in one concept."""

from tada.pairs.builder import build, decorate, export, reorder, summary, with_controls
from tada.pairs.captions import Captions, read, synthetic
from tada.pairs.swaps import changes, shared_text, swap, swap_authors, violations

__all__ = [
    "Captions", "build", "changes", "decorate", "export", "read", "reorder", "shared_text", "summary", "swap",
    "swap_authors", "synthetic", "violations", "with_controls",
]  # fmt: skip
