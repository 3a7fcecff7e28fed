"""Which layers carry a concept: routed generations of prompt pairs (sweep), and equation 9 on their scores (impact).

A row of a sweep is one clip. Layers ``none`` is the counterfactual prompt as it is, ``all`` is the target prompt, and
any other layer set is the counterfactual prompt with those layers reading the target prompt instead. Since a site's
text does not depend on the denoising step, nothing has to be recorded first: patching is routing, and all rows of all
pairs go through the model side by side.
"""

from __future__ import annotations

import ctypes
import logging
import multiprocessing
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from tada.audio import Clips
from tada.errors import InputError, UnknownNameError, unknown
from tada.hooks import route
from tada.models.base import Latents, Layers, Model, Sampling, versions
from tada.models.context import Context
from tada.patching.impacts import aggregate, functional, growing, impact
from tada.store import UNIT, Store, key

__all__ = ["aggregate", "functional", "growing", "impact", "sweep"]

log = logging.getLogger(__name__)

Score = Callable[[Clips, pd.DataFrame], Any]
Loader = Callable[[], Model]
LayerSets = Iterable[Layers] | Mapping[str, Iterable[Layers]] | None

COLUMNS = ("checkpoint", "model", "concept", "pair", "prompt", "seed", "method", "layers", "alpha", "metric", "value")
PLAN = ("concept", "counterfactual", "pair", "prompt", "routed", "seed", "method", "layers", "sites", UNIT)
CONTROLS = ("paraphrase", "unrelated")
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # of mallopt(3)
PATIENCE = 0.2
"""Seconds between two looks at what another process is making."""
CHUNK = 8
"""Pairs that share one padded length of text and one shape of batch, so that a resumed run repeats a whole one."""


@dataclass
class _Job:
    """What every batch of a sweep has in common."""

    sampling: Sampling
    seconds: float
    negative: str | None
    lyrics: str | None
    score: Score
    batch: int
    store: Path | None
    keep: Path | None


def sweep(
    model: Model | Loader,
    pairs: pd.DataFrame,
    seeds: int | Sequence[int],
    layer_sets: LayerSets = None,
    sampling: Sampling | str | None = None,
    seconds: float = 10.0,
    *,
    score: Score,
    store: Store | str | Path | None = None,
    controls: Sequence[str] = (),
    negative: str | None = None,
    lyrics: str | None = None,
    batch: int | None = None,
    workers: int = 1,
    keep: str | Path | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Generate every pair without, with all and with each set of layers routed, and score the clips.

    Rows that share a batch do not touch each other, and every batch has the same shape, so that a row's clip is the
    same to the last bit whatever else is computed or was stored. Another batch size changes it by rounding only.

    Args:
        model: the model, or a function that loads it, which ``workers`` need.
        pairs: ``concept, target, source`` and optionally ``counterfactual, pair``, as from ``tada.pairs.build``; a
            column for each of the controls.
        seeds: of the noise; every pair is generated with each.
        layer_sets: each an index, a site name, a layer set or a list of these; None for every layer on its own; a
            mapping of concepts to such sets where they differ.
        sampling: settings or the name of a preset; None for the model's default.
        seconds: length of the clips.
        score: ``score(clips, rows) -> values``: one value a clip, or a table or mapping of several; ``rows`` has one
            row a clip with ``concept, counterfactual, prompt, seed, layers, method``. It needs an attribute ``key``
            (text that names what it measures with) unless it is a plain function of a module.
        store: where scores are kept, and found again by a later run.
        controls: columns of ``pairs`` with prompts that say nothing of the concept, routed like the target:
            ``"paraphrase"``, ``"unrelated"`` (see ``tada.pairs.with_controls``).
        negative: negative prompt of all rows.
        lyrics: to sing in all rows.
        batch: rows in one denoiser call; None finds the best, and the store remembers it. It is halved where memory
            does not suffice.
        workers: processes with a model each, for CPUs; more than 1 needs a loader and a score that can be pickled.
        keep: a folder for the clips, as ``<unit_hash>.flac``; None drops them once they are scored.
        progress: show a progress bar with the time left.

    Returns:
        One row a clip and metric: ``checkpoint, model, concept, pair, prompt, seed, method`` (``"patch"``, or
        ``"patch-paraphrase"`` and the like), ``layers`` (``"none"``, ``"all"``, or indices such as ``"6+7"``),
        ``alpha`` (always NaN), ``metric, value, unit_hash``.

    Raises:
        ValueError: pairs or seeds that cannot be used, or a score with the wrong number of values.
        IndexError, KeyError: layers that the model does not have, or a concept that has no layer sets.
    """
    if workers > 1 and isinstance(model, Model):
        raise InputError(
            f"got workers={workers} and a loaded model: give a function that loads it, such as "
            "functools.partial(tada.load, name, checkpoint)"
        )
    load, model = (None, model) if isinstance(model, Model) else (model, model())
    store = Store(store) if isinstance(store, str | Path) else store
    settings = model.sampling(sampling)
    place = None if keep is None else Path(keep)
    job = _Job(settings, seconds, negative, lyrics, score, batch or 0, None if store is None else store.folder, place)
    plan = units(model, pairs, seeds, layer_sets, job, controls)
    chunks = [part for _, part in plan.groupby(plan["chunk"], sort=False)]
    todo = _missing(plan, store, place)
    work = [(chunk, chunk[chunk[UNIT].isin(todo)].drop_duplicates(UNIT)) for chunk in chunks]
    work = [(chunk, rows) for chunk, rows in work if len(rows)]
    if work and not batch:
        job.batch = _batch_size(model, job, plan, chunks[0], store)
    done = _run(model, load, job, work, min(workers, len(work)), store, progress)
    values = pd.concat(done, ignore_index=True) if store is None else store.frame(plan[UNIT])
    return _tidy(model, plan, values)


# ---- what is to be generated


def units(
    model: Model,
    pairs: pd.DataFrame,
    seeds: int | Sequence[int],
    layer_sets: LayerSets,
    job: _Job,
    controls: Sequence[str] = (),
) -> pd.DataFrame:
    """One row a clip: its texts, seed and layers, and the hash of all that determines its scores."""
    pairs = checked_pairs(pairs, controls)
    seeds = [seeds] if isinstance(seeds, int) else [int(seed) for seed in seeds]
    if not seeds or len(set(seeds)) < len(seeds):
        raise InputError(f"got seeds {seeds}; expected one or more, none of them twice")
    sets = sets_of(model, pairs["concept"].unique(), layer_sets)
    rows: list[tuple[Any, ...]] = []
    for number, pair in enumerate(pairs.itertuples(index=False)):
        about = (pair.concept, pair.counterfactual, pair.pair)
        for seed in seeds:
            rows.append((*about, pair.source, "", seed, "patch", "none", (), number // CHUNK))
            rows.append((*about, pair.target, "", seed, "patch", "all", (), number // CHUNK))
            for method, prompt in [("patch", pair.target), *((f"patch-{c}", getattr(pair, c)) for c in controls)]:
                rows += [
                    (*about, pair.source, prompt, seed, method, label, sites, number // CHUNK)
                    for label, sites in sets[str(pair.concept)].items()
                ]
    plan = pd.DataFrame(rows, columns=[*PLAN[:-1], "chunk"])
    common = _determinants(model, job)
    said = ("concept", "counterfactual", "prompt", "routed", "seed", "sites")
    texts = plan[list(said)].to_dict("records")
    plan[UNIT] = [key({**common, **{str(name): value for name, value in row.items()}}) for row in texts]
    return plan


def sets_of(model: Model, concepts: Iterable[str], layer_sets: LayerSets) -> dict[str, dict[str, tuple[str, ...]]]:
    """Concept -> label -> site names of its layer sets; KeyError with the nearest names for one that has none."""
    if not isinstance(layer_sets, Mapping):
        return dict.fromkeys(concepts, resolve_sets(model, layer_sets))
    missing = [name for name in concepts if name not in layer_sets]
    if missing:
        raise UnknownNameError(unknown("concept of layer_sets", missing[0], layer_sets))
    return {name: resolve_sets(model, layer_sets[name]) for name in concepts}


def resolve_sets(model: Model, layer_sets: Iterable[Layers] | None) -> dict[str, tuple[str, ...]]:
    """Label -> site names of layer sets, each set once; None for every layer on its own."""
    given = range(len(model.sites)) if layer_sets is None else layer_sets
    if isinstance(given, str | int):
        raise InputError(f"got layer_sets={given!r}; expected a list of layer sets, such as [{given!r}]")
    sets: dict[str, tuple[str, ...]] = {}
    for item in given:
        sites = sorted(model.resolve(item), key=model.sites.index)
        if len(sites) < len(model.sites):  # all is always there
            sets[item if item in ("functional", "all-but-functional") else model.label(sites)] = tuple(sites)
    return sets


def checked_pairs(pairs: pd.DataFrame, controls: Sequence[str]) -> pd.DataFrame:
    """Pairs with every column that a sweep reads; ValueError with the nearest names where one is missing."""
    for name in ("concept", "target", "source", *controls):
        if name not in pairs:
            hint = "tada.pairs.with_controls adds controls." if name in controls else ""
            raise InputError(unknown("column", name, pairs.columns, hint))
    if pairs.empty:
        raise InputError("got no pairs; expected one or more")
    pairs = pairs.reset_index(drop=True)
    if "counterfactual" not in pairs:
        pairs = pairs.assign(counterfactual="")
    if "pair" not in pairs:
        texts = pairs[["concept", "target", "source"]].to_numpy().tolist()
        pairs = pairs.assign(pair=[key({"pair": row})[:12] for row in texts])
    twice = pairs["pair"][pairs["pair"].duplicated()]
    if len(twice):
        raise InputError(f"pair {twice.iloc[0]} is there twice: every pair may appear once")
    return pairs


def _determinants(model: Model, job: _Job) -> dict[str, Any]:
    """What determines the scores of all clips of a sweep."""
    return {
        "model": model.name,
        "weights": model.fingerprint(),
        "dtype": str(model.dtype),
        "sampling": {"kind": type(job.sampling).__name__, **asdict(job.sampling)},
        "seconds": job.seconds,
        "negative": job.negative,
        "lyrics": job.lyrics,
        "score": _name(job.score),
        "versions": {name: version for name, version in versions().items() if name != "python"},
    }


def _name(score: Score) -> str:
    """What tells one score from another."""
    if hasattr(score, "key"):
        return str(score.key)
    name = getattr(score, "__qualname__", "<")
    if "<" in name:
        raise InputError(
            f"{score!r} has no name that stays the same from run to run: give it an attribute key, a text that names "
            "what it measures with"
        )
    return f"{score.__module__}.{name}"


def _missing(plan: pd.DataFrame, store: Store | None, keep: Path | None) -> set[str]:
    """The units that are still to be computed; a clip that was to be kept and is gone counts as missing."""
    known = set() if store is None else store.known()
    if keep is not None:
        known = {unit for unit in known if (keep / f"{unit}.flac").is_file()}
    return set(plan[UNIT]) - known


# ---- generating


def _run(
    model: Model,
    load: Loader | None,
    job: _Job,
    work: Sequence[tuple[pd.DataFrame, pd.DataFrame]],
    workers: int,
    store: Store | None,
    progress: bool,
) -> list[pd.DataFrame]:
    from tqdm.auto import tqdm

    done: list[pd.DataFrame] = []
    total = sum(len(rows) for _, rows in work)
    with tqdm(total=total, disable=not progress, unit="clip", desc="sweep", smoothing=0.05) as bar:
        steps = _here(model, job, work, store) if workers <= 1 else _elsewhere(load, job, work, workers)
        for frame, count in steps:
            done.append(frame)
            bar.update(count)
    return done


def _here(
    model: Model, job: _Job, work: Iterable[tuple[pd.DataFrame, pd.DataFrame]], store: Store | None
) -> Iterator[tuple[pd.DataFrame, int]]:
    """Scores of each batch, stored as they come, with the number of clips that are done."""
    waiting = deque(work)
    while waiting:
        turns = len(waiting)
        for chunk, rows in (waiting.popleft() for _ in range(turns)):
            with _turn(store, job, chunk, rows) as left:
                if left is None:
                    waiting.append((chunk, rows))
                    continue
                yield left[:0], len(rows) - len(left)
                yield from _made(model, job, chunk, left, store)
        if len(waiting) == turns:
            time.sleep(PATIENCE)


@contextmanager
def _turn(store: Store | None, job: _Job, chunk: pd.DataFrame, rows: pd.DataFrame) -> Iterator[pd.DataFrame | None]:
    """The rows of a chunk that are still to be made; None while another process makes clips of the same pairs."""
    if store is None:
        yield rows
        return
    with store.lock(f"chunk {chunk[UNIT].iloc[0]}") as mine:
        yield rows[rows[UNIT].isin(_missing(rows, store, job.keep))] if mine else None


def _made(
    model: Model, job: _Job, chunk: pd.DataFrame, rows: pd.DataFrame, store: Store | None
) -> Iterator[tuple[pd.DataFrame, int]]:
    texts, context = _encode(model, job, chunk)
    for some, clips in _batches(model, job, texts, context, rows, min(job.batch, len(chunk))):
        frame = _scored(model, job.score, clips, some)
        if job.keep is not None:
            for clip, unit in zip(clips, some[UNIT], strict=True):
                clip.save(job.keep / f"{unit}.flac")
        if store is not None:
            store.add(frame)
        yield frame, len(some)


def _encode(model: Model, job: _Job, chunk: pd.DataFrame) -> tuple[dict[str, int], Context]:
    """All texts of a chunk, each encoded once; text -> row of the context."""
    texts = list(dict.fromkeys([*chunk["prompt"], *(text for text in chunk["routed"] if text)]))
    return {text: row for row, text in enumerate(texts)}, model.encode(texts, job.negative, job.lyrics)


def _batches(
    model: Model, job: _Job, texts: Mapping[str, int], context: Context, rows: pd.DataFrame, size: int
) -> Iterator[tuple[pd.DataFrame, Clips]]:
    start = 0
    while start < len(rows):
        some = rows.iloc[start : start + size].reset_index(drop=True)
        try:
            clips = model.decode(_latents(model, job, texts, context, some, size))[: len(some)]
        except (RuntimeError, MemoryError) as error:
            if size == 1 or not _out_of_memory(error):
                raise
            size = job.batch = (size + 1) // 2
            log.warning("not enough memory: going on with %d rows in one call", size)
            _release()
            continue
        start += len(some)
        yield some, clips


def _latents(
    model: Model, job: _Job, texts: Mapping[str, int], context: Context, rows: pd.DataFrame, size: int
) -> Latents:
    """Sample rows in one batch of ``size``, its end filled with the last row again."""
    rows = rows.iloc[[min(i, len(rows) - 1) for i in range(size)]]
    base = [texts[text] for text in rows["prompt"]]
    source = context[[texts[text or own] for text, own in zip(rows["routed"], rows["prompt"], strict=True)]]
    with ExitStack() as stack:
        for sites, places in rows_by_sites(rows["sites"]).items():
            stack.enter_context(route(model, list(sites), source, rows=places))
        return model.sample(context[base], model.noise([int(s) for s in rows["seed"]], job.seconds), job.sampling)


def rows_by_sites(sites: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...], list[int]]:
    """Set of sites -> the rows that are routed there."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for place, names in enumerate(sites):
        if names:
            groups.setdefault(tuple(names), []).append(place)
    return groups


def _out_of_memory(error: BaseException) -> bool:
    told = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in told or "allocate memory" in told


def _release() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _scored(model: Model, score: Score, clips: Clips, rows: pd.DataFrame) -> pd.DataFrame:
    """The scores of clips, one row a clip and metric."""
    result = score(clips, rows.drop(columns=["sites", "chunk"]))
    table = dict(result) if isinstance(result, pd.DataFrame | Mapping) else {"score": result}
    frames = []
    for metric, values in table.items():
        values = np.asarray(values, dtype=np.float64)
        if values.shape != (len(rows),):
            raise InputError(f"score {metric!r} has shape {values.shape} for {len(rows)} clips; expected a value each")
        frames.append(_about(model, rows).assign(metric=metric, value=values)[[*COLUMNS, UNIT]])
    return pd.concat(frames, ignore_index=True)


def _tidy(model: Model, plan: pd.DataFrame, values: pd.DataFrame) -> pd.DataFrame:
    """The plan with the values of its units, in the plan's order."""
    rows = plan.merge(values[[UNIT, "metric", "value"]].drop_duplicates([UNIT, "metric"]), on=UNIT, how="left")
    return _about(model, rows)[[*COLUMNS, UNIT]]


def _about(model: Model, rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(checkpoint=model.checkpoint, model=model.name, alpha=np.nan)


# ---- batch size


def _batch_size(model: Model, job: _Job, plan: pd.DataFrame, chunk: pd.DataFrame, store: Store | None) -> int:
    """The best batch for this model and these clips: decided once for a store, so that later runs repeat it."""
    about = {**_determinants(model, job), "device": str(model.device), "rows": len(chunk)}
    name = f"batch {key(about)}"
    known = store and store.get(name)
    if known:
        return int(known)
    texts, context = _encode(model, job, chunk)
    found = best_batch(model, job, texts, context, chunk)
    return found if store is None else int(store.get_or_set(name, found))


def best_batch(model: Model, job: _Job, texts: Mapping[str, int], context: Context, rows: pd.DataFrame) -> int:
    """The smallest power of two within 10 % of the best speed, found by runs of one step: decoding likes small ones."""
    quick = replace(job, sampling=replace(job.sampling, steps=1))
    speeds: dict[int, float] = {}
    size = 1
    while size <= len(rows):
        some = rows.iloc[:size]
        try:
            seconds = min(_seconds(lambda: _latents(model, quick, texts, context, some, size)) for _ in range(2))  # noqa: B023
        except (RuntimeError, MemoryError) as error:
            if size == 1 or not _out_of_memory(error):
                raise
            _release()
            break
        speeds[size] = size / seconds
        if speeds[size] < 0.8 * max(speeds.values()):
            break
        size *= 2
    return next(size for size, speed in speeds.items() if speed >= 0.9 * max(speeds.values()))


def _seconds(run: Callable[[], Latents]) -> float:
    start = time.perf_counter()
    run().values.sum().item()
    return time.perf_counter() - start


# ---- workers


_mine: list[Any] = []


def _elsewhere(
    load: Loader | None, job: _Job, work: Sequence[tuple[pd.DataFrame, pd.DataFrame]], workers: int
) -> Iterator[tuple[pd.DataFrame, int]]:
    """As :func:`_here`, a chunk at a time, in processes that each load the model."""
    context = multiprocessing.get_context("spawn")
    start = partial(_start, load, job, os.getpid())
    with ProcessPoolExecutor(workers, mp_context=context, initializer=start) as pool:
        futures = {pool.submit(_chunk, *item): item for item in work}
        try:
            while futures:
                for future in wait(futures, return_when=FIRST_COMPLETED).done:
                    item, frame = futures.pop(future), future.result()
                    if frame is None:
                        futures[pool.submit(_chunk, *item)] = item
                    else:
                        yield frame, len(item[1])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _start(load: Loader | None, job: _Job, parent: int) -> None:
    """Prepare a worker: one thread, its own model, and an end when the parent is gone."""
    assert load is not None
    torch.set_num_threads(1)
    _keep_memory()
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()
    _mine[:] = [load(), job, Store(job.store) if job.store else None]


def _keep_memory() -> None:
    """Let this process keep the memory it frees: fresh pages for large tensors take up to a fifth of decoding."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc has it
    for name, size in ((M_MMAP_THRESHOLD, 1 << 25), (M_TRIM_THRESHOLD, 1 << 30), (M_TOP_PAD, 1 << 26)):
        if mallopt is not None:
            mallopt(name, size)


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _chunk(chunk: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame | None:
    """The scores of a chunk; None, after a while, where another process is making them."""
    model, job, store = _mine
    with _turn(store, job, chunk, rows) as left:
        if left is not None:
            return pd.concat([rows[:0], *(frame for frame, _ in _made(model, job, chunk, left, store))])
    time.sleep(PATIENCE)
    return None
