"""An autoencoder by profile: gathered activations, the search, the chosen one trained on, and its steering vectors.

Everything that took time is kept under the hash of all that determines it, so that a second run computes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from tada import sae as saes
from tada.concepts import steered as prompts
from tada.engine import units
from tada.experiments.experiment import Experiment, check_disjoint
from tada.experiments.profiles import first_seed
from tada.experiments.steering import recipe
from tada.io import write_table
from tada.pairs import read
from tada.sae.model import SparseAutoencoder
from tada.sae.search import measure, search
from tada.steering import Trial, library, seeded
from tada.steering.vector import Vector
from tada.store import key

TRAINING, HELD_OUT, BROWSED = (first_seed("autoencoder", place) for place in range(3))
"""Seed of the first clip to train on, to measure on and to browse; the next clips have the next ones."""

RATE = 5e-4
"""Learning rate of the small profiles, whose few steps need larger ones."""


@dataclass(frozen=True, eq=False)
class Trained:
    """What the search and the training left.

    Attributes:
        sae: the chosen one.
        site: its site.
        table: of the search, as from ``tada.sae.search.search``.
        log: of the further training, as from ``tada.sae.train``.
        measured: on held-out activations, as from ``tada.sae.search.measure``.
        key: of all that determines it.
    """

    sae: SparseAutoencoder
    site: str
    table: pd.DataFrame
    log: pd.DataFrame
    measured: dict[str, float]
    key: str


def train_or_load(
    work: Experiment,
    layer: int | str,
    folder: str | Path,
    seed: int = 0,
    rate: float | None = RATE,
) -> Trained:
    """Search, choose and train on an autoencoder, or load it from the folder if all of it was done before.

    Args:
        work: model, setting, captions and profile.
        layer: index or site name.
        folder: where autoencoders are kept.
        seed: of weights and order.
        rate: learning rate; None for ``tada.sae.train``'s own.
    """
    site, size = work.model.resolve(layer)[0], work.profile.autoencoder
    held_out, _, texts = _split_captions(work)
    captions_key = key({"texts": held_out + texts[: size.clips]})
    how = {"what": "autoencoder", "site": site, "size": asdict(size), "seed": seed, "noise": TRAINING, "rate": rate}
    made_by = units(work.model, work.setting, None, [{**how, "captions": captions_key}])[0]
    place = Path(folder) / made_by[:16]
    if not (place / "measured.csv").is_file():
        held = gather_activations(work, site, held_out, size.held_out, HELD_OUT)
        pool = gather_activations(work, site, texts, size.clips, TRAINING)
        chosen = _train(work, site, pool, held, place, seed, rate)
        write_table(place / "measured.csv", pd.DataFrame([measure(chosen, held)]))
    table = pd.read_csv(place / "search.csv")
    measured = {str(name): float(value) for name, value in pd.read_csv(place / "measured.csv").iloc[0].items()}
    return Trained(SparseAutoencoder.load(place), site, table, pd.read_csv(place / "log.csv"), measured, made_by)


def _split_captions(work: Experiment) -> tuple[list[str], list[str], list[str]]:
    """Captions to measure on, of the feature browser, and to train on."""
    size, texts = work.profile.autoencoder, list(dict.fromkeys(read(work.captions)["caption"]))
    first = size.held_out + size.browser_clips
    held_out, browsed, rest = texts[: size.held_out], texts[size.held_out : first], texts[first:]
    check_disjoint("captions", training=rest, measuring=held_out, browsing=browsed)
    return held_out, browsed, rest


def gather_activations(work: Experiment, site: str, texts: Sequence[str], clips: int, seed: int) -> Tensor:
    """Gather activations ``[tokens, dim]`` of a site: of as many clips as asked, each with a seed of its own."""
    texts, batch = texts[:clips], 8
    stream = saes.activations(work.model, texts, seed, replace(work.setting, batch=batch), [site])
    sizes = [min(batch, len(texts) - start) for start in range(0, len(texts), batch)]
    parts: list[Tensor] = []
    got = 0
    while got < clips:
        got += sizes[len(parts) % len(sizes)]
        parts.append(next(stream)[site].float().cpu())
    return torch.cat(parts)


def epochs(pool: Tensor, tokens: int, seed: int = 0) -> Iterator[Tensor]:
    """Yield batches ``[tokens, dim]`` of a pool for ever, each round in another order; its rest is left out."""
    draw = torch.Generator().manual_seed(seed)
    tokens = min(tokens, len(pool))
    while True:
        order = torch.randperm(len(pool), generator=draw)
        for start in range(0, len(pool) - tokens + 1, tokens):
            yield pool[order[start : start + tokens]]


def _train(
    work: Experiment, site: str, pool: Tensor, held: Tensor, place: Path, seed: int, rate: float | None
) -> SparseAutoencoder:
    size = work.profile.autoencoder
    batches = epochs(pool, size.tokens, seed)
    idle = max(size.tokens, size.search_steps * size.tokens // 4)
    table, found = search(
        batches, held, size.search_steps, size.expansions, size.sparsities, seed, rate=rate, dead_after=idle
    )
    best = table[table["chosen"]].iloc[0]
    sae = found[int(best["m"]), int(best["k"])]
    log = saes.train(
        {site: sae},
        ({site: batch} for batch in batches),
        size.train_steps,
        rate,
        dead_after=idle,
        log_every=max(1, size.train_steps // 30),
    )
    sae.save(place, {"site": site, "checkpoint": work.model.checkpoint, "m": int(best["m"]), "size": asdict(size)})
    write_table(place / "search.csv", table)
    write_table(place / "log.csv", log)
    return sae


def browser_trial(work: Experiment) -> Trial:
    """The clips of the feature browser: captions that were not trained on."""
    _, browsed, _ = _split_captions(work)
    return Trial("", seeded(dict.fromkeys(browsed), BROWSED), work.setting)


def contrast_activations(work: Experiment, site: str, concept: str) -> tuple[Tensor, Tensor]:
    """Gather activations ``[tokens, dim]`` of a site in clips with a concept, and in their counterparts."""
    pairs = prompts.pairs(concept, work.vocabulary, count=work.profile.steering.pairs)
    setting = replace(work.setting, lyrics=pairs.lyrics if work.model.sings else None)

    def side(texts: Sequence[str]) -> Tensor:
        stream = saes.activations(work.model, texts, recipe(work, concept).seed, setting, [site])
        return torch.cat([next(stream)[site].float().cpu() for _ in range(-(-len(texts) // setting.batch))])

    return side(pairs.positive), side(pairs.negative)


def score_table(work: Experiment, trained: Trained, concepts: Sequence[str], folder: str | Path) -> pd.DataFrame:
    """Score every feature for every concept (eq. 6); a column a concept, kept in the folder."""
    about = {"concepts": list(concepts), "pairs": work.profile.steering.pairs, "words": work.vocabulary}
    about |= {"noise": [recipe(work, concept).seed for concept in concepts]}
    place = Path(folder) / trained.key[:16] / f"scores-{key({**about, 'sae': trained.key})[:16]}.parquet"
    if not place.is_file():
        sides = {name: contrast_activations(work, trained.site, name) for name in concepts}
        columns = {name: saes.scores(trained.sae, *tokens).numpy() for name, tokens in sides.items()}
        write_table(place, pd.DataFrame(columns))
    return pd.read_parquet(place)


def feature_vector(
    work: Experiment, trained: Trained, scores: pd.DataFrame, concept: str, tau: int | None = None
) -> Vector:
    """Add up a concept's top features to a steering vector (eq. 7).

    Args:
        work: whose model it is for.
        trained: the autoencoder.
        scores: as from :func:`score_table`.
        concept: its concept.
        tau: features; None for the paper's number for the concept, at most a tenth of all features.
    """
    most = max(1, trained.sae.config.latents // 10)
    count = tau or min(prompts.get(concept).tau, most)
    info = {"checkpoint": work.model.checkpoint, "model": work.model.name, "concept": concept, "sae": trained.key}
    values = torch.from_numpy(scores[concept].to_numpy(copy=True))
    return saes.vector(trained.sae, trained.site, values, count, info)


def save_vector(work: Experiment, vector: Vector, folder: str | Path = library.FOLDER) -> Path:
    """Save a vector where ``tada steer --method sae`` finds it."""
    return vector.save(library.path(folder, work.model, str(vector.info["concept"]), "sae"))
