"""Figures and tables of what metrics are worth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import HTML
from matplotlib.figure import Figure

from tada.display import plots
from tada.display.tables import cross_texts, folded, interval_texts, table
from tada.experiments.agreement import ASKED
from tada.minis.attributes import TEMPI


def distance_curves(measured: pd.DataFrame, infinity: Mapping[str, float]) -> Figure:
    """Draw Fréchet and kernel distances (``sets, n, fad, kad``) over the number of clips, from least to largest.

    Dotted lines are the sets' extrapolated Fréchet distances.
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
    return table(cross_texts(found, interval_texts(found, "area"), "concept", "ear"))


def tempo_curves(answers: pd.DataFrame) -> Figure:
    """Draw answers (tempo -> a column an ear), each scaled to its own range; tempi of the ears' training are shaded."""
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


JUDGES = {
    "probe": "probe",
    "mini-clap": "CLAP-class ear",
    "mini-second": "second ear",
    "signal": "signal estimators",
    "musicnn": "musicnn",
    "clap": "CLAP",
    "muq": "MuQ-MuLan",
}
"""Judges in words: what was trained on renders first, then what nobody here trained."""

LISTENER = {
    ("signal", "tempo"): "Who taps along would tap another beat than that of the tempo asked for.",
    ("signal", "voice"): "Who listens for a voice would miss a harmonic tone whose pitch moves as a singer's does.",
    ("signal", "mood"): "Who listens for major and minor would not find the mood; the probe goes by something else.",
    ("musicnn", ""): "To a network that knows recorded music it does not sound like its name.",
}
"""Judge and attribute -> what a listener would hear where that judge cannot confirm the probe."""


def agreement_tables(found: pd.DataFrame) -> list[HTML]:
    """Fold shares of clips as from ``tada.experiments.agreement.compare``: judges against what was asked and others."""
    asked = found["against"] == ASKED
    rows = found[asked].assign(judge=found["judge"].map(JUDGES))
    shares = cross_texts(rows, interval_texts(rows, "share"), ["attribute", "source"], "judge")
    pairs = found[~asked].pivot_table("share", ["attribute", "judge", "against"], "source", sort=False)
    pairs = pairs.round(2).reset_index().replace(JUDGES)
    return [folded(shares, "Judges against what was asked for"), folded(pairs, "Judges against each other")]


def disagreement_lines(found: pd.DataFrame) -> str:
    """Say in Markdown where nobody confirms what the probe hears: its interval lies above that of another judge."""
    asked = found[found["against"] == ASKED]
    probe = asked[asked["judge"] == "probe"].set_index(["source", "attribute"])
    lines = []
    for row in plots.named_rows(asked[asked["judge"].isin(["signal", "musicnn"])]):
        one = probe.loc[(row.source, row.attribute)]
        if one["low"] > row.high:
            shares = f"{JUDGES[row.judge]} in {row.share:.0%} [{row.low:.0%}, {row.high:.0%}]"
            heard = LISTENER.get((row.judge, row.attribute)) or LISTENER["musicnn", ""]
            where = f"- *{row.source}*, {row.attribute}: the probe hears what was asked for"
            lines.append(f"{where} in {one['share']:.0%} of the clips, {shares}. {heard}")
    return "\n".join(lines) or "No judge contradicts the probe beyond its interval."
