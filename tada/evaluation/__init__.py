"""The paper's Table 1: clips over a grid of strengths, scored, and the area under their curve."""

from tada.evaluation.grid import SAE_GRID, auc, run
from tada.evaluation.layout import blocks, latex, layout, write
from tada.evaluation.results import columns, gains, pooled, table

__all__ = ["SAE_GRID", "auc", "blocks", "columns", "gains", "latex", "layout", "pooled", "run", "table", "write"]
