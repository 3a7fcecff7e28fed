"""Which layers of a checkpoint count as functional, and where that is known from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd

from tada import pairs as prompt_pairs
from tada import patching
from tada.engine import Setting
from tada.experiments import localisation as localise
from tada.experiments import steering as steer_runs
from tada.experiments.table_1.request import Request, loaded, run_of
from tada.models import SHIPPED, shipped
from tada.store import UNIT, Store


def settled(request: Request) -> Request:
    """The request with its layers settled.

    Functional layers are those that were given, else those the checkpoint says of itself, else those of highest mean
    impact in a finished localisation, else those where the text has most influence on the prediction (a ranking, no
    result); in the last two cases as many as the paper found in this architecture. The autoencoder's layer is the one
    of them with the highest impact or influence where these are known, else the last.

    Raises:
        KeyError, IndexError, ValueError, OSError: as for ``tada.experiments.steering.plan``.
    """
    run = loaded(request)
    own = run.model.functional
    count = len(run.model.paper_layers)
    scores = localised(request)
    ranking = [] if scores is None else localise.ranked(patching.impact(scores))
    if request.functional:
        layers, origin = list(steer_runs.indices(run.model, request.functional)), "given"
    elif own is not None:
        layers, origin = list(own), _said(request)
    elif scores is not None:
        layers = ranking[:count]
        origin = f"highest mean impact of {scores['concept'].nunique()} concepts, localised on this checkpoint"
    else:
        layers = ranking = _screened(request)[:count]
        origin = "most influence of the text; not localised on this checkpoint yet"
    best = next((layer for layer in ranking if layer in layers), layers[-1])
    return replace(
        request,
        functional="+".join(map(str, sorted(layers))),
        layer=request.layer if request.layer >= 0 else best,
        origin=request.origin or origin,
    )


def _said(request: Request) -> str:
    """Where a checkpoint has its functional layers from, by its own words."""
    if request.checkpoint == "planted":
        return "known by construction"
    place = shipped(request.name, request.checkpoint) if request.checkpoint in SHIPPED else Path(request.checkpoint)
    about = place / "tada.json"
    said = json.loads(about.read_text(encoding="utf-8")).get("functional from") if about.is_file() else None
    return str(said or "said by the checkpoint")


def localised(request: Request) -> pd.DataFrame | None:
    """The scores of the largest finished localisation of every layer in the store, by profile, None if there is none.

    Finished is that of the first n pairs of every concept, for the largest n of which all clips are there.
    """
    place = localisation_folder(request)
    if not place.is_dir():
        return None
    mini = (request.words or ("mini" if request.checkpoint in SHIPPED else "public")) == "mini"
    try:
        work = localise.plan(request.name, request.checkpoint, (), request.profile, score="probe" if mini else "clap")
    except (KeyError, OSError):  # of a checkpoint that is not here any more
        return None
    setting = Setting(work.seconds, work.sampling)
    plan = patching.plan_sweep(work.model, work.pairs, work.seeds, None, setting, work.score)
    gone = ~plan[UNIT].isin(Store(place).known())
    if gone.any():
        numbers = plan.groupby("concept")["pair"].transform(lambda pairs: pairs.factorize()[0])
        work = work.only(limit=int(numbers[gone].min()))
    return work.sweep(store=place) if len(work.pairs) else None


def localisation_folder(request: Request) -> Path:
    """Where the page of localisation keeps its scores."""
    name = request.checkpoint if len(request.checkpoint) < 12 else "own"
    return Path(request.localisation) / f"{request.name}-{name}"


def _screened(request: Request) -> list[int]:
    from tada.patching.screening import rank, screen

    run = run_of(request)
    pairs = prompt_pairs.build(None, ["slow", "sad", "female", "drums"], limit=1 if request.profile == "smoke" else 2)
    found = screen(run.model, pairs, 0, None, Setting(run.seconds, run.sampling), steps=min(4, run.sampling.steps))
    return [int(layer) for layer in rank(found)]
