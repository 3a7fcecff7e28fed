"""Steering by hand in a live notebook: choose a concept, layers and a strength, generate, listen.

On a page of the book, where nothing can be generated, a slider over clips made beforehand stands in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from IPython.display import HTML

from tada.audio import Clips
from tada.concepts.steered import CONCEPTS
from tada.display import slider
from tada.display.players import Sound
from tada.errors import InputError, MissingPackageError, TadaError
from tada.models.base import Model
from tada.steering.arms import Arm, Trial, Way
from tada.steering.ranges import calibrated, clips


@dataclass(frozen=True, eq=False)
class SteeringOption:
    """A way to steer a concept that a reader can choose.

    Attributes:
        arm: it has a range of its own, or its vector is calibrated for these layers.
        name: short name, letters, digits and hyphens.
        label: in words.
    """

    arm: Way
    name: str
    label: str

    def raw(self, model: Model, percent: float) -> float:
        """The raw strength at a percentage of the range."""
        arm = self.arm
        if isinstance(arm, Arm) and arm.scale == Arm.scale:
            arm = calibrated(model, arm)
        return arm.raw(percent)


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
) -> HTML:
    """Show a slider over clips of every concept and option.

    Args:
        model: the model.
        options: ways to steer.
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
    return slider.steer(sweeps, name, command)


def _sweep(
    model: Model, option: SteeringOption, trial: Trial, percents: Sequence[float], keep: str | Path | None
) -> slider.AlphaSweep:
    alphas = [option.raw(model, percent) for percent in percents]
    apart = [0.0][: alphas.count(0.0)], [alpha for alpha in alphas if alpha]  # all options have the unsteered one
    parts = [zip(some, clips(model, option.arm, trial, some, keep), strict=True) for some in apart if some]
    made = dict(chain(*parts))
    sounds = [
        Sound(made[alpha], f"{trial.concept} at {percent:+g} %", alpha, percent)
        for alpha, percent in zip(alphas, percents, strict=True)
    ]
    poles = CONCEPTS.get(trial.concept)
    low, high = (poles.negative, poles.positive) if poles else ("", "")
    layers = sorted(int(part.rpartition(".")[2]) for part in model.label(option.arm.sites(model)).split("+"))
    return slider.AlphaSweep(trial.concept, option.name, sounds, option.label, low, high, layers)


def _require_options(options: Options) -> None:
    if not options or not all(options.values()):
        raise InputError("got no ways to steer; expected at least one for every concept")


def live_panel(model: Model, options: Options, trial: Trial) -> Any:
    """Return live widgets: two menus, a prompt, a seed, a strength, a button, and the clip below them.

    The widgets begin with the first prompt and seed of ``trial``.

    Raises:
        InputError: no options. MissingPackageError: ipywidgets is not installed.
    """
    _require_options(options)
    try:
        import ipywidgets
    except ModuleNotFoundError:
        raise MissingPackageError("live steering needs ipywidgets: pip install 'tada-companion[book]'") from None

    concept, layers = ipywidgets.Dropdown(options=list(options)), ipywidgets.Dropdown()

    def offer(*_: Any) -> None:
        layers.options = [(option.label, option) for option in options[concept.value]]
        layers.value = options[concept.value][0]

    def generate(concept: str, layers: SteeringOption, prompt: str, seed: int, percent: float) -> Clips | None:
        from IPython.display import Audio, display

        try:
            alpha = layers.raw(model, percent)
            made = clips(model, layers.arm, replace(trial, rows=((prompt, seed),)), [alpha])
        except TadaError as error:
            display(str(error))
            return None
        display(f"{concept}, {layers.label}: strength {alpha:+.3g}")
        display(Audio(made[0].samples.numpy(), rate=made.sample_rate))
        return made

    offer()
    concept.observe(offer, "value")
    prompt, seed = trial.rows[0]
    strength = ipywidgets.FloatSlider(0.0, min=-100.0, max=100.0, step=5.0, description="strength %")
    manual = {"manual": True, "manual_name": "generate"}
    return ipywidgets.interactive(
        generate, manual, concept=concept, layers=layers, prompt=prompt, seed=ipywidgets.IntText(seed), percent=strength
    )
