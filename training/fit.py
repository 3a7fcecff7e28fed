"""Training that can be killed: one loop for all recipes, with checkpoints, a curve and exact resumption.

What a step does depends on the seed and the step's number alone, so a run that was killed and resumed goes on as if
it had not been. A checkpoint is one safetensors file, replaced only when complete; the curve is csv.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pandas as pd
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import AdamW

from tada.errors import InputError

Loss = Callable[[int], tuple[Tensor, dict[str, float]]]
"""Step -> loss, and figures for the curve."""


def fit(
    model: nn.Module,
    loss: Loss,
    folder: str | Path,
    steps: int,
    rate: float = 1e-3,
    decay: float = 0.01,
    every: float = 120.0,
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
        every: seconds between checkpoints.
        limit: seconds after which this call stops, leaving a checkpoint.

    Returns:
        The curve so far: step, seconds (of training, over all calls), loss and figures, one row in ten steps.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    optimizer = AdamW(model.parameters(), lr=rate, weight_decay=decay, betas=(0.9, 0.98))
    done, spent = resume(folder, model, optimizer)
    curve = _curve(folder, done)
    began = saved = time.monotonic()
    for step, row in _run(model, optimizer, loss, done, steps, rate):
        now = time.monotonic()
        if step % 10 == 0 or step == steps:
            curve.append({"step": step, "seconds": round(spent + now - began, 1), **row})
        if now - saved > every or now - began > limit or step == steps:
            checkpoint(folder, step, spent + now - began, model, optimizer, curve)
            saved = now
        if now - began > limit:
            break
    return pd.DataFrame(curve)


def coarse(device: torch.device) -> torch.autocast:
    """Compute in bfloat16 within this context, but on CPUs that do not know it: there it takes two to twenty times
    as long as float32."""
    knows = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}  # torch 2.4 does not say
    able = device.type != "cpu" or bool(knows.get("avx512_bf16"))
    return torch.autocast(device.type, torch.bfloat16, enabled=able)


def _run(
    model: nn.Module, optimizer: AdamW, loss: Loss, done: int, steps: int, rate: float
) -> Iterator[tuple[int, dict[str, float]]]:
    model.train()
    for step in range(done, steps):
        optimizer.param_groups[0]["lr"] = rate * schedule(step, steps)
        value, figures = loss(step)
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        yield step + 1, {"loss": value.item(), **figures}


def schedule(step: int, steps: int) -> float:
    """Learning rate as a fraction of its peak: warm-up over 3 %, then a cosine down to 0.02."""
    warm = max(1, round(0.03 * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def checkpoint(
    folder: Path, step: int, seconds: float, model: nn.Module, optimizer: AdamW, curve: list[dict[str, float]]
) -> None:
    """Write model, optimiser and curve, each file replaced only when complete."""
    tensors = {f"model.{name}": value.contiguous() for name, value in untied(model).items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
    partial = folder / "checkpoint.partial"
    save_file(tensors, partial, {"step": str(step), "seconds": str(seconds)})
    _write(folder / "curve.csv", pd.DataFrame(curve).to_csv(index=False))
    partial.replace(folder / "checkpoint.safetensors")


def untied(model: nn.Module) -> dict[str, Tensor]:
    """The model's state with each tensor once, under the first of its names."""
    seen: dict[int, str] = {}
    state = model.state_dict()
    return {n: value for n, value in state.items() if seen.setdefault(value.data_ptr(), n) == n or not value.numel()}


def load(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put a state from :func:`untied` into the model; ValueError where names differ."""
    missing = set(untied(model)) ^ set(tensors)
    if missing:
        raise InputError(f"a checkpoint of another model: {', '.join(sorted(missing)[:3])} and others are in one only")
    model.load_state_dict(dict(tensors), strict=False)


def resume(folder: Path, model: nn.Module, optimizer: AdamW) -> tuple[int, float]:
    """Load the folder's checkpoint; steps done and seconds spent, both 0 where there is none."""
    path = folder / "checkpoint.safetensors"
    if not path.is_file():
        return 0, 0.0
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - the file is no mapping
        about = file.metadata()
    load(model, {name[6:]: value for name, value in tensors.items() if name.startswith("model.")})
    states: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, part = name.split(".", 2)
            states.setdefault(int(index), {})[part] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
    return int(about["step"]), float(about["seconds"])


def _curve(folder: Path, done: int) -> list[dict[str, float]]:
    """The curve up to the checkpoint; what a killed run wrote after it is dropped."""
    path = folder / "curve.csv"
    if not done or not path.is_file() or not path.read_text().strip():
        return []
    rows = pd.read_csv(path).to_dict("records")
    return [{str(name): float(value) for name, value in row.items()} for row in rows if row["step"] <= done]


def _write(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    partial.replace(path)


def card(path: Path, content: dict[str, object]) -> None:
    """Write a card: json, indented, replaced only when complete."""
    _write(path, json.dumps(content, indent=2) + "\n")
