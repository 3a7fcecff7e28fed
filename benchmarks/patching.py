"""What localising costs: our sweep, the procedure it replaces, and the floor, on one model in one run.

    python benchmarks/patching.py [--model audioldm2] [--checkpoint mini] [--pairs 2] [--layers 6] [--steps 10]

- sweep: all rows of all pairs side by side, each text encoded once, scores computed, sound dropped.
- procedure: for none, for all and for each layer, a recorded run of the target prompts and a replayed run of the
  counterfactual ones, all pairs in one batch, model already loaded. The recording keeps every input of the layer, call
  by call, through nnsight as the released code does (``pip install nnsight``); with ``--through hooks`` by plain torch
  hooks, which cost less. The recorded run is decoded, as it is there; ``undecoded`` is the same without that.
- floor: (L + 2) plain generations at the sweep's batch, no hook, no text, no scores.

Both ways have to give the same clips. With ``--checkpoint tiny`` a random model of full depth is built. Targets: the
procedure takes at least 2.5 times as long as the sweep, the sweep at most 1.25 times as long as the floor. Growth with
the number of layers and of clips is fitted: where it is linear, a straight line leaves nothing unexplained.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial, reduce
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

import tada
from tada import pairs as prompt_pairs
from tada import patching
from tada.models.base import Model
from tada.models.context import Context
from tada.models.run import Latents, Sampling


class Keep:
    """A score that keeps the sound, to compare clips."""

    key = "benchmark"

    def __init__(self) -> None:
        self.clips: dict[tuple[str, str], Tensor] = {}

    def __call__(self, clips: tada.Clips, rows: pd.DataFrame) -> list[float]:
        names = zip(rows["pair"], rows["layers"], strict=True)
        self.clips |= dict(zip(names, clips.audio, strict=True))
        return clips.audio.square().mean(dim=(1, 2)).tolist()


def procedure(
    model: Model,
    frame: pd.DataFrame,
    layers: list[int],
    sampling: Sampling,
    seconds: float,
    through: Any,
    decode: bool = True,
) -> dict:
    """Clips of the recorded-and-replayed procedure, by pair and layers."""
    sets = {"none": (), "all": model.sites, **{str(layer): (model.sites[layer],) for layer in layers}}
    found = {}
    for name, sites in sets.items():
        context = model.encode([*frame["source"], *frame["target"]])  # the released driver starts afresh for each
        noise = model.noise(range(len(frame)), seconds)
        recorded, again = through(model, sites, context[len(frame) :], context[: len(frame)], noise, sampling)
        if decode:
            model.decode(recorded)
        clips = model.decode(again)
        found |= {(pair, name): clip for pair, clip in zip(frame["pair"], clips.audio, strict=True)}
    return found


def by_hooks(
    model: Model, sites: Any, target: Context, source: Context, noise: Latents, sampling: Sampling
) -> tuple[Latents, Latents]:
    """A recorded and a replayed run, by torch hooks."""
    calls: dict[str, deque] = {site: deque() for site in sites}
    with hooked(model, {site: partial(record, calls[site]) for site in sites}):
        recorded = model.sample(target, noise, sampling)
    with hooked(model, {site: partial(replay, calls[site]) for site in sites}):
        return recorded, model.sample(source, noise, sampling)


class Traced(nn.Module):
    """A whole sampling run as one forward pass, which nnsight can trace."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.denoiser, self.model = model.denoiser, [model]

    def forward(self, context: Context, noise: Latents, sampling: Sampling) -> Tensor:
        return self.model[0].sample(context, noise, sampling).values


def by_nnsight(
    model: Model, sites: Any, target: Context, source: Context, noise: Latents, sampling: Sampling
) -> tuple[Latents, Latents]:
    """A recorded and a replayed run, by nnsight's traces."""
    nnsight = traces()
    whole = nnsight.NNsight(Traced(model))
    at = [reduce(getattr, site.split("."), whole.denoiser) for site in sites]
    with whole.trace(target, noise, sampling) as tracer:
        kept = nnsight.save([])
        for _ in tracer.iter[: sampling.steps]:
            for site in at:
                kept.append(site.inputs[1])
        recorded = nnsight.save(whole.output)
    with whole.trace(source, noise, sampling) as tracer:
        for _ in tracer.iter[: sampling.steps]:
            for site in at:
                site.inputs = (site.inputs[0], {**site.inputs[1], **kept.pop(0)})
        values = nnsight.save(whole.output)
    return replace(noise, values=recorded), replace(noise, values=values)


def traces() -> Any:
    """nnsight, without the method that it adds to every object, which breaks other packages."""
    try:
        import nnsight
        from nnsight._c import unmount
    except ImportError:
        raise SystemExit("nnsight is missing: pip install nnsight, or --through hooks") from None
    if unmount is not None and hasattr(object, "save"):
        unmount("save")
    return nnsight


def record(calls: deque, _: Any, args: Any, words: dict[str, Any]) -> None:
    calls.append(words)


def replay(calls: deque, _: Any, args: Any, words: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    return args, {**words, **calls.popleft()}


@contextmanager
def hooked(model: Model, hooks: dict[str, Callable]) -> Iterator[None]:
    """Torch hooks on sites while the block runs."""
    modules = {site: model.denoiser.get_submodule(site) for site in hooks}
    handles = [modules[site].register_forward_pre_hook(hook, with_kwargs=True) for site, hook in hooks.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def floor(model: Model, prompt: str, rows: int, batch: int, sampling: Sampling, seconds: float) -> None:
    """So many plain clips of one text that is encoded before the clock starts."""
    context = model.encode(prompt)[[0] * batch]
    noise = model.noise([0] * batch, seconds)
    for _ in range(-(-rows // batch)):
        model.decode(model.sample(context, noise, sampling))


def timed(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def line(sizes: list[int], seconds: list[float]) -> dict[str, float]:
    """A straight line through measured times: seconds a unit, and the share of variance that it leaves."""
    slope, shift = np.polyfit(sizes, seconds, 1)
    left = np.var(np.array(seconds) - slope * np.array(sizes) - shift) / np.var(seconds)
    return {
        "seconds_each": round(float(slope), 4),
        "start": round(float(shift), 3),
        "unexplained": round(float(left), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="audioldm2", choices=list(tada.ARCHITECTURES))
    parser.add_argument("--checkpoint", default="mini", help="as for tada.load, or tiny")
    parser.add_argument("--through", default="nnsight", choices=["nnsight", "hooks"])
    parser.add_argument("--width", type=int, default=16, help="of the tiny model")
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=4.096, help="length of the clips")
    parser.add_argument("--batch", type=int, help="rows in one call; found if not given")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        tiny = options.checkpoint == "tiny"
        where = tada.tiny.build(options.model, Path(folder), width=options.width) if tiny else options.checkpoint
        model = tada.load(options.model, where, device="cpu")
    print(json.dumps(measure(model, options), indent=1))


def measure(model: Model, options: argparse.Namespace) -> dict[str, Any]:
    sampling = model.sampling("default", steps=options.steps)
    frame = prompt_pairs.build(concepts="violin", limit=4 * options.pairs)
    few, layers = frame[: options.pairs].reset_index(drop=True), list(range(options.layers))
    rows = len(few) * (options.layers + 2)

    def run(part: pd.DataFrame = few, count: int = options.layers, score: Any = None) -> pd.DataFrame:
        setting = tada.Setting(options.seconds, sampling, batch=batch)
        return patching.sweep(model, part, 0, range(count), setting, score=score or Keep())

    batch = options.batch or _best(model, few, layers, sampling, options.seconds)
    ours = Keep()
    run(score=ours)  # the first round warms up
    through = {"nnsight": by_nnsight, "hooks": by_hooks}[options.through]
    theirs = procedure(model, few, layers, sampling, options.seconds, through)
    apart = max(
        float((ours.clips[name] - clip).abs().max() / max(1.0, float(clip.abs().max())))
        for name, clip in theirs.items()
    )
    seconds: dict[str, list[float]] = {"sweep": [], "procedure": [], "undecoded": [], "floor": []}
    for _ in range(options.rounds):
        seconds["sweep"].append(timed(run))
        for name, decode in (("procedure", True), ("undecoded", False)):
            replayed = partial(procedure, model, few, layers, sampling, options.seconds, through, decode)
            seconds[name].append(timed(replayed))
        seconds["floor"].append(timed(lambda: floor(model, few["source"][0], rows, batch, sampling, options.seconds)))
    ratios = {
        "procedure_to_sweep": [a / b for a, b in zip(seconds["procedure"], seconds["sweep"], strict=True)],
        "undecoded_to_sweep": [a / b for a, b in zip(seconds["undecoded"], seconds["sweep"], strict=True)],
        "sweep_to_floor": [a / b for a, b in zip(seconds["sweep"], seconds["floor"], strict=True)],
    }
    counts = [options.layers // 2, options.layers, min(2 * options.layers, len(model.sites))]
    clips = [options.pairs, 2 * options.pairs, 4 * options.pairs]
    return {
        "checkpoint": model.checkpoint,
        "sites": len(model.sites),
        "layers": options.layers,
        "pairs": len(few),
        "steps": options.steps,
        "through": options.through,
        "batch": batch,
        "largest_relative_difference_of_clips": apart,
        "seconds": {name: round(statistics.median(values), 3) for name, values in seconds.items()},
        **{name: round(statistics.median(values), 3) for name, values in ratios.items()},
        "growth_with_layers": line(counts, [timed(lambda n=n: run(count=n)) for n in counts]),
        "growth_with_pairs": line(clips, [timed(lambda n=n: run(frame[:n])) for n in clips]),
    }


def _best(model: Model, few: pd.DataFrame, layers: list[int], sampling: Sampling, seconds: float) -> int:
    """The batch that a sweep finds by itself."""
    sizes: list[int] = []

    def watch(clips: tada.Clips, rows: pd.DataFrame) -> list[float]:
        sizes.append(len(rows))
        return [0.0] * len(rows)

    watch.key = "watch"  # type: ignore[attr-defined]
    patching.sweep(model, few, 0, layers, tada.Setting(seconds, sampling), score=watch)
    return max(sizes)


if __name__ == "__main__":
    main()
