"""The concepts of the paper: their words, templates and queries."""

from tada.concepts.table import AUTHORS, PAPER, RULES, STEERED, TABLE_1, Concept, family, get, judged, names, select

__all__ = ["AUTHORS", "PAPER", "RULES", "STEERED", "TABLE_1", "Concept", "family", "get", "judged", "names", "select"]
