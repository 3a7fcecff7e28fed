"""The store: nothing lost, nothing computed twice, nothing damaged taken for whole."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
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


def test_a_damaged_unit_is_forgotten_and_computed_again(tmp_path, caplog):
    store = Store(tmp_path)
    store.add(rows(1, 2))
    content = store.file.read_bytes()
    place = content.index(np.float64(1.0).tobytes())
    store.file.write_bytes(content[:place] + np.float64(7.0).tobytes() + content[place + 8 :])
    with caplog.at_level(logging.WARNING, "tada.store"):
        again = Store(tmp_path)
        assert again.known() == set(rows(2)["unit_hash"])
    assert "1 units" in caplog.text and str(store.file) in caplog.text
    again.add(rows(1))
    pd.testing.assert_frame_equal(Store(tmp_path).frame(rows(1, 2)["unit_hash"]), rows(1, 2))


@pytest.mark.parametrize("harm", ["truncate", "overwrite"])
def test_a_damaged_file_is_refused_in_words(tmp_path, harm):
    store = Store(tmp_path)
    store.add(rows(*range(200)))
    content = store.file.read_bytes()
    store.file.write_bytes(content[: len(content) // 2] if harm == "truncate" else b"nonsense" * 1000)
    harmed = store.file.read_bytes()
    with pytest.raises(InputError, match="damaged.*set aside as store.sqlite.damaged-.*delete"):
        Store(tmp_path).frame()
    assert [file.read_bytes() for file in tmp_path.glob("*.damaged-*")] == [harmed]
    Store(tmp_path).add(rows(1))
    assert len(Store(tmp_path).frame()) == 1


def test_what_is_no_store_is_told(tmp_path):
    foreign, file, folder, pipe, older = (tmp_path / name for name in ("foreign", "file", "folder", "pipe", "older"))
    file.touch()
    (older / "parts").mkdir(parents=True)
    (older / "parts" / "0.parquet").touch()
    with pytest.raises(InputError, match="older version.*delete it or name another"):
        Store(older)
    assert not (older / "store.sqlite").exists()
    for place in (file, file / "below"):
        with pytest.raises(InputError, match="cannot be a folder of results"):
            Store(place)
    (folder / "store.sqlite").mkdir(parents=True)
    pipe.mkdir()
    os.mkfifo(pipe / "store.sqlite")
    for place in (folder, pipe):
        with pytest.raises(InputError, match="store.sqlite is no file"):
            Store(place)
    foreign.mkdir()
    with closing(sqlite3.connect(foreign / "store.sqlite")) as database:
        database.execute("CREATE TABLE units (mine)")
    with pytest.raises(InputError, match="other tables.*set aside"):
        Store(foreign)
    assert list(foreign.glob("store.sqlite.damaged-*")) and Store(foreign).known() == set()


def test_the_first_to_set_decides_unless_it_is_damaged(tmp_path, caplog):
    store = Store(tmp_path)
    assert store.get("seed") is None
    assert store.get_or_set("seed", 1) == 1 == Store(tmp_path).get_or_set("seed", 2) == store.get("seed")
    assert store.get_or_set("other", 3) == 3
    with closing(sqlite3.connect(store.file)) as database:
        database.execute("UPDATE settings SET value = '{'")
        database.commit()
    assert store.get("seed") is None and "setting seed" in caplog.text
    assert store.get_or_set("seed", 2) == 2


MOUNTS = """\
overlay / overlay rw 0 0
host:/home /home nfs4 rw 0 0
/dev/sda /home/me/disk ext4 rw 0 0
me@host: /mnt/far\\040away fuse.sshfs rw 0 0
//host/share /media cifs rw 0 0
"""


def test_folders_on_the_network_are_refused(tmp_path, monkeypatch):
    (tmp_path / "mounts").write_text(MOUNTS)
    folders = {"/tmp": "overlay", "/home/me": "nfs4", "/home/me/disk/a": "ext4", "/mnt/far away/x": "fuse.sshfs"}
    for folder, system in {**folders, "/media/a": "cifs", "/homes": "overlay"}.items():
        assert store_module.file_system(Path(folder), tmp_path / "mounts") == system
        assert bool(store_module.NETWORK.fullmatch(system)) == (system not in ("overlay", "ext4"))
    assert store_module.file_system(Path("/tmp"), tmp_path / "none") == ""
    monkeypatch.setattr(store_module, "file_system", lambda folder: "nfs4")
    with pytest.raises(InputError, match=r"network file system \(nfs4\).*local folder"):
        Store(tmp_path / "new")
    assert not (tmp_path / "new").exists()


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
from tada.store import Store

with Store(sys.argv[1]).lock("work") as mine:
    print(mine, flush=True)
    time.sleep(60)
"""


def holder(folder: Path) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)


def test_a_lock_is_held_once_and_ends_with_its_process(tmp_path):
    store = Store(tmp_path)
    with store.lock("work") as mine, store.lock("work") as again, store.lock("other") as other:
        assert (mine, again, other) == (True, False, True)
    assert not list(tmp_path.glob("*.lock")), "what is given back leaves no file"
    process = holder(tmp_path)
    assert process.stdout.readline() == "True\n"
    with store.lock("work") as mine:
        assert not mine
    assert list(tmp_path.glob("*.lock")), "a lock that was refused takes nothing away"
    process.send_signal(signal.SIGKILL)
    process.wait()
    with store.lock("work") as mine:
        assert mine
