"""Find the layers that carry a concept: sweep, impact (equation 9), functional layers, screening."""

from tada.patching.impacts import (
    Functional,
    aggregate,
    call_pooled,
    choose_functional,
    functional,
    impact,
    nested_sets,
    pooled_impact,
    split_pairs,
)
from tada.patching.screening import rank, screen
from tada.patching.sweeps import (
    CONTROLS,
    Change,
    LayerSets,
    draw_plant,
    plan_sweep,
    plant,
    resolve_sets,
    score_plan,
    sweep,
)

__all__ = [
    "CONTROLS",
    "Change",
    "Functional",
    "LayerSets",
    "aggregate",
    "call_pooled",
    "choose_functional",
    "draw_plant",
    "functional",
    "impact",
    "nested_sets",
    "plan_sweep",
    "pooled_impact",
    "plant",
    "rank",
    "resolve_sets",
    "score_plan",
    "screen",
    "split_pairs",
    "sweep",
]
