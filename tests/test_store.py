"""The store: nothing lost, nothing computed twice, nothing damaged taken for whole."""

from __future__ import annotations

import json
import logging
import multiprocessing
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tada import store as store_module
from tada.errors import InputError
from tada.store import Store, key

WORK = """
import sys
import time
import pandas as pd
from tada.store import Store, key

folder, log, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
store = Store(folder)
units = {key({"n": n}): n for n in range(count)}
for unit, n in units.items():
    if unit in store.known():
        continue
    time.sleep(0.002)
    store.add(pd.DataFrame({"unit_hash": [unit] * 2, "metric": ["square", "half"], "value": [float(n * n), n / 2]}))
    with open(log, "a") as file:
        file.write(f"{n}\\n")
"""


def rows(*numbers: int) -> pd.DataFrame:
    return pd.DataFrame({"unit_hash": [key({"n": n}) for n in numbers], "value": [float(n) for n in numbers]})


def worker(folder: Path, log: Path, count: int = 60) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", WORK, str(folder), str(log), str(count)])


# ---- keys


def test_a_key_is_that_of_the_content_not_of_its_order():
    assert key({"a": 1, "b": [1, 2]}) == key({"b": [1, 2], "a": 1})
    assert len({key({"a": 1}), key({"a": 2}), key({"a": "1"}), key({"b": 1}), key({"a": 1.5})}) == 5
    assert key({"prompt": "naïve 🎵"}) == key(json.loads(json.dumps({"prompt": "naïve 🎵"})))
    with pytest.raises(TypeError):
        key({"score": object()})


# ---- rows in, rows out


def test_rows_come_back_as_they_went_in(tmp_path):
    Store(tmp_path).add(rows(3, 1))
    Store(tmp_path).add(rows(2))
    again = Store(tmp_path)
    assert again.known() == set(rows(1, 2, 3)["unit_hash"])
    wanted = rows(2, 3, 1)
    pd.testing.assert_frame_equal(again.frame(wanted["unit_hash"]), wanted)


def test_all_metrics_of_a_unit_stay_together_and_in_order(tmp_path):
    store, unit = Store(tmp_path), key({"n": 1})
    store.add(pd.DataFrame({"unit_hash": [unit, unit], "metric": ["b", "a"], "value": [1.0, 2.0]}))
    store.add(pd.DataFrame({"unit_hash": [unit, unit], "metric": ["b", "a"], "value": [1.0, 2.5]}))
    frame = store.frame([unit])
    assert list(frame["metric"]) == ["b", "a"], "a unit that two processes computed counts once"


def test_what_is_not_there_is_said(tmp_path):
    store = Store(tmp_path)
    assert store.known() == set() and len(store.frame()) == 0
    for wrong, words in ((pd.DataFrame({"value": [1.0]}), "unit_hash"), (rows(), "0 rows")):
        with pytest.raises(ValueError, match=words):
            store.add(wrong)
    store.add(rows(1))
    with pytest.raises(KeyError, match="1 of 2 units"):
        store.frame(rows(1, 2)["unit_hash"])


def test_types_and_gaps_come_back(tmp_path):
    embedding = np.arange(3, dtype=np.float32)
    mixed = pd.DataFrame({
        "unit_hash": ["a", "a", "b"],
        "value": [1.5, np.nan, 2.5],
        "small": np.float32([1, 2, 3]),
        "seed": [2**53 + 1, 2, 3],
        "right": [True, False, True],
        "embedding": [None, embedding, None],
    })  # fmt: skip
    Store(tmp_path).add(mixed)
    frame = Store(tmp_path).frame()
    pd.testing.assert_frame_equal(frame.drop(columns="embedding"), mixed.drop(columns="embedding"))
    assert frame["embedding"][1].dtype == np.float32 and (frame["embedding"][1] == embedding).all()
    assert frame["embedding"][0] is None and frame["embedding"][2] is None
    Store(tmp_path).add(pd.DataFrame({"unit_hash": ["c"], "other": ["text"], "value": [3]}))
    last = Store(tmp_path).frame(["c", "b"])
    assert last["other"][0] == "text" and last["value"].tolist() == [3.0, 2.5] and np.isnan(last["seed"][0])


def test_a_store_travels_to_other_processes_and_threads(tmp_path):
    store = Store(tmp_path)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: store.add(rows(n)), range(8)))
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(store.known).result() == set(rows(*range(8))["unit_hash"])


# ---- damage, and folders that cannot hold a store


def test_a_damaged_record_is_forgotten_and_computed_again(tmp_path, caplog):
    for number in (1, 2, 3):
        Store(tmp_path).add(rows(number))
    file = sorted(tmp_path.glob("*.rows"))[0]
    content = file.read_bytes()
    place = content.index(np.float64(1.0).tobytes())
    file.write_bytes(content[:place] + np.float64(7.0).tobytes() + content[place + 8 :])
    with caplog.at_level(logging.WARNING, "tada.store"):
        again = Store(tmp_path)
        assert again.known() == set(rows(2, 3)["unit_hash"])
        assert again.known(rows(1, 2)["unit_hash"]) == set(rows(2)["unit_hash"])
    assert caplog.text.count("is damaged") == 1 and str(file) in caplog.text
    again.add(rows(1))
    pd.testing.assert_frame_equal(Store(tmp_path).frame(rows(1, 2)["unit_hash"]), rows(1, 2))


@pytest.mark.parametrize("harm", ["cut", "overwritten", "gap", "length"])
def test_what_damage_leaves_whole_is_kept(tmp_path, harm, caplog):
    store = Store(tmp_path)
    for number in range(6):
        store.add(rows(number))
    (file,) = tmp_path.glob("*.rows")
    content = file.read_bytes()
    second = content.index(b"tada ", 5)
    file.write_bytes(
        {
            "cut": content[: second + 100],
            "overwritten": b"nonsense" * 1000,
            "gap": content[:second] + bytes(50) + content[second + 50 :],
            "length": content[: second + 70] + b"9" + content[second + 70 :],
        }[harm]
    )
    kept = {"cut": {0}, "overwritten": set(), "gap": {0, 2, 3, 4, 5}, "length": {0, 2, 3, 4, 5}}[harm]
    again = Store(tmp_path)
    assert again.known() == set(rows(*kept)["unit_hash"])
    assert ("is damaged" in caplog.text) == (harm != "cut"), "what a killed process leaves is no damage"
    again.add(rows(*range(6)))
    pd.testing.assert_frame_equal(Store(tmp_path).frame(rows(*range(6))["unit_hash"]), rows(*range(6)))


def test_a_full_disk_is_told_and_leaves_the_store_sound(tmp_path, monkeypatch):
    store = Store(tmp_path)
    store.add(rows(1))
    monkeypatch.setattr("tada.io.os.fsync", lambda file: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(InputError, match="cannot be written.*No space"):
        store.add(rows(2))
    monkeypatch.undo()
    store.add(rows(3))
    assert Store(tmp_path).known() == store.known() == set(rows(1, 3)["unit_hash"])


def test_a_folder_that_cannot_be_is_told(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="cannot be a folder of results"):
            Store(place)


@pytest.mark.parametrize("old", ["parts/0.parquet", "store.sqlite"])
def test_a_store_of_an_older_version_is_refused(tmp_path, old):
    (tmp_path / old).parent.mkdir(exist_ok=True)
    (tmp_path / old).touch()
    with pytest.raises(InputError, match="older version.*delete it or name another"):
        Store(tmp_path)


# ---- settings that the first run decides, and two stores that become one


def test_the_first_to_set_decides(tmp_path):
    store = Store(tmp_path)
    assert store.get("seed") is None
    assert store.get_or_set("seed", 1) == 1 == Store(tmp_path).get_or_set("seed", 2) == store.get("seed")
    assert store.get_or_set("other", 3) == 3 and store.known() == set() and store.frame().empty


def test_merged_stores_hold_what_either_held(tmp_path):
    one, two = Store(tmp_path / "one"), Store(tmp_path / "two")
    one.add(rows(1, 2))
    one.get_or_set("batch", 8)
    two.get_or_set("batch", 16)
    two.get_or_set("seed", 3)
    two.add(rows(2, 3))
    assert [one.merge(two.folder), one.merge(two.folder)] == [1, 0]
    two.add(rows(4))
    assert one.merge(two.folder) == 1
    pd.testing.assert_frame_equal(Store(tmp_path / "one").frame(rows(4, 3, 2, 1)["unit_hash"]), rows(4, 3, 2, 1))
    assert [Store(tmp_path / "one").get(name) for name in ("batch", "seed")] == [8, 3], "the first to set decides"
    with pytest.raises(InputError, match="no store that holds results"):
        one.merge(tmp_path)


# ---- processes


def test_killed_at_random_moments_nothing_is_lost_or_computed_twice(tmp_path):
    log, whole = tmp_path / "log", Store(tmp_path / "whole")
    whole_log = tmp_path / "whole_log"
    assert worker(whole.folder, whole_log).wait() == 0
    dice, kills = random.Random(5), 0
    Store(tmp_path / "cut")
    while kills < 10:
        process, before = worker(tmp_path / "cut", log), _lines(log)
        while process.poll() is None and _lines(log) < before + dice.randint(1, 4):
            time.sleep(0.002)
        time.sleep(dice.random() * 0.01)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert worker(tmp_path / "cut", log).wait() == 0
    pd.testing.assert_frame_equal(Store(tmp_path / "cut").frame(), whole.frame())
    computed = log.read_text().split()
    assert len(computed) == len(set(computed)), "a stored unit was computed again"


def _lines(path: Path) -> int:
    return path.read_text().count("\n") if path.exists() else 0


def test_two_processes_on_one_store_do_not_clash(tmp_path):
    both = [worker(tmp_path / "store", tmp_path / f"log{i}") for i in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    frame = Store(tmp_path / "store").frame()
    assert len(frame) == 120 and frame["unit_hash"].nunique() == 60


HOLD = """
import sys, time
from tada import store
from tada.store import Store

store.MACHINE, store.BEAT = sys.argv[2], 0.05
with Store(sys.argv[1]).claim("work") as mine:
    print(mine, flush=True)
    time.sleep(60)
"""


def holder(folder: Path, machine: str = store_module.MACHINE) -> subprocess.Popen:
    arguments = [sys.executable, "-c", HOLD, str(folder), machine]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "True\n"
    return process


def test_a_claim_is_held_once_and_given_back(tmp_path):
    store = Store(tmp_path)
    with store.claim("work") as mine, store.claim("work") as again, store.claim("other") as other:
        assert (mine, again, other) == (True, False, True)
    assert not list(tmp_path.iterdir()), "what is given back leaves no file"


@pytest.mark.parametrize("machine", [store_module.MACHINE, "another"])
def test_a_claim_ends_with_its_process(tmp_path, monkeypatch, machine):
    """At once where the process was on this machine, else when its lease runs out."""
    monkeypatch.setattr(store_module, "LEASE", 1.0)
    store, process = Store(tmp_path), holder(tmp_path, machine)
    deadline = time.monotonic() + 2.0
    while time.monotonic() < deadline:
        with store.claim("work") as mine:
            assert not mine, "signs of life keep a claim"
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed = time.monotonic()
    while True:
        with store.claim("work") as mine:
            if mine:
                break
        assert time.monotonic() - killed < 30
        time.sleep(0.02)
    assert (time.monotonic() - killed > 0.5) == (machine == "another")
    assert not list(tmp_path.iterdir())


def test_a_dead_claim_passes_to_one_of_many(tmp_path):
    process = holder(tmp_path)
    process.kill()
    process.wait()

    def ask(_: int) -> bool:
        with Store(tmp_path).claim("work") as mine:
            time.sleep(0.3)
            return mine

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(ask, range(8))) == 1
