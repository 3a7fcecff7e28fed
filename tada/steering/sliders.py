"""Concept Sliders (Gandikota et al. 2024): low-rank changes of attention weights, trained to push towards a concept."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from tada.engine import Setting, Texts, units
from tada.errors import InputError
from tada.hooks import route
from tada.io import atomic_write, read_signed, sha256, write_signed
from tada.models.base import Layers, Model
from tada.models.fingerprint import versions
from tada.models.run import Latents, Sampling, SamplingState
from tada.steering.arms import Way
from tada.steering.pairwise import check_pairs
from tada.steering.prompted import Poles
from tada.steering.vector import Alpha, read_strength

PROJECTIONS = ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
"""Modules of a block that are changed, of self- and of cross-attention."""

MOMENTS = ("exp_avg", "exp_avg_sq")
"""Of Adam, as torch calls them."""

SAVE_EVERY = 25
"""Iterations between two checkpoints."""


@dataclass(frozen=True)
class SliderRecipe:
    """How a slider is trained; the defaults are v2's of the paper.

    Attributes:
        layers: whose blocks are changed: indices, site names or a layer set; None for all.
        rank: of every change.
        eta: how far the target lies from the neutral prediction, in differences of predictions.
        iterations: of the optimiser.
        rate: of AdamW, with decay .01 and gradients clipped to length 1.
        seed: of weights, prompts, noise and steps.
    """

    layers: Layers | None = None
    rank: int = 8
    eta: float = 7.0
    iterations: int = 500
    rate: float = 1e-4
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Slider:
    """Changes ``alpha / rank B A x`` of what attention projections give for x.

    Attributes:
        down: module -> A, float32 ``[rank, in]``.
        up: module -> B, float32 ``[out, rank]``.
        info: checkpoint, recipe, prompts; ``losses``, one an iteration.
    """

    down: Mapping[str, Tensor]
    up: Mapping[str, Tensor]
    info: Mapping[str, Any] = field(default_factory=dict)

    @contextmanager
    def apply(self, model: Model, alpha: Alpha) -> Iterator[list[Tensor]]:
        """Change the model inside the block, in all guidance passes.

        Args:
            model: the model, of the checkpoint that the slider comes from.
            alpha: strength, 0 leaves the clip as it is to the last bit; one for all clips or one per row.

        Yields:
            A list of one tensor, the strengths; another one in its place holds from then on.

        Raises:
            ValueError: another checkpoint, or a strength that is not finite or not one per row.
        """
        if self.info.get("checkpoint", model.checkpoint) != model.checkpoint:
            raise InputError(f"this slider is of {self.info['checkpoint']}, the model is {model.checkpoint}: train one")
        strength = [read_strength(alpha).to(model.device)]

        def change(name: str, x: Tensor, output: Tensor) -> Tensor:
            low = F.linear(F.linear(x.float(), self.down[name]), self.up[name]) / len(self.down[name])
            return output + (_rows(strength[0], len(x), model).view(-1, 1, 1) * low).to(output.dtype)

        with ExitStack() as stack:
            for name in self.down:
                module = model.denoiser.get_submodule(name)
                hook = module.register_forward_hook(lambda _, args, output, name=name: change(name, args[0], output))
                stack.callback(hook.remove)
            yield strength

    def save(self, path: str | Path) -> Path:
        """Write ``path`` (safetensors) and the json beside it; return the first."""
        path = Path(path)
        parts = {"down": self.down, "up": self.up}
        tensors = {f"{part}:{name}": value.detach() for part, own in parts.items() for name, value in own.items()}
        write_signed(path, path.with_suffix(".json"), tensors, {"info": dict(self.info)})
        return path

    @classmethod
    def load(cls, path: str | Path) -> Slider:
        """Read what :meth:`save` wrote; FileNotFoundError where it is missing, ValueError where it is damaged."""
        tensors, about = read_signed(Path(path), Path(path).with_suffix(".json"))
        down, up = (
            {name.split(":")[1]: value for name, value in tensors.items() if name.startswith(f"{part}:")}
            for part in ("down", "up")
        )
        return cls(down, up, about["info"])


def _rows(strength: Tensor, rows: int, model: Model) -> Tensor:
    """Strengths of the rows of a denoiser call, whose passes are stacked."""
    run = model.live.run
    assert run is not None
    if strength.dim() and len(strength) not in (run.rows, rows):
        raise InputError(f"got {len(strength)} strengths for {run.rows} rows; expected one, or one per row")
    return strength.expand(rows) if not strength.dim() else strength.repeat(rows // len(strength))


def draw_slider(model: Model, layers: Layers | None = None, rank: int = 8, seed: int = 0) -> Slider:
    """Make a slider that changes nothing yet: A is random, B is 0."""
    blocks = tuple(f"{site.rpartition('.')[0]}." for site in model.resolve(layers))
    found = {name: module for name, module in model.denoiser.named_modules() if isinstance(module, nn.Linear)}
    wide = {name: module for name, module in found.items() if name.startswith(blocks) and name.endswith(PROJECTIONS)}
    if not wide:
        raise InputError(f"got {model.name}, of which no prediction of a step stands alone; expected a diffusion model")
    draw = torch.Generator().manual_seed(seed)
    down, up = {}, {}
    for name, module in wide.items():
        shrunk = (2 * torch.rand(rank, module.in_features, generator=draw) - 1) / math.sqrt(module.in_features)
        down[name] = shrunk.to(model.device)
        up[name] = torch.zeros(module.out_features, rank, device=model.device)
    return Slider(down, up, {"checkpoint": model.checkpoint})


def slider_loss(
    model: Model, slider: Slider, poles: Poles, noise: Latents, sampling: Sampling, step: int, eta: float = 7.0
) -> Tensor:
    """Compute the mean squared error of the changed prediction ``v'(positive)``.

    Its target is ``v(neutral) + eta (v(positive) - v(empty))``, of the model as it is, all without guidance.
    The latents are those that the changed model gives for the neutral prompts after some steps.

    Args:
        slider: what is trained.
        poles: neutral and positive prompts, and the empty one in the place of the negative.
        noise: of each row.
        sampling: settings of the steps.
        step: that is predicted, 1 or more: as many are made before it.
        eta: see above.
    """
    losses: list[Tensor] = []

    def compare(prediction: Tensor, run: SamplingState, predict: Any) -> Tensor:
        if run.step == step and not losses:
            on, rows = strength[0], run.rows
            strength[0] = 0 * on
            with (
                route(model, None, poles.positive, passes="positive"),
                route(model, None, poles.negative, passes="negative"),
            ):
                wanted, empty = predict().chunk(2)
            strength[0] = torch.cat([on.expand(rows), 0 * on.expand(rows)])
            with torch.enable_grad(), route(model, None, poles.positive, passes="positive"):
                changed, neutral = predict().float().chunk(2)
                losses.append(F.mse_loss(changed, neutral.detach() + eta * (wanted - empty).float()))
            strength[0] = on
        return prediction

    with torch.no_grad(), slider.apply(model, 1.0) as strength, ExitStack() as stack:
        model.live.guides.append(compare)
        stack.callback(model.live.guides.remove, compare)
        run = stack.enter_context(model.running(poles.neutral, noise, model.sampling(sampling)))
        for _ in model.denoise_loop(noise, run):
            if losses:
                break
    return losses[0]


def train_slider(
    model: Model,
    neutral: Sequence[str],
    positive: Sequence[str],
    setting: Setting,
    recipe: SliderRecipe,
    path: str | Path,
) -> Slider:
    """Train a slider, from its last checkpoint if there is one; killed and resumed, it ends up the same.

    Args:
        neutral: prompts that do not ask for the concept.
        positive: the same asking for it, in the same order.
        setting: of the clips, of which a batch is drawn in every iteration; lyrics for all.
        recipe: how.
        path: of the slider, see :meth:`Slider.save`; the checkpoint lies beside it, as ``<path>.training``.

    Raises:
        ValueError: sides of different length, a run of one step, a checkpoint of another recipe, or a loss that is
            not finite.
    """
    from tqdm.auto import tqdm

    check_pairs(model, positive, neutral, setting)
    about = {"prompts": [list(neutral), list(positive)], "batch": setting.batch, "recipe": asdict(recipe)}
    told = {**about, "recipe": asdict(replace(recipe, iterations=0))}  # more iterations go on from fewer
    unit, state = units(model, setting, None, [told])[0], Path(f"{path}.training")
    slider = draw_slider(model, recipe.layers, recipe.rank, recipe.seed)
    weights = [weight.requires_grad_() for weight in (*slider.down.values(), *slider.up.values())]
    optimiser = torch.optim.AdamW(weights, recipe.rate, weight_decay=0.01)
    losses = _resume(optimiser, unit, state)
    for iteration in tqdm(range(len(losses), recipe.iterations), disable=not setting.progress, desc="slider"):
        poles, noise, step = _draw_batch(model, (neutral, positive), setting, (recipe.seed, iteration))
        loss = slider_loss(model, slider, poles, noise, model.sampling(setting.sampling), step, recipe.eta)
        if not loss.isfinite():
            raise InputError(f"the loss of iteration {iteration} is {loss.item()}, not finite: is the rate too high?")
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        losses.append(float(loss.detach()))
        if len(losses) % SAVE_EVERY == 0 or len(losses) == recipe.iterations:
            _checkpoint(optimiser, {"unit": unit, "losses": losses}, state)
    for weight in weights:
        weight.requires_grad_(False)
    slider = replace(slider, info={**slider.info, **about, "losses": losses, "versions": versions()})
    slider.save(path)
    return slider


def _draw_batch(
    model: Model, sides: tuple[Sequence[str], Sequence[str]], setting: Setting, seed: tuple[int, int]
) -> tuple[Poles, Latents, int]:
    """Draw prompts (neutral, positive and empty), noise and the step of an iteration."""
    steps = model.sampling(setting.sampling).steps
    if steps < 2:
        raise InputError(f"got {steps} denoising step; expected 2 or more")
    draw = np.random.default_rng(seed)
    rows = draw.integers(len(sides[0]), size=setting.batch)
    texts = [*([side[row] for side in sides for row in rows]), *[""] * len(rows)]
    encoded = model.encode(texts, setting.negative, setting.lyrics)
    poles = Poles(*(encoded[start : start + len(rows)] for start in range(0, len(texts), len(rows))))
    noise = model.noise(draw.integers(2**32, size=len(rows)).tolist(), setting.seconds)
    return poles, noise, int(draw.integers(1, steps))


def _checkpoint(optimiser: torch.optim.Optimizer, about: Mapping[str, Any], path: Path) -> None:
    """Keep weights, moments and losses in one file."""
    weights = optimiser.param_groups[0]["params"]
    tensors = {f"weight:{place}": weight.detach() for place, weight in enumerate(weights)}
    for place, weight in enumerate(weights):
        tensors |= {f"{name}:{place}": optimiser.state[weight][name] for name in MOMENTS}
    atomic_write(path, save(tensors, {"about": json.dumps(about)}))


def _resume(optimiser: torch.optim.Optimizer, unit: str, path: Path) -> list[float]:
    """Put what :func:`_checkpoint` kept into weights and optimiser; return the losses so far."""
    if not path.is_file():
        return []
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["about"])
        if about["unit"] != unit:
            raise InputError(f"{path} is of another recipe, prompts or weights: delete it, or name another file")
        weights = optimiser.param_groups[0]["params"]
        for place, weight in enumerate(weights):
            weight.data.copy_(file.get_tensor(f"weight:{place}"))
        moments = [{name: file.get_tensor(f"{name}:{place}") for name in MOMENTS} for place in range(len(weights))]
    done = float(len(about["losses"]))
    kept = {place: {"step": torch.tensor(done), **own} for place, own in enumerate(moments)}
    optimiser.load_state_dict({"state": kept, "param_groups": optimiser.state_dict()["param_groups"]})
    return list(about["losses"])


@dataclass(frozen=True, eq=False)
class SliderArm(Way):
    """A way to steer by a slider.

    Attributes:
        method: ``"Concept Sliders"``, say.
        slider: positive strengths go to its concept.
        layers: those that it was trained for.
        scale: raw strength at +100 and at -100 percent, both above 0; as it is, percent are raw strengths.
    """

    method: str
    slider: Slider
    layers: Layers | None = None
    scale: tuple[float, float] = (100.0, 100.0)

    def describe(self, model: Model) -> dict[str, Any]:
        weights = [*self.slider.down.values(), *self.slider.up.values()]
        parts = [weight.detach().cpu().contiguous().numpy().tobytes() for weight in weights]
        return {"sites": list(self.sites(model)), "slider": sha256(b"".join(parts)), "modules": list(self.slider.down)}

    def intervene(self, model: Model, rows: pd.DataFrame, texts: Texts) -> AbstractContextManager[Any]:
        return self.slider.apply(model, rows["alpha"].tolist())
