"""Figures and tables of what metrics are worth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tada.display import plots
from tada.display.tables import interval_texts, table
from tada.minis.attributes import TEMPI

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def distance_curves(measured: pd.DataFrame, infinity: Mapping[str, float]) -> Figure:
    """Draw Fréchet and kernel distances over the number of clips, with bands from the least to the largest.

    Args:
        measured: ``sets, n, fad, kad``, as from ``tada.experiments.validity.set_distances``.
        infinity: sets -> their extrapolated Fréchet distance.
    """
    figure, axes = plots.panels(2, 2.0)
    for axis, name in zip(axes, ("fad", "kad"), strict=True):
        for colour, (sets, part) in zip(plots.OKABE_ITO, measured.groupby("sets", sort=False), strict=False):
            spread = part.groupby("n")[name].agg(["mean", "min", "max"])
            plots.line_with_band(axis, spread.index, spread, colour, str(sets))
            if name == "fad":
                axis.axhline(infinity[str(sets)], color=colour, linestyle=":", linewidth=1)
        axis.axhline(0, color="0.35", linewidth=0.6)
        axis.set_ylabel("Fréchet distance" if name == "fad" else "KAD")
    axes[0].legend(frameon=False, fontsize=8.5)
    sizes = sorted(set(measured["n"]))
    axes[1].set(xlabel="clips in each set", xscale="log")
    axes[1].set_xticks(sizes, map(str, sizes))
    axes[1].minorticks_off()
    return figure


def floor_table(rows: list[dict[str, Any]]) -> Any:
    """Tabulate LPAPS of changes, as from ``tada.experiments.validity.lpaps_row``."""
    return table(pd.DataFrame(rows), dict.fromkeys(("LPAPS", "lowest", "highest", "authors' kind"), "{:.3f}"))


def hearing_table(found: pd.DataFrame) -> Any:
    """Tabulate areas under the ROC curve, concepts down and ears across."""
    wide = found.assign(text=interval_texts(found, "area")).pivot_table("text", "concept", "ear", "first", sort=False)
    return table(wide.reset_index())


def tempo_curves(answers: pd.DataFrame) -> Figure:
    """Draw answers over the true tempo, each scaled to its own range; tempi of the ears' training are shaded.

    Args:
        answers: a row a tempo, a column an ear.
    """
    figure, (axis,) = plots.panels(1, 2.6)
    for low, high in TEMPI.values():
        axis.axvspan(low, high, color="0.9")
    for colour, (name, curve) in zip(plots.OKABE_ITO, answers.items(), strict=False):
        scaled = (curve - curve.min()) / np.ptp(curve)
        axis.plot(answers.index, scaled, "o-", color=colour, markersize=3, label=str(name))
    axis.set(xlabel="true tempo, beats per minute (shaded: what the ears were trained on)", ylabel="answer, 0 to 1")
    axis.legend(frameon=False, fontsize=8.5)
    return figure


def loudness_table(effects: pd.DataFrame) -> Any:
    """Tabulate what changes of level do to metrics, as from ``tada.experiments.validity.loudness_effects``."""
    shifts = dict.fromkeys([str(name) for name in effects if name != "gain, dB"], "{:+.2f}")
    return table(effects, shifts | {"LPAPS": "{:.2f}", "gain, dB": "{:+.0f}"})
