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
    mixed,
    scores,
    train,
    vector,
)

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
    "mixed",
    "scores",
    "train",
    "vector",
]
