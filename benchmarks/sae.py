"""Training a TopK autoencoder: one step and one epoch, beside other libraries, in one run.

    pip install --no-deps dictionary-learning overcomplete
    python benchmarks/sae.py [--dim 256] [--m 4] [--k 32] [--batch 1024] [--steps 60] [--rounds 1]

Every library trains the same sizes on the same batches in the same order, float32, one thread, with a bias in the
encoder (warm-up, then linear decay), each by its own training step: gradients, clipping, unit decoder rows, AuxK where
it has one. Rounds interleave the libraries; what counts is the process's own CPU time. Explained variance is measured
on other data, at each of several learning rates: what one rate says of two libraries is mostly which it suits.
A library that does not import is named in the report with the reason; what it needs for images or language models and
not for training is stood in for by empty modules.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable
from unittest.mock import MagicMock

import torch
from torch import Tensor

from tada.sae.model import SaeConfig, SparseAutoencoder, count_firings, losses, make_optimiser, take_step

UNUSED = ("overcomplete.models", "overcomplete.visualization", "nnsight", "wandb", "umap")
RATES = (5e-4, 1e-3, 2e-3, 4e-3)

Step = Callable[[int, Tensor], None]
Rebuild = Callable[[Tensor], Tensor]


def activations(tokens: int, dim: int, seed: int) -> Tensor:
    """Sparse sums of 4 * dim known directions with a common mean, ``[tokens, dim]``."""
    atoms = torch.randn(4 * dim, dim, generator=torch.Generator().manual_seed(99))
    atoms = torch.nn.functional.normalize(atoms, dim=1)
    draw = torch.Generator().manual_seed(seed)
    picks = torch.randint(len(atoms), (tokens, 12), generator=draw)
    return (atoms[picks] * torch.rand(tokens, 12, 1, generator=draw)).sum(dim=1) + 0.5


def ours(dim: int, latents: int, k: int, steps: int, rate: float) -> tuple[Step, Rebuild]:
    """This project's training step."""
    sae = SparseAutoencoder(SaeConfig(dim, latents, k, encoder_bias=True))
    optimiser, schedule = make_optimiser(sae, rate, steps)

    def step(number: int, hidden: Tensor) -> None:
        if number == 0:
            sae.initialise(hidden)
        error, revival, code = losses(sae.train(), hidden, sae.idle > 10_000_000)
        take_step(sae, optimiser, schedule, error + revival / 32)
        count_firings(sae, code, len(hidden))

    return step, lambda hidden: sae.eval()(hidden)


def dictionary_learning(dim: int, latents: int, k: int, steps: int, rate: float) -> tuple[Step, Rebuild]:
    """``dictionary-learning``'s TopK trainer."""
    trainers = importlib.import_module("dictionary_learning.trainers.top_k")
    warm = max(1, steps // 20)
    trainer = trainers.TopKTrainer(
        steps=steps,
        activation_dim=dim,
        dict_size=latents,
        k=k,
        layer=0,
        lm_name="none",
        lr=rate,
        warmup_steps=warm,
        decay_start=warm + 1,
        threshold_start_step=steps,
        seed=0,
        device="cpu",
    )
    return trainer.update, trainer.ae


def overcomplete(dim: int, latents: int, k: int, steps: int, rate: float) -> tuple[Step, Rebuild]:
    """``overcomplete``'s TopK autoencoder, with the step of its own training loop."""
    library = importlib.import_module("overcomplete.sae")
    sae = library.TopKSAE(dim, nb_concepts=latents, top_k=k, device="cpu")
    optimiser = torch.optim.Adam(sae.parameters(), lr=rate)
    warm = max(1, steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda n: min((n + 1) / warm, (steps - n) / (steps - warm)))

    def step(number: int, hidden: Tensor) -> None:
        optimiser.zero_grad()
        _, _, rebuilt = sae(hidden)
        (rebuilt - hidden).square().mean().backward()
        torch.nn.utils.clip_grad_norm_(sae.parameters(), 1.0)
        optimiser.step()
        schedule.step()

    def rebuild(hidden: Tensor) -> Tensor:
        return sae.eval()(hidden)[2]

    return step, rebuild


LIBRARIES = {"tada": ours, "dictionary-learning": dictionary_learning, "overcomplete": overcomplete}


def explained(rebuild: Rebuild, hidden: Tensor) -> float:
    """Share of the variance that is explained."""
    with torch.no_grad():
        error = (rebuild(hidden) - hidden).square().sum()
    return 1 - float(error / (hidden - hidden.mean(dim=0)).square().sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("dim", 256), ("m", 4), ("k", 32), ("batch", 1024), ("steps", 60), ("rounds", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    o = parser.parse_args()
    torch.set_num_threads(1)
    sys.modules.update({name: MagicMock() for name in UNUSED})
    data, rest = activations(o.batch * o.steps, o.dim, 0).split(o.batch), activations(4096, o.dim, 1)
    seconds: dict[str, list[float]] = {}
    report: dict[str, object] = {**vars(o), "torch": torch.__version__}
    variance: dict[str, dict[float, float]] = {}
    missing: dict[str, str] = {}
    for round_, rate in enumerate(RATES * o.rounds):
        for name, make in sorted(LIBRARIES.items(), key=lambda item: hash((item[0], round_))):
            if name in missing:
                continue
            torch.manual_seed(0)
            try:
                step, rebuild = make(o.dim, o.m * o.dim, o.k, o.steps, rate)
            except ImportError as error:
                missing[name] = str(error)
                continue
            times = [time.process_time()]
            for number, hidden in enumerate(data):
                step(number, hidden)
                times.append(time.process_time())
            seconds.setdefault(name, []).extend(after - before for before, after in itertools.pairwise(times))
            variance.setdefault(name, {})[rate] = round(explained(rebuild, rest), 4)
    for name, each in seconds.items():
        report[name] = {
            "step_ms": round(1000 * statistics.median(each), 2),
            "epoch_s": round(sum(each) * o.steps / len(each), 2),
            "explained_variance": variance[name],
            "best": max(variance[name].values()),
        }
    print(json.dumps({**report, "missing": missing}, indent=1))


if __name__ == "__main__":
    main()
