"""Table 1: which layers are functional, the rows that are compared, their ranges, and what a run leaves.

A run leaves its tidy results in ``tables/<checkpoint>/`` below its store, where later pages read them, and the table as
csv, LaTeX and HTML beside them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import load_file, save

from tada import evaluation, patching
from tada.concepts import steered as prompts
from tada.concepts.steered import TABLE_1 as CONCEPTS
from tada.concepts.steered import Wording
from tada.engine import units
from tada.errors import InputError, check_name
from tada.experiments import autoencoder, localisation, steering
from tada.experiments.claims import Evidence
from tada.experiments.experiment import Experiment, compute_ahead
from tada.experiments.profiles import SEEDS, get_profile
from tada.io import atomic_write, slug, write_json, write_table
from tada.metrics.suite import MetricSuite
from tada.minis.attributes import draw
from tada.minis.render import FRAMES, LOUDNESS, render_batch
from tada.minis.sounds import SAMPLE_RATE
from tada.models import ARCHITECTURES
from tada.models.base import Layers
from tada.models.hub import describe_choice
from tada.steering import Arm, Trial, calibrate, lengths, library
from tada.steering.ranges import prompt_distance, range_by_distance
from tada.store import UNIT, Store, key, shipped

LAYER_SETS: tuple[Layers, ...] = ("all", "all-but-functional", "functional")
"""Layer sets of the CAA rows, in the paper's order."""

SCALES = ("length", "calibrated", "distance", "paper", "authors")
"""What 100 % is: the length of the steered layers' outputs; a range found with a judge, see
:mod:`tada.steering.ranges`; the distance that the prompt's own concept moves clips by, see
:mod:`tada.steering.ranges`; a raw strength of 100, as in the paper; the same, but the autoencoder's rows at the
strengths of the authors' first code, ``tada.evaluation.SAE_GRID``."""


@dataclass(frozen=True)
class Config:
    """All that decides a Table 1; plain values, so that every process can be told and a file can keep them.

    Attributes:
        name: the architecture, as for ``tada.load``.
        checkpoint: as for ``tada.load``; ``"public"`` is the paper's, ``"tiny"`` a random one.
        profile: a name in :data:`tada.experiments.profiles.PROFILES`.
        concepts: rows of the table.
        functional: the functional layers, such as ``"6+7"``; nothing for :func:`resolve_layers` to find out.
        layer: of the autoencoder; -1 for :func:`resolve_layers` to choose.
        vocabulary: of the prompts, ``"mini"`` or ``"public"``; nothing for the checkpoint's.
        scale: what 100 % is, a name in :data:`SCALES`; nothing for the profile's.
        prompts: of a concept; 0 for the profile's.
        spacing: of strengths, in percent of the range; 0 for the profile's.
        seconds: length of the clips; 0 for the profile's.
        captions: that the autoencoder is trained on, as for ``tada.pairs.build``.
        store: folder of everything that is kept.
        localisation: folder of the scores of localisation.
        aesthetics: whether Audiobox Aesthetics rates the clips of a mini, too.
        wording: of queries, templates and prompts: ``"paper"``, or ``"revised"`` as in the authors' later code.
        lyrics: csv file whose column ``lyrics`` has what the paper's prompts sing, in their order, for vocal concepts
            of models that sing.
        slider_iterations: of the training of the benchmark's Concept Sliders; 0 for the profile's.
        origin: where the functional layers are known from, in words; set by :func:`resolve_layers`.
    """

    name: str
    checkpoint: str
    profile: str = "mini"
    concepts: tuple[str, ...] = CONCEPTS
    functional: str = ""
    layer: int = -1
    vocabulary: str = ""
    scale: str = ""
    prompts: int = 0
    spacing: int = 0
    seconds: float = 0.0
    captions: str = ""
    store: str = "_build/steering"
    localisation: str = "_build/localisation"
    aesthetics: bool = False
    wording: Wording = "paper"
    lyrics: str = ""
    slider_iterations: int = 0
    origin: str = ""


@dataclass(frozen=True, eq=False)
class Table1:
    """A Table 1 that is ready to be computed.

    Attributes:
        config: with its layers resolved.
        work: model, setting, judge of ranges, and profile.
        suite: the metrics of the table.
    """

    config: Config
    work: Experiment
    suite: MetricSuite

    def kept(self, name: str) -> Path:
        """A folder of the store."""
        return Path(self.config.store) / name

    @property
    def folder(self) -> Path:
        """Where a run leaves its table."""
        return self.kept("tables") / f"{self.config.name}-{slug(self.work.model.checkpoint)}"


def open_table(config: Config) -> Table1:
    """Load the model and the metrics, and resolve the layers.

    Raises:
        KeyError, IndexError, ValueError, OSError: as for ``tada.experiments.steering.plan``; an unknown scale.
    """
    config, size = describe_tiny(config), get_profile(config.profile)
    table = replace(size.table, scale=config.scale or size.table.scale, prompts=config.prompts or size.table.prompts)
    table = replace(table, spacing=config.spacing or table.spacing)
    iterations = config.slider_iterations or size.benchmark.slider_iterations
    size = replace(size, table=table, benchmark=replace(size.benchmark, slider_iterations=iterations))
    check_name("scale", table.scale, SCALES)
    words, captions = config.vocabulary, config.captions or None
    about = config.name, config.checkpoint, config.profile
    work = steering.plan(*about, functional=config.functional, vocabulary=words, captions=captions)
    setting = replace(work.setting, seconds=config.seconds or work.setting.seconds)
    lyrics = tuple(pd.read_csv(config.lyrics)["lyrics"]) if config.lyrics else ()
    work = replace(work, setting=setting, profile=size, wording=config.wording, lyrics=lyrics)
    config = config if config.origin else resolve_layers(config, work)
    model = work.model.with_functional([int(layer) for layer in config.functional.split("+")])
    loudness = LOUDNESS if work.vocabulary == "mini" else None  # clips of minis are brought to that of the renders
    suite = MetricSuite(work.vocabulary, config.aesthetics or None, loudness, wording=config.wording)
    return Table1(config, replace(work, model=model), suite)


def describe_tiny(config: Config) -> Config:
    """Say what a random checkpoint does not say of itself: the paper's layers, words of the minis, short clips."""
    if config.checkpoint != "tiny":
        return config
    check_name("architecture", config.name, ARCHITECTURES)
    layers = "+".join(map(str, ARCHITECTURES[config.name].paper_layers or (6, 7)))
    functional, vocabulary = config.functional or layers, config.vocabulary or "mini"
    return replace(config, functional=functional, vocabulary=vocabulary, seconds=config.seconds or 1.2)


def resolve_layers(config: Config, work: Experiment) -> Config:
    """Decide which layers are functional, and which is the autoencoder's.

    Functional layers are those that were given, else those the checkpoint says of itself, else those that the rule of
    ``tada.patching.choose_functional`` finds in a finished localisation. The autoencoder's is the strongest of them.

    Raises:
        InputError: none of these names any.
    """
    model = work.model
    if not model.functional:
        scores, _ = load_localisation(config)
        chosen = None if scores is None else patching.choose_functional(scores)
        if chosen is None or not chosen.layers:
            found = "it was not localised yet" if chosen is None else "its localisation names none"
            raise InputError(
                f"the functional layers of {model.checkpoint} are not known, {found}: give them (--functional 6+7), or "
                f"tada run notebooks/04_localisation.py -p architecture {config.name} -p checkpoint {config.checkpoint}"
            )
        model = model.with_functional(chosen.layers)
        model.functional_origin = describe_choice(**chosen._asdict())
    return replace(
        config,
        functional="+".join(map(str, model.functional or ())),
        layer=config.layer if config.layer >= 0 else localisation.strongest_layer(model),
        origin=model.functional_origin,
    )


def load_localisation(config: Config) -> tuple[pd.DataFrame | None, pd.DataFrame | None]:
    """Load the scores of the largest finished localisation, by profile, and of its functional layers together.

    Returns:
        As from ``tada.experiments.localisation.load_finished`` and ``measure_together``; None for what is not there.
    """
    place = localisation.scores_folder(config.localisation, config.name, config.checkpoint)
    if not place.is_dir():
        return None, None
    mini = (config.vocabulary or ("mini" if config.checkpoint == "mini" else "public")) == "mini"
    try:
        work = localisation.plan(config.name, config.checkpoint, config.profile, judge="probe" if mini else "clap")
    except (KeyError, OSError):  # a checkpoint that is not here any more
        return None, None
    pairs = localisation.build_pairs(work)
    scores = localisation.load_finished(work, pairs, place)
    if scores is None:
        return None, None
    return scores, localisation.measure_together(work, pairs, scores, made=True, store=place)


# ---- rows


def make_arms(table: Table1, concept: str) -> list[Arm]:
    """Make the rows of Table 1 for a concept, in the paper's order."""
    return [*caa_arms(table, concept), *sae_arms(table, concept)]


def caa_arms(table: Table1, concept: str) -> list[Arm]:
    """Make the rows of CAA on all layers, on all but the functional ones, and on those."""
    vector = library.fit(table.work.model, steering.recipe(table.work, concept), table.kept("vectors"))
    return [_with_scale(table, concept, Arm("CAA", vector, layers)) for layers in LAYER_SETS]


def sae_arms(table: Table1, concept: str) -> list[Arm]:
    """Make the row of the autoencoder's features on its one layer, without the old lengths (eq. 8)."""
    vector = autoencoder.feature_vector(table.work, *_train_features(table), concept)
    return [_with_scale(table, concept, Arm("SAE", vector, [table.config.layer], renorm=False))]


def _train_features(table: Table1) -> tuple[autoencoder.Trained, pd.DataFrame]:
    """The autoencoder of the layer and the scores of its features for the concepts, made or loaded."""
    folder = table.kept("sae")
    trained = autoencoder.train_or_load(table.work, table.config.layer, folder)
    return trained, autoencoder.score_table(table.work, trained, table.config.concepts, folder)


def _with_scale(table: Table1, concept: str, arm: Arm) -> Arm:
    """The arm with the raw strengths that are 100 % here, see :data:`SCALES`."""
    work, trial, store = table.work, steering.range_trial(table.work, concept), Store(table.kept("evaluation"))
    match work.profile.table.scale:
        case "length":  # on prompts of the first concept for all
            trial = steering.range_trial(work, table.config.concepts[0])
            return replace(arm, scale=(lengths(work.model, arm.vector, trial, arm.layers, store),) * 2)
        case "calibrated":
            return calibrate(work.model, arm, trial, work.judge, Store(table.kept("scores")))
        case "distance":
            targets = _targets(table, trial, store)
            return range_by_distance(work.model, arm, trial, targets, table.suite, store=store)[0]
        case _:
            return arm


def _targets(table: Table1, trial: Trial, store: Store) -> tuple[float, float]:
    """How far the prompt's own concept moves clips; a pole that no prompt can ask for goes as far as the other."""
    templates = prompts.get(trial.concept).templates["revised"]
    more, less = ([template.format(base=text) for text, _ in trial.rows] for template in templates)
    about = {"what": "distance of prompts", "concept": trial.concept, "sides": [more, less], "rows": trial.rows}
    model, suite = table.work.model, table.suite
    name = units(model, trial.setting, suite, [about])[0]
    up, down = store.get(name) or store.get_or_set(name, list(prompt_distance(model, trial, more, less, suite)))
    if not up and not down:
        raise InputError(
            f"prompts that ask for {trial.concept} give the same clips: choose scale='length' in its place"
        )
    return up or down, down or up


# ---- results


def compute(table: Table1, workers: int = 1) -> pd.DataFrame:
    """Compute everything that Table 1 needs; what is in the store is not computed again.

    Returns:
        As from ``tada.evaluation.run``, of all concepts and rows; also kept as ``results.parquet``.
    """
    config, work, concepts = table.config, table.work, table.config.concepts
    first, last = ([(evaluate, one, arms) for one in concepts] for arms in (caa_arms, sae_arms))
    work_ahead(table, workers, [(_train_features,), *first], last)  # training takes longest and is started first
    results = pd.concat([evaluate(table, concept, make_arms) for concept in concepts], ignore_index=True)
    steps = work.model.sampling(work.setting.sampling).steps
    about = {"size": asdict(work.profile.table), "seconds": work.setting.seconds, "steps": steps}
    write_table(table.folder / "results.parquet", results)
    write_json(table.folder / "run.json", asdict(config) | about)
    return results


def work_ahead(table: Table1, workers: int, *stages: Sequence[tuple[Any, ...]]) -> None:
    """Do jobs ``(function of a table, *arguments)`` for what they leave in the store, one stage after the other.

    Each of the ``workers`` is a process with a model and one thread; on a GPU, and at smoke, they would not pay.
    """
    pays = str(table.work.model.device) == "cpu" and table.config.profile != "smoke"
    jobs = [[partial(_ahead, table.config, *job) for job in stage] for stage in stages]
    compute_ahead(workers if pays else 1, *jobs)


def _ahead(config: Config, job: Callable[..., Any], *given: Any) -> None:
    job(_opened(config), *given)  # the model is loaded once a process


_opened = lru_cache(maxsize=1)(open_table)


def evaluate(table: Table1, concept: str, make: Callable[[Table1, str], list[Arm]]) -> pd.DataFrame:
    """Steer the prompts of one concept by some rows and score the clips; kept."""
    work, size, arms = table.work, table.work.profile.table, make(table, concept)
    trial = steering.result_trial(work, concept, size.prompts, ranged=size.scale not in ("paper", "authors"))
    trial = replace(trial, setting=replace(trial.setting, batch=16))
    renders, store = _render_embeddings(table), table.kept("evaluation")
    fine = [arm for arm in arms if arm.method == "SAE" and size.scale == "authors"]
    parts = [
        evaluation.run(work.model, some, trial, table.suite, percents, store, renders)
        for percents, some in ((size.percents, [arm for arm in arms if arm not in fine]), (evaluation.SAE_GRID, fine))
        if some
    ]
    return pd.concat(parts, ignore_index=True).drop_duplicates([UNIT, "metric"], ignore_index=True)


def _render_embeddings(table: Table1) -> torch.Tensor | None:
    """Embeddings of true renders, held out from all training, made or loaded; None for public checkpoints."""
    count, seconds = table.work.profile.table.renders, table.work.setting.seconds
    if table.work.vocabulary != "mini" or not count:
        return None
    seeds = SEEDS["renders"][:count]
    about = {"renders": count, "first": seeds[0], "seconds": seconds, "panel": table.suite.key}
    made_by = key(about)
    place = table.kept("evaluation") / f"renders-{made_by[:16]}.safetensors"

    def make() -> None:
        clips = render_batch([draw(seed) for seed in seeds], seeds)[:, : min(FRAMES, round(seconds * SAMPLE_RATE))]
        atomic_write(place, save({"rows": table.suite.embed(clips, SAMPLE_RATE)}))

    return load_file(shipped.keep(made_by, place, make))["rows"]


# ---- what earlier runs left


def load_evidence(
    models: Sequence[str],
    checkpoints: Sequence[str],
    store: str | Path = "_build/steering",
    localisation: str | Path = "_build/localisation",
    profile: str = "mini",
) -> list[Evidence]:
    """Load what earlier runs left, one entry an architecture and checkpoint, in this order; nothing is generated.

    Names and folders are those of :class:`Config`, the ``profile`` is that of the localisation.

    Raises:
        KeyError: an unknown architecture or profile.
    """
    for name in models:
        check_name("architecture", name, ARCHITECTURES)
    left: dict[tuple[str, str], tuple[pd.DataFrame, str]] = {}
    for file in sorted(Path(store).glob("tables/*/results.parquet")):
        about = json.loads(file.with_name("run.json").read_text())
        left[about["name"], about["checkpoint"]] = pd.read_parquet(file), about["vocabulary"]
    found = []
    for name, checkpoint in product(models, checkpoints):
        results, vocabulary = left.get((name, checkpoint), (None, ""))
        config = Config(name, checkpoint, profile, vocabulary=vocabulary, localisation=str(localisation))
        scores, together = load_localisation(config)
        found.append(Evidence(name, checkpoint, scores, results, together))
    return found
