"""The dispute: what would have to be measured if a claim of the paper, or one against it, is true of a model.

A study steers the same prompts in ways that differ in one thing, and every prompt has a value under each condition. A
hypothesis is an effect on these values, or on the benchmark's areas, held against a bar by
:func:`tada.experiments.hypotheses.settle`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from tada.concepts import steered as prompts
from tada.engine import units
from tada.errors import check_name
from tada.experiments import benchmark, planted, steering, table_1
from tada.experiments.benchmark import CONTROL, JUDGES
from tada.experiments.profiles import first_seed
from tada.experiments.table_1 import Table1
from tada.io import read_signed, write_signed
from tada.models.base import Model
from tada.patching import draw_plant
from tada.steering import Arm, PromptArm, RecordedArm, Vector, library, pair_means, steer, switch_prompt
from tada.steering.arms import BASELINE, Way
from tada.store import Store, shipped

COLUMNS = ["study", "concept", "unit", "condition", "judge", "value"]
"""Of the values of studies: ``unit`` is what was drawn independently, a prompt or a block of pairs."""

PAPERS_PAIRS = 50
"""Prompt pairs of a vector in the paper."""

BLOCKS = 8
"""Vectors of one number of pairs, at most; each of pairs of its own."""

Study = Callable[[Table1, str], pd.DataFrame]


def run(table: Table1, concept: str, ways: Sequence[Way], percents: Sequence[float]) -> pd.DataFrame:
    """Steer the prompts of results by some ways, and take how far each prompt moves by every judge.

    Returns:
        ``concept, unit`` (prompt), ``condition`` (method), ``judge, value``: from the lowest to the highest strength.
    """
    trial, store = benchmark.result_trial(table, concept), Store(table.kept("evaluation"))
    return movements(steer(table.work.model, ways, trial, percents, table.suite, store))


def movements(rows: pd.DataFrame) -> pd.DataFrame:
    """Take how far each prompt moves from the lowest to the highest strength, as from :func:`run`."""
    plain, found = rows[rows["method"] == BASELINE], []
    steered = rows[(rows["method"] != BASELINE) & rows["metric"].isin(JUDGES)]
    for (concept, method, judge), part in steered.groupby(["concept", "method", "metric"], sort=False):
        own = plain[(plain["concept"] == concept) & (plain["metric"] == judge)]
        ends = steering.ends(pd.concat([own, part]))
        about = {"concept": concept, "condition": method, "judge": judge}
        units = ends.index.get_level_values("prompt")
        found.append(pd.DataFrame({**about, "unit": units, "value": (ends.iloc[:, 1] - ends.iloc[:, 0]).to_numpy()}))
    return pd.concat(found, ignore_index=True)


# ---- studies


def decompose(table: Table1, concept: str) -> pd.DataFrame:
    """What of a concept do keys and values carry, what the outputs, what their mean difference, what a mean vector?

    On the functional layers, where they are known: the positive prompt in their place, the outputs of its run, the
    difference of frame means of the very same pair, and that over other pairs.
    """
    steps, layers = float(benchmark.count_steps(table)), table.work.layer_sets[0]
    said, setting = benchmark.poles(table, concept), benchmark.result_trial(table, concept).setting
    vector = benchmark.fit(table, concept, "difference", layers)
    ways: list[Way] = [
        PromptArm("prompt", switch_prompt, said, "all", (steps, steps)),
        PromptArm("K/V patch", switch_prompt, said, layers, (steps, steps)),
        RecordedArm("output patch", "outputs", said, setting, layers),
        RecordedArm("same-pair vector", "means", said, setting, layers),
        Arm("mean vector", vector, layers, (1.0, 1.0), renorm=False),
    ]
    return run(table, concept, ways, [100.0])


def vary_pairs(table: Table1, concept: str) -> pd.DataFrame:
    """How many pairs does a vector need: how well it points where that of other pairs does, and how far it moves.

    Pairs beyond the paper's fifty are the same prompts with other noise. Blocks of pairs are the units of cosines.
    """
    work, layers = table.work, table.work.layer_sets[0]
    counts = benchmark.size_of(table).pairs
    vectors = vectors_of_blocks(table, concept, counts)
    arm, rest, found, ways = benchmark.ranged_caa(table, concept), vectors["rest"][0], [], []
    for name, count in named_counts(counts).items():
        blocks = vectors[str(count)]
        found += [
            {"concept": concept, "condition": f"cosine, {name}", "unit": f"block {i}", "judge": "", "value": value}
            for i, value in enumerate(cosine(block, rest) for block in blocks)
        ]
        ways.append(Arm(name, blocks[0].of(work.model), layers, arm.scale))
    return pd.concat([pd.DataFrame(found), run(table, concept, ways, [-100.0, 100.0])], ignore_index=True)


def named_counts(counts: Sequence[int]) -> dict[str, int]:
    """Name the fewest and the most pairs, and the most that are not more than the paper's."""
    papers = max((count for count in counts if count <= PAPERS_PAIRS), default=min(counts))
    return {"fewest pairs": min(counts), "the paper's pairs": papers, "most pairs": max(counts)}


def vectors_of_blocks(table: Table1, concept: str, counts: Sequence[int]) -> dict[str, list[Vector]]:
    """Fit vectors from blocks of so many pairs each, at most :data:`BLOCKS` of a count, or find them.

    Returns:
        Pairs of a block -> vectors; ``"rest"``: one from as many pairs as the largest block, none of which is in any.
    """
    work, most = table.work, max(counts)
    about = {"what": "blocks of pairs", "concept": concept, "counts": list(counts), "blocks": BLOCKS}
    about |= {"vocabulary": work.vocabulary, "sites": list(work.model.resolve(work.layer_sets[0]))}
    made_by = units(work.model, work.setting, None, [about])[0]
    place = table.kept("benchmark-pairs") / f"{made_by[:16]}.safetensors"

    def make() -> None:
        means = difference_of_pairs(table, concept, 3 * most)
        starts = [(str(n), range(at, at + n)) for n in counts for at in range(0, 2 * most - n + 1, n)[:BLOCKS]]
        starts.append(("rest", range(2 * most, 3 * most)))
        blocks = {f"{name} {pairs.start}": block_vector(means, pairs) for name, pairs in starts}
        tensors = {f"{name} {site}": own for name, one in blocks.items() for site, own in one.directions.items()}
        write_signed(place, place.with_suffix(".json"), tensors, about)

    shipped.keep(made_by, place, make)
    found: dict[str, dict[str, dict[str, Tensor]]] = {}
    for name, own in read_signed(place, place.with_suffix(".json"))[0].items():
        count, start, site = name.split(" ", 2)
        found.setdefault(count, {}).setdefault(start, {})[site] = own
    return {count: [Vector(own[start]) for start in sorted(own, key=int)] for count, own in found.items()}


def difference_of_pairs(table: Table1, concept: str, count: int) -> dict[str, Tensor]:
    """Site -> difference of frame means of each of so many pairs, ``[steps, pairs, dim]``."""
    work, pairs = table.work, prompts.pairs(concept, table.work.vocabulary, "revised")
    places = [place % len(pairs.positive) for place in range(count)]
    sides = [[side[place] for place in places] for side in (pairs.positive, pairs.negative)]
    setting = replace(work.setting, lyrics=pairs.lyrics if work.model.sings else None, batch=16)
    seed = first_seed("contrast", list(prompts.CONCEPTS).index(concept)) + 1000
    kept = pair_means(work.model, sides[0], sides[1], seed, setting, work.layer_sets[0])
    return {site: both[:, :, 0].cpu() - both[:, :, 1].cpu() for site, both in kept.items()}


def block_vector(means: Mapping[str, Tensor], pairs: range) -> Vector:
    """The unit vector of some pairs."""
    return Vector({site: own[:, list(pairs)].mean(1) for site, own in means.items()}).unit()


def cosine(one: Vector, other: Vector) -> float:
    """Mean cosine of two unit vectors over sites and steps."""
    parts = [(own * other.directions[site]).sum(-1) for site, own in one.directions.items()]
    return float(torch.cat(parts).mean())


def compare_sites(table: Table1, concept: str) -> pd.DataFrame:
    """Does CAA do more at self-attention than at cross-attention of the same blocks, at equal distance?"""
    work, layers = table.work, table.work.layer_sets[0]
    sites = self_attention(work.model, layers)
    if not sites:
        return pd.DataFrame(columns=COLUMNS[1:])
    model = copy.copy(work.model)
    model.residuals = sites
    recipe = replace(steering.recipe(work, concept), sites=sites)
    vector = library.fit(model, recipe, table.kept("benchmark-self-attention"))
    own = replace(table, work=replace(work, model=model))
    arms = {"cross-attention": benchmark.ranged_caa(table, concept), "self-attention": Arm("CAA", vector, sites)}
    arms["self-attention"] = benchmark.range_way(own, concept, arms["self-attention"])
    ways = [replace(arm, method=method) for method, arm in arms.items()]
    return run(own, concept, ways, [-100.0, 100.0])


def self_attention(model: Model, layers: object) -> tuple[str, ...]:
    """Attention of the blocks of layers that reads no text: siblings of sites that make queries, too."""
    names = []
    for site in model.resolve(layers):  # type: ignore[arg-type]
        block = site.rpartition(".")[0]
        siblings = model.denoiser.get_submodule(block).named_children()
        names += [f"{block}.{name}" for name, module in siblings if hasattr(module, "to_q")]
    return tuple(dict.fromkeys(name for name in names if name not in model.sites))


def vary_manner(table: Table1, concept: str) -> pd.DataFrame:
    """Does it matter whether lengths are kept, and whether both guidance passes are steered?"""
    arm = benchmark.ranged_caa(table, concept)
    ways = [
        replace(arm, method="as it is"),
        replace(arm, method="without renorm", renorm=False),
        replace(arm, method="both passes", passes="both"),
    ]
    return run(table, concept, ways if is_guided(table) else ways[:2], [-100.0, 100.0])


def is_guided(table: Table1) -> bool:
    """Whether clips are made with guidance."""
    return table.work.model.sampling(table.work.setting.sampling).is_guided


def vary_sampling(table: Table1, concept: str) -> pd.DataFrame:
    """Do functional and all layers compare otherwise with fewer or more steps, or without guidance?

    Vectors and ranges are found anew for each; both end at one distance.
    """
    counts = benchmark.size_of(table).steps
    changes: dict[str, dict[str, Any]] = {
        "fewest steps": {"steps": min(counts)},
        "most steps": {"steps": max(counts)},
        "no guidance": {"guidance": 1.0},
    }
    parts = []
    for name, change in changes.items():
        model, setting = table.work.model, table.work.setting
        setting = replace(setting, sampling=model.sampling(setting.sampling, **change))
        store = f"{table.config.store}/{name.replace(' ', '-')}"
        own = replace(table, work=replace(table.work, setting=setting), config=replace(table.config, store=store))
        for layers in own.work.layer_sets[:2]:
            way = benchmark.range_way(own, concept, benchmark.caa(own, concept, layers))
            parts.append(run(own, concept, [replace(way, method=f"{layers}, {name}")], [-100.0, 100.0]))
    return pd.concat(parts, ignore_index=True)


def stack(table: Table1, concept: str) -> pd.DataFrame:
    """Does a slider keep moving its concept when those of others are on, too?"""
    others = [name for name in table.config.concepts if name != concept]
    chosen = [concept, *others][: benchmark.size_of(table).stack]
    if len(chosen) < 2:
        return pd.DataFrame(columns=COLUMNS[1:])
    rows = benchmark.steer_together(table, chosen)
    own = rows[rows["metric"].str.endswith(f": {concept}")]
    judges, methods = own["metric"].str.split(": ").str[0], own["method"].str.replace(r" of \d+$", "", regex=True)
    own = own.assign(metric=judges, method=methods)
    found = movements(own[~own["method"].isin([f"alone: {name}" for name in others])])
    return found.replace({"condition": {f"alone: {concept}": "alone"}})


def steer_plants(table: Table1, concept: str) -> pd.DataFrame:
    """Does CAA do more at the layers that read the concept than at all, or at the others, at equal distance?

    All three end as far from the unsteered clips as the planted layers' own prompt does. A prompt's movement is the
    mean over plants, whose layers are those of the page of known answers.
    """
    model, steps, parts = table.work.model, float(benchmark.count_steps(table)), []
    for number in range(benchmark.size_of(table).plants):
        read = draw_plant(model, number)
        others = [layer for layer in range(len(model.sites)) if layer not in read]
        vector, cutoffs = planted.find_vector(table, concept, read), benchmark.prompt_cutoffs(table, concept, read)
        ways: list[Way] = [
            PromptArm("prompt of the plant", switch_prompt, benchmark.poles(table, concept), read, (steps, steps))
        ]
        for method, layers in (("planted", read), ("all", "all"), ("others", others)):
            ways.append(benchmark.range_way(table, concept, Arm(method, vector, layers), cutoffs))
        parts.append(run(table, concept, ways, [-100.0, 100.0]))
    return pd.concat(parts).groupby(COLUMNS[1:5], as_index=False, sort=False)[["value"]].mean()


STUDIES: Mapping[str, Study] = {
    "decomposition": decompose,
    "pairs": vary_pairs,
    "sites": compare_sites,
    "manner": vary_manner,
    "sampling": vary_sampling,
    "stacking": stack,
    "plants": steer_plants,
}
"""Name -> what is varied."""


def measure(table: Table1, studies: Sequence[str] = tuple(STUDIES), workers: int = 1) -> pd.DataFrame:
    """Run studies on the concepts of a table; columns are :data:`COLUMNS`. What is in the store is not made again."""
    for study in studies:
        check_name("study", study, STUDIES)
    cases = list(product(studies, table.config.concepts))
    table_1.work_ahead(table, workers, [(STUDIES[study], name) for study, name in cases])
    parts = [STUDIES[study](table, name).assign(study=study) for study, name in cases]
    return pd.concat(parts, ignore_index=True)[COLUMNS].astype({"value": float})  # studies without rows know no type


def of_benchmark(results: pd.DataFrame) -> pd.DataFrame:
    """Take the movement by CAA on the functional layers, and by random vectors on average, from the benchmark."""
    caa = (results["method"] == "CAA") & (results["layers"] == "functional")
    random = results["method"].str.startswith(f"{CONTROL}random")
    some = results[(caa | random | (results["method"] == BASELINE)) & results["percent"].isin([-100.0, 0.0, 100.0])]
    found = movements(some)
    found["condition"] = found["condition"].where(found["condition"] == "CAA", "random vector")
    means = found.groupby(["concept", "unit", "condition", "judge"], as_index=False, sort=False)["value"].mean()
    return means.assign(study="controls")[COLUMNS]
