"""What several test files share."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from click.testing import CliRunner, Result

import tada
from tada.cli import app
from tada.models.base import Model

SECONDS = 0.32
"""Length of the clips that tests make."""

NOTEBOOK = """\
# %% [markdown]
# # One

# %% tags=["parameters"]
steps: int = 4  # sampling steps
profile: str = "mini"  # how much to run

# %%
print("steps", steps * 2, profile)
"""


def steps_of(model: Model, steps: int) -> int:
    """The steps of a run of tests for which ``steps`` were asked: a model of frames has one a frame."""
    return model.settled(model.sampling(None, steps=steps), SECONDS).steps


def assert_same(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-5) -> None:
    """Equal up to ``tolerance`` of their scale: random weights make latents larger than trained ones do."""
    assert a.shape == b.shape
    scale = max(1.0, b.abs().max().item())
    assert (a - b).abs().max().item() <= tolerance * scale


def power(clips, rows):
    """A score that a worker, or a command, can import."""
    return clips.audio.double().square().mean(dim=(1, 2)).numpy()


class Ears:
    """A score that remembers what it heard, and how many clips at a time."""

    key = "ears of the tests"

    def __init__(self) -> None:
        self.heard: dict[str, torch.Tensor] = {}
        self.batches: list[int] = []

    def __call__(self, clips, rows):
        self.batches.append(len(rows))
        self.heard |= dict(zip(rows["unit_hash"], clips.audio, strict=True))
        return power(clips, rows)


class Towards:
    """How far a clip has come from that of its pair's counterfactual prompt, 0, to that of the target, 1."""

    key = "towards"

    def __init__(self, model, pairs, setting):
        self.ends = {}
        for pair in pairs.itertuples():
            context, noise = model.encode([pair.source, pair.target]), model.noise([pair.seed] * 2, setting.seconds)
            none, every = model.decode(model.sample(context, noise, setting.sampling)).audio.double()
            self.ends[pair.pair] = none, every - none

    def __call__(self, clips, rows):
        ends = zip(clips.audio.double(), (self.ends[pair] for pair in rows["pair"]), strict=True)
        return [(((clip - none) * way).sum() / way.square().sum()).item() for clip, (none, way) in ends]


def heard_only_by(model, *layers):
    """Text acts at these layers only, inside the block: all other cross-attention puts out nothing."""
    dead = [site for layer, site in enumerate(model.sites) if layer not in layers]
    return tada.edit(model, dict.fromkeys(dead, lambda hidden, when: hidden * 0), passes="both")


def run(*arguments: object) -> Result:
    """Run a command of ``tada``."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def told(*arguments: object) -> str:
    """What a user who got a command wrong is told: on stderr alone, with exit code 2 and no traceback."""
    done = run(*arguments)
    assert done.exit_code == 2, done.output
    assert done.stdout == "" and "Traceback" not in done.stderr
    return done.stderr


def wait(done: Callable[[], object], seconds: float = 30, words: Callable[[], str] = lambda: "") -> None:
    """Wait until something is so; ``words`` say what is, when the time is over."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, f"in vain: {words()}"
        time.sleep(0.1)
