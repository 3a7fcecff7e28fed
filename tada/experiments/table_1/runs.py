"""A run of Table 1: every concept steered and scored, on several processes if asked, and what it leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import torch

from tada import evaluation
from tada.concepts import steered as prompts
from tada.experiments.table_1.arms import arms, caa_arms, features, sae_arms
from tada.experiments.table_1.request import Request, panel, run_of
from tada.io import atomic_write, write_json, write_table
from tada.steering import Arm, Trial, library
from tada.store import key


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
    rows = pd.concat([evaluate(request, name, arms(request, name)) for name in request.concepts], ignore_index=True)
    run = run_of(request)
    about = {**asdict(request), "size": asdict(request.size), "seconds": run.seconds}
    about |= {"steps": run.sampling.steps, "sites": len(run.model.sites)}
    write_table(folder(request) / "results.parquet", rows)
    write_json(folder(request) / "run.json", about)
    return rows


def evaluate(request: Request, concept: str, rows: Sequence[Arm]) -> pd.DataFrame:
    """Steer and score the prompts of one concept; kept."""
    run, size = run_of(request), request.size
    setting = replace(run.trial(concept).setting, batch=16)
    trial = Trial(concept, evaluation.seeded(prompts.neutral(concept, size.prompts, run.words)), setting)
    store = Path(request.store) / "evaluation"
    return evaluation.run(run.model, rows, trial, panel(request), size.percents, store, truth(request))


def folder(request: Request) -> Path:
    """Where a run leaves its table."""
    return Path(request.store) / "tables" / f"{request.name}-{library.slug(run_of(request).model.checkpoint)}"


def truth(request: Request) -> torch.Tensor | None:
    """Embeddings of true renders, held out from all training; None for public checkpoints."""
    from safetensors.torch import load_file, save_file

    from tada.minis.attributes import draw
    from tada.minis.probe import TEST_SEED
    from tada.minis.render import FRAMES, render_batch
    from tada.minis.sounds import SAMPLE_RATE

    count, run = request.size.renders, run_of(request)
    if run.words != "mini" or not count:
        return None
    ear = panel(request)
    about = {"renders": count, "first": TEST_SEED, "seconds": run.seconds, "panel": ear.key}
    place = Path(request.store) / "evaluation" / f"truth-{key(about)[:16]}.safetensors"
    if not place.is_file():
        seeds = range(TEST_SEED, TEST_SEED + count)
        clips = render_batch([draw(seed) for seed in seeds], seeds)[:, : min(FRAMES, round(run.seconds * SAMPLE_RATE))]
        rows = ear.embed(clips, SAMPLE_RATE)
        atomic_write(place, lambda draft: save_file({"rows": rows}, draft))
    return load_file(place)["rows"]


def _side_by_side(request: Request, workers: int) -> None:
    """Everything on several processes, into the store; the autoencoder takes longest and is started first."""
    from multiprocessing import get_context

    context = get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        trained = pool.submit(features, request)
        jobs = [pool.submit(_part, request, name, caa_arms) for name in request.concepts]
        trained.result()
        jobs += [pool.submit(_part, request, name, sae_arms) for name in request.concepts]
        for job in jobs:
            job.result()


def _part(request: Request, concept: str, rows: Callable[[Request, str], list[Arm]]) -> None:
    evaluate(request, concept, rows(request, concept))
