"""Make judges by their names."""

from __future__ import annotations

from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

from tada.errors import InputError
from tada.metrics.judges.concepts import EarJudge, OutsideJudge, ProbeJudge, SignalJudge
from tada.metrics.judges.protocol import Judge, Panel, as_judge
from tada.metrics.judges.steering import EarSteeringJudge, ProbeSteeringJudge

NAMES = ("clap", "muq", "paper")
"""Judges by similarity to a query."""


def make_judge(name: str = "", checkpoint: str | Path | None = None) -> Judge:
    """Make a judge by its name.

    Args:
        name: ``"probe"`` (the minis' attribute probe, with an ear beside it), ``"clap"``, ``"muq"`` or ``"paper"``
            (similarity to the concept's query, by the model that is named or that the paper takes for the concept), or
            ``module:name`` of a function ``score(clips, rows)``; nothing for the checkpoint's own: the probe for minis,
            CLAP for others.
        checkpoint: what the clips are made with.

    Raises:
        ValueError: no such judge, or nothing given for a checkpoint that has no judge of its own.
    """
    if not name and checkpoint not in (None, "mini") and Path(str(checkpoint)).expanduser().is_dir():
        raise InputError(
            f"got no score for the folder {checkpoint}; expected probe (for clips of synthetic music), "
            f"{', '.join(NAMES)}, or module:name of a function score(clips, rows)"
        )
    chosen = name or ("probe" if checkpoint == "mini" else "clap")
    if chosen == "probe":
        return Panel(ProbeJudge(), EarJudge("clap", "mini"))
    return EarJudge(chosen) if chosen in NAMES else as_judge(_import(chosen))


def steering_judge(vocabulary: str) -> Judge:
    """Make the judge of steered clips: what finds their range, with signal and tags beside it.

    Args:
        vocabulary: of the prompts: ``"mini"`` for the probe, else CLAP.
    """
    return Panel(ProbeSteeringJudge() if vocabulary == "mini" else EarSteeringJudge(), SignalJudge(), OutsideJudge())


def _import(path: str) -> Any:
    """Import what ``module:name`` names; InputError that says what is missing, or that it does not take two things."""
    module, _, attribute = path.partition(":")
    try:
        score = getattr(import_module(module), attribute)
        signature(score).bind("clips", "rows")
        return score
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise InputError(
            f"no score {path!r} ({error}); expected probe, {', '.join(NAMES)}, or module:name of a function "
            "score(clips, rows)"
        ) from None
