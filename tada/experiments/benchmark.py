"""The benchmark: ways to steer a concept, all up to one distance, beside controls, judged by ears and by what is known.

Prompts are worded as in the authors' later code: neutral ones say *a song* or *with instrument* where those of either
pole name the concept, so that text can be moved word by word. Every way ends as far from the unsteered clips as the
prompt of the concept does (PCI at all steps), found on prompts that no result uses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import TypeVar

import pandas as pd

from tada import evaluation
from tada.concepts import steered as prompts
from tada.concepts.steered import played
from tada.concepts.table import NINE
from tada.errors import InputError, check_name
from tada.evaluation.results import ALIGNED, Cutoffs
from tada.experiments import steering, table_1
from tada.experiments.profiles import Benchmark, first_seed
from tada.experiments.table_1 import Config, Table1
from tada.metrics.judges import ConceptJudge, EveryConcept, OutsideJudge, ProbeJudge, SignalJudge
from tada.models.base import Layers
from tada.stats import decide, mean_interval
from tada.steering import (
    Arm,
    ClampArm,
    PromptArm,
    Slider,
    SliderArm,
    SliderRecipe,
    StackedArm,
    TokenArm,
    Trial,
    Vector,
    combine,
    guide_apart,
    keep_largest,
    library,
    paraphrases,
    random_like,
    shift_text,
    steer,
    switch_prompt,
    token_vector,
    train_slider,
    unrelated,
)
from tada.steering.arms import BASELINE, Way
from tada.steering.prompted import TEXT_STREAMS, Equation, count_tokens
from tada.steering.ranges import range_by_distance
from tada.store import UNIT, Store, key, shipped

CONTROL = "control: "
"""Begins the methods that ought to leave a concept alone."""

JUDGES = (*ALIGNED, "signal")
"""Metrics that tell how much of a concept a clip has: ears, the probe, musicnn and signal estimators."""

SHARES: Mapping[Layers, float] = {"functional": 0.4}
"""Layer set -> share of the entries that AUSteer keeps (2048 of 5120); of others it is 2048 of 61440."""

NO_PROMPT = "the prompts of {} give the same clips for either pole: is the model trained?"


def default_concepts(mini: bool) -> tuple[str, ...]:
    """Name what is steered where nothing is asked for: what the renderer plays, or the paper's nine."""
    return played() if mini else NINE


def open_benchmark(config: Config) -> Table1:
    """Load the model and the metrics, as ``tada.experiments.table_1.open_table``, for prompts in the later wording.

    Args:
        config: of the table; its scale and wording do not count. Without concepts it has as many of
            :func:`default_concepts` as the profile says.
    """
    table = table_1.open_table(replace(config, wording="revised", scale="paper"))
    usual = default_concepts(table.work.vocabulary == "mini")[: size_of(table).concepts or None]
    return replace(table, config=replace(table.config, concepts=config.concepts or usual))


def size_of(table: Table1) -> Benchmark:
    """How much is computed."""
    return table.work.profile.benchmark


# ---- ways to steer: each makes its row of one concept and layer set, or None where the model or the profile has none

Make = Callable[[Table1, str, Layers], Way | None]


def by_prompts(method: str, equation: Equation) -> Make:
    """Make the maker of an arm that moves towards the prompts of the poles."""

    def make(table: Table1, concept: str, layers: Layers) -> Way:
        return PromptArm(method, equation, poles(table, concept), layers)

    return make


def pci(table: Table1, concept: str, layers: Layers) -> Way:
    """PCI, whose 100 percent are all denoising steps."""
    steps = float(count_steps(table))
    return PromptArm("PCI", switch_prompt, poles(table, concept), layers, (steps, steps))


def token_embeddings(table: Table1, concept: str, layers: Layers) -> Way | None:
    """Token embeddings; None for layers that do not read the stream of words, or words of several tokens."""
    model, about = table.work.model, prompts.get(concept)
    words = [prompts.word(template)[0] for template in (about.templates["revised"][0], about.neutral["revised"])]
    read = any(model.streams[site] in TEXT_STREAMS for site in model.resolve(layers))
    if not read or any(count_tokens(model, word) > 1 for word in words):
        return None
    pairs = prompts.pairs(concept, table.work.vocabulary, "revised", table.work.profile.steering.pairs)
    last = prompts.word(about.templates["revised"][0])[1]
    vector = token_vector(model, pairs.positive, pairs.negative, words[0], last)
    return TokenArm("Token Embeddings", vector, words[1], layers)


def concept_slider(table: Table1, concept: str, layers: Layers) -> Way | None:
    """A Concept Slider, trained or loaded; None where the profile trains none, or the model is no diffusion model."""
    work, iterations = table.work, size_of(table).slider_iterations
    if not iterations or work.model.residuals:
        return None
    pairs = prompts.pairs(concept, work.vocabulary, "revised", work.profile.steering.pairs)
    recipe = SliderRecipe(layers, iterations=iterations, seed=first_seed("contrast"))
    about = {"recipe": asdict(recipe), "checkpoint": work.model.fingerprint(), "prompts": pairs.positive}
    made_by = key(about)
    place = table.kept("benchmark-sliders") / f"{made_by[:16]}.safetensors"
    setting = replace(work.setting, lyrics=pairs.lyrics if work.model.sings else None)
    train = partial(train_slider, work.model, pairs.neutral, pairs.positive, setting, recipe, place)
    slider = Slider.load(shipped.keep(made_by, place, train))
    return SliderArm("Concept Sliders", slider, layers)


def austeer(table: Table1, concept: str, layers: Layers) -> Way:
    """AUSteer: the most consistent channels of the layers."""
    signs, sites = fit(table, concept, "austeer"), table.work.model.resolve(layers)
    entries = sum(signs.directions[site].shape[1] for site in sites)
    count = max(1, round(SHARES.get(layers, 2048 / 61440) * entries))
    return Arm("AUSteer", keep_largest(signs, count, sites), layers)


def caa(table: Table1, concept: str, layers: Layers) -> Arm:
    """CAA, as in Table 1."""
    return Arm("CAA", fit(table, concept), layers)


def sae(table: Table1, concept: str, layers: Layers) -> Way | None:
    """Features of an autoencoder, on its one layer alone."""
    return table_1.sae_arms(table, concept)[0] if layers == table.work.layer_sets[0] else None


def probe_weights(table: Table1, concept: str, layers: Layers) -> Way:
    """The weights of a linear probe in place of a mean difference."""
    return Arm("Probe direction", fit(table, concept, "probe"), layers)


def clamped(table: Table1, concept: str, layers: Layers) -> Way:
    """CAA's direction, held instead of added."""
    return ClampArm("Clamp", fit(table, concept), layers)


METHODS: Mapping[str, Make] = {
    "PCI": pci,
    "Text Embeddings": by_prompts("Text Embeddings", shift_text),
    "Token Embeddings": token_embeddings,
    "FreeSliders": by_prompts("FreeSliders", guide_apart),
    "Concept Sliders": concept_slider,
    "AUSteer": austeer,
    "CAA": caa,
    "SAE": sae,
    "Probe direction": probe_weights,
    "Clamp": clamped,
}
"""Ways to steer, those of the paper in its order first."""


def fit(table: Table1, concept: str, method: str = "caa", layers: Layers | None = None) -> Vector:
    """Fit a vector from pairs in the later wording, at all sites or at those of layers, or find it."""
    recipe = replace(steering.recipe(table.work, concept), method=method, sites=layers)
    return library.fit(table.work.model, recipe, table.kept("benchmark-vectors"))


def poles(table: Table1, concept: str) -> dict[str, tuple[str, str]]:
    """Neutral prompt -> that of the positive and of the negative pole, for all prompts that are steered."""
    count = table.work.profile.steering.range_prompts + size_of(table).prompts
    return prompts.poles(concept, count, table.work.vocabulary)


def count_steps(table: Table1) -> int:
    """Denoising steps of a clip."""
    model, setting = table.work.model, table.work.setting
    return model.settled(model.sampling(setting.sampling), setting.seconds).steps


# ---- one distance for all


def prompt_cutoffs(table: Table1, concept: str, layers: Layers = "all") -> Cutoffs:
    """Measure how far PCI moves clips at all steps (mean LPAPS), on the positive and on the negative side.

    A pole that no prompt can ask for goes as far as the other.
    """
    arm, trial = pci(table, concept, layers), steering.range_trial(table.work, concept)
    rows = steer(table.work.model, [arm], trial, (-100.0, 100.0), table.suite, _scores(table))
    means = rows[rows["metric"] == "lpaps"].groupby("percent")["value"].mean()
    up, down = float(means[100.0]), float(means[-100.0])
    if not up and not down:
        raise InputError(NO_PROMPT.format(concept))
    return up or down, down or up


AnyWay = TypeVar("AnyWay", bound=Way)


def range_way(table: Table1, concept: str, way: AnyWay, cutoffs: Cutoffs | None = None) -> AnyWay:
    """Give a way the raw strengths at which clips are as far from the unsteered ones as by the prompt, or as given."""
    if way.method == "PCI":
        return way
    trial, ladder = steering.range_trial(table.work, concept), size_of(table).ladder
    given = cutoffs or prompt_cutoffs(table, concept), table.suite, ladder, _scores(table)
    return range_by_distance(table.work.model, way, trial, *given)[0]


def make_arms(table: Table1, concept: str, methods: Sequence[str] = tuple(METHODS)) -> list[Way]:
    """Make the rows of a concept, by method and layer set, with their ranges; KeyError for an unknown method."""
    for method in methods:
        check_name("way to steer", method, METHODS)
    ways = [METHODS[method](table, concept, layers) for method in methods for layers in table.work.layer_sets]
    cutoffs = prompt_cutoffs(table, concept)
    return [range_way(table, concept, way, cutoffs) for way in ways if way is not None]


def ranged_caa(table: Table1, concept: str) -> Arm:
    """CAA on the functional layers, where they are known, with its range."""
    return range_way(table, concept, caa(table, concept, table.work.layer_sets[0]))


def _scores(table: Table1) -> Store:
    return Store(table.kept("evaluation"))


# ---- controls


def make_controls(table: Table1, concept: str) -> list[Way]:
    """Make what steers as strongly as CAA on its layers and knows nothing of the concept, and a paraphrase."""
    arm, steps = ranged_caa(table, concept), float(count_steps(table))
    vectors = {f"random {seed}": random_like(arm.vector, seed) for seed in range(size_of(table).random)}
    vectors["shuffled labels"] = fit(table, concept, "shuffled", arm.layers)
    vectors["unrelated concept"] = unrelated(fit(table, other_concept(concept)), arm.vector)
    ways: list[Way] = [replace(arm, method=CONTROL + name, vector=vector) for name, vector in vectors.items()]
    said = paraphrases(poles(table, concept))
    return [*ways, PromptArm(f"{CONTROL}paraphrase", switch_prompt, said, arm.layers, (steps, steps))]


def other_concept(concept: str) -> str:
    """The next concept of another attribute."""
    names = list(played())
    start = names.index(concept) + 1 if concept in names else 0
    own = prompts.get(concept).attribute
    return next(name for name in [*names[start:], *names] if prompts.get(name).attribute != own)


def control_effects(results: pd.DataFrame) -> pd.DataFrame:
    """Measure how far controls move each judge from the lowest to the highest strength.

    Args:
        results: as from :func:`compute`.

    Returns:
        ``concept, control, judge, movement, low, high, verdict, draws``: the interval is over prompts, and over the
        random vectors where there are several; the verdict is as of ``tada.stats.decide``.
    """
    rows = results[results["method"].str.startswith(CONTROL) | (results["method"] == BASELINE)]
    found = []
    for (concept, judge), part in rows[rows["metric"].isin(JUDGES)].groupby(["concept", "metric"], sort=False):
        plain, moved = part[part["method"] == BASELINE], part[part["method"] != BASELINE]
        kinds = moved["method"].str.removeprefix(CONTROL).str.replace(r" \d+$", "", regex=True)
        for kind, own in moved.groupby(kinds, sort=False):
            parts = [
                steering.ends(pd.concat([plain, one])).diff(axis=1).iloc[:, 1].rename(number).reset_index()
                for number, (_, one) in enumerate(own.groupby("method", sort=False))
            ]
            moves = pd.concat([part.set_axis(["prompt", "seed", "move"], axis=1).assign(draw=number)
                               for number, part in enumerate(parts)])  # fmt: skip
            mean, low, high = mean_interval(moves["move"], moves["prompt"].tolist(), moves["draw"].tolist())
            verdict = decide(low, high, moves["prompt"].nunique())
            found.append((concept, kind, judge, mean, low, high, verdict, len(parts)))
    columns = ["concept", "control", "judge", "movement", "low", "high", "verdict", "draws"]
    return pd.DataFrame(found, columns=columns)


# ---- results


def result_trial(table: Table1, concept: str) -> Trial:
    """The prompts that results are reported on, none of which found a range."""
    trial = steering.result_trial(table.work, concept, size_of(table).prompts)
    return replace(trial, setting=replace(trial.setting, batch=16))


def compute(table: Table1, methods: Sequence[str] = tuple(METHODS), workers: int = 1) -> pd.DataFrame:
    """Compute the benchmark of all concepts; what is in the store is not computed again.

    Returns:
        As from ``tada.evaluation.run``, with the controls' rows at the ends of their range.
    """
    concepts = table.config.concepts
    table_1.work_ahead(table, workers, [(evaluate, name, methods) for name in concepts])
    return pd.concat([evaluate(table, name, methods) for name in concepts], ignore_index=True)


def evaluate(table: Table1, concept: str, methods: Sequence[str] = tuple(METHODS)) -> pd.DataFrame:
    """Steer the prompts of one concept by every way and by the controls, and score the clips; kept."""
    trial, percents = result_trial(table, concept), size_of(table).percents
    given = trial, table.suite
    parts = [
        evaluation.run(table.work.model, ways, *given, some, _scores(table))
        for ways, some in (
            (make_arms(table, concept, methods), percents),
            (make_controls(table, concept), (-100.0, 100.0)),
        )
    ]
    return pd.concat(parts, ignore_index=True).drop_duplicates([UNIT, "metric"], ignore_index=True)


def make_table(table: Table1, results: pd.DataFrame) -> pd.DataFrame:
    """Make cells as of ``tada.evaluation.table`` without the controls; areas end at the distance of the prompt."""
    cutoffs = {concept: prompt_cutoffs(table, str(concept)) for concept in results["concept"].unique()}
    return evaluation.table(without_controls(results), cutoffs)


def without_controls(results: pd.DataFrame) -> pd.DataFrame:
    """Results of the ways to steer alone."""
    return results[~results["method"].str.startswith(CONTROL)]


# ---- several concepts at once


def truth_judges(table: Table1) -> list[ConceptJudge]:
    """Judges that are no ears: the probe, for synthetic music, signal estimators, and musicnn."""
    return [*([ProbeJudge()] if table.work.vocabulary == "mini" else []), SignalJudge(), OutsideJudge()]


def steer_together(table: Table1, concepts: Sequence[str]) -> pd.DataFrame:
    """Steer prompts towards several concepts at once, and towards each alone, and judge all of them in every clip.

    The vectors are summed, each by its own range; summed after each lost what the ones before it point to
    (Gram-Schmidt); or their shares are held (clamp).

    Returns:
        As from ``tada.steering.steer``, the metrics named ``"probe: piano"`` and so on.
    """
    arms = [ranged_caa(table, name) for name in concepts]
    layers, count = arms[0].layers, len(arms)
    clamps = [range_way(table, name, clamped(table, name, table.work.layer_sets[0])) for name in concepts]
    ways: list[Way] = [replace(arm, method=f"alone: {name}") for arm, name in zip(arms, concepts, strict=True)]
    for method, orthogonal in (("sum", False), ("Gram-Schmidt", True)):
        vector = combine([arm.vector for arm in arms], [arm.scale[0] for arm in arms], orthogonal)
        ways.append(Arm(f"{method} of {count}", vector, layers, (1.0, 1.0)))
    ways.append(StackedArm(f"clamp of {count}", tuple(clamps), layers))
    judge = EveryConcept(truth_judges(table), concepts)
    trial = result_trial(table, concepts[0])
    return steer(table.work.model, ways, trial, (-100.0, 100.0), judge, _scores(table))


def together_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Measure how far each concept moves by each way of :func:`steer_together`, itself alone first.

    Returns:
        ``concept, judge, way, movement, low, high`` from the lowest to the highest strength, over prompts.
    """
    found, plain = [], rows[rows["method"] == BASELINE]
    for metric, part in rows.groupby("metric", sort=False):
        judge, concept = str(metric).split(": ")
        for method, own in part[part["method"] != BASELINE].groupby("method", sort=False):
            alone = re.match("alone: (.*)", str(method))
            if alone and alone[1] != concept:
                continue
            both = steering.ends(pd.concat([plain[plain["metric"] == metric], own]))
            moved = mean_interval(both.iloc[:, 1] - both.iloc[:, 0])
            found.append((concept, judge, "alone" if alone else method, *moved))
    return pd.DataFrame(found, columns=["concept", "judge", "way", "movement", "low", "high"])
