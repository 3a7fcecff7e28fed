"""Files: written whole or not at all, whatever fails and whoever else writes."""

from __future__ import annotations

import json
import multiprocessing
import re
from pathlib import Path

import pandas as pd
import pytest

from tada.errors import InputError
from tada.io import atomic_write, require_writable, sha256, slug, write_json, write_table


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("content", ["naïve", "naïve".encode(), lambda draft: draft.write_text("naïve", "utf-8")])
def test_a_file_is_written_with_its_folder(tmp_path, content):
    path = atomic_write(tmp_path / "a" / "b.txt", content)
    assert path == tmp_path / "a" / "b.txt" and path.read_text("utf-8") == "naïve"
    assert names(tmp_path / "a") == ["b.txt"]


def test_a_failing_writer_leaves_the_old_file_and_no_draft(tmp_path):
    def fail(draft: Path) -> None:
        assert draft.suffix == ".txt" and draft.parent == tmp_path, "writers go by the suffix"
        draft.write_text("half")
        raise RuntimeError("the disk is full")

    atomic_write(tmp_path / "a.txt", "old")
    with pytest.raises(RuntimeError, match="full"):
        atomic_write(tmp_path / "a.txt", fail)
    with pytest.raises(RuntimeError, match="full"):
        atomic_write(tmp_path / "new.txt", fail)
    assert names(tmp_path) == ["a.txt"] and (tmp_path / "a.txt").read_text() == "old"


@pytest.mark.parametrize("name", ["n" * 251 + ".txt", "é" * 125 + ".json", "n" + "." * 254, "." + "s" * 254])
def test_names_may_be_as_long_as_the_system_allows(tmp_path, name):
    assert atomic_write(tmp_path / name, "x").read_text() == "x"
    assert names(tmp_path) == [name]


def test_a_folder_is_tried_before_it_is_needed_and_left_as_it_was(tmp_path):
    (tmp_path / "file").touch()
    assert require_writable(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    for folder in (tmp_path / "file", tmp_path / "file" / "a", Path("/proc/nowhere"), tmp_path / ("n" * 300)):
        with pytest.raises(InputError, match="cannot write into"):
            require_writable(folder)
    assert names(tmp_path) == ["file"]


def _try(folder: Path) -> None:
    for _ in range(100):
        require_writable(folder)


def test_a_folder_is_tried_by_many_at_once(tmp_path):
    with multiprocessing.get_context("fork").Pool(4) as pool:
        pool.map(_try, [tmp_path / "a" / "b"] * 4)
    assert names(tmp_path) == []


def _write(path: Path, digit: int) -> None:
    for _ in range(20):
        atomic_write(path, str(digit) * 100_000)


def test_of_many_writers_one_wins_whole(tmp_path):
    path = tmp_path / "a.txt"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write, args=(path, digit)) for digit in range(4)]
    for process in writers:
        process.start()
    while any(process.is_alive() for process in writers):
        if path.exists():
            text = path.read_text()
            assert len(text) == 100_000 and len(set(text)) == 1
    assert [process.exitcode for process in writers] == [0] * 4 and names(tmp_path) == ["a.txt"]


def test_json_tables_and_hashes(tmp_path):
    value = {"é": [1, None, 0.1]}
    assert json.loads(write_json(tmp_path / "a.json", value).read_text("utf-8")) == value
    table = pd.DataFrame({"a": [1, 2], "b": ["x", "é"]})
    pd.testing.assert_frame_equal(pd.read_csv(write_table(tmp_path / "a.csv", table)), table)
    pd.testing.assert_frame_equal(pd.read_parquet(write_table(tmp_path / "a.parquet", table)), table)
    assert sha256(atomic_write(tmp_path / "a", "abc")) == sha256(b"abc") and sha256(b"abc").startswith("ba7816bf")
    assert slug("ace-step-1") == "ace-step-1"
    texts = ("ace/step", "ace step", "Ace-Step", "ace-step", "日本語", "é è", "...", "a" * 300)
    names = [slug(text) for text in texts]
    assert len(set(names)) == len(texts) and all(re.fullmatch("[a-z0-9-]{1,90}", name) for name in names)
