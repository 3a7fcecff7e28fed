"""The base of models that diffusers has a pipeline for: loading, the sampling loop, guidance in one call."""

from __future__ import annotations

import copy
import logging
import warnings
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tada.models import ARCHITECTURES, hub, phase
from tada.models.base import Model
from tada.models.run import Latents, Pass, SamplingState, guided
from tada.models.sites import trace


class PipelineModel(Model):
    """A diffusers pipeline behind the protocol; the loop is ours, scheduler and components are the pipeline's.

    Attributes:
        denoiser_part: the component whose cross-attention modules are the sites.
        phase: what makes sound of the spectra that the autoencoder ends at; None: it makes sound itself.
        encoders: component that is read whole or not at all -> its class in transformers, whatever the index says.
    """

    denoiser_part: ClassVar[str]
    encoders: ClassVar[Mapping[str, str]]

    def __init__(self, pipeline: Any, device: torch.device, about: hub.About) -> None:
        super().__init__(device, about)
        for component in pipeline.components.values():
            if isinstance(component, nn.Module):
                component.eval().requires_grad_(False)
        self.pipeline = pipeline.to(device)
        found = about.folder and phase.read(about.folder)
        self.phase = found.to(device) if found else None
        self.denoiser: nn.Module = getattr(pipeline, self.denoiser_part)
        self.config: Any = self.denoiser.config
        self.dtype = self.denoiser.dtype
        with quiet_loading(), torch.device("meta"):
            self.streams = trace(self.denoiser, self.trace_inputs())
        self.sites = tuple(self.streams)

    @classmethod
    def find(cls, checkpoint: str) -> Path:
        from diffusers import DiffusionPipeline

        path = hub.folder(checkpoint, partial(DiffusionPipeline.download, use_safetensors=True), "model_index.json")
        index = hub.read_json(path / "model_index.json")
        _check_class(path, index.get("_class_name"), ARCHITECTURES[cls.name].pipeline)
        hub.check(path, {name: _described(name) for name, kind in index.items() if _is_part(kind)})
        return path

    @classmethod
    def read(cls, folder: Path, dtype: torch.dtype) -> Any:
        import diffusers
        import transformers

        with quiet_loading():
            kinds = {part: getattr(transformers, kind) for part, kind in cls.encoders.items()}
            parts = {part: hub.read_part(kind, folder, part, dtype) for part, kind in kinds.items()}
            how = {"torch_dtype": dtype, "use_safetensors": True}
            pipeline = getattr(diffusers, ARCHITECTURES[cls.name].pipeline).from_pretrained(folder, **parts, **how)
        for name, part in pipeline.components.items():
            if isinstance(part, nn.Module) and any(weight.is_meta for weight in part.parameters()):
                raise hub.CheckpointError(
                    f"{folder / name}: weights that config.json asks for are missing: {hub.AGAIN}"
                )
        return pipeline

    @abstractmethod
    def trace_inputs(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Arguments of the smallest forward pass, and the text tensors among them by stream."""

    @abstractmethod
    def denoise(self, x: Tensor, t: Tensor, run: SamplingState) -> Tensor:
        """One denoiser call on latents of ``rows * passes`` rows, fed by ``run``."""

    def denoise_loop(self, noise: Latents, run: SamplingState) -> Iterator[Tensor]:
        scheduler = copy.deepcopy(self.pipeline.scheduler)
        scheduler.set_timesteps(run.sampling.steps, device=self.device)
        self.prepare(scheduler, noise)
        draws = [torch.Generator().manual_seed(seed) for seed in noise.seeds]
        extra = self.pipeline.prepare_extra_step_kwargs(draws, 0.0)
        x = noise.values * scheduler.init_noise_sigma
        for step, t in enumerate(scheduler.timesteps):
            scaled = scheduler.scale_model_input(x, t)
            ask = partial(self.ask, scaled, t, step, run)
            prediction = self.live.guide(guided(ask, run), partial(ask, ("positive", "negative")))
            with warnings.catch_warnings():  # the Brownian tree remarks on its end points being rounded to float32
                warnings.filterwarnings("ignore", "Should have", UserWarning)
                x = scheduler.step(prediction, t, x, **extra).prev_sample
            yield x

    def prepare(self, scheduler: Any, noise: Latents) -> None:
        """Whatever a scheduler needs before its first step."""

    def ask(self, x: Tensor, t: Tensor, step: int, run: SamplingState, passes: tuple[Pass, ...]) -> Tensor:
        """The denoiser's predictions for ``x`` at timestep ``t``, passes stacked along rows."""
        run.enter(step, passes)
        return self.denoise(torch.cat([x] * len(passes)), t, run)


@contextmanager
def no_remarks() -> Iterator[None]:
    """No remarks of the libraries on texts that they cut: `Model.encode` tells in fewer words."""
    loggers = [logging.getLogger(name) for name in ("diffusers", "transformers")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def quiet_loading() -> Iterator[None]:
    """No progress bar and no remarks on deprecated internals of the libraries while components are read from disk."""
    from diffusers.utils import logging as remarks

    shown = remarks.is_progress_bar_enabled()
    remarks.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning)
            yield
    finally:
        if shown:
            remarks.enable_progress_bar()


def _is_part(kind: Any) -> bool:
    """Whether an entry of an index names a part, by library and class."""
    return isinstance(kind, list) and len(kind) == 2 and None not in kind


def _described(part: str) -> str:
    """The json file that describes a part."""
    files = {"tokenizer": "tokenizer_config.json", "scheduler": "scheduler_config.json"}
    files["feature_extractor"] = "preprocessor_config.json"
    return next((file for word, file in files.items() if part.startswith(word)), "config.json")


def _check_class(path: Path, got: Any, expected: str) -> None:
    """Raise if ``path`` holds another pipeline than ``expected``, saying under which name it loads."""
    if got != expected:
        names = [known.name for known in ARCHITECTURES.values() if known.pipeline == got]
        advice = "".join(f": load it as tada.load({name!r}, ...)" for name in names)
        raise hub.CheckpointError(f"{path} holds a {got}, expected {expected}{advice}")
