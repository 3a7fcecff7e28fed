"""What the authors published of public models, in words; numbers of theirs, never of a mini."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.resources import files

import pandas as pd

from tada.models import ARCHITECTURES

LOCALISATION = "results/tables_localization.md of the authors' code, public checkpoints"
LPAPS = "results/tables_lpaps.md of the authors' code, second version, mean of nine concepts, public ACE-Step"


def layers_of(model: str) -> pd.DataFrame:
    """Published mean impacts of single layers of a public checkpoint, the highest first."""
    from tada.experiments.localisation import published

    rows = published()
    return rows[rows["model"] == model].sort_values("impact", ascending=False, kind="stable")


def share(model: str) -> float:
    """Share of the published impacts that lies in the layers that the paper names."""
    rows = layers_of(model)
    return float(rows.loc[rows["layer"].isin(ARCHITECTURES[model].paper_layers), "impact"].sum() / rows["impact"].sum())


def shares() -> str:
    """:func:`share` of every model."""
    return "; ".join(f"{one.title} {share(name):.2f}" for name, one in ARCHITECTURES.items())


def top(model: str) -> Callable[[], str]:
    """The strongest layers, and which of the named ones are not among them."""

    def said() -> str:
        named = ARCHITECTURES[model].paper_layers
        rows = layers_of(model).head(len(named))
        missing = ", ".join(map(str, sorted(set(named) - set(rows["layer"]))))
        return f"strongest: {_listed(rows)}; " + (f"without {missing}" if missing else "the named ones")

    return said


def single(model: str, layers: Sequence[int]) -> Callable[[], str]:
    """Some layers' impacts."""

    def said() -> str:
        rows = layers_of(model)
        return _listed(rows[rows["layer"].isin(layers)])

    return said


def averages(first: str, second: str, column: str) -> Callable[[], str]:
    """Two methods compared by a column of ``published_averages.csv``."""

    def said() -> str:
        table = pd.read_csv(str(files("tada.data") / "published_averages.csv")).set_index("method")[column]
        return f"{first} {table[first]:.3f}, {second} {table[second]:.3f} ({column.replace('_', ' ')})"

    return said


def _listed(rows: pd.DataFrame) -> str:
    return ", ".join(f"{layer} ({impact:.3f})" for layer, impact in zip(rows["layer"], rows["impact"], strict=True))
