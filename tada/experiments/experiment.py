"""What one notebook runs: a model, the setting of its clips, a judge, and how much of everything."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

import tada
from tada.concepts.steered import Vocabulary, Wording
from tada.engine import Setting
from tada.engine.pool import processes
from tada.errors import InputError
from tada.experiments.profiles import Profile
from tada.metrics.judges import Judge
from tada.models import tiny
from tada.models.base import Layers, Model
from tada.pairs.builder import Captions
from tada.store import shipped


@dataclass(frozen=True, eq=False)
class Experiment:
    """What one notebook runs, settled before anything is computed.

    Attributes:
        captions: that pairs are built from and autoencoders trained on, as for ``tada.pairs.build``.
        wording: of queries, templates and prompts: the paper's, or that of the authors' later code.
        lyrics: that the public prompts of vocal concepts sing, in their order; nothing for what the model sings of
            itself.
    """

    model: Model
    setting: Setting
    judge: Judge
    profile: Profile
    vocabulary: Vocabulary
    captions: Captions = field(default=None, repr=False)
    wording: Wording = "paper"
    lyrics: tuple[str, ...] = ()

    @property
    def layer_sets(self) -> tuple[Layers, ...]:
        """What is steered: all layers, and the functional ones and the others where they are known."""
        return ("functional", "all", "all-but-functional") if self.model.functional else ("all",)


def load_model(name: str, checkpoint: str | Path | None, device: str | torch.device = "auto") -> Model:
    """Load a model as ``tada.load`` does; ``"public"`` is the paper's checkpoint, ``"tiny"`` a random one."""
    if checkpoint == "tiny":
        return tada.load(name, _build_tiny(name).name, device)
    return tada.load(name, None if checkpoint in ("", "public") else checkpoint, device)


@cache
def _build_tiny(name: str) -> TemporaryDirectory[str]:
    """Build the architecture's tiny checkpoint in a folder that lives as long as the process."""
    folder = TemporaryDirectory(prefix="tada-")
    tiny.build(name, folder.name)
    return folder


def parse_layers(text: str) -> Layers:
    """Read layers as a user types them: ``"6+7"`` or ``"6, 7"`` as indices, names as they are."""
    if text in ("all", "functional", "all-but-functional"):
        return text
    parts = text.replace(",", "+").replace(" ", "").strip("{}[]()").split("+")
    return [int(part) if re.fullmatch("-?[0-9]{1,9}", part) else part for part in parts]


def check_disjoint(what: str, **parts: Iterable[Hashable]) -> None:
    """Refuse that what chooses also measures: InputError where two parts of an experiment use some of the same.

    ``what`` they use, prompts, seeds or the like, is said in words.
    """
    for one, other in combinations(parts, 2):
        shared = set(parts[one]) & set(parts[other])
        if shared:
            raise InputError(
                f"{one} and {other} share {len(shared)} {what}, such as {min(shared, key=str)!r}; expected none, since "
                "what chooses must not measure: take others for either"
            )


def compute_ahead(workers: int, *stages: Sequence[Callable[[], Any]]) -> None:
    """Run jobs that can be pickled in processes of one thread each, into their stores, one stage after the other.

    With one worker, for one job, and where results ship for the page that is being built, nothing is done ahead:
    whoever asks for the results computes them.
    """
    alone = max(map(len, stages)) < 2 or shipped.layer().has_page
    with processes(1 if alone else workers) as executor:
        for jobs in stages:
            for future in [executor.submit(job) for job in jobs] if executor else ():
                future.result()
