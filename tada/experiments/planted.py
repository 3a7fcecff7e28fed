"""Planted minis: what localisation finds in them, held against the layers that are known to carry every concept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any

import pandas as pd

from tada import patching
from tada.errors import InputError
from tada.experiments import localisation as localise
from tada.minis import cards

PAIRS = 48
"""Of each concept, and of its controls, that the cards of planted minis tell of."""


def graded(work: localise.Plan, impacts: pd.DataFrame, known: Iterable[int], **options: Any) -> pd.DataFrame:
    """Hold a localisation against layers that are known.

    Args:
        work: what was localised.
        impacts: as from ``tada.experiments.localisation.controlled``.
        known: the layers that carry every concept.
        options: ``store, workers, progress``, as for ``work.sweep``.

    Returns:
        ``concept, layers`` (found), ``precision, recall``, the impact of the known layers ``together``, that of the
        ``strongest other`` layer, and of each known layer ``impact N, low N, high N``.
    """
    layers = sorted(known)
    single = impacts[(impacts["method"] == "patch") & impacts["layers"].str.fullmatch(r"\d+")]
    table = localise.agreement(localise.verdicts(impacts), layers).set_index("concept")
    table["together"] = patching.impact(work.sweep([layers], **options)).set_index("concept")["impact"]
    others = single[single["known"] & ~single["layers"].isin(map(str, layers))]
    table["strongest other"] = others.groupby("concept")["impact"].agg(lambda values: values.abs().max())
    for layer in layers:
        alone = single[single["layers"] == str(layer)].set_index("concept")[["impact", "low", "high"]]
        table = table.join(alone.add_suffix(f" {layer}"))
    return table.reset_index()


def measure(
    name: str, checkpoint: str | Path = "planted", pairs: int = PAIRS, concepts: Iterable[str] = (), **options: Any
) -> pd.DataFrame:
    """Localise concepts in a planted mini, with controls on all pairs, and hold what is found against the truth.

    Args:
        name: the architecture.
        checkpoint: ``"planted"``, or the folder of a planted mini.
        pairs: of prompts, a concept.
        concepts: which; none for all.
        options: ``store, workers, progress``, as for ``tada.patching.sweep``.

    Returns:
        As :func:`graded`.

    Raises:
        ValueError: a checkpoint that does not say which layers are planted.
    """
    work = localise.plan(name, str(checkpoint), tuple(concepts), score="probe", limit=pairs)
    work = replace(work, profile=replace(work.profile, control_pairs=pairs))
    known = work.model.functional
    if not known:
        raise InputError(
            f"got {work.model.checkpoint}, which does not say which layers carry concepts; expected planted"
        )
    impacts = localise.controlled(work, patching.impact(work.sweep(**options)), **options)
    return graded(work, impacts, known, **options)


def shown(table: pd.DataFrame, known: Iterable[int]) -> pd.DataFrame:
    """The table of :func:`graded` with impacts as text, for readers."""
    texts = {
        f"layer {layer}": [
            f"{value:.2f} [{low:.2f}, {high:.2f}]" if isfinite(high) else "unknown"
            for value, low, high in table[[f"{name} {layer}" for name in ("impact", "low", "high")]].to_numpy()
        ]
        for layer in sorted(known)
    }
    kept = table[["concept", "precision", "recall", "together", "strongest other"]]
    return pd.concat([kept.iloc[:, :1], pd.DataFrame(texts, table.index), kept.iloc[:, 1:]], axis=1)


def shipped(name: str) -> tuple[pd.DataFrame, int]:
    """What the card of a shipped planted mini says of its sites, as :func:`graded`, and of how many pairs a concept."""
    found = cards.read(f"{name}-planted")["localisation"]
    return pd.DataFrame(found["concepts"]), int(found["pairs"])
