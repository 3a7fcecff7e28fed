"""The recipes of the minis: text encoders, latents, denoisers."""

from training.diffusion.recipe import RECIPES, prepare, through_codec, train, train_further

__all__ = ["RECIPES", "prepare", "through_codec", "train", "train_further"]
