"""Table 1 on a page: its blocks, what fills its gaps, which rows win, and what was published."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import pandas as pd
from IPython.display import HTML

from tada import escape
from tada.display.steering import arm_name
from tada.display.tables import table, wide_table
from tada.evaluation import blocks, layout
from tada.experiments.table_1 import Table1

ARROWS = {"higher": "↑", "lower": "↓"}
SCALES = {
    "length": "one length of what the steered layers put out in unsteered clips (median over layers)",
    "calibrated": "the end of the range in which the judge hears the concept move and the rest stay sound",
    "distance": "where clips have moved as far as by the concept's own words in the prompt",
    "paper": "a raw strength of 100, as in the paper",
}
"""What 100 % is, in words."""


def model_facts(opened: Table1) -> dict[str, str]:
    """Say which checkpoint a table is of, and which layers are functional, for a table of facts."""
    model, config = opened.work.model, opened.config
    random = " (random weights: nothing here says anything about music)" if config.checkpoint == "tiny" else ""
    layers = f"{config.functional.replace('+', ', ')} of {len(model.sites)} ({config.origin})"
    return {"checkpoint": model.checkpoint + random, "functional layers": layers}


def raw_strength_table(results: pd.DataFrame) -> Any:
    """Tabulate raw strengths at 100 % and -100 %, a row a concept and arm, of results of ``tada.evaluation.run``."""
    ends = results[results["percent"].abs() == 100]
    ends = ends.assign(side=ends["percent"].map({100.0: "+100 %", -100.0: "-100 %"}))
    wide = ends.pivot_table("alpha", ["concept", "method", "layers"], "side", sort=False).reset_index()
    return table(wide, dict.fromkeys(("+100 %", "-100 %"), "{:+.2f}"))


def block_tables(cells: pd.DataFrame) -> HTML:
    """Show the blocks of ``tada.evaluation.table``, a row a concept and arm; columns not measured are left out."""
    measured = cells[~cells["column"].isin(_gaps(cells)["column"])]
    parts = {title: wide_table(_block(block), title) for title, block in blocks(measured).items()}
    return HTML("".join(f"<h3>{escape.html(title)}</h3>{text}" for title, text in parts.items()))


def _block(block: pd.DataFrame) -> pd.DataFrame:
    """Lay out one block; a concept is named in its first row alone, an arrow says which direction is better."""
    wide = layout(block, "html").reset_index()
    better = block.drop_duplicates("column").set_index("column")["better"].map(ARROWS)
    wide["row"] = arm_names(wide)
    wide["concept"] = wide["concept"].where(~wide["concept"].duplicated(), "")
    shown = wide[["concept", "row", *better.index]]
    return shown.rename(columns={name: f"{name} {arrow}" for name, arrow in better.items()})


def arm_names(rows: pd.DataFrame) -> list[str]:
    return [arm_name(method, layers) for method, layers in zip(rows["method"], rows["layers"], strict=True)]


def gap_table(cells: pd.DataFrame) -> Any:
    """Tabulate the columns that were not measured and what fills them."""
    return table(_gaps(cells)[["column", "note"]].rename(columns={"note": "what fills it"}))


def _gaps(cells: pd.DataFrame) -> pd.DataFrame:
    return cells[cells["value"].isna()].drop_duplicates("column")


def win_table(cells: pd.DataFrame) -> Any:
    """Tabulate in how many concepts each row is the best of a column, and in brackets the best or tied with it."""
    rows = cells[cells["value"].notna()]
    rows = rows.assign(row=arm_names(rows), among=rows["best"] | rows["tied"])
    best, among = (rows.pivot_table(name, "column", "row", "sum", sort=False).astype(int) for name in ("best", "among"))
    return table((best.astype(str) + " (" + among.astype(str) + ")").reset_index())


def published_table() -> Any:
    """Tabulate what the paper's third version publishes: averages over nine concepts for the public ACE-Step."""
    rows = read_published("averages")
    shown = rows[rows["method"].str.contains("CAA|SAE|Sliders|PCI") & (rows["version"] == "v3")].drop(columns="version")
    return table(shown, {name: "{:.3f}" for name in shown.columns if name != "method"})


def read_published(kind: str) -> pd.DataFrame:
    """Read published areas of ways to steer by version of the paper: ``"averages"`` of nine, or all ``"concepts"``.

    They are of the public ACE-Step; the tables have no values by prompt, so that no interval can be computed.
    """
    with files("tada.data").joinpath(f"published_{kind}.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file)
