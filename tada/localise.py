"""A whole localisation run by profile: pairs, sweep, impact, and the tables it leaves beside the store."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd

import tada
from tada import pairs as prompt_pairs
from tada import patching
from tada.errors import unknown
from tada.models import ARCHITECTURES

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Profile:
    """How much to run.

    Attributes:
        pairs: at most so many a concept.
        seeds: for every pair.
        preset: of the sampling.
        steps: in its place where given.
        seconds: length of the clips; None for the paper's: 30 for ACE-Step, 10 for the others.
    """

    pairs: int
    seeds: int
    preset: str
    steps: int | None = None
    seconds: float | None = None


PROFILES = {
    "smoke": Profile(2, 1, "default", steps=4, seconds=1.0),
    "mini": Profile(32, 1, "default", seconds=2.5),
    "colab": Profile(32, 2, "localisation"),
    "paper": Profile(256, 8, "localisation"),
}
"""``paper`` is section 4.1: up to 256 prompts a concept, 8 seeds each."""


def run(
    name: str,
    checkpoint: str | None,
    workers: int,
    store: str | Path,
    *,
    wanted: Sequence[str] = (),
    profile: str = "mini",
    score: str = "",
    captions: str | None = None,
    rules: str = "paper",
    sets: Sequence[str] = (),
    controls: bool = False,
    steps: int | None = None,
    seconds: float | None = None,
    tell: Callable[[str], Any] = log.info,
) -> pd.DataFrame:
    """Localise concepts in a model.

    Args:
        name: the architecture, as for ``tada.load``.
        checkpoint: as for ``tada.load``.
        workers: processes.
        store: folder of the scores; ``pairs.parquet``, ``scores.parquet`` and ``impact.csv`` are written there.
        wanted: concepts; none for all of the rule set.
        profile: a name in :data:`PROFILES`.
        score: ``module:name`` of what judges clips, as for ``tada.patching.sweep``.
        captions: as for ``tada.pairs.build``.
        rules: as for ``tada.pairs.build``.
        sets: layer sets such as ``"6+7"``; none for every layer.
        controls: whether controls are routed, too.
        steps: in place of the profile's.
        seconds: in place of the profile's.
        tell: is told what is about to be done.

    Returns:
        The impacts, as from ``tada.patching.impact``.
    """
    if name not in ARCHITECTURES:
        raise KeyError(unknown("architecture", name, ARCHITECTURES))
    settings, judge = PROFILES[profile], resolve(score)
    frame = prompt_pairs.build(captions, list(wanted) or None, rules, settings.pairs)
    kinds = patching.CONTROLS if controls else ()
    frame = prompt_pairs.with_controls(frame, captions) if controls else frame
    load = partial(tada.load, name, checkpoint)
    model = load()
    count = steps or settings.steps
    sampling = model.sampling(settings.preset, **({"steps": count} if count else {}))
    length = seconds or settings.seconds or (30.0 if name == "ace-step" else 10.0)
    layers = [layer_set(text) for text in sets] or None
    clips = len(frame) * settings.seeds * (2 + len(patching.resolve_sets(model, layers)) * (1 + len(kinds)))
    tell(f"{model!r}: {len(frame)} pairs of {frame['concept'].nunique()} concepts, {clips} clips of {length:g} s")
    scores = patching.sweep(
        load if workers > 1 else model,
        frame,
        range(settings.seeds),
        layers,
        sampling,
        length,
        score=judge,
        store=store,
        controls=kinds,
        workers=workers,
        progress=True,
    )
    impacts = patching.impact(scores)
    prompt_pairs.whole(Path(store) / "pairs.parquet", lambda path: frame.to_parquet(path, index=False))
    prompt_pairs.whole(Path(store) / "scores.parquet", lambda path: scores.to_parquet(path, index=False))
    prompt_pairs.whole(Path(store) / "impact.csv", lambda path: impacts.to_csv(path, index=False))
    return impacts


def resolve(path: str) -> Any:
    """What ``module:name`` names; ValueError that says what is missing."""
    module, _, attribute = path.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"no score {path!r} ({error}); expected module:name of a function score(clips, rows)"
        ) from None


def layer_set(text: str) -> str | list[int | str]:
    """``"6+7"`` as indices, site names as they are, names of layer sets as they are."""
    if text in ("functional", "all-but-functional"):
        return text
    return [int(part) if part.lstrip("-").isdigit() else part for part in text.split("+")]
