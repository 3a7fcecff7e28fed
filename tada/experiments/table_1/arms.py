"""The rows of Table 1: vectors fitted and ranged, and the autoencoder's; all of it is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tada.concepts import steered as prompts
from tada.errors import InputError
from tada.evaluation.grid import Arm
from tada.experiments import autoencoder as sae_runs
from tada.experiments.profiles import get_profile
from tada.experiments.table_1.request import Request, panel, run_of
from tada.hooks import record
from tada.steering import distance as reach
from tada.steering import library
from tada.steering import ranges as calibrate
from tada.store import Store, key


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
    return arm if way is None else replace(arm, reach=way(request, concept, arm))


def _by_judge(request: Request, concept: str, arm: Arm) -> tuple[float, float]:
    run, store = run_of(request), Store(Path(request.store) / "scores")
    vector = calibrate.calibrate(
        run.model, arm.vector, run.trial(concept), arm.layers,
        concept=concept, score=run.judge, renorm=arm.renorm, store=store,
    )  # fmt: skip
    low, high = calibrate.limits(run.model, vector, arm.layers, renorm=arm.renorm)
    return abs(high), abs(low)


def _by_distance(request: Request, concept: str, arm: Arm) -> tuple[float, float]:
    """As far as the prompt's own concept moves clips; a pole that no prompt can ask for goes as far as the other."""
    run, setting = run_of(request), run_of(request).trial(concept)
    known, sites = prompts.get(concept), list(run.model.resolve(arm.layers))
    more, less = ([side.format(base=text) for text in setting.prompts] for side in known.templates["revised"])
    common: dict[str, Any] = {"panel": panel(request), "sampling": run.sampling, "lyrics": setting.lyrics}

    def found() -> tuple[float, float]:
        up, down = reach.swap(run.model, setting.prompts, more, less, run.seconds, **common)
        if not up and not down:
            raise InputError(f"prompts that ask for {concept} give the same clips: choose reach='length' in its place")
        targets = (up or down, down or up)
        return reach.find(run.model, arm, setting.prompts, targets, run.seconds, **common).strengths

    about = {"sites": sites, "vector": calibrate.digest(arm.vector, sites), "renorm": arm.renorm, "sides": [more, less]}
    up, down = _kept(request, concept, {"what": "range by distance", "panel": panel(request).key, **about}, found)
    return up, down


def _by_length(request: Request, concept: str, arm: Arm) -> tuple[float, float]:
    """One length of what the steered layers put out, median over layers."""
    long, own = _lengths(request), arm.vector.directions
    sizes = {site: float(own[site].norm(dim=-1).mean()) for site in run_of(request).model.resolve(arm.layers)}
    strength = float(np.median([long[site] / size for site, size in sizes.items() if size]))
    return strength, strength


def _lengths(request: Request) -> Mapping[str, float]:
    """How long what each site puts out is: mean over steps, frames and a few prompts."""
    run, concept = run_of(request), request.concepts[0]
    setting = run.trial(concept)

    def found() -> dict[str, float]:
        with record(run.model, list(run.model.sites), reduce=lambda h: h.float().norm(dim=-1).mean(dim=1)) as kept:
            context = run.model.encode(list(setting.prompts), lyrics=setting.lyrics)
            noise = run.model.noise([setting.seeds[0]] * len(setting.prompts), run.seconds)
            run.model.sample(context, noise, run.sampling)
        return {site: float(values.mean()) for site, values in kept.items()}

    return dict(_kept(request, concept, {"what": "lengths of what sites put out"}, found))


def _kept(request: Request, concept: str, about: Mapping[str, Any], find: Callable[[], Any]) -> Any:
    """What was found before for the same model and prompts, or is found now."""
    run = run_of(request)
    setting = run.trial(concept)
    known = {"weights": run.model.fingerprint(), "sampling": asdict(run.sampling), "seconds": run.seconds}
    name = key({**about, **known, "prompts": setting.prompts, "lyrics": setting.lyrics})
    store = Store(Path(request.store) / "evaluation")
    chosen = store.get(name)
    return store.get_or_set(name, find()) if chosen is None else chosen
