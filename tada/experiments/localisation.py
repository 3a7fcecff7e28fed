"""A localisation: pairs by profile, their sweep, controls, and the layers that are called functional."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tada import concepts as concept_table
from tada import pairs as prompt_pairs
from tada import patching
from tada.engine import Setting
from tada.engine.pool import processes
from tada.errors import InputError
from tada.experiments.experiment import Experiment, load_model
from tada.experiments.profiles import first_seed, get_profile
from tada.io import write_json
from tada.metrics.judges import Judge, as_judge, make_judge
from tada.models import ARCHITECTURES
from tada.models.base import Model
from tada.models.hub import PUBLISHED
from tada.pairs import Captions
from tada.store import UNIT, Store

SEEDS_OF_PAIR = 16
"""Seeds that are kept for a pair; it has the same whatever else is localised."""


def plan(
    name: str,
    checkpoint: str | Path | None = None,
    profile: str = "mini",
    *,
    judge: str | Judge = "",
    captions: Captions = None,
    steps: int | None = None,
    seconds: float | None = None,
) -> Experiment:
    """Load a model and settle how it is localised.

    Args:
        name: the architecture, as for ``tada.load``.
        checkpoint: as for :func:`tada.experiments.experiment.load_model`.
        profile: a name in :data:`tada.experiments.profiles.PROFILES`.
        judge: of clips, or its name as for :func:`tada.metrics.judges.make_judge`.
        captions: as for ``tada.pairs.build``.
        steps, seconds: in place of the profile's.

    Raises:
        KeyError: an unknown architecture or profile. ValueError: no such judge. OSError: a checkpoint that cannot be
            had.
    """
    size = get_profile(profile)
    asked = None if checkpoint in ("", "public") else checkpoint
    judge = make_judge(judge, asked) if isinstance(judge, str) else as_judge(judge)
    if captions is not None:
        captions = prompt_pairs.read(captions)  # what is wrong with them is said before a model is loaded
    model = load_model(name, checkpoint)
    length = next(each for each in (seconds, size.localisation.seconds, model.default_seconds) if each is not None)
    sampling = model.sampling(size.localisation.preset, steps=size.localisation.steps if steps is None else steps)
    return Experiment(model, Setting(length, sampling), judge, size, model.vocabulary, captions)


def scores_folder(store: str | Path, name: str, checkpoint: str) -> Path:
    """Where the page of localisation keeps its scores of a checkpoint."""
    return Path(store) / f"{name}-{checkpoint if len(checkpoint) < 12 else 'own'}"


def build_pairs(
    work: Experiment,
    concepts: Sequence[str] = (),
    rules: str = "paper",
    limit: int | None = None,
    block: str = "localisation",
    seeds: int | None = None,
) -> pd.DataFrame:
    """Build the pairs of a localisation.

    Args:
        concepts: which; none for the profile's, which are all of the rule set but for ``smoke``.
        rules: as for ``tada.pairs.build``.
        limit: pairs a concept, in place of the profile's.
        block: of seeds, in ``tada.experiments.profiles.SEEDS``.
        seeds: of a pair, in place of the profile's.

    Returns:
        As from ``tada.pairs.build``, with ``seed``, the first of each pair's own, and ``seeds``, how many it has;
        ``attrs["left_out"]`` names the concepts that the judge does not know.

    Raises:
        KeyError: an unknown concept. ValueError: no concept that the judge knows, too many seeds. OSError: captions
            that cannot be had.
    """
    size = work.profile.localisation
    asked, seeds = tuple(concepts) or size.concepts, seeds or size.seeds
    if seeds > SEEDS_OF_PAIR:
        raise InputError(f"got {seeds} seeds a pair; expected at most {SEEDS_OF_PAIR}, so that no two pairs share one")
    names = [concept_table.get(item, rules).name for item in asked or concept_table.names(rules)]
    known, left_out = split_known(work.judge, names)
    limit = size.pairs if limit is None else limit
    pairs = prompt_pairs.build(work.captions, known if asked or left_out else None, rules, 2 * limit)
    cut = [  # pairs with a prompt that the model does not read to its end come last
        any(work.model.heard(text, work.setting.sampling) != text for text in both)
        for both in pairs[["target", "source"]].to_numpy()
    ]
    pairs = select_pairs(pairs.iloc[np.lexsort((np.array(cut), pairs["concept"].factorize()[0]))], limit)
    first = pairs["concept"].map({name: first_seed(block, i) for i, name in enumerate(concept_table.names(rules))})
    pairs["seed"] = first + SEEDS_OF_PAIR * pairs.groupby("concept").cumcount()
    pairs["seeds"] = seeds
    pairs.attrs["left_out"] = left_out
    return pairs


def split_known(judge: Judge, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split concepts into those that a judge knows and those that it does not; ValueError if it knows none."""
    known = [name for name in names if judge.knows(name)]
    left_out = [name for name in names if name not in known]
    if not known:
        others = [name for name in concept_table.names("paper") if judge.knows(name)]
        raise InputError(f"{judge.label} knows none of {', '.join(left_out)}; it knows {', '.join(others)}")
    return known, left_out


def select_pairs(pairs: pd.DataFrame, limit: int) -> pd.DataFrame:
    """Select the first ``limit`` pairs of each concept."""
    chosen = pairs.groupby("concept", sort=False).head(limit).reset_index(drop=True)
    chosen.attrs = pairs.attrs
    return chosen


def count_clips(work: Experiment, pairs: pd.DataFrame, sets: int | None = None, controls: int = 0) -> int:
    """Count the clips that a sweep of so many layer sets (None: every layer) makes."""
    return int(pairs["seeds"].sum()) * (2 + (sets or len(work.model.sites)) * (1 + controls))


def sweep(work: Experiment, pairs: pd.DataFrame, *args: Any, **options: Any) -> pd.DataFrame:
    """Sweep the pairs as :func:`sweep_by_metric`; the scores by the judge's own metric."""
    return next(iter(sweep_by_metric(work, pairs, *args, **options).values()))


def sweep_by_metric(
    work: Experiment,
    pairs: pd.DataFrame,
    layer_sets: patching.LayerSets = None,
    *,
    controls: bool = False,
    store: str | Path | None = None,
    workers: int = 1,
    progress: bool = False,
) -> dict[str, pd.DataFrame]:
    """Sweep the pairs of :func:`build_pairs` as ``tada.patching.sweep``, with what the experiment settles.

    Args:
        controls: whether a paraphrase and an unrelated prompt are routed, too.
        store: folder of the scores; a run that was stopped goes on there.
        workers: processes, each with a model.

    Returns:
        Metric -> scores of the same clips, the judge's own metric first.
    """
    pairs = prompt_pairs.with_controls(pairs, work.captions) if controls else pairs
    with processes(workers) as executor:
        setting = replace(work.setting, progress=progress, executor=executor)
        seeds = seeds_of(pairs)
        scores = patching.sweep(work.model, pairs, seeds, layer_sets, setting, score=work.judge, store=store)
    return {str(metric): part.reset_index(drop=True) for metric, part in scores.groupby("metric", sort=False)}


def seeds_of(pairs: pd.DataFrame) -> list[range]:
    """List the seeds of every pair of :func:`build_pairs`: no other pair has them."""
    return [range(first, first + count) for first, count in zip(pairs["seed"], pairs["seeds"], strict=True)]


def load_finished(work: Experiment, pairs: pd.DataFrame, store: str | Path) -> pd.DataFrame | None:
    """Load the scores of every layer that a store has of all concepts; None where it has none, or is not there.

    Those are the scores of the first n pairs of every concept, for the largest n of which all clips were made, with as
    many seeds as that is so for any.
    """
    if not Path(store).is_dir():
        return None
    plan, made = _plan_made(work, pairs, None, store)
    about = pairs.assign(number=pairs.groupby("concept").cumcount()).set_index("pair")
    number, late = plan["pair"].map(about["number"]), plan["seed"] - plan["pair"].map(about["seed"])
    for count in range(int(pairs["seeds"].max()), 0, -1):
        missing = number[(late < count) & ~made]
        finished = plan[(late < count) & (number < (missing.min() if len(missing) else np.inf))]
        if len(finished):
            return _score(work, finished, store)
    return None


def pooled_by_model(
    names: Iterable[str], store: str | Path, checkpoint: str = "mini", profile: str = "mini"
) -> pd.DataFrame:
    """Average the impacts of each layer over concepts, for all architectures of whose sweep a store has scores.

    Args:
        store: folder in which :func:`scores_folder` has a folder for each architecture.

    Returns:
        As from ``tada.patching.pooled_impact``, with ``architecture`` and ``depth``, where in the model the layer is, 0
        to 1.
    """
    parts = [pd.DataFrame(columns=["architecture", "depth", "impact", "low", "high"])]
    for name in names:
        place = scores_folder(store, name, checkpoint)
        if not place.is_dir():  # public models are large
            continue
        work = plan(name, checkpoint, profile)
        scores = load_finished(work, build_pairs(work), place)
        if scores is not None:
            found = patching.pooled_impact(scores)
            depth = found["layers"].astype(int) / (len(work.model.sites) - 1)
            parts.append(found.assign(architecture=name, depth=depth))
    return pd.concat(parts[1:] or parts, ignore_index=True)


def _plan_made(
    work: Experiment, pairs: pd.DataFrame, layer_sets: patching.LayerSets, store: str | Path
) -> tuple[pd.DataFrame, pd.Series]:
    """Plan a sweep, and tell of which of its clips a store has scores."""
    plan = patching.plan_sweep(work.model, pairs, seeds_of(pairs), layer_sets, work.setting, work.judge)
    return plan, plan[UNIT].isin(Store(store).known(plan[UNIT]))


def _score(work: Experiment, plan: pd.DataFrame, store: str | Path) -> pd.DataFrame:
    """Read the scores of a plan by the judge's own metric."""
    scores = patching.score_plan(work.model, plan, work.setting, work.judge, store)
    return scores[scores["metric"] == scores["metric"].iloc[0]].reset_index(drop=True)


def _read(
    work: Experiment, pairs: pd.DataFrame, layer_sets: patching.LayerSets, store: str | Path
) -> pd.DataFrame | None:
    """Read the scores of a finished sweep; None where a clip is missing."""
    plan, made = _plan_made(work, pairs, layer_sets, store)
    return _score(work, plan, store) if made.all() else None


# ---- what is found


def add_controls(work: Experiment, pairs: pd.DataFrame, impacts: pd.DataFrame, **options: Any) -> pd.DataFrame:
    """Add the impacts of controls, at the layers that could be called functional.

    Controls cost as much as what they control, so they are made where they can decide: at each concept's layers that
    the rule would call functional without them, with the first few pairs of the profile. ``impacts`` are those of
    single layers, as from ``tada.patching.impact``; ``options`` are ``store, workers, progress`` of :func:`sweep`.
    """
    called = patching.functional(impacts).query("functional")
    if called.empty:
        return impacts
    sets = {str(name): [int(layer) for layer in part] for name, part in called.groupby("concept")["layers"]}
    some = select_pairs(pairs[pairs["concept"].isin(list(sets))], work.profile.localisation.control_pairs)
    controls = patching.impact(sweep(work, some, sets, controls=True, **options))
    return pd.concat([impacts, controls[controls["method"] != "patch"]], ignore_index=True)


def cumulative_impacts(
    work: Experiment, pairs: pd.DataFrame, order: Iterable[int | str], most: int = 6, **options: Any
) -> pd.DataFrame:
    """Measure the impact of layer sets that grow by one layer at a time, on the first few pairs of each concept.

    Layers are routed in the ``order`` given, ``most`` of them in the largest set.

    Returns:
        As from ``tada.patching.impact``, with ``size`` and ``added``: how many layers, and which the set before lacks.
    """
    sets = patching.nested_sets(list(order), most)
    some = select_pairs(pairs, work.profile.localisation.control_pairs)
    impacts = patching.impact(sweep(work, some, sets, **options))
    size = impacts["layers"].str.count(r"\+") + 1
    return impacts.assign(size=size, added=size.map(lambda count: sets[-1][count - 1]))


def compare_metrics(scores: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Find each concept's strongest single layer by every metric of :func:`sweep_by_metric`, and how alike they rank.

    Returns:
        ``concept, metric``, the strongest ``layers`` with ``impact, low, high, known``, and the rank ``correlation`` of
        the layers' impacts with those by the first metric.
    """
    impacts = patching.impact(pd.concat(scores.values()))
    rows, columns = [], ["concept", "metric", "layers", "impact", "low", "high", "known", "correlation"]
    for _, part in impacts[impacts["layers"].str.fullmatch(r"\d+")].groupby("concept", sort=False):
        wide = part.pivot(index="layers", columns="metric", values="impact")
        alike = wide.corrwith(wide[next(iter(scores))], method="spearman")
        best = part.loc[part.groupby("metric", sort=False)["impact"].idxmax()]
        rows.append(best.assign(correlation=best["metric"].map(alike)))
    return pd.concat(rows, ignore_index=True)[columns]


def measure_together(
    work: Experiment, pairs: pd.DataFrame, scores: pd.DataFrame, made: bool = False, **options: Any
) -> pd.DataFrame | None:
    """Route the functional layers that either half of the pairs chooses, together, on the pairs of the other half.

    At most as many layers are taken as the paper names, the strongest by the ``scores`` of every layer on these pairs.

    Returns:
        Scores as from :func:`sweep` whose layer set is called ``functional``; None where neither half names a layer, or
        with ``made`` where no clips are there.
    """
    parts, halves = [], patching.split_pairs(scores)
    for chooser, other in (halves, halves[::-1]):
        layers = patching.call_pooled(chooser)[: len(ARCHITECTURES[work.model.name].paper_layers)]
        some = pairs[pairs["pair"].isin(other["pair"])].reset_index(drop=True)
        read = _read if made else sweep
        if layers and (found := read(work, some, [layers], **options)) is not None:
            found.loc[~found["layers"].isin(["none", "all"]), "layers"] = "functional"
            parts.append(found)
    return pd.concat(parts, ignore_index=True) if parts else None


# ---- the functional layers of a checkpoint


def measure_functional(
    work: Experiment, pairs: int, concepts: Sequence[str] = (), **options: Any
) -> patching.Functional:
    """Choose a model's functional layers on so many pairs a concept, and seeds, which no page measures with.

    They come after the pairs of the profile ``paper``; ``options`` are ``store, workers, progress`` of :func:`sweep`.
    """
    first = get_profile("paper").localisation.pairs
    table = build_pairs(work, concepts, limit=first + pairs, block="functional")
    table = table[table.groupby("concept").cumcount() >= first].reset_index(drop=True)
    if table.empty:
        raise InputError(f"got captions with at most {first} pairs a concept; expected more, since pages use these")
    return patching.choose_functional(sweep(work, table, **options))


def keep_functional(folder: str | Path, chosen: patching.Functional) -> Path:
    """Write the functional layers of a checkpoint to its ``tada.json``."""
    path = Path(folder) / "tada.json"
    said = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return write_json(path, said | {"functional": chosen._asdict()})


def strongest_layer(model: Model) -> int:
    """Find the functional layer of the highest impact, localised or published; the middle one if none is known."""
    layers = list(model.functional or [len(model.sites) // 2])
    if model.functional_origin == PUBLISHED:
        rows = published().query("model == @model.name and layer in @layers")
        return int(rows.sort_values("impact")["layer"].iloc[-1])
    return layers[0]


@lru_cache
def published() -> pd.DataFrame:
    """Read the average impacts that the authors published for the public checkpoints.

    Returns:
        ``model, layer, impact, block``: ``block`` is True where a block was patched as a whole and its layers share
        one value. Layers that are not listed there are missing.
    """
    return pd.read_csv(str(files("tada.data") / "published_localisation.csv"))
