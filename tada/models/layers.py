"""The layers of a model, given by index, by name, or as a set."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from sys import maxsize
from typing import ClassVar, Self

from tada.arguments import integer, listed
from tada.errors import InputError, LayerError, check_name

Layers = str | int | Sequence[int | str]


class Layered:
    """What has sites and, perhaps, a residual stream after each of its layers."""

    name: ClassVar[str]
    checkpoint: str
    sites: tuple[str, ...]
    residuals: tuple[str, ...] = ()
    functional: tuple[int, ...] | None
    functional_origin: str

    @property
    def places(self) -> tuple[str, ...]:
        """All that can be recorded and edited: the sites, then the residual stream after each layer."""
        return (*self.sites, *self.residuals)

    def label(self, layers: Layers | None) -> str:
        """The name of a set of layers: indices (of residuals: names) with ``+`` between them, in the given order."""
        named = {site: str(layer) for layer, site in enumerate(self.sites)}
        return "+".join(named.get(site, site) for site in self.resolve(layers))

    def with_functional(self, layers: Layers) -> Self:
        """The same model, sharing all weights, with other functional layers; InputError for a residual stream."""
        chosen = self.resolve(layers)
        if others := [place for place in chosen if place not in self.sites]:
            raise InputError(f"got {others[0]}; functional layers are cross-attention sites, such as {self.sites[0]}")
        other = copy.copy(self)
        other.functional = tuple(map(self.sites.index, chosen))
        other.functional_origin = "given"
        return other

    def resolve(self, layers: Layers | None) -> tuple[str, ...]:
        """Site names of layers given by index, by name (of a site or a residual), or as a layer set.

        The layer sets are ``"all"``, ``"functional"`` and ``"all-but-functional"``.

        Raises:
            KeyError: no such site or layer set. IndexError: no such index. ValueError: an empty or unknown set.
        """
        if layers is None or (isinstance(layers, str) and layers == "all"):
            return self.sites
        if isinstance(layers, str) and layers in ("functional", "all-but-functional"):
            if self.functional is None:
                raise InputError(
                    f"the functional layers of {self.checkpoint} are not known: give indices or site names, "
                    "or find them with tada.patching"
                )
            chosen = {self.sites[i] for i in self.functional}
            return tuple(site for site in self.sites if (site in chosen) == (layers == "functional"))
        items = listed(layers)
        if not items:
            raise InputError("got no layers; expected at least one")
        return tuple(dict.fromkeys(self._site(item) for item in items))

    def _site(self, item: int | str) -> str:
        if isinstance(item, str):
            check_name("site", item, self.places, "See model.sites.")
            return item
        place = integer("layers", item, -maxsize)
        if not -len(self.sites) <= place < len(self.sites):
            raise LayerError(f"no layer {place}: {self.name} has {len(self.sites)}, 0 to {len(self.sites) - 1}")
        return self.sites[place]
