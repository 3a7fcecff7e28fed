"""Find the layers that carry a concept: sweep, impact (equation 9), functional layers, screening."""

from tada.models.fingerprint import fingerprint
from tada.patching.impacts import (
    CASE,
    MARGIN,
    aggregate,
    functional,
    growing,
    impact,
)
from tada.patching.sweeps import (
    CHUNK,
    COLUMNS,
    CONTROLS,
    PATIENCE,
    PLAN,
    LayerSets,
    Loader,
    Score,
    best_batch,
    checked_pairs,
    resolve_sets,
    rows_by_sites,
    sets_of,
    sweep,
    units,
)

__all__ = [
    "CASE",
    "CHUNK",
    "COLUMNS",
    "CONTROLS",
    "LayerSets",
    "Loader",
    "MARGIN",
    "PATIENCE",
    "PLAN",
    "Score",
    "aggregate",
    "best_batch",
    "checked_pairs",
    "fingerprint",
    "functional",
    "growing",
    "impact",
    "resolve_sets",
    "rows_by_sites",
    "sets_of",
    "sweep",
    "units",
]
