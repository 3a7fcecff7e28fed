"""The concepts of the paper: their words, templates and queries."""

from tada.concepts.table import (
    RULES,
    TEMPLATES,
    Concept,
    authors,
    check_rules,
    get,
    names,
    paper,
)

__all__ = [
    "Concept",
    "RULES",
    "TEMPLATES",
    "authors",
    "check_rules",
    "get",
    "names",
    "paper",
]
