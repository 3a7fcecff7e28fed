"""The live instrument: a mini that runs in the page, steered by vectors or patched with another prompt, by no server.

:func:`export` writes what the page needs of a model into a folder; ``steer-live.js`` is the element that plays it, and
its worker runs the graphs of :mod:`tada.display.live.graphs`. Noise is drawn here for the seeds that a page offers, so
that its clips are those of :meth:`tada.models.base.Model.generate`. Nothing is fetched before a reader asks.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from IPython.display import HTML

from tada import escape
from tada.arguments import seeds as read_seeds
from tada.audio import filters
from tada.concepts import steered
from tada.display.live.graphs import make_graphs, require_runnable
from tada.display.players import data_attributes, page_folder, require_name
from tada.errors import InputError
from tada.hooks import record
from tada.io import atomic_write, slug, write_json
from tada.metrics.judges import ATTRIBUTES
from tada.minis.attributes import CLASSES
from tada.models.ace_step import sampling as flow
from tada.models.ace_step.adapter import AceStep, AceStepSampling
from tada.models.ace_step.codec import SAMPLE_RATE, sinc_kernels
from tada.models.base import MINI_SECONDS, Model
from tada.models.phase import MOMENTUM, PhaseStage
from tada.models.run import Sampling
from tada.steering.vector import Vector

INDEX = "live.json"
TOKENS = 64
"""Tokens of a prompt at most, as the minis' tokenizers keep."""
STRONG = 2.0
"""The strongest push of a vector without a range, in lengths of what the layers put out."""
ASSETS = Path(str(files("tada.data")))
SCRIPTS = ("steer-live.js", "find-layers.js", "steer-live.css", "steer-live")
PAGE = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
    '<link rel="stylesheet" href="steer-live.css"><script defer src="steer-live.js"></script>'
    '<script defer src="find-layers.js"></script></head>'
    '<body style="font-family: system-ui; max-width: 50rem; margin: 2rem auto; padding: 0 1rem">'
    "<main><h1>{title}</h1>{element}</main></body></html>\n"
)


@dataclass(frozen=True, eq=False)
class Live:
    """What a page offers of a model.

    Attributes:
        vectors: concept -> its vector, fitted at all layers.
        seeds: of the noise.
        seconds: length of the clips.
        sampling: of the clips, with as many steps as vectors were fitted with; None for the model's own.
        vectors_folder: where a reader's Python finds the vectors.
        pairs: to patch with, as from ``tada.pairs.build``, each with the noise of its own seed; None: prompts of the
            concepts, with any noise.
    """

    vectors: Mapping[str, Vector]
    seeds: Sequence[int] = range(8)
    seconds: float = MINI_SECONDS
    sampling: Sampling | str | None = None
    vectors_folder: str = "_build/vectors"
    pairs: pd.DataFrame | None = None


def export(model: Model, folder: str | Path, offer: Live) -> Path:
    """Write a model for a page: its graphs, the noise of seeds, vectors, and ``live.json``, which names them.

    Args:
        model: a mini on the CPU, in float32.
        folder: where to write; files of an earlier export are replaced.
        offer: what the page offers.

    Returns:
        The folder; the same call writes the same bytes.

    Raises:
        InputError: a model or settings that no page computes, or a vector without some layer.
        MissingPackageError: onnx is not installed.
    """
    folder, pairs = Path(folder), _offered_pairs(offer)
    seeds = sorted({*read_seeds(offer.seeds), *(pair["seed"] for pair in pairs if "seed" in pair)})
    model, sampling = require_runnable(model, offer.sampling)
    tokenizer = _tokenizer(model)
    noise = model.noise(seeds, offer.seconds).values
    concepts = [_concept(model, name, vector, offer, folder) for name, vector in offer.vectors.items()]
    contents = {f"{name}.onnx": data for name, data in make_graphs(model, offer.seconds, TOKENS).items()}
    contents["noise.f32"] = noise.numpy().tobytes()
    packed = {name: _pack(folder / f"{name}.gz", data[::2] + data[1::2]) for name, data in contents.items()}
    runtime = (ASSETS / "steer-live" / "ort-wasm-simd-threaded.wasm.gz").stat().st_size
    about = {
        "model": model.name,
        "checkpoint": model.checkpoint,
        "load": "mini" if model.is_mini else model.checkpoint,
        "own_steps": model.sampling().steps,
        "seconds": offer.seconds,
        "layers": len(model.sites),
        "width": model.parts.transformer.config.inner_dim,
        "classes": {name: list(classes) for name, classes in CLASSES.items()},
        "functional": list(model.functional or ()),
        "latents": [1, *noise.shape[1:]],
        "tokens": TOKENS,
        "tokenizer": tokenizer,
        "seeds": seeds,
        "concepts": concepts,
        "prompts": [steered.add_article(base) for base in steered.mini_bases()[:6]],
        "pairs": pairs,
        "vectors": offer.vectors_folder,
        "files": {name.partition(".")[0]: f"{name}.gz" for name in contents},
        "bytes": runtime + sum(packed.values()),
        **_schedule(sampling),
        **_sound(model),
    }
    write_json(folder / INDEX, about)
    return folder


def write_page(folder: str | Path) -> Path:
    """Make an exported folder a site of its own, for any server of files: a page, the element, and what runs graphs."""
    folder = Path(folder)
    about = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    for name in SCRIPTS:
        for file in [ASSETS / name] if (ASSETS / name).is_file() else sorted((ASSETS / name).iterdir()):
            atomic_write(folder / file.relative_to(ASSETS), file.read_bytes())
    title = escape.html(f"Steer the {about['checkpoint']}")
    return atomic_write(folder / "index.html", PAGE.format(title=title, element=element(".", about["bytes"])))


def show(model: Model, name: str, offer: Live, profile: str = "mini") -> HTML:
    """Show the instrument on the page that is being built, with its files in a folder ``name`` beside it.

    For others than the mini of ACE-Step, and at the profile ``"smoke"``, a sentence stands in its place.
    """
    require_name(name)
    if not (isinstance(model, AceStep) and model.is_mini) or profile == "smoke":
        return HTML("<p>The page runs the mini of ACE-Step only, and not at the smoke profile.</p>")
    page = page_folder()
    if page is None:
        return HTML("<p>The live instrument is part of a built page; here <code>live=True</code> shows widgets.</p>")
    about = json.loads((export(model, page / name, offer) / INDEX).read_text(encoding="utf-8"))
    return HTML(element(f"{page.name}/{name}", about["bytes"]))


def element(place: str, size: int, inside: str = "", mode: str = "") -> str:
    """Write the element for an export at ``place``, of which a reader who starts it fetches ``size`` bytes.

    HTML ``inside`` stays where it cannot run; the mode ``"patch"`` is for patching alone.
    """
    told = "<noscript><p>With JavaScript off nothing can be computed in this page.</p></noscript>"
    about = data_attributes({"from": f"{place}/{INDEX}", "bytes": size, "mode": mode})
    return f"<steer-live{about}>{told}{inside}</steer-live>"


# ---- parts of live.json


def _pack(path: Path, data: bytes) -> int:
    """Write a file, packed; the bytes that it takes."""
    packed = gzip.compress(data, 9, mtime=0)
    atomic_write(path, packed)
    return len(packed)


def _schedule(sampling: AceStepSampling) -> dict[str, Any]:
    guided = flow.guided_steps(sampling.steps, sampling.interval if sampling.is_guided else 0.0)
    scales = [sampling.guidance if step in guided else 1.0 for step in range(sampling.steps)]
    return {"steps": sampling.steps, "sigmas": flow.schedule(sampling.steps).tolist(), "guidance": scales}


def _sound(model: AceStep) -> dict[str, Any]:
    """What the page does after the last graph: the constants of the phase stage, of resampling and of loudness."""
    stage, rate = model.codec.vocoder, model.codec.vocoder.config.sampling_rate
    common = int(np.gcd(rate, SAMPLE_RATE))
    kernels, reach = sinc_kernels(rate // common, SAMPLE_RATE // common)
    sizes = {"window": stage.config.window, "hop": stage.config.hop, "rounds": stage.config.rounds} if isinstance(
        stage, PhaseStage
    ) else None  # fmt: skip
    return {
        "sample_rate": SAMPLE_RATE,
        "phase_rate": rate,
        "loudness": [[part.tolist() for part in each] for each in filters(SAMPLE_RATE)],
        "phase": sizes and {**sizes, "momentum": MOMENTUM},
        "resample": {"filters": kernels[:, 0].float().tolist(), "reach": reach, "stride": rate // common},
    }


def _tokenizer(model: AceStep) -> dict[str, Any]:
    tokenizer = model.parts.tokenizer
    inner = json.loads(tokenizer.backend_tokenizer.to_str())
    kinds = inner["model"]["type"], (inner["pre_tokenizer"] or {}).get("type")
    if kinds != ("Unigram", "Metaspace"):
        raise InputError(f"got a tokenizer of {kinds}; a page reads Unigram over Metaspace, as the minis have")
    return {
        "pieces": inner["model"]["vocab"],
        "unk": inner["model"]["unk_id"],
        "eos": tokenizer.eos_token_id,
        "lowercase": (inner["normalizer"] or {}).get("type") == "Lowercase",
    }


def _concept(model: AceStep, name: str, vector: Vector, offer: Live, folder: Path) -> dict[str, Any]:
    missing = [site for site in model.sites if site not in vector.directions]
    if missing:
        raise InputError(
            f"the vector of {name} has no direction at {missing[0]}: a page offers all layers, fit it there"
        )
    steps = model.sampling(offer.sampling).steps
    if vector.steps not in (1, steps):
        raise InputError(f"the vector of {name} has {vector.steps} steps; expected 1 or {steps}, those of the clips")
    directions = torch.stack([vector.directions[site] for site in model.sites], dim=1)
    file = f"vector-{slug(name)}.f32.gz"
    _pack(folder / file, directions.float().numpy().tobytes())
    ranges = [
        {"layers": [model.sites.index(site) for site in entry["sites"]], "low": entry["low"], "high": entry["high"]}
        for entry in vector.info.get("ranges", ())
    ]
    ends = [abs(one[end]) for one in ranges for end in ("low", "high")]
    known = steered.CONCEPTS.get(name)
    low, high = (known.negative, known.poles[0]) if known else (f"less {name}", f"more {name}")
    most = max(ends) if ends else STRONG * _length(model, offer)
    return {"name": name, "low": low, "high": high, "file": file, "steps": vector.steps, "most": most, "ranges": ranges}


def _length(model: AceStep, offer: Live) -> float:
    """The median length of what layers put out, over frames, steps and layers of one clip."""
    with record(model, reduce=lambda hidden: hidden.norm(dim=-1).mean(dim=1)) as kept:
        context = model.encode(steered.add_article(steered.mini_bases()[0]))
        model.sample(context, model.noise(offer.seeds[0], offer.seconds), offer.sampling)
    return float(torch.stack([kept[site].mean() for site in model.sites]).median())


def _offered_pairs(offer: Live) -> list[dict[str, Any]]:
    """Prompts with a concept and their counterparts, to patch with, and what a judge hears of them."""
    if offer.pairs is None:
        return [pair for name in offer.vectors or steered.TABLE_1 for pair in _prompts(name)]
    columns = ["concept", "source", "target", "seed"]
    return [
        {"concept": concept, "prompt": source, "source": target, "seed": int(seed), **_told(concept)}
        for concept, source, target, seed in offer.pairs[columns].itertuples(index=False)
    ]


def _prompts(name: str) -> list[dict[str, str]]:
    if name not in steered.CONCEPTS:
        return []
    known, some = steered.get(name), steered.pairs(name, "mini", count=1)
    return [{"concept": name, "prompt": some.negative[0], "source": some.positive[0], **_told(known.poles[0])}]


def _told(name: str) -> dict[str, str]:
    return {"attribute": ATTRIBUTES[name], "class": name} if name in ATTRIBUTES else {}
