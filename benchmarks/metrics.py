"""What the distance between sets costs: the nuclear norm against scipy's matrix square root, side by side in one run.

    python benchmarks/metrics.py [--n 256] [--dim 512] [--rounds 7]

Both are given the same embeddings, in changing order, so that a busy machine disturbs both alike. Target at 256 clips
of 512 values: at least 10 times as fast, the same distance within 1e-6, and 1e-9 for a set with itself.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import statistics
import time
from collections.abc import Callable

import numpy as np
from scipy.linalg import sqrtm

from tada.metrics import fad


def textbook(x: np.ndarray, y: np.ndarray) -> float:
    """The Fréchet distance as it is written, with scipy's matrix square root."""
    a, b = np.cov(x.T), np.cov(y.T)
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a) + np.trace(b) - 2 * np.trace(sqrtm(a @ b)).real)


def sets(n: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Two sets with a spectrum that decays as that of embeddings does."""
    rng = np.random.default_rng(0)
    scales = np.exp(-np.arange(dim) / (dim / 6))
    turn = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
    return rng.standard_normal((n, dim)) * scales, 0.1 + 1.2 * rng.standard_normal((n, dim)) * scales @ turn


def seconds(run: Callable[[], float]) -> float:
    """Time of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def measure(n: int, dim: int, rounds: int) -> dict[str, float]:
    """Median times, their median ratio, and how far the two distances are apart."""
    x, y = sets(n, dim)
    ways = {"nuclear norm": lambda: fad.distance(x, y), "sqrtm": lambda: textbook(x, y)}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds):
        for name in list(ways)[:: 1 if turn % 2 else -1]:
            times[name].append(seconds(ways[name]))
    ratios = [slow / fast for slow, fast in zip(times["sqrtm"], times["nuclear norm"], strict=True)]
    ours, theirs = fad.distance(x, y), textbook(x, y)
    return {
        **{f"{name}, ms": round(1000 * statistics.median(values), 1) for name, values in times.items()},
        "times as fast": round(statistics.median(ratios), 1),
        "relative difference": abs(ours - theirs) / theirs,
        "of a set with itself": abs(fad.distance(x, x)),
    }


def main() -> None:
    """Print the figures as json."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--n", type=int, default=256)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=7)
    print(json.dumps(measure(**vars(parser.parse_args())), indent=1))


if __name__ == "__main__":
    main()
