"""The store: nothing lost, nothing computed twice, nothing damaged taken for whole."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

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


def test_what_json_cannot_hold_is_refused_not_guessed():
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


def test_a_table_without_units_is_refused(tmp_path):
    with pytest.raises(ValueError, match="unit_hash"):
        Store(tmp_path).add(pd.DataFrame({"value": [1.0]}))
    with pytest.raises(ValueError, match="0 rows"):
        Store(tmp_path).add(rows())


def test_units_that_are_not_stored_are_named(tmp_path):
    Store(tmp_path).add(rows(1))
    with pytest.raises(KeyError, match="1 of 2 units"):
        Store(tmp_path).frame(rows(1, 2)["unit_hash"])


def test_an_empty_store_gives_an_empty_table(tmp_path):
    assert Store(tmp_path).known() == set() and len(Store(tmp_path).frame()) == 0


def test_a_merged_store_is_one_file_with_the_same_rows(tmp_path):
    store, other = Store(tmp_path), Store(tmp_path)
    for n in range(5):
        store.add(rows(n))
    before = other.frame()
    store.compact()
    assert len(list(store.parts.glob("*.parquet"))) == 1
    for reader in (store, other, Store(tmp_path)):
        pd.testing.assert_frame_equal(reader.frame(), before)


# ---- damage


@pytest.mark.parametrize("harm", ["truncate", "flip", "empty"])
def test_a_damaged_part_is_set_aside_with_a_message_and_computed_again(tmp_path, harm, caplog):
    store = Store(tmp_path)
    store.add(rows(1))
    store.add(rows(2))
    part = next(p for p in store.parts.glob("*.parquet") if pd.read_parquet(p)["value"][0] == 1.0)
    content = part.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    part.write_bytes({"truncate": content[:-7], "flip": flipped, "empty": b""}[harm])
    with caplog.at_level(logging.WARNING, "tada.store"):
        again = Store(tmp_path)
        assert again.known() == set(rows(2)["unit_hash"])
    assert "damaged" in caplog.text and part.name in caplog.text
    assert len(list(again.aside.iterdir())) == 1 and not part.exists()
    again.add(rows(1))
    assert Store(tmp_path).known() == set(rows(1, 2)["unit_hash"])


def test_what_a_killed_writer_left_is_no_part_and_is_swept_away_later(tmp_path):
    store = Store(tmp_path)
    store.add(rows(1))
    fresh, old = store.parts / ".1-abc.part", store.parts / ".2-abc.part"
    for draft in (fresh, old):
        draft.write_bytes(b"half of a par")
    os.utime(old, (time.time() - 7200, time.time() - 7200))
    assert Store(tmp_path).known() == set(rows(1)["unit_hash"])
    assert fresh.exists(), "another process may be writing it"
    assert not old.exists()


# ---- settings that the first run decides


def test_the_first_to_choose_decides(tmp_path):
    assert Store(tmp_path).chosen("batch") is None
    assert Store(tmp_path).choose("batch", 8) == 8
    assert Store(tmp_path).choose("batch", 16) == 8
    assert Store(tmp_path).chosen("batch") == 8 and Store(tmp_path).choose("other", 3) == 3


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
    assert len(list((tmp_path / "cut" / "parts").glob("*.parquet"))) == 60


def _lines(path: Path) -> int:
    return path.read_text().count("\n") if path.exists() else 0


def test_two_processes_on_one_store_do_not_clash(tmp_path):
    both = [worker(tmp_path / "store", tmp_path / f"log{i}") for i in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    frame = Store(tmp_path / "store").frame()
    assert len(frame) == 120 and frame["unit_hash"].nunique() == 60
    assert not (tmp_path / "store" / "aside").exists()


def _merge(folder: Path, times: int) -> None:
    for _ in range(times):
        Store(folder).compact()


def test_merging_beside_a_writer_loses_nothing(tmp_path):
    Store(tmp_path / "store")
    writer = worker(tmp_path / "store", tmp_path / "log")
    merger = multiprocessing.get_context("fork").Process(target=_merge, args=(tmp_path / "store", 60))
    merger.start()
    merger.join()
    assert writer.wait() == 0
    _merge(tmp_path / "store", 1)
    assert len(Store(tmp_path / "store").frame()) == 120


HOLD = """
import sys, time
from tada.store import Store

with Store(sys.argv[1]).claim("work") as mine:
    print(mine, flush=True)
    time.sleep(60)
"""


def holder(folder: Path) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)


def test_a_claim_is_held_by_one_process_and_comes_back_when_it_is_killed(tmp_path):
    store = Store(tmp_path)
    with store.claim("work") as mine, store.claim("work") as again, store.claim("other") as other:
        assert (mine, again, other) == (True, False, True)
    assert not list(store.claims.iterdir()), "what is given back leaves no file"
    process = holder(tmp_path)
    assert process.stdout.readline() == "True\n"
    with store.claim("work") as mine:
        assert not mine
    assert list(store.claims.iterdir()), "a claim that was refused takes nothing away"
    process.send_signal(signal.SIGKILL)
    process.wait()
    with store.claim("work") as mine:
        assert mine
