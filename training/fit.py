"""Training that can be killed: one loop for all recipes, with checkpoints, a curve and exact resumption.

What a step does depends on the seed and the step's number alone, so a run that was killed and resumed goes on as if
it had not been. A checkpoint is one safetensors file, replaced only when complete; the curve is csv.
"""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import AdamW

from tada.errors import InputError
from tada.io import atomic_write

Loss = Callable[[int], tuple[Tensor, dict[str, float]]]
"""Step -> loss, and figures for the curve."""
SAVE_EVERY = 120.0
"""Seconds between checkpoints."""


def fit(
    model: nn.Module,
    loss: Loss,
    folder: str | Path,
    steps: int,
    rate: float = 1e-3,
    decay: float = 0.01,
    limit: float = math.inf,
) -> pd.DataFrame:
    """Train a model, from the folder's checkpoint if there is one.

    Args:
        model: trained in place.
        loss: what a step computes; all its randomness comes from the step's number.
        folder: of ``checkpoint.safetensors`` and ``curve.csv``; made if missing.
        steps: in all, those before a resumption included.
        rate: peak learning rate of AdamW; warm-up over the first 3 %, then a cosine down to 2 % of it.
        decay: AdamW's weight decay.
        limit: seconds after which this call stops, leaving a checkpoint.

    Returns:
        The curve so far: step, seconds (of training, over all calls), loss and figures, one row in ten steps.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    optimizer = AdamW(model.parameters(), lr=rate, weight_decay=decay, betas=(0.9, 0.98))
    done, spent = resume(folder, model, optimizer)
    curve = _read_curve(folder, done)
    began = saved = time.monotonic()
    for step, row in _run(model, optimizer, loss, range(done, steps), rate):
        now = time.monotonic()
        if step % 10 == 0 or step == steps:
            curve.append({"step": step, "seconds": round(spent + now - began, 1), **row})
        if now - saved > SAVE_EVERY or now - began > limit or step == steps:
            checkpoint(folder, {"step": str(step), "seconds": str(spent + now - began)}, model, optimizer, curve)
            saved = now
        if now - began > limit:
            break
    return pd.DataFrame(curve)


def finished(curve: pd.DataFrame, steps: int) -> bool:
    """Say whether a curve from :func:`fit` has done all its steps."""
    return bool(len(curve)) and int(curve["step"].iloc[-1]) >= steps


def train_and_freeze(module: nn.Module, loss: Loss, folder: Path, steps: int, rate: float, limit: float) -> bool:
    """Train a module as far as the limit lets, freeze it, and say whether it is complete; arguments as for ``fit``."""
    curve = fit(module, loss, folder, steps, rate, limit=limit)
    module.eval().requires_grad_(False)
    return finished(curve, steps)


def restore(module: nn.Module, folder: Path) -> None:
    """Put what a run has learnt so far into its module, and freeze it; FileNotFoundError where it has not begun."""
    load(module, load_file(folder / "checkpoint.safetensors"))
    module.eval().requires_grad_(False)


def describe(curve: pd.DataFrame) -> dict[str, Any]:
    """What a card tells of a run on this machine: last loss, hours, machine, versions."""
    return {
        "loss": round(float(curve["loss"].tail(5).mean()), 4),
        "hours": round(float(curve["seconds"].iloc[-1]) / 3600, 3),
        "machine": f"{platform.machine()} CPU, {torch.get_num_threads()} thread",
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }


def bf16_autocast(device: torch.device) -> torch.autocast:
    """Compute in bfloat16 within this context, but on CPUs that do not know it: there it takes two to twenty times
    as long as float32."""
    knows = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}  # torch 2.4 does not say
    able = device.type != "cpu" or bool(knows.get("avx512_bf16"))
    return torch.autocast(device.type, torch.bfloat16, enabled=able)


def schedule(step: int, steps: int) -> float:
    """Learning rate as a fraction of its peak: warm-up over 3 %, then a cosine down to 0.02."""
    warm = max(1, round(0.03 * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _run(
    model: nn.Module, optimizer: AdamW, loss: Loss, steps: range, rate: float
) -> Iterator[tuple[int, dict[str, float]]]:
    model.train()
    for step in steps:
        optimizer.param_groups[0]["lr"] = rate * schedule(step, steps.stop)
        value, figures = loss(step)
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        yield step + 1, {"loss": value.item(), **figures}


def checkpoint(
    folder: Path, about: dict[str, str], model: nn.Module, optimizer: AdamW, curve: list[dict[str, float]]
) -> None:
    """Write curve, model and optimiser, each file replaced only when complete; ``about``: step and seconds."""
    tensors = {f"model.{name}": value.contiguous() for name, value in untied(model).items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
    atomic_write(folder / "curve.csv", pd.DataFrame(curve).to_csv(index=False))
    atomic_write(folder / "checkpoint.safetensors", lambda draft: save_file(tensors, draft, about))


def resume(folder: Path, model: nn.Module, optimizer: AdamW) -> tuple[int, float]:
    """Load the folder's checkpoint; steps done and seconds spent, both 0 where there is none."""
    path = folder / "checkpoint.safetensors"
    if not path.is_file():
        return 0, 0.0
    with safe_open(path, "pt") as file:
        about = file.metadata()
    tensors = load_file(path)
    load(model, tensors)
    states: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, part = name.split(".", 2)
            states.setdefault(int(index), {})[part] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
    return int(about["step"]), float(about["seconds"])


def untied(model: nn.Module) -> dict[str, Tensor]:
    """The model's state with each tensor once, under the first of its names."""
    seen: dict[int, str] = {}
    state = model.state_dict()
    return {n: value for n, value in state.items() if seen.setdefault(value.data_ptr(), n) == n or not value.numel()}


def load(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put the model's part of a checkpoint into it; ValueError where names differ."""
    state = {name[6:]: value for name, value in tensors.items() if name.startswith("model.")}
    missing = set(untied(model)) ^ set(state)
    if missing:
        raise InputError(f"a checkpoint of another model: {', '.join(sorted(missing)[:3])} and others are in one only")
    model.load_state_dict(state, strict=False)


def _read_curve(folder: Path, done: int) -> list[dict[str, float]]:
    """The curve up to the checkpoint; what a killed run wrote after it is dropped."""
    path = folder / "curve.csv"
    if not done or not path.is_file() or not path.read_text().strip():
        return []
    rows = pd.read_csv(path).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows if row["step"] <= done]
