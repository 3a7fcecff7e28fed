"""How much a notebook runs: every number of every profile is in ``tada/data/profiles.csv``, with what it means."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, get_type_hints

from tada.errors import check_name

BLOCK, CONCEPT = 1_000_000, 10_000
"""Seeds of a block, and of a concept within a block."""

SEEDS = {
    name: range(2_100_000_000 + BLOCK * place, 2_100_000_000 + BLOCK * (place + 1))
    for place, name in enumerate(
        ("localisation", "functional", "contrast", "ranges", "results", "autoencoder", "cards", "renders", "validity")
    )
}
"""Seeds of the noise, and of the prompts and renders, that each purpose may use: what chooses never measures. No recipe
draws from any of them."""


def first_seed(block: str, concept: int = 0) -> int:
    """Give the first seed of a block in :data:`SEEDS`, or of the concept of that number in it."""
    return SEEDS[block][CONCEPT * concept]


@dataclass(frozen=True)
class Localisation:
    """How much is localised."""

    pairs: int
    seeds: int
    preset: str = "localisation"
    steps: int | None = None
    seconds: float | None = None
    control_pairs: int = 16
    concepts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plants:
    """How many plants are localised."""

    drawn: int
    null: int
    pairs: int


@dataclass(frozen=True)
class Steering:
    """How much is steered."""

    pairs: int
    range_prompts: int
    prompts: int
    spacing: int
    steps: int | None = None
    seconds: float | None = None

    @property
    def strengths(self) -> tuple[float, ...]:
        """Strengths in percent of the range."""
        return tuple(float(percent) for percent in range(-100, 101, self.spacing))


@dataclass(frozen=True)
class Autoencoder:
    """How much a sparse autoencoder is trained."""

    clips: int
    held_out: int
    expansions: tuple[int, ...]
    sparsities: tuple[int, ...]
    search_steps: int
    train_steps: int
    tokens: int
    browser_clips: int
    rate: float | None = None
    steps: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Table:
    """How much of Table 1 is computed."""

    prompts: int
    spacing: int
    scale: str
    renders: int = 0

    @property
    def percents(self) -> tuple[float, ...]:
        """Strengths other than 0, in percent of the range."""
        return tuple(float(percent) for percent in range(-100, 101, self.spacing) if percent)


@dataclass(frozen=True)
class Benchmark:
    """How much of the benchmark of ways to steer is computed, and of the pages that build on it."""

    concepts: int
    prompts: int
    spacing: int
    ladder: tuple[float, ...]
    random: int
    stack: int
    slider_iterations: int
    leak: tuple[float, ...]
    pairs: tuple[int, ...]
    steps: tuple[int, ...]
    plants: int

    @property
    def percents(self) -> tuple[float, ...]:
        """Strengths other than 0, in percent of the range."""
        return tuple(float(percent) for percent in range(-100, 101, self.spacing) if percent)


@dataclass(frozen=True)
class Validity:
    """How much of metrics' worth is measured."""

    renders: int
    prompts: int


@dataclass(frozen=True)
class Profile:
    """How much of everything."""

    localisation: Localisation
    plants: Plants
    steering: Steering
    autoencoder: Autoencoder
    table: Table
    benchmark: Benchmark
    validity: Validity


def _read(profile: str) -> Profile:
    parts: dict[str, dict[str, Any]] = {}
    with files("tada.data").joinpath("profiles.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row[profile]:
                parts.setdefault(row["part"], {})[row["name"]] = _parse(row[profile])
    return Profile(**{part: kind(**parts[part]) for part, kind in get_type_hints(Profile).items()})


def _parse(cell: str) -> Any:
    """A number, a list in square brackets, or a word."""
    value = json.loads(cell) if cell[0] in "0123456789[" else cell
    return tuple(value) if isinstance(value, list) else value


PROFILES = {name: _read(name) for name in ("smoke", "mini", "colab", "paper")}
"""``paper``: up to 256 pairs a concept with 8 seeds each (section 4.1); 50 pairs, strengths in steps of ten and 100
prompts (section 4.2; of the 100, 8 find the range); an autoencoder trained on a clip of every caption of MusicCaps, for
15 epochs' worth of steps, on clips of 10 s at five steps with a learning rate of 3e-5 (the authors' code). ``colab``
leaves out the autoencoders that do not fit beside the model into 16 GB, and learns faster, in fewer steps."""


def get_profile(name: str) -> Profile:
    """Look a profile up; UnknownNameError with the nearest names where there is none."""
    check_name("profile", name, PROFILES)
    return PROFILES[name]
