"""The recipes that made the shipped weights: minis, ears and probe. Imports tada; nothing imports it."""
