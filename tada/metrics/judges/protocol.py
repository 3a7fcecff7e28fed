"""What a judge is, plain functions as judges, and several judges of the same clips."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tada.audio import Clips
from tada.errors import InputError

Values = NDArray[np.float64]


class Judge(Protocol):
    """Turns clips into values, one a clip.

    Attributes:
        key: names its weights and its rule; part of the key of every stored result.
        label: what it is, for readers.
        unit: of its value for a concept, such as ``"probability"`` or ``"similarity"``.
    """

    key: str
    label: str
    unit: str

    def knows(self, concept: str) -> bool:
        """Tell whether it can judge a concept."""

    def __call__(self, clips: Clips, rows: pd.DataFrame) -> Mapping[str, Values]:
        """Judge clips.

        Args:
            clips: one per row.
            rows: with a column ``concept``; a :class:`tada.metrics.suite.MetricSuite` asks for more.

        Returns:
            Metric -> float64 ``[clips]``, the judge's own metric first.

        Raises:
            KeyError: a concept that it does not know, with the nearest.
        """


class FunctionJudge:
    """A plain function ``score(clips, rows)`` as a judge of any concept; its key is its attribute ``key`` or its name.

    Raises:
        ValueError: a function whose name does not stay the same from run to run.
    """

    unit = "score"

    def __init__(self, function: Callable[[Clips, pd.DataFrame], Any]) -> None:
        name = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', '<')}"
        self.function, self.key = function, str(getattr(function, "key", name))
        self.label = self.key
        if "<" in self.key and not hasattr(function, "key"):
            raise InputError(f"{function!r} has no name that stays the same from run to run: give it an attribute key, "
                             "a text that names what it measures with")  # fmt: skip

    def knows(self, concept: str) -> bool:
        return True

    def __call__(self, clips: Clips, rows: pd.DataFrame) -> Mapping[str, Values]:
        result = self.function(clips, rows)
        table = result if isinstance(result, pd.DataFrame | Mapping) else {"score": result}
        return {str(metric): np.asarray(table[metric], np.float64) for metric in table}


JudgeLike = Judge | Callable[[Clips, pd.DataFrame], Any]


def as_judge(judge: JudgeLike) -> Judge:
    """Give back a judge as it is, and a plain function ``score(clips, rows)`` as a :class:`FunctionJudge`."""
    return judge if hasattr(judge, "knows") else FunctionJudge(judge)  # type: ignore[return-value]


def deciding(judge: Judge) -> Judge:
    """Give the judge that decides: the first of a :class:`Panel`, or the judge itself."""
    return judge.judges[0] if isinstance(judge, Panel) else judge


class Panel:
    """Several judges of the same clips; concepts are those of the first, and of others what they know.

    Attributes:
        judges: the first is the one that decides.
    """

    def __init__(self, *judges: Judge) -> None:
        self.judges = judges
        self.key = " + ".join(judge.key for judge in judges)
        self.label, self.unit = judges[0].label, judges[0].unit

    def knows(self, concept: str) -> bool:
        return self.judges[0].knows(concept)

    def __call__(self, clips: Clips, rows: pd.DataFrame) -> dict[str, Values]:
        first, *others = self.judges
        found = dict(first(clips, rows))
        for judge in others:
            if all(judge.knows(concept) for concept in rows["concept"].unique()):
                found |= judge(clips, rows)
        return found
