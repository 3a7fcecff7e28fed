"""Plans are run: here, or by an executor whose workers load the model themselves."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd

from tada.audio import Clips
from tada.engine.chunks import Limit, check_shipped, compute, make_clips, missing, no_judge
from tada.engine.jobs import Intervention, Job, Setting, no_intervention
from tada.engine.pool import Processes
from tada.errors import InputError
from tada.models.base import Model
from tada.store import UNIT, Store

POLL_SECONDS = 0.2
"""Time between two looks at what another process is computing."""


def run(model: Model, plan: pd.DataFrame, job: Job, store: Store | None = None) -> pd.DataFrame:
    """Generate and judge the rows of a plan; what the store has is not made again.

    Rows that share a batch do not touch each other, and all batches of a chunk have one shape, so that a row's clip is
    the same to the last bit whatever else is computed or was stored. Every batch is stored as it is done.

    Args:
        model: workers of an executor load its checkpoint themselves.
        plan: one row a clip, see :mod:`tada.engine`.
        store: where results are kept, and found again.

    Returns:
        The plan with ``checkpoint, model, metric, value`` (and ``embedding`` where the judge gives one), a row a clip
        and metric, in the order of the plan.

    Raises:
        ValueError: a model that workers cannot load, or a judge that does not give one value a clip.
    """
    todo = missing(plan, store, job.setting.keep)
    chunks = [part for _, part in plan.groupby("chunk", sort=False) if part[UNIT].isin(todo).any()]
    pool = job.setting.executor
    here = pool is None or (isinstance(pool, Processes) and len(chunks) < 2)  # one would have to load a model, too
    execute = _serial if here else _parallel
    frames = list(_with_progress(execute(model, job, chunks, store), len(todo), job.setting.progress))
    values = pd.concat(frames, ignore_index=True) if store is None else store.frame(plan[UNIT])
    if store is not None:
        check_shipped(model, plan, job, store.sampled(plan[UNIT]))
    values = values[[UNIT, *(name for name in ("metric", "value", "embedding") if name in values)]]
    rows = plan.merge(values.drop_duplicates([UNIT, "metric"]), on=UNIT, how="left")
    return rows.assign(checkpoint=model.checkpoint, model=model.name)


def generate(
    model: Model, plan: pd.DataFrame, setting: Setting, intervention: Intervention = no_intervention
) -> Iterator[tuple[pd.DataFrame, Clips]]:
    """Yield rows of a plan, which needs no keys, and their clips, a batch at a time: for callers that want these."""
    job, limit = Job(setting, no_judge, intervention), Limit(setting.batch)
    for _, chunk in plan.groupby("chunk", sort=False):
        yield from make_clips(model, job, chunk, chunk, limit)


# ---- here, or by an executor


def _serial(model: Model, job: Job, chunks: Iterable[pd.DataFrame], store: Store | None) -> Iterator[pd.DataFrame]:
    """Compute chunks one after the other; those that another process is at come later."""
    waiting, limit, passed = deque(chunks), Limit(job.setting.batch), 0
    while waiting:
        chunk = waiting.popleft()
        with _claim(store, chunk) as mine:
            if mine:
                yield from compute(model, job, chunk, store, limit)
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
            frames = compute(_worker.model, job, chunk, store, Limit(job.setting.batch))
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
