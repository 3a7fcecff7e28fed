"""What the cards of the minis say, as figures and tables: size, accuracy by attribute, training, cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from tada.display import plots
from tada.display.tables import cross_texts, interval_texts, table
from tada.minis.attributes import CLASSES

Cards = Mapping[str, Mapping[str, Any]]
"""Name of a mini, an ear or the probe -> its card."""

AIMED: Mapping[str, float] = {
    "tempo right": 0.95,
    "sung voice found": 0.8,
    "no voice found where there is none": 0.8,
    "female or male by pitch": 0.9,
    "mode right": 0.75,
    "timbre right by centroid": 0.9,
}
"""What is found in clips that a listener need not doubt, at least: what training went on for."""


def card_table(cards: Cards, megabytes: Mapping[str, float]) -> Any:
    """Tabulate what there is: size, sites and training of each, a row a card."""
    counts = [card.get("parameters", float("nan")) for card in cards.values()]
    millions = [(sum(count.values()) if isinstance(count, dict) else count) / 1e6 for count in counts]
    rows = [
        (name, card["what"], million, card.get("sites"), card["steps"], card["hours"], megabytes[name])
        for million, (name, card) in zip(millions, cards.items(), strict=True)
    ]
    columns = ["name", "what", "million parameters", "sites", "training steps", "hours of one CPU core", "MB"]
    formats = {"million parameters": "{:.2f}", "hours of one CPU core": "{:.2f}", "MB": "{:.1f}", "sites": "{:.0f}"}
    return table(pd.DataFrame(rows, columns=columns), formats)


def accuracies(cards: Cards, names: Iterable[str], part: str, ending: str = "") -> pd.DataFrame:
    """Gather ``mini, attribute, accuracy, low, high, clips`` from a part of some cards, such as ``one concept``.

    Cards without the part have no rows; ``ending`` is put behind the names of attributes.
    """
    rows = [
        {"mini": name, "attribute": f"{key}{ending}", **value}
        for name in names
        for key, value in cards[name].get(part, {}).items()
    ]
    return pd.DataFrame(rows, columns=["mini", "attribute", "accuracy", "low", "high", "clips"])


def accuracy_points(found: pd.DataFrame, title: str) -> Figure:
    """Draw accuracies as from :func:`accuracies` with 95 % intervals, attributes across, a colour a mini."""
    figure, (axis,) = plots.panels(1, 3.2)
    names, minis = (list(dict.fromkeys(found[column])) for column in ("attribute", "mini"))
    for place, mini in enumerate(minis):
        part = found[found["mini"] == mini]
        where = [names.index(key) + 0.14 * (place - (len(minis) - 1) / 2) for key in part["attribute"]]
        spread = [part["accuracy"] - part["low"], part["high"] - part["accuracy"]]
        axis.errorbar(where, part["accuracy"], spread, fmt="osD^v"[place], markersize=5, linewidth=1.2, label=mini)
    for place, key in enumerate(names):
        chance = 1 / sum(kind != "none" for kind in CLASSES[key])
        axis.hlines(chance, place - 0.4, place + 0.4, color="0.6", linewidth=1)
    axis.set_xticks(range(len(names)), names, fontsize=6.5)
    axis.set(ylim=(0, 1.02), ylabel="share of clips that are as asked")
    plots.set_heading(axis, title)
    figure.legend(frameon=False, fontsize=8.5, loc="outside lower left", ncols=3)
    return figure


def accuracy_table(found: pd.DataFrame, what: str = "attribute", clips: bool = True) -> Any:
    """Tabulate accuracies, minis across; ``what`` heads the rows, ``clips`` adds how many clips were judged."""
    wide = cross_texts(found, interval_texts(found, "accuracy", form=".3f"), "attribute", "mini")
    if clips:
        wide["clips"] = wide["attribute"].map(found.groupby("attribute")["clips"].max()).astype(int)
    return table(wide.rename(columns={"attribute": what}))


def measures(cards: Cards, names: Iterable[str], part: str) -> pd.DataFrame:
    """Gather a part of some cards as it stands, such as ``speed``, a row a mini; cards without it have no row."""
    return pd.DataFrame([{"mini": name, **cards[name][part]} for name in names if part in cards[name]])


def signals_table(card: Mapping[str, Any]) -> Any:
    """Tabulate what estimators that learnt nothing find, a row a figure: in renders, through the codec, generated."""
    rows = pd.DataFrame(
        [{"found": bar, "in": source, **row} for source, bars in card["signals"].items() for bar, row in bars.items()]
    )
    texts = [whole if "nan" not in whole else whole.partition(" ")[0] for whole in interval_texts(rows, "value")]
    return table(cross_texts(rows, texts, "found", "in").fillna(""))


def missed_lines(cards: Cards, names: Iterable[str]) -> str:
    """List, as Markdown, what is found more rarely in generated clips than :data:`AIMED` says, a line a mini."""
    return "\n".join(f"- **{name}**: {_missed(cards[name])}" for name in names)


def _missed(card: Mapping[str, Any]) -> str:
    if "signals" not in card:
        return "not measured"
    found = {bar: card["signals"]["generated"][bar]["value"] for bar in AIMED}
    short = [f"{bar} {found[bar]:.2f} (aimed at {least:.2f})" for bar, least in AIMED.items() if found[bar] < least]
    return "; ".join(short) or "nothing"


def loss_curves(losses: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw how denoisers learnt (mini -> ``step, loss``), smoothed over twenty entries."""
    figure, (axis,) = plots.panels(1, 3.0)
    for name, curve in losses.items():
        axis.plot(curve["step"], curve["loss"].rolling(20, min_periods=1).mean(), linewidth=1.3, label=name)
    axis.set(xlabel="step", ylabel="mean squared error of the velocity")
    plots.set_heading(axis, "Training of the minis' denoisers")
    axis.legend(frameon=False, fontsize=8.5)
    return figure
