"""Steering vectors: fit, combine, apply; ways to steer, and the range of their strengths."""

from tada.steering.arms import Arm, StackedArm, Trial, seeded, steer
from tada.steering.clamped import ClampArm, clamp
from tada.steering.controls import paraphrases, random_like, shuffle_labels, unrelated
from tada.steering.library import Recipe, fit
from tada.steering.pairwise import (
    contrast,
    difference,
    keep_largest,
    means,
    pair_means,
    probe_direction,
    sign_consistency,
)
from tada.steering.prompted import (
    Poles,
    PromptArm,
    TokenArm,
    guide_apart,
    shift_text,
    shift_token,
    switch_prompt,
    token_vector,
)
from tada.steering.ranges import calibrate, calibrated, grid, lengths
from tada.steering.recorded import RecordedArm
from tada.steering.sliders import Slider, SliderArm, SliderRecipe, train_slider
from tada.steering.vector import Vector, combine, orthogonalise

__all__ = [
    "Arm",
    "ClampArm",
    "Poles",
    "PromptArm",
    "Recipe",
    "RecordedArm",
    "Slider",
    "SliderArm",
    "SliderRecipe",
    "StackedArm",
    "TokenArm",
    "Trial",
    "Vector",
    "calibrate",
    "calibrated",
    "clamp",
    "combine",
    "contrast",
    "difference",
    "fit",
    "grid",
    "guide_apart",
    "keep_largest",
    "lengths",
    "means",
    "orthogonalise",
    "pair_means",
    "paraphrases",
    "probe_direction",
    "random_like",
    "seeded",
    "shift_text",
    "shift_token",
    "shuffle_labels",
    "sign_consistency",
    "steer",
    "switch_prompt",
    "token_vector",
    "train_slider",
    "unrelated",
]
