"""The engine: rows of prompt, seed and intervention become clips, and clips become judged, stored results.

Everything that generates for a result goes through :func:`run`, and everything that determines a result goes into its
key through :func:`units`. A plan is a table with one row a clip: ``prompt, seed``, the key ``unit_hash``, ``chunk``
(rows that share one padded length of text, and that one process computes), optionally those of :data:`OTHER_TEXTS`
(which the intervention reads), ``kind`` (rows of one batch have the same), ``reference`` (the key of a row that is
made before this one, whether or not it is stored) and whatever judge and intervention read.
"""

from tada.engine.chunks import COLUMNS, OTHER_TEXTS
from tada.engine.jobs import BATCH, Intervention, Job, Setting, Texts, no_intervention, units
from tada.engine.running import generate, run

__all__ = [
    "BATCH", "COLUMNS", "OTHER_TEXTS", "Intervention", "Job", "Setting", "Texts", "generate", "no_intervention", "run",
    "units",
]  # fmt: skip
