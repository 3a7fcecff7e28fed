"""Sparse autoencoders over cross-attention outputs: train, score features, steer."""

from tada.sae.model import (
    Activity,
    Batch,
    Code,
    SaeConfig,
    Score,
    SparseAutoencoder,
    activations,
    feature_moments,
    geometric_median,
    losses,
    scores,
    shuffle_buffer,
    train,
    vector,
)

mixed = shuffle_buffer
"""Its name until the next release."""

__all__ = [
    "Activity",
    "Batch",
    "Code",
    "SaeConfig",
    "Score",
    "SparseAutoencoder",
    "activations",
    "feature_moments",
    "geometric_median",
    "losses",
    "scores",
    "shuffle_buffer",
    "train",
    "vector",
]
