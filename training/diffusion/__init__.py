"""The recipes of the minis: text encoders, latents, denoisers."""

from training.diffusion.recipe import RECIPES, train, train_further

__all__ = ["RECIPES", "train", "train_further"]
