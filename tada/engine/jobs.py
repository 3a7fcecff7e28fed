"""What rows of a plan share, and the keys of their results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from tada.arguments import integer, number
from tada.metrics.judges import JudgeLike, as_judge
from tada.models.base import LONGEST, Lyrics, Model
from tada.models.context import Context
from tada.models.fingerprint import versions
from tada.models.run import Sampling
from tada.store import key

BATCH = 8
"""Rows in one denoiser call where nothing else is said."""


@dataclass(frozen=True)
class Setting:
    """What the clips of a batch share, and how they are made.

    Attributes:
        seconds: length of the clips.
        sampling: settings, or the name of a preset; None for the model's default.
        negative: negative prompt of all rows.
        lyrics: to sing in all rows; prompt -> lyrics; or one per prompt where a function says so.
        batch: rows in one denoiser call; it is halved where memory does not suffice. It changes results by rounding.
        progress: show a progress bar with the time left.
        executor: where chunks of rows are computed, any ``concurrent.futures.Executor``; None computes here.
        keep: a folder for the clips, as ``<unit_hash>.flac``; None drops them once they are judged.
    """

    seconds: float
    sampling: Sampling | str | None = None
    negative: str | None = None
    lyrics: Lyrics = None
    batch: int = BATCH
    progress: bool = False
    executor: Executor | None = field(default=None, repr=False, compare=False)
    keep: str | Path | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "seconds", number("seconds", self.seconds, 0.0, LONGEST))
        object.__setattr__(self, "batch", integer("batch", self.batch, 1))


@dataclass(frozen=True)
class Texts:
    """The texts of a chunk, encoded once and padded to one length; called with texts, it gives their rows."""

    context: Context
    places: Mapping[str, int]

    def __call__(self, texts: Iterable[str]) -> Context:
        return self.context[[self.places[text] for text in texts]]


Intervention = Callable[[Model, pd.DataFrame, Texts], AbstractContextManager[Any]]
"""What is done to the rows of a batch while they are sampled; a module's function, so that it can be sent."""


def no_intervention(model: Model, rows: pd.DataFrame, texts: Texts) -> AbstractContextManager[None]:
    """Leave the rows of a batch as they are."""
    return nullcontext()


@dataclass(frozen=True)
class Job:
    """What all rows of a plan share: their setting, the judge of their clips, the intervention."""

    setting: Setting
    judge: JudgeLike
    intervention: Intervention = no_intervention


def units(model: Model, setting: Setting, judge: JudgeLike | None, rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Give each row the hash of all that determines its result, 64 hexadecimal digits.

    Args:
        model: its name, weights and dtype count.
        setting: all that determines a clip counts; batch, progress, executor and folder do not.
        judge: its key counts; None for results that nobody judges.
        rows: of each row what sets it apart, as json can hold it.
    """
    sampling = model.sampling(setting.sampling)
    common = {
        "model": model.name,
        "weights": model.fingerprint(),
        "dtype": str(model.dtype),
        "sampling": {"kind": type(sampling).__name__, **asdict(sampling)},
        "seconds": setting.seconds,
        "negative": setting.negative,
        "lyrics": setting.lyrics,
        "judge": None if judge is None else as_judge(judge).key,
        "versions": {name: version.partition("+")[0] for name, version in versions().items() if name != "python"},
    }
    return [key({**common, **row}) for row in rows]
