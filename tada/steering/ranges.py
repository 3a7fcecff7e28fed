"""Strength grids, and the range of strengths in which a vector moves its concept without breaking the sound.

The same raw strength is little for one model and far too much for another: what sites put out differs in length. A
range is found per vector, model and layers with a judge, from clips alone and without chance, and is kept with the
vector. Strengths are then given in per cent of it: 100 is its upper end, -100 its lower.

The authors' second version ranges by distance in its place: every way to steer ends as far from the unsteered clip as
when the prompt asks for the concept, which makes rows of Table 1 comparable at equal change.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from safetensors import safe_open
from safetensors.torch import save

from tada.arguments import sung
from tada.audio import Clips
from tada.engine import generate, units
from tada.errors import InputError
from tada.hooks import record
from tada.io import atomic_write
from tada.metrics import lpaps
from tada.metrics.judges import JudgeLike, Panel
from tada.metrics.suite import MetricSuite
from tada.models.base import Layers, Model
from tada.stats import Values
from tada.steering.arms import ARM, BASELINE, Arm, Trial, Way, apply_arms, plan_steering, steer
from tada.steering.vector import Vector
from tada.store import UNIT, Store, key

AnyWay = TypeVar("AnyWay", bound=Way)

RELATIVE = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0)
"""Strengths that are tried by a judge, in lengths of the cross-attention outputs."""

LADDER = tuple(float(2**power) for power in range(-3, 11))
"""Raw strengths that are tried by distance: an eighth to 1024, each twice the one before."""

PLATEAU_SHARE = 0.95
"""Strengths that reach this share of the largest movement move the concept as far as any."""

MIN_QUALITY = 0.85
"""Share of the unsteered clips' soundness below which a strength counts as breaking the sound."""

MIN_MOVEMENT = 0.02
"""A movement of the judge's mean below this is none."""

CONCEPT, QUALITY = "concept", "sound"
"""Metrics that a judge gives for a calibration: how much of the concept a clip has, and how sound it is."""


def grid(
    model: Model, arm: Way, trial: Trial, percents: Sequence[float], judge: JudgeLike, store: Store | None = None
) -> pd.DataFrame:
    """Steer every prompt at every strength, 0 included or not, and judge the clips.

    Args:
        arm: the way to steer; with its own scale, percent are raw strengths.
        percents: strengths in percent of the arm's range.
        judge: as for ``tada.steering.steer``.

    Returns:
        As from ``tada.steering.steer``; the unsteered clips are given as the arm's own at strength 0.
    """
    rows = steer(model, [arm], trial, percents, judge, store)
    rows.loc[rows["method"] == BASELINE, ARM] = [arm.method, arm.name(model)]
    rows = rows[rows["percent"].isin([float(percent) for percent in percents])]
    order = ["number", "percent"]
    return rows.sort_values(order, kind="stable").drop(
        columns=["kind", "chunk", "reference", "number"], errors="ignore"
    )


def clips(model: Model, arm: Way, trial: Trial, alphas: Sequence[float], keep: str | Path | None = None) -> Clips:
    """Make the clips of every prompt and seed at every raw strength, strengths varying fastest.

    Args:
        arm: the way to steer; its scale does not count.
        alphas: raw strengths.
        keep: a folder for the clips, where a later call finds them; None keeps nothing.
    """
    arm = arm.scaled(100.0, 100.0)
    plan = plan_steering(model, [arm], trial, alphas)
    plan = plan[plan["alpha"].isin([float(alpha) for alpha in alphas])]  # without the unsteered, if nobody asks
    place = Path(keep or "") / f"{key({'units': plan[UNIT].tolist(), 'alphas': list(alphas)})}.safetensors"
    if keep is None or not place.is_file():
        rows, parts = zip(*generate(model, plan, trial.setting, partial(apply_arms, (arm,))), strict=True)
        places = {(row.number, row.alpha): i for i, row in enumerate(pd.concat(rows).itertuples())}
        order = [places[number, float(alpha)] for number in range(len(trial.rows)) for alpha in alphas]
        made = Clips.join(parts)
        made = Clips(made.audio[order], made.sample_rate, [made.records[i] for i in order])
        if keep is None:
            return made
        write_clips(made, place)
    return read_clips(place)


def write_clips(made: Clips, path: Path) -> None:
    """Keep clips and their records in one file, float16."""
    about = {"sample_rate": str(made.sample_rate), "records": json.dumps(made.records)}
    atomic_write(path, save({"audio": made.audio.half()}, about))


def read_clips(path: Path) -> Clips:
    """Read what :func:`write_clips` kept."""
    with safe_open(path, "pt") as file:
        about = file.metadata()
        return Clips(file.get_tensor("audio"), int(about["sample_rate"]), json.loads(about["records"]))


def calibrate(model: Model, arm: Arm, trial: Trial, judge: JudgeLike, store: Store | None = None) -> Arm:
    """Find the range of a vector's strengths on a model, and keep it with the vector.

    Strengths from 1/8 to 4 lengths of the cross-attention outputs are tried in either direction. Those from the first
    on that breaks the sound are left out. Of the others, those that move the concept nearly as far as any are a
    plateau, and the range ends in its middle, since on the few prompts of a trial its beginning may be luck. Where
    nothing moves the concept, the range ends at the largest sound strength, and says so.

    Args:
        trial: prompts that results are not reported on.
        judge: as for ``tada.steering.steer``, with the metrics ``"concept"`` and ``"sound"``, higher is more; the
            first of a panel decides.

    Returns:
        The arm with its scale; its vector has one more entry in ``info["ranges"]``, in place of one for the same
        layers and manner.

    Raises:
        ValueError: a judge without those metrics.
    """
    judge = judge.judges[0] if isinstance(judge, Panel) else judge
    unit = lengths(model, arm.vector, trial, arm.layers, store)
    alphas = [sign * unit * share for sign in (-1, 1) for share in RELATIVE]
    rows = steer(model, [arm.scaled(100.0, 100.0)], trial, alphas, judge, store)
    missing = {CONCEPT, QUALITY} - set(rows["metric"])
    if missing:
        raise InputError(
            f"the judge gave {sorted(set(rows['metric']))}; expected {CONCEPT!r} and {QUALITY!r} among them"
        )
    means: Any = rows.pivot_table("value", "alpha", "metric")
    low, high = (_end(means, sign) for sign in (-1, 1))
    entry = {
        **_application(model, arm),
        "low": low["alpha"],
        "high": high["alpha"],
        "unit": unit,
        "ends": {"low": low, "high": high},
        "unsteered": {name: float(means.loc[0.0, name]) for name in (CONCEPT, QUALITY)},
        "concept": trial.concept,
        "prompts": list(trial.prompts),
        "seeds": sorted(set(trial.seeds)),
    }
    others = [old for old in arm.vector.info.get("ranges", ()) if not _same_application(old, entry)]
    vector = replace(arm.vector, info={**arm.vector.info, "ranges": [*others, entry]})
    return calibrated(model, replace(arm, vector=vector))


def calibrated(model: Model, arm: Arm) -> Arm:
    """The arm with the scale that its vector was calibrated to; ValueError if it was not calibrated for this."""
    wanted, ranges = _application(model, arm), arm.vector.info.get("ranges", ())
    for entry in ranges:
        if _same_application(entry, wanted):
            return arm.scaled(abs(entry["high"]), abs(entry["low"]))
    known = ", ".join(str(entry["layers"]) for entry in ranges) or "none"
    raise InputError(
        f"this vector was not calibrated for layers {wanted['layers']}, {arm.passes} pass, renorm={arm.renorm} (it was "
        f"for: {known}): run tada.steering.calibrate, or give a raw strength"
    )


def lengths(model: Model, vector: Vector, trial: Trial, layers: Layers | None, store: Store | None = None) -> float:
    """The raw strength as long as the outputs it is added to: median over sites, mean over steps, frames, prompts."""
    sites = vector.sites if layers is None else model.resolve(layers)
    found = output_lengths(model, trial, store)
    own = {site: float(vector.directions[site].double().norm(dim=-1).mean()) for site in sites}
    return float(np.median([found[site] / own[site] for site in sites if own[site]]))


def output_lengths(model: Model, trial: Trial, store: Store | None = None) -> dict[str, float]:
    """Site -> mean length of its cross-attention outputs, over steps, frames and the first prompts of a trial.

    Args:
        trial: prompts and seeds, of which at most a batch is made.
    """
    setting, rows = trial.setting, trial.rows[: trial.setting.batch]
    prompts, seeds = zip(*rows, strict=True)
    name = units(model, setting, None, [{"what": "lengths of outputs", "rows": rows}])[0]
    known = None if store is None else store.get(name)
    if known is not None:
        return dict(known)
    with record(model, list(model.sites), reduce=lambda hidden: hidden.float().norm(dim=-1).mean(dim=1)) as kept:
        context = model.encode(prompts, lyrics=setting.lyrics)
        model.sample(context, model.noise(seeds, setting.seconds), setting.sampling)
    found = {site: float(values.mean()) for site, values in kept.items()}
    return found if store is None else dict(store.get_or_set(name, found))


def _end(means: Any, sign: int) -> dict[str, Any]:
    """Where the range ends on one side."""
    side = means[means.index * sign > 0]
    side = side.reindex(side.index[np.argsort(np.abs(side.index.to_numpy()))])
    broken = (side[QUALITY] < MIN_QUALITY * means.loc[0.0, QUALITY]).to_numpy()
    kept = side.iloc[: int(broken.argmax())] if broken.any() else side
    sound = len(kept) > 0
    kept = kept if sound else side.iloc[:1]
    moved = sign * (kept[CONCEPT] - means.loc[0.0, CONCEPT])
    moves = bool(moved.max() >= MIN_MOVEMENT)
    alpha = float(_plateau(moved) if moves else kept.index[-1])
    return {"alpha": alpha, CONCEPT: float(kept.loc[alpha, CONCEPT]), QUALITY: float(kept.loc[alpha, QUALITY]),
            "moves": moves, "sound": sound}  # fmt: skip


def _plateau(moved: Any) -> float:
    """The middle one of the first strengths in a row that move the concept nearly as far as any."""
    enough = (moved >= PLATEAU_SHARE * moved.max()).to_numpy()
    first = int(enough.argmax())
    length = int((~enough[first:]).argmax()) if (~enough[first:]).any() else len(enough) - first
    return float(moved.index[first + (length - 1) // 2])


def _application(model: Model, arm: Arm) -> dict[str, Any]:
    """Where and how an arm steers."""
    sites = sorted(arm.sites(model), key=model.places.index)
    named = arm.layers if arm.layers in ("functional", "all-but-functional") else None
    layers = named or ("all" if tuple(sites) == model.sites else model.label(sites))
    return {"layers": layers, "sites": sites, "passes": arm.passes, "renorm": arm.renorm}


def _same_application(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(one[name] == other[name] for name in ("sites", "passes", "renorm"))


# ---- by distance


def range_by_distance(
    model: Model,
    arm: AnyWay,
    trial: Trial,
    targets: tuple[float, float],
    suite: MetricSuite,
    ladder: Sequence[float] = LADDER,
    store: Store | None = None,
) -> tuple[AnyWay, tuple[bool, bool]]:
    """Find the raw strengths at which clips have moved by given distances (LPAPS), one for each direction.

    Args:
        arm: the way to steer; its own scale does not count.
        trial: prompts, each tried with every strength of the ladder.
        targets: mean LPAPS to reach on the positive and on the negative side, such as from :func:`prompt_distance`.
        ladder: raw strengths that are tried, rising; between two of them the strength is interpolated on a log scale.

    Returns:
        The arm with its scale, and for each side whether the distance was reached; a direction that never gets there
        has the strength with the largest distance.
    """
    raw = arm.scaled(100.0, 100.0)
    percents = [sign * strength for sign in (1.0, -1.0) for strength in ladder]
    rows = steer(model, [raw], trial, percents, suite, store)
    rows = rows[(rows["metric"] == "lpaps") & (rows["method"] != BASELINE)]
    means = rows.groupby("alpha")["value"].mean()
    (up, reached_up), (down, reached_down) = (
        _crossing(ladder, means.loc[[sign * strength for strength in ladder]].to_numpy(), target)
        for sign, target in zip((1.0, -1.0), targets, strict=True)
    )
    return arm.scaled(up, down), (reached_up, reached_down)


def prompt_distance(
    model: Model, trial: Trial, positive: Sequence[str], negative: Sequence[str], suite: MetricSuite
) -> tuple[float, float]:
    """Measure how far clips move (mean LPAPS) when the prompt itself asks for each pole: the ceiling to expect.

    Args:
        trial: neutral prompts.
        positive: the same that ask for the first pole.
        negative: the same that ask for the other one.
    """
    setting, prompts = trial.setting, [prompt for prompt, _ in trial.rows]
    words = sung(setting.lyrics, prompts)
    plain, *poles = (
        suite.listen(model.generate(list(texts), trial.seeds, setting.seconds, setting.sampling, lyrics=words))
        for texts in (prompts, positive, negative)
    )
    up, down = (float(lpaps.distance(pole.stages, plain.stages, suite.over).double().numpy().mean()) for pole in poles)
    return up, down


def _crossing(ladder: Sequence[float], distances: Values, target: float) -> tuple[float, bool]:
    """Where a rising curve first gets to a target."""
    beyond = np.flatnonzero(distances >= target)
    if not len(beyond):
        return float(ladder[int(distances.argmax())]), False
    last = int(beyond[0])
    if last == 0:
        return float(ladder[0] * target / distances[0]), True
    part = (target - distances[last - 1]) / (distances[last] - distances[last - 1])
    return float(ladder[last - 1] * (ladder[last] / ladder[last - 1]) ** part), True
