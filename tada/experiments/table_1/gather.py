"""What earlier runs left in their stores, as evidence for claims."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from tada.errors import UnknownNameError, unknown
from tada.experiments.claims import Evidence
from tada.experiments.table_1.layers import localised
from tada.experiments.table_1.request import Request
from tada.models import ARCHITECTURES, shipped


def gather(
    models: Sequence[str],
    checkpoints: Sequence[str],
    store: str | Path = "_build/steering",
    localisation: str | Path = "_build/localisation",
    profile: str = "mini",
) -> list[Evidence]:
    """What earlier runs left, one entry a model and checkpoint; nothing is generated.

    Args:
        models: architectures.
        checkpoints: as for ``tada.load``; ``"public"`` is the paper's.
        store: of the steering.
        localisation: of the scores of localisation.
        profile: of the localisation.

    Returns:
        Evidence in the order of ``models`` and ``checkpoints``; planted checkpoints that do not exist are left out.

    Raises:
        KeyError: an unknown architecture or profile.
    """
    for name in models:
        if name not in ARCHITECTURES:
            raise UnknownNameError(unknown("architecture", name, ARCHITECTURES))
    left: dict[tuple[str, str], tuple[Path | None, str]] = {}
    for file in sorted(Path(store).glob("tables/*/results.parquet")):
        about = json.loads(file.with_name("run.json").read_text())
        left[about["name"], about["checkpoint"]] = file, about["words"]
    found = []
    for name in models:
        for checkpoint in checkpoints:
            if checkpoint == "planted" and not ships(name, checkpoint):
                continue
            path, words = left.get((name, checkpoint), (None, ""))
            request = Request(name, checkpoint, profile, words=words, localisation=str(localisation))
            results = None if path is None else pd.read_parquet(path)
            found.append(Evidence(name, checkpoint, localised(request), results))
    return found


def ships(name: str, checkpoint: str) -> bool:
    """Whether the package has the ``"mini"`` or ``"planted"`` checkpoint of an architecture."""
    try:
        return shipped(name, checkpoint).is_dir()
    except KeyError:
        return False
