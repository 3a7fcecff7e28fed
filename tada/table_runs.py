"""Table 1 by profile: which layers are functional, the rows that are compared, their ranges, and what a run leaves.

A run leaves its tidy results in ``tables/<checkpoint>/`` below its store, where later pages read them, and the table as
csv, LaTeX and HTML beside them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from tada import calibrate, evaluation, library, localise, patching, sae_runs, steer_runs
from tada import pairs as prompt_pairs
from tada.claims import Evidence
from tada.errors import unknown
from tada.evaluation import Arm
from tada.hooks import record
from tada.metrics.panel import Panel
from tada.models import ARCHITECTURES
from tada.models.base import Layers
from tada.steer_runs import Run
from tada.store import UNIT, Store, key

CONCEPTS = ("tempo", "mood", "vocal gender", "piano")
"""The concepts of Table 1."""

SETS: tuple[Layers, ...] = ("all", "all-but-functional", "functional")
"""Layer sets of the CAA rows, in the paper's order."""

REACHES = ("length", "calibrated", "paper")
"""What 100 % is: the length of what the steered layers put out; a range found with a judge, see
:mod:`tada.calibrate`; a raw strength of 100, as in the paper."""


@dataclass(frozen=True)
class Size:
    """How much of Table 1 is run.

    Attributes:
        prompts: steered, for each concept.
        percents: strengths other than 0, in percent of the range.
        reach: what 100 % is, a name in :data:`REACHES`.
        truths: renders that clips of minis are compared with.
    """

    prompts: int
    percents: tuple[float, ...]
    reach: str
    truths: int


SIZES = {
    "smoke": Size(3, (-100.0, 100.0), "length", 8),
    "mini": Size(8, (-100.0, -50.0, 50.0, 100.0), "length", 200),
    "colab": Size(16, tuple(float(x) for x in range(-100, 101, 25) if x), "calibrated", 0),
    "paper": Size(100, tuple(x for x in evaluation.GRID if x), "paper", 0),
}


@dataclass(frozen=True)
class Request:
    """All that decides a Table 1; plain values, so that every process can be told.

    Attributes:
        name: the architecture, as for ``tada.load``.
        checkpoint: as for ``tada.load``; ``"public"`` is the paper's.
        profile: a name in :data:`SIZES`.
        concepts: rows of the table.
        functional: indices of the functional layers, such as ``"6+7"``; nothing for :func:`settled` to find out.
        layer: of the autoencoder; -1 for :func:`settled` to choose.
        words: vocabulary of the prompts, ``"mini"`` or ``"public"``; nothing for the checkpoint's.
        reach: what 100 % is; nothing for the profile's.
        count: prompts of a concept; 0 for the profile's.
        seconds: length of the clips; 0 for the profile's.
        captions: that the autoencoder is trained on, as for ``tada.pairs.build``.
        store: folder of everything that is kept.
        localisation: folder of the scores of localisation.
        origin: where the functional layers are known from, in words; set by :func:`settled`.
    """

    name: str
    checkpoint: str
    profile: str = "mini"
    concepts: tuple[str, ...] = CONCEPTS
    functional: str = ""
    layer: int = -1
    words: str = ""
    reach: str = ""
    count: int = 0
    seconds: float = 0.0
    captions: str = ""
    store: str = "_build/steering"
    localisation: str = "_build/localisation"
    origin: str = ""

    @property
    def size(self) -> Size:
        """How much is run."""
        if self.profile not in SIZES:
            raise KeyError(unknown("profile", self.profile, SIZES))
        given = SIZES[self.profile]
        chosen = replace(given, reach=self.reach or given.reach, prompts=self.count or given.prompts)
        if chosen.reach not in REACHES:
            raise KeyError(unknown("reach", chosen.reach, REACHES))
        return chosen


# ---- which layers


def settled(request: Request) -> Request:
    """The request with its layers settled.

    Functional layers are those that were given, else those the checkpoint says of itself, else those of highest mean
    impact in a finished localisation, else those where the text has most influence on the prediction (a ranking, no
    result); in the last two cases as many as the paper found in this architecture. The autoencoder's layer is the
    first of them by rank where there is a ranking, else the last.

    Raises:
        KeyError, IndexError, ValueError, OSError: as for ``tada.steer_runs.plan``.
    """
    run, own = _loaded(request.name, request.checkpoint, request.profile, request.words)
    model = run.model
    count = len(ARCHITECTURES[model.name].paper_layers)
    if request.functional:
        layers, origin = list(steer_runs.indices(model, request.functional)), "given"
    elif own is not None:
        layers, origin = list(own), "known by construction"
    elif (scores := localised(request)) is not None:
        layers = localise.ranked(patching.impact(scores))[:count]
        origin = f"highest mean impact of {scores['concept'].nunique()} concepts, localised on this checkpoint"
    else:
        layers, origin = _screened(request, count), "most influence of the text; not localised on this checkpoint yet"
    ranked = "impact" in origin or "influence" in origin
    layer = request.layer if request.layer >= 0 else layers[0 if ranked else -1]
    functional = "+".join(str(i) for i in sorted(layers))
    return replace(request, functional=functional, layer=layer, origin=request.origin or origin)


def localised(request: Request, profile: str = "mini") -> pd.DataFrame | None:
    """The scores of the localisation of every layer that lie in the store, None unless all of them do."""
    place = localisation_folder(request)
    if not place.is_dir():
        return None
    mini = (request.words or ("mini" if request.checkpoint in steer_runs.MINIS else "public")) == "mini"
    try:
        work = localise.plan(request.name, request.checkpoint, profile=profile, score="probe" if mini else "clap")
    except (KeyError, OSError):  # of a checkpoint that is not here any more
        return None
    job = patching._Job(work.sampling, work.seconds, None, None, work.score, 0, None, None)
    plan = patching.units(work.model, work.pairs, work.seeds, None, job)
    if not set(plan[UNIT]) <= Store(place).known():
        return None
    return work.sweep(store=place)


def localisation_folder(request: Request) -> Path:
    """Where the page of localisation keeps its scores."""
    name = request.checkpoint if len(request.checkpoint) < 12 else "own"
    return Path(request.localisation) / f"{request.name}-{name}"


def _screened(request: Request, count: int) -> list[int]:
    from tada.screening import rank, screen

    run = run_of(request)
    pairs = prompt_pairs.build(None, ["slow", "sad", "female", "drums"], limit=1 if request.profile == "smoke" else 2)
    found = screen(run.model, pairs, 0, None, run.sampling, run.seconds, steps=min(4, run.sampling.steps))
    return [int(layer) for layer in rank(found)[:count]]


# ---- what is compared


def run_of(request: Request) -> Run:
    """Model, sampling and prompts of a request; the model is loaded once in a process."""
    run, _ = _loaded(request.name, request.checkpoint, request.profile, request.words)
    run = replace(run, seconds=request.seconds or run.seconds)
    if not request.functional:
        return run
    run.model.functional = steer_runs.indices(run.model, request.functional)
    return replace(run, layer_sets=SETS)


@lru_cache(maxsize=1)
def _loaded(name: str, checkpoint: str, profile: str, words: str) -> tuple[Run, tuple[int, ...] | None]:
    """A run, and the functional layers that its checkpoint says of itself."""
    run = steer_runs.plan(name, checkpoint, profile, words=words)
    return run, run.model.functional


def panel(request: Request) -> Panel:
    """Who listens: the package's ears to minis, whose clips are brought to the renders' loudness; public ears else."""
    return _panel(run_of(request).words)


@lru_cache(maxsize=1)
def _panel(words: str) -> Panel:
    if words == "public":
        return Panel("public")
    from tada.minis.render import LOUDNESS

    return Panel("mini", loudness=LOUDNESS)


def arms(request: Request, concept: str) -> list[Arm]:
    """The rows of Table 1 for a concept, fitted and ranged, in the paper's order; all of it is kept."""
    return [*caa_arms(request, concept), sae_arm(request, concept)]


def caa_arms(request: Request, concept: str) -> list[Arm]:
    """CAA on all layers, on all but the functional ones, and on those."""
    run = run_of(request)
    vector = library.fit(run.model, run.recipe(concept), Path(request.store) / "vectors")
    return [_ranged(request, concept, Arm("CAA", vector, layers)) for layers in run.layer_sets]


def sae_arm(request: Request, concept: str) -> Arm:
    """The autoencoder's features on its one layer, without the old lengths (eq. 8)."""
    run = run_of(request)
    found, table = features(request)
    vector = sae_runs.vector(run, found, table, concept)
    return _ranged(request, concept, Arm("SAE", vector, [request.layer], renorm=False))


def features(request: Request) -> tuple[sae_runs.Trained, pd.DataFrame]:
    """The autoencoder of the layer, and its features' scores for the concepts."""
    run, kept = run_of(request), Path(request.store) / "sae"
    size = sae_runs.SIZES[request.profile]
    found = sae_runs.trained(run, request.layer, size, kept, request.captions or None)
    return found, sae_runs.score_table(run, found, list(request.concepts), kept)


def _ranged(request: Request, concept: str, arm: Arm) -> Arm:
    """The arm with its range."""
    run, reach = run_of(request), request.size.reach
    if reach == "paper":
        return arm
    sites = run.model.resolve(arm.layers)
    if reach == "length":
        long = _lengths(request)
        own = {site: float(arm.vector.directions[site].norm(dim=-1).mean()) for site in sites}
        strength = float(np.median([long[site] / own[site] for site in sites if own[site]]))
        return replace(arm, reach=(strength, strength))
    scores = Store(Path(request.store) / "scores")
    vector = calibrate.calibrate(
        run.model, arm.vector, run.trial(concept), arm.layers,
        concept=concept, score=run.judge, renorm=arm.renorm, store=scores,
    )  # fmt: skip
    low, high = calibrate.limits(run.model, vector, arm.layers, renorm=arm.renorm)
    return replace(arm, reach=(abs(high), abs(low)))


def _lengths(request: Request) -> dict[str, float]:
    """How long what each site puts out is: mean over steps, frames and a few prompts; kept."""
    run = run_of(request)
    setting = run.trial(request.concepts[0])
    about = {
        "what": "lengths of what sites put out",
        "weights": patching.fingerprint(run.model),
        "sampling": asdict(run.sampling),
        "seconds": run.seconds,
        "prompts": setting.prompts,
        "lyrics": setting.lyrics,
    }
    store, name = Store(Path(request.store) / "evaluation"), key(about)
    known = store.chosen(name)
    if known is None:
        with record(run.model, list(run.model.sites), reduce=lambda h: h.float().norm(dim=-1).mean(dim=1)) as kept:
            context = run.model.encode(list(setting.prompts), lyrics=setting.lyrics)
            seeds = [setting.seeds[0]] * len(setting.prompts)
            run.model.sample(context, run.model.noise(seeds, run.seconds), run.sampling)
        known = store.choose(name, {site: float(values.mean()) for site, values in kept.items()})
    return dict(known)


# ---- the run


def compute(request: Request, workers: int = 1) -> pd.DataFrame:
    """Everything that Table 1 needs; what is in the store is not computed again.

    Args:
        request: settled.
        workers: processes, each with a model and one thread; 1 on a GPU.

    Returns:
        As from ``tada.evaluation.run``, of all concepts and rows; also kept as ``results.parquet``.
    """
    if workers > 1:
        _side_by_side(request, workers)
    parts = [evaluate(request, name, arms(request, name), truth(request)) for name in request.concepts]
    rows = pd.concat(parts, ignore_index=True)
    about = {**asdict(request), "size": asdict(request.size), "seconds": run_of(request).seconds}
    about |= {"steps": run_of(request).sampling.steps, "sites": len(run_of(request).model.sites)}
    place = folder(request)
    place.mkdir(parents=True, exist_ok=True)
    prompt_pairs.whole(place / "results.parquet", lambda path: rows.to_parquet(path, index=False))
    prompt_pairs.whole(place / "run.json", lambda path: Path(path).write_text(json.dumps(about, indent=1) + "\n"))
    return rows


def evaluate(request: Request, concept: str, rows: Sequence[Arm], truth: Any = None) -> pd.DataFrame:
    """Steer and score the prompts of one concept; kept."""
    run, size = run_of(request), request.size
    kind = "mini" if run.words == "mini" else "paper"
    return evaluation.run(
        run.model,
        rows,
        concept,
        evaluation.prompts(kind, concept, size.prompts),
        run.seconds,
        panel=panel(request),
        sampling=run.sampling,
        percents=size.percents,
        store=Path(request.store) / "evaluation",
        truth=truth,
        lyrics=run.trial(concept).lyrics,
    )


def folder(request: Request) -> Path:
    """Where a run leaves its table."""
    return tables(request.store, request.name, run_of(request).model.checkpoint)


def tables(store: str | Path, name: str, checkpoint: str) -> Path:
    """Where runs on a checkpoint leave their tables."""
    return Path(store) / "tables" / f"{name}-{library.slug(checkpoint)}"


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
            raise KeyError(unknown("architecture", name, ARCHITECTURES))
    left = {(about["name"], about["checkpoint"]): path for path, about in _left(store)}
    found = []
    for name in models:
        for checkpoint in checkpoints:
            if checkpoint == "planted" and not _ships(name):
                continue
            request = Request(name, checkpoint, profile, store=str(store), localisation=str(localisation))
            path = left.get((name, checkpoint))
            results = None if path is None else pd.read_parquet(path)
            found.append(Evidence(name, checkpoint, localised(request, profile), results))
    return found


def _ships(name: str) -> bool:
    """Whether there is a planted checkpoint of an architecture."""
    from tada.models import shipped

    try:
        return shipped(name, "planted").is_dir()
    except KeyError:
        return False


def _left(store: str | Path) -> list[tuple[Path, dict[str, Any]]]:
    """Results of all runs in a store, with the request of each."""
    paths = sorted(Path(store).glob("tables/*/results.parquet"))
    return [(path, json.loads(path.with_name("run.json").read_text())) for path in paths]


def truth(request: Request) -> torch.Tensor | None:
    """Embeddings of true renders, held out from all training; None for public checkpoints."""
    from tada.minis.attributes import draw
    from tada.minis.probe import TEST_SEED
    from tada.minis.render import FRAMES, render_batch
    from tada.minis.sounds import SAMPLE_RATE

    count, run = request.size.truths, run_of(request)
    if run.words != "mini" or not count:
        return None
    ear = panel(request)
    about = {"renders": count, "first": TEST_SEED, "seconds": run.seconds, "panel": ear.key}
    place = Path(request.store) / "evaluation" / f"truth-{key(about)[:16]}.npy"
    if place.is_file():
        return torch.from_numpy(np.load(place))
    seeds = range(TEST_SEED, TEST_SEED + count)
    clips = render_batch([draw(seed) for seed in seeds], seeds)[:, : min(FRAMES, round(run.seconds * SAMPLE_RATE))]
    rows = ear.embed(clips, SAMPLE_RATE)
    place.parent.mkdir(parents=True, exist_ok=True)
    prompt_pairs.whole(place, lambda path: Path(path).write_bytes(_npy(rows)))
    return rows


def _npy(rows: torch.Tensor) -> bytes:
    file = BytesIO()
    np.save(file, rows.numpy())
    return file.getvalue()


# Work that processes share. The autoencoder takes longest and is started first.


def _side_by_side(request: Request, workers: int) -> None:
    from multiprocessing import get_context

    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        trained = pool.submit(_train, request)
        steered = [pool.submit(_caa, request, name) for name in request.concepts]
        trained.result()
        steered += [pool.submit(_sae, request, name) for name in request.concepts]
        for job in steered:
            job.result()


def _one_thread() -> None:
    torch.set_num_threads(1)


def _train(request: Request) -> None:
    features(request)


def _caa(request: Request, concept: str) -> None:
    evaluate(request, concept, caa_arms(request, concept))


def _sae(request: Request, concept: str) -> None:
    evaluate(request, concept, [sae_arm(request, concept)])


# ---- what is shown

BLOCKS = {
    "Preservation": ("lpaps", "fad"),
    "Alignment": ("delta",),
    "Smoothness": ("smoothness",),
    "Area under alignment over LPAPS": ("auc",),
    "Quality": ("fad-truth", "CE", "CU", "PC", "PQ"),
}
"""Groups of Table 1's columns -> how their names begin."""


def blocks(cells: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The cells of ``tada.evaluation.table`` in the groups of Table 1."""
    first = cells["column"].str.split().str[0]
    return {name: cells[first.isin(starts)] for name, starts in BLOCKS.items() if first.isin(starts).any()}


def write(cells: pd.DataFrame, place: str | Path) -> list[Path]:
    """The table as ``table.csv`` (all cells with intervals), ``table.tex`` and ``table.html``."""
    place = Path(place)
    place.mkdir(parents=True, exist_ok=True)
    page = evaluation.layout(cells, "html").reset_index().to_html(index=False, escape=False, border=0)
    made = [place / "table.csv", place / "table.tex", place / "table.html"]
    prompt_pairs.whole(made[0], lambda path: cells.to_csv(path, index=False))
    prompt_pairs.whole(made[1], lambda path: Path(path).write_text(evaluation.latex(cells)))
    prompt_pairs.whole(made[2], lambda path: Path(path).write_text(page + "\n"))
    return made
