"""Record, edit and route: the three interventions on a model's cross-attention sites.

Each is a context manager. They nest and combine: routes decide what text a site reads, edits then change what the
site puts out, in the order in which they were entered, and records see the result, which is exactly what the network
goes on with. Where a denoiser call holds both guidance passes, every function here sees one pass at a time, with one
row per clip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tada.errors import unknown
from tada.models.base import Layers, Model, Pass, Run
from tada.models.context import Context, Stream

Passes = Literal["cond", "uncond", "both"]
Steps = int | Iterable[int] | None
Reduce = Literal["mean"] | Callable[[Tensor], Tensor] | None


@dataclass(frozen=True)
class When:
    """Where in a sampling run a site fired.

    Attributes:
        site: name of the site.
        step: index of the denoising step, from 0.
        steps: number of steps of the run.
        is_cond: True in the conditional pass, False in the unconditional one.
    """

    site: str
    step: int
    steps: int
    is_cond: bool


Edit = Callable[[Tensor, When], Tensor]


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
            raise KeyError(unknown("recorded site", site, self.sites))
        runs = [_stacked(part, self.passes) for part in self._parts[str(site)]]
        if not runs:
            raise KeyError(f"nothing recorded at {site} yet: sample inside the with block")
        return runs[0] if len(runs) == 1 else torch.cat(runs, dim=len(self.passes))

    def __iter__(self) -> Iterator[str]:
        return iter(self.sites)

    def __len__(self) -> int:
        return len(self.sites)


def _stacked(part: Mapping[tuple[int, Pass], Tensor], passes: tuple[Pass, ...]) -> Tensor:
    steps = sorted({step for step, _ in part})
    if len(part) != len(steps) * len(passes):
        raise ValueError("some recorded steps had no unconditional pass: record the two passes apart")
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
    scope = _Scope("record", names, passes, steps)
    kept = Kept(model, names, scope.passes)
    shrink = _reducer(reduce)

    def note(hidden: Tensor, when: When, run: Run) -> None:
        kept.keep(run, when.site, "cond" if when.is_cond else "uncond", shrink(hidden))

    with _active(model, _Record(scope, note)):
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
        raise ValueError("got no edits; expected at least one site with its function")
    with _active(model, _Edit(_Scope("edit", tuple(functions), passes, steps), functions)):
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
    with _active(model, _Route(_Scope("route", names, passes, steps), source_context, rows)):
        yield


# ---- how it works: one board per model, one pair of torch hooks per touched site


@dataclass(eq=False)
class _Scope:
    """Where an intervention applies, and where it has applied."""

    kind: str
    sites: tuple[str, ...]
    which: Passes
    wanted: Steps
    fired: dict[str, set[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.which not in ("cond", "uncond", "both"):
            raise ValueError(unknown("pass", self.which, ("cond", "uncond", "both")))
        self.passes: tuple[Pass, ...] = ("cond", "uncond") if self.which == "both" else (self.which,)
        steps = None if self.wanted is None else [self.wanted] if isinstance(self.wanted, int) else list(self.wanted)
        if steps is not None and (not steps or min(steps) < 0):
            raise ValueError(f"got steps={self.wanted!r}; expected one or more step indices from 0")
        self.steps = None if steps is None else frozenset(steps)
        self.last = max(steps or [0])

    def covers(self, run: Run, site: str, which: Pass) -> bool:
        """Whether the intervention applies here and now; notes that it did."""
        if self.last >= run.sampling.steps:
            raise ValueError(f"{self.kind} at step {self.last}: this run has steps 0 to {run.sampling.steps - 1}")
        if which not in self.passes or (self.steps is not None and run.step not in self.steps):
            return False
        self.fired.setdefault(site, set()).add(run.step)
        return True

    def check(self) -> None:
        """Raise if a site, or a step that was asked for, never fired."""
        never = [site for site in self.sites if site not in self.fired]
        if never:
            what = f"{', '.join(never[:3])}{' and more' if len(never) > 3 else ''}"
            raise RuntimeError(
                f"{self.kind} on the {self.which} pass{'es' if self.which == 'both' else ''}: {what} never fired. "
                "Sample inside the with block; without guidance (1 or below) there is no unconditional pass"
            )
        missing = sorted(step for step in self.steps or () if any(step not in steps for steps in self.fired.values()))
        if missing:
            raise RuntimeError(f"{self.kind} never fired at steps {missing}: the {self.which} pass did not run there")

    def __str__(self) -> str:
        steps = "" if self.steps is None else f", {len(self.steps)} steps"
        return f"{self.kind} of {len(self.sites)} sites, {self.which}{steps}"


@dataclass(eq=False)
class _Record:
    scope: _Scope
    note: Callable[[Tensor, When, Run], None]


@dataclass(eq=False)
class _Edit:
    scope: _Scope
    functions: Mapping[str, Edit]


@dataclass(eq=False)
class _Route:
    scope: _Scope
    source: Context
    rows: Tensor | Sequence[int] | Sequence[bool] | None

    def source_stream(self, model: Model, run: Run, which: Pass, name: str) -> Stream:
        """The source's stream as the sites would see it in this run."""
        key = (id(self), "source")
        if key not in run.memo:
            source = self.source[[0] * run.rows] if len(self.source) == 1 else self.source
            if len(source) != run.rows:
                raise ValueError(
                    f"route: got a source of {len(source)} rows for {run.rows} clips; expected as many, or one"
                )
            run.memo[key] = model.conditioning(source, run.seconds, run.sampling)
        return run.memo[key].streams(which)[name]

    def mask(self, run: Run, device: torch.device) -> Tensor:
        """The routed rows as bool ``[rows]``."""
        key = (id(self), "mask")
        if key not in run.memo:
            run.memo[key] = _row_mask(self.rows, run.rows).to(device)
        return run.memo[key]

    def mix(self, model: Model, run: Run, site: str, which: Pass, base: Stream) -> Stream:
        """``base`` with the routed rows read from the source."""
        source = self.source_stream(model, run, which, model.streams[site])
        if source.states.shape[1:] != base.states.shape[1:]:
            raise ValueError(
                f"route at {site}: the source context has {source.tokens} tokens, the sampled one {base.tokens}; "
                "pad both to one length with source.align(base), or encode all prompts in one call"
            )
        return base.where(self.mask(run, base.states.device), source)


class _Board:
    """All interventions on one model."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.records: dict[str, list[_Record]] = {}
        self.edits: dict[str, list[_Edit]] = {}
        self.routes: dict[str, list[_Route]] = {}
        self.hooks: dict[str, ExitStack] = {}

    def lists(self, item: _Record | _Edit | _Route) -> dict[str, list[Any]]:
        return {_Record: self.records, _Edit: self.edits, _Route: self.routes}[type(item)]  # type: ignore[return-value]

    def add(self, item: _Record | _Edit | _Route) -> None:
        for site in item.scope.sites:
            self.lists(item).setdefault(site, []).append(item)
            if site not in self.hooks:
                self.hooks[site] = self.hook(site)

    def drop(self, item: _Record | _Edit | _Route) -> None:
        for site in item.scope.sites:
            if item in (table := self.lists(item).get(site, [])):
                table.remove(item)
            if site in self.hooks and not any(t.get(site) for t in (self.records, self.edits, self.routes)):
                self.hooks.pop(site).close()

    def hook(self, site: str) -> ExitStack:
        """Install the torch hooks of one site; closing the stack removes them."""
        stack = ExitStack()
        module = self.model.denoiser.get_submodule(site)

        def before(_: nn.Module, args: Any, keywords: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
            return self.before(site, args, keywords)

        def after(_: nn.Module, args: Any, output: Tensor) -> Tensor | None:
            return self.after(site, output)

        stack.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)
        stack.callback(module.register_forward_hook(after).remove)
        return stack

    def running(self, site: str) -> Run:
        if self.model.run is None:
            raise RuntimeError(f"{site} ran outside model.sample: its step and guidance pass are unknown")
        return self.model.run

    def before(self, site: str, args: Any, keywords: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
        if not self.routes.get(site):
            return None
        run = self.running(site)
        hits = {which: [r for r in self.routes[site] if r.scope.covers(run, site, which)] for which in run.passes}
        if not any(hits.values()):
            return None
        return args, {**keywords, **self.model.site_inputs(self.mixed(run, site, hits))}

    def mixed(self, run: Run, site: str, hits: Mapping[Pass, Sequence[_Route]]) -> Stream:
        """The stream that a site reads under its routes; the same object at every step that has the same routes."""
        name = self.model.streams[site]
        key = (name, *((which, *map(id, routes)) for which, routes in hits.items()))
        if key not in run.memo:
            parts = []
            for which, routes in hits.items():
                stream = run.conditioning.streams(which)[name]
                for item in routes:
                    stream = item.mix(self.model, run, site, which, stream)
                parts.append(stream)
            run.memo[key] = Stream.cat(parts)
        return run.memo[key]

    def after(self, site: str, output: Tensor) -> Tensor | None:
        edits, records = self.edits.get(site, ()), self.records.get(site, ())
        if not edits and not records:
            return None
        run = self.running(site)
        parts, changed = list(output.chunk(len(run.passes))), False
        for i, which in enumerate(run.passes):
            when = When(site, run.step, run.sampling.steps, which == "cond")
            for item in edits:
                if item.scope.covers(run, site, which):
                    parts[i], changed = _edited(item.functions[site], parts[i], when), True
            for watch in records:
                if watch.scope.covers(run, site, which):
                    watch.note(parts[i], when, run)
        if not changed:
            return None
        return parts[0] if len(parts) == 1 else torch.cat(parts)


def _edited(function: Edit, hidden: Tensor, when: When) -> Tensor:
    new = function(hidden, when)
    if not isinstance(new, Tensor) or new.shape != hidden.shape:
        got = tuple(new.shape) if isinstance(new, Tensor) else type(new).__name__
        raise ValueError(f"edit at {when.site}: the function returned {got}; expected a tensor {tuple(hidden.shape)}")
    return new.to(hidden.dtype)


def _row_mask(rows: Tensor | Sequence[int] | Sequence[bool] | None, count: int) -> Tensor:
    if rows is None:
        return torch.ones(count, dtype=torch.bool)
    given = torch.as_tensor(rows).cpu()
    if given.dtype == torch.bool:
        if given.shape != (count,):
            raise ValueError(f"route: got a row mask of shape {tuple(given.shape)} for {count} clips")
        return given
    if given.numel() == 0 or not 0 <= int(given.min()) <= int(given.max()) < count:
        raise IndexError(f"route: got rows {given.tolist()}; expected one or more of 0 to {count - 1}")
    return torch.zeros(count, dtype=torch.bool).index_fill(0, given.flatten().long(), True)


def _reducer(reduce: Reduce) -> Callable[[Tensor], Tensor]:
    if reduce is None:
        return torch.clone
    if callable(reduce):
        return reduce
    if reduce == "mean":
        return lambda hidden: hidden.mean(dim=1)
    raise ValueError(unknown("reduction", reduce, ("mean",), "Or give a function of the hidden states, or None."))


def _board(model: Model) -> _Board:
    if model.board is None:
        model.board = _Board(model)
    return model.board


@contextmanager
def _active(model: Model, item: _Record | _Edit | _Route) -> Iterator[None]:
    """An intervention in force: on the board inside the block, gone after it, checked if the block ended well."""
    board = _board(model)
    model.interventions.append(str(item.scope))
    try:
        board.add(item)
        yield
    finally:
        board.drop(item)
        model.interventions.remove(str(item.scope))
    item.scope.check()
