"""A chunk of a plan: its rows are generated a batch at a time, judged, and stored."""

from __future__ import annotations

import ctypes
import logging
import sys
import warnings
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pandas as pd
import torch

from tada.audio import Clips
from tada.engine.jobs import Job, Setting, Texts
from tada.errors import InputError
from tada.metrics.judges import JudgeLike, as_judge
from tada.models.base import Model
from tada.models.run import Latents
from tada.store import UNIT, Store, shipped

log = logging.getLogger(__name__)

COLUMNS = ("checkpoint", "model", "concept", "pair", "prompt", "seed", "method", "layers", "alpha", "metric", "value")
"""Columns of every table of results, beside ``unit_hash``."""

OTHER_TEXTS = ("routed", "shared", "positive", "negative")
"""Columns of plans with texts beside the prompt, empty where there is none."""


def missing(rows: pd.DataFrame, store: Store | None, keep: str | Path | None) -> set[str]:
    """The units that are not stored; one whose clip was to be kept and is gone counts as such."""
    known = set() if store is None else store.known(rows[UNIT])
    return {unit for unit in rows[UNIT] if unit not in known or (keep and not Path(keep, f"{unit}.flac").is_file())}


@dataclass
class Limit:
    """The rows that memory allows in one call, as far as is known."""

    rows: int


def compute(model: Model, job: Job, chunk: pd.DataFrame, store: Store | None, limit: Limit) -> Iterator[pd.DataFrame]:
    """Generate, judge and store what is missing of a chunk, batch by batch."""
    keep = job.setting.keep
    todo = _with_references(chunk, missing(chunk, store, keep))
    for rows, clips in make_clips(model, job, chunk, todo, limit):
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


def check_shipped(model: Model, plan: pd.DataFrame, job: Job, sample: set[str]) -> None:
    """Make a sample of what was read from shipped results again, here, and compare."""
    limit = Limit(job.setting.batch)
    sample = whole_batches(plan, sample, limit.rows) if limit.rows > shipped.RUN else sample
    chunks = plan["chunk"][plan[UNIT].isin(sample)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of prompts that are cut off, as they were for whoever ships them
        for _, chunk in plan[plan["chunk"].isin(chunks)].groupby("chunk", sort=False):
            for rows, clips in make_clips(model, job, chunk, _with_references(chunk, sample), limit, fill=False):
                shipped.layer().compare(_judge(model, job.judge, clips, rows), model.draws_tokens)


def whole_batches(plan: pd.DataFrame, sample: Collection[str], size: int) -> set[str]:
    """Choose as many units as a sample has, or a few more, in whole batches, which need fewer clips to refer to.

    Every unit is as likely as in the sample: batches are cut, anywhere, from what could share one with a unit of it.
    """
    plan = plan[plan[UNIT].isin(shipped.layer().known(plan[UNIT]))].drop_duplicates(UNIT)
    groups = plan.groupby([name for name in ("chunk", "kind") if name in plan], sort=False)[UNIT]
    shared = {unit: list(part) for _, part in groups for unit in part if unit in sample}
    random, found = Random(min(sample, default="")), set[str]()
    for unit in random.sample(sorted(shared), len(shared)):
        if len(found) < len(sample):
            others = [other for other in shared[unit] if other not in found]
            start = random.randrange(len(others) or 1)
            found.update([*others[start:], *others[:start]][:size])
    return found


def _return_memory() -> None:
    """Give freed memory back to the system: glibc before 2.38 keeps ever more of it between aligned blocks."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)


def make_clips(
    model: Model, job: Job, chunk: pd.DataFrame, rows: pd.DataFrame, limit: Limit, fill: bool = True
) -> Iterator[tuple[pd.DataFrame, Clips]]:
    """Some rows of a chunk and their clips, a batch of one kind at a time.

    Batches are filled up to what the whole chunk would have, so that the rounding of a row does not depend on which
    others are asked for; without ``fill`` they are not, which takes less time.
    """
    if rows.empty:
        return
    texts = _encode(model, job.setting, chunk)
    kinds = chunk["kind"] if "kind" in chunk else pd.Series(0, chunk.index)
    for kind, part in rows.groupby(kinds, sort=False):
        yield from _batches(model, job, texts, part, int((kinds == kind).sum()) if fill else 0, limit)


def _encode(model: Model, setting: Setting, chunk: pd.DataFrame) -> Texts:
    """Encode all texts of a chunk, each once."""
    others = [text for name in OTHER_TEXTS if name in chunk for text in chunk[name] if text]
    texts = list(dict.fromkeys([*chunk["prompt"], *others]))
    return Texts(model.encode(texts, setting.negative, setting.lyrics), {text: row for row, text in enumerate(texts)})


def _batches(
    model: Model, job: Job, texts: Texts, rows: pd.DataFrame, most: int, limit: Limit
) -> Iterator[tuple[pd.DataFrame, Clips]]:
    """Batches of rows, filled up to ``most`` as far as memory allows; 0 fills none."""
    start = 0
    while start < len(rows):
        size = min(limit.rows, most or len(rows) - start)
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


def no_judge(clips: Clips, rows: pd.DataFrame) -> dict[str, Any]:
    return {}
