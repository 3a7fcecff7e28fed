"""How often 95 % intervals hold the truth with few units, and how often a layer without effect is called: json lines.

    python benchmarks/intervals.py [--samples 2000] [--units 3 6 8 12 32]

Quantities: a mean over units, and the standard deviation of the steps of a mean curve (smoothness). Units differ by
normal, by skewed (log-normal) amounts, by such amounts downwards (fallen), or are hits in a fifth of all cases
(binary). Beside ours: plain percentiles and BCa. Target: 95; of false calls at most 5.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
from scipy.stats import norm

from tada.stats import bootstrap, draws, lower_bounds

CURVE = np.array([0.0, 0.2, 0.9, 1.0, 1.4])
KINDS = ("normal", "skewed", "fallen", "binary")


def noise(rng: np.random.Generator, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """Amounts of mean 0 by which units differ."""
    if kind == "binary":
        return (rng.random(shape) < 0.2) - 0.2
    skewed = rng.lognormal(size=shape) - np.exp(0.5)
    return {"normal": rng.normal(size=shape), "skewed": skewed, "fallen": -skewed}[kind]


def smoothness(curves: np.ndarray) -> np.ndarray:
    """Deviation of the steps of curves ``[..., strengths]``."""
    return np.diff(curves, axis=-1).std(-1)


def bca(values: np.ndarray, without: np.ndarray) -> tuple[float, float]:
    """The bias-corrected and accelerated interval, from resamples and from values without each unit."""
    share = np.clip((values[1:] < values[0]).mean(), 1 / len(values), 1 - 1 / len(values))
    shift, away = norm.ppf(share), without.mean() - without
    spread = 6 * (away**2).sum() ** 1.5
    bend = (away**3).sum() / spread if spread else 0.0
    ends = [shift + norm.ppf(tail) for tail in (0.025, 0.975)]
    low, high = np.percentile(values[1:], [100 * norm.cdf(shift + end / (1 - bend * end)) for end in ends])
    return low, high


def coverage(quantity: str, kind: str, units: int, samples: int) -> dict[str, float]:
    """Per cent of samples whose interval holds the truth, for each kind of interval."""
    rng, drawn = np.random.default_rng(0), draws(units)
    others = (1 - np.eye(units)) / (units - 1)
    of, truth = (smoothness, smoothness(CURVE)) if quantity == "smoothness" else (lambda curves: curves[..., 0], 0.0)
    hits = dict.fromkeys(("ours", "percentile", "bca"), 0)
    for _ in range(samples):
        scores = CURVE + 0.3 * noise(rng, kind, (units, 5))
        values = of(drawn @ scores)
        found = {
            "ours": bootstrap(values, units),
            "percentile": np.percentile(values[1:], (2.5, 97.5)),
            "bca": bca(values, of(others @ scores)),
        }
        for name, (low, high) in found.items():
            hits[name] += bool(low <= truth <= high)
    return {name: round(100 * count / samples, 1) for name, count in hits.items()}


def false_calls(kind: str, units: int, layers: int, samples: int) -> dict[str, float]:
    """Per cent of samples in which some layer lies above 0 though none has an effect: one by one, and all at once."""
    rng, drawn = np.random.default_rng(0), draws(units)
    hits = {"one by one": 0, "all at once": 0}
    for _ in range(samples):
        values = drawn @ noise(rng, kind, (units, layers))
        hits["one by one"] += bool((bootstrap(values, units)[0] > 0).any())
        hits["all at once"] += bool((lower_bounds(values, units) > 0).any())
    return {name: round(100 * count / samples, 1) for name, count in hits.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--units", type=int, nargs="+", default=[3, 6, 8, 12, 32])
    options = parser.parse_args()
    for kind in KINDS:
        for units in options.units:
            for quantity in ("mean", "smoothness"):
                held = coverage(quantity, kind, units, options.samples)
                print(json.dumps({"quantity": quantity, "units differ": kind, "units": units, **held}))
            for layers in (12, 24):
                called = false_calls(kind, units, layers, options.samples // 5)
                print(json.dumps({"false calls of layers": layers, "units differ": kind, "units": units, **called}))
