"""Which layers carry a concept: generations of prompt pairs in which some layers read the other prompt of the pair.

A row of a sweep is one clip. Layers ``none`` is the counterfactual prompt as it is, ``all`` is the target prompt, and
any other layer set is the counterfactual prompt with those layers reading the target prompt instead. Since a site's
text does not depend on the denoising step, nothing has to be recorded first: patching is routing, and all rows of all
pairs go through the model side by side. What else can be done to layers is a :class:`Change`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tada import engine
from tada.arguments import Seeds, own_seeds
from tada.engine import COLUMNS, Job, Setting, Texts
from tada.errors import InputError, check_name, unknown
from tada.hooks import Edit, Passes, When, edit, route
from tada.metrics.judges import JudgeLike
from tada.models.base import Layers, Model
from tada.models.context import Context
from tada.models.run import Sampling
from tada.pairs import shared_text
from tada.store import UNIT, Store, key

How = Literal["text", "keys", "values", "ablated"]


class Change(NamedTuple):
    """A layer set of a sweep, and what is done to it.

    Attributes:
        layers: indices, site names or a layer set.
        how: ``"text"``: they read the target prompt in place of the counterfactual one; ``"keys"``, ``"values"``: one
            half of that; ``"ablated"``: they put out zeros in both passes under the target prompt, so that equation 9
            says what share of the effect remains.
    """

    layers: Layers
    how: How = "text"


LayerSets = Iterable[Layers | Change] | Mapping[str, Iterable[Layers | Change]] | None

CONTROLS = ("paraphrase", "unrelated")
"""Columns of pairs with prompts that say nothing of the concept; they are routed as the target is."""

MOST = 4
"""Layers of a drawn plant, at most."""

CHUNK = 8
"""Pairs that share one padded length of text and one shape of batch, so that a resumed run repeats a whole one."""


def sweep(
    model: Model,
    pairs: pd.DataFrame,
    seeds: Seeds,
    layer_sets: LayerSets = None,
    setting: Setting = Setting(10.0),  # noqa: B008 (a frozen value)
    *,
    score: JudgeLike,
    store: Store | str | Path | None = None,
) -> pd.DataFrame:
    """Generate every pair without, with all and with each set of layers routed, and score the clips.

    Args:
        model: workers of ``setting.executor`` load its checkpoint themselves.
        pairs: ``concept, target, source`` and optionally ``counterfactual, pair``, as from ``tada.pairs.build``; with
            the columns :data:`CONTROLS`, as from ``tada.pairs.with_controls``, these are routed, too.
        seeds: of the first pair: an int, or several in a row such as ``range(2)``. The next pair has the ones that
            follow, so that no two pairs share noise, and all clips of a pair do. Or a list of seeds for every pair.
        layer_sets: each an index, a site name, a layer set or a list of these, or a :class:`Change` of them, which is
            labelled such as ``"6+7 keys"``; None for every layer on its own; a mapping of concepts to such sets where
            they differ.
        score: ``score(clips, rows) -> values``: one value a clip, or a table or mapping of several; ``rows`` has one
            row a clip with ``concept, counterfactual, prompt, seed, layers, method``. It needs an attribute ``key``
            (text that names what it measures with) unless it is a plain function of a module.
        store: where scores are kept, and found again by a later run.

    Returns:
        One row a clip and metric: ``checkpoint, model, concept, pair, prompt, seed, method`` (``"patch"``, or
        ``"patch-paraphrase"`` and the like), ``layers`` (``"none"``, ``"all"``, or indices such as ``"6+7"``),
        ``alpha`` (always NaN), ``metric, value, unit_hash``.

    Raises:
        ValueError: pairs or seeds that cannot be used, or a score with the wrong number of values. Pairs that differ
            only beyond what the text encoder reads are left out, with a warning that counts them.
        IndexError, KeyError: layers that the model does not have, or a concept that has no layer sets.
    """
    return score_plan(model, plan_sweep(model, pairs, seeds, layer_sets, setting, score), setting, score, store)


def score_plan(
    model: Model, plan: pd.DataFrame, setting: Setting, score: JudgeLike, store: Store | str | Path | None = None
) -> pd.DataFrame:
    """Generate and score clips that :func:`plan_sweep` lists, all or some; as :func:`sweep` in all else."""
    store = Store(store) if isinstance(store, str | Path) else store
    return engine.run(model, plan, Job(setting, score, route_rows), store)[[*COLUMNS, UNIT]]


def plan_sweep(
    model: Model,
    pairs: pd.DataFrame,
    seeds: Seeds,
    layer_sets: LayerSets,
    setting: Setting,
    score: JudgeLike,
) -> pd.DataFrame:
    """List the clips of a sweep, see :mod:`tada.engine`; arguments as for :func:`sweep`."""
    pairs = checked_pairs(pairs)
    own = dict(zip(pairs["pair"], own_seeds(seeds, len(pairs)), strict=True))
    pairs = heard_pairs(model, pairs, model.sampling(setting.sampling))
    concepts = pairs["concept"].unique()
    if isinstance(layer_sets, Mapping):
        for name in concepts:
            check_name("concept of layer_sets", name, layer_sets)
        sets = {name: resolve_sets(model, layer_sets[name]) for name in concepts}
    else:
        sets = dict.fromkeys(concepts, resolve_sets(model, layer_sets))
    rows = [
        {"concept": pair.concept, "counterfactual": pair.counterfactual, "pair": pair.pair, "seed": seed,
         "chunk": number // CHUNK, **row}
        for number, pair in enumerate(pairs.itertuples(index=False))
        for seed in own[pair.pair]
        for row in map(partial(_as_planted, model, pair), _rows_of_pair(pair, sets[str(pair.concept)]))
    ]  # fmt: skip
    plan = pd.DataFrame(rows)
    told = []
    for row in rows:
        about = {name: row[name] for name in ("concept", "counterfactual", "prompt", "routed", "seed")}
        about |= {"sites": row["change"].layers} | ({} if row["change"].how == "text" else {"how": row["change"].how})
        told.append(about | ({"rest": row["rest"], "shared": row["shared"]} if row["rest"] else {}))
    return plan.assign(alpha=np.nan, **{UNIT: engine.units(model, setting, score, told)})


def _rows_of_pair(pair: Any, sets: Mapping[str, Change]) -> Iterator[dict[str, Any]]:
    """The clips of a pair for one seed."""
    for layers, prompt in (("none", pair.source), ("all", pair.target)):
        yield {"prompt": prompt, "routed": "", "method": "patch", "layers": layers, "change": Change(())}
    controls = {f"patch-{name}": getattr(pair, name) for name in CONTROLS if hasattr(pair, name)}
    for method, routed in {"patch": pair.target, **controls}.items():
        for layers, change in sets.items():
            row = {"method": method, "layers": layers, "change": change}
            if change.how != "ablated":
                yield {"prompt": pair.source, "routed": routed, **row}
            elif method == "patch":
                yield {"prompt": pair.target, "routed": "", **row}


def _as_planted(model: Model, pair: Any, row: dict[str, Any]) -> dict[str, Any]:
    """The clip of a planted pair: sites that are not planted (``rest``) read what both prompts share, come what may."""
    planted, change = getattr(pair, "planted", model.sites), row["change"]
    rest = tuple(site for site in model.sites if site not in planted)
    if rest and change.how != "ablated":
        layers = tuple(site for site in change.layers if site in planted)
        row |= {"change": change._replace(layers=layers)} if layers else {"change": Change(()), "routed": ""}
    return {**row, "rest": rest, "shared": pair.shared if rest else ""}


@contextmanager
def route_rows(model: Model, rows: pd.DataFrame, texts: Texts) -> Iterator[None]:
    """Change the layers of each row, inside the block: the intervention of a sweep."""

    def read(column: str) -> Context:
        return texts([text or prompt for text, prompt in zip(rows[column], rows["prompt"], strict=True)])

    with changed(model, map(Change, rows["rest"]), read("shared")), changed(model, rows["change"], read("routed")):
        yield


@contextmanager
def changed(model: Model, changes: Iterable[Change], source: Context, passes: Passes = "both") -> Iterator[None]:
    """Change the layers of each row, which read its row of ``source``; a change of no layers leaves a row as it is."""
    groups: dict[Change, list[int]] = {}
    for place, change in enumerate(changes):
        groups.setdefault(change, []).append(place)
    with ExitStack() as stack:
        for change, places in groups.items():
            if change.how == "ablated":
                silence: dict[str | int, Edit] = dict.fromkeys(model.resolve(change.layers), partial(_silenced, places))
                stack.enter_context(edit(model, silence, passes))
            elif change.layers:
                part = "both" if change.how == "text" else change.how
                stack.enter_context(route(model, change.layers, source, places, passes, part=part))
        yield


def _silenced(places: Sequence[int], hidden: Tensor, when: When) -> Tensor:
    return hidden.index_fill(0, torch.tensor(places, device=hidden.device), 0.0)


# ---- layer sets and pairs


def resolve_sets(model: Model, layer_sets: Iterable[Layers | Change] | None) -> dict[str, Change]:
    """Label -> layer sets by site names, each set once; None for every layer on its own."""
    given = range(len(model.sites)) if layer_sets is None else layer_sets
    if isinstance(given, str | int):
        raise InputError(f"got layer_sets={given!r}; expected a list of layer sets, such as [{given!r}]")
    sets: dict[str, Change] = {}
    for item in given:
        layers, how = item if isinstance(item, Change) else Change(item)
        check_name("change of layers", how, get_args(How))
        sites = sorted(model.resolve(layers), key=model.places.index)
        name = layers if layers in ("functional", "all-but-functional") else model.label(sites)
        if how != "text":
            sets[f"{'all' if tuple(sites) == model.sites else name} {how}"] = Change(tuple(sites), how)
        elif tuple(sites) != model.sites:  # all is always there
            sets[str(name)] = Change(tuple(sites))
    return sets


def checked_pairs(pairs: pd.DataFrame) -> pd.DataFrame:
    """Pairs with every column that a sweep reads; ValueError with the nearest names where one is missing."""
    for name in ("concept", "target", "source"):
        if name not in pairs:
            raise InputError(unknown("column", name, pairs.columns))
    if pairs.empty:
        raise InputError("got no pairs; expected one or more")
    pairs = pairs.reset_index(drop=True)
    if "counterfactual" not in pairs:
        pairs = pairs.assign(counterfactual="")
    if "pair" not in pairs:
        texts = pairs[["concept", "target", "source"]].to_numpy().tolist()
        pairs = pairs.assign(pair=[key({"pair": row})[:12] for row in texts])
    twice = pairs["pair"][pairs["pair"].duplicated()]
    if len(twice):
        raise InputError(f"pair {twice.iloc[0]} is there twice: every pair may appear once")
    return pairs


def heard_pairs(model: Model, pairs: pd.DataFrame, sampling: Sampling) -> pd.DataFrame:
    """Leave out pairs that differ only beyond what the model reads, with a warning; InputError if all do."""
    texts = pairs[["target", "source"]].astype(str).to_numpy()
    heard = [len({model.heard(text, sampling) for text in both}) > 1 or len(set(both)) == 1 for both in texts]
    said = f"{heard.count(False)} of {len(pairs)} pairs differ only in words that {model.name} does not read"
    if not any(heard):
        raise InputError(f"{said}: its text encoder cuts them off; give shorter prompts")
    if not all(heard):
        warnings.warn(f"{said}, and are left out, the first is {pairs['pair'][heard.index(False)]}", stacklevel=3)
    return pairs[heard].reset_index(drop=True)


# ---- plants: pairs whose answer is known
#
# Nothing is trained: in what is swept of a planted pair, the planted sites read the prompt that they are told, and all
# others the words that both prompts share. These are fed the same whatever is routed, so that they carry nothing of the
# concept, and a clip in which only they are routed is the counterfactual's, bit for bit: it is not made again.


def draw_plant(model: Model, seed: int) -> list[int]:
    """Draw 1 to :data:`MOST` layers: every number of them is as likely as any other, and so is every layer."""
    rng = np.random.default_rng(seed)
    return sorted(rng.permutation(len(model.sites))[: rng.integers(1, MOST + 1)].tolist())


def plant(model: Model, pairs: pd.DataFrame, layers: Layers | Mapping[str, Layers]) -> pd.DataFrame:
    """Let only some layers read the concept, in all that is swept of these pairs.

    Args:
        pairs: as for ``tada.patching.sweep``.
        layers: of all concepts, or by concept; an empty list is a null plant, in which none reads it.

    Returns:
        The pairs, under ids of their own, with ``planted`` (site names) and ``shared`` (what all other sites read;
        "music" where the prompts share no word).

    Raises:
        KeyError, IndexError: layers that the model does not have, or a concept that has none.
    """
    pairs = checked_pairs(pairs)
    names = pairs["concept"].unique()
    chosen = layers if isinstance(layers, Mapping) else dict.fromkeys(names, layers)
    for name in names:
        check_name("concept of the planted layers", name, chosen)
    sites = {name: model.resolve(chosen[name]) if chosen[name] != [] else () for name in names}
    planted = [sites[name] for name in pairs["concept"]]
    return pairs.assign(
        pair=[key({"pair": pair, "planted": some})[:12] for pair, some in zip(pairs["pair"], planted, strict=True)],
        planted=pd.Series(planted, pairs.index),
        shared=[shared_text(*texts) or "music" for texts in zip(pairs["target"], pairs["source"], strict=True)],
    )
