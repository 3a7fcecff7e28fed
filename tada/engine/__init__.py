"""The engine: rows of prompt, seed and intervention become clips, and clips become judged, stored results.

Everything that generates for a result goes through :func:`run`, and everything that determines a result goes into its
key through :func:`units`. A plan is a table with one row a clip: ``prompt, seed``, the key ``unit_hash``, ``chunk``
(rows that share one padded length of text, and that one process computes), optionally those of :data:`OTHER_TEXTS`
(which the intervention reads), ``kind`` (rows of one batch have the same), ``reference`` (the key of a row that is
made before this one, whether or not it is stored) and whatever judge and intervention read.
"""

from __future__ import annotations

import ctypes
import logging
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, wait
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from tada.arguments import integer, number
from tada.audio import Clips
from tada.engine.pool import Processes
from tada.errors import InputError
from tada.metrics.judges import JudgeLike, as_judge
from tada.models.base import LONGEST, Lyrics, Model
from tada.models.context import Context
from tada.models.fingerprint import versions
from tada.models.run import Latents, Sampling
from tada.store import UNIT, Store, key, shipped

log = logging.getLogger(__name__)

COLUMNS = ("checkpoint", "model", "concept", "pair", "prompt", "seed", "method", "layers", "alpha", "metric", "value")
"""Columns of every table of results, beside ``unit_hash``."""

OTHER_TEXTS = ("routed", "shared", "positive", "negative")
"""Columns of plans with texts beside the prompt, empty where there is none."""

BATCH = 8
"""Rows in one denoiser call where nothing else is said."""

POLL_SECONDS = 0.2
"""Time between two looks at what another process is computing."""


@dataclass(frozen=True)
class Setting:
    """What the clips of a batch share, and how they are made.

    Attributes:
        seconds: length of the clips.
        sampling: settings, or the name of a preset; None for the model's default.
        negative: negative prompt of all rows.
        lyrics: to sing in all rows; prompt -> lyrics; or one per prompt where a function says so.
        batch: rows in one denoiser call; it is halved where memory does not suffice. It changes results by rounding.
        progress: show a progress bar with the time left.
        executor: where chunks of rows are computed, any ``concurrent.futures.Executor``; None computes here.
        keep: a folder for the clips, as ``<unit_hash>.flac``; None drops them once they are judged.
    """

    seconds: float
    sampling: Sampling | str | None = None
    negative: str | None = None
    lyrics: Lyrics = None
    batch: int = BATCH
    progress: bool = False
    executor: Executor | None = field(default=None, repr=False, compare=False)
    keep: str | Path | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "seconds", number("seconds", self.seconds, 0.0, LONGEST))
        object.__setattr__(self, "batch", integer("batch", self.batch, 1))


@dataclass(frozen=True)
class Texts:
    """The texts of a chunk, encoded once and padded to one length; called with texts, it gives their rows."""

    context: Context
    places: Mapping[str, int]

    def __call__(self, texts: Iterable[str]) -> Context:
        return self.context[[self.places[text] for text in texts]]


Intervention = Callable[[Model, pd.DataFrame, Texts], AbstractContextManager[Any]]
"""What is done to the rows of a batch while they are sampled; a module's function, so that it can be sent."""


def no_intervention(model: Model, rows: pd.DataFrame, texts: Texts) -> AbstractContextManager[None]:
    """Leave the rows of a batch as they are."""
    return nullcontext()


@dataclass(frozen=True)
class Job:
    """What all rows of a plan share: their setting, the judge of their clips, the intervention."""

    setting: Setting
    judge: JudgeLike
    intervention: Intervention = no_intervention


# ---- keys


def units(model: Model, setting: Setting, judge: JudgeLike | None, rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Give each row the hash of all that determines its result.

    Args:
        model: its name, weights and dtype count.
        setting: all that determines a clip counts; batch, progress, executor and folder do not.
        judge: its key counts; None for results that nobody judges.
        rows: of each row what sets it apart, as json can hold it.

    Returns:
        64 hexadecimal digits a row.
    """
    sampling = model.sampling(setting.sampling)
    common = {
        "model": model.name,
        "weights": model.fingerprint(),
        "dtype": str(model.dtype),
        "sampling": {"kind": type(sampling).__name__, **asdict(sampling)},
        "seconds": setting.seconds,
        "negative": setting.negative,
        "lyrics": setting.lyrics,
        "judge": None if judge is None else as_judge(judge).key,
        "versions": {name: version.partition("+")[0] for name, version in versions().items() if name != "python"},
    }
    return [key({**common, **row}) for row in rows]


# ---- running


def run(model: Model, plan: pd.DataFrame, job: Job, store: Store | None = None) -> pd.DataFrame:
    """Generate and judge the rows of a plan; what the store has is not made again.

    Rows that share a batch do not touch each other, and all batches of a chunk have one shape, so that a row's clip is
    the same to the last bit whatever else is computed or was stored. Every batch is stored as it is done.

    Args:
        model: the model; workers of an executor load its checkpoint themselves.
        plan: one row a clip, see the module.
        job: setting, judge, and intervention.
        store: where results are kept, and found again.

    Returns:
        The plan with ``checkpoint, model, metric, value`` (and ``embedding`` where the judge gives one), a row a clip
        and metric, in the order of the plan.

    Raises:
        ValueError: a model that workers cannot load, or a judge that does not give one value a clip.
    """
    todo = _missing(plan, store, job.setting.keep)
    chunks = [part for _, part in plan.groupby("chunk", sort=False) if part[UNIT].isin(todo).any()]
    pool = job.setting.executor
    here = pool is None or (isinstance(pool, Processes) and len(chunks) < 2)  # one would have to load a model, too
    compute = _serial if here else _parallel
    frames = list(_with_progress(compute(model, job, chunks, store), len(todo), job.setting.progress))
    values = pd.concat(frames, ignore_index=True) if store is None else store.frame(plan[UNIT])
    if store is not None:
        _check_shipped(model, plan, job, store.sampled(plan[UNIT]))
    values = values[[UNIT, *(name for name in ("metric", "value", "embedding") if name in values)]]
    rows = plan.merge(values.drop_duplicates([UNIT, "metric"]), on=UNIT, how="left")
    return rows.assign(checkpoint=model.checkpoint, model=model.name)


def generate(
    model: Model, plan: pd.DataFrame, setting: Setting, intervention: Intervention = no_intervention
) -> Iterator[tuple[pd.DataFrame, Clips]]:
    """Generate the rows of a plan, a batch at a time, for callers that want the clips themselves.

    Args:
        model: the model.
        plan: one row a clip, see the module; it needs no keys.
        setting: of the clips.
        intervention: what is done to each batch.

    Yields:
        Rows of the plan and their clips.
    """
    job, limit = Job(setting, _no_judge, intervention), _Limit(setting.batch)
    for _, chunk in plan.groupby("chunk", sort=False):
        yield from _clips(model, job, chunk, chunk, limit)


# ---- here, or by an executor


def _missing(rows: pd.DataFrame, store: Store | None, keep: str | Path | None) -> set[str]:
    """The units that are not stored; one whose clip was to be kept and is gone counts as such."""
    known = set() if store is None else store.known(rows[UNIT])
    return {unit for unit in rows[UNIT] if unit not in known or (keep and not Path(keep, f"{unit}.flac").is_file())}


def _serial(model: Model, job: Job, chunks: Iterable[pd.DataFrame], store: Store | None) -> Iterator[pd.DataFrame]:
    """Compute chunks one after the other; those that another process is at come later."""
    waiting, limit, passed = deque(chunks), _Limit(job.setting.batch), 0
    while waiting:
        chunk = waiting.popleft()
        with _claim(store, chunk) as mine:
            if mine:
                yield from _compute(model, job, chunk, store, limit)
        if mine:
            passed = 0
            continue
        waiting.append(chunk)
        passed += 1
        if passed >= len(waiting):
            time.sleep(POLL_SECONDS)


def _parallel(model: Model, job: Job, chunks: Sequence[pd.DataFrame], store: Store | None) -> Iterator[pd.DataFrame]:
    """Compute chunks by the executor, each of whose workers loads the model once."""
    if model.reload is None:
        raise InputError(f"got {model!r} for an executor, whose workers cannot load it: give one from tada.load")
    pool = job.setting.executor
    assert pool is not None
    place = None if store is None else (store.folder, store.only)
    job = replace(job, setting=replace(job.setting, executor=None))
    work = partial(_work, model.reload, model.fingerprint(), job, place)
    futures = {pool.submit(work, chunk): chunk for chunk in chunks}
    try:
        while futures:
            for future in wait(futures, return_when=FIRST_COMPLETED).done:
                chunk, frame = futures.pop(future), future.result()
                if frame is None:
                    futures[pool.submit(work, chunk)] = chunk
                else:
                    yield frame
    finally:
        for future in () if isinstance(pool, Processes) else futures:  # those end theirs
            future.cancel()


_worker = threading.local()


def _work(
    load: Callable[[], Model], fingerprint: str, job: Job, place: tuple[Path, bool] | None, chunk: pd.DataFrame
) -> pd.DataFrame | None:
    """Compute a chunk in a worker, of a model of this fingerprint; None, after a while, where another is at it."""
    if getattr(_worker, "fingerprint", None) != fingerprint:
        _worker.model = load()
        _worker.fingerprint = _worker.model.fingerprint()
    if _worker.fingerprint != fingerprint:
        raise InputError("a worker loaded other weights than the model has: they were changed after loading")
    if getattr(_worker, "place", None) != place:
        _worker.store, _worker.place = None if place is None else Store(*place), place
    store = None if place is None else _worker.store
    with _claim(store, chunk) as mine:
        if mine:
            frames = _compute(_worker.model, job, chunk, store, _Limit(job.setting.batch))
            return pd.concat([chunk[[UNIT]][:0], *frames], ignore_index=True)
    time.sleep(POLL_SECONDS)
    return None


def _claim(store: Store | None, chunk: pd.DataFrame) -> AbstractContextManager[bool]:
    """Ask whether this process may compute a chunk."""
    return nullcontext(True) if store is None else store.claim(f"chunk {chunk[UNIT].iloc[0]}")


def _with_progress(frames: Iterable[pd.DataFrame], total: int, progress: bool) -> Iterator[pd.DataFrame]:
    from tqdm.auto import tqdm

    with tqdm(total=total, disable=not progress, unit="clip", smoothing=0.05) as bar:
        for frame in frames:
            yield frame
            bar.update(frame[UNIT].nunique())


# ---- one chunk


@dataclass
class _Limit:
    """The rows that memory allows in one call, as far as is known."""

    rows: int


def _compute(model: Model, job: Job, chunk: pd.DataFrame, store: Store | None, limit: _Limit) -> Iterator[pd.DataFrame]:
    """Generate, judge and store what is missing of a chunk, batch by batch."""
    keep = job.setting.keep
    missing = _with_references(chunk, _missing(chunk, store, keep))
    for rows, clips in _clips(model, job, chunk, missing, limit):
        frame = _judge(model, job.judge, clips, rows)
        if keep is not None:
            for clip, unit in zip(clips, rows[UNIT], strict=True):
                clip.save(Path(keep, f"{unit}.flac"))
        if store is not None:
            store.add(frame)
        yield frame
    _return_memory()


def _with_references(chunk: pd.DataFrame, units: Iterable[str]) -> pd.DataFrame:
    """The rows of some units of a chunk, each once, and of those that they refer to."""
    rows = chunk[chunk[UNIT].isin(set(units))]
    if "reference" in chunk:
        rows = chunk[chunk[UNIT].isin({*rows[UNIT], *rows["reference"]})]
    return rows.drop_duplicates(UNIT)


def _check_shipped(model: Model, plan: pd.DataFrame, job: Job, sample: set[str]) -> None:
    """Make a sample of what was read from shipped results again, here, and compare."""
    limit, chunks = _Limit(job.setting.batch), plan["chunk"][plan[UNIT].isin(sample)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of prompts that are cut off, as they were for whoever ships them
        for _, chunk in plan[plan["chunk"].isin(chunks)].groupby("chunk", sort=False):
            for rows, clips in _clips(model, job, chunk, _with_references(chunk, sample), limit):
                shipped.layer().compare(_judge(model, job.judge, clips, rows), model.draws_tokens)


def _return_memory() -> None:
    """Give freed memory back to the system: glibc before 2.38 keeps ever more of it between aligned blocks."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)


def _clips(
    model: Model, job: Job, chunk: pd.DataFrame, rows: pd.DataFrame, limit: _Limit
) -> Iterator[tuple[pd.DataFrame, Clips]]:
    """Some rows of a chunk and their clips, a batch of one kind at a time."""
    if rows.empty:
        return
    texts = _encode(model, job.setting, chunk)
    kinds = chunk["kind"] if "kind" in chunk else pd.Series(0, chunk.index)
    for kind, part in rows.groupby(kinds, sort=False):
        yield from _batches(model, job, texts, part, int((kinds == kind).sum()), limit)


def _encode(model: Model, setting: Setting, chunk: pd.DataFrame) -> Texts:
    """Encode all texts of a chunk, each once."""
    others = [text for name in OTHER_TEXTS if name in chunk for text in chunk[name] if text]
    texts = list(dict.fromkeys([*chunk["prompt"], *others]))
    return Texts(model.encode(texts, setting.negative, setting.lyrics), {text: row for row, text in enumerate(texts)})


def _batches(
    model: Model, job: Job, texts: Texts, rows: pd.DataFrame, most: int, limit: _Limit
) -> Iterator[tuple[pd.DataFrame, Clips]]:
    start = 0
    while start < len(rows):
        size = min(limit.rows, most)
        some = rows.iloc[start : start + size].reset_index(drop=True)
        try:
            clips = model.decode(_sample(model, job, texts, some, size))[: len(some)]
        except (RuntimeError, MemoryError) as error:
            if size == 1 or not _out_of_memory(error):
                raise
            limit.rows = (size + 1) // 2
            log.warning("not enough memory: going on with %d rows in one call", limit.rows)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            continue
        start += len(some)
        yield some, clips


def _sample(model: Model, job: Job, texts: Texts, rows: pd.DataFrame, size: int) -> Latents:
    """Sample rows in one batch of ``size``, its end filled with the last row again."""
    rows = rows.iloc[[min(row, len(rows) - 1) for row in range(size)]]
    noise = model.noise([int(seed) for seed in rows["seed"]], job.setting.seconds)
    with job.intervention(model, rows, texts):
        return model.sample(texts(rows["prompt"]), noise, job.setting.sampling)


def _out_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "allocate memory" in text


def _judge(model: Model, judge: JudgeLike, clips: Clips, rows: pd.DataFrame) -> pd.DataFrame:
    """The judge's values of clips, one row a clip and metric."""
    about = rows.assign(checkpoint=model.checkpoint, model=model.name)
    about = about[[name for name in (*COLUMNS, "percent", UNIT) if name in about]]
    values = as_judge(judge)(clips, rows)
    return pd.concat([_values(about, metric, np.asarray(values[metric])) for metric in values], ignore_index=True)


def _values(about: pd.DataFrame, metric: str, values: np.ndarray) -> pd.DataFrame:
    if metric == "embedding":
        return about.assign(metric=metric, value=np.nan, embedding=list(values))
    values = np.asarray(values, dtype=np.float64)
    if values.shape != (len(about),):
        raise InputError(
            f"the judge's {metric!r} has shape {values.shape} for {len(about)} clips; expected a value each"
        )
    return about.assign(metric=metric, value=values)


def _no_judge(clips: Clips, rows: pd.DataFrame) -> dict[str, Any]:
    return {}
