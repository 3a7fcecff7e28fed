"""An autoencoder by profile: gathered activations, the search, the chosen one trained on, and its steering vectors.

Everything that took time is kept under the hash of all that determines it, so that a second run computes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from tada import sae as saes
from tada.concepts import steered as prompts
from tada.engine import Setting, units
from tada.experiments.profiles import Autoencoder
from tada.experiments.steering import Run
from tada.io import write_table
from tada.pairs.builder import Captions, read
from tada.sae.model import SparseAutoencoder
from tada.sae.search import measure, search
from tada.steering import Trial, cross, library
from tada.steering.vector import Vector
from tada.store import key

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


def gather(run: Run, site: str, texts: Sequence[str], clips: int, seed: int) -> Tensor:
    """Activations ``[tokens, dim]`` of one site, in memory: as many clips as asked, captions again with other noise."""
    texts, batch = texts[:clips], 8
    setting = Setting(run.seconds, run.sampling, batch=batch)
    stream = saes.activations(run.model, texts, range(seed, seed + 1000), setting, [site])
    sizes = [min(batch, len(texts) - start) for start in range(0, len(texts), batch)]
    parts: list[Tensor] = []
    got = 0
    while got < clips:
        got += sizes[len(parts) % len(sizes)]
        parts.append(next(stream)[site].float().cpu())
    return torch.cat(parts)


def epochs(pool: Tensor, tokens: int, seed: int = 0) -> Iterator[Tensor]:
    """Batches ``[tokens, dim]`` of a pool in another order every time round, for ever; the rest of a round is left."""
    draw = torch.Generator().manual_seed(seed)
    tokens = min(tokens, len(pool))
    while True:
        order = torch.randperm(len(pool), generator=draw)
        for start in range(0, len(pool) - tokens + 1, tokens):
            yield pool[order[start : start + tokens]]


def trained(
    run: Run,
    layer: int | str,
    size: Autoencoder,
    folder: str | Path,
    captions: Captions = None,
    seed: int = 0,
    rate: float | None = RATE,
    progress: bool = False,
) -> Trained:
    """Search, choose, train on: from the folder if all of it was done before.

    Args:
        run: model and sampling.
        layer: index or site name.
        size: how much.
        folder: where autoencoders are kept.
        captions: to play; as for ``tada.pairs.build``.
        seed: of noise, weights and order.
        rate: learning rate; None for ``tada.sae.train``'s own.
        progress: show progress bars.
    """
    site = run.model.resolve(layer)[0]
    texts = read(captions)["caption"].tolist()
    rest, texts = texts[: size.held_out], texts[size.held_out + size.browser_clips :]
    captions_key = key({"texts": rest + texts[: size.clips]})
    how = {"what": "autoencoder", "site": site, "size": asdict(size), "seed": seed, "rate": rate}
    made_by = units(run.model, Setting(run.seconds, run.sampling), None, [{**how, "captions": captions_key}])[0]
    place = Path(folder) / made_by[:16]
    if not (place / "measured.csv").is_file():
        held = gather(run, site, rest, size.held_out, seed + 1_000_000)
        pool = gather(run, site, texts, size.clips, seed)
        chosen = _train(run, site, size, pool, held, place, seed, rate, progress)
        write_table(place / "measured.csv", pd.DataFrame([measure(chosen, held)]))
    table = pd.read_csv(place / "search.csv")
    measured = {str(name): float(value) for name, value in pd.read_csv(place / "measured.csv").iloc[0].items()}
    return Trained(SparseAutoencoder.load(place), site, table, pd.read_csv(place / "log.csv"), measured, made_by)


def _train(
    run: Run, site: str, size: Autoencoder, pool: Tensor, held: Tensor, place: Path, seed: int, rate: float | None,
    progress: bool,
) -> SparseAutoencoder:  # fmt: skip
    batches = epochs(pool, size.tokens, seed)
    idle = max(size.tokens, size.search_steps * size.tokens // 4)
    table, found = search(
        batches,
        held,
        size.search_steps,
        size.expansions,
        size.sparsities,
        seed,
        rate=rate,
        dead_after=idle,
        progress=progress,
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
        progress=progress,
    )
    info = {"site": site, "checkpoint": run.model.checkpoint, "m": int(best["m"]), "size": asdict(size)}
    sae.save(place, info)
    write_table(place / "search.csv", table)
    write_table(place / "log.csv", log)
    return sae


def browsed(run: Run, size: Autoencoder, captions: Captions = None) -> Trial:
    """Clips for the feature browser: captions that were not trained on."""
    texts = read(captions)["caption"].tolist()[: size.held_out + size.browser_clips]
    prompts = dict.fromkeys(texts[-size.browser_clips :])
    return Trial("", cross(prompts, [7]), Setting(run.seconds, run.sampling))


def sides(run: Run, site: str, concept: str, count: int | None = None) -> tuple[Tensor, Tensor]:
    """Activations ``[tokens, dim]`` of a site in clips with a concept and in their counterparts, of the same noise."""
    pairs = prompts.pairs(concept, run.words, count=count or run.profile.pairs)
    lyrics = pairs.lyrics if run.model.sings else None

    def side(texts: Sequence[str]) -> Tensor:
        setting = Setting(run.seconds, run.sampling, lyrics=lyrics)
        stream = saes.activations(run.model, texts, [10], setting, [site])
        return torch.cat([next(stream)[site].float().cpu() for _ in range(-(-len(texts) // 8))])

    return side(pairs.positive), side(pairs.negative)


def score_table(run: Run, found: Trained, concepts: Sequence[str], folder: str | Path) -> pd.DataFrame:
    """Equation 6 for every feature and concept,; kept in the folder."""
    names = {"concepts": list(concepts), "pairs": run.profile.pairs, "words": run.words, "sae": found.key}
    place = Path(folder) / found.key[:16] / f"scores-{key(names)[:16]}.parquet"
    if not place.is_file():
        columns = {}
        for name in concepts:
            with_, without = sides(run, found.site, name)
            columns[name] = saes.scores(found.sae, with_, without).numpy()
        write_table(place, pd.DataFrame(columns))
    return pd.read_parquet(place)


def vector(run: Run, found: Trained, scores: pd.DataFrame, concept: str, tau: int | None = None) -> Vector:
    """The steering vector of a concept's top features (eq. 7).

    Args:
        run: model and sampling.
        found: the autoencoder.
        scores: as from :func:`score_table`.
        concept: its concept.
        tau: features; None for the paper's number for the concept, at most a tenth of all features.
    """
    most = max(1, found.sae.config.latents // 10)
    count = tau or min(prompts.get(concept).tau, most)
    info = {"checkpoint": run.model.checkpoint, "model": run.model.name, "concept": concept, "sae": found.key}
    return saes.vector(found.sae, found.site, torch.from_numpy(scores[concept].to_numpy(copy=True)), count, info)


def keep(run: Run, vector: Vector, folder: str | Path = library.FOLDER) -> Path:
    """Put a vector where ``tada steer --method sae`` finds it."""
    return vector.save(library.path(folder, run.model, str(vector.info["concept"]), "sae"))
