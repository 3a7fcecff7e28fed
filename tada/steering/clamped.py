"""Clamping: hold the share of cross-attention outputs along a direction, in place of adding to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pandas as pd

from tada.engine import Texts
from tada.hooks import Passes
from tada.models.base import Layers, Model
from tada.steering.arms import Arm
from tada.steering.vector import Alpha, Vector, read_strength


@contextmanager
def clamp(
    model: Model, alpha: Alpha, vector: Vector, layers: Layers | None = "functional", passes: Passes = "cond"
) -> Iterator[None]:
    """Hold the share along the direction at the strength: ``h' = h + (alpha - <h, v>) v`` with v of length 1.

    Further arguments are those of :meth:`Vector.apply`.

    Args:
        alpha: what every frame's share becomes; at 0 the clip is left as it is to the last bit, where a strength close
            to 0 removes the direction. One for all clips or one per row.

    Raises:
        ValueError, KeyError: as :meth:`Vector.apply`.
    """
    strength = read_strength(alpha)
    held = (strength != 0).double()
    with (
        vector.remove(model, held, layers, passes),
        vector.unit().apply(model, strength, layers, passes, renorm=False),
    ):
        yield


class ClampArm(Arm):
    """A way to steer by :func:`clamp`; its lengths are not kept."""

    def describe(self, model: Model) -> dict[str, Any]:
        return super().describe(model) | {"clamped": True, "renorm": False}

    def intervene(self, model: Model, rows: pd.DataFrame, texts: Texts) -> AbstractContextManager[None]:
        return clamp(model, rows["alpha"].tolist(), self.vector, self.layers, self.passes)
