"""A steering experiment: how it is settled, its vectors and results, and the tables that pages make of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast, get_args

import pandas as pd

from tada.arguments import Lyrics
from tada.concepts import steered
from tada.concepts.steered import Vocabulary
from tada.engine import Setting
from tada.errors import check_name
from tada.experiments import experiment
from tada.experiments.experiment import Experiment, check_disjoint, load_model, parse_layers
from tada.experiments.profiles import first_seed, get_profile
from tada.metrics.steering_judges import steering_judge
from tada.models.base import MINI_SECONDS, Model
from tada.pairs import Captions, read
from tada.stats import ABOVE, BELOW, MIN_UNITS, TOO_FEW, UNDECIDED, decide, difference_interval, mean_interval
from tada.steering import Arm, Trial, Vector, calibrate, calibrated, library, seeded
from tada.steering.ranges import CONCEPT, QUALITY, grid
from tada.store import Store


def plan(
    name: str,
    checkpoint: str | Path | None,
    profile: str = "mini",
    *,
    functional: str = "",
    vocabulary: str = "",
    prompts: int = 0,
    captions: Captions = None,
) -> Experiment:
    """Load a model and settle how much is run on it.

    Args:
        name, checkpoint, profile: as for :func:`tada.experiments.localisation.plan`.
        functional: the functional layers, such as ``"6+7"``; nothing for what the checkpoint says.
        vocabulary: of the prompts, ``"mini"`` or ``"public"``; nothing for the checkpoint's, of a tiny one the minis'.
        prompts: for results, for each concept; 0 for the profile's.
        captions: that an autoencoder is trained on, as for ``tada.pairs.build``.

    Raises:
        KeyError: an unknown architecture, profile or vocabulary. IndexError: no such layer.
    """
    size = get_profile(profile)
    size = replace(size, steering=replace(size.steering, prompts=prompts or size.steering.prompts))
    if vocabulary:
        check_name("vocabulary", vocabulary, get_args(Vocabulary))
    if captions is not None:
        captions = read(captions)  # what is wrong with them is said before a model is loaded
    model = load_model(name, checkpoint)
    words = cast(Vocabulary, vocabulary or ("mini" if checkpoint == "tiny" else model.vocabulary))
    model = model.with_functional(parse_layers(functional)) if functional else model
    setting = default_setting(model, words, size.steering.seconds, size.steering.steps)
    return Experiment(model, setting, steering_judge(words), size, words, captions)


def default_setting(model: Model, vocabulary: str, seconds: float | None, steps: int | None) -> Setting:
    """Settle length and sampling of steered clips: those given, else those of the minis or of the paper's steering."""
    preset = "mini" if vocabulary == "mini" else "steering"
    sampling = model.sampling(preset if preset in model.presets else "default", steps=steps)
    usual = MINI_SECONDS if vocabulary == "mini" else model.default_seconds
    return Setting(usual if seconds is None else seconds, sampling)


def recipe(work: Experiment, concept: str) -> library.Recipe:
    """How the concept's vector is fitted."""
    pairs, seed = work.profile.steering.pairs, _seed("contrast", concept)
    return library.Recipe(concept, work.setting, pairs, seed, work.vocabulary, work.wording)


def range_trial(work: Experiment, concept: str) -> Trial:
    """The prompts by which the range of strengths is found."""
    return _trial(work, concept, work.profile.steering.range_prompts, 0, "ranges")


def result_trial(work: Experiment, concept: str, count: int = 0, ranged: bool = True) -> Trial:
    """The prompts that results are reported on: ``count`` of them, 0 for the profile's.

    Where ranges of strengths were found (``ranged``), their prompts are left out; InputError if any prompt or seed is
    left that found them.
    """
    first = work.profile.steering.range_prompts if ranged else 0
    trial = _trial(work, concept, count or work.profile.steering.prompts, first, "results")
    if ranged:
        chosen = range_trial(work, concept)
        check_disjoint("prompts", ranges=chosen.prompts, results=trial.prompts)
        check_disjoint("seeds", ranges=chosen.seeds, results=trial.seeds)
    return trial


def _trial(work: Experiment, concept: str, count: int, first: int, block: str) -> Trial:
    texts = steered.neutral(concept, count, work.vocabulary, first, work.wording)
    setting = replace(work.setting, lyrics=_lyrics(work, concept))
    return Trial(concept, seeded(texts, _seed(block, concept)), setting)


def _lyrics(work: Experiment, concept: str) -> Lyrics:
    """What the prompts of a concept sing: vocal ones theirs, if there are any."""
    if work.vocabulary != "public" or not work.model.sings:
        return None
    own = steered.get(concept).lyrics
    if own or not work.lyrics:
        return own
    return dict(zip(steered.neutral(concept, len(work.lyrics), wording=work.wording), work.lyrics, strict=True))


def _seed(block: str, concept: str) -> int:
    """The first seed of a concept; every prompt, and every pair, has the next one."""
    return first_seed(block, list(steered.CONCEPTS).index(concept))


# ---- vectors and results; ``folder`` keeps both


def fit_vector(work: Experiment, concept: str, folder: str | Path) -> Vector:
    """Fit a concept's vector and calibrate it for every layer set, or find all of it in the folder."""
    vector = library.fit(work.model, recipe(work, concept), Path(folder) / "vectors")
    for layers in work.layer_sets:
        vector = calibrate_vector(work, concept, Arm("caa", vector, layers), folder)
    return vector


def calibrate_vector(work: Experiment, concept: str, arm: Arm, folder: str | Path) -> Vector:
    """Find the range of an arm's strengths; its vector, which keeps the range."""
    store = Store(Path(folder) / "scores")
    return calibrate(work.model, arm, range_trial(work, concept), work.judge, store).vector


def steer_arm(work: Experiment, concept: str, arm: Arm, folder: str | Path) -> pd.DataFrame:
    """Judge the prompts of results at every strength of the profile, by a calibrated arm: as ``tada.steering.grid``."""
    arm, trial = calibrated(work.model, arm), result_trial(work, concept)
    return grid(work.model, arm, trial, work.profile.steering.strengths, work.judge, Store(Path(folder) / "scores"))


def steer_layer_sets(work: Experiment, concept: str, vector: Vector, folder: str | Path) -> pd.DataFrame:
    """Judge the prompts of results at every strength, by every layer set; as :func:`steer_arm`."""
    parts = [steer_arm(work, concept, Arm("caa", vector, layers), folder) for layers in work.layer_sets]
    return pd.concat(parts, ignore_index=True)


def compute_ahead(start: Callable[[], Experiment], concepts: Sequence[str], folder: str | Path, workers: int) -> None:
    """Compute what :func:`fit_vector` and :func:`steer_layer_sets` will ask for, a concept a process, into the folder.

    Each worker has one thread and a model of its own from ``start``, which is :func:`plan` with its arguments bound by
    ``functools.partial``.
    """
    experiment.compute_ahead(workers, [partial(_compute, start, concept, folder) for concept in concepts])


def _compute(start: Callable[[], Experiment], concept: str, folder: str | Path) -> None:
    work = start()
    steer_layer_sets(work, concept, fit_vector(work, concept, folder), folder)


# ---- tables

CASE = ["concept", "method", "layers"]


def curves(rows: pd.DataFrame, metric: str = CONCEPT) -> pd.DataFrame:
    """Mean of a metric at every strength, with its 95 % interval over prompts."""
    some = rows[rows["metric"] == metric]
    found = [
        (*case, *mean_interval(part["value"].to_numpy())) for case, part in some.groupby([*CASE, "percent"], sort=False)
    ]
    return pd.DataFrame(found, columns=[*CASE, "percent", "mean", "low", "high"]).sort_values([*CASE, "percent"])


def movements(rows: pd.DataFrame) -> pd.DataFrame:
    """How far a concept's judge moves from the lowest to the highest strength, prompt by prompt.

    Returns:
        ``concept, method, layers, movement, low, high`` (95 % interval over prompts) and ``sound kept``:
        how sure the judge is of the rest at both ends, over how sure it is of the unsteered clips; the lesser end.
    """
    found = movements_by_metric(rows[rows["metric"] == CONCEPT])[[*CASE, "movement", "low", "high"]]
    sound = rows[rows["metric"] == QUALITY].pivot_table("value", CASE, "percent")
    return found.join((sound.iloc[:, [0, -1]].min(axis=1) / sound[0.0]).rename("sound kept"), on=CASE)


def movements_by_metric(rows: pd.DataFrame) -> pd.DataFrame:
    """How far every judge moves from the lowest to the highest strength, prompt by prompt.

    Returns:
        ``concept, method, layers, metric``, its means at both ends ``lowest, highest``, and ``movement, low, high``
        (95 % interval over prompts).
    """
    found = []
    for case, part in rows[~rows["metric"].isin(["against", QUALITY])].groupby([*CASE, "metric"], sort=False):
        both = ends(part)
        if len(both):
            found.append((*case, *both.mean(), *mean_interval(both.iloc[:, 1] - both.iloc[:, 0])))
    return pd.DataFrame(found, columns=[*CASE, "metric", "lowest", "highest", "movement", "low", "high"])


def verdict(rows: pd.DataFrame, known: bool) -> str:
    """What results say of the paper's claim about layer sets, prompt by prompt, in words made from the numbers.

    ``known`` is whether functional layers are, without which there is nothing to compare.
    """
    if not known:
        return (
            "The functional layers of this checkpoint are not known here, so that layer sets cannot be compared: give "
            "them with `-p functional`."
        )
    said = {
        ABOVE: "moves further by the functional layers than by all others, as the paper found",
        BELOW: "moves further by the other layers than by the functional ones, against the paper",
        UNDECIDED: "cannot be told apart: the interval of the difference holds 0",
        TOO_FEW: f"cannot be told apart: fewer than {MIN_UNITS} prompts",
    }
    lines = []
    for concept, part in rows[rows["metric"] == CONCEPT].groupby("concept", sort=False):
        ours, others = (ends(part[part["layers"] == name]) for name in ("functional", "all-but-functional"))
        more, low, high = difference_interval(ours.diff(axis=1).iloc[:, 1], others.diff(axis=1).iloc[:, 1])
        words = said[decide(low, high, len(ours))]
        lines.append(f"- **{concept}** {words} (difference {more:+.2f} [{low:.2f}, {high:.2f}]).")
    return "\n".join(["Movement by the functional layers less that by all others, on the same prompts:\n", *lines])


def ends(rows: pd.DataFrame) -> pd.DataFrame:
    """Take the values at the lowest and at the highest strength of one arm and metric, a row a prompt that has both."""
    return rows.pivot_table("value", ["prompt", "seed"], "percent").iloc[:, [0, -1]].dropna()
