"""The paper's evaluation of steering (section 4.2): clips over a grid of strengths, scored, and the rows of Table 1.

A strength is given in percent of a range that is calibrated per model, concept, method, layer set and direction; the
raw strength is kept beside it. For the paper's own protocol the range is 100, so that percent and raw strength agree.
Every method sees the same prompts, the same noise and the same clip at strength 0, and all intervals come from one
bootstrap over prompts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tada.audio import Clips
from tada.errors import unknown
from tada.metrics import curve, fad, score
from tada.metrics.panel import Heard, Panel
from tada.models.base import Layers, Model, Sampling, versions
from tada.patching import COLUMNS, fingerprint, label
from tada.results import ARM, BASELINE, CASE, columns, latex, layout, table
from tada.steering import Vector
from tada.store import UNIT, Store, key

__all__ = [
    "GRID",
    "LADDER",
    "Arm",
    "Panel",
    "Reach",
    "auc",
    "calibrate",
    "columns",
    "latex",
    "layout",
    "prompts",
    "read",
    "run",
    "swap",
    "table",
]

Values = NDArray[np.float64]

GRID = tuple(float(percent) for percent in range(-100, 101, 10))
"""Strengths in percent of the range: the paper's -100 to 100 in steps of 10."""

SEED = 2115
"""Seed of the first prompt's noise (the authors'); the others follow."""

GROUPS = 10
"""Prompts are left out in so many groups to tell how sure a distance between sets is."""

HELD_OUT = 1_900_000_000
"""Seed of the first prompt for minis; no recipe uses seeds from here on."""


@dataclass(frozen=True, eq=False)
class Arm:
    """A way to steer: one row of Table 1 for one concept.

    Attributes:
        method: ``"CAA"`` or ``"SAE"``.
        vector: positive strengths go to the concept's first pole, see :data:`tada.metrics.score.STEERED`.
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


# ---- prompts


def prompts(kind: str = "mini", concept: str | None = None, count: int = 100) -> list[str]:
    """Prompts of the evaluation.

    Args:
        kind: ``"paper"`` for the paper's 100 (appendix B.2), ``"mini"`` for captions in the minis' own words.
        concept: one of section 4.2. For minis, captions that say nothing of it; for vocal gender, the paper's prompts
            with ``", with vocal"`` behind them, as the authors' first code does. None: for any concept.
        count: how many, from the first.

    Raises:
        KeyError: an unknown kind or concept. ValueError: more than there are.
    """
    if kind == "paper":
        table = pd.read_csv(str(files("tada.data") / "published_prompts.csv"))["prompt"].tolist()
        if not 0 < count <= len(table):
            raise ValueError(f"got count={count}; the paper has {len(table)} prompts")
        sung = concept is not None and score.poles(concept)[0] in ("female", "male")
        return [f"{prompt}, with vocal" if sung else prompt for prompt in table[:count]]
    if kind != "mini":
        raise KeyError(unknown("kind of prompts", kind, ("mini", "paper")))
    if count < 1:
        raise ValueError(f"got count={count}; expected one or more")
    silent = None if concept is None else score.attribute(score.poles(concept)[0])
    return _captions(silent, count)


def _captions(silent: str | None, count: int) -> list[str]:
    """Captions of drawn clips that mention about half of what could be, and never ``silent``; none of them twice."""
    from tada.minis.attributes import CLASSES, draw
    from tada.minis.captions import caption

    told: dict[str, None] = {}
    seed = HELD_OUT
    while len(told) < count:
        labels = draw(seed).labels()
        coins = np.random.default_rng([seed, 3]).random(len(CLASSES)) < 0.5
        mention = [
            name
            for name, coin in zip(CLASSES, coins, strict=True)
            if coin and name != silent and (name, labels[name]) != ("percussion", "none")
        ]
        told[caption(draw(seed), seed, mention=mention).text] = None
        seed += 1
    return list(told)


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
    panel: Panel
    batch: int


def run(
    model: Model,
    arms: Sequence[Arm],
    concept: str,
    prompts: Sequence[str],
    seconds: float,
    *,
    panel: Panel,
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
        truth: embeddings ``[clips, dim]`` of true clips by the panel's CLAP-class ear, see :meth:`Panel.embed`; adds
            the distance of every steered set to them.
        negative: negative prompt of all clips.
        lyrics: to sing in all clips.
        batch: clips in one denoiser call.
        progress: show a progress bar.

    Returns:
        One row a clip and metric, ``checkpoint, model, concept, pair, prompt, seed, method, layers, alpha, metric,
        value, unit_hash`` and ``percent``. The clips at strength 0 are there once, with method and layers ``"none"``.
        Distances between sets (``"fad"``, ``"fad-truth"``) have no prompt, and ``pair`` is ``"all"``, or
        ``"without 0"`` and so on for the set without a tenth of the prompts.

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
    if store is not None and done:
        store.compact()
    rows = pd.concat(done, ignore_index=True) if store is None else store.frame(plan[UNIT])
    rows = plan[[UNIT, "number"]].merge(rows, on=UNIT, how="left")
    sets = _sets(rows, truth)
    return pd.concat([_tidy(rows[rows["metric"] != "embedding"]), _tidy(sets)], ignore_index=True)


def _plan(job: _Job, texts: Sequence[str], seeds: Sequence[int] | None, percents: Sequence[float]) -> pd.DataFrame:
    """One row a clip."""
    seeds = range(SEED, SEED + len(texts)) if seeds is None else seeds
    names = [(arm.method, _layers(job.model, arm)) for arm in job.arms]
    if not texts or isinstance(texts, str) or len(seeds) != len(texts) or len({*zip(texts, seeds)}) < len(texts):  # noqa: B905
        raise ValueError(f"got {len(texts)} prompts and {len(seeds)} seeds; expected a list, one seed each, none twice")
    if not names or len(set(names)) < len(names):
        raise ValueError(f"got arms {names}; expected one or more, each method and layer set once")
    grid = sorted({float(percent) for percent in percents} - {0.0})
    if not np.isfinite(grid).all() or not grid:
        raise ValueError(f"got percents={list(percents)}; expected finite strengths other than 0")
    score.poles(job.concept)
    common, rows = _determinants(job), []
    digests = [_digest(arm.vector) for arm in job.arms]
    for number, (text, seed) in enumerate(zip(texts, seeds, strict=True)):
        about = {"prompt": text, "seed": int(seed)}
        clip = {**about, "number": number, "chunk": number // 4, "pair": key(about)[:12]}
        rows.append({**clip, "arm": -1, "method": BASELINE, "layers": BASELINE, "percent": 0.0, "alpha": 0.0,
                     UNIT: key({**common, **about})})  # fmt: skip
        for place, (arm, (method, layers)) in enumerate(zip(job.arms, names, strict=True)):
            sites = list(job.model.resolve(arm.layers))
            how = {"method": method, "layers": layers, "sites": sites, "vector": digests[place], "renorm": arm.renorm}
            rows += [
                {**clip, "arm": place, "method": method, "layers": layers, "percent": percent,
                 "alpha": arm.raw(percent), UNIT: key({**common, **about, **how, "alpha": arm.raw(percent)})}
                for percent in grid
            ]  # fmt: skip
    return pd.DataFrame(rows)


def _layers(model: Model, arm: Arm) -> str:
    named = isinstance(arm.layers, str) and arm.layers in ("all", "functional", "all-but-functional")
    return str(arm.layers) if named else label(model, sorted(model.resolve(arm.layers), key=model.sites.index))


def _determinants(job: _Job) -> dict[str, Any]:
    return {
        "what": "steering evaluation 1",
        "model": job.model.name,
        "weights": fingerprint(job.model),
        "dtype": str(job.model.dtype),
        "sampling": {"kind": type(job.sampling).__name__, **asdict(job.sampling)},
        "seconds": job.seconds,
        "negative": job.negative,
        "lyrics": job.lyrics,
        "concept": job.concept,
        "panel": job.panel.key,
        "versions": {name: version for name, version in versions().items() if name != "python"},
    }


def _digest(vector: Vector) -> str:
    digest = sha256()
    for site, direction in vector.directions.items():
        digest.update(f"{site}{tuple(direction.shape)}".encode() + direction.float().cpu().numpy().tobytes())
    return digest.hexdigest()


def _chunk(job: _Job, chunk: pd.DataFrame, known: set[str]) -> Iterator[pd.DataFrame]:
    """Scores of what is missing in a few prompts, batch by batch; the clips at strength 0 are made for all of them."""
    missing = chunk[~chunk[UNIT].isin(known)]
    if missing.empty:
        return
    zero = chunk[chunk["arm"] < 0].reset_index(drop=True)
    context = job.model.encode(zero["prompt"].tolist(), job.negative, job.lyrics)
    heard = [_hear(job, context, zero, zero.iloc[start : start + job.batch])
             for start in range(0, len(zero), job.batch)]  # fmt: skip
    unsteered = Heard.join(heard)
    if missing["arm"].min() < 0:
        yield _scored(job, unsteered, zero, unsteered)
    for _, rows in missing[missing["arm"] >= 0].groupby("arm", sort=False):
        for start in range(0, len(rows), job.batch):
            some = rows.iloc[start : start + job.batch].reset_index(drop=True)
            places = some["number"] - zero["number"].iloc[0]
            yield _scored(job, _hear(job, context, zero, some), some, unsteered[places.tolist()])


def _hear(job: _Job, context: Any, zero: pd.DataFrame, rows: pd.DataFrame) -> Heard:
    """Generate rows of one arm, and listen."""
    places = (rows["number"] - zero["number"].iloc[0]).tolist()
    noise = job.model.noise([int(seed) for seed in rows["seed"]], job.seconds)
    return job.panel.hear(_generate(job, context[places], noise, int(rows["arm"].iloc[0]), rows["alpha"].tolist()))


def _generate(job: _Job, context: Any, noise: Any, arm: int, alpha: Sequence[float]) -> Clips:
    if arm < 0:
        return job.model.decode(job.model.sample(context, noise, job.sampling))
    how = job.arms[arm]
    with how.vector.apply(job.model, list(alpha), layers=how.layers, renorm=how.renorm):
        return job.model.decode(job.model.sample(context, noise, job.sampling))


def _scored(job: _Job, heard: Heard, rows: pd.DataFrame, unsteered: Heard) -> pd.DataFrame:
    """The scores of clips, one row a clip and metric, and one with the embedding."""
    table = job.panel.judge(heard, job.concept, unsteered)
    about = rows.drop(columns=["arm", "chunk", "number"]).assign(
        checkpoint=job.model.checkpoint, model=job.model.name, concept=job.concept
    )
    parts = [about.assign(metric=metric, value=values, embedding=None) for metric, values in table.items()]
    parts.append(about.assign(metric="embedding", value=np.nan, embedding=list(heard.embedding.numpy())))
    return pd.concat(parts, ignore_index=True)


def _tidy(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[[*COLUMNS, "percent", UNIT]].reset_index(drop=True)


def _sets(rows: pd.DataFrame, truth: Any) -> pd.DataFrame:
    """Distances between sets of clips, with and without each tenth of the prompts."""
    clips = rows[rows["metric"] == "embedding"].sort_values("number", kind="stable")
    zero = np.stack(clips[clips["method"] == BASELINE]["embedding"].to_list())
    found: list[dict[str, Any]] = []
    if len(zero) < 3:
        return pd.DataFrame(columns=[*COLUMNS, "percent", UNIT])
    groups = np.arange(len(zero)) % min(GROUPS, len(zero))
    for _, part in clips.groupby([*ARM, "alpha"], sort=False):
        first = part.iloc[0]
        about = {name: first[name] for name in (*CASE, *ARM, "alpha", "percent")} | {"prompt": "", "seed": -1}
        steered = np.stack(part["embedding"].to_list())
        units = sorted(part[UNIT])
        for name, other in (("fad", zero), ("fad-truth", truth)):
            if other is None or (name == "fad" and about["method"] == BASELINE):
                continue
            for left_out in (None, *range(groups.max() + 1)):
                kept = groups != left_out
                against = other[kept] if name == "fad" else other
                pair = "all" if left_out is None else f"without {left_out}"
                unit = key({"units": units, "metric": name, "pair": pair})
                found.append({**about, "pair": pair, "metric": name, UNIT: unit,
                              "value": fad.distance(steered[kept], against)})  # fmt: skip
    return pd.DataFrame(found)


def read(store: Store | str | Path) -> pd.DataFrame:
    """The results that lie in a store, as from :func:`run`, distances between sets computed anew.

    Raises:
        ValueError: a store without results of steering.
    """
    store = Store(store) if isinstance(store, str | Path) else store
    rows = store.frame()
    if "embedding" not in rows:
        raise ValueError(f"{store} has no results of tada.evaluation.run")
    rows = rows[rows["percent"].notna()]
    order = rows[["prompt", "seed"]].drop_duplicates().sort_values("seed").reset_index(drop=True)
    rows = rows.merge(order.assign(number=order.index), on=["prompt", "seed"])
    sets = [_sets(part, None) for _, part in rows.groupby(CASE, sort=False)]
    return pd.concat([_tidy(rows[rows["metric"] != "embedding"]), *map(_tidy, sets)], ignore_index=True)


# ---- ranges


class Reach(NamedTuple):
    """Raw strengths at +100 and -100 percent, the distances they were chosen for, and whether those were reached."""

    strengths: tuple[float, float]
    targets: tuple[float, float]
    reached: tuple[bool, bool]


LADDER = tuple(float(2**power) for power in range(-3, 11))
"""Raw strengths that are tried: an eighth to 1024, each twice the one before."""


def calibrate(
    model: Model,
    arm: Arm,
    prompts: Sequence[str],
    targets: tuple[float, float],
    seconds: float,
    *,
    panel: Panel,
    sampling: Sampling | str | None = None,
    ladder: Sequence[float] = LADDER,
    batch: int = 16,
) -> Reach:
    """Find the raw strengths at which clips have moved by given distances (LPAPS), one for each direction.

    Args:
        model: the model.
        arm: the way to steer; its own ``reach`` does not count.
        prompts: some; each is tried with every strength of the ladder.
        targets: mean LPAPS to reach on the positive and on the negative side, such as from :func:`swap`.
        seconds: length of the clips.
        panel: who listens.
        sampling: as for :func:`run`.
        ladder: raw strengths that are tried, rising; between two of them the strength is interpolated on a log scale.
        batch: clips in one denoiser call.

    Returns:
        What to give to ``dataclasses.replace(arm, reach=...)``. A direction that never gets there has the strength
        with the largest distance, and ``reached`` says so.
    """
    job = _Job(model, [arm], "", model.sampling(sampling), seconds, None, None, panel, batch)
    context = model.encode(list(prompts))
    seeds = [SEED + i for i in range(len(prompts))]
    plain = panel.hear(_generate(job, context, model.noise(seeds, seconds), -1, []))
    found = []
    for sign, target in zip((1.0, -1.0), targets, strict=True):
        tries = [(place, sign * strength) for strength in ladder for place in range(len(prompts))]
        values: list[float] = []
        for start in range(0, len(tries), batch):
            places, alpha = (list(part) for part in zip(*tries[start : start + batch], strict=True))
            noise = model.noise([seeds[place] for place in places], seconds)
            heard = panel.hear(_generate(job, context[places], noise, 0, alpha))
            values += panel.distance(heard, plain[places]).tolist()
        found.append(_crossing(ladder, np.reshape(values, (len(ladder), len(prompts))).mean(1), target))
    (up, reached_up), (down, reached_down) = found
    return Reach((up, down), targets, (reached_up, reached_down))


def _crossing(ladder: Sequence[float], distances: Values, target: float) -> tuple[float, bool]:
    """Where a rising curve first gets to a target."""
    beyond = np.flatnonzero(distances >= target)
    if not len(beyond):
        return float(ladder[int(distances.argmax())]), False
    last = int(beyond[0])
    if last == 0:
        return float(ladder[0] * target / distances[0]), True
    part = (target - distances[last - 1]) / (distances[last] - distances[last - 1])
    return float(ladder[last - 1] * (ladder[last] / ladder[last - 1]) ** part), True


def swap(
    model: Model,
    prompts: Sequence[str],
    positive: Sequence[str],
    negative: Sequence[str],
    seconds: float,
    *,
    panel: Panel,
    sampling: Sampling | str | None = None,
) -> tuple[float, float]:
    """How far clips move (mean LPAPS) when the prompt itself asks for each pole: the ceiling of what to expect.

    Args:
        model: the model.
        prompts: neutral ones.
        positive: the same that ask for the first pole.
        negative: the same that ask for the other one.
        seconds: length of the clips.
        panel: who listens.
        sampling: as for :func:`run`.
    """
    seeds = [SEED + i for i in range(len(prompts))]

    def heard(texts: Sequence[str]) -> Heard:
        return panel.hear(model.generate(list(texts), seeds, seconds, sampling))

    plain = heard(prompts)
    up, down = (float(panel.distance(heard(texts), plain).mean()) for texts in (positive, negative))
    return up, down


# ---- the table


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
            raise KeyError(unknown("column", name, map(str, frame.columns)))
    means = frame.groupby("alpha")[[score, distance]].mean().reset_index()
    return curve.auc(means["alpha"], means[score], means[distance], cutoffs)
