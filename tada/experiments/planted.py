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
from tada.experiments import localisation
from tada.experiments.experiment import Experiment
from tada.minis import cards

PAIRS = 48
"""Of each concept, and of its controls, that the cards of planted minis tell of."""


def precision_recall(
    work: Experiment, pairs: pd.DataFrame, impacts: pd.DataFrame, known: Iterable[int], **options: Any
) -> pd.DataFrame:
    """Hold a localisation against layers that are known.

    Args:
        work: what was localised.
        pairs: as from ``tada.experiments.localisation.build_pairs``.
        impacts: as from ``tada.experiments.localisation.add_controls``.
        known: the layers that carry every concept.
        options: ``store, workers, progress``, as for ``localisation.sweep``.

    Returns:
        ``concept, layers`` (found), ``precision, recall``, the impact of the known layers ``together``, that of the
        ``strongest other`` layer, and of each known layer ``impact N, low N, high N``.
    """
    layers = sorted(known)
    single = impacts[(impacts["method"] == "patch") & impacts["layers"].str.fullmatch(r"\d+")]
    table = localisation.agreement(patching.functional(impacts), layers).set_index("concept")
    table["together"] = patching.impact(localisation.sweep(work, pairs, [layers], **options)).set_index("concept")[
        "impact"
    ]
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
        As :func:`precision_recall`.

    Raises:
        ValueError: a checkpoint that does not say which layers are planted.
    """
    work = localisation.plan(name, str(checkpoint), judge="probe")
    size = replace(work.profile.localisation, control_pairs=pairs)
    work = replace(work, profile=replace(work.profile, localisation=size))
    known = work.model.functional
    if not known:
        raise InputError(
            f"got {work.model.checkpoint}, which does not say which layers carry concepts; expected planted"
        )
    table = localisation.build_pairs(work, tuple(concepts), limit=pairs)
    impacts = patching.impact(localisation.sweep(work, table, **options))
    impacts = localisation.add_controls(work, table, impacts, **options)
    return precision_recall(work, table, impacts, known, **options)


def format_table(table: pd.DataFrame, known: Iterable[int]) -> pd.DataFrame:
    """Write the impacts in the table of :func:`precision_recall` as text, for readers."""
    texts = {
        f"layer {layer}": [
            f"{value:.2f} [{low:.2f}, {high:.2f}]" if isfinite(high) else "unknown"
            for value, low, high in table[[f"{name} {layer}" for name in ("impact", "low", "high")]].to_numpy()
        ]
        for layer in sorted(known)
    }
    kept = table[["concept", "precision", "recall", "together", "strongest other"]]
    return pd.concat([kept.iloc[:, :1], pd.DataFrame(texts, table.index), kept.iloc[:, 1:]], axis=1)


def card_results(name: str) -> tuple[pd.DataFrame, int]:
    """Read the table of :func:`precision_recall` on a planted mini's card, and of how many pairs a concept it is."""
    found = cards.read(f"{name}-planted")["localisation"]
    return pd.DataFrame(found["concepts"]), int(found["pairs"])
