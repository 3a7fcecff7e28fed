"""Steering vectors: fit, combine, apply; ways to steer, and the range of their strengths."""

from tada.steering.arms import Arm, Trial, seeded, steer
from tada.steering.clamped import ClampArm, clamp
from tada.steering.controls import paraphrases, random_like, shuffle_labels, unrelated
from tada.steering.library import Recipe, fit
from tada.steering.pairwise import contrast, keep_largest, means, probe_direction, sign_consistency
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
from tada.steering.sliders import Slider, SliderArm, SliderRecipe, train_slider
from tada.steering.vector import Vector, combine, orthogonalise

__all__ = [
    "Arm",
    "ClampArm",
    "Poles",
    "PromptArm",
    "Recipe",
    "Slider",
    "SliderArm",
    "SliderRecipe",
    "TokenArm",
    "Trial",
    "Vector",
    "calibrate",
    "calibrated",
    "clamp",
    "combine",
    "contrast",
    "fit",
    "grid",
    "guide_apart",
    "keep_largest",
    "lengths",
    "means",
    "orthogonalise",
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
