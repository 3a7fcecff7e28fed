"""A folder of steering vectors, one per model, concept and method, fitted once and found again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from tada.arguments import Seeds
from tada.concepts import steered as prompts
from tada.concepts.steered import Vocabulary, Wording
from tada.engine import Setting, units
from tada.errors import InputError, MissingFileError, check_name, unknown
from tada.io import slug
from tada.models.base import Layers, Model
from tada.steering.controls import shuffle_labels
from tada.steering.pairwise import contrast, difference, probe_direction, sign_consistency
from tada.steering.vector import Vector
from tada.store import shipped

FOLDER = Path("_build") / "vectors"
"""Where vectors are kept unless another folder is named."""


@dataclass(frozen=True)
class Recipe:
    """How a concept's vector is fitted.

    Attributes:
        concept: a name in ``tada.concepts.steered.CONCEPTS``.
        setting: of the clips; the concept's lyrics are sung by models that sing.
        count: prompt pairs, 50 in the paper.
        seed: of the first pair's noise; the next pairs have the ones that follow.
        vocabulary: ``"public"``, or ``"mini"`` for minis.
        wording: of the templates.
        sites: layers to fit; None for all.
        shared_noise: give all pairs the noise of ``seed``, as in the authors' code.
        method: ``"caa"``, ``"austeer"`` (see ``tada.steering.sign_consistency``), ``"probe"`` (see
            ``tada.steering.probe_direction``), ``"shuffled"`` (CAA of pairs half of which are swapped), or a
            difference as long as it is: ``"difference"`` (of the concept's prompts and neutral ones), ``"poles"`` (of
            the concept's and its counterpart's) or ``"opposite"`` (of the counterpart's and neutral ones).
        step_mean: average its directions over steps, as :meth:`Vector.step_mean` does, as long as they are.
    """

    concept: str
    setting: Setting
    count: int = prompts.COUNT
    seed: int = 10
    vocabulary: Vocabulary = "public"
    wording: Wording = "paper"
    sites: Layers | None = None
    shared_noise: bool = False
    method: str = "caa"
    step_mean: bool = False


METHODS = ("caa", "austeer", "probe", "shuffled", "difference", "poles", "opposite")
"""How a vector can be fitted."""


def fit(model: Model, recipe: Recipe, folder: str | Path | None = FOLDER, force: bool = True) -> Vector:
    """Fit the vector of a concept, or find it if the same recipe fitted it on the same weights.

    It is found in the folder, or else among shipped results, see :mod:`tada.store.shipped`.

    Args:
        folder: where vectors are kept; None keeps nothing.
        force: write over a vector that another recipe fitted, or that is damaged.

    Raises:
        InputError: there is such a vector, without force. KeyError: an unknown method.
    """
    check_name("method of fitting", recipe.method, METHODS)
    pairs = prompts.pairs(recipe.concept, recipe.vocabulary, recipe.wording, recipe.count)
    setting = replace(recipe.setting, lyrics=pairs.lyrics if model.sings else None)
    about = {"concept": recipe.concept, "wording": recipe.wording, "vocabulary": recipe.vocabulary}
    how = {"what": "vector", "count": recipe.count, "seeds": _seeds(recipe), "sites": list(model.resolve(recipe.sites))}
    how |= {} if recipe.method == "caa" else {"method": recipe.method}
    how |= {"step_mean": True} if recipe.step_mean else {}
    unit = units(model, setting, None, [{**about, **how}])[0]
    place = None if folder is None else path(folder, model, recipe.concept, recipe.method)
    old = None if place is None else _kept(place, unit, force)
    vector = old or _shipped(unit, partial(_fit, model, recipe, pairs, setting, {**about, "recipe": unit}))
    if place is not None:
        if old is None:
            vector.save(place)
        shipped.note_made(unit, place)
    return vector


def _seeds(recipe: Recipe) -> Seeds:
    return [[recipe.seed]] * recipe.count if recipe.shared_noise else recipe.seed


def _fit(model: Model, recipe: Recipe, pairs: prompts.Pairs, setting: Setting, about: Mapping[str, Any]) -> Vector:
    others = {"austeer": sign_consistency, "probe": probe_direction}
    others |= dict.fromkeys(("difference", "poles", "opposite"), difference)
    by, sides = others.get(recipe.method, contrast), (pairs.positive, pairs.negative)
    match recipe.method:
        case "shuffled":
            sides = shuffle_labels(*sides, recipe.seed)
        case "difference":
            sides = pairs.positive, pairs.neutral
        case "opposite":
            sides = pairs.negative, pairs.neutral
    vector = by(model, *sides, _seeds(recipe), setting, recipe.sites)
    vector = vector.step_mean(unit=False) if recipe.step_mean else vector
    return replace(vector, info={**vector.info, **about})


def _kept(place: Path, unit: str, force: bool) -> Vector | None:
    """The vector of a recipe in a file; None for half of one, as killed runs leave it, and with force for any other."""
    with suppress(MissingFileError, *([InputError] if force else [])):
        vector = Vector.load(place)
        if vector.info.get("recipe") == unit:
            return vector
        raise InputError(
            f"{place} is of another recipe or other weights: name another folder, or write over it (--force)"
        )
    return None


def _shipped(unit: str, fit_it: Callable[[], Vector]) -> Vector:
    """The vector of a recipe that ships, compared with another fit where a page asks for that; fitted if none does."""
    layer = shipped.layer()
    file = layer.files(unit).get(shipped.VECTOR)
    if file is None:
        return fit_it()
    vector = Vector.load(file)
    if layer.is_sampled(unit):
        layer.compare_vectors(unit, fit_it().directions, vector.directions)
    return vector


def path(folder: str | Path, model: Model, concept: str, method: str = "caa") -> Path:
    """Where the vector of a concept lies."""
    return Path(folder) / model.name / slug(model.checkpoint) / f"{concept.replace(' ', '-')}-{method}.safetensors"


def find(folder: str | Path, model: Model, concept: str, method: str = "caa") -> Vector:
    """The kept vector of a concept.

    Raises:
        KeyError: a concept that does not exist. FileNotFoundError: one without a vector, with the command that fits it.
    """
    prompts.get(concept)
    place = path(folder, model, concept, method)
    if place.is_file():
        return Vector.load(place)
    known = sorted({info["concept"] for _, info in entries(folder, model)})
    which = f"--model {model.name} --checkpoint {'mini' if model.is_mini else model.checkpoint}"
    raise MissingFileError(
        f"no {method} vector of {concept!r} for {model.checkpoint} in {folder} (there: {', '.join(known) or 'none'}): "
        f"fit it with `tada vectors fit {which} --concept {concept!r} --folder {folder}`"
    )


def entries(folder: str | Path, model: Model | None = None) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Path and description of every vector in a folder, of one model or of all."""
    place = Path(folder) if model is None else Path(folder) / model.name / slug(model.checkpoint)
    for file in sorted(place.rglob("*.safetensors")):
        about = file.with_suffix(".json")
        if about.is_file():
            info = json.loads(about.read_text(encoding="utf-8")).get("info", {})
            yield file, {"concept": file.stem, "method": "?", **info}


def by_name(folder: str | Path, name: str) -> Path:
    """The file of a vector by its path in the folder, without suffix; FileNotFoundError with the nearest names."""
    known = {file.relative_to(folder).with_suffix("").as_posix(): file for file, _ in entries(folder)}
    if name not in known:
        raise MissingFileError(unknown(f"vector in {folder}", name, known))
    return known[name]
