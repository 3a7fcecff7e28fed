"""Record, edit and route: the three interventions on a model's cross-attention sites.

Each is a context manager. They nest and combine: routes decide what text a site reads, edits then change the output of
the site, in the order in which they were entered, and records see the result, which is exactly what the network goes
on with. Where a denoiser call holds both guidance passes, every function here sees one pass at a time, with one row
per clip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from sys import maxsize
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from tada.arguments import integer, integers
from tada.errors import InputError, UnknownNameError, unknown
from tada.models.base import Layers, Model
from tada.models.context import Conditioning, Context, Stream, row_index
from tada.models.run import Pass, SamplingState

__all__ = ["Edit", "Part", "Passes", "Recorded", "Reduce", "Steps", "When", "edit", "record", "route"]

Passes = Literal["cond", "uncond", "both"]
Steps = int | Iterable[int] | None
Reduce = Literal["mean"] | Callable[[Tensor], Tensor] | None
RouteRows = Tensor | Sequence[int] | Sequence[bool] | None
Part = Literal["both", "keys", "values"]


class When(NamedTuple):
    """The place in a sampling run at which a site fired.

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


# ---- what users enter


@contextmanager
def record(
    model: Model,
    sites: Layers | None = None,
    reduce: Reduce = None,
    passes: Passes = "cond",
    steps: Steps = None,
) -> Iterator[Recorded]:
    """Keep the outputs of sites, as the network goes on with them.

    Args:
        sites: layers by index, site name or layer set; None for all.
        reduce: None keeps ``[rows, tokens, dim]``; ``"mean"`` averages over tokens; or a function of the hidden states
            ``[rows, tokens, dim]``. It runs on the model's device before anything is kept.
        passes: guidance passes to record.
        steps: denoising steps to record, negative ones from the end; None for all.

    Yields:
        A mapping that fills while the model samples.

    Raises:
        RuntimeError: at exit, a site or a requested step that never fired.
    """
    shrink = _reducer(reduce)

    def keep(hidden: Tensor, when: When, run: SamplingState) -> None:
        kept.keep(run, when, shrink(hidden))

    item = Intervention("record", model.resolve(sites), passes, steps, keep)
    kept = Recorded(model, item.sites, item.passes)
    with _active(model, item):
        yield kept


@contextmanager
def edit(
    model: Model,
    edits: Mapping[str | int, Edit],
    passes: Passes = "cond",
    steps: Steps = None,
) -> Iterator[None]:
    """Replace the outputs of sites by a pure function of them.

    Args:
        edits: site (name, index or layer set) to a function ``fn(hidden, when) -> hidden`` of the hidden states
            ``[rows, tokens, dim]`` of one guidance pass; the shape has to stay, the dtype is cast back.
        passes: guidance passes to edit.
        steps: denoising steps to edit, negative ones from the end; None for all.

    Raises:
        RuntimeError: at exit, a site or a requested step that never fired.
        ValueError: a function that changes the shape, or a step that the run does not have.
    """
    functions = {site: fn for key, fn in edits.items() for site in model.resolve(key)}
    if not functions:
        raise InputError("got no edits; expected at least one site with its function")

    def replace(hidden: Tensor, when: When, run: SamplingState) -> Tensor:
        new = functions[when.site](hidden, when)
        if not isinstance(new, Tensor) or new.shape != hidden.shape:
            got, expected = getattr(new, "shape", type(new).__name__), tuple(hidden.shape)
            raise InputError(f"edit at {when.site}: the function returned {got}; expected a tensor {expected}")
        return new.to(hidden.dtype)

    with _active(model, Intervention("edit", tuple(functions), passes, steps, replace)):
        yield


@contextmanager
def route(
    model: Model,
    sites: Layers | None,
    source_context: Context,
    rows: RouteRows = None,
    passes: Passes | Pass = "both",
    steps: Steps = None,
    part: Part = "both",
) -> Iterator[None]:
    """Let sites read another prompt: patching of keys and values, which are linear in the context.

    Args:
        sites: layers by index, site name or layer set; None for all.
        source_context: the context to read from, one row per clip or a single row for all, of the same length in tokens
            as the sampled context (encode all prompts in one call, and take rows of the result).
        rows: the clips that are routed, as bool mask or indices; None for all.
        passes: guidance passes that are routed. Both, as in the paper: the source's own unconditional side comes along.
        steps: denoising steps that are routed, negative ones from the end; None for all.
        part: ``"keys"`` or ``"values"`` alone, whose mask and positions stay those of the sampled text; ``"both"``.

    Raises:
        KeyError: another part. ValueError: while sampling, contexts of different length. RuntimeError: at exit, a
            site that never fired.
    """

    def mix(base: Stream, site: str, which: Pass, run: SamplingState) -> Stream:
        source = _source_conditioning(model, source_context, run).streams(which)[model.streams[site]]
        if source.states.shape[1:] != base.states.shape[1:]:
            raise InputError(
                f"route at {site}: the source context has {source.tokens} tokens, the sampled one {base.tokens}; "
                "encode all prompts in one call, which pads them to one length, and take rows of the result"
            )
        return base.where(row_mask(rows, run.rows).to(base.states.device), source)

    if part not in get_args(Part):
        raise UnknownNameError(unknown("part of a route", part, get_args(Part)))
    item = Intervention("route", model.resolve(sites), passes, steps, mix, part)
    if not model.streams.keys() >= set(item.sites):
        raise InputError(f"route: got {sites!r}; expected layers that read text, see model.sites")
    with _active(model, item):
        yield


class Recorded(Mapping[str, Tensor]):
    """The outputs that :func:`record` kept: ``kept[site]`` is ``[steps, rows, ...]``.

    For both passes it is ``[steps, 2, rows, ...]``. Runs made one after the other inside the same ``with`` are joined
    along rows. An index means the layer of the model.
    """

    def __init__(self, model: Model, sites: tuple[str, ...], passes: tuple[Pass, ...]) -> None:
        self.sites, self.passes, self._layers = sites, passes, model.sites
        self._runs: dict[str, dict[object, dict[tuple[int, Pass], Tensor]]] = {site: {} for site in sites}

    def keep(self, run: SamplingState, when: When, value: Tensor) -> None:
        """Keep the value of a site at a step of a run."""
        self._runs[when.site].setdefault(run.key, {})[when.step, "cond" if when.is_cond else "uncond"] = value

    @property
    def steps(self) -> tuple[int, ...]:
        """The steps that were recorded, the first axis of every tensor."""
        first = next(iter(self._runs[self.sites[0]].values()), {})
        return tuple(sorted({step for step, _ in first}))

    def __getitem__(self, site: str | int) -> Tensor:
        if not isinstance(site, str) and -len(self._layers) <= integer("site", site, -maxsize) < len(self._layers):
            site = self._layers[site]
        if site not in self._runs:
            raise UnknownNameError(unknown("recorded site", site, self.sites))
        runs = [_stacked(run, self.passes) for run in self._runs[str(site)].values()]
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
    flat = torch.stack([part[step, which] for step in steps for which in passes])
    return flat if len(passes) == 1 else flat.unflatten(0, (len(steps), len(passes)))


def _reducer(reduce: Reduce) -> Callable[[Tensor], Tensor]:
    if reduce is None:
        return torch.clone
    if callable(reduce):
        return reduce
    if reduce == "mean":
        return lambda hidden: hidden.mean(dim=1)
    raise InputError(unknown("reduction", reduce, ("mean",), "Or give a function of the hidden states, or None."))


# ---- interventions in force


@dataclass(eq=False)
class Intervention:
    """A function of what sites read (routes) or of their output (edits, records), and where it applies.

    ``act(hidden, when, run)`` returns a new output or None; ``act(stream, site, which, run)`` of routes a stream.
    ``which`` and ``wanted`` are the guidance passes and the steps as they were asked for.
    """

    kind: str
    sites: tuple[str, ...]
    which: Passes | Pass
    wanted: Steps
    act: Callable[..., Any]
    part: Part = "both"
    fired: dict[str, set[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = (*get_args(Passes), *(get_args(Pass) if self.kind == "route" else ()))
        if self.which not in known:
            raise InputError(unknown("pass", self.which, known))
        self.passes: tuple[Pass, ...] = ("cond", "uncond") if self.which == "both" else (self.which,)
        self.steps = None if self.wanted is None else frozenset(integers("steps", self.wanted, -maxsize))
        self.last = max(max(step, -1 - step) for step in self.steps or [0])

    def applies(self, run: SamplingState, site: str, which: Pass) -> bool:
        """Return whether the intervention applies here and now, and note that it did."""
        if self.last >= run.sampling.steps:
            raise InputError(f"{self.kind} at step {self.last}: this run has steps 0 to {run.sampling.steps - 1}")
        now = {run.step, run.step - run.sampling.steps}
        if which not in self.passes or (self.steps is not None and not now & self.steps):
            return False
        self.fired.setdefault(site, set()).update(now)
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


def _source_conditioning(model: Model, source: Context, run: SamplingState) -> Conditioning:
    """The source of a route as the sites see it in this run; routes from one context share the work."""
    if source not in run.sources:
        rows = source[[0] * run.rows] if len(source) == 1 else source
        if len(rows) != run.rows:
            raise InputError(f"route: got a source of {len(rows)} rows for {run.rows} clips; expected as many, or one")
        run.sources[source] = model.conditioning(rows, run.seconds, run.sampling)
    return run.sources[source]


def row_mask(rows: RouteRows, count: int) -> Tensor:
    """Return bool ``[count]`` of rows given as a mask, by index, or as None for all."""
    index = torch.arange(count) if rows is None else row_index(rows, count)
    if rows is not None and len(rows) == 0:
        raise InputError("route: got no rows; expected one or more, or None for all")
    return torch.zeros(count, dtype=torch.bool).index_fill(0, index, True)


# ---- torch hooks


@contextmanager
def _active(model: Model, item: Intervention) -> Iterator[None]:
    """Keep an intervention in force inside the block; afterwards check that it fired, if the block ended well."""
    model.live.interventions.append(item)
    try:
        for site in item.sites:
            _install(model, site)
        yield
    finally:
        model.live.interventions.remove(item)
        for site in item.sites:
            _install(model, site)
    item.check()


def _install(model: Model, site: str) -> None:
    """Bring the torch hooks of a site in line with the interventions in force."""
    for handle in model.live.handles.pop(site, ()):
        handle.remove()
    here: list[Intervention] = [item for item in model.live.interventions if site in item.sites]
    routes = [item for item in here if item.kind == "route"]
    outputs = sorted((item for item in here if item.kind != "route"), key=lambda item: item.kind == "record")
    module, handles = model.denoiser.get_submodule(site), []
    if routes:
        hook = partial(pre_hook, model, site, routes)
        handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))
    for part, name in model.projections.items() if any(item.part != "both" for item in routes) else ():
        projection = module.get_submodule(name)
        handles.append(projection.register_forward_pre_hook(partial(projection_hook, model, site, routes, part)))
    if outputs:
        handles.append(module.register_forward_hook(partial(post_hook, model, site, outputs)))
    if handles:
        model.live.handles[site] = handles


def pre_hook(
    model: Model, site: str, routes: Sequence[Intervention], _: nn.Module, args: Any, keywords: dict[str, Any]
) -> tuple[Any, dict[str, Any]] | None:
    """Return the arguments of a site under its routes; None where none applies."""
    stream = _routed_stream(model, site, routes, "both")
    return None if stream is None else (args, {**keywords, **model.site_inputs(stream)})


def projection_hook(
    model: Model, site: str, routes: Sequence[Intervention], part: Part, _: nn.Module, args: Any
) -> tuple[Tensor] | None:
    """Return what keys or values are made of under a site's routes; None where none applies."""
    stream = _routed_stream(model, site, routes, part)
    return None if stream is None else (model.site_states(stream),)


def _routed_stream(model: Model, site: str, routes: Sequence[Intervention], part: Part) -> Stream | None:
    """The stream that a site, or a part of it, reads under its routes; the same object while these are the same."""
    run, name = _running(model, site), model.streams[site]
    hits = {which: [item for item in routes if item.applies(run, site, which)] for which in run.passes}
    if not any(hits.values()):
        return None
    key = (name, part, *((which, *items) for which, items in hits.items()))
    if key not in run.streams:
        parts = []
        for which, items in hits.items():
            stream = run.conditioning.streams(which)[name]
            for item in items:
                stream = item.act(stream, site, which, run) if item.part in ("both", part) else stream
            parts.append(stream)
        run.streams[key] = Stream.cat(parts)
    return run.streams[key]


def post_hook(model: Model, site: str, items: Sequence[Intervention], module: nn.Module, args: Any, output: Any) -> Any:
    """Return the output of a site under its edits, each guidance pass apart; None where nothing changes."""
    if isinstance(output, tuple):
        changed = post_hook(model, site, items, module, args, output[0])
        return None if changed is None else (changed, *output[1:])
    run, changed = _running(model, site), False
    parts = [output] if len(run.passes) == 1 else list(output.chunk(len(run.passes)))
    for i, which in enumerate(run.passes):
        for item in items:
            if item.applies(run, site, which):
                new = item.act(parts[i], When(site, run.step, run.sampling.steps, which == "cond"), run)
                if new is not None:
                    parts[i], changed = new, True
    if not changed:
        return None
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _running(model: Model, site: str) -> SamplingState:
    if model.live.run is None:
        raise RuntimeError(f"{site} ran outside model.sample: its step and guidance pass are unknown")
    return model.live.run
