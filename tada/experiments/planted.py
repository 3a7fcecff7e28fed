"""Vectors of plants: models of which it is known, by construction, which layers read a concept.

See ``tada.patching.plant``: drawn layers read the prompts of the poles, all others what the neutral prompt says. CAA's
vector is fitted from the clips of such a model. So whether it pays to steer the layers that carry a concept can be
asked where these are known, and not where a localisation named them.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from tada.concepts import steered as prompts
from tada.engine import Setting, units
from tada.experiments.profiles import first_seed
from tada.experiments.table_1 import Table1
from tada.hooks import record, route
from tada.io import read_signed, write_signed
from tada.models.base import Layers, Model
from tada.steering import Vector
from tada.steering.pairwise import fit_rows
from tada.store import shipped


def find_vector(table: Table1, concept: str, planted: Sequence[int]) -> Vector:
    """Fit the vector of a plant, or find it, here or among shipped results."""
    work, count = table.work, table.work.profile.steering.pairs
    about = {"what": "vector of a plant", "concept": concept, "layers": list(planted), "count": count}
    made_by = units(work.model, work.setting, None, [about | {"vocabulary": work.vocabulary}])[0]
    place = table.kept("benchmark-plants") / f"{made_by[:16]}.safetensors"
    card = place.with_suffix(".json")

    def make() -> None:
        pairs = prompts.pairs(concept, work.vocabulary, "revised", count)
        seed = first_seed("contrast", list(prompts.CONCEPTS).index(concept))
        write_signed(place, card, fit_vector(work.model, pairs, planted, seed, work.setting).directions, about)

    shipped.keep(made_by, place, make)
    return Vector(read_signed(place, card)[0])


def fit_vector(model: Model, pairs: prompts.Pairs, planted: Layers, seed: int, setting: Setting) -> Vector:
    """Fit CAA's vector (eq. 2) on a plant: unit directions for all sites, 0 where none of its layers has any effect.

    Args:
        pairs: prompts of the poles, which the planted layers read, and the neutral ones that all others do.
        planted: layers by index, site name or layer set.
        seed: of the first pair's noise; the next pairs have the ones that follow.
        setting: what the clips share.
    """
    own = set(model.resolve(planted))
    others = [site for site in model.sites if site not in own]
    rows = fit_rows([pairs.positive, pairs.negative, pairs.neutral], seed, setting)
    size = max(1, setting.batch // 2)
    with record(model, None, _difference) as kept:
        for start in range(0, len(rows), size):
            *texts, lyrics, draws = zip(*rows[start : start + size], strict=True)
            count, said = len(draws), [text for side in texts for text in side]
            context = model.encode(said, setting.negative, [*lyrics] * 3)
            with route(model, others, context[[*range(2 * count, 3 * count)] * 2]):
                noise = model.noise([*draws, *draws], setting.seconds)
                model.sample(context[list(range(2 * count))], noise, setting.sampling)
    return Vector({site: differences.mean(1).cpu() for site, differences in kept.items()}).unit()


def _difference(hidden: Tensor) -> Tensor:
    """Frame means of positive rows less those of the negative ones that follow, ``[pairs, dim]``."""
    with_, without = hidden.float().mean(1).chunk(2)
    return with_ - without
