"""The recipes of all that is shipped: train by name, and write the card."""

from __future__ import annotations

import json
import math
import platform
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

import tada
from tada.errors import InputError, check_name
from tada.experiments.minis import measure, speed
from tada.io import DRAFTS, write_json, write_table
from tada.minis.cards import EARS, WEIGHTS, hashes
from tada.models.fingerprint import versions
from training import diffusion, ears, probe
from training.diffusion import RECIPES
from training.diffusion.material import PART
from training.diffusion.recipe import PARTS, START, describe_mini
from training.listen import measure_bars

NAMES = (*EARS, *RECIPES)


def train(
    name: str,
    home: str | Path,
    device: str = "cpu",
    hours: float | None = None,
    captions: str | None = None,
    start: str | Path | None = None,
) -> bool:
    """Train one of :data:`NAMES` in ``home/name``, from the last checkpoint if there is one.

    Args:
        name: what.
        home: folder of all recipes.
        device: where minis are trained; ears and probe are trained on the CPU.
        hours: after which a stage stops; None: when it is done.
        captions: csv of MusicCaps, for the card's figures on real captions.
        start: folder of a finished mini whose denoiser learns for another cycle; None: begin with nothing. InputError
            for what is no mini.

    Returns:
        Whether it is complete, card included.
    """
    check_name("recipe", name, NAMES)
    limit, folder = math.inf if hours is None else 3600 * hours, Path(home) / name
    for draft in folder.rglob(DRAFTS):  # half a gigabyte, where a run was killed while it rendered
        draft.unlink()
    if name in EARS:
        if start is not None:
            raise InputError(f"{name!r} is an ear, which learns in one go: leave out the start, or name a mini")
        if name == "probe":
            if not all(diffusion.prepare(mini, home, limit) for mini in RECIPES):
                return False
            probe.train(folder, {mini: partial(diffusion.through_codec, mini, home) for mini in RECIPES}, limit=limit)
        else:
            ears.train(name, folder, Path(home) / "spectrograms", limit)
        return (folder / "card.json").is_file()
    complete = (
        diffusion.train(name, home, device, limit)
        if start is None
        else diffusion.train_further(name, home, start, device, limit)
    )
    if complete:
        write_card(name, home, captions)
    return complete


def write_card(name: str, home: str | Path, captions: str | Path | None = None) -> Path:
    """Measure a trained mini and write its card beside its weights, with the curve of its denoiser.

    Returns:
        The folder, as it is shipped.
    """
    recipe, folder = RECIPES[name], Path(home) / name
    done, rows = folder / "trained", stages(folder)
    model = tada.load(name, done)
    write_table(done / "curve.csv", history(folder))
    content: dict[str, Any] = {
        "what": f"{name}, small",
        "data": "synthetic renders and captions of the grammar",
        "parameters": _parameters(model),
        "sites": len(model.sites),
        "seed": 0,
        "steps": rows["denoiser"]["steps"],
        "batch": recipe.batch,
        "clips": PARTS * PART,
        "loss": round(float(pd.read_csv(done / "curve.csv")["loss"].tail(20).mean()), 4),
        "hours": round(sum(stage["hours"] for stage in rows.values()), 3),
        "stages": rows,
        "machine": f"{platform.machine()} CPU, 1 thread",
        "versions": versions(),
        "sampling": describe_mini(recipe.arch)["sampling"],
        "sha256": hashes(done),
        **measure(model, captions, folder / "measured"),
        "signals": measure_bars(model),
        "speed": speed(model),
    }
    write_json(done / "card.json", _rounded(content))
    return done


def update_card(name: str, home: str | Path, captions: str | Path | None = None) -> None:
    """Measure a finished mini again, and write what was found into its card; its speed stays.

    Judged clips are kept in ``home``, so that a stopped run goes on. Without ``captions``, a csv of MusicCaps, what
    the card says of real captions stays, too.
    """
    path = WEIGHTS / name / "card.json"
    model = tada.load(name, path.parent)
    found = measure(model, captions, Path(home) / name / "measured") | {"signals": measure_bars(model)}
    write_json(path, json.loads(path.read_text()) | _rounded(found))


def history(folder: Path) -> pd.DataFrame:
    """Read the curve of a mini's denoiser, over all of its cycles."""
    curve = pd.read_csv(folder / "denoiser" / "curve.csv")
    if (folder / START / "curve.csv").is_file():
        before = pd.read_csv(folder / START / "curve.csv")
        curve[["step", "seconds"]] += before[["step", "seconds"]].iloc[-1]
        curve = pd.concat([before, curve])
    return curve


def stages(folder: Path) -> dict[str, dict[str, float]]:
    """Steps, hours and last loss of each of a mini's stages, those of the mini that it went on from included."""
    before = folder / START / "card.json"
    rows = json.loads(before.read_text())["stages"] if before.is_file() else {}
    for path in [*sorted((folder / "codec").glob("*/curve.csv")), *sorted(folder.glob("*/curve.csv"))]:
        if path.parent.name not in ("trained", START):
            curve = history(folder) if path.parent.name == "denoiser" else pd.read_csv(path)
            rows[path.parent.name] = {
                "steps": int(curve["step"].iloc[-1]),
                "hours": round(float(curve["seconds"].iloc[-1]) / 3600, 3),
                "loss": round(float(curve["loss"].tail(20).mean()), 4),
            }
    return rows


def _parameters(model: Any) -> dict[str, int]:
    if hasattr(model, "parts"):
        named = vars(model.parts)
    elif hasattr(model, "pipeline"):
        named = model.pipeline.components
    else:
        named = dict(model.network.named_children(), phase=model.phase)
    return {n: sum(v.numel() for v in part.parameters()) for n, part in named.items() if hasattr(part, "parameters")}


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    return round(value, 4) if isinstance(value, float) else value
