"""What is asked of a Table 1, in plain values, and the model, prompts and ears that this means."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from tada.concepts.steered import TABLE_1 as CONCEPTS
from tada.errors import UnknownNameError, unknown
from tada.experiments import steering as steer_runs
from tada.experiments.profiles import Table, get_profile
from tada.experiments.steering import Run
from tada.metrics.judges import MetricSuite
from tada.models.base import Layers

SETS: tuple[Layers, ...] = ("all", "all-but-functional", "functional")
"""Layer sets of the CAA rows, in the paper's order."""

REACHES = ("length", "calibrated", "distance", "paper")
"""What 100 % is: the length of what the steered layers put out; a range found with a judge, see
:mod:`tada.steering.ranges`; the distance that the prompt's own concept moves clips by, see
:mod:`tada.steering.distance`; a raw strength of 100, as in the paper."""


@dataclass(frozen=True)
class Request:
    """All that decides a Table 1; plain values, so that every process can be told.

    Attributes:
        name: the architecture, as for ``tada.load``.
        checkpoint: as for ``tada.load``; ``"public"`` is the paper's.
        profile: a name in :data:`tada.experiments.profiles.PROFILES`.
        concepts: rows of the table.
        functional: indices of the functional layers, such as ``"6+7"``; nothing for ``settled`` to find out.
        layer: of the autoencoder; -1 for ``settled`` to choose.
        words: vocabulary of the prompts, ``"mini"`` or ``"public"``; nothing for the checkpoint's.
        reach: what 100 % is; nothing for the profile's.
        count: prompts of a concept; 0 for the profile's.
        seconds: length of the clips; 0 for the profile's.
        captions: that the autoencoder is trained on, as for ``tada.pairs.build``.
        store: folder of everything that is kept.
        localisation: folder of the scores of localisation.
        aesthetics: whether Audiobox Aesthetics rates the clips of a mini, too.
        origin: where the functional layers are known from, in words; set by ``settled``.
    """

    name: str
    checkpoint: str
    profile: str = "mini"
    concepts: tuple[str, ...] = CONCEPTS
    functional: str = ""
    layer: int = -1
    words: str = ""
    reach: str = ""
    count: int = 0
    seconds: float = 0.0
    captions: str = ""
    store: str = "_build/steering"
    localisation: str = "_build/localisation"
    aesthetics: bool = False
    origin: str = ""

    @property
    def size(self) -> Table:
        """How much is run."""
        given = get_profile(self.profile).table
        chosen = replace(given, scale=self.reach or given.scale, prompts=self.count or given.prompts)
        if chosen.scale not in REACHES:
            raise UnknownNameError(unknown("reach", chosen.scale, REACHES))
        return chosen


def run_of(request: Request) -> Run:
    """Model, sampling and prompts of a request; the model is loaded once in a process."""
    run = loaded(request)
    run = replace(run, seconds=request.seconds or run.seconds)
    if not request.functional:
        return run
    model = run.model.with_functional(steer_runs.indices(run.model, request.functional))
    return replace(run, model=model, layer_sets=SETS)


def loaded(request: Request) -> Run:
    """A run whose model has the functional layers that its checkpoint says of itself."""
    return _loaded(request.name, request.checkpoint, request.profile, request.words)


@lru_cache(maxsize=1)
def _loaded(name: str, checkpoint: str, profile: str, words: str) -> Run:
    return steer_runs.plan(name, checkpoint, profile, words=words)


def panel(request: Request) -> MetricSuite:
    """Who listens: the package's ears to minis, whose clips are brought to the renders' loudness; public ears else."""
    return _panel(run_of(request).words, request.aesthetics)


@lru_cache(maxsize=1)
def _panel(words: str, aesthetics: bool) -> MetricSuite:
    from tada.minis.render import LOUDNESS

    return MetricSuite(words, aesthetics or None, loudness=LOUDNESS if words == "mini" else None)
