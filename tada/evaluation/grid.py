"""The paper's evaluation of steering (section 4.2): clips over a grid of strengths, scored, and kept.

A strength is given in percent of a range that is calibrated per model, concept, method, layer set and direction (see
:mod:`tada.steering.ranges` and :mod:`tada.steering.distance`); the raw strength is kept beside it.
For the paper's own protocol the range is 100, so that percent and raw strength agree. Every method sees the same
prompts, the same noise and the same clip at strength 0.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tada.audio import Clips
from tada.concepts import judged
from tada.errors import InputError, UnknownNameError, unknown
from tada.evaluation.layout import latex, layout
from tada.evaluation.results import ARM, BASELINE, CASE, columns, table
from tada.metrics import curve, fad
from tada.metrics.judges import MetricSuite, PanelFeatures
from tada.models.base import Layers, Model, Sampling, versions
from tada.patching.sweeps import COLUMNS
from tada.steering.ranges import digest
from tada.steering.vector import Vector
from tada.store import UNIT, Store, key

__all__ = ["GRID", "Arm", "auc", "columns", "generate", "latex", "layout", "missing", "read", "run", "table"]

log = logging.getLogger(__name__)

GRID = tuple(float(percent) for percent in range(-100, 101, 10))
"""Strengths in percent of the range: the paper's -100 to 100 in steps of 10."""

SEED = 2115
"""Seed of the first prompt's noise (the authors'); the others follow."""

GROUPS = 10
"""Prompts are left out in so many groups to tell how sure a distance between sets is."""

CHUNK = 4
"""Prompts whose unsteered clips are made together."""


@dataclass(frozen=True, eq=False)
class Arm:
    """A way to steer: one row of Table 1 for one concept.

    Attributes:
        method: ``"CAA"`` or ``"SAE"``.
        vector: positive strengths go to the concept's first pole, see :func:`tada.concepts.judged`.
        layers: where to steer: a layer set, indices or site names.
        reach: raw strength at +100 and at -100 percent, both above 0.
        renorm: keep the length of every frame (eq. 3); the paper's SAE rows do without.
    """

    method: str
    vector: Vector
    layers: Layers = "functional"
    reach: tuple[float, float] = (100.0, 100.0)
    renorm: bool = True

    def raw(self, percent: float) -> float:
        """The raw strength of a percentage of the range."""
        return percent / 100 * self.reach[0 if percent > 0 else 1]


# ---- running


class _Job(NamedTuple):
    """What all batches of an evaluation share."""

    model: Model
    arms: Sequence[Arm]
    concept: str
    sampling: Sampling
    seconds: float
    negative: str | None
    lyrics: str | None
    panel: MetricSuite
    batch: int


def run(
    model: Model,
    arms: Sequence[Arm],
    concept: str,
    prompts: Sequence[str],
    seconds: float,
    *,
    panel: MetricSuite,
    seeds: Sequence[int] | None = None,
    sampling: Sampling | str | None = None,
    percents: Sequence[float] = GRID,
    store: Store | str | Path | None = None,
    truth: Any = None,
    negative: str | None = None,
    lyrics: str | None = None,
    batch: int = 16,
    progress: bool = False,
) -> pd.DataFrame:
    """Steer every prompt by every arm at every strength, and score the clips.

    Args:
        model: the model.
        arms: the ways to steer.
        concept: of the vectors: one of section 4.2, or a name of :mod:`tada.concepts`.
        prompts: to steer.
        seconds: length of the clips.
        panel: who listens.
        seeds: of the noise, one per prompt; None for 2115, 2116, ...
        sampling: settings or the name of a preset; None for the model's default.
        percents: strengths in percent of each arm's range; 0 is always there.
        store: where scores are kept, and found again by a later run.
        truth: embeddings ``[clips, dim]`` of true clips by the panel's CLAP-class ear, see ``MetricSuite.embed``;
            adds the distance of every steered set to them.
        negative: negative prompt of all clips.
        lyrics: to sing in all clips.
        batch: clips in one denoiser call.
        progress: show a progress bar.

    Returns:
        One row a clip and metric, ``checkpoint, model, concept, pair, prompt, seed, method, layers, alpha, metric,
        value, unit_hash`` and ``percent``. The clips at strength 0 are there once, with method and layers ``"none"``.
        Distances between sets (``"fad"`` and ``"kad"`` to the unsteered clips, ``"fad-truth"`` and ``"kad-truth"``
        to true ones) have no prompt, and ``pair`` is ``"all"``, or ``"without 0"`` and so on for the set without a
        tenth of the prompts.

    Raises:
        ValueError: no arms or prompts, prompts or seeds twice, strengths that are not finite, arms of one name.
        KeyError: an unknown concept.
    """
    from tqdm.auto import tqdm

    store = Store(store) if isinstance(store, str | Path) else store
    job = _Job(model, arms, concept, model.sampling(sampling), seconds, negative, lyrics, panel, batch)
    plan = _plan(job, prompts, seeds, percents)
    known = set() if store is None else store.known()
    done: list[pd.DataFrame] = []
    with tqdm(total=len(plan), disable=not progress, unit="clip", desc=concept) as bar:
        for _, chunk in plan.groupby("chunk", sort=False):
            for part in _chunk(job, chunk, known):
                done.append(part)
                if store is not None:
                    store.add(part)
            bar.update(len(chunk))
    rows = pd.concat(done, ignore_index=True) if store is None else store.frame(plan[UNIT])
    return _whole(plan[[UNIT, "number"]].merge(rows, on=UNIT, how="left"), truth)


def _plan(job: _Job, texts: Sequence[str], seeds: Sequence[int] | None, percents: Sequence[float]) -> pd.DataFrame:
    """One row a clip."""
    seeds = range(SEED, SEED + len(texts)) if seeds is None else seeds
    names = [(arm.method, _layers(job.model, arm)) for arm in job.arms]
    if not texts or isinstance(texts, str) or len(seeds) != len(texts) or len({*zip(texts, seeds)}) < len(texts):  # noqa: B905
        raise InputError(f"got {len(texts)} prompts and {len(seeds)} seeds; expected a list, one seed each, none twice")
    if not names or len(set(names)) < len(names):
        raise InputError(f"got arms {names}; expected one or more, each method and layer set once")
    grid = sorted({float(percent) for percent in percents} - {0.0})
    if not np.isfinite(grid).all() or not grid:
        raise InputError(f"got percents={list(percents)}; expected finite strengths other than 0")
    judged(job.concept)
    ways: list[tuple[tuple[Any, ...], dict[str, Any]]] = [((-1, BASELINE, BASELINE, 0.0, 0.0), {})]
    for place, (arm, name) in enumerate(zip(job.arms, names, strict=True)):
        sites = list(job.model.resolve(arm.layers))
        how = dict(zip(ARM, name, strict=True)) | {"sites": sites, "vector": digest(arm.vector, sites)}
        ways += [
            ((place, *name, percent, arm.raw(percent)), {**how, "renorm": arm.renorm, "alpha": arm.raw(percent)})
            for percent in grid
        ]
    common = _determinants(job)
    rows = [
        {"prompt": text, "seed": int(seed), "number": number, "chunk": number // CHUNK,
         "pair": key({"prompt": text, "seed": int(seed)})[:12],
         **dict(zip(("arm", *ARM, "percent", "alpha"), way, strict=True)),
         UNIT: key({**common, "prompt": text, "seed": int(seed), **how})}
        for number, (text, seed) in enumerate(zip(texts, seeds, strict=True))
        for way, how in ways
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _layers(model: Model, arm: Arm) -> str:
    named = isinstance(arm.layers, str) and arm.layers in ("all", "functional", "all-but-functional")
    return str(arm.layers) if named else model.label(sorted(model.resolve(arm.layers), key=model.sites.index))


def _determinants(job: _Job) -> dict[str, Any]:
    return {
        "what": "steering evaluation 2",
        "model": job.model.name,
        "weights": job.model.fingerprint(),
        "dtype": str(job.model.dtype),
        "sampling": {"kind": type(job.sampling).__name__, **asdict(job.sampling)},
        "seconds": job.seconds,
        "negative": job.negative,
        "lyrics": job.lyrics,
        "concept": job.concept,
        "panel": job.panel.key,
        "versions": {name: version for name, version in versions().items() if name != "python"},
    }


def _chunk(job: _Job, chunk: pd.DataFrame, known: set[str]) -> Iterator[pd.DataFrame]:
    """Scores of what is missing in a few prompts, batch by batch; the clips at strength 0 are made for all of them."""
    missing = chunk[~chunk[UNIT].isin(known)]
    if missing.empty:
        return
    zero = chunk[chunk["arm"] < 0].reset_index(drop=True)
    context = job.model.encode(zero["prompt"].tolist(), job.negative, job.lyrics)

    def heard(rows: pd.DataFrame) -> PanelFeatures:
        """The clips of one arm."""
        arm = None if rows["arm"].iloc[0] < 0 else job.arms[rows["arm"].iloc[0]]
        some = context[(rows["number"] - zero["number"].iloc[0]).tolist()]
        noise = job.model.noise([int(seed) for seed in rows["seed"]], job.seconds)
        return job.panel.listen(generate(job.model, some, noise, job.sampling, arm, rows["alpha"].tolist()))

    unsteered = PanelFeatures.join([heard(rows) for rows in _batches(zero, job.batch)])
    if missing["arm"].min() < 0:
        yield _scored(job, unsteered, zero, unsteered)
    for _, of_arm in missing[missing["arm"] >= 0].groupby("arm", sort=False):
        for rows in _batches(of_arm, job.batch):
            places = rows["number"] - zero["number"].iloc[0]
            yield _scored(job, heard(rows), rows, unsteered[places.tolist()])


def _batches(rows: pd.DataFrame, size: int) -> Iterator[pd.DataFrame]:
    for start in range(0, len(rows), size):
        yield rows.iloc[start : start + size].reset_index(drop=True)


def generate(
    model: Model, context: Any, noise: Any, sampling: Sampling, arm: Arm | None = None, alpha: Sequence[float] = ()
) -> Clips:
    """Clips of an arm, each row at its own raw strength; unsteered without one."""
    if arm is None:
        return model.decode(model.sample(context, noise, sampling))
    with arm.vector.apply(model, list(alpha), layers=arm.layers, renorm=arm.renorm):
        return model.decode(model.sample(context, noise, sampling))


def _scored(job: _Job, heard: PanelFeatures, rows: pd.DataFrame, unsteered: PanelFeatures) -> pd.DataFrame:
    """The scores of clips, one row a clip and metric, and one with the embedding."""
    table = job.panel.judge(heard, job.concept, unsteered)
    about = rows.drop(columns=["arm", "chunk", "number"]).assign(
        checkpoint=job.model.checkpoint, model=job.model.name, concept=job.concept
    )
    parts = [about.assign(metric=metric, value=values, embedding=None) for metric, values in table.items()]
    parts.append(about.assign(metric="embedding", value=np.nan, embedding=list(heard.embedding.numpy())))
    return pd.concat(parts, ignore_index=True)


def _whole(rows: pd.DataFrame, truth: Any = None) -> pd.DataFrame:
    """Stored rows as results: tidy, with distances between sets of clips."""
    clips = rows.loc[rows["metric"] != "embedding", [*COLUMNS, "percent", UNIT]]
    sets = pd.DataFrame(one for _, part in rows.groupby(CASE, sort=False) for one in _sets(part, truth))
    return pd.concat([clips, sets[clips.columns]], ignore_index=True) if len(sets) else clips.reset_index(drop=True)


def _sets(rows: pd.DataFrame, truth: Any) -> Iterator[dict[str, Any]]:
    """Distances between sets of clips of one concept, with and without each tenth of the prompts."""
    clips = rows[rows["metric"] == "embedding"].sort_values("number", kind="stable")
    unsteered = clips[clips["method"] == BASELINE]
    if len(unsteered) < 3:
        return
    groups = np.arange(len(unsteered)) % min(GROUPS, len(unsteered))
    zero = np.stack(unsteered["embedding"].to_list())
    for _, part in clips.groupby([*ARM, "alpha"], sort=False):
        if part["number"].tolist() != unsteered["number"].tolist():  # of a run that is not finished
            continue
        about: dict[str, Any] = {name: part[name].iloc[0] for name in (*CASE, *ARM, "alpha", "percent")}
        about |= {"prompt": "", "seed": -1}
        steered, units = np.stack(part["embedding"].to_list()), sorted(part[UNIT])
        for suffix, other in (("", zero), ("-truth", truth)):
            if other is None or (other is zero and about["method"] == BASELINE):
                continue
            for left_out in (None, *range(groups.max() + 1)):
                kept = groups != left_out
                pair = "all" if left_out is None else f"without {left_out}"
                pairs = steered[kept], other if suffix else other[kept]
                for name, value in _distances(*pairs, fad.spread(other), paired=not suffix).items():
                    unit = key({"units": units, "metric": name + suffix, "pair": pair})
                    yield {**about, "pair": pair, "metric": name + suffix, "value": value, UNIT: unit}


def _distances(x: Any, y: Any, width: float, paired: bool) -> dict[str, float]:
    """FAD and KAD of two sets; no KAD where all clips of the reference are equal."""
    return {"fad": fad.distance(x, y)} | ({"kad": fad.kernel(x, y, width, paired=paired)} if width > 0 else {})


def read(store: Store | str | Path) -> pd.DataFrame:
    """The results that lie in a store, as from :func:`run`, without distances to true clips.

    Of a run that was stopped, what there is: clips that others show to be missing are logged, see :func:`missing`, and
    sets of which some are missing have no distances. Run it again with the same store to finish it.

    Raises:
        ValueError: a store without results of steering.
    """
    store = Store(store) if isinstance(store, str | Path) else store
    rows = store.frame()
    if "embedding" not in rows:
        raise InputError(f"{store} has no results of tada.evaluation.run")
    order = rows[["prompt", "seed"]].drop_duplicates().sort_values("seed").reset_index(drop=True)
    found = _whole(rows.merge(order.assign(number=order.index), on=["prompt", "seed"]))
    gone = missing(found)
    if len(gone):
        log.warning(
            "%s is not finished: %d clips of %s are missing. Run it again with the same store; what is there is kept.",
            store, gone["clips"].sum(), ", ".join(sorted(set(gone["concept"]))),
        )  # fmt: skip
    return found


def missing(results: pd.DataFrame) -> pd.DataFrame:
    """Clips that an unfinished run lacks: every arm of a concept should have all its prompts at all its strengths.

    Args:
        results: as from :func:`read`.

    Returns:
        ``checkpoint, model, concept, method, layers, percent, clips``: how many are missing. Arms that were not begun
        leave no trace.
    """
    clips = results[results["prompt"] != ""].drop_duplicates(UNIT)
    rows = []
    for case, part in clips.groupby(CASE, sort=False):
        there = part.groupby([*ARM, "percent"], sort=False).size()
        strengths = sorted(set(part.loc[part["method"] != BASELINE, "percent"]))
        wanted = {(BASELINE, BASELINE): [0.0]} | {
            arm: strengths for arm, _ in part[part["method"] != BASELINE].groupby(ARM, sort=False)
        }
        count = len(part[["prompt", "seed"]].drop_duplicates())
        rows += [
            (*case, *arm, percent, count - int(there.get((*arm, percent), 0)))
            for arm, grid in wanted.items()
            for percent in grid
        ]
    table = pd.DataFrame(rows, columns=[*CASE, *ARM, "percent", "clips"])
    return table[table["clips"] > 0].reset_index(drop=True)


# ---- the area under a curve


def auc(frame: pd.DataFrame, score: str, cutoffs: tuple[float, float], distance: str = "lpaps") -> float:
    """Area under the gain in a score over the distance from the unsteered clip, see :func:`tada.metrics.curve.auc`.

    Args:
        frame: columns ``alpha``, ``distance`` and ``score``, one row a strength or several that are averaged.
        score: name of the column with the score.
        cutoffs: largest distance on the positive and on the negative side.
        distance: name of the column with the distance.

    Raises:
        KeyError: a column that is not there. ValueError: see :func:`tada.metrics.curve.auc`.
    """
    for name in ("alpha", score, distance):
        if name not in frame:
            raise UnknownNameError(unknown("column", name, map(str, frame.columns)))
    means = frame.groupby("alpha")[[score, distance]].mean().reset_index()
    return float(curve.auc(means["alpha"], means[score], means[distance], cutoffs))
