"""Plants: models whose answer is known, since only chosen sites read the concept.

Nothing is trained. In what is swept of a planted pair of prompts, the planted sites read the prompt that they are told,
and all others the words that both prompts share. They are fed the same whatever is routed, so that they carry nothing
of the concept, and a clip in which only they are routed is the counterfactual's, bit for bit: it is not made again.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from tada.errors import check_name
from tada.models.base import Layers, Model
from tada.pairs import shared_text
from tada.patching.sweeps import checked_pairs
from tada.store import key

MOST = 4
"""Layers of a drawn plant, at most."""


def draw_plant(model: Model, seed: int) -> list[int]:
    """Draw 1 to :data:`MOST` layers: every number of them is as likely as any other, and so is every layer."""
    rng = np.random.default_rng(seed)
    return sorted(rng.permutation(len(model.sites))[: rng.integers(1, MOST + 1)].tolist())


def plant(model: Model, pairs: pd.DataFrame, layers: Layers | Mapping[str, Layers]) -> pd.DataFrame:
    """Let only some layers read the concept, in all that is swept of these pairs.

    Args:
        pairs: as for ``tada.patching.sweep``.
        layers: of all concepts, or by concept; an empty list is a null plant, in which none reads it.

    Returns:
        The pairs, under ids of their own, with ``planted`` (site names) and ``shared`` (what all other sites read;
        "music" where the prompts share no word).

    Raises:
        KeyError, IndexError: layers that the model does not have, or a concept that has none.
    """
    pairs = checked_pairs(pairs)
    names = pairs["concept"].unique()
    chosen = layers if isinstance(layers, Mapping) else dict.fromkeys(names, layers)
    for name in names:
        check_name("concept of the planted layers", name, chosen)
    sites = {name: model.resolve(chosen[name]) if chosen[name] != [] else () for name in names}
    planted = [sites[name] for name in pairs["concept"]]
    return pairs.assign(
        pair=[key({"pair": pair, "planted": some})[:12] for pair, some in zip(pairs["pair"], planted, strict=True)],
        planted=pd.Series(planted, pairs.index),
        shared=[shared_text(*texts) or "music" for texts in zip(pairs["target"], pairs["source"], strict=True)],
    )
