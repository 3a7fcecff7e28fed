"""Compare the results of two builds: the same clips must have the same scores, whatever the stores are called.

    python ci/compare_results.py OLD_FOLDER NEW_FOLDER

Either folder is a build (such as _build) or a store. All tables with columns ``metric`` and ``value`` below it are
read: stores (``*.rows``, or ``parts/*.parquet`` of older versions) and parquet files. Rows are matched by what a
clip is, never by ``unit_hash``, which changes with the code; older stores of steering say nothing but the hash, their
rows are matched by metric and value. Prints matched and unmatched rows and the largest differences of every metric;
ends with 1 where a row is unmatched, or differs by more than 1e-6, absolute and relative.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from tada.store import Store

TOLERANCE = 1e-6
CLIP = ["checkpoint", "model", "concept", "pair", "prompt", "seed", "method", "layers", "alpha"]


def tables(folder: Path) -> Iterator[pd.DataFrame]:
    """Read every table of results below a folder, stores included."""
    stores = {path.parent for path in folder.rglob("*.rows")}
    for path in sorted([*folder.rglob("*.parquet"), *stores]):
        table = Store(path).frame() if path in stores else pd.read_parquet(path)
        if {"metric", "value"} <= set(table) and len(table):
            yield table


def results(folder: Path) -> pd.DataFrame:
    """Give the rows of all tables, each once: the clip's columns as text, ``metric``, ``value``, and two more.

    ``named`` tells whether the table says what the clip is; ``place`` numbers rows that agree in all but the value.
    """
    parts = []
    for table in tables(folder):
        if "embedding" in table:
            is_embedding = table["embedding"].notna()
            table.loc[is_embedding, "value"] = [float(np.sum(row)) for row in table.loc[is_embedding, "embedding"]]
        part = table.reindex(columns=[*CLIP, "metric", "value"])
        part["alpha"] = [f"{alpha + 0.0:.4g}" for alpha in part["alpha"].astype(float)]
        part[CLIP] = part[CLIP].astype(object).where(part[CLIP].notna(), "").astype(str)
        named = "prompt" in table
        parts.append(part.assign(named=named, unit="" if named else table["unit_hash"]))
    if not parts:
        sys.exit(f"no results below {folder}")
    rows = (
        pd.concat(parts, ignore_index=True).drop_duplicates().drop(columns="unit").sort_values("value", kind="stable")
    )
    return rows.assign(place=rows.groupby([*CLIP, "metric", "named"]).cumcount()).reset_index(drop=True)


def match_values(old: pd.Series, new: pd.Series) -> list[tuple[int, int]]:
    """Pair the labels of equal values of two sorted series, each once."""
    pairs, left, right = [], 0, 0
    while left < len(old) and right < len(new):
        gap = old.iloc[left] - new.iloc[right]
        if abs(gap) <= TOLERANCE:
            pairs.append((old.index[left], new.index[right]))
        left, right = left + (gap <= TOLERANCE), right + (gap >= -TOLERANCE)
    return pairs


def match(old: pd.DataFrame, new: pd.DataFrame) -> list[tuple[int, int]]:
    """Pair the labels of rows: named ones by what the clip is, then those left by metric and value."""
    keys = [*CLIP, "metric", "place"]
    named = [rows[rows["named"]].reset_index() for rows in (old, new)]
    both = named[0].merge(named[1], on=keys, suffixes=("_old", "_new"))
    pairs = list(zip(both["index_old"], both["index_new"], strict=True))
    rest_old, rest_new = old.drop(both["index_old"]), new.drop(both["index_new"])
    for metric in set(rest_old["metric"]) & set(rest_new["metric"]):
        some_old, some_new = (rest[rest["metric"] == metric] for rest in (rest_old, rest_new))
        if not (some_old["named"].all() and some_new["named"].all()):
            pairs += match_values(some_old["value"].dropna(), some_new["value"].dropna())
    return pairs


def compare(old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Give one line a metric: rows ``matched only_old only_new differs``, largest differences ``absolute relative``."""
    pairs = match(old, new)
    left, right = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    values = pd.DataFrame({"old": old.loc[left, "value"].to_numpy(), "new": new.loc[right, "value"].to_numpy()})
    values["metric"] = old.loc[left, "metric"].to_numpy()
    gap = (values["old"] - values["new"]).abs()
    gap[values["old"].isna() != values["new"].isna()] = np.inf
    values["absolute"] = gap.fillna(0.0)
    values["relative"] = values["absolute"] / values[["old", "new"]].abs().max(axis=1).clip(lower=1e-12)
    values["differs"] = (values["absolute"] > TOLERANCE) & (values["relative"] > TOLERANCE)
    by = values.groupby("metric")
    counts = pd.DataFrame({
        "matched": by.size(),
        "only_old": old.drop(left)["metric"].value_counts(),
        "only_new": new.drop(right)["metric"].value_counts(),
        "differs": by["differs"].sum(),
    })  # fmt: skip
    return counts.fillna(0).astype(int).join(by[["absolute", "relative"]].max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path, metavar="OLD_FOLDER")
    parser.add_argument("new", type=Path, metavar="NEW_FOLDER")
    folders = parser.parse_args()
    table = compare(results(folders.old), results(folders.new))
    print(table.to_string(float_format="{:.2e}".format))
    counts = table[["matched", "only_old", "only_new", "differs"]].sum()
    print(", ".join(f"{name} {count}" for name, count in counts.items()))
    print(f"largest difference: absolute {table['absolute'].max():.2e}, relative {table['relative'].max():.2e}")
    sys.exit(int(counts[["only_old", "only_new", "differs"]].any()))


if __name__ == "__main__":
    main()
