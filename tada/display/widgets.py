"""Steering by hand in a live notebook: choose a concept, layers and a strength, generate, listen.

On a page of the book, where nothing can be generated, a slider over clips made beforehand stands in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tada.audio import Clips
from tada.concepts.steered import CONCEPTS
from tada.display import slider
from tada.display.players import Sound
from tada.errors import InputError, UnknownNameError, unknown
from tada.models.base import Model
from tada.steering.arms import Arm, Trial
from tada.steering.ranges import calibrated, clips

INSTALL = "pip install 'tada-companion[book]'"


@dataclass(frozen=True, eq=False)
class SteeringOption:
    """A way to steer a concept that a reader can choose.

    Attributes:
        arm: its vector is calibrated for these layers.
        name: short name, letters, digits and hyphens.
        label: in words.
    """

    arm: Arm
    name: str
    label: str

    def raw(self, model: Model, percent: float) -> float:
        """Return the strength at a percentage of the range; InputError if the vector was not calibrated for this."""
        return calibrated(model, self.arm).raw(percent)


Options = Mapping[str, Sequence[SteeringOption]]
"""Concept -> ways to steer it."""


def prepared_slider(
    model: Model,
    options: Options,
    trials: Mapping[str, Trial],
    name: str,
    percents: Sequence[float],
    command: str = "",
    keep: str | Path | None = None,
) -> slider.Slider:
    """Show a slider over clips of every concept and option at several strengths.

    Args:
        model: the model.
        options: concept -> ways to steer it.
        trials: concept -> how clips are made; the first prompt and seed are steered.
        name: of the clips, letters, digits and hyphens; once a page.
        percents: strengths, in percent of the range.
        command: that makes the clips again.
        keep: a folder where clips are kept and found again.

    Raises:
        InputError: no options, or a vector that was not calibrated.
    """
    _require_options(options)
    sweeps = [
        _sweep(model, option, replace(trials[concept], concept=concept, rows=trials[concept].rows[:1]), percents, keep)
        for concept, some in options.items()
        for option in some
    ]
    return slider.steer(sweeps, name, command=command)


def _sweep(
    model: Model, option: SteeringOption, trial: Trial, percents: Sequence[float], keep: str | Path | None
) -> slider.AlphaSweep:
    alphas = [option.raw(model, percent) for percent in percents]
    made = clips(model, option.arm, trial, alphas, keep)
    sounds = [
        Sound(clip, f"{trial.concept} at {percent:+g} %", alpha, percent)
        for clip, alpha, percent in zip(made, alphas, percents, strict=True)
    ]
    poles = CONCEPTS.get(trial.concept)
    return slider.AlphaSweep(
        concept=trial.concept,
        method=option.name,
        sounds=sounds,
        label=option.label,
        low=poles.negative if poles else "",
        high=poles.positive if poles else "",
        layers=[int(part) for part in model.label(option.arm.sites(model)).split("+")],
    )


def _require_options(options: Options) -> None:
    if not options or not all(options.values()):
        raise InputError("got no ways to steer; expected at least one for every concept")


@dataclass(eq=False)
class SteeringWidget:
    """Live widgets: two menus, a prompt, a seed, a strength, a button, and the clip.

    Attributes:
        model: the model.
        options: concept -> ways to steer it.
        trial: how clips are made; its first prompt and seed are where the widgets begin.
        box: what a notebook displays.
    """

    model: Model
    options: Options
    trial: Trial
    clips: Clips | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        _require_options(self.options)
        w = _widgets()
        wide = {"style": {"description_width": "5rem"}, "layout": w.Layout(width="32rem", max_width="95%")}
        self.concept = w.Dropdown(options=list(self.options), description="concept", **wide)
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
        some = self.options[self.concept.value]
        self.layers.options = [(option.label, option.name) for option in some]
        self.layers.value = some[0].name

    @property
    def option(self) -> SteeringOption:
        """The chosen option; UnknownNameError if the concept has no such option."""
        options = {option.name: option for option in self.options[self.concept.value]}
        if self.layers.value not in options:
            raise UnknownNameError(unknown("way to steer", self.layers.value, options))
        return options[self.layers.value]

    def generate(self) -> None:
        """Make the clip that the widgets describe, and show its player; what goes wrong is said below the button."""
        self.button.disabled, self.status.value = True, "generating ..."
        try:
            option = self.option
            alpha = option.raw(self.model, self.percent.value)
            trial = replace(self.trial, rows=((self.prompt.value, int(self.seed.value)),))
            self.clips = clips(self.model, option.arm, trial, [alpha])
            self._play(alpha)
        except Exception as error:  # a traceback in a callback is swallowed by the notebook
            self.status.value = str(error.args[0] if isinstance(error, KeyError) else error)
        finally:
            self.button.disabled = False

    def _play(self, alpha: float) -> None:
        from IPython.display import Audio, display

        assert self.clips is not None
        self.status.value = f"{self.concept.value}, {self.option.label}: strength {alpha:+.3g}"
        self.out.clear_output(wait=True)
        with self.out:
            display(Audio(self.clips[0].samples.numpy(), rate=self.clips.sample_rate))


def _widgets() -> Any:
    try:
        import ipywidgets
    except ModuleNotFoundError:
        raise ModuleNotFoundError(f"live steering needs ipywidgets: {INSTALL}") from None
    return ipywidgets
