"""Figures and tables of steering: what a judge hears at every strength, and how far the music moves for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from tada.concepts.steered import Pairs, get
from tada.display import plots
from tada.display.tables import interval_texts, table
from tada.display.validity import JUDGES, LISTENER
from tada.steering.vector import Vector

LAYER_SETS = {"functional": "functional", "all": "all", "all-but-functional": "all but functional"}
"""Layer sets in words."""


def arm_name(method: str, layers: Any) -> str:
    """Name a way to steer: ``CAA, all but functional``, or ``SAE, layer 7`` where no layer set was steered."""
    return f"{method}, {LAYER_SETS[layers]}" if layers in LAYER_SETS else f"{method}, layer {layers}"


def prompt_table(examples: Iterable[Pairs]) -> Any:
    """Tabulate pairs of prompts, one a row."""
    rows = [(e.concept.name, *pair) for e in examples for pair in zip(e.positive, e.negative, strict=True)]
    return table(pd.DataFrame(rows, columns=["concept", "positive", "negative"]))


def range_table(vectors: Mapping[str, Vector]) -> Any:
    """Tabulate the calibrated ranges of vectors (concept -> vector), a row a concept and layer set."""
    rows = []
    for name, vector in vectors.items():
        for entry in vector.info["ranges"]:
            moves = ["yes" if entry["ends"][end]["moves"] else "no" for end in ("low", "high")]
            rows.append((name, *(entry[key] for key in ("layers", "low", "high", "unit")), *moves))
    columns = ["concept", "layers", "lowest", "highest", "one length", "moves down", "moves up"]
    return table(pd.DataFrame(rows, columns=columns), dict.fromkeys(("lowest", "highest", "one length"), "{:.2f}"))


def movement_table(moves: pd.DataFrame) -> Any:
    """Tabulate movements as from ``tada.experiments.steering.movements``."""
    return table(moves, dict.fromkeys(("movement", "low", "high"), "{:+.2f}") | {"sound kept": "{:.2f}"})


METRICS = {
    "concept": "judge of the range",
    "signal": "signal estimators: found",
    "musicnn": "musicnn, log-odds",
    "onsets": "onsets a second",
    "major": "major over minor",
    "brightness": "brightness, Hz",
    "pitch": "pitch, Hz",
}
"""Metrics of steered clips in words."""


def judge_table(moves: pd.DataFrame) -> Any:
    """Tabulate movements by every judge, as from ``tada.experiments.steering.movements_by_metric``."""
    shown = moves.assign(metric=moves["metric"].map(METRICS), movement=interval_texts(moves, "movement"))
    formats = dict.fromkeys(("lowest", "highest"), "{:.2f}")
    return table(shown[["concept", "layers", "metric", "lowest", "highest", "movement"]], formats)


def judge_lines(moves: pd.DataFrame) -> str:
    """Say in Markdown which movements no judge from outside confirms: its interval does not lie above 0."""
    lines = []
    for (concept, layers), part in moves.groupby(["concept", "layers"], sort=False):
        low = part.set_index("metric")["low"]
        silent = [name for name in ("signal", "musicnn") if name in low and not low[name] > 0]
        if low["concept"] > 0 and silent:
            attribute = get(str(concept)).attribute
            heard = [LISTENER.get((name, attribute), LISTENER["musicnn", ""]) for name in silent]
            where = f"- **{concept}**, {LAYER_SETS.get(str(layers), layers)} layers"
            names = " and ".join(JUDGES[name] for name in silent)
            lines.append(f"{where}: not confirmed by {names}. {' '.join(heard)}")
    return "\n".join(lines) or "No movement that the judge of the range is sure of is left unconfirmed."


def strength_curves(
    curves: pd.DataFrame, concepts: Sequence[str], by: str, labels: Mapping[str, str], measure: str, where: str
) -> Figure:
    """Draw a judge's value over the strength of steering, as from ``tada.experiments.steering.curves``.

    Args:
        curves: ``percent, mean, low, high`` by concept and ``by``.
        concepts: a panel each.
        by: the column that tells lines apart, ``layers`` or ``method``.
        labels: its values -> what the legend calls them; only these are drawn, in this order.
        measure: what the judge's values are.
        where: what the strength is in per cent of.
    """
    figure, axes = plots.panels(len(concepts), 1.75)
    for axis, name in zip(axes, concepts, strict=True):
        for colour, (key, label) in zip(plots.OKABE_ITO, labels.items(), strict=False):
            part = curves[(curves["concept"] == name) & (curves[by] == key)]
            plots.line_with_band(axis, part["percent"], part[["mean", "low", "high"]], colour, label)
        poles = get(name)
        axis.set_ylabel(measure)
        plots.set_heading(axis, f"{name}: from {poles.negative} to {poles.positive}")
    axes[0].legend(frameon=False, fontsize=8.5)
    axes[-1].set_xlabel(f"strength, per cent of {where}")
    return figure


def training_curves(log: pd.DataFrame) -> Figure:
    """Draw how an autoencoder learnt: ``step, explained_variance, dead`` as from ``tada.sae.train``."""
    figure, (axis,) = plots.panels(1, 2.4)
    axis.plot(log["step"], log["explained_variance"], color=plots.OKABE_ITO[0], label="explained variance")
    axis.plot(log["step"], log["dead"], color=plots.OKABE_ITO[1], label="share of dead features")
    axis.set(xlabel="training step", ylim=(0, 1.02))
    axis.legend(frameon=False, fontsize=8.5)
    return figure


def search_table(found: pd.DataFrame) -> Any:
    """Tabulate a search over autoencoders as from ``tada.sae.search``."""
    shown = found.rename(columns={"unexplained": "unexplained variance", "l0": "active", "rule": "sum"})
    shown["chosen"] = shown["chosen"].map({True: "yes", False: ""})
    columns = ["m", "k", "latents", "unexplained variance", "active", "dead", "frequent", "sum", "chosen"]
    formats = dict.fromkeys(("unexplained variance", "dead", "frequent", "sum"), "{:.3f}")
    return table(shown[columns], formats | {"active": "{:.1f}"})


def gain_curves(gains: pd.DataFrame, judge: str) -> Figure:
    """Draw gains by a judge, as from ``tada.evaluation.gains``, over the distance from the unsteered clip."""
    concepts, arms = gains["concept"].unique(), list(dict.fromkeys(zip(gains["method"], gains["layers"], strict=True)))
    figure, axes = plots.panels(len(concepts), 2.0)
    colours = dict(zip(arms, plots.OKABE_ITO, strict=False))
    gains = gains.iloc[gains["percent"].abs().argsort(kind="stable")]
    for axis, name in zip(axes, concepts, strict=True):
        rows = gains[gains["concept"] == name]
        for (method, layers, up), part in rows.groupby(["method", "layers", rows["percent"] > 0], sort=False):
            points = [0, *part["lpaps"]], [0, *part["gain"]], "o-" if up else "o:"
            label = arm_name(method, layers) if up else None
            axis.plot(*points, markersize=3, color=colours[method, layers], label=label)
        axis.axhline(0, color="0.35", linewidth=0.6)
        axis.set_ylabel(f"gain, {judge}")
        plots.set_heading(axis, name)
    axes[0].legend(frameon=False, fontsize=8)
    axes[-1].set_xlabel("LPAPS from the unsteered clip (dotted: negative strengths)")
    return figure
