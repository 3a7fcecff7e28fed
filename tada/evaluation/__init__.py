"""The paper's Table 1: clips over a grid of strengths, scored, and the area under their curve."""

from tada.evaluation.grid import GRID, SAE_GRID, auc, run
from tada.evaluation.layout import BLOCKS, blocks, latex, layout, write
from tada.evaluation.results import CASE, SETS, Column, by_arm, columns, common_cutoffs, gains, mean_shift, table
from tada.steering.arms import ARM, BASELINE, Arm

__all__ = [
    "ARM",
    "BASELINE",
    "BLOCKS",
    "CASE",
    "GRID",
    "SAE_GRID",
    "SETS",
    "Arm",
    "Column",
    "auc",
    "blocks",
    "by_arm",
    "columns",
    "common_cutoffs",
    "gains",
    "latex",
    "layout",
    "mean_shift",
    "run",
    "table",
    "write",
]
