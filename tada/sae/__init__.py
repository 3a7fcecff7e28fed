"""Sparse autoencoders over cross-attention outputs: train, score features, steer."""

from tada.sae.features import feature_moments, scores, vector
from tada.sae.model import Code, SaeConfig, SparseAutoencoder, geometric_median
from tada.sae.streams import activations, shuffle_buffer
from tada.sae.training import losses, train

__all__ = [
    "Code",
    "SaeConfig",
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
