"""Steering vectors: fit, combine, apply; ways to steer, and the range of their strengths."""

from tada.steering.arms import Arm, Trial, seeded
from tada.steering.library import Recipe, fit
from tada.steering.ranges import calibrate, calibrated, grid, lengths
from tada.steering.vector import Vector, combine, contrast, means, orthogonalise

__all__ = [
    "Arm",
    "Recipe",
    "Trial",
    "Vector",
    "calibrate",
    "calibrated",
    "combine",
    "contrast",
    "fit",
    "grid",
    "lengths",
    "means",
    "orthogonalise",
    "seeded",
]
