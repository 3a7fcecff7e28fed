"""Record, edit and route: the three interventions on a model's cross-attention sites.

Each is a context manager. They nest and combine: routes decide what text a site reads, edits then change what the
site puts out, in the order in which they were entered, and records see the result, which is exactly what the network
goes on with. Where a denoiser call holds both guidance passes, every function here sees one pass at a time, with one
row per clip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor

from tada.board import Edit, Editing, Passes, Recording, Routing, Scope, Steps, When, active
from tada.errors import InputError, UnknownNameError, unknown
from tada.models.base import Layers, Model, Pass, Run
from tada.models.context import Context

__all__ = ["Edit", "Kept", "Passes", "Reduce", "Steps", "When", "edit", "record", "route"]

Reduce = Literal["mean"] | Callable[[Tensor], Tensor] | None


class Kept(Mapping[str, Tensor]):
    """What :func:`record` kept: ``kept[site]`` is ``[steps, rows, ...]``, or ``[steps, 2, rows, ...]`` for both passes.

    Runs made one after the other inside the same ``with`` are joined along rows. An index means the layer of the model.
    """

    def __init__(self, model: Model, sites: tuple[str, ...], passes: tuple[Pass, ...]) -> None:
        self.sites, self.passes, self._layers = sites, passes, model.sites
        self._parts: dict[str, list[dict[tuple[int, Pass], Tensor]]] = {site: [] for site in sites}
        self._runs: list[object] = []

    def keep(self, run: Run, site: str, which: Pass, value: Tensor) -> None:
        if not self._runs or self._runs[-1] is not run.key:
            self._runs.append(run.key)
        parts = self._parts[site]
        parts.extend({} for _ in range(len(self._runs) - len(parts)))
        parts[-1][run.step, which] = value

    @property
    def steps(self) -> tuple[int, ...]:
        """The steps that were recorded, the first axis of every tensor."""
        first = self._parts[self.sites[0]]
        return tuple(sorted({step for step, _ in first[0]})) if first else ()

    def __getitem__(self, site: str | int) -> Tensor:
        if isinstance(site, int) and -len(self._layers) <= site < len(self._layers):
            site = self._layers[site]
        if site not in self._parts:
            raise UnknownNameError(unknown("recorded site", site, self.sites))
        runs = [_stacked(part, self.passes) for part in self._parts[str(site)]]
        if not runs:
            raise UnknownNameError(f"nothing recorded at {site} yet: sample inside the with block")
        return runs[0] if len(runs) == 1 else torch.cat(runs, dim=len(self.passes))

    def __iter__(self) -> Iterator[str]:
        return iter(self.sites)

    def __len__(self) -> int:
        return len(self.sites)


def _stacked(part: Mapping[tuple[int, Pass], Tensor], passes: tuple[Pass, ...]) -> Tensor:
    steps = sorted({step for step, _ in part})
    if len(part) != len(steps) * len(passes):
        raise InputError("some recorded steps had no unconditional pass: record the two passes apart")
    rows = [part[step, which] for step in steps for which in passes]
    flat = torch.stack(rows)
    return flat if len(passes) == 1 else flat.unflatten(0, (len(steps), len(passes)))


@contextmanager
def record(
    model: Model,
    sites: Layers | None = None,
    reduce: Reduce = None,
    passes: Passes = "cond",
    steps: Steps = None,
) -> Iterator[Kept]:
    """Keep what sites add to the hidden states, as the network goes on with it.

    Args:
        model: the model.
        sites: layers by index, site name or layer set; None for all.
        reduce: None keeps ``[rows, tokens, dim]``; ``"mean"`` averages over tokens; or a function of the hidden states
            ``[rows, tokens, dim]``. It runs on the model's device before anything is kept.
        passes: guidance passes to look at.
        steps: denoising steps to look at; None for all.

    Yields:
        A mapping that fills while the model samples.

    Raises:
        RuntimeError: at exit, a site or a requested step that never fired.
    """
    names = model.resolve(sites)
    scope = Scope("record", names, passes, steps)
    kept = Kept(model, names, scope.passes)
    shrink = _reducer(reduce)

    def note(hidden: Tensor, when: When, run: Run) -> None:
        kept.keep(run, when.site, "cond" if when.is_cond else "uncond", shrink(hidden))

    with active(model, Recording(scope, note)):
        yield kept


@contextmanager
def edit(
    model: Model,
    edits: Mapping[str | int, Edit],
    passes: Passes = "cond",
    steps: Steps = None,
) -> Iterator[None]:
    """Replace what sites add to the hidden states by a pure function of it.

    Args:
        model: the model.
        edits: site (name, index or layer set) to a function ``fn(hidden, when) -> hidden`` of the hidden states
            ``[rows, tokens, dim]`` of one guidance pass; the shape has to stay, the dtype is cast back.
        passes: guidance passes to edit.
        steps: denoising steps to edit; None for all.

    Raises:
        RuntimeError: at exit, a site or a requested step that never fired.
        ValueError: a function that changes the shape, or a step that the run does not have.
    """
    functions = {site: fn for key, fn in edits.items() for site in model.resolve(key)}
    if not functions:
        raise InputError("got no edits; expected at least one site with its function")
    with active(model, Editing(Scope("edit", tuple(functions), passes, steps), functions)):
        yield


@contextmanager
def route(
    model: Model,
    sites: Layers | None,
    source_context: Context,
    rows: Tensor | Sequence[int] | Sequence[bool] | None = None,
    passes: Passes = "both",
    steps: Steps = None,
) -> Iterator[None]:
    """Let sites read another prompt: patching of keys and values, which are linear in the context.

    Args:
        model: the model.
        sites: layers by index, site name or layer set; None for all.
        source_context: the context to read from, one row per clip or a single row for all, of the same length in tokens
            as the sampled context (``a.align(b)`` pads two contexts to one length).
        rows: the clips that are routed, as bool mask or indices; None for all.
        passes: guidance passes that are routed. Both, as in the paper: the source's own
            unconditional side comes along.
        steps: denoising steps that are routed; None for all.

    Raises:
        ValueError: while sampling, contexts of different length. RuntimeError: at exit, a site that never fired.
    """
    names = model.resolve(sites)
    with active(model, Routing(Scope("route", names, passes, steps), source_context, rows)):
        yield


def _reducer(reduce: Reduce) -> Callable[[Tensor], Tensor]:
    if reduce is None:
        return torch.clone
    if callable(reduce):
        return reduce
    if reduce == "mean":
        return lambda hidden: hidden.mean(dim=1)
    raise InputError(unknown("reduction", reduce, ("mean",), "Or give a function of the hidden states, or None."))
