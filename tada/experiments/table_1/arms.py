"""The rows of Table 1: vectors fitted and ranged, and the autoencoder's; all of it is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd

from tada.concepts import steered as prompts
from tada.engine import units
from tada.errors import InputError
from tada.experiments import autoencoder as sae_runs
from tada.experiments.profiles import get_profile
from tada.experiments.table_1.request import Request, panel, run_of
from tada.steering import Arm, calibrate, lengths, library
from tada.steering.distance import prompt_distance, range_by_distance
from tada.store import Store


def arms(request: Request, concept: str) -> list[Arm]:
    """The rows of Table 1 for a concept, in the paper's order."""
    return [*caa_arms(request, concept), *sae_arms(request, concept)]


def caa_arms(request: Request, concept: str) -> list[Arm]:
    """CAA on all layers, on all but the functional ones, and on those."""
    run = run_of(request)
    vector = library.fit(run.model, run.recipe(concept), Path(request.store) / "vectors")
    return [_ranged(request, concept, Arm("CAA", vector, layers)) for layers in run.layer_sets]


def sae_arms(request: Request, concept: str) -> list[Arm]:
    """The autoencoder's features on its one layer, without the old lengths (eq. 8)."""
    found, table = features(request)
    vector = sae_runs.vector(run_of(request), found, table, concept)
    return [_ranged(request, concept, Arm("SAE", vector, [request.layer], renorm=False))]


def features(request: Request) -> tuple[sae_runs.Trained, pd.DataFrame]:
    """The autoencoder of the layer, and its features' scores for the concepts."""
    run, kept, size = run_of(request), Path(request.store) / "sae", get_profile(request.profile).autoencoder
    found = sae_runs.trained(run, request.layer, size, kept, request.captions or None)
    return found, sae_runs.score_table(run, found, list(request.concepts), kept)


# ---- ranges


def _ranged(request: Request, concept: str, arm: Arm) -> Arm:
    """The arm with its range."""
    ways = {"length": _by_length, "calibrated": _by_judge, "distance": _by_distance}
    way = ways.get(request.size.scale)
    return arm if way is None else way(request, concept, arm)


def _by_judge(request: Request, concept: str, arm: Arm) -> Arm:
    run = run_of(request)
    return calibrate(run.model, arm, run.trial(concept), run.judge, Store(Path(request.store) / "scores"))


def _by_distance(request: Request, concept: str, arm: Arm) -> Arm:
    """As far as the prompt's own concept moves clips; a pole that no prompt can ask for goes as far as the other."""
    run, trial, suite = run_of(request), run_of(request).trial(concept), panel(request)
    more, less = (
        [side.format(base=text) for text, _ in trial.rows] for side in prompts.get(concept).templates["revised"]
    )
    store = Store(Path(request.store) / "evaluation")
    sides = {"what": "distance of prompts", "concept": concept, "sides": [more, less], "rows": trial.rows}
    name = units(run.model, trial.setting, suite, [sides])[0]
    targets = store.get(name)
    if targets is None:
        targets = store.get_or_set(name, list(prompt_distance(run.model, trial, more, less, suite)))
    up, down = targets
    if not up and not down:
        raise InputError(f"prompts that ask for {concept} give the same clips: choose reach='length' in its place")
    return range_by_distance(run.model, arm, trial, (up or down, down or up), suite, store=store)[0]


def _by_length(request: Request, concept: str, arm: Arm) -> Arm:
    """One length of the steered layers' outputs, on prompts of the first concept for all."""
    run = run_of(request)
    raw = lengths(run.model, arm.vector, run.trial(request.concepts[0]), arm.layers)
    return replace(arm, scale=(raw, raw))
