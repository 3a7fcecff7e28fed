"""How interventions reach a model: one board per model, with torch hooks only on the sites that are touched."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from tada.errors import InputError, LayerError, unknown
from tada.models.base import Model, Pass, Run
from tada.models.context import Context, Stream

Passes = Literal["cond", "uncond", "both"]
Steps = int | Iterable[int] | None


class When(NamedTuple):
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


@dataclass(eq=False)
class Scope:
    """Where an intervention applies, and where it has applied."""

    kind: str
    sites: tuple[str, ...]
    which: Passes
    wanted: Steps
    fired: dict[str, set[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.which not in ("cond", "uncond", "both"):
            raise InputError(unknown("pass", self.which, ("cond", "uncond", "both")))
        self.passes: tuple[Pass, ...] = ("cond", "uncond") if self.which == "both" else (self.which,)
        steps = None if self.wanted is None else [self.wanted] if isinstance(self.wanted, int) else list(self.wanted)
        if steps is not None and (not steps or min(steps) < 0):
            raise InputError(f"got steps={self.wanted!r}; expected one or more step indices from 0")
        self.steps = None if steps is None else frozenset(steps)
        self.last = max(steps or [0])

    def covers(self, run: Run, site: str, which: Pass) -> bool:
        """Whether the intervention applies here and now; notes that it did."""
        if self.last >= run.sampling.steps:
            raise InputError(f"{self.kind} at step {self.last}: this run has steps 0 to {run.sampling.steps - 1}")
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
class Recording:
    """Hands what sites put out to ``note``."""

    scope: Scope
    note: Callable[[Tensor, When, Run], None]

    def see(self, hidden: Tensor, when: When, run: Run) -> None:
        self.note(hidden, when, run)


@dataclass(eq=False)
class Editing:
    """Replaces what sites put out."""

    scope: Scope
    functions: Mapping[str, Edit]

    def see(self, hidden: Tensor, when: When, run: Run) -> Tensor:
        new = self.functions[when.site](hidden, when)
        if not isinstance(new, Tensor) or new.shape != hidden.shape:
            got = tuple(new.shape) if isinstance(new, Tensor) else type(new).__name__
            wanted = tuple(hidden.shape)
            raise InputError(f"edit at {when.site}: the function returned {got}; expected a tensor {wanted}")
        return new.to(hidden.dtype)


@dataclass(eq=False)
class Routing:
    """Lets sites read another context."""

    scope: Scope
    source: Context
    rows: Tensor | Sequence[int] | Sequence[bool] | None

    def mix(self, model: Model, run: Run, site: str, which: Pass, base: Stream) -> Stream:
        """``base`` with the routed rows read from the source."""
        source = self._source_stream(model, run, which, model.streams[site])
        if source.states.shape[1:] != base.states.shape[1:]:
            raise InputError(
                f"route at {site}: the source context has {source.tokens} tokens, the sampled one {base.tokens}; "
                "pad both to one length with source.align(base), or encode all prompts in one call"
            )
        return base.where(self._mask(run, base.states.device), source)

    def _source_stream(self, model: Model, run: Run, which: Pass, name: str) -> Stream:
        """The source's stream as the sites would see it in this run; routes from one context share the work."""
        key = ("source", id(self.source))
        if key not in run.memo:
            source = self.source[[0] * run.rows] if len(self.source) == 1 else self.source
            if len(source) != run.rows:
                raise InputError(
                    f"route: got a source of {len(source)} rows for {run.rows} clips; expected as many, or one"
                )
            run.memo[key] = self.source, model.conditioning(source, run.seconds, run.sampling)  # keeps the id
        return run.memo[key][1].streams(which)[name]

    def _mask(self, run: Run, device: torch.device) -> Tensor:
        """The routed rows as bool ``[rows]``."""
        key = (id(self), "mask")
        if key not in run.memo:
            run.memo[key] = row_mask(self.rows, run.rows).to(device)
        return run.memo[key]


Intervention = Recording | Editing | Routing


class Board:
    """All interventions on one model: what sites read (routes), and what they put out (edits, then records)."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.inputs: dict[str, list[Routing]] = {}
        self.outputs: dict[str, list[Recording | Editing]] = {}
        self.handles: dict[tuple[str, str], RemovableHandle] = {}

    def add(self, item: Intervention) -> None:
        for site in item.scope.sites:
            if isinstance(item, Routing):
                self.inputs.setdefault(site, []).append(item)
            else:
                self.outputs.setdefault(site, []).append(item)
                self.outputs[site].sort(key=lambda other: isinstance(other, Recording))
            self._hook(site)

    def drop(self, item: Intervention) -> None:
        for site in item.scope.sites:
            self.inputs[site] = [other for other in self.inputs.get(site, ()) if other is not item]
            self.outputs[site] = [other for other in self.outputs.get(site, ()) if other is not item]
            self._hook(site)

    def _hook(self, site: str) -> None:
        """Bring the torch hooks of a site in line with what is on the board."""
        module = self.model.denoiser.get_submodule(site)

        def before(_: nn.Module, args: Any, keywords: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
            return self.before(site, args, keywords)

        def after(_: nn.Module, args: Any, output: Tensor) -> Tensor | None:
            return self.after(site, output)

        for kind, wanted in (("before", self.inputs.get(site)), ("after", self.outputs.get(site))):
            if not wanted and (kind, site) in self.handles:
                self.handles.pop((kind, site)).remove()
            if wanted and (kind, site) not in self.handles:
                install = module.register_forward_hook(after) if kind == "after" else None
                self.handles[kind, site] = install or module.register_forward_pre_hook(before, with_kwargs=True)

    def running(self, site: str) -> Run:
        """The run in progress."""
        if self.model.run is None:
            raise RuntimeError(f"{site} ran outside model.sample: its step and guidance pass are unknown")
        return self.model.run

    def before(self, site: str, args: Any, keywords: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
        """What a site is called with under its routes; None where none applies."""
        run = self.running(site)
        hits = {which: [r for r in self.inputs[site] if r.scope.covers(run, site, which)] for which in run.passes}
        if not any(hits.values()):
            return None
        return args, {**keywords, **self.model.site_inputs(self._mixed(run, site, hits))}

    def _mixed(self, run: Run, site: str, hits: Mapping[Pass, Sequence[Routing]]) -> Stream:
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
        """What a site puts out under its edits, each guidance pass apart; None where nothing changes."""
        run, changed = self.running(site), False
        parts = [output] if len(run.passes) == 1 else list(output.chunk(len(run.passes)))
        for i, which in enumerate(run.passes):
            for item in self.outputs[site]:
                if item.scope.covers(run, site, which):
                    new = item.see(parts[i], When(site, run.step, run.sampling.steps, which == "cond"), run)
                    if new is not None:
                        parts[i], changed = new, True
        if not changed:
            return None
        return parts[0] if len(parts) == 1 else torch.cat(parts)


@contextmanager
def active(model: Model, item: Intervention) -> Iterator[None]:
    """An intervention in force: on the board inside the block, gone after it, checked if the block ended well."""
    if model.board is None:
        model.board = Board(model)
    model.interventions.append(str(item.scope))
    try:
        model.board.add(item)
        yield
    finally:
        model.board.drop(item)
        model.interventions.remove(str(item.scope))
    item.scope.check()


def row_mask(rows: Tensor | Sequence[int] | Sequence[bool] | None, count: int) -> Tensor:
    """Bool ``[count]`` of rows given as a mask, by index, or as None for all."""
    if rows is None:
        return torch.ones(count, dtype=torch.bool)
    given = torch.as_tensor(rows).cpu()
    if given.dtype == torch.bool:
        if given.shape != (count,):
            raise InputError(f"route: got a row mask of shape {tuple(given.shape)} for {count} clips")
        return given
    if given.numel() == 0 or not 0 <= int(given.min()) <= int(given.max()) < count:
        raise LayerError(f"route: got rows {given.tolist()}; expected one or more of 0 to {count - 1}")
    return torch.zeros(count, dtype=torch.bool).index_fill(0, given.flatten().long(), True)
