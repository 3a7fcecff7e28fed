"""Table 1 by profile: which layers are functional, the rows that are compared, their ranges, and what a run leaves.

A run leaves its tidy results in ``tables/<checkpoint>/`` below its store, where later pages read them, and the table as
csv, LaTeX and HTML beside them.
"""

from tada.layout import blocks, write
from tada.table_runs.arms import arms
from tada.table_runs.gather import gather, ships
from tada.table_runs.layers import localisation_folder, localised, settled
from tada.table_runs.request import CONCEPTS, REACHES, SIZES, Request, Size, panel, run_of
from tada.table_runs.runs import compute, evaluate, folder, truth

__all__ = [
    "CONCEPTS", "REACHES", "SIZES", "Request", "Size", "arms", "blocks", "compute", "evaluate", "folder", "gather",
    "localisation_folder", "localised", "panel", "run_of", "settled", "ships", "truth", "write",
]  # fmt: skip
