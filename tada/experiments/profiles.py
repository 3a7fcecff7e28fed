"""How much a notebook runs: every number of every profile, in one table."""

from __future__ import annotations

from dataclasses import dataclass

from tada.errors import UnknownNameError, unknown
from tada.evaluation.grid import GRID
from tada.models.base import MINI_SECONDS

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
    """How much is localised.

    Attributes:
        pairs: of prompts, at most so many a concept.
        seeds: of every pair.
        preset: of the sampling.
        steps: denoising steps; None for the preset's.
        seconds: length of the clips; None for the model's default.
        control_pairs: pairs a concept for controls and for layer sets that grow.
        concepts: where none are asked for; none for all of the rule set.
    """

    pairs: int
    seeds: int
    preset: str = "localisation"
    steps: int | None = None
    seconds: float | None = None
    control_pairs: int = 16
    concepts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plants:
    """How many plants are localised.

    Attributes:
        drawn: whose sites are drawn.
        null: in which no site reads the concept.
        pairs: of each; the largest block that is graded leaves out eight of them or more.
    """

    drawn: int
    null: int
    pairs: int


@dataclass(frozen=True)
class Steering:
    """How much is steered.

    Attributes:
        pairs: of prompts, a concept, that its vector is fitted from.
        range_prompts: by which the range of strengths is found.
        prompts: others, for results.
        strengths: in percent of the range.
        steps: denoising steps; None for the preset's.
        seconds: length of the clips; None for the model's default.
    """

    pairs: int
    range_prompts: int
    prompts: int
    strengths: tuple[float, ...]
    steps: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Autoencoder:
    """How much a sparse autoencoder is trained.

    Attributes:
        clips: whose activations it is trained on.
        held_out: other clips, to measure on.
        expansions: features a dimension (m) that are tried.
        sparsities: active features (k) that are tried.
        search_steps: training steps of each combination in the search.
        train_steps: further training steps of the chosen one.
        tokens: in a training step.
        browser_clips: clips of the feature browser.
        rate: learning rate; None for the one that ``tada.sae.train`` takes by the number of features.
        steps: denoising steps that activations are recorded at, evenly spread from the first; None for all.
        seconds: length of the clips that are recorded; None for that of the other clips.
    """

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
    """How much of Table 1 is computed.

    Attributes:
        prompts: steered, for each concept.
        percents: strengths other than 0, in percent of the range.
        scale: what 100 % is, a name in ``tada.experiments.table_1.SCALES``.
        renders: of the synthesiser, that clips of minis are compared with.
    """

    prompts: int
    percents: tuple[float, ...]
    scale: str
    renders: int = 0


@dataclass(frozen=True)
class Validity:
    """How much of metrics' worth is measured: renders, and prompts of the model."""

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
    validity: Validity


def _strengths(step: int) -> tuple[float, ...]:
    return tuple(float(percent) for percent in range(-100, 101, step))


def _without_zero(strengths: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(percent for percent in strengths if percent)


PROFILES = {
    "smoke": Profile(
        Localisation(2, 1, "default", 2, MINI_SECONDS, control_pairs=2, concepts=("slow", "happy")),
        Plants(1, 1, 14),
        Steering(2, 1, 2, _strengths(100), steps=3, seconds=1.5),
        Autoencoder(3, 1, (2, 4), (4, 8), search_steps=20, train_steps=40, tokens=128, browser_clips=2, rate=5e-4),
        Table(3, _without_zero(_strengths(100)), "length", renders=8),
        Validity(64, 3),
    ),
    "mini": Profile(
        Localisation(8, 2, "default", 6, MINI_SECONDS, control_pairs=8),
        Plants(8, 1, 22),
        Steering(16, 4, 12, _strengths(50), steps=8),
        Autoencoder(160, 16, (2, 4, 8), (16, 32, 64), 100, 600, 1024, browser_clips=12, rate=5e-4),
        Table(8, _without_zero(_strengths(50)), "length", renders=200),
        Validity(512, 16),
    ),
    "colab": Profile(
        Localisation(32, 2),
        Plants(24, 6, 44),
        Steering(50, 4, 16, _strengths(25)),
        Autoencoder(400, 32, (2, 4, 8), (16, 32, 64), 400, 6000, 4096, browser_clips=24, steps=5, seconds=10.0),
        Table(16, _without_zero(_strengths(25)), "calibrated"),
        Validity(2048, 32),
    ),
    "paper": Profile(
        Localisation(256, 8, control_pairs=64),
        Plants(48, 12, 44),
        Steering(50, 8, 100 - 8, _strengths(10)),
        Autoencoder(5521, 64, (2, 4, 8, 16), (16, 32, 64), 750, 11_000, 4096, 48, rate=3e-5, steps=5, seconds=10.0),
        Table(100, _without_zero(GRID), "paper"),
        Validity(4096, 64),
    ),
}
"""``paper``: up to 256 pairs a concept with 8 seeds each (section 4.1); 50 pairs, strengths in steps of ten and 100
prompts (section 4.2); an autoencoder trained on a clip of every caption of MusicCaps, for 15 epochs' worth of steps, on
clips of 10 s at five steps with a learning rate of 3e-5 (the authors' code). ``colab`` leaves out the autoencoders that
do not fit beside the model into 16 GB, and learns faster, in fewer steps."""


def get_profile(name: str) -> Profile:
    """Look a profile up; UnknownNameError with the nearest names where there is none."""
    if name not in PROFILES:
        raise UnknownNameError(unknown("profile", name, PROFILES))
    return PROFILES[name]
