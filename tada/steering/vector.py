"""Steering by activation addition: a direction per site and step, added while sampling; `pairwise` fits them.

Equations are those of section 3 of the paper. A :class:`Vector` is a plain value: it adds, scales and negates, several
combine into one, and it is saved as safetensors beside json. Vectors from other sources (features of a sparse
autoencoder) are the same thing and are applied the same way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tada.arguments import number
from tada.errors import InputError, UnknownNameError, unknown
from tada.hooks import Edit, Passes, Steps, When, edit
from tada.io import read_signed, write_signed
from tada.models.base import Layers, Model

Alpha = float | Sequence[float] | Tensor


@dataclass(frozen=True, eq=False)
class Vector:
    """Directions in which to push cross-attention outputs.

    Attributes:
        directions: site to float32 ``[steps, dim]``; one step serves all steps.
        info: where they come from: checkpoint, prompts, seeds, sampling, versions.
    """

    directions: Mapping[str, Tensor]
    info: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.directions:
            raise InputError("got a vector without sites; expected at least one")
        lengths = {len(direction) for direction in self.directions.values()}
        if len(lengths) > 1:
            raise InputError(f"got directions of {sorted(lengths)} steps; expected as many at every site")

    @property
    def sites(self) -> tuple[str, ...]:
        """Sites that have a direction."""
        return tuple(self.directions)

    @property
    def steps(self) -> int:
        """Denoising steps that have a direction of their own; 1 serves all."""
        return len(next(iter(self.directions.values())))

    def __add__(self, other: Vector) -> Vector:
        return combine([self, other])

    def __sub__(self, other: Vector) -> Vector:
        return combine([self, other], [1.0, -1.0])

    def __mul__(self, factor: float) -> Vector:
        factor = number("factor", factor)
        return self._each(lambda direction: direction * factor)

    __rmul__ = __mul__

    def __neg__(self) -> Vector:
        return self * -1.0

    def unit(self) -> Vector:
        """Scale every direction to length 1; a direction of length 0 stays."""
        return self._each(_unit)

    def step_mean(self, unit: bool = True) -> Vector:
        """Average the directions over steps to one per site, which serves all steps; ``unit``: of length 1."""
        mean = self._each(lambda direction: direction.mean(dim=0, keepdim=True))
        return mean.unit() if unit else mean

    def over_steps(self, weights: Sequence[float]) -> Vector:
        """Weigh the directions step by step: as many weights as a run has steps, of which one direction serves all.

        Raises:
            ValueError: another number of weights than of steps that have directions.
        """
        if self.steps not in (1, len(weights)):
            raise InputError(f"got {len(weights)} weights for {self.steps} steps; expected one a step")
        factors = torch.tensor([number("weight", weight) for weight in weights])[:, None]
        return self._each(lambda direction: direction * factors)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Vector:
        return replace(self, directions={site: change(direction) for site, direction in self.directions.items()})

    def of(self, model: Model) -> Vector:
        """Declare the vector fit for the checkpoint of ``model``, which is otherwise refused."""
        return replace(self, info={**self.info, "checkpoint": model.checkpoint})

    @contextmanager
    def apply(
        self,
        model: Model,
        alpha: Alpha,
        layers: Layers | None = "functional",
        passes: Passes = "cond",
        renorm: bool = True,
        steps: Steps = None,
    ) -> Iterator[None]:
        """Steer everything sampled inside the block: ``h' = ReNorm(h + alpha v, h)`` (text below eq. 2, eq. 3; eq. 8).

        Args:
            model: the model, of the checkpoint that the vector comes from.
            alpha: strength, 0 leaves the clip as it is to the last bit; one for all clips or one per row.
            layers: where to steer: indices, site names or a layer set; None for all sites of the vector.
            passes: guidance passes to steer.
            renorm: keep the length of every frame (eq. 3); eq. 8 does without.
            steps: denoising steps to steer; None for all.

        Raises:
            ValueError: a strength that is not finite or not one per row, another checkpoint, another number of steps.
            KeyError: a layer without direction.
        """
        strength = read_strength(alpha).to(model.device, model.dtype)
        alone = float(strength) if strength.dim() == 0 else None

        def push(hidden: Tensor, direction: Tensor) -> Tensor:
            if alone is None:
                moved = hidden + per_row(strength, len(hidden)).view(-1, 1, 1) * direction
            else:
                moved = torch.add(hidden, direction, alpha=alone)
            return rescale(moved, hidden) if renorm else moved

        with edit(model, self._edits(model, layers, push), passes, steps):
            yield

    @contextmanager
    def remove(
        self,
        model: Model,
        strength: Alpha = 1.0,
        layers: Layers | None = "functional",
        passes: Passes = "cond",
        steps: Steps = None,
    ) -> Iterator[None]:
        """Project the direction out of cross-attention outputs, inside the block; further arguments as :meth:`apply`.

        Args:
            strength: 0 changes nothing, 1 leaves no share along the direction; one for all clips or one per row.

        Raises:
            ValueError, KeyError: as :meth:`apply`.
        """
        factor = read_strength(strength).to(model.device, model.dtype)

        def project(hidden: Tensor, direction: Tensor) -> Tensor:
            unit = _unit(direction)
            share = (hidden * unit).sum(dim=-1, keepdim=True)  # in float32, as the unit direction is
            return (hidden - per_row(factor, len(hidden)).view(-1, 1, 1) * share * unit).to(hidden.dtype)

        with edit(model, self._edits(model, layers, project), passes, steps):
            yield

    def at(self, percent: float | str, layers: str | None = None) -> float:
        """Convert a share of the calibrated range to a raw strength.

        Args:
            percent: -100 to 100 and beyond, as a number or as text such as ``"80%"``.
            layers: of the range: a layer set's name or indices such as ``"6+7"``; None where there is one range only.

        Raises:
            ValueError: no number, or not one range for these layers.
        """
        ranges = {str(entry["layers"]): entry for entry in self.info.get("ranges", ())}
        name = next(iter(ranges)) if layers is None and len(ranges) == 1 else layers
        if name not in ranges:
            raise InputError(unknown("range for layers", name, ranges, "tada.steering.calibrate finds one."))
        try:
            number = float(str(percent).strip().removesuffix("%"))
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise InputError(f'got {percent!r}; expected finite percent such as 80 or "80%"')
        return abs(ranges[name]["high" if number > 0 else "low"]) * (number / 100)

    def save(self, path: str | Path) -> Path:
        """Write ``path`` (safetensors) and the json beside it, each replaced only when complete; return the first."""
        path = _named(path)
        write_signed(path, path.with_suffix(".json"), self.directions, {"info": dict(self.info)})
        return path

    @classmethod
    def load(cls, path: str | Path) -> Vector:
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: one of the two files is missing. ValueError: they do not belong together, or are damaged.
        """
        path = _named(path)
        tensors, about = read_signed(path, path.with_suffix(".json"))
        info = about.get("info")
        order = info.get("sites") or sorted(tensors) if isinstance(info, dict) else ()
        if info is None or not order or any(site not in tensors for site in order):
            raise InputError(f"{path.with_suffix('.json')} does not describe the sites of {path.name}: fit them again")
        return cls({site: tensors[site] for site in order}, info)

    def _edits(
        self, model: Model, layers: Layers | None, change: Callable[[Tensor, Tensor], Tensor]
    ) -> dict[str | int, Edit]:
        """Make the edit of each layer, with the direction of the step it runs in."""
        fitted = self.info.get("checkpoint", model.checkpoint)
        if fitted != model.checkpoint:
            raise InputError(
                f"this vector was fitted on {fitted}, the model is {model.checkpoint}: fit one for it, or insist "
                "with vector.of(model)"
            )
        sites = self.sites if layers is None else model.resolve(layers)
        missing = [site for site in sites if site not in self.directions]
        if missing:
            raise UnknownNameError(
                f"no direction at {', '.join(missing[:3])}: this vector has {len(self.sites)} sites, from "
                f"{self.sites[0]} to {self.sites[-1]}; fit it there or give layers that it has"
            )
        tables = {site: self.directions[site].to(model.device, model.dtype).unbind() for site in sites}

        def run(hidden: Tensor, when: When) -> Tensor:
            if self.steps not in (1, when.steps):
                raise InputError(
                    f"this vector has directions for {self.steps} steps, the run has {when.steps}: sample with "
                    f"steps={self.steps}, fit it anew, or use vector.step_mean()"
                )
            return change(hidden, tables[when.site][when.step % self.steps])

        return dict.fromkeys(sites, run)


def combine(vectors: Sequence[Vector], weights: Sequence[float] | None = None, orthogonal: bool = False) -> Vector:
    """Sum vectors with weights, each steering where it has directions.

    Args:
        vectors: of one checkpoint and with equal steps (or one step for all).
        weights: one per vector; None for ones.
        orthogonal: first take from each vector what the ones before it already point to (Gram-Schmidt per site and
            step, lengths kept), so that a concept is not steered twice.

    Returns:
        A vector over the union of their sites.

    Raises:
        ValueError: no vectors, another number of weights, other checkpoints or steps.
    """
    weights = [1.0] * len(vectors) if weights is None else list(weights)
    if not vectors or len(weights) != len(vectors):
        raise InputError(f"got {len(vectors)} vectors and {len(weights)} weights; expected as many, and at least one")
    checkpoints = {str(v.info["checkpoint"]) for v in vectors if "checkpoint" in v.info}
    steps = {v.steps for v in vectors} - {1}
    if len(checkpoints) > 1 or len(steps) > 1:
        raise InputError(
            f"vectors of one checkpoint and step count combine; got {sorted(checkpoints)}, {sorted(steps)}"
        )
    sites = dict.fromkeys(site for vector in vectors for site in vector.sites)
    directions = {}
    for site in sites:
        own = [place for place, vector in enumerate(vectors) if site in vector.directions]
        parts = [vectors[place].directions[site] for place in own]
        parts = orthogonalise(parts) if orthogonal else parts
        start = torch.zeros(max(steps, default=1), parts[0].shape[-1])
        directions[site] = sum((part * weights[place] for part, place in zip(parts, own, strict=True)), start)
    info = {"method": "combination", "weights": weights, "parts": [dict(v.info) for v in vectors], "sites": list(sites)}
    return Vector(directions, info | ({"checkpoint": checkpoints.pop()} if checkpoints else {}))


def orthogonalise(directions: Sequence[Tensor]) -> list[Tensor]:
    """Make each direction ``[steps, dim]`` orthogonal to those before it, lengths kept (Gram-Schmidt per step)."""
    done: list[Tensor] = []
    for direction in directions:
        rest = direction
        for other in map(_unit, done):
            rest = rest - (rest * other).sum(dim=-1, keepdim=True) * other
        done.append(_unit(rest) * direction.norm(dim=-1, keepdim=True))
    return done


def rescale(moved: Tensor, hidden: Tensor) -> Tensor:
    """Equation 3 in place: no tensor of the size of ``moved`` is made, which is what the sum before it costs."""
    before, after = (_length(outputs) for outputs in (hidden, moved))
    return moved.mul_(before.div_(after.clamp_min_(torch.finfo(torch.float32).tiny)))


def _length(outputs: Tensor) -> Tensor:
    """Norms in float32: that of a long row of float16 is more than float16 holds."""
    wide = torch.promote_types(outputs.dtype, torch.float32)
    return torch.linalg.vector_norm(outputs, dim=-1, keepdim=True, dtype=wide)


def _named(path: str | Path) -> Path:
    """The file of tensors; a name with other dots in it, such as ``happy.v2``, is kept whole."""
    return Path(path) if Path(path).suffix == ".safetensors" else Path(f"{path}.safetensors")


def _unit(direction: Tensor) -> Tensor:
    norm = _length(direction)
    return torch.where(norm > 0, direction / norm, torch.zeros_like(direction))


def read_strength(alpha: Alpha) -> Tensor:
    """Read finite strengths: ``[]`` of one for all rows, ``[rows]`` of one per row."""
    if np.iterable(alpha) and not isinstance(alpha, str) and np.ndim(alpha) and len(alpha):
        return torch.tensor([number("alpha", one) for one in alpha])
    return torch.tensor(number("alpha", alpha))


def per_row(strength: Tensor, rows: int) -> Tensor:
    """Strengths as from :func:`read_strength`, ``[rows]``; ValueError for neither one nor one per row."""
    if strength.dim() and len(strength) != rows:
        raise InputError(f"got {len(strength)} strengths for {rows} rows; expected one, or one per row")
    return strength.expand(rows)
