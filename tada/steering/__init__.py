"""Steering vectors: fit, combine, apply, find their range."""

from tada.steering.vector import (
    Alpha,
    Vector,
    combine,
    contrast,
    means,
    orthogonalise,
    renormalise,
)

__all__ = [
    "Alpha",
    "Vector",
    "combine",
    "contrast",
    "means",
    "orthogonalise",
    "renormalise",
]
