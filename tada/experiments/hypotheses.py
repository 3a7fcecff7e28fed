"""Claims of the paper and against it as hypotheses, and the rule that decides them.

Each is an effect with a 95 % interval and a bar. Wholly above the bar it is supported on that checkpoint, wholly below
contradicted, else undecided. A claim that two things are equal has a margin in the place of a bar: supported where the
interval lies within it on either side of 0, contradicted where it lies outside. Bars and margins are ours.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from typing import Any

import numpy as np
import pandas as pd

from tada.concepts import steered as prompts
from tada.experiments import benchmark, dispute, leakage
from tada.experiments.claims import CONTRADICTED, SUPPORTED, Effect, Evidence, status
from tada.experiments.claims import measures as of
from tada.experiments.claims.agreement import spearman
from tada.experiments.dispute import COLUMNS
from tada.experiments.table_1 import Table1, load_localisation
from tada.patching import impact, split_pairs
from tada.stats import ABOVE, BELOW, TOO_FEW, UNDECIDED, bootstrap, decide, draws, mean_interval, named_seed

TRUTH = "probe"
"""The judge that ears are held against."""


@dataclass(frozen=True)
class Hypothesis:
    """A claim of the dispute.

    Attributes:
        name: short, for tables.
        says: what is claimed, in our words.
        who: claims it, and of which model.
        number: of theirs.
        test: what is measured here, in words.
        bar: what the effect must exceed.
        margin: above 0, of a claim that two things are equal: what the effect must stay within on either side of 0.
        change: what would change the verdict.
    """

    name: str
    says: str
    who: str
    number: str
    test: str
    change: str
    bar: float = 0.0
    margin: float = 0.0


HYPOTHESES = tuple(
    Hypothesis(**row) for row in json.loads(files("tada.data").joinpath("dispute.json").read_text("utf-8"))
)


@dataclass(frozen=True, eq=False)
class Findings:
    """What was measured on one checkpoint.

    Attributes:
        model: the architecture.
        checkpoint: ``"mini"`` or another.
        values: of studies, columns as in ``tada.experiments.dispute``.
        results: of the benchmark, as from ``tada.experiments.benchmark.compute``; None if there are none.
        cells: its table, as from ``tada.experiments.benchmark.make_table``.
        slopes: of leakage, as from ``tada.experiments.leakage.prompt_slopes``.
        scores: of a localisation, as from ``tada.patching.sweep``.
    """

    model: str
    checkpoint: str
    values: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=COLUMNS))
    results: pd.DataFrame | None = None
    cells: pd.DataFrame | None = None
    slopes: pd.DataFrame | None = None
    scores: pd.DataFrame | None = None

    def judges(self, study: str) -> list[str]:
        """Judges of a study."""
        return [str(name) for name in self.values.loc[self.values["study"] == study, "judge"].unique()]

    @cached_property
    def evidence(self) -> Evidence:
        """The benchmark, as claims are tested on it."""
        return Evidence(self.model, self.checkpoint, results=self.results)


def collect(
    table: Table1,
    methods: Sequence[str] = tuple(benchmark.METHODS),
    studies: Sequence[str] = tuple(dispute.STUDIES),
    workers: int = 1,
) -> Findings:
    """Compute, or find, all that hypotheses are tested on: benchmark, leakage, studies, and a finished localisation."""
    config = table.config
    results = benchmark.compute(table, methods, workers)
    slopes = leakage.prompt_slopes(leakage.measure(table, workers))
    values = pd.concat([dispute.of_benchmark(results), dispute.measure(table, studies, workers)], ignore_index=True)
    cells, scores = benchmark.make_table(table, results), load_localisation(config)[0]
    known = config.checkpoint in ("mini", "public")
    checkpoint = config.checkpoint if known else table.work.model.checkpoint
    return Findings(config.name, checkpoint, values, results, cells, slopes, scores)


Test = Callable[[Findings], dict[str, Effect]]
"""Judge -> effect; nothing where what it needs was not measured."""


# ---- tests


def contrast(study: str, weights: Mapping[str, float], share_of: str = "") -> Test:
    """Make the test of a weighted sum of conditions of a study, mean of concepts, or its share of another condition.

    Units are drawn anew for every concept; all conditions of a concept have the same.

    Args:
        study: a name in ``tada.experiments.dispute.STUDIES``.
        weights: condition -> weight.
        share_of: condition that the sum is divided by; where its own interval holds 0 there is no share.
    """

    def test(found: Findings) -> dict[str, Effect]:
        some = found.values[found.values["study"] == study]
        effects = {judge: _contrast(some[some["judge"] == judge], weights, share_of) for judge in found.judges(study)}
        return {judge: effect for judge, effect in effects.items() if effect is not None}

    return test


def _contrast(values: pd.DataFrame, weights: Mapping[str, float], share_of: str) -> Effect | None:
    sums, wholes, units = [], [], []
    for concept, part in values.groupby("concept", sort=False):
        wide = part.pivot_table("value", "unit", "condition")
        if not {*weights, *([share_of] if share_of else [])} <= set(wide):
            continue
        wide = wide.dropna(subset=[*weights, *([share_of] if share_of else [])])
        drawn = draws(max(len(wide), 1), seed=named_seed(str(concept)))
        if len(wide) > 1:
            sums.append(drawn @ sum(weight * wide[name] for name, weight in weights.items()))
            wholes.append(drawn @ wide[share_of] if share_of else np.ones(len(drawn)))
            units.append(len(wide))
    if not sums:
        return None
    over = f"mean of {len(sums)} concepts, {min(units)} units each"
    total, whole, strata = np.mean(sums, axis=0), np.mean(wholes, axis=0), len(sums)
    low, high = bootstrap(whole, min(units), strata=strata)
    if share_of and low <= 0 <= high:
        return Effect.undefined(f"{share_of}: its own effect cannot be told from 0", strata * min(units))
    return Effect.of(total / whole, min(units), over, strata)


def area(row: str, other: str) -> Test:
    """Make the test of the area (AUC) of a row of the benchmark less that of another, as far as both get."""

    def test(found: Findings) -> dict[str, Effect]:
        if found.results is None:
            return {}
        effects = {judge: of.steered(of.area, row, other)(found.evidence, judge) for judge in found.evidence.judges()}
        return {judge: effect for judge, effect in effects.items() if effect is not None}

    return test


def same_order(found: Findings) -> dict[str, Effect]:
    """Rank correlation over arms of the areas by a judge and by the probe, mean of concepts, which are the units."""
    if found.cells is None:
        return {}
    areas = found.cells[found.cells["column"].str.startswith("auc ")]
    wide = areas.assign(judge=areas["column"].str.removeprefix("auc ")).pivot_table(
        "value", ["concept", "method", "layers"], "judge"
    )
    if TRUTH not in wide:
        return {}
    effects = {}
    for judge in (name for name in wide if name != TRUTH):
        by = [spearman(part[judge], part[TRUTH]) for _, part in wide.groupby("concept") if part[judge].notna().all()]
        known = [value for value in by if not np.isnan(value)]
        if known:
            effects[str(judge)] = _over_concepts(known)
    return effects


def specific(found: Findings) -> dict[str, Effect]:
    """How many times further a slider moves its own concept than the others, mean of concepts, which are the units."""
    if found.slopes is None:
        return {}
    known = leakage.specificity(found.slopes).dropna(subset=["ratio"])
    return {str(judge): _over_concepts(part["ratio"].tolist()) for judge, part in known.groupby("judge", sort=False)}


def stable_helps(found: Findings) -> dict[str, Effect]:
    """Rank correlation over concepts of split-half stability and of the area that functional layers gain."""
    if found.scores is None or found.cells is None:
        return {}
    known, effects = stability(found.scores), {}
    areas = found.cells[found.cells["column"].str.startswith("auc ") & (found.cells["method"] == "CAA")]
    for column, part in areas.groupby("column", sort=False):
        wide = part.pivot_table("value", "concept", "layers")
        wide["stable"] = [known.get(prompts.get(str(name)).poles[0], np.nan) for name in wide.index]
        wide = wide.dropna(subset=["stable", "functional", "all"])
        if len(wide) < 3:
            continue
        gain, stable = (wide["functional"] - wide["all"]).to_numpy(), wide["stable"].to_numpy()
        times = (draws(len(wide), 200) * len(wide)).round().astype(int)
        values = np.array([spearman(np.repeat(gain, one), np.repeat(stable, one)) for one in times])
        over = f"{len(wide)} concepts"
        effects[str(column).removeprefix("auc ")] = Effect.of(values, len(wide), over, most=1.0)
    return effects


def stability(scores: pd.DataFrame) -> dict[str, float]:
    """Concept -> rank correlation of the impacts of single layers between two halves of the pairs."""
    halves = []
    for half in split_pairs(scores):
        impacts = impact(half, resamples=2)
        single = impacts[(impacts["method"] == "patch") & impacts["layers"].str.isdigit()]
        halves.append(single.pivot_table("impact", "concept", "layers"))
    one, other = halves
    return {str(name): spearman(one.loc[name], other.loc[name]) for name in one.index.intersection(other.index)}


def _over_concepts(values: Sequence[float]) -> Effect:
    return Effect(*mean_interval(values), f"mean of {len(values)} concepts", len(values))


TESTS: Mapping[str, Test] = {
    "localised CAA": area("functional", "all"),
    "localised is worse": area("all", "functional"),
    "localised PCI": area("PCI, all", "PCI, functional"),
    "localised AUSteer": area("AUSteer, functional", "AUSteer, all"),
    "SAE leads": area("sae", "functional"),
    "keys and values": contrast("decomposition", {"K/V patch": 1.0}, "prompt"),
    "outputs carry less": contrast("decomposition", {"K/V patch": 1.0, "output patch": -1.0}, "prompt"),
    "a third of the patch": contrast("decomposition", {"K/V patch": 1 / 3, "same-pair vector": -1.0}, "prompt"),
    "a mean is no worse": contrast("decomposition", {"mean vector": 1.0, "same-pair vector": -1.0}, "prompt"),
    "fifty pairs are enough": contrast("pairs", {"cosine, the paper's pairs": 1.0}),
    "few pairs suffice": contrast("pairs", {"fewest pairs": 1.0}, "most pairs"),
    "random vectors": contrast("controls", {"CAA": 1.0, "random vector": -4.0}),
    "self-attention": contrast("sites", {"self-attention": 1.0, "cross-attention": -1.0}),
    "renorm": contrast("manner", {"without renorm": 1.0, "as it is": -1.0}, "as it is"),
    "one pass": contrast("manner", {"as it is": 1.0, "both passes": -1.0}, "as it is"),
    "no guidance": contrast("sampling", {"all, no guidance": 1.0, "functional, no guidance": -1.0}),
    "few steps": contrast("sampling", {"all, fewest steps": 1.0, "functional, fewest steps": -1.0}),
    "many steps": contrast("sampling", {"functional, most steps": 1.0, "all, most steps": -1.0}),
    "stacks fail": contrast("stacking", {"alone": 0.5, "sum": -1.0}, "alone"),
    "Gram-Schmidt": contrast("stacking", {"Gram-Schmidt": 1.0, "sum": -1.0}, "alone"),
    "clamping": contrast("stacking", {"clamp": 1.0, "sum": -1.0}, "alone"),
    "layers that carry it": contrast("plants", {"planted": 1.0, "all": -1.0}),
    "layers that do not": contrast("plants", {"planted": 1.0, "others": -1.0}),
    "less than the prompt": contrast("plants", {"prompt of the plant": 1.0, "planted": -1.0}),
    "specific": specific,
    "stable layers": stable_helps,
    "ears rank as truth": same_order,
}
"""Hypothesis -> its test."""


def conditions(found: Findings) -> pd.DataFrame:
    """Average every condition of every study over concepts: ``study, judge, condition, value, low, high, over``."""
    cases = found.values[["study", "judge", "condition"]].drop_duplicates()
    tested = cases.drop_duplicates(["study", "condition"]).itertuples(index=False)
    effects = {(study, condition): contrast(study, {condition: 1.0})(found) for study, _, condition in tested}
    rows = []
    for study, judge, condition in cases.itertuples(index=False):
        effect = effects[study, condition].get(judge)
        if effect is not None:
            rows.append((study, judge, condition, effect.value, effect.low, effect.high, effect.over))
    return pd.DataFrame(rows, columns=["study", "judge", "condition", "value", "low", "high", "over"])


# ---- verdicts


def verdict(effect: Effect | None, bar: float = 0.0, margin: float = 0.0) -> str:
    """Decide a hypothesis by its effect: as ``tada.experiments.claims.status``, or by a margin on either side of 0."""
    if effect is None or not margin:
        return status(effect, bar)
    lower, upper = (decide(effect.low, effect.high, effect.units, end) for end in (-margin, margin))
    if TOO_FEW in (lower, upper):
        return TOO_FEW
    if (lower, upper) == (ABOVE, BELOW):
        return SUPPORTED
    return CONTRADICTED if upper == ABOVE or lower == BELOW else UNDECIDED


def settle(findings: Sequence[Findings], hypotheses: Iterable[Hypothesis] = HYPOTHESES) -> pd.DataFrame:
    """Put hypotheses to the test on checkpoints.

    Returns:
        A row a hypothesis, checkpoint and judge: ``hypothesis, model, checkpoint, judge, value, low, high, over, units,
        status``; one without values where nothing was measured.
    """
    rows: list[dict[str, Any]] = []
    for one in hypotheses:
        for found in findings:
            about = {"hypothesis": one.name, "model": found.model, "checkpoint": found.checkpoint}
            effects: Mapping[str, Effect | None] = TESTS[one.name](found) or {"": None}
            for judge, effect in effects.items():
                values = effect._asdict() if effect else {"over": ""}
                rows.append({**about, "judge": judge, **values, "status": verdict(effect, one.bar, one.margin)})
    columns = ["hypothesis", "model", "checkpoint", "judge", "value", "low", "high", "over", "units", "status"]
    return pd.DataFrame(rows, columns=columns)
