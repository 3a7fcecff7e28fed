"""A sampling run: its settings, its latents, and the state that its loop sets and hooks read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from tada.arguments import integer, number
from tada.errors import InputError
from tada.models.context import Conditioning, Context, Rows, Stream, row_index

Pass = Literal["cond", "uncond", "positive", "negative"]
"""Guidance passes of a denoiser call; the last two, which only guides ask for, read as the first does unless routed."""

Guide = Callable[[Tensor, "SamplingState", Callable[[], Tensor]], Tensor]
"""A change of the guided prediction ``[rows, ...]`` at a run's step; the last argument makes the positive and the
negative pass and gives their predictions, stacked along rows."""


@dataclass(frozen=True)
class Sampling:
    """The settings of the denoising of a clip.

    Attributes:
        steps: denoising steps, 1 to 1000.
        guidance: classifier-free guidance scale; 1 and below means no guidance and no unconditional pass.
    """

    most_steps: ClassVar[int] = 1000  # the noise levels that the models were trained on
    steps: int = 50
    guidance: float = 4.5

    @property
    def is_guided(self) -> bool:
        """Whether a run has an unconditional pass."""
        return self.guidance > 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", integer("steps", self.steps, 1, self.most_steps))
        object.__setattr__(self, "guidance", number("guidance", self.guidance))


@dataclass(frozen=True, eq=False)
class Latents:
    """Noise or sampled latents, one row per clip.

    Attributes:
        values: ``[rows, ...]`` in the model's own latent shape.
        seeds: the seed of each row; it also drives every later random draw of that row.
        seconds: length of the clips.
        records: how each row was made so far, empty for noise.
    """

    values: Tensor
    seeds: tuple[int, ...]
    seconds: float
    records: tuple[Mapping[str, Any], ...] = ()

    def __len__(self) -> int:
        return self.values.shape[0]

    def __getitem__(self, rows: Rows) -> Latents:
        """Rows by index, slice, list of indices or bool mask; an index may repeat."""
        index = row_index(rows, len(self))
        keep = index.tolist()
        records = tuple(self.records[i] for i in keep) if self.records else ()
        values = self.values[index.to(self.values.device)]
        return replace(self, values=values, seeds=tuple(self.seeds[i] for i in keep), records=records)


@dataclass(eq=False)
class SamplingState:
    """One sampling run in progress: all that a hook may want to know, set by the loop and read by hooks.

    Attributes:
        conditioning: what the denoiser is fed.
        sampling: the settings of the run.
        seconds: length of the clips.
        rows: number of clips.
        step: index of the current step.
        passes: guidance passes stacked along rows in the running denoiser call, in order.
        sources: contexts that sites are routed to, with their conditioning.
        streams: what sites read, the passes of a call stacked along rows; by name, passes and routes.
        key: stands for this run where the run itself should not be kept alive.
    """

    conditioning: Conditioning
    sampling: Sampling
    seconds: float
    rows: int
    step: int = 0
    passes: tuple[Pass, ...] = ("cond",)
    sources: dict[Context, Conditioning] = field(default_factory=dict, repr=False)
    streams: dict[tuple[Any, ...], Stream] = field(default_factory=dict, repr=False)
    key: object = field(default_factory=object, repr=False)

    def enter(self, step: int, passes: tuple[Pass, ...]) -> None:
        """Note where the run is, before a denoiser call."""
        self.step, self.passes = step, passes

    def stream(self, name: str) -> Stream:
        """Return a stream as the running denoiser call receives it, its passes stacked along rows."""
        key = (name, self.passes)
        if key not in self.streams:
            self.streams[key] = Stream.cat([self.conditioning.streams(which)[name] for which in self.passes])
        return self.streams[key]


@dataclass(eq=False)
class Live:
    """The state of a model that changes: one object for all copies that share its weights.

    Attributes:
        run: the sampling run in progress, None outside ``sample``.
        interventions: those in force, in the order in which they were entered.
        handles: the torch hooks on each site that an intervention touches.
        guides: changes of the guided prediction, in the order in which they were entered.
    """

    run: SamplingState | None = None
    interventions: list[Any] = field(default_factory=list)
    handles: dict[str, list[RemovableHandle]] = field(default_factory=dict)
    guides: list[Guide] = field(default_factory=list)

    def guide(self, prediction: Tensor, poles: Callable[[], Tensor]) -> Tensor:
        """Return the guided prediction as the guides in force change it."""
        for change in self.guides:
            assert self.run is not None
            prediction = change(prediction, self.run, poles)
        return prediction


def last_finite(steps: Iterator[Tensor], count: int, label: str | None) -> Tensor:
    """Run through the latents of a run's steps and return the last, with a progress bar where there is a label.

    Raises:
        InputError: latents that became NaN or infinite, with the first step and its rows.
    """
    from tqdm.auto import tqdm

    finite, values = [], None
    for values in tqdm(steps, total=count, disable=label is None, desc=label, leave=False):
        finite.append(values.isfinite().flatten(1).all(1))
    assert values is not None
    broken = (~torch.stack(finite)).nonzero()
    if len(broken):
        step = int(broken[0, 0])
        rows = broken[broken[:, 0] == step][:, 1].tolist()
        raise InputError(
            f"NaN or infinite latents after step {step} of {len(finite)}, rows {rows}: "
            "lower the strength of the intervention or use a wider dtype (tada.load(..., dtype=torch.float32))"
        )
    return values


def cfg(cond: Tensor, uncond: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance."""
    return uncond + scale * (cond - uncond)


def guided(
    ask: Callable[[tuple[Pass, ...]], Tensor], run: SamplingState, order: tuple[Pass, Pass] = ("uncond", "cond")
) -> Tensor:
    """Ask for both passes in one call, or for one where the run has no guidance; the prediction ``[rows, ...]``."""
    if run.conditioning.uncond is None:
        return ask(("cond",))
    found = dict(zip(order, ask(order).chunk(2), strict=True))
    return cfg(found["cond"], found["uncond"], run.sampling.guidance)


def whole_frames(frames: float) -> int:
    """Round a length up to whole frames, so that a clip is no shorter than asked; rounding errors make no frame."""
    return math.ceil(round(frames, 6))
