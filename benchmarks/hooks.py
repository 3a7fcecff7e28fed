"""What hooks cost: sampling plain, with 24 sites recorded, edited and steered, side by side in one run.

    python benchmarks/hooks.py [--architecture stable-audio] [--width 64] [--rows 4] [--steps 20] [--rounds 15]

The model is a tiny random one, wide enough that a run takes over a second. Rounds interleave the kinds in changing
order, a ratio is taken within each round, and what counts is the process's own CPU time on one thread (on a GPU the
clock, after a synchronise), so that a busy machine disturbs little. On a CPU ``inside`` is a second reading that a
busy machine hardly disturbs at all: time spent in the hooks against the rest of the very same run. Targets: editing
1.03, recording means 1.05, steering with renormalisation 1.02.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

import tada
from tada import hooks
from tada.models.base import Model


def kinds(model: Model, rows: int) -> dict[str, Callable[[], AbstractContextManager]]:
    """The interventions that are compared, on the first 24 sites."""
    sites = model.sites[:24]
    vectors = {site: torch.randn(model.site_width(site), dtype=model.dtype, device=model.device) for site in sites}
    steering = tada.steering.Vector({site: vector[None].float() for site, vector in vectors.items()})
    grid = [0.01 * row for row in range(rows)]

    def add(hidden: torch.Tensor, when: tada.When) -> torch.Tensor:
        return hidden + 0.01 * vectors[when.site]

    return {
        "plain": nullcontext,
        "record": lambda: tada.record(model, sites, reduce="mean"),
        "edit": lambda: tada.edit(model, dict.fromkeys(sites, add)),
        "steer": lambda: steering.apply(model, 0.01, layers=None),
        "steer grid": lambda: steering.apply(model, grid, layers=None),
    }


def now(model: Model) -> float:
    """Seconds of CPU time used so far, or of the clock once a GPU is done."""
    if model.device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def measure(model: Model, rows: int, steps: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of every round, by kind."""
    context = model.encode(["a happy song"] * rows)
    noise = model.noise(range(rows), 0.64)
    sampling = tada.Sampling(steps, 3.0)
    contexts, seconds = kinds(model, rows), {}
    for round_ in range(rounds + 1):
        order = list(contexts)
        random.Random(round_).shuffle(order)
        for kind in order:
            start = now(model)
            with contexts[kind]():
                model.sample(context, noise, sampling)
            if round_:  # the first round warms up
                seconds.setdefault(kind, []).append(now(model) - start)
    return seconds


def inside(model: Model, rows: int, steps: int) -> dict[str, float]:
    """Time spent in what hooks call, over the rest of the same runs, plus 1; the least of three, by kind."""
    context, noise = model.encode(["a happy song"] * rows), model.noise(range(rows), 0.64)
    sampling, result = tada.Sampling(steps, 3.0), {}
    ways = kinds(model, rows)
    del ways["plain"]
    for kind, entered in ways.items():
        shares = []
        for _ in range(3):
            with timed() as spent, entered():
                start = time.perf_counter()
                model.sample(context, noise, sampling)
                whole = time.perf_counter() - start
            shares.append(sum(spent) / (whole - sum(spent)))
        result[kind] = 1 + min(shares)
    return result


@contextmanager
def timed() -> Iterator[list[float]]:
    """Seconds of every call of ``tada.hooks.post_hook`` by interventions that are entered inside the block."""
    spent, plain = [], hooks.post_hook

    def clocked(*args: object) -> torch.Tensor | None:
        start = time.perf_counter()
        new = plain(*args)
        spent.append(time.perf_counter() - start)
        return new

    hooks.post_hook = clocked
    try:
        yield spent
    finally:
        hooks.post_hook = plain


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", default="stable-audio", choices=list(tada.ARCHITECTURES))
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        tada.tiny.build(options.architecture, folder, width=options.width)
        model = tada.load(options.architecture, folder, device=options.device)
        within = inside(model, options.rows, options.steps) if options.device == "cpu" else {}
        seconds = measure(model, options.rows, options.steps, options.rounds)
    plain = seconds.pop("plain")
    ratios = {kind: [a / b for a, b in zip(times, plain, strict=True)] for kind, times in seconds.items()}
    report = {
        "checkpoint": model.checkpoint,
        "width": options.width,
        "rows": options.rows,
        "steps": options.steps,
        "plain_seconds": round(statistics.median(plain), 3),
    }
    for kind, values in ratios.items():
        low, middle, high = statistics.quantiles(values, n=4)
        report[kind] = {"ratio": round(middle, 4), "quartiles": [round(low, 4), round(high, 4)]}
        report[kind] |= {"inside": round(within[kind], 4)} if within else {}
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
