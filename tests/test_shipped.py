"""Shipped results: read where a store has none, never written, a sample of them made again, and packed from a run."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import tada
from checks import SECONDS, run
from tada import patching
from tada.book import build, notebooks, pages
from tada.book import results as kept_results
from tada.engine import chunks
from tada.engine.chunks import whole_batches
from tada.errors import BookError, InputError
from tada.experiments import experiment
from tada.io import sha256, write_json
from tada.models.base import Model
from tada.steering import library
from tada.store import Store, load_or_make, packing, shipped

PAIRS = pd.DataFrame({"concept": "violin", "target": "a violin song", "source": "a trumpet song", "pair": range(6)})
SETTING = tada.Setting(SECONDS, tada.Sampling(steps=1, guidance=1.0), batch=4)
ABOUT = {"date": "2026-03-01 14:05 UTC", "command": "tada results make"}


class Power:
    """A score that counts what it heard."""

    def __init__(self, name: str = "power") -> None:
        self.key, self.heard = name, 0

    def __call__(self, clips: tada.Clips, rows: pd.DataFrame) -> np.ndarray:
        self.heard += len(rows)
        return clips.audio.double().square().mean(dim=(1, 2)).numpy()


def sweep(model: Model, store: Path, score: Power) -> pd.DataFrame:
    return patching.sweep(model, PAIRS, 0, [1], SETTING, score=score, store=store)


def used(own: Iterable[str] = (), made: Iterable[list[str]] = ()) -> dict[str, Any]:
    """What a page used."""
    return {"own": list(own), "made": dict(made), "seconds": 1.0}


def change(folder: Path, place: int, value: float) -> str:
    """Change a shipped value by hand, all signatures, too; the unit."""
    rows, about = pd.read_parquet(folder / "rows.parquet"), json.loads((folder / "about.json").read_text())
    rows.loc[place, "value"] = value
    rows.to_parquet(folder / "rows.parquet", index=False)
    write_json(folder / "about.json", about | {"sha256": sha256(folder / "rows.parquet")})
    shipped._open.cache_clear()
    return str(rows["unit_hash"][place])


@pytest.fixture
def model(tiny_model: Callable[[str], Model]) -> Model:
    return tiny_model("stable-audio")


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[[str], Model]) -> tuple[Path, pd.DataFrame]:
    """Shipped results of a sweep by a page, and what it gave."""
    folder = tmp_path_factory.mktemp("packed")
    found = sweep(tiny_model("stable-audio"), folder / "run" / "store", Power())
    packing.pack(folder / "run", {"04_page": used(found["unit_hash"])}, folder / "results", ABOUT)
    return folder / "results", found


@pytest.fixture
def results(tmp_path: Path, packed: tuple[Path, pd.DataFrame], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of shipped results, in force."""
    shutil.copytree(packed[0], tmp_path / "results")
    monkeypatch.setenv("TADA_RESULTS", str(tmp_path / "results"))
    yield tmp_path / "results"
    shipped._open.cache_clear()


class Events(logging.Handler):
    """What whoever builds a page is told."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(record.args)

    def of(self, name: str) -> list[Any]:
        return [event[name] for event in self.found if name in event]


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> Iterator[Events]:
    """Build the page ``04_page`` by the seed 3, and listen."""
    monkeypatch.setenv("TADA_CHECK", "04_page 3")
    handler, level = Events(), shipped.log.level
    shipped.log.addHandler(handler)
    shipped.log.setLevel(logging.INFO)
    yield handler
    shipped.log.removeHandler(handler)
    shipped.log.setLevel(level)


# ---- reading


def test_what_ships_is_read_and_not_made_again_nor_written(
    results: Path, packed: tuple[Path, pd.DataFrame], tmp_path: Path, model: Model
) -> None:
    before = {file: sha256(file) for file in results.rglob("*") if file.is_file()}
    for path in (results, *results.iterdir()):
        path.chmod(0o555 if path.is_dir() else 0o444)
    score = Power()
    pd.testing.assert_frame_equal(sweep(model, tmp_path / "own", score), packed[1])
    assert score.heard == 0 and Store(tmp_path / "own").known() == set()
    assert {file: sha256(file) for file in results.rglob("*") if file.is_file()} == before
    results.chmod(0o755)


def test_without_shipped_results_nothing_is_there(
    results: Path, packed: tuple[Path, pd.DataFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TADA_RESULTS", "")
    assert Store(tmp_path / "other").known(packed[1]["unit_hash"]) == set()
    monkeypatch.setenv("TADA_RESULTS", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="holds no shipped results"):
        Store(tmp_path / "other").known(["a"])


def test_units_of_other_keys_are_not_used(results: Path, tmp_path: Path, model: Model) -> None:
    score = Power("another power")
    found = sweep(model, tmp_path / "own", score)
    assert score.heard == len(found) == len(Store(tmp_path / "own").known())


def test_a_store_s_own_wins_and_grows_beside(results: Path, tmp_path: Path) -> None:
    place, units = tmp_path / "own", pd.read_parquet(results / "rows.parquet")["unit_hash"]
    Store(place).add(pd.DataFrame({"unit_hash": [units[2], "new"], "metric": "score", "value": [-7.0, 1.0]}))
    store = Store(place)
    assert store.known() == {units[2], "new"} and store.known(units[:3]) == set(units[:3])
    assert store.frame(["new", units[1], units[2]])["value"].tolist()[::2] == [1.0, -7.0]
    assert store.get_or_set("a setting", [1.5]) == [1.5]
    assert len(store.frame()) == 2, "all of a store are its own"


def test_what_was_edited_is_refused(results: Path, tmp_path: Path) -> None:
    with (results / "rows.parquet").open("ab") as file:
        file.write(b"x")
    shipped._open.cache_clear()
    with pytest.raises(InputError, match="not what about.json describes"):
        Store(tmp_path / "own").known(["a"])


def test_settings_ship(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    value = {"a site": 0.1 + 0.2}
    Store(tmp_path / "run").get_or_set("lengths", value)
    Store(tmp_path / "run").add(pd.DataFrame({"unit_hash": ["a"], "pair": [1], "metric": "m", "value": [1.0]}))
    packing.pack(tmp_path, {"04": used(["a", "setting lengths"])}, tmp_path / "results", ABOUT)
    monkeypatch.setenv("TADA_RESULTS", str(tmp_path / "results"))
    assert Store(tmp_path / "own").get("lengths") == value
    assert Store(tmp_path / "own").get_or_set("lengths", {}) == value


def test_of_some_pages_alone_results_are_made_anew_or_grow(tmp_path: Path) -> None:
    results = tmp_path / "results"

    def pack(date: str, value: float, pages: dict[str, str], grown: dict[str, str] | None = None) -> None:
        """Pack pages, each with its own units, and with those that it read of what ships."""
        asked = {page: used(units) for page, units in pages.items()}
        for page, units in (grown or {}).items():
            asked[page]["shipped"] = [shipped.Shipped(results).places[unit] for unit in units]
        own = sorted({*"".join(pages.values())})
        Store(tmp_path / date).add(pd.DataFrame({"unit_hash": own, "metric": "m", "value": value}))
        packing.pack(tmp_path / date, asked, results, {**ABOUT, "date": date}, None if grown is None else results)

    def found() -> dict[str, tuple[str, float, list[str]]]:
        """Page -> its units, the sum of their values, and the dates of its runs."""
        ours, pages = shipped.Shipped(results), {}
        for page, said in ours.about["pages"].items():
            rows, runs = ours.rows(ours.units(page)), [said, *said["grown_from"]]
            assert all("seconds" in run and "grown_from" not in run for run in runs[1:])
            pages[page] = "".join(rows["unit_hash"].sort_values()), rows["value"].sum(), [run["date"] for run in runs]
        return pages

    pack("March", 1.0, {"one": "ab", "two": "bcd", "three": "e"})
    left = {"one": ("ab", 2.0, ["March"]), "three": ("e", 1.0, ["March"])}
    assert found() == {**left, "two": ("bcd", 3.0, ["March"])}
    pack("April", 2.0, {"two": "xby"}, {})
    left["one"] = ("ab", 3.0, ["March"])
    assert found() == {**left, "two": ("bxy", 6.0, ["April"])}
    assert set(shipped.Shipped(results).places) == set("abexy"), "what no page asks for goes"
    pack("May", 4.0, {"two": "z", "new": ""}, {"two": "b", "new": "e"})
    pack("June", 8.0, {"two": "u"}, {"two": "z"})
    assert found() == {**left, "two": ("uz", 12.0, ["June", "May", "April"]), "new": ("e", 1.0, ["May"])}
    pack("July", 3.0, {"two": "z"})
    assert found() == {"two": ("z", 3.0, ["July"])}


def test_runs_that_each_held_the_one_before_become_a_list() -> None:
    nested = {"date": "May", "units": [], "grown_from": {"date": "April", "grown_from": {"date": "March"}}}
    runs = [{"date": "May"}, {"date": "April"}, {"date": "March"}]
    assert packing._runs(nested) == packing._runs({**runs[0], "grown_from": runs[1:]}) == runs


# ---- the sample


def test_samples_are_large_enough_fair_and_other_each_time() -> None:
    for count, least in ((5, 5), (40, 16), (4000, 40)):
        assert least <= len(shipped.draw(range(count), "1 04_page")) <= least + shipped.RUN
    hits = Counter(place for seed in range(600) for place in shipped.draw(range(160), f"04_page {seed}"))
    assert len(hits) == 160 and min(hits.values()) > 35 and max(hits.values()) < 90, "each one in ten times"


def test_a_page_samples_what_no_page_before_it_reads(tmp_path: Path) -> None:
    units = [f"{number:03}" for number in range(3040)]
    Store(tmp_path / "own").add(pd.DataFrame({"unit_hash": units, "metric": "m", "value": 1.0}))
    asked = {"04": units[:2400], "08": units, "13": units}
    packing.pack(tmp_path, {page: used(own) for page, own in asked.items()}, tmp_path / "r", ABOUT)
    sample = {page: shipped.Shipped(tmp_path / "r", f"{page} 7")._sample for page in asked}
    assert {page: len(some) for page, some in sample.items()} == {"04": 24, "08": 16, "13": 16}
    assert max(sample["04"]) < 2400 <= min(sample["08"]), "page 13 reads what was read before"


def test_what_only_measures_ships_rounded_and_what_ranges_are_found_by_does_not() -> None:
    values = [1 / 3, -1e-5 / 3, 12345 / 7, 0.0, np.nan]
    names = ["harmony", "musicnn: piano", "fad without 3", "lpaps-token", "mini-second-opposite"]
    whole = pd.DataFrame({"metric": ["lpaps", "mini-clap", "concept", "probe", "onsets"], "value": values})
    rounded = packing.round_measures(whole.assign(metric=names))["value"]
    assert packing.round_measures(whole).equals(whole)
    assert all(0 < abs(one / own - 1) <= 2.0**-16 for one, own in zip(rounded[:3], values[:3], strict=True))
    assert rounded[3] == 0 and np.isnan(rounded[4])
    assert all(float(np.frexp(one)[0] * 2**16).is_integer() for one in rounded[:3])


def test_a_sample_is_made_again_and_agrees(results: Path, tmp_path: Path, model: Model, events: Events) -> None:
    score = Power()
    found = sweep(model, tmp_path / "own", score)
    assert sorted(place for places in events.of("shipped") for place in places) == list(range(len(found)))
    assert 16 <= events.of("checked")[-1] == score.heard <= len(found) == 18
    assert max(events.of("largest")) <= 1e-6 and not any(events.of("wrong"))
    assert Store(tmp_path / "own").known() == set(), "what is compared is not kept"
    sweep(model, tmp_path / "own", score)
    assert events.of("checked")[-1] == score.heard <= len(found), "once a page"


def test_no_batch_of_a_sample_is_filled_up(
    results: Path, tmp_path: Path, model: Model, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, sample = [], chunks._sample
    monkeypatch.setattr(chunks, "_sample", lambda *given: sizes.append((len(given[3]), given[4])) or sample(*given))
    score = Power()
    setting = replace(SETTING, batch=5)
    patching.sweep(model, PAIRS, 0, [1], setting, score=score, store=tmp_path / "own")
    assert sizes and all(rows == size for rows, size in sizes) and score.heard == sum(size for _, size in sizes)


def test_where_batches_are_large_whole_ones_take_the_place_of_a_sample(
    packed: tuple[Path, pd.DataFrame], results: Path
) -> None:
    units = packed[1]["unit_hash"].tolist()
    plan = pd.DataFrame({"unit_hash": [*units, "not shipped"], "chunk": [0] * 10 + [1] * 9, "kind": [0] * 9 + [1] * 10})
    hits = Counter(unit for one in units for unit in whole_batches(plan, {one}, 4))
    assert sum(hits.values()) == 9 * 4 + 1 + 8 * 4 and "not shipped" not in hits
    for sample in (set(units[:3]), set(units[2:14]), set(units)):
        found = whole_batches(plan, sample, 4)
        assert len(sample) <= len(found) < len(sample) + 4
        groups = Counter((row.chunk, row.kind) for row in plan.itertuples() if row.unit_hash in found)
        assert all(count % 4 == 0 or count in (1, 8, 9) for count in groups.values())
    assert whole_batches(plan, set(), 4) == set()


def test_where_results_ship_for_a_page_no_process_computes_ahead(
    results: Path, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(experiment, "processes", lambda workers: asked.append(workers) or nullcontext())
    for page in ("04_page 3", "05_page 3", ""):
        monkeypatch.setenv("TADA_CHECK", page)
        experiment.compute_ahead(2, [print, print])
    assert asked == [1, 2, 2]


def test_a_value_that_was_changed_is_found_by_a_sample_that_holds_it(
    results: Path, tmp_path: Path, model: Model, events: Events
) -> None:
    place = min(shipped.draw(range(18), "04_page 3"))
    unit = change(results, place, 0.987654)
    sweep(model, tmp_path / "own", Power())
    (wrong,) = events.of("wrong")[-1]
    assert wrong.startswith(f"unit {unit}, score: 0.987654 ships, ") and " computed here" in wrong


def test_what_is_made_by_any_function_is_kept_read_and_sampled_too(
    results: Path, packed: tuple[Path, pd.DataFrame], tmp_path: Path, events: Events
) -> None:
    asked: list[set[str]] = []

    def make(units: Collection[str]) -> pd.DataFrame:
        asked.append(set(units))
        return pd.DataFrame({"unit_hash": sorted(units), "metric": "score", "value": 7.0})

    ours = packed[1]["unit_hash"].tolist()
    found = load_or_make([*ours, "another"], make, Store(tmp_path / "own"))
    assert found["value"].tolist() == [*packed[1]["value"], 7.0], "what ships is read, the rest made"
    assert asked[0] == {"another"} and len(asked[1]) >= 16 and asked[1] <= set(ours)
    assert len(events.of("wrong")[-1]) == len(asked[1]), "no clip of the sample is the one that ships"
    assert load_or_make(["another"], make, Store(tmp_path / "own"))["value"].tolist() == [7.0] and len(asked) == 2
    assert len(load_or_make(ours, make, None)) == len(ours) and len(asked) == 3


def test_of_a_model_that_draws_tokens_few_clips_may_be_others(
    results: Path, packed: tuple[Path, pd.DataFrame], events: Events
) -> None:
    again = packed[1][["unit_hash", "metric", "value"]]

    def compare(count: int, move: float, draws_tokens: bool) -> tuple[int, int, float]:
        shipped._open.cache_clear()  # another page
        moved = again.assign(value=again["value"] + np.where(np.arange(len(again)) < count, move, 0.0))
        shipped.layer().compare(moved, draws_tokens)
        return events.found[-1]["others"], len(events.found[-1]["wrong"]), round(events.found[-1]["largest"], 6)

    assert compare(1, 1.0, True) == (1, 0, 0.0) and compare(4, 1.0, True) == (4, 0, 0.0)
    assert compare(5, 1.0, True) == (0, 5, 1.0), "a quarter of 18 at most"
    assert compare(1, 0.04, False) == (1, 0, 0.0), "one clip by a phase stage"
    assert compare(1, 0.06, False) == (0, 1, 0.06), "an edited value"
    shipped._open.cache_clear()
    shipped.layer().compare(again.head(1).assign(value=7.0), draws_tokens=True)
    assert (events.found[-1]["others"], events.found[-1]["largest"]) == (1, 0.0)


def test_a_clip_that_a_whole_batch_refers_to_may_be_another_if_the_page_has_many_others(
    results: Path, packed: tuple[Path, pd.DataFrame], events: Events
) -> None:
    again = packed[1][["unit_hash", "metric", "value"]]
    shipped.layer().compare(again.head(4).assign(value=again["value"] + 0.03))
    assert events.found[-1]["others"] == 0 and len(events.found[-1]["wrong"]) == 4
    shipped.layer().compare(again.tail(14))
    assert events.found[-1] == {"checked": 18, "others": 4, "wrong": [], "largest": 0.0}


def test_estimators_that_decide_may_decide_otherwise_at_the_edge() -> None:
    units = [f"{place:012x}" for place in range(16)]
    ours = pd.DataFrame({"unit_hash": units * 2, "metric": ["signal: fast"] * 16 + ["probe"] * 16, "value": 1.0})
    for place, moved, others in ((0, 0.0, 1), (16, 0.0, 0), (0, np.nan, 0)):
        here = ours.assign(value=ours["value"].where(ours.index != place, moved))
        found = shipped.differences(here, ours, ["unit_hash", "metric"], "outer")
        assert found["wrong"].sum() == 1 and len(shipped.other_clips(found, False)) == others
    assert len(shipped.other_clips(found, True)) == 0, "a value that is missing is wrong whatever the model draws"


def test_a_whole_run_may_have_few_other_clips(tmp_path: Path) -> None:
    about = {"concept": "c", "pair": "1", "prompt": "p", "seed": range(8), "method": "m", "layers": "1", "percent": 1.0}
    rows = pd.DataFrame({"unit_hash": list("abcdefgh"), "model": "ace-step", **about, "metric": "m", "value": 0.5})
    pages = {"04": used("abcdefgh")}
    Store(tmp_path / "then").add(rows)
    packing.pack(tmp_path / "then", pages, tmp_path / "results", ABOUT)
    for apart, far, model, wrong in ((2, 0.04, "", 0), (3, 0.04, "", 3), (2, 0.06, "", 2), (2, 0.06, "ace-step", 0)):
        place = tmp_path / f"{apart} {far} {model}"
        Store(place).add(rows.assign(value=0.5 + far * (np.arange(8) < apart)))
        found = packing.compare(place, pages, tmp_path / "results", [model])
        assert found["wrong"].sum() == wrong and (found["difference"] > 1e-3).sum() == apart


def test_differences_know_gaps_and_rounding() -> None:
    def rows(*values: float) -> pd.DataFrame:
        units = [f"unit {place}" for place in range(len(values))]
        return pd.DataFrame({"unit_hash": units, "metric": "m", "value": values})

    def wrong(here: pd.DataFrame, ours: pd.DataFrame) -> list[bool]:
        return shipped.differences(here, ours, ["unit_hash", "metric"], "outer")["wrong"].tolist()

    assert wrong(rows(1.0, 5000.0, 0.0), rows(1.0005, 5001.0, 0.002)) == [False, False, True]
    assert wrong(rows(np.nan, np.nan, 1.0), rows(np.nan, 1.0, np.nan)) == [False, True, True]
    assert wrong(rows(1.0, 2.0), rows(1.0)) == [False, True]


# ---- vectors and autoencoders


def test_vectors_ship_and_one_is_fitted_again(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch, events: Events
) -> None:
    recipe = library.Recipe("tempo", SETTING, 2, vocabulary="mini")
    vector = library.fit(model, recipe, tmp_path / "run")
    page = used(made=events.of("made"))
    packing.pack(tmp_path, {"04_page": page, "05_page": page}, tmp_path / "results", ABOUT)
    monkeypatch.setenv("TADA_RESULTS", str(tmp_path / "results"))
    again = library.fit(model, recipe, tmp_path / "own")
    assert again.info == vector.info
    assert all((again.directions[site] == vector.directions[site]).all() for site in vector.sites)
    assert events.of("checked") == [1] and events.of("wrong") == [[]]
    library.fit(model, recipe, tmp_path / "own")
    assert events.of("checked") == [1], "what is here is taken from here"
    monkeypatch.setenv("TADA_CHECK", "05_page 3")
    library.fit(model, recipe, tmp_path / "later")
    assert events.of("checked") == [1], "a page before it fitted it again"
    monkeypatch.setenv("TADA_CHECK", "")
    monkeypatch.setattr(library, "contrast", None)
    assert library.fit(model, recipe, tmp_path / "third").info == vector.info


def test_a_vector_that_was_written_over_is_not_packed_for_another(
    tmp_path: Path, model: Model, events: Events, caplog: pytest.LogCaptureFixture
) -> None:
    for seed in (1, 2):
        library.fit(model, library.Recipe("tempo", SETTING, 2, seed, "mini"), tmp_path / "run")
    packing.pack(tmp_path, {"04": used(made=events.of("made"))}, tmp_path / "results", ABOUT)
    assert "was written over by another recipe" in caplog.text
    assert len(list((tmp_path / "results").glob("made/*/vector.safetensors"))) == 1
    with pytest.raises(InputError, match="would be lost"):
        packing.pack(tmp_path, {}, tmp_path / "run", ABOUT)


def test_what_is_fitted_is_made_once_and_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, events: Events) -> None:
    made: list[Path] = []
    for home in ("run", "run", "own"):  # the last one where it ships
        place = tmp_path / home / f"{'a' * 16}.safetensors"

        def make(place: Path = place) -> None:
            place.parent.mkdir()
            place.with_suffix(".json").write_text("of")
            place.write_text(f"number {len(made)}")
            made.append(place)

        assert shipped.keep("a" * 64, place, make).read_text() == "number 0"
        assert place.with_suffix(".json").read_text() == "of"
        assert events.of("made")[-1] == ["a" * 64, str(place)]
        packing.pack(tmp_path, {"04_page": used(made=events.of("made"))}, tmp_path / "results", ABOUT)
        monkeypatch.setenv("TADA_RESULTS", str(tmp_path / "results"))
        shipped._open.cache_clear()
    assert made == [tmp_path / "run" / place.name]


def test_an_autoencoder_is_copied_whole_and_without_what_only_training_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "run" / "sae"
    for name in ("measured.csv", "sae.safetensors", "cfg.json", "browser.clips", "found/sae.safetensors"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(name)
    packing.pack(tmp_path, {"06": used(made=[["a" * 64, str(place)]])}, tmp_path / "results", ABOUT)
    monkeypatch.setenv("TADA_RESULTS", str(tmp_path / "results"))
    made: list[str] = []
    for unit, home in (("a" * 64, "own"), ("b" * 64, "other")):
        shipped.keep(unit, tmp_path / home, partial(made.append, unit), last="measured.csv")
    assert {path.name for path in (tmp_path / "own").iterdir()} == {"measured.csv", "sae.safetensors", "cfg.json"}
    assert made == ["b" * 64] and not (tmp_path / "other").exists()


# ---- the book

NOTEBOOK = """\
# %%
import pandas as pd
from tada.store import Store, key, shipped

scale = 1.0
store, units = Store("../_build/scores"), {key({"n": n, "rule": 1}): n for n in range(40)}


def compute(some):
    numbers = [units[unit] for unit in units if unit in some]
    about = {"model": "m", "concept": "c", "pair": numbers, "prompt": "p", "seed": numbers, "metric": "score"}
    values = [scale * number for number in numbers]
    return pd.DataFrame({**about, "unit_hash": [unit for unit in units if unit in some], "value": values})


missing = set(units) - store.known(units)
if missing:
    store.add(compute(missing))
print("the sum is", store.frame(units)["value"].sum())
again = store.sampled(units)
if again:
    shipped.layer().compare(compute(again))
"""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of one page, to be in."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: index\n")
    write(tmp_path, NOTEBOOK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TADA_RESULTS")
    return tmp_path


def write(checkout: Path, text: str) -> None:
    (checkout / "notebooks" / "04_page.py").write_text(text)
    notebooks.write_pair(checkout / "notebooks" / "04_page.py")


def execute(checkout: Path, seed: int = 3, **options: Any) -> tuple[build.Page, list[str]]:
    told: list[str] = []
    kept = kept_results.find(checkout, seed=seed)
    (page,) = build.execute(
        checkout, pages.select(checkout / "notebooks"), "smoke", tell=told.append, kept=kept, **options
    )
    return page, told


def test_results_are_made_read_checked_and_go_stale(checkout: Path) -> None:
    page, told = execute(checkout)
    assert page.provenance.results == "" and len(told) == 2, "a checkout without results is a plain one"
    done = run("results", "make", "--profile", "smoke")
    assert done.exit_code == 0 and "results holds 40 units" in done.output, done.output
    about = json.loads((checkout / "results" / "about.json").read_text())
    assert about["command"] == "tada results make --profile smoke" and about["pages"]["04_page"]["units"] == [[0, 40]]
    assert {"commit", "machine", "versions", "date", "sha256"} <= set(about)
    os.environ.pop("TADA_RESULTS")

    (checkout / "_build" / "scores").rename(checkout / "elsewhere")
    page, told = execute(checkout)
    assert not page.reused, "pages are executed again where other results ship"
    words = (
        f"40 scores from results/ made on {about['date']} by `tada results make --profile smoke`; 16 computed again "
    )
    assert (
        page.provenance.results == f"{words}here (seed 3), largest difference 0" and page.provenance.results in told[-1]
    )
    assert not list((checkout / "_build" / "scores").glob("*.rows")) and "the sum is 780" in page.output.read_text()

    write(checkout, NOTEBOOK.replace('"rule": 1', '"rule": n // 30'))
    page, told = execute(checkout)
    assert page.provenance.results.startswith("10 scores from results/ ")
    assert page.provenance.results.endswith(
        "; 30 made for this page by other code, weights or settings, and not used; 30 computed here"
    )

    shutil.rmtree(checkout / "_build" / "fresh")
    write(checkout, NOTEBOOK.replace("range(40)", "range(60)"))
    done = run("results", "make", "--profile", "smoke", "--grow", "--out", str(checkout / "grown"))
    assert done.exit_code == 0 and "grown holds 60 units" in done.output, done.output
    (grown,) = json.loads((checkout / "grown" / "about.json").read_text())["pages"].values()
    assert grown["command"].endswith("--grow") and not grown["grown_from"][0]["command"].endswith("--grow")
    assert sum(stop - start for start, stop in grown["units"]) == 60
    (store,) = (checkout / "_build" / "fresh").glob("*/_build/scores")
    assert len(Store(store).known()) == 20, "no more was computed than did not ship"
    os.environ.pop("TADA_RESULTS")

    write(checkout, NOTEBOOK)
    unit = change(checkout / "results", min(shipped.draw(range(40), "04_page 5")), -1.0)
    with pytest.raises(BookError, match=rf"\(seed 5\):\n  unit {unit}, score: -1 ships, \d+ computed here"):
        execute(checkout, seed=5)

    done = run("results", "check", "--profile", "smoke", "--out", "differences.csv")
    assert done.exit_code == 1 and "1 of 40 values differ" in done.output
    assert pd.read_csv("differences.csv").query("wrong")["shipped"].tolist() == [-1.0]
    os.environ.pop("TADA_RESULTS")
