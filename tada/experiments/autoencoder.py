"""An autoencoder by profile: kept activations, the search, the chosen one trained on, and its steering vectors.

Everything that took time is kept under the hash of all that determines it, so that a second run computes nothing and a
stopped one goes on: activations by the batch, the search, and the autoencoder that it chose.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from tada import sae as saes
from tada.concepts import steered as prompts
from tada.engine import Setting, units
from tada.errors import InputError
from tada.experiments.experiment import Experiment, check_disjoint
from tada.experiments.profiles import Autoencoder, first_seed
from tada.experiments.steering import recipe
from tada.io import write_table
from tada.pairs import read
from tada.sae.model import SparseAutoencoder
from tada.sae.search import search
from tada.sae.streams import WINDOW, epochs, keep_part, read_part
from tada.sae.training import LOG, measure
from tada.steering import Trial, seeded
from tada.steering.vector import Vector
from tada.store import key, shipped

TRAINING, HELD_OUT, BROWSED = (first_seed("autoencoder", place) for place in range(3))
"""Seed of the first clip to train on, to measure on and to browse; the next clips have the next ones."""

DONE = "measured.csv"
"""The last file of an autoencoder that is written."""


@dataclass(frozen=True, eq=False)
class Trained:
    """What the search and the training left.

    Attributes:
        sae: the chosen one.
        site: its site.
        table: of the search, as from ``tada.sae.search.search``.
        log: of the further training, as from ``tada.sae.train``.
        measured: on held-out activations, as from ``tada.sae.training.measure``.
        key: of all that determines it.
    """

    sae: SparseAutoencoder
    site: str
    table: pd.DataFrame
    log: pd.DataFrame
    measured: pd.Series
    key: str


def train_or_load(work: Experiment, layer: int | str, folder: str | Path, seed: int = 0) -> Trained:
    """Search, choose and train on an autoencoder, or load it if all of it was done before, here or for shipped results.

    Args:
        work: model, setting, captions and profile.
        layer: index or site name.
        folder: where autoencoders are kept, and in ``activations/`` what they are trained on, which may be removed
            once this is done.
        seed: of weights and order.

    Raises:
        InputError: a disk without room for the activations.
    """
    site, size, folder = work.model.resolve(layer)[0], work.profile.autoencoder, Path(folder)
    held_out, _, texts = _split_captions(work)
    how = {"what": "autoencoder", "site": site, "size": asdict(size), "seed": seed, "noise": TRAINING}
    captions = key({"texts": held_out + texts[: size.clips]})
    made_by = units(work.model, work.setting, None, [{**how, "captions": captions}])[0]
    place = folder / made_by[:16]

    def make() -> None:
        held = gather_activations(work, site, held_out, HELD_OUT, folder)
        files = gather_activations(work, site, list(islice(cycle(texts), size.clips)), TRAINING, folder)
        parts = [read_part(file) for file in held]
        chosen = _train(work, site, files, parts, place, seed)
        write_table(place / DONE, pd.DataFrame([measure(chosen, parts)]))

    shipped.keep(made_by, place, make, last=DONE)
    table, log, measured = (pd.read_csv(place / f"{name}.csv") for name in ("search", "log", "measured"))
    sae = SparseAutoencoder.load(place).to(work.model.device)
    return Trained(sae, site, table, log, measured.iloc[0], made_by)


def _split_captions(work: Experiment) -> tuple[list[str], list[str], list[str]]:
    """Captions to measure on, of the feature browser, and to train on."""
    size, texts = work.profile.autoencoder, list(dict.fromkeys(read(work.captions)["caption"]))
    first = size.held_out + size.browser_clips
    held_out, browsed, rest = texts[: size.held_out], texts[size.held_out : first], texts[first:]
    check_disjoint("captions", training=rest, measuring=held_out, browsing=browsed)
    return held_out, browsed, rest


def gather_activations(work: Experiment, site: str, texts: Sequence[str], seed: int, folder: Path) -> list[Path]:
    """Keep what a site puts out in a clip of every text, a file a batch; batches that are kept are not made again.

    The first text has noise of the ``seed``, the next ones that of those that follow.

    Returns:
        The files, see :func:`tada.sae.streams.read_part`.

    Raises:
        InputError: a disk without room for them.
    """
    setting, steps = recording(work)
    about = {"site": site, "texts": list(texts), "seed": seed, "steps": steps, "batch": setting.batch}
    place = folder / "activations" / units(work.model, setting, None, [about])[0][:16]
    files = {start: place / f"{start:05}.safetensors" for start in range(0, len(texts), setting.batch)}
    for start, file in files.items():
        if not file.is_file():
            some = texts[start : start + setting.batch]
            part = next(saes.activations(work.model, some, seed + start, setting, [site], steps))[site]
            _check_room(place, part.numel() * 2 * (len(texts) - start) // len(some))
            keep_part(part, file)
    return list(files.values())


def recording(work: Experiment) -> tuple[Setting, list[int]]:
    """Give the setting and the denoising steps that activations are recorded at."""
    size, total = work.profile.autoencoder, work.model.sampling(work.setting.sampling).steps
    count = min(size.steps or total, total)
    setting = replace(work.setting, seconds=size.seconds or work.setting.seconds)
    return setting, [place * total // count for place in range(count)]


def _check_room(folder: Path, wanted: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise InputError(
            f"activations for the autoencoder take {wanted / 1e9:.1f} GB more in {folder}, where {free / 1e9:.1f} are "
            "free: name another folder, or take fewer clips"
        )


def estimate_bytes(size: Autoencoder, tokens: int, width: int, steps: int, batch: int) -> dict[str, int]:
    """Estimate what a profile takes of the machine, in bytes.

    Args:
        size: of the profile.
        tokens: that the site puts out at a denoising step of a clip.
        width: of the site.
        steps: denoising steps that are recorded.
        batch: clips that are sampled together.

    Returns:
        ``disk``: the kept activations. ``memory``: the most that is held at a time beside the model: a batch that is
        recorded and halved, or the largest autoencoder in training, with its gradients and Adam's moments, what it
        makes of a batch of tokens, and a window of activations.
    """
    clip, latents = tokens * steps * width, max(size.expansions) * width
    recorded = batch * clip * (4 + 4 + 2)
    weights, codes = 2 * latents * width * 4, size.tokens * latents * 4
    disk = (size.clips + size.held_out) * clip * 2
    return {"disk": disk, "memory": max(recorded, 6 * weights + 6 * codes + min(disk, WINDOW))}


def _train(
    work: Experiment, site: str, files: Sequence[Path], held: Sequence[Tensor], place: Path, seed: int
) -> SparseAutoencoder:
    """Search, and train on what was chosen."""
    size = work.profile.autoencoder
    idle, batches = max(size.tokens, size.search_steps * size.tokens // 4), partial(epochs, files, size.tokens)
    if not (place / "search.csv").is_file():
        table, found = search(
            lambda: batches(seed), held, size.search_steps, size.expansions, size.sparsities, seed, work.model.device,
            rate=size.rate, dead_after=idle, progress=work.setting.progress,
        )  # fmt: skip
        found.save(place / "found")
        write_table(place / "search.csv", table)
    sae, log = SparseAutoencoder.load(place / "found").to(work.model.device), pd.DataFrame(columns=LOG)
    if size.train_steps:
        stream, often = ({site: batch} for batch in batches(seed + 1)), max(1, size.train_steps // 30)
        log = saes.train({site: sae}, stream, size.train_steps, size.rate, dead_after=idle, log_every=often)
    sae.save(place, {"site": site, "checkpoint": work.model.checkpoint, "size": asdict(size)})
    write_table(place / "log.csv", log)
    return sae


def browser_trial(work: Experiment) -> Trial:
    """The clips of the feature browser: captions that were not trained on."""
    return Trial("", seeded(_split_captions(work)[1], BROWSED), work.setting)


def _contrast_activations(work: Experiment, site: str, concept: str) -> tuple[Iterator[Tensor], Iterator[Tensor]]:
    """What a site puts out in clips with a concept, and in their counterparts, in parts ``[tokens, dim]``."""
    pairs, seed = prompts.pairs(concept, work.vocabulary, count=work.profile.steering.pairs), recipe(work, concept).seed
    setting, steps = recording(work)
    setting = replace(setting, lyrics=pairs.lyrics if work.model.sings else None)

    def side(texts: Sequence[str]) -> Iterator[Tensor]:
        stream = saes.activations(work.model, texts, seed, setting, [site], steps)
        return (part[site] for part in islice(stream, -(-len(texts) // setting.batch)))

    return side(pairs.positive), side(pairs.negative)


def score_table(work: Experiment, trained: Trained, concepts: Sequence[str], folder: str | Path) -> pd.DataFrame:
    """Score every feature for every concept (eq. 6); a column a concept, kept in the folder."""
    about = {"concepts": list(concepts), "pairs": work.profile.steering.pairs, "words": work.vocabulary}
    about |= {} if work.wording == "paper" else {"wording": work.wording}
    about |= {"noise": [recipe(work, concept).seed for concept in concepts]}
    place = Path(folder) / trained.key[:16] / f"scores-{key({**about, 'sae': trained.key})[:16]}.parquet"
    if not place.is_file():
        columns = {
            name: saes.scores(trained.sae, *_contrast_activations(work, trained.site, name)).numpy()
            for name in concepts
        }
        write_table(place, pd.DataFrame(columns))
    return pd.read_parquet(place)


def feature_vector(work: Experiment, trained: Trained, scores: pd.DataFrame, concept: str) -> Vector:
    """Add up a concept's top features by ``scores`` of :func:`score_table` to a steering vector (eq. 7).

    As many as the paper takes for the concept, at most a tenth of all features.
    """
    count = min(prompts.get(concept).tau, max(1, trained.sae.config.latents // 10))
    info = {"checkpoint": work.model.checkpoint, "model": work.model.name, "concept": concept, "sae": trained.key}
    values = torch.from_numpy(scores[concept].to_numpy(copy=True))
    return saes.vector(trained.sae, trained.site, values, count, info)
