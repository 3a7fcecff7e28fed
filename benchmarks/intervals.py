"""How often 95 % intervals hold the truth with few prompts: ours beside plain percentiles and BCa, as json lines.

    python benchmarks/intervals.py [--samples 400] [--prompts 3 4 8 16 32]

Quantities: a mean over prompts, and the standard deviation of the steps of a mean curve (smoothness). Prompts differ by
normal or by skewed (log-normal) amounts. Target: 95.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
from scipy.stats import norm

from tada.stats import bootstrap, draws

CURVE = np.array([0.0, 0.2, 0.9, 1.0, 1.4])


def smoothness(curves: np.ndarray) -> np.ndarray:
    """Deviation of the steps of curves ``[..., strengths]``."""
    return np.diff(curves, axis=-1).std(-1)


def bca(values: np.ndarray, without: np.ndarray) -> tuple[float, float]:
    """The bias-corrected and accelerated interval, from resamples and from values without each prompt."""
    share = np.clip((values[1:] < values[0]).mean(), 1 / len(values), 1 - 1 / len(values))
    shift, away = norm.ppf(share), without.mean() - without
    spread = 6 * (away**2).sum() ** 1.5
    bend = (away**3).sum() / spread if spread else 0.0
    ends = [shift + norm.ppf(tail) for tail in (0.025, 0.975)]
    low, high = np.percentile(values[1:], [100 * norm.cdf(shift + end / (1 - bend * end)) for end in ends])
    return low, high


def coverage(quantity: str, kind: str, prompts: int, samples: int) -> dict[str, float]:
    """Per cent of samples whose interval holds the truth, for each kind of interval."""
    rng, drawn = np.random.default_rng(0), draws(prompts)
    others = (1 - np.eye(prompts)) / (prompts - 1)
    of, truth = (smoothness, smoothness(CURVE)) if quantity == "smoothness" else (lambda curves: curves[..., 0], 0.0)
    hits = dict.fromkeys(("ours", "percentile", "bca"), 0)
    for _ in range(samples):
        noise = rng.normal(size=(prompts, 5)) if kind == "normal" else rng.lognormal(size=(prompts, 5)) - np.exp(0.5)
        scores = CURVE + 0.3 * noise
        values = of(drawn @ scores)
        found = {
            "ours": bootstrap(values, prompts),
            "percentile": np.percentile(values[1:], (2.5, 97.5)),
            "bca": bca(values, of(others @ scores)),
        }
        for name, (low, high) in found.items():
            hits[name] += low <= truth <= high
    return {name: round(100 * count / samples, 1) for name, count in hits.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=400)
    parser.add_argument("--prompts", type=int, nargs="+", default=[3, 4, 8, 16, 32])
    options = parser.parse_args()
    for quantity in ("mean", "smoothness"):
        for kind in ("normal", "skewed"):
            for prompts in options.prompts:
                held = coverage(quantity, kind, prompts, options.samples)
                print(json.dumps({"quantity": quantity, "prompts differ": kind, "prompts": prompts, **held}))
