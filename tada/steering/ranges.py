"""Strength grids, and the range of strengths in which a vector moves its concept without breaking the sound.

The same raw strength is little for one model and far too much for another: what sites put out differs in length. A
range is found per vector, model and layers with a judge, from clips alone and without chance, and is kept with the
vector. Strengths are then given in per cent of it: 100 is its upper end, -100 its lower.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from tada.audio import Clips
from tada.errors import InputError
from tada.hooks import Passes, record
from tada.io import atomic_write
from tada.models.base import Layers, Model, Sampling, versions
from tada.patching.sweeps import Score
from tada.steering.vector import Vector
from tada.store import UNIT, Store, key

RELATIVE = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0)
"""Strengths that are tried, in lengths of what the sites put out."""

REACH = 0.95
"""Strengths that reach this share of the largest movement move the concept as far as any."""

KEEP = 0.85
"""Share of the unsteered clips' soundness below which a strength counts as breaking the sound."""

LEAST = 0.02
"""A movement of the judge's mean below this is none."""

CONCEPT, SOUND = "concept", "sound"
"""Metrics that a judge gives for a calibration: how much of the concept a clip has, and how sound it is."""


@dataclass(frozen=True)
class Setting:
    """What the clips of a grid have in common.

    Attributes:
        prompts: one or more, each made at every strength.
        seconds: length of the clips.
        sampling: settings, or the name of a preset.
        seeds: every prompt is made with each of them.
        lyrics: for models that sing.
        batch: rows in one denoiser call.
    """

    prompts: tuple[str, ...]
    seconds: float
    sampling: Sampling | str | None = None
    seeds: tuple[int, ...] = (0,)
    lyrics: str | None = None
    batch: int = 8


def grid(
    model: Model,
    vector: Vector,
    alphas: Sequence[float],
    setting: Setting,
    layers: Layers | None = "functional",
    *,
    concept: str,
    score: Score,
    passes: Passes = "cond",
    renorm: bool = True,
    store: Store | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Steer every prompt with every strength and judge the clips; all strengths of a prompt share its noise.

    The unsteered clip is the same unit for every vector, method and layer set of a store.

    Args:
        model: the model.
        vector: the direction.
        alphas: raw strengths.
        setting: what the clips have in common.
        layers: where to steer; None for all sites of the vector.
        concept: named in the result, and to the judge.
        score: ``score(clips, rows) -> {metric: [clips]}``; ``rows`` has ``concept, prompt, seed, alpha, layers``. It
            needs an attribute ``key``, or to be a plain function of a module.
        passes: guidance passes to steer.
        renorm: as for ``vector.apply``.
        store: where scores are kept, and found again.
        progress: show a progress bar.

    Returns:
        One row a clip and metric: ``checkpoint, model, concept, prompt, seed, method, layers, alpha, metric, value,
        unit_hash``.
    """
    plan = _plan(model, vector, alphas, setting, layers, concept, score, passes, renorm)
    known = set() if store is None else store.known()
    todo = plan[~plan[UNIT].isin(known)].drop_duplicates(UNIT)
    made = []
    for part, clips in _clips(model, vector, todo, setting, layers, passes, renorm, progress):
        made.append(_judged(score, clips, part))
        if store is not None:
            store.add(made[-1])
    values = pd.concat(made, ignore_index=True) if store is None else store.frame(plan[UNIT])
    about = plan.assign(checkpoint=model.checkpoint, model=model.name)
    columns = ["checkpoint", "model", "concept", "prompt", "seed", "method", "layers", "alpha", "metric", "value", UNIT]
    return about.merge(values, on=UNIT)[columns]


def clips(
    model: Model,
    vector: Vector,
    alphas: Sequence[float],
    setting: Setting,
    layers: Layers | None = "functional",
    passes: Passes = "cond",
    renorm: bool = True,
    keep: str | Path | None = None,
) -> Clips:
    """The clips of a grid: every prompt and seed at every strength, strengths varying fastest.

    Args:
        model: the model.
        vector: the direction.
        alphas: raw strengths.
        setting: what the clips have in common.
        layers: where to steer; None for all sites of the vector.
        passes: guidance passes to steer.
        renorm: as for ``vector.apply``.
        keep: a folder for the clips, where a later call finds them; None keeps nothing.
    """
    plan = _plan(model, vector, alphas, setting, layers, "", _unjudged, passes, renorm)
    place = None if keep is None else Path(keep) / f"{key({'units': plan[UNIT].tolist()})}.safetensors"
    if place is not None and place.is_file():
        return read_clips(place)
    parts = [part for _, part in _clips(model, vector, plan, setting, layers, passes, renorm, False)]
    made = Clips(torch.cat([p.audio for p in parts]), parts[0].sample_rate, [r for p in parts for r in p.records])
    if place is not None:
        write_clips(made, place)
    return made


def write_clips(made: Clips, path: Path) -> None:
    """Keep clips and their records in one file, float16."""
    from safetensors.torch import save

    about = {"sample_rate": str(made.sample_rate), "records": json.dumps(made.records)}
    atomic_write(path, save({"audio": made.audio.half()}, about))


def read_clips(path: Path) -> Clips:
    """What :func:`write_clips` kept."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        about = file.metadata()
        return Clips(file.get_tensor("audio"), int(about["sample_rate"]), json.loads(about["records"]))


def calibrate(
    model: Model,
    vector: Vector,
    setting: Setting,
    layers: Layers | None = "functional",
    *,
    concept: str,
    score: Score,
    passes: Passes = "cond",
    renorm: bool = True,
    store: Store | None = None,
) -> Vector:
    """Find the range of a vector's strengths on a model, and keep it with the vector.

    Strengths from 1/8 to 4 lengths of what the sites put out are tried in either direction. Those from the first on
    that breaks the sound are left out. Of the others, those from the least that moves the concept nearly as far as any
    on, as long as they do, are a plateau: the range ends in its middle, since on the few prompts of a trial the least
    may do by luck. Where nothing moves the concept, the range ends at the largest sound strength, and says so.

    Args:
        model: the model.
        vector: the direction.
        setting: prompts that results are not reported on.
        layers: as for ``vector.apply``.
        concept: named to the judge.
        score: as for :func:`grid`, with the metrics ``"concept"`` and ``"sound"``, higher for more of either.
        passes: as for ``vector.apply``.
        renorm: as for ``vector.apply``.
        store: where scores are kept, and found again.

    Returns:
        The vector with one more entry in ``info["ranges"]``, in place of one for the same layers and manner.

    Raises:
        ValueError: a judge without those metrics.
    """
    unit = lengths(model, vector, setting, layers)
    alphas = [sign * unit * share for sign in (-1, 1) for share in RELATIVE]
    rows = grid(
        model, vector, [0.0, *alphas], setting, layers,
        concept=concept, score=score, passes=passes, renorm=renorm, store=store,
    )  # fmt: skip
    missing = {CONCEPT, SOUND} - set(rows["metric"])
    if missing:
        raise InputError(f"the judge gave {sorted(set(rows['metric']))}; expected {CONCEPT!r} and {SOUND!r} among them")
    means: Any = rows.pivot_table("value", "alpha", "metric")
    low, high = (_end(means, sign) for sign in (-1, 1))
    entry = {
        **_manner(model, vector, layers, passes, renorm),
        "low": low["alpha"],
        "high": high["alpha"],
        "unit": unit,
        "ends": {"low": low, "high": high},
        "unsteered": {name: float(means.loc[0.0, name]) for name in (CONCEPT, SOUND)},
        "concept": concept,
        "prompts": list(setting.prompts),
        "seeds": list(setting.seeds),
    }
    others = [old for old in vector.info.get("ranges", ()) if not _same(old, entry)]
    return replace(vector, info={**vector.info, "ranges": [*others, entry]})


def limits(
    model: Model,
    vector: Vector,
    layers: Layers | None = "functional",
    passes: Passes = "cond",
    renorm: bool = True,
) -> tuple[float, float]:
    """The lowest and highest strength of a calibrated vector; ValueError if it was not calibrated for this."""
    wanted = _manner(model, vector, layers, passes, renorm)
    for entry in vector.info.get("ranges", ()):
        if _same(entry, wanted):
            return entry["low"], entry["high"]
    known = ", ".join(str(entry["layers"]) for entry in vector.info.get("ranges", ())) or "none"
    raise InputError(
        f"this vector was not calibrated for layers {wanted['layers']}, {passes} pass, renorm={renorm} (it was for: "
        f"{known}): run tada.steering.ranges.calibrate, or give a raw strength"
    )


def strength(percent: float, ends: tuple[float, float]) -> float:
    """The raw strength at so many per cent of a range, -100 to 100 and beyond; 0 is 0."""
    if not np.isfinite(percent):
        raise InputError(f"got {percent} per cent; expected a finite number")
    return abs(ends[1 if percent >= 0 else 0]) * percent / 100


def lengths(model: Model, vector: Vector, setting: Setting, layers: Layers | None) -> float:
    """The strength that is as long as what sites put out: median over sites, mean over steps, frames and prompts."""
    sites = vector.sites if layers is None else model.resolve(layers)
    rows = [(prompt, setting.seeds[0]) for prompt in setting.prompts[: setting.batch]]
    with record(model, list(sites), reduce=lambda hidden: hidden.float().norm(dim=-1).mean(dim=1)) as kept:
        texts, seeds = zip(*rows, strict=True)
        context = model.encode(list(texts), lyrics=setting.lyrics)
        model.sample(context, model.noise(seeds, setting.seconds), setting.sampling)
    own = {site: float(vector.directions[site].norm(dim=-1).mean()) for site in sites}
    ratios = [float(kept[site].mean()) / own[site] for site in sites if own[site]]
    return float(np.median(ratios))


# ---- parts


def _plan(
    model: Model,
    vector: Vector,
    alphas: Sequence[float],
    setting: Setting,
    layers: Layers | None,
    concept: str,
    score: Score,
    passes: Passes,
    renorm: bool,
) -> pd.DataFrame:
    """One row a clip, with the hash of all that determines its scores."""
    manner = _manner(model, vector, layers, passes, renorm)
    settings = model.sampling(setting.sampling)
    common = {
        "model": model.name,
        "weights": model.fingerprint(),
        "dtype": str(model.dtype),
        "sampling": {"kind": type(settings).__name__, **asdict(settings)},
        "seconds": setting.seconds,
        "lyrics": setting.lyrics,
        "score": str(getattr(score, "key", f"{score.__module__}.{getattr(score, '__qualname__', '')}")),
        "concept": concept,
        "versions": {name: version for name, version in versions().items() if name != "python"},
    }
    steered = {"vector": digest(vector, manner["sites"]), **manner}
    method = str(vector.info.get("method", "vector"))
    rows = []
    for prompt in setting.prompts:
        for seed in setting.seeds:
            for alpha in map(float, alphas):
                own = {**common, "prompt": prompt, "seed": seed, "alpha": alpha} | (steered if alpha else {})
                rows.append((concept, prompt, seed, method, manner["layers"], alpha, key(own)))
    return pd.DataFrame(rows, columns=["concept", "prompt", "seed", "method", "layers", "alpha", UNIT])


def digest(vector: Vector, sites: Sequence[str] | None = None) -> str:
    """The sha256 of a vector's directions."""
    parts = hashlib.sha256()
    for site in sites or vector.sites:
        if site in vector.directions:
            parts.update(site.encode() + vector.directions[site].contiguous().numpy().tobytes())
    return parts.hexdigest()


def _clips(
    model: Model,
    vector: Vector,
    plan: pd.DataFrame,
    setting: Setting,
    layers: Layers | None,
    passes: Passes,
    renorm: bool,
    progress: bool,
) -> Any:
    """Rows of the plan and their clips, a batch at a time."""
    from tqdm.auto import tqdm

    texts = list(dict.fromkeys(plan["prompt"]))
    if not texts:
        return
    place = {text: row for row, text in enumerate(texts)}
    context = model.encode(texts, lyrics=setting.lyrics)
    for start in tqdm(range(0, len(plan), setting.batch), disable=not progress, desc="grid", leave=False):
        part = plan.iloc[start : start + setting.batch]
        noise = model.noise(part["seed"].tolist(), setting.seconds)
        with vector.apply(model, part["alpha"].tolist(), layers, passes, renorm):
            latents = model.sample(context[[place[text] for text in part["prompt"]]], noise, setting.sampling)
        yield part, model.decode(latents)


def _unjudged(made: Clips, rows: pd.DataFrame) -> dict[str, Any]:
    """Stands for the judge of clips that nobody judges."""
    return {}


def _judged(score: Score, made: Clips, part: pd.DataFrame) -> pd.DataFrame:
    values = score(made, part)
    table = pd.DataFrame({name: np.asarray(column, float) for name, column in dict(values).items()})
    if len(table) != len(part):
        raise InputError(f"the judge gave {len(table)} values for {len(part)} clips; expected one a clip")
    return table.assign(**{UNIT: part[UNIT].to_numpy()}).melt(id_vars=UNIT, var_name="metric", value_name="value")


def _end(means: Any, sign: int) -> dict[str, Any]:
    """Where the range ends on one side."""
    side = means[means.index * sign > 0]
    side = side.reindex(side.index[np.argsort(np.abs(side.index.to_numpy()))])
    broken = (side[SOUND] < KEEP * means.loc[0.0, SOUND]).to_numpy()
    kept = side.iloc[: int(broken.argmax())] if broken.any() else side
    sound = len(kept) > 0
    kept = kept if sound else side.iloc[:1]
    moved = sign * (kept[CONCEPT] - means.loc[0.0, CONCEPT])
    moves = bool(moved.max() >= LEAST)
    alpha = float(_plateau(moved) if moves else kept.index[-1])
    return {"alpha": alpha, CONCEPT: float(kept.loc[alpha, CONCEPT]), SOUND: float(kept.loc[alpha, SOUND]),
            "moves": moves, "sound": sound}  # fmt: skip


def _plateau(moved: Any) -> float:
    """The middle one of the first strengths in a row that move the concept nearly as far as any."""
    enough = (moved >= REACH * moved.max()).to_numpy()
    first = int(enough.argmax())
    length = int((~enough[first:]).argmax()) if (~enough[first:]).any() else len(enough) - first
    return float(moved.index[first + (length - 1) // 2])


def _manner(model: Model, vector: Vector, layers: Layers | None, passes: Passes, renorm: bool) -> dict[str, Any]:
    sites = sorted(vector.sites if layers is None else model.resolve(layers), key=model.sites.index)
    every = len(sites) == len(model.sites)
    named = layers if layers in ("functional", "all-but-functional") else "all" if every else model.label(sites)
    return {"layers": named, "sites": sites, "passes": passes, "renorm": renorm}


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(one[name] == other[name] for name in ("sites", "passes", "renorm"))
