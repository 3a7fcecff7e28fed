"""Find the layers that carry a concept: sweep, impact (equation 9), functional layers, screening."""

from tada.patching.impacts import (
    CASE,
    Functional,
    aggregate,
    call_pooled,
    choose_functional,
    functional,
    growing,
    impact,
    nested_sets,
    pooled_impact,
    split_pairs,
)
from tada.patching.plants import draw_plant, plant
from tada.patching.screening import rank, screen
from tada.patching.sweeps import CONTROLS, Change, LayerSets, plan_sweep, resolve_sets, sets_of_concepts, sweep

__all__ = [
    "CASE",
    "CONTROLS",
    "Change",
    "Functional",
    "LayerSets",
    "aggregate",
    "call_pooled",
    "choose_functional",
    "draw_plant",
    "functional",
    "growing",
    "impact",
    "nested_sets",
    "plan_sweep",
    "pooled_impact",
    "plant",
    "rank",
    "resolve_sets",
    "screen",
    "sets_of_concepts",
    "split_pairs",
    "sweep",
]
