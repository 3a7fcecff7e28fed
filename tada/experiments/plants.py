"""Known answers: many plants are localised, and what is found is held against the sites that were planted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from tada import patching
from tada.errors import InputError
from tada.experiments import localisation
from tada.experiments.experiment import Experiment
from tada.patching.impacts import CASE, MIN_IMPACT, impact_of
from tada.stats import MIN_UNITS, proportion

SIZES = (3, 6, 12, 32)
"""Pairs that a localisation has."""

MEASURES: Mapping[str, tuple[str, str]] = {
    "precision": ("right", "called"),
    "recall": ("hit", "live"),
    "recall of what carries": ("found", "carrying"),
    "false calls": ("wrong", "bare"),
    "null plants named": ("named", "null"),
    "null plants unknown": ("silent", "null"),
}
"""What is measured: of the called layers, those that are planted; of the planted layers of plants that are not null,
those that are called, and the same of those that carry the concept on other pairs; of the layers that are not planted,
those that are called; of the blocks of null plants, those that name a layer, and those whose effect is unknown."""

Rule = Callable[[pd.DataFrame], pd.DataFrame]
"""``rule(impacts) -> called``: impacts as from ``tada.patching.impact``, layers with a column ``functional``."""


def build_plants(
    work: Experiment, concepts: Sequence[str] = (), drawn: int | None = None, limit: int | None = None
) -> pd.DataFrame:
    """Draw plants, and build the pairs by which each is localised, with one noise a pair.

    Args:
        work: as from ``tada.experiments.localisation.plan``.
        concepts: which; none for the profile's. Each plant is of one, in turn.
        drawn: plants, in place of the profile's. After them come its null plants, in which no site reads the concept.
        limit: pairs of a plant, in place of the profile's.

    Returns:
        Pairs as from ``tada.patching.plant``, with ``plant``, the seed of the draw, and its ``layers``.
    """
    size = work.profile.plants
    pairs = localisation.build_pairs(work, concepts, limit=limit or size.pairs, seeds=1)
    names, drawn, parts = pairs["concept"].unique(), drawn or size.drawn, []
    for number in range(drawn + size.null):
        layers = patching.draw_plant(work.model, number) if number < drawn else []
        own = patching.plant(work.model, pairs[pairs["concept"] == names[number % len(names)]], layers)
        ids = own["pair"] + f"-{number}"  # a plant may be drawn twice
        parts.append(own.assign(plant=number, pair=ids, layers=pd.Series([layers] * len(own), own.index)))
    return pd.concat(parts, ignore_index=True)


def grade(
    scores: pd.DataFrame, pairs: pd.DataFrame, rule: Rule = patching.functional, sizes: Sequence[int] = SIZES
) -> pd.DataFrame:
    """Call layers from blocks of each plant's pairs, with and without controls, and count what is right.

    What a plant does is measured on the pairs that a block leaves out. A planted layer **carries** the concept if its
    impact on these is at least ``tada.patching.impacts.MIN_IMPACT``; a plant is **null** if no site was planted
    or if the full swap has no effect on these that can be told from 0.

    Args:
        scores: of all layers, with controls, as from ``tada.experiments.localisation.sweep``.
        pairs: as from :func:`build_plants`.
        rule: what calls layers functional.
        sizes: of the blocks; those that leave out fewer than ``tada.stats.MIN_UNITS`` pairs are not made, since so few
            do not tell what a plant does.

    Returns:
        A row a block, with controls and without: ``plant, concept, pairs`` (of the block), ``controls, null, unknown``,
        and the numbers of layers: ``layers`` of the model, ``planted, carrying, called``, and of the called ones those
        that are planted (``right``) and that carry the concept (``found``).
    """
    scores = scores[[*CASE, "method", "layers", "pair", "seed", "value"]]
    plants = scores["pair"].map(pairs.set_index("pair")["plant"])
    about = pairs.drop_duplicates("plant").set_index("plant")[["concept", "layers"]].to_dict("index")
    blocks = [(number, *block) for number, part in scores.groupby(plants, sort=False) for block in _cut(part, sizes)]
    if not blocks:
        raise InputError(f"got plants of too few pairs to grade; expected {min(sizes) + MIN_UNITS} or more of each")
    impacts, elsewhere = _impacts(inside for *_, inside, _ in blocks), _impacts(others for *_, others in blocks)
    does, rows = dict(list(elsewhere.groupby("concept"))), []
    for controls in (False, True):
        called = rule(impacts if controls else impacts[impacts["method"] == "patch"])
        for name, own in called.groupby("concept", sort=False):
            plant, size, *_ = blocks[int(str(name))]
            case = {"plant": plant, "concept": about[plant]["concept"], "pairs": size, "controls": controls}
            rows.append(case | _count(own, does[name], {str(layer) for layer in about[plant]["layers"]}))
    return pd.DataFrame(rows)


def _cut(scores: pd.DataFrame, sizes: Sequence[int]) -> Iterator[tuple[int, pd.DataFrame, pd.DataFrame]]:
    """Cut a plant into blocks of pairs: the size of each, its scores, and those of all other pairs without controls."""
    names = scores["pair"].unique()
    for size in [size for size in sizes if size <= len(names) - MIN_UNITS]:
        for start in range(0, len(names) - size + 1, size):
            inside = scores["pair"].isin(names[start : start + size])
            yield size, scores[inside], scores[~inside & (scores["method"] == "patch")]


def _impacts(blocks: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """The impacts of blocks, with the number of each in the place of its concept, so that a rule takes them apart."""
    names = ((str(number), block, block.iloc[0]) for number, block in enumerate(blocks))
    return impact_of(((one["checkpoint"], one["model"], name, one["metric"]), block) for name, block, one in names)


def _count(called: pd.DataFrame, elsewhere: pd.DataFrame, planted: set[str]) -> dict[str, Any]:
    """Count what is called in a block, by what its plant does on the other pairs."""
    works = elsewhere["known"] & (elsewhere["impact"] >= MIN_IMPACT)
    carrying, names = planted & set(elsewhere.loc[works, "layers"]), set(called.loc[called["functional"], "layers"])
    return {
        "null": not (planted and elsewhere["known"].any()),
        "unknown": not called["known"].any(),
        "layers": len(called),
        "planted": len(planted),
        "carrying": len(carrying),
        "called": len(names),
        "right": len(names & planted),
        "found": len(names & carrying),
    }


def summarise(grades: pd.DataFrame) -> pd.DataFrame:
    """Average what :func:`grade` counts over plants, each of which counts once.

    Returns:
        ``pairs, controls, measure`` (of :data:`MEASURES`), ``value, low, high`` (Wilson's interval, plants as trials),
        ``plants`` (of which it could be taken) and ``known`` (whether of any).
    """
    counts = grades.assign(
        wrong=grades["called"] - grades["right"],
        bare=grades["layers"] - grades["planted"],
        named=grades["null"] & (grades["called"] > 0),
        silent=grades["null"] & grades["unknown"],
        live=grades["planted"].where(~grades["null"], 0),
        hit=grades["right"].where(~grades["null"], 0),
    )
    rows = [
        {"pairs": size, "controls": controls, "measure": measure, **_mean_share(part, hits, trials)}
        for (size, controls), part in counts.groupby(["pairs", "controls"])
        for measure, (hits, trials) in MEASURES.items()
    ]
    return pd.DataFrame(rows)


def _mean_share(part: pd.DataFrame, hits: str, trials: str) -> dict[str, float]:
    sums = part.groupby("plant")[[hits, trials]].sum()
    shares = (sums[hits] / sums[trials])[sums[trials] > 0]
    low, high = proportion(shares.sum(), len(shares)) if len(shares) else (0.0, 1.0)
    return {"value": shares.mean(), "low": low, "high": high, "plants": len(shares), "known": len(shares) > 0}
