"""What more processes give: clips a second of one sweep by one process and by several, on this machine.

    python benchmarks/workers.py [--model ace-step] [--checkpoint mini] [--workers 2] [--pairs 64]

Each process has one thread. Processes are started, and load the model, before anything is timed; then each number of
them sweeps the same pairs, one layer routed, in chunks of eight. The target is 1.8 times as many clips by two, where
two cores have nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace

import pandas as pd
import torch

import tada
from tada import patching
from tada.engine.pool import processes
from tada.metrics.judges import make_judge


def make_pairs(count: int, first: int) -> pd.DataFrame:
    """Pairs of prompts of the minis' words; those from another number on are others."""
    rows = [(f"a fast song, take {n}", f"a slow song, take {n}") for n in range(first, first + count)]
    return pd.DataFrame(rows, columns=["target", "source"]).assign(concept="fast", counterfactual="slow")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="ace-step")
    parser.add_argument("--checkpoint", default="mini")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=64)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, judge = tada.load(options.model, options.checkpoint), make_judge("probe")
    rates: dict[int, float] = {}
    for workers in (1, options.workers):
        with processes(workers) as executor:  # none for one, which computes here
            setting = replace(tada.Setting(model.default_seconds), executor=executor)
            patching.sweep(model, make_pairs(8 * workers, 10**6), 0, [1], setting, score=judge)
            start = time.perf_counter()
            scores = patching.sweep(model, make_pairs(options.pairs, 0), 0, [1], setting, score=judge)
            rates[workers] = scores["unit_hash"].nunique() / (time.perf_counter() - start)
    found = {f"clips a second, {workers} workers": round(rate, 2) for workers, rate in rates.items()}
    print(json.dumps({**found, "over one": round(rates[options.workers] / rates[1], 3)}, indent=1))


if __name__ == "__main__":
    main()
