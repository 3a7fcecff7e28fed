"""One sweep by several processes: the single run's table to the bit, whoever is killed, no stored unit twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from threading import Lock, Thread
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
import torch

import tada
from checks import SECONDS, power, run
from tada import patching
from tada import store as store_module
from tada.patching import sweeps
from tada.store import Store

PAIRS = pd.DataFrame({"concept": "violin", "target": "a violin song", "source": "a trumpet song", "pair": range(6)})
SETTING = tada.Setting(SECONDS, tada.Sampling(steps=2, guidance=3.0), batch=2)


def slow_power(clips: tada.Clips, rows: pd.DataFrame) -> np.ndarray:
    time.sleep(0.05)
    return power(clips, rows)


def sweep(
    checkpoint: str | Path, store: str | Path, pairs: str, log: str | Path, executor: Executor | None = None
) -> pd.DataFrame:
    """Sweep the pairs that ``pairs`` numbers, one a chunk; the units that are stored are noted in ``log``."""
    some = [int(pair) for pair in pairs]

    def add(self: Store, rows: pd.DataFrame, add: Callable[..., None] = Store.add) -> None:
        add(self, rows)
        with Path(log).open("a") as file:
            file.write("".join(f"{unit}\n" for unit in rows["unit_hash"]))

    model = tada.load("ace-step", checkpoint, device="cpu")
    with patch.object(Store, "add", add), patch.object(sweeps, "CHUNK", 1):
        seeds = [[seed] for seed in some]
        setting = replace(SETTING, executor=executor)
        return patching.sweep(model, PAIRS.iloc[some], seeds, [1, [0, 2]], setting, score=slow_power, store=store)


def machine(name: str, *arguments: str) -> None:
    """Be a machine of this name, which sweeps."""
    store_module.MACHINE, store_module.BEAT, store_module.LEASE = name, 0.1, 2.0
    torch.set_num_threads(1)
    sweep(*arguments)


@pytest.fixture
def whole(tiny_folder: Callable[[str], Path], tmp_path: Path) -> pd.DataFrame:
    """The table of a single run."""
    return sweep(tiny_folder("ace-step"), tmp_path / "whole", "012345", tmp_path / "whole.log")


@pytest.fixture
def start(tiny_folder: Callable[[str], Path], tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """Start a sweep as a process of its own, on a machine of its own as far as it can tell."""
    started = []

    def begin(name: str, store: Path, pairs: str, log: Path) -> subprocess.Popen:
        paths = os.pathsep.join(map(str, Path(__file__).parents[:2]))
        code = "import sys, test_cluster; test_cluster.machine(*sys.argv[1:])"
        command = [sys.executable, "-c", code, name, tiny_folder("ace-step"), store, pairs, log]
        started.append(subprocess.Popen(command, env={**os.environ, "PYTHONPATH": paths}))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()


def units(log: Path) -> list[str]:
    return log.read_text().split() if log.exists() else []


def kill_at_work(process: subprocess.Popen, log: Path) -> None:
    """Kill a process that has stored a few units, with more to do."""
    deadline = time.monotonic() + 300
    while len(units(log)) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def test_a_store_is_shared_and_outlives_a_killed_process(start, tiny_folder, tmp_path, whole):
    store, logs = tmp_path / "store", [tmp_path / "one.log", tmp_path / "two.log"]
    both = [start(log.stem, store, "012345", log) for log in logs]
    kill_at_work(both[0], logs[0])
    assert both[1].wait(300) == 0
    computed = [unit for log in logs for unit in units(log)]
    assert len(computed) == len(set(computed)), "a stored unit was computed again"
    again = sweep(tiny_folder("ace-step"), store, "012345", tmp_path / "again.log")
    pd.testing.assert_frame_equal(again, whole, check_exact=True)
    assert not units(tmp_path / "again.log") and not list(store.glob("*.claim"))


def test_stores_of_two_machines_are_merged(start, tiny_folder, tmp_path, whole):
    """Each has a part, some pairs both; what a killed one did not come to is computed after the merge."""
    stores = [tmp_path / "one", tmp_path / "two"]
    parts = zip(stores, ("0123", "345"), strict=True)
    both = [start(store.name, store, pairs, store.with_suffix(".log")) for store, pairs in parts]
    kill_at_work(both[0], tmp_path / "one.log")
    assert both[1].wait(300) == 0
    for _ in range(2):
        done = run("store", "merge", tmp_path / "both", *stores)
        assert done.exit_code == 0, done.output
    merged = Store(tmp_path / "both").known()
    assert merged == Store(stores[0]).known() | Store(stores[1]).known()
    assert f"{stores[1]}: 0 new units" in done.output and f"holds {len(merged)} units" in done.output
    rest = sweep(tiny_folder("ace-step"), tmp_path / "both", "012345", tmp_path / "rest.log")
    pd.testing.assert_frame_equal(rest, whole, check_exact=True)
    assert sorted(units(tmp_path / "rest.log")) == sorted(set(whole["unit_hash"]) - merged)


# ---- Ray


class StandInActor:
    """An actor as Ray's: made and called by ``remote``, one call at a time."""

    def __init__(self, kind: type) -> None:
        self.actor, self.lock, self.calls = kind(), Lock(), 0
        self.run = SimpleNamespace(remote=lambda *call: lambda: self.make(*call))

    def make(self, *call: object) -> object:
        assert self.lock.acquire(blocking=False), "an actor that is at work was given more"
        try:
            self.calls += 1
            return self.actor.run(*call)
        finally:
            self.lock.release()


def test_actors_compute_what_one_process_does(tiny_folder, tmp_path, whole, monkeypatch):
    """With the three calls of Ray that are used: ``remote`` of a class and of a method, and ``get``."""
    made, asked = [], []

    def remote(**options: object) -> Callable[[type], SimpleNamespace]:
        asked.append(options)
        return lambda kind: SimpleNamespace(remote=lambda: made.append(StandInActor(kind)) or made[-1])

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(remote=remote, get=lambda reference: reference()))
    with tada.ray.Actors(2, num_gpus=1) as pool:
        table = sweep(tiny_folder("ace-step"), tmp_path / "ray", "012345", tmp_path / "ray.log", pool)
    pd.testing.assert_frame_equal(table, whole, check_exact=True)
    assert len(made) == 2 and all(actor.calls for actor in made)
    assert asked == [{"max_restarts": -1, "max_task_retries": -1, "num_gpus": 1}]
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match="pip install ray"):
        tada.ray.Actors(2)


def test_a_killed_actor_changes_nothing(tiny_folder, tmp_path, whole):
    """With Ray itself, where it is installed."""
    ray = pytest.importorskip("ray")
    paths = {"PYTHONPATH": os.pathsep.join(map(str, Path(__file__).parents[:2])), "OMP_NUM_THREADS": "1"}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": paths})
    store = Store(tmp_path / "ray")

    def kill(process: int) -> None:
        while len(store.known()) < 3:
            time.sleep(0.01)
        os.kill(process, signal.SIGKILL)

    with tada.ray.Actors(2, num_cpus=1) as pool:
        killer = Thread(target=kill, args=(pool.submit(os.getpid).result(),))
        killer.start()
        table = sweep(tiny_folder("ace-step"), store.folder, "012345", tmp_path / "ray.log", pool)
        killer.join()
    ray.shutdown()
    pd.testing.assert_frame_equal(table, whole, check_exact=True)
    stored = [head for file in store.folder.glob("*.rows") for head in store_module.RECORD.findall(file.read_bytes())]
    assert len(stored) == len(table) / SETTING.batch, "a stored unit was computed again"
