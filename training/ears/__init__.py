"""The recipes of the two ears."""

from training.ears.recipe import RECIPES, train

__all__ = ["RECIPES", "train"]
