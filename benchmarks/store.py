"""Whether a store slows down as it grows: simulated units a second where 1,000, 10,000 and 100,000 are stored.

    python benchmarks/store.py [--sizes 1000 10000 100000] [--chunks 100]

A chunk is claimed, looked up, stored in batches of eight clips with ten metrics each, and given back, as the engine
does; there is no model, so that the store's own time is all there is. The sizes take turns, a chunk each, so that
whatever else the machine does meets all of them alike. Prints units a second of processor time and of time on the
clock, each over that of the smallest size, what opening takes, and the memory that a store holds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd

from tada.store import UNIT, Store, key

CHUNK, BATCH, METRICS = 64, 8, 10


def batch(first: int, units: int) -> pd.DataFrame:
    """Rows of so many units, which are numbered from ``first``."""
    names = [key({"unit": number}) for number in range(first, first + units)]
    metrics = [f"metric {number}" for number in range(METRICS)]
    about = {"model": "simulated", "method": "patch", "prompt": "a slow song with a piano", "layers": "6+7"}
    rows = {UNIT: np.repeat(names, METRICS), "metric": metrics * units, "seed": first}
    return pd.DataFrame(rows).assign(**about, value=np.random.default_rng(first).random(units * METRICS))


def fill(folder: Path, size: int) -> None:
    """Store so many units, in records as long as those of a run."""
    store = Store(folder)
    for first in range(0, size, BATCH):
        store.add(batch(first, BATCH))


def work(store: Store, first: int) -> tuple[float, float]:
    """Compute one chunk, without the computing; seconds of the processor and of the clock."""
    batches = [batch(first + start, BATCH) for start in range(0, CHUNK, BATCH)]
    units = [unit for rows in batches for unit in rows[UNIT].unique()]
    start = time.process_time(), time.perf_counter()
    with store.claim(f"chunk {units[0]}") as mine:
        assert mine and not store.known(units)
        for rows in batches:
            store.add(rows)
    return time.process_time() - start[0], time.perf_counter() - start[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--chunks", type=int, default=100)
    options = parser.parse_args()
    stores, found = {}, {}
    with tempfile.TemporaryDirectory() as place:
        for size in options.sizes:
            fill(Path(place, str(size)), size)
            tracemalloc.start()
            start, stores[size] = time.process_time(), Store(Path(place, str(size)))
            assert len(stores[size].known()) >= size
            opened = time.process_time() - start
            found[size] = {"megabytes": tracemalloc.get_traced_memory()[0] / 1e6, "opened in s": opened}
            tracemalloc.stop()
        times: dict[int, list[tuple[float, float]]] = {size: [] for size in stores}
        for number in range(options.chunks):
            for size, store in stores.items():
                times[size].append(work(store, 10**7 + number * CHUNK))
    for size, pairs in times.items():
        processor, clock = (CHUNK / statistics.median(seconds) for seconds in zip(*pairs, strict=True))
        found[size] |= {"units a second of processor": processor, "units a second of clock": clock}
        for name in ("units a second of processor", "units a second of clock"):
            found[size][f"{name}, over the smallest"] = found[size][name] / found[options.sizes[0]][name]
    print(json.dumps({size: {name: round(x, 3) for name, x in row.items()} for size, row in found.items()}, indent=1))


if __name__ == "__main__":
    main()
