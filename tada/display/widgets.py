"""Steering by hand in a live notebook: choose a concept, layers and a strength, generate, listen.

On a page of the book, where nothing can be generated, the same call shows a slider over clips made beforehand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tada.audio import Clips
from tada.concepts.steered import CONCEPTS
from tada.display import players, slider
from tada.errors import InputError, UnknownNameError, unknown
from tada.models.base import Layers, Model
from tada.steering import strength
from tada.steering.arms import Arm, Trial
from tada.steering.ranges import clips, limits
from tada.steering.vector import Vector

INSTALL = "pip install 'tada-companion[book]'"
PERCENTS = (-100.0, -50.0, 0.0, 50.0, 100.0)
"""Strengths of prepared clips, in per cent of the range."""


@dataclass(frozen=True, eq=False)
class Way:
    """One way to steer a concept.

    Attributes:
        vector: calibrated for these layers.
        layers: where to steer; None for all sites of the vector.
        name: short name of the way, letters, digits and hyphens.
        label: in words.
        renorm: as for ``vector.apply``.
    """

    vector: Vector
    layers: Layers | None
    name: str
    label: str
    renorm: bool = True

    def raw(self, model: Model, percent: float) -> float:
        """The strength at so many per cent of the range; ValueError if the vector has none for these layers."""
        return strength(percent, limits(model, self.arm))

    @property
    def arm(self) -> Arm:
        """The way without its names."""
        return Arm(self.name, self.vector, self.layers, renorm=self.renorm)


def steering(
    model: Model,
    ways: Mapping[str, Sequence[Way]],
    trial: Trial | Mapping[str, Trial],
    name: str = "steering",
    percents: Sequence[float] = PERCENTS,
    live: bool | None = None,
    command: str = "",
    keep: str | Path | None = None,
) -> Any:
    """A slider: live widgets where cells can be run again, prepared clips where they cannot.

    Args:
        model: the model.
        ways: concept -> ways to steer it; all vectors calibrated.
        trial: how clips are made, one for all concepts or one each; the first prompt and seed are steered.
        name: of the prepared clips, letters, digits and hyphens; once a page.
        percents: strengths of the prepared clips, in per cent of the range.
        live: None: prepared while a page is built (see ``tada.display.players.PAGE``), live elsewhere.
        command: that makes the prepared clips again.
        keep: a folder where prepared clips are kept and found again.

    Raises:
        ValueError: no ways, or a vector that was not calibrated. ModuleNotFoundError: live without ipywidgets.
    """
    if not ways or not all(ways.values()):
        raise InputError("got no ways to steer; expected at least one for every concept")
    live = players.page_folder() is None if live is None else live
    trials = {concept: trial[concept] if isinstance(trial, Mapping) else trial for concept in ways}
    if live:
        return Panel(model, ways, trials[next(iter(ways))]).box
    return slider.steer(ladders(model, ways, trials, percents, keep), name, command=command)


def ladders(
    model: Model,
    ways: Mapping[str, Sequence[Way]],
    trials: Mapping[str, Trial],
    percents: Sequence[float] = PERCENTS,
    keep: str | Path | None = None,
) -> list[slider.Ladder]:
    """Clips of every concept and way at several strengths, from its trial's first prompt and seed."""
    ones = {name: replace(trial, rows=trial.rows[:1]) for name, trial in trials.items()}
    return [_ladder(model, name, way, ones[name], percents, keep) for name, some in ways.items() for way in some]


def _ladder(
    model: Model, concept: str, way: Way, trial: Trial, percents: Sequence[float], keep: str | Path | None
) -> slider.Ladder:
    alphas = [way.raw(model, percent) for percent in percents]
    made = clips(model, way.arm, trial, alphas, keep)
    sounds = [
        players.Sound(clip, f"{concept} at {percent:+g} %", strength=alpha, share=percent)
        for clip, alpha, percent in zip(made, alphas, percents, strict=True)
    ]
    poles = CONCEPTS.get(concept)
    return slider.Ladder(
        concept=concept,
        method=way.name,
        sounds=sounds,
        label=way.label,
        low=poles.negative if poles else "",
        high=poles.positive if poles else "",
        layers=[int(part) for part in model.label(way.arm.sites(model)).split("+")],
    )


@dataclass(eq=False)
class Panel:
    """The live widgets: two menus, a prompt, a seed, a strength, a button, and the clip.

    Attributes:
        model, ways, trial: as for :func:`steering`.
        box: what a notebook displays.
    """

    model: Model
    ways: Mapping[str, Sequence[Way]]
    trial: Trial
    clips: Clips | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        w = _widgets()
        wide = {"style": {"description_width": "5rem"}, "layout": w.Layout(width="32rem", max_width="95%")}
        self.concept = w.Dropdown(options=list(self.ways), description="concept", **wide)
        self.layers = w.Dropdown(description="layers", **wide)
        self.prompt = w.Text(self.trial.rows[0][0], description="prompt", **wide)
        self.seed = w.IntText(self.trial.rows[0][1], description="seed", **wide)
        self.percent = w.FloatSlider(
            0.0, min=-100.0, max=100.0, step=5.0, description="strength %", continuous_update=False, **wide
        )
        self.button = w.Button(description="generate", button_style="primary")
        self.status, self.out = w.Label(""), w.Output()
        self.concept.observe(lambda _: self._offer(), names="value")
        self.button.on_click(lambda _: self.generate())
        self._offer()
        parts = (self.concept, self.layers, self.prompt, self.seed, self.percent, self.button, self.status, self.out)
        self.box = w.VBox(parts)

    def _offer(self) -> None:
        some = self.ways[self.concept.value]
        self.layers.options = [(way.label, way.name) for way in some]
        self.layers.value = some[0].name

    @property
    def way(self) -> Way:
        """The chosen way; KeyError if the concept has no such way."""
        ways = {way.name: way for way in self.ways[self.concept.value]}
        if self.layers.value not in ways:
            raise UnknownNameError(unknown("way to steer", self.layers.value, ways))
        return ways[self.layers.value]

    def generate(self) -> None:
        """Make the clip that the widgets describe, and show its player; what goes wrong is said below the button."""
        self.button.disabled, self.status.value = True, "generating ..."
        try:
            way = self.way
            alpha = way.raw(self.model, self.percent.value)
            trial = replace(self.trial, rows=((self.prompt.value, int(self.seed.value)),))
            self.clips = clips(self.model, way.arm, trial, [alpha])
            self._play(alpha)
        except Exception as error:  # a traceback in a callback is swallowed by the notebook
            self.status.value = str(error.args[0] if isinstance(error, KeyError) else error)
        finally:
            self.button.disabled = False

    def _play(self, alpha: float) -> None:
        from IPython.display import Audio, display

        assert self.clips is not None
        self.status.value = f"{self.concept.value}, {self.way.label}: strength {alpha:+.3g}"
        self.out.clear_output(wait=True)
        with self.out:
            display(Audio(self.clips[0].samples.numpy(), rate=self.clips.sample_rate))


def _widgets() -> Any:
    try:
        import ipywidgets
    except ModuleNotFoundError:
        raise ModuleNotFoundError(f"live steering needs ipywidgets: {INSTALL}") from None
    return ipywidgets
