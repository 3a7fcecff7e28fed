"""Shipped results are packed from the stores of a whole run of the book, and held against a later one."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tada.errors import InputError
from tada.io import atomic_write, sha256, write_json
from tada.store import SETTING, UNIT, Store
from tada.store.shipped import ABOUT, DIGITS, MADE, ROWS, VECTOR, Shipped, differences, other_clips

log = logging.getLogger(__name__)

Used = Mapping[str, Any]
"""Of a page: its ``seconds``, its ``own`` units as it asked for them, and ``made``: key -> place of what it fitted;
where it grew, ``shipped``: the numbers of units that it read from what ships."""

LIMIT = 12e6
"""Bytes that shipped results may take."""

SUFFIXES = (".safetensors", ".json", ".csv", ".parquet")
"""Of the files of an autoencoder that ship."""

MEASURES = (
    *("fad", "kad", "harmony", "melody", "rhythm", "structure"),
    *("lpaps-token", "mini-second", "mini-clap-opposite", "musicnn"),
)
"""How metrics begin by which nothing is chosen, neither a range nor a layer; of their values :data:`BITS` ship."""

BITS = 16
"""Binary digits of such a value that ship, so that it is off by 2e-5 of itself at most and takes half the space."""

WHAT = ["model", "concept", "pair", "prompt", "seed", "method", "layers", "percent", "metric"]
"""Columns that say of which clip a value is, whatever its key."""


def pack(
    stores: Path, pages: Mapping[str, Used], folder: Path, about: Mapping[str, Any], before: Path | None = None
) -> int:
    """Pack what pages used, in place of the results in a folder.

    Args:
        stores: a folder below which all their stores are.
        pages: page -> what it used.
        folder: of the shipped results.
        about: commit, command, machine and the like, to be written beside.
        before: folder of shipped results, of which stays what is for other pages, and what these pages read of it.

    Returns:
        How many units ship now.

    Raises:
        InputError: units that are in none of the stores, more than :data:`LIMIT`, or a folder of anything else.
    """
    if folder.is_dir() and any(folder.iterdir()) and not (folder / ABOUT).is_file():
        raise InputError(f"{folder} holds other things than shipped results, which would be lost: name another folder")
    old = Shipped(before)
    names, said = list(old.places), old.about["pages"]
    units = {page: old.units(page) for page in said}
    for page, used in pages.items():
        units[page] = [unit[:DIGITS] for unit in used["own"]] + [names[place] for place in used.get("shipped", ())]
    rows, settings = gather(stores, [unit for used in pages.values() for unit in used["own"]])
    rows = rows.assign(**{UNIT: rows[UNIT].str[:DIGITS]})
    rest = {unit for asked in units.values() for unit in asked}.difference(rows[UNIT])
    rows = round_measures(pd.concat([rows, old.rows(rest)], ignore_index=True))
    places = {unit: place for place, unit in enumerate(rows[UNIT].unique())}
    files = {unit: old.files(unit) for page in said if page not in pages for unit in said[page]["made"]}
    files |= {unit: _files(unit, Path(place)) for used in pages.values() for unit, place in used["made"].items()}
    runs: dict[str, Any] = {}
    for page, asked in units.items():
        found = spans(places[unit] for unit in asked if unit in places)
        runs[page] = _describe(about, pages.get(page), said.get(page, {})) | {"units": found}
    _replace(folder, rows, files, {**about, "settings": old.about["settings"] | settings, "pages": runs})
    return len(places)


def _describe(about: Mapping[str, Any], used: Used | None, said: Mapping[str, Any]) -> dict[str, Any]:
    """Describe the run that a page's results are from: the one at hand, or what was said if it left the page out."""
    if used is None:
        return {**said, "grown_from": _runs(said)[1:]}
    own = {"seconds": used["seconds"], "made": list(used["made"])}
    return {**about, **own, "grown_from": _runs(said) if used.get("shipped") else []}


def _runs(said: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The run that a page's results were from, and those that they had grown from, the last one first."""
    run = {name: value for name, value in said.items() if name not in ("units", "made", "grown_from")}
    before = said.get("grown_from", [])
    before = _runs(before) if isinstance(before, dict) else before  # once, each held the one before
    return [run, *before] if run else []


def _replace(
    folder: Path, rows: pd.DataFrame, files: Mapping[str, Mapping[str, Path]], about: Mapping[str, Any]
) -> None:
    """Write shipped results in place of those in a folder, all or nothing."""
    draft = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    atomic_write(draft / ROWS, partial(_write_rows, rows))
    for unit, made in files.items():
        for name, file in made.items():
            atomic_write(draft / MADE / unit[:16] / name, file.read_bytes())
    write_json(draft / ABOUT, {**about, "sha256": sha256(draft / ROWS)})
    size = sum(file.stat().st_size for file in draft.rglob("*") if file.is_file())
    if size > LIMIT:
        raise InputError(
            f"{draft} takes {size / 1e6:.1f} MB; expected {LIMIT / 1e6:.0f} at most: run less, or raise it"
        )
    shutil.rmtree(folder, ignore_errors=True)
    draft.replace(folder)


def round_measures(rows: pd.DataFrame) -> pd.DataFrame:
    """Round values of :data:`MEASURES` to :data:`BITS`; others find ranges, and so keys, and stay as they are."""
    share, power = np.frexp(rows["value"].to_numpy(float))
    rounded = np.ldexp(np.round(np.ldexp(share, BITS)), power - BITS)
    return rows.assign(value=rows["value"].mask(rows["metric"].str.startswith(MEASURES), rounded))


def _write_rows(rows: pd.DataFrame, path: Path) -> None:
    """Write rows as small as they get: values by their bytes, since the last ones of most are empty."""
    words = [name for name in rows if not pd.api.types.is_float_dtype(rows[name])]
    table = pa.Table.from_pandas(rows, preserve_index=False)
    how = {"compression": "zstd", "compression_level": 19, "use_dictionary": words, "use_byte_stream_split": ["value"]}
    pq.write_table(table, path, **how)


def gather(stores: Path, units: Iterable[str]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read units from all stores below a folder, in this order, and the settings among them by name.

    Embeddings are left out: they would take many times the space of all else, and the distances of sets that are made
    of them are results of their own, see :func:`tada.evaluation.run`.
    """
    order = {unit: place for place, unit in enumerate(dict.fromkeys(units))}
    rows, missing = [pd.DataFrame(columns=[UNIT, "metric", "value"])], set(order)
    settings: dict[str, Any] = {}
    for store in map(Store, sorted({file.parent for file in stores.rglob("*.rows")})):
        here = store.known(missing)
        names = [unit.removeprefix(SETTING) for unit in here if unit.startswith(SETTING)]
        rows.append(store.frame(sorted(unit for unit in here if not unit.startswith(SETTING))))
        settings |= {name: store.get(name) for name in names}
        missing -= here
    if missing:
        raise InputError(f"{len(missing)} of {len(order)} units are in no store below {stores}, such as {min(missing)}")
    found = pd.concat([part for part in rows if len(part)] or rows)
    found = found[found["metric"] != "embedding"].drop(columns="embedding", errors="ignore")
    found = found.sort_values(UNIT, key=lambda column: column.map(order), kind="stable", ignore_index=True)
    return found.assign(pair=found["pair"].astype(str)) if "pair" in found else found, settings


def _files(unit: str, place: Path) -> dict[str, Path]:
    """The files of what was fitted, by the names that they ship under; none, with a warning, if it was written over."""
    if place.is_dir():
        return {file.name: file for file in place.iterdir() if file.suffix in SUFFIXES}
    card = place.with_suffix(".json")
    if unit[:16] in place.stem:
        return {file.name: file for file in (place, card) if file.is_file()}
    if json.loads(card.read_text(encoding="utf-8"))["info"].get("recipe") == unit:
        return {VECTOR: place, Path(VECTOR).with_suffix(".json").name: card}
    log.warning("%s was written over by another recipe: it does not ship, and is fitted where it is asked for", place)
    return {}


def spans(places: Iterable[int]) -> list[list[int]]:
    """Write numbers as spans, from the first on up to the one past the last."""
    found: list[list[int]] = []
    for place in sorted(set(places)):
        if found and found[-1][1] == place:
            found[-1][1] += 1
        else:
            found.append([place, place + 1])
    return found


def compare(stores: Path, pages: Mapping[str, Used], folder: Path, draw_tokens: Collection[str] = ()) -> pd.DataFrame:
    """Hold what pages used, all computed anew, against shipped results, clip by clip and whatever their keys.

    Keys say too much for that: a vector that was fitted on another machine differs by rounding, and so do the keys of
    all clips that it steers.

    Args:
        stores: a folder below which all stores of the pages are.
        pages: page -> what it used.
        folder: of the shipped results.
        draw_tokens: models that draw tokens, see :func:`tada.store.shipped.other_clips`.

    Returns:
        ``page``, :data:`WHAT`, and ``here, shipped, difference, wrong``, see
        :func:`tada.store.shipped.differences`; values that only one of them has are left out, and nothing is wrong of
        the few clips that rounding made others of.
    """
    ours, parts = Shipped(folder), []
    for page in [page for page in pages if page in ours.about["pages"]]:
        here = gather(stores, pages[page]["own"])[0]
        found = differences(_comparable(here), _comparable(ours.rows(ours.units(page))), WHAT).assign(page=page)
        found[UNIT] = found.groupby(WHAT[:-1], dropna=False).ngroup()
        kinds = found.groupby(found["model"].isin(draw_tokens))
        others = {unit for draws, part in kinds for unit in other_clips(part, bool(draws))}
        parts.append(found.assign(wrong=found["wrong"] & ~found[UNIT].isin(others)))
    return pd.concat(parts, ignore_index=True)[["page", *WHAT, "here", "shipped", "difference", "wrong"]]


def _comparable(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with strengths as far as machines agree on them, each clip's value once."""
    rows = rows.reindex(columns=[*WHAT, "value"])
    return rows.assign(percent=rows["percent"].map("{:.5g}".format)).drop_duplicates(WHAT)
