"""Steered clips: prompts of a concept, each at several strengths of several ways to steer, judged and stored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import numpy as np
import pandas as pd

from tada import engine
from tada.arguments import Seeds, own_seeds
from tada.engine import Job, Setting, Texts
from tada.errors import InputError
from tada.hooks import Passes
from tada.io import sha256
from tada.metrics.judges import JudgeLike
from tada.metrics.suite import UNSTEERED
from tada.models.base import Layers, Model
from tada.steering.vector import Vector
from tada.store import UNIT, Store, key

ARM = ["method", "layers"]
BASELINE = UNSTEERED
"""Method and layers of the unsteered clips."""

CHUNK = 4
"""Prompts whose clips share one padded length of text; the unsteered ones are made together."""


@dataclass(frozen=True)
class Trial:
    """Prompts of one concept to steer.

    Attributes:
        concept: of the vectors; it is named to the judge.
        rows: prompt and seed of each clip; see :func:`seeded`.
    """

    concept: str
    rows: tuple[tuple[str, int], ...]
    setting: Setting

    @property
    def prompts(self) -> tuple[str, ...]:
        """The prompts, each once."""
        return tuple(dict.fromkeys(prompt for prompt, _ in self.rows))

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each row."""
        return tuple(seed for _, seed in self.rows)


def seeded(prompts: Iterable[str], seeds: Seeds = 0) -> tuple[tuple[str, int], ...]:
    """Give each prompt noise of its own, as the rows of a :class:`Trial`.

    Args:
        seeds: of the first prompt, one or several; the next prompt has the ones that follow, see
            ``tada.arguments.own_seeds``.
    """
    texts = list(prompts)
    rows = zip(texts, own_seeds(seeds, len(texts)), strict=True)
    return tuple((prompt, seed) for prompt, own in rows for seed in own)


class Way(ABC):
    """What every way to steer offers; attributes as of :class:`Arm`."""

    method: str
    layers: Layers | None
    scale: tuple[float, float]

    def raw(self, percent: float) -> float:
        """The raw strength at a percentage of the range, -100 to 100 and beyond."""
        if not np.isfinite(percent):
            raise InputError(f"got {percent} percent; expected a finite strength")
        return percent * (self.scale[0 if percent > 0 else 1] / 100)

    def scaled(self, up: float, down: float) -> Self:
        """The same way with other raw strengths at +100 and at -100 percent."""
        return replace(self, scale=(up, down))  # type: ignore[type-var]

    def sites(self, model: Model) -> tuple[str, ...]:
        """The sites that are steered."""
        return model.resolve(self.layers)

    def name(self, model: Model) -> str:
        """The layers in words: the name of a layer set, or indices such as ``"6+7"``."""
        if isinstance(self.layers, str) and self.layers in ("all", "functional", "all-but-functional"):
            return self.layers
        return model.label(sorted(self.sites(model), key=model.places.index))

    def texts(self, prompt: str) -> dict[str, str]:
        """Other texts that the rows of a prompt read, by the column of the plan that they stand in."""
        return {}

    @abstractmethod
    def describe(self, model: Model) -> dict[str, Any]:
        """What determines a clip that is steered so, beside strength and texts, as json can hold it."""

    @abstractmethod
    def intervene(self, model: Model, rows: pd.DataFrame, texts: Texts) -> AbstractContextManager[Any]:
        """Steer the rows of a batch, each at its own raw strength."""


@dataclass(frozen=True, eq=False)
class Arm(Way):
    """A way to steer by a vector: one row of Table 1 for one concept.

    Attributes:
        method: ``"CAA"`` or ``"SAE"``, say.
        vector: positive strengths go to the concept's first pole.
        layers: where to steer: a layer set, indices or site names; None for all sites of the vector.
        scale: raw strength at +100 and at -100 percent, both above 0; as it is, percent are raw strengths.
        renorm: keep the length of every frame (eq. 3); the paper's SAE rows do without.
        passes: guidance passes to steer.
    """

    method: str
    vector: Vector
    layers: Layers | None = "functional"
    scale: tuple[float, float] = (100.0, 100.0)
    renorm: bool = True
    passes: Passes = "cond"

    def sites(self, model: Model) -> tuple[str, ...]:
        return self.vector.sites if self.layers is None else model.resolve(self.layers)

    def describe(self, model: Model) -> dict[str, Any]:
        sites = list(self.sites(model))
        return {"sites": sites, "vector": digest(self.vector, sites), "renorm": self.renorm, "passes": self.passes}

    def intervene(self, model: Model, rows: pd.DataFrame, texts: Texts) -> AbstractContextManager[None]:
        return self.vector.apply(model, rows["alpha"].tolist(), self.layers, self.passes, self.renorm)


@dataclass(frozen=True, eq=False)
class StackedArm(Way):
    """Several ways to steer at once, each at the same percentage of its own range.

    Attributes:
        method: ``"clamp of 2"``, say.
        parts: arms that read no other texts, in the order in which they act.
        layers: those of the parts, for its name.
        scale: does not count.
    """

    method: str
    parts: tuple[Way, ...]
    layers: Layers | None = "functional"
    scale: tuple[float, float] = (100.0, 100.0)

    def describe(self, model: Model) -> dict[str, Any]:
        return {"parts": [{**part.describe(model), "scale": part.scale} for part in self.parts]}

    @contextmanager
    def intervene(self, model: Model, rows: pd.DataFrame, texts: Texts) -> Iterator[None]:
        with ExitStack() as stack:
            for part in self.parts:
                own = rows.assign(alpha=[part.raw(percent) for percent in rows["percent"]])
                stack.enter_context(part.intervene(model, own, texts))
            yield


def steer(
    model: Model,
    arms: Sequence[Way],
    trial: Trial,
    percents: Sequence[float],
    judge: JudgeLike,
    store: Store | None = None,
) -> pd.DataFrame:
    """Steer every prompt by every arm at every strength, and judge the clips.

    All strengths of a prompt share its noise. The unsteered clip is made once for all arms, and is the same unit for
    every vector, method and layer set of a store, whose values are not computed again.

    Args:
        percents: strengths in percent of each arm's range; 0 is always there.
        judge: ``judge(clips, rows) -> {metric: [clips]}``; ``rows`` has ``concept, prompt, seed, method, layers, alpha,
            percent``. It needs an attribute ``key``, or to be a plain function of a module.

    Returns:
        One row a clip and metric: ``checkpoint, model, concept, pair, prompt, seed, method, layers, alpha, metric,
        value, unit_hash, percent`` and ``number``, that of the prompt; ``method`` and ``layers`` of the unsteered clips
        are ``"none"``.

    Raises:
        ValueError: no prompts, prompts and seeds twice, strengths that are not finite, arms of one name.
    """
    plan = plan_steering(model, arms, trial, percents, judge)
    return engine.run(model, plan, Job(trial.setting, judge, partial(apply_arms, tuple(arms))), store)


def plan_steering(
    model: Model, arms: Sequence[Way], trial: Trial, percents: Sequence[float], judge: JudgeLike | None = None
) -> pd.DataFrame:
    """List the clips of :func:`steer`, see :mod:`tada.engine`."""
    names = [(arm.method, arm.name(model)) for arm in arms]
    if not trial.rows or len(set(trial.rows)) < len(trial.rows):
        raise InputError(f"got {len(trial.rows)} prompts; expected one or more, none of them twice with one seed")
    if not names or len(set(names)) < len(names):
        raise InputError(f"got arms {names}; expected one or more, each method and layer set once")
    ways: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"kind": -1, "method": BASELINE, "layers": BASELINE, "percent": 0.0, "alpha": 0.0}, {})
    ]
    for kind, (arm, (method, layers)) in enumerate(zip(arms, names, strict=True)):
        described = arm.describe(model)
        for percent in sorted({float(percent) for percent in percents} - {0.0}):
            row = {"kind": kind, "method": method, "layers": layers, "percent": percent, "alpha": arm.raw(percent)}
            ways.append((row, described | {"alpha": float(f"{row['alpha']:.9g}")}))  # the same on every machine
    rows, told = [], []
    for number, (prompt, seed) in enumerate(trial.rows):
        clip = {"prompt": prompt, "seed": int(seed)}
        about = clip | {"concept": trial.concept, "number": number, "pair": key(clip)[:12], "chunk": number // CHUNK}
        others = [arm.texts(prompt) for arm in arms]
        about |= {name: "" for texts in others for name in texts}
        own = [{} if row["kind"] < 0 else others[row["kind"]] for row, _ in ways]
        rows += [about | row | texts for (row, _), texts in zip(ways, own, strict=True)]
        told += [clip | {"concept": trial.concept} | how | texts for (_, how), texts in zip(ways, own, strict=True)]
    plan = pd.DataFrame(rows).assign(**{UNIT: engine.units(model, trial.setting, judge, told)})
    baseline = plan[plan["kind"] < 0].set_index("number")[UNIT]
    return plan.assign(reference=plan["number"].map(baseline)).sort_values(["chunk", "kind"], kind="stable")


def apply_arms(arms: Sequence[Way], model: Model, rows: pd.DataFrame, texts: Texts) -> AbstractContextManager[Any]:
    """Steer the rows of a batch by their arm: the intervention of :func:`steer`."""
    kind = rows["kind"].iloc[0]
    return nullcontext() if kind < 0 else arms[kind].intervene(model, rows, texts)


def digest(vector: Vector, sites: Sequence[str] | None = None) -> str:
    """The sha256 of a vector's directions."""
    known = [site for site in sites or vector.sites if site in vector.directions]
    return sha256(b"".join(site.encode() + vector.directions[site].contiguous().numpy().tobytes() for site in known))
