"""The cards of the shipped weights: what is in the package, and whether its files are those of their cards."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tada.errors import check_name
from tada.io import sha256

WEIGHTS = Path(__file__).parent / "weights"
"""Folder of the shipped weights, one folder a name."""
EARS = ("probe", "clap", "second")
MINIS = ("audioldm2", "stable-audio", "ace-step")
"""Of the paper's architectures."""
NAMES = (*EARS, "musicnn", *MINIS, "musicgen")
UNHASHED = ("card.json", "curve.csv", "tada.json")
"""Files whose hashes no card tells."""


def read(name: str) -> dict[str, Any]:
    """Read the card of shipped weights."""
    return json.loads((WEIGHTS / name / "card.json").read_text(encoding="utf-8"))


def hashes(folder: Path) -> dict[str, str]:
    """Compute the sha256 of each file in a folder but those in :data:`UNHASHED`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in UNHASHED)
    return {path.relative_to(folder).as_posix(): sha256(path) for path in files}


def shipped() -> list[dict[str, Any]]:
    """List what is in the package: name, what, steps, hours, megabytes."""
    rows = []
    for name in NAMES:
        if (WEIGHTS / name / "card.json").is_file():
            card = read(name)
            size = sum(file.stat().st_size for file in (WEIGHTS / name).rglob("*") if file.is_file())
            rows.append(
                {"name": name, "megabytes": size / 1e6, **{key: card[key] for key in ("what", "steps", "hours")}}
            )
    return rows


def selected(names: Sequence[str] = ()) -> list[str]:
    """Names of shipped weights, of all that are there if none are given; UnknownNameError for one that is not."""
    there = [row["name"] for row in shipped()]
    for name in names:
        check_name("mini", name, there)
    return list(names) or there


def check_files(name: str, report: Callable[[str], None] = lambda _: None) -> list[str]:
    """Hold the files of shipped weights against the hashes of their card: one sentence a file that is wrong.

    ``report`` is told how many files are right.
    """
    expected, found = read(name)["sha256"], hashes(WEIGHTS / name)
    wrong = [file for file, digest in expected.items() if found.get(file) != digest]
    report(f"{name}: {len(expected) - len(wrong)} of {len(expected)} files as the card says")
    return [f"{name}/{file} is not the file of the card" for file in wrong]
