"""What Stable Audio's decoding costs on a CPU: its activation in blocks against diffusers' own, side by side.

    python benchmarks/decoding.py [--checkpoint mini] [--clips 8] [--rounds 5]

Both give the same values, bit by bit. Target: the plain one takes at least 1.1 times as long.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import torch
from torch import Tensor, nn

import tada
from tada.models.run import Latents


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="mini", help="as for tada.load")
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=4.096, help="length of the clips")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    ours, plain = (tada.load("stable-audio", options.checkpoint, device="cpu") for _ in range(2))
    undo(plain.pipeline.vae)  # type: ignore[attr-defined]
    noise = ours.noise(range(options.clips), options.seconds)
    seconds: dict[str, list[float]] = {"blocks": [], "plain": []}
    for _ in range(options.rounds + 1):
        (mine, took), (theirs, longer) = timed(ours, noise), timed(plain, noise)
        if not torch.equal(mine, theirs):
            raise SystemExit("the clips differ")
        seconds["blocks"].append(took)
        seconds["plain"].append(longer)
    median = {name: statistics.median(values[1:]) for name, values in seconds.items()}  # the first round warms up
    print(json.dumps({"seconds": median, "plain_to_blocks": round(median["plain"] / median["blocks"], 3)}, indent=1))


def undo(autoencoder: nn.Module) -> None:
    """Let every part compute by its class again."""
    for part in autoencoder.modules():
        vars(part).pop("forward", None)


def timed(model: tada.Model, noise: Latents) -> tuple[Tensor, float]:
    start = time.monotonic()
    audio = model.decode(noise).audio
    return audio, time.monotonic() - start


if __name__ == "__main__":
    main()
