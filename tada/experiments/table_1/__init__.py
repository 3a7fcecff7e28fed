"""Table 1 by profile: which layers are functional, the rows that are compared, their ranges, and what a run leaves.

A run leaves its tidy results in ``tables/<checkpoint>/`` below its store, where later pages read them, and the table as
csv, LaTeX and HTML beside them.
"""

from tada.evaluation.layout import blocks, write
from tada.experiments.table_1.arms import arms
from tada.experiments.table_1.gather import gather, ships
from tada.experiments.table_1.layers import localisation_folder, localised, settled
from tada.experiments.table_1.request import CONCEPTS, REACHES, Request, panel, run_of
from tada.experiments.table_1.runs import compute, evaluate, folder, truth

__all__ = [
    "CONCEPTS", "REACHES", "Request", "arms", "blocks", "compute", "evaluate", "folder", "gather",
    "localisation_folder", "localised", "panel", "run_of", "settled", "ships", "truth", "write",
]  # fmt: skip
