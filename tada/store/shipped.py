"""Results that ship with the repository: read where a store has none, never written, and a sample of them made again.

A folder of them holds ``rows.parquet``, judged rows in the order in which pages ask for their units, but no embeddings;
``made/``, what was fitted, a folder each, by the first digits of the key of all that determines it; and ``about.json``:
commit, command, machine, versions, hashes, settings of stores, and for each page those of the run that it is from, and
of those that it grew from, the last one first, and what it read: what was fitted for it, and from which unit on up to
which other, counted from 0.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tada.errors import InputError
from tada.io import atomic_write, sha256

if TYPE_CHECKING:
    from torch import Tensor

UNIT = "unit_hash"
SETTING = "setting "
"""Units of this name hold settings."""
RESULTS = "TADA_RESULTS"
"""Environment variable: the folder of shipped results, empty for none; not set: ``results/`` of the checkout."""
CHECK = "TADA_CHECK"
"""Environment variable: the page that is being built, a space, and the seed of its sample; not set elsewhere."""
JUDGED = (UNIT, "metric", "value")
ABOUT, ROWS, MADE, VECTOR = "about.json", "rows.parquet", "made", "vector.safetensors"

DIGITS = 12
"""Of a unit's key that ship, enough that no two are alike."""

SHARE, LEAST, RUN = 0.01, 16, 8
"""Of the units that a page is the first to read this share is made again, and so many at least, in runs that a model
takes at once; where all were read by pages before it, so many of these."""
TOLERANCE = 1e-3
"""The largest difference of a value that counts as rounding, relative to the value where that is above 1."""

OTHERWISE, NEAR = 0.25, 0.05
"""Rounding makes another clip of one in a hundred: a phase stage enlarges it, and of tokens others may be drawn. So
this share of a page's units may differ, by so much (relative to values above 1), or by any amount if the model draws
tokens, or in metrics of :data:`DECIDE`."""

DECIDE = ("signal", "onsets", "pitch", "rhythm", "melody")
"""How metrics begin whose estimators decide, between classes or what counts as an onset: at the edge rounding does."""

log = logging.getLogger("tada.results")
"""Told at level INFO what is read and how it compares, for whoever builds a page."""


class Shipped:
    """The results in a folder; without one there are none.

    Attributes:
        about: what ``about.json`` says.
        places: first :data:`DIGITS` of a unit -> its number, in the order of pages.
        has_page: whether some were made for the page that is being built.

    Raises:
        InputError: no results there, or damaged ones.
    """

    def __init__(self, folder: Path | None = None, check: str = "") -> None:
        self.folder = folder
        self.about: dict[str, Any] = {"pages": {}, "settings": {}}
        self._rows = pa.table({UNIT: pa.array([], pa.string())})
        if folder is not None:
            self.about, self._rows = _read(folder)
        numbered = self._rows[UNIT].combine_chunks().dictionary_encode()
        self.places = {unit: place for place, unit in enumerate(numbered.dictionary.to_pylist())}
        self._order = np.argsort(numbered.indices, kind="stable")
        self._ends = np.cumsum(np.bincount(numbered.indices, minlength=len(self.places)))
        self._settings = {SETTING + name: json.dumps(value) for name, value in self.about["settings"].items()}
        name = check.partition(" ")[0]
        page = self.about["pages"].get(name, {"units": [], "made": []})
        self.has_page = bool(page["units"])
        earlier = [other for other in self.about["pages"] if other < name]
        known = {place for other in earlier for place in self._places(other)}
        own = [place for place in self._places(name) if place not in known]
        self._sample = draw(own, check) if own else draw(self._places(name), check, share=0.0)
        found = {unit for other in earlier for unit in self.about["pages"][other]["made"]}
        vectors = [unit for unit in page["made"] if unit not in found and VECTOR in self.files(unit)]
        self._vector = Random(check).choice(vectors) if vectors else ""
        self._checked: set[str] = set()
        self._found: list[pd.DataFrame] = []

    def known(self, units: Iterable[str]) -> set[str]:
        """Tell which of these units are here."""
        return {unit for unit in units if unit[:DIGITS] in self.places or unit in self._settings}

    def tables(self, units: Sequence[str]) -> list[pa.Table]:
        """Read what was judged of units that are here; columns that describe their clips are left out."""
        said = [unit for unit in units if unit in self._settings]
        whole = {unit[:DIGITS]: unit for unit in units}
        found = self._rows.take(self._rows_of(whole))
        found = found.set_column(0, UNIT, pa.array([whole[unit] for unit in found[UNIT].to_pylist()], pa.string()))
        settings = pa.table({UNIT: said, "value": [self._settings[unit] for unit in said]})
        return [table for table in (found, settings) if len(table)]

    def rows(self, units: Iterable[str]) -> pd.DataFrame:
        """Read all columns of units, by the first digits of their keys."""
        return self._all_columns.take(self._rows_of(units)).to_pandas()

    @cached_property
    def _all_columns(self) -> pa.Table:
        """All columns, which pages do not ask for and which take long to read."""
        return self._rows if self.folder is None else _read_rows(self.folder)

    def _rows_of(self, units: Iterable[str]) -> NDArray[np.intp]:
        """The numbers of the rows of units, by the first digits of their keys, in the order in which they ship."""
        places = [self.places[unit] for unit in units if unit in self.places]
        starts = np.append(0, self._ends)
        found = [self._order[starts[place] : starts[place + 1]] for place in places]
        return np.sort(np.concatenate(found)) if found else np.array([], np.intp)

    def units(self, page: str) -> list[str]:
        """List what a page asks for, by the first digits of keys."""
        names = list(self.places)
        return [names[place] for place in self._places(page)]

    def files(self, unit: str) -> dict[str, Path]:
        """List the files of what was fitted by their names; none if it does not ship.

        Args:
            unit: the key of all that determines it.
        """
        return {file.name: file for file in ((self.folder or Path(os.devnull)) / MADE / unit[:16]).glob("*")}

    def copy(self, unit: str, last: Path) -> None:
        """Copy what was fitted under a key, if it ships, unless its last file is there, which says that all are."""
        ours = {} if last.is_file() else self.files(unit)
        for name, file in sorted(ours.items(), key=lambda one: one[0] == last.name):
            atomic_write(last.with_name(name), file.read_bytes())

    def _places(self, page: str) -> list[int]:
        """The numbers of the units that a page asks for."""
        spans = self.about["pages"].get(page, {"units": []})["units"]
        return [place for span in spans for place in range(*span)]

    # ---- what a page reads, and the sample of it that is made again

    def note(self, shipped: Sequence[str], own: Sequence[str]) -> None:
        """Tell whoever builds a page which units it reads: those that ship by their numbers, a store's own by name."""
        if log.isEnabledFor(logging.INFO):
            numbers = ([self.places.get(unit[:DIGITS]) for unit in units] for units in (shipped, own))
            places, both = ([place for place in found if place is not None] for found in numbers)
            log.info("%s", {"shipped": places, "own": list(own), "both": both})

    def sampled(self, units: Iterable[str]) -> set[str]:
        """Choose the units of the sample among these, each once; none where no page is built."""
        if not log.isEnabledFor(logging.INFO):
            return set()
        found = {unit for unit in units if self.places.get(unit[:DIGITS]) in self._sample} - self._checked
        self._checked.update(found)
        return found

    def is_sampled(self, vector: str) -> bool:
        """Tell whether a vector is the one of the page that is fitted again."""
        return vector == self._vector and log.isEnabledFor(logging.INFO)

    def compare(self, again: pd.DataFrame, draws_tokens: bool = False) -> None:
        """Compare rows that were made again with those that ship, and tell what was found.

        Args:
            again: rows as of a store.
            draws_tokens: whether rounding may change a clip by any amount, see :func:`other_clips`.
        """
        shipped = np.array([unit[:DIGITS] in self.places for unit in again[UNIT]], bool)
        again = again[shipped & (again["metric"] != "embedding")]
        units = again[UNIT].unique().tolist()
        ours = pd.concat([table.to_pandas() for table in self.tables(units)])
        found = differences(again, ours, [UNIT, "metric"], "outer")
        self._tell(found.assign(kind="tokens" if draws_tokens else "clips"))

    def compare_vectors(self, unit: str, again: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> None:
        """Compare a vector's directions that were fitted again with those that ship, and tell what was found."""
        largest = max(float((again[site] - ours[site]).abs().max()) for site in ours)
        row = {UNIT: unit, "metric": "vector", "here": largest, "shipped": 0.0, "difference": largest}
        self._tell(pd.DataFrame([{**row, "wrong": largest > TOLERANCE, "kind": "vector"}]))

    def _tell(self, found: pd.DataFrame) -> None:
        """Tell of all that was compared on the page so far: a clip that many others refer to moves all of them."""
        self._found.append(found)
        self._checked.update(found[UNIT])
        every = pd.concat(self._found)
        parts = {kind: part for kind, part in every.groupby("kind") if kind != "vector"}
        others = {unit for kind, part in parts.items() for unit in other_clips(part, kind == "tokens")}
        rest = every[~every[UNIT].isin(others)]
        wrong = [
            f"unit {str(row.unit_hash)[:DIGITS]}, {row.metric}: {row.shipped:.6g} ships, {row.here:.6g} computed here, "
            f"apart by {row.difference:.3g}"
            for row in rest[rest["wrong"]].itertuples()
        ]
        about = {"checked": every[UNIT].nunique(), "others": len(others), "wrong": wrong}
        log.info("%s", about | {"largest": float(rest["difference"].max()) if len(rest) else 0.0})


def layer() -> Shipped:
    """Open the shipped results that stores read here and now."""
    own = Path(__file__).parents[2] / "results"
    folder = os.environ.get(RESULTS, str(own) if (own / ABOUT).is_file() else "")
    return _open(folder, os.environ.get(CHECK, ""))


@lru_cache(maxsize=1)
def _open(folder: str, check: str) -> Shipped:
    return Shipped(Path(folder) if folder else None, check)


def _read(folder: Path) -> tuple[dict[str, Any], pa.Table]:
    """Read ``about.json``, and what pages ask for of the rows."""
    if not (folder / ABOUT).is_file():
        raise InputError(f"{folder} holds no shipped results: expected {ABOUT}, as `tada results make` writes it")
    about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    if sha256(folder / ROWS) != about["sha256"]:
        raise InputError(f"{folder / ROWS} is not what {ABOUT} describes: damaged or edited; take it from git again")
    return about, _read_rows(folder, JUDGED)


def _read_rows(folder: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read some columns of the rows, all by default, units by the first digits of their keys."""
    rows = pq.read_table(folder / ROWS, columns=None if columns is None else list(columns))
    where = rows.column_names.index(UNIT)
    return rows.set_column(where, UNIT, pc.utf8_slice_codeunits(rows[UNIT].cast(pa.string()), 0, DIGITS))


def draw(places: Sequence[int], seed: str, share: float = SHARE) -> set[int]:
    """Draw the sample of a page's units: runs of neighbours, each as likely as any other."""
    runs = [places[start : start + RUN] for start in range(0, len(places), RUN)]
    Random(seed).shuffle(runs)
    sample: set[int] = set()
    for run in runs:
        if len(sample) < max(LEAST, share * len(places)):
            sample.update(run)
    return sample


def keep(unit: str, place: Path, make: Callable[[], object], last: str = "") -> Path:
    """Have what is fitted in its place: from an earlier run, or else from what ships, or else made now.

    Args:
        unit: the key of all that determines it.
        place: its file, named by the first 16 digits of the key, or its folder.
        make: makes it there.
        last: of a folder, the file that is written last, which says that all are there.

    Returns:
        The place, of which whoever builds a page is told.
    """
    layer().copy(unit, place / last)
    if not (place / last).is_file():
        make()
    note_made(unit, place)
    return place


def note_made(unit: str, place: Path) -> None:
    """Tell whoever builds a page of what was fitted for it: its key, and where it lies."""
    if log.isEnabledFor(logging.INFO):
        log.info("%s", {"made": [unit, str(place.resolve())]})


def differences(here: pd.DataFrame, ours: pd.DataFrame, by: Sequence[str], how: Any = "inner") -> pd.DataFrame:
    """Compare values of two tables of rows.

    Args:
        here: rows that were computed here.
        ours: rows that ship.
        by: columns that say which rows belong together.
        how: as for ``DataFrame.merge``; a row without partner is wrong.

    Returns:
        ``by``, ``here, shipped, difference``, infinite where only one is known, and whether that is ``wrong``.
    """
    one, other = (
        table[[*by, "value"]].rename(columns={"value": name}) for table, name in ((here, "here"), (ours, "shipped"))
    )
    both = one.merge(other, how, on=list(by))
    unknown = both["here"].isna() & both["shipped"].isna()
    apart = (both["here"] - both["shipped"]).abs().fillna(math.inf).where(~unknown, 0.0)
    allowed = TOLERANCE * both["shipped"].abs().clip(lower=1.0).fillna(1.0)
    return both.assign(difference=apart, wrong=apart > allowed)


def other_clips(found: pd.DataFrame, draws_tokens: bool) -> set[str]:
    """Find the units of which rounding made another clip: those that differ, if they are few, one or :data:`OTHERWISE`
    of all that were compared, and by :data:`NEAR` at most where rounding cannot do more; none where more do."""
    apart, limit = set(found.loc[found["wrong"], UNIT]), NEAR * found["shipped"].abs().clip(lower=1.0)
    free = (found["metric"].str.startswith(DECIDE) | draws_tokens) & np.isfinite(found["difference"])
    far = set(found.loc[found["wrong"] & ~free & ~(found["difference"] <= limit), UNIT])
    return apart - far if len(apart) <= max(1, OTHERWISE * found[UNIT].nunique()) else set()
