"""The recipes of all that is shipped: train by name, write the card, check what is there."""

from __future__ import annotations

import hashlib
import json
import math
import platform
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tada.errors import InputError, UnknownNameError, unknown
from tada.minis import ears, probe
from training.fit import card

WEIGHTS = ears.WEIGHTS
EARS = ("probe", "clap", "second")
MINIS = ("audioldm2", "stable-audio", "ace-step", "stable-audio-planted", "ace-step-planted")
NAMES = (*EARS, *MINIS)

Tell = Callable[[str], None]


def train(
    name: str,
    home: str | Path,
    device: str = "cpu",
    hours: float | None = None,
    captions: str | None = None,
    tell: Tell = lambda _: None,
    start: str | Path | None = None,
) -> bool:
    """Train one of :data:`NAMES` in ``home/name``, from the last checkpoint if there is one.

    Args:
        name: what.
        home: folder of all recipes.
        device: where minis are trained; ears are trained on the CPU.
        hours: after which a stage stops; None: when it is done.
        captions: csv of MusicCaps, for the card's figures on real captions.
        tell: hears of progress.
        start: folder of a finished mini whose denoiser learns for another cycle; None: begin with nothing.

    Returns:
        Whether it is complete, card included.

    Raises:
        ValueError: ``start`` for what is no mini, or a planted one.
    """
    limit = math.inf if hours is None else 3600 * hours
    folder = Path(home) / name
    if start is not None and name in EARS:
        raise InputError(f"{name!r} is an ear, which learns in one go: leave out the start, or name a mini")
    if name == "probe":
        probe.train(folder, limit=limit)
    elif name in EARS:
        from training.ears import training

        training.train(name, folder, limit=limit, spectrograms=Path(home) / "spectrograms")
    else:
        from training.diffusion import training as minis

        complete = (
            minis.train(name, home, device, limit) if start is None else minis.again(name, home, start, device, limit)
        )
        if not complete:
            return False
        measured(name, home, captions, tell)
        return True
    return (folder / "card.json").is_file()


def clear(name: str, home: str | Path) -> None:
    """Forget what a recipe has done so far."""
    shutil.rmtree(Path(home) / name, ignore_errors=True)


def measured(name: str, home: str | Path, captions: str | Path | None = None, tell: Tell = lambda _: None) -> Path:
    """Measure a trained mini and write its card beside its weights, with the curve of its denoiser.

    Returns:
        The folder, as it is shipped.
    """
    import tada
    from training.diffusion import judge
    from training.diffusion.material import PART
    from training.diffusion.training import PARTS, RECIPES, described

    recipe, done = RECIPES[name], Path(home) / name / "trained"
    model = tada.load(recipe.architecture, done)
    curves = stages(name, home)
    history(Path(home) / name).to_csv(done / "curve.csv", index=False)
    content: dict[str, Any] = {
        "what": f"{recipe.architecture}, small" + (", concepts reach two sites only" if recipe.planted else ""),
        "data": "synthetic renders and captions of the grammar",
        "parameters": _parameters(model),
        "sites": len(model.sites),
        "seed": 0,
        "steps": curves["denoiser"]["steps"],
        "batch": recipe.batch,
        "clips": PARTS * PART,
        "loss": round(float(pd.read_csv(done / "curve.csv")["loss"].tail(20).mean()), 4),
        "hours": round(sum(stage["hours"] for stage in curves.values()), 3),
        "stages": curves,
        "machine": f"{platform.machine()} CPU, 1 thread",
        "versions": _versions(),
        "sampling": described(recipe)["sampling"],
        "sha256": hashes(done),
        **judge.measure(model, captions, tell),
        **(localised(recipe.architecture, done, Path(home) / name / "localisation") if recipe.planted else {}),
    }
    card(done / "card.json", _rounded(content))
    return done


def localised(architecture: str, folder: Path, store: Path, workers: int = 1) -> dict[str, Any]:
    """What localisation finds in a planted mini, for its card.

    Args:
        architecture: the mini's.
        folder: the mini.
        store: of scores; what is there is not computed again.
        workers: processes.
    """
    from tada.experiments import planted

    table = planted.measure(architecture, folder, store=store, workers=workers)
    rows = table.astype(object).where(table.notna(), None).to_dict("records")  # json knows no NaN
    return {"localisation": {"pairs": planted.PAIRS, "concepts": rows}}


def history(folder: Path) -> pd.DataFrame:
    """The curve of a mini's denoiser, over all of its cycles."""
    curve = pd.read_csv(folder / "denoiser" / "curve.csv")
    if (folder / "start" / "curve.csv").is_file():
        before = pd.read_csv(folder / "start" / "curve.csv")
        curve[["step", "seconds"]] += before[["step", "seconds"]].iloc[-1]
        curve = pd.concat([before, curve])
    return curve


def stages(name: str, home: str | Path) -> dict[str, dict[str, float]]:
    """Steps, hours and last loss of each of a mini's stages, those of the mini that it went on from included."""
    folder = Path(home) / name
    before = folder / "start" / "card.json"
    rows = json.loads(before.read_text())["stages"] if before.is_file() else {}
    for path in [*sorted((folder / "codec").glob("*/curve.csv")), *sorted(folder.glob("*/curve.csv"))]:
        if path.parent.name not in ("trained", "start"):
            curve = history(folder) if path.parent.name == "denoiser" else pd.read_csv(path)
            rows[path.parent.name] = {
                "steps": int(curve["step"].iloc[-1]),
                "hours": round(float(curve["seconds"].iloc[-1]) / 3600, 3),
                "loss": round(float(curve["loss"].tail(20).mean()), 4),
            }
    return rows


def hashes(folder: Path) -> dict[str, str]:
    """sha256 of each file in a folder but the card, the curve and the label."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in UNHASHED)
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


UNHASHED = ("card.json", "curve.csv", "tada.json")


def shipped() -> list[dict[str, Any]]:
    """What is in the package: name, what, steps, hours, megabytes."""
    rows = []
    for name in NAMES:
        path = WEIGHTS / name / "card.json"
        if path.is_file():
            said = json.loads(path.read_text())
            size = sum(file.stat().st_size for file in path.parent.rglob("*") if file.is_file())
            rows.append({"name": name, "megabytes": size / 1e6, **{k: said[k] for k in ("what", "steps", "hours")}})
    return rows


def verify(names: Sequence[str] = (), clips: int = 128, tell: Tell = lambda _: None) -> list[str]:
    """Check shipped weights against their cards, and measure them again.

    Args:
        names: which; none: all that are there.
        clips: to measure each mini with, about; 0 checks the hashes alone.
        tell: hears what was found.

    Returns:
        What is wrong, one sentence each.

    Raises:
        KeyError: an unknown name.
    """
    there = [row["name"] for row in shipped()]
    for name in names:
        if name not in there:
            raise UnknownNameError(unknown("mini", name, there))
    trouble = []
    for name in names or there:
        said = json.loads((WEIGHTS / name / "card.json").read_text())
        found = hashes(WEIGHTS / name)
        wrong = [file for file, digest in said["sha256"].items() if found.get(file) != digest]
        trouble += [f"{name}/{file} is not the file of the card" for file in wrong]
        tell(f"{name}: {len(said['sha256']) - len(wrong)} of {len(said['sha256'])} files as the card says")
        if clips and name in MINIS and not wrong:
            trouble += _again(name, said, clips, tell)
    return trouble


def _again(name: str, said: dict[str, Any], clips: int, tell: Tell) -> list[str]:
    """Ask a mini anew, for fewer clips; an accuracy below the card's interval by more than its own is trouble."""
    import tada
    from training.diffusion import judge

    share = clips / sum(judge.ASKED.values())
    asked = judge.questions({attribute: max(8, round(share * count)) for attribute, count in judge.ASKED.items()})
    model = tada.load(name.removesuffix("-planted"), "planted" if name.endswith("-planted") else "mini")
    found = judge.accuracy(
        asked, judge.right(asked, judge.hear(model, asked["prompt"].tolist(), asked["seed"].tolist()))
    )
    trouble = []
    for attribute, row in found.items():
        card_says = said["one concept"][attribute]["accuracy"]
        tell(f"{name}: {attribute} {row['accuracy']:.2f} ({row['low']:.2f} to {row['high']:.2f}), card {card_says:.2f}")
        if row["high"] < said["one concept"][attribute]["low"]:
            trouble.append(f"{name} {attribute}: measured {row['accuracy']:.2f}, the card says {card_says:.2f}")
    return trouble


def _parameters(model: Any) -> dict[str, int]:
    parts = getattr(model, "parts", None)
    named = vars(parts) if parts is not None else model.pipeline.components
    return {n: sum(v.numel() for v in part.parameters()) for n, part in named.items() if hasattr(part, "parameters")}


def _versions() -> dict[str, str]:
    from tada.models.base import versions

    return versions()


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return round(value, 4) if isinstance(value, float) else value
