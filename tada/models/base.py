"""The protocol every architecture speaks."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal, Self

import torch

from tada import arguments
from tada.arguments import Lyrics, number
from tada.audio import Clips
from tada.errors import InputError, check_name
from tada.models import ARCHITECTURES, hub
from tada.models.adapter import Adapter
from tada.models.context import Context, join, reach
from tada.models.device import pick_device, pick_dtype
from tada.models.fingerprint import fingerprint, versions
from tada.models.layers import Layered
from tada.models.layers import Layers as Layers
from tada.models.run import Latents, Live, Sampling, SamplingState, last_finite

Vocabulary = Literal["public", "mini"]

MINI_SECONDS = 65_536 / 16_000
"""Length of the clips of the synthetic music that the minis are trained on."""

LONGEST = 3600.0
"""Seconds of a clip at most, where an architecture sets no bound of its own."""


class Model(Adapter, Layered):
    """A text-to-music model: text encoder, denoiser, codec and sampling loop behind one interface.

    Attributes:
        name: the architecture, as given to ``tada.load``.
        checkpoint: label of the weights: hub id, or what the folder says of itself.
        sites: dotted names of the cross-attention modules, in the order in which the forward pass runs them.
        residuals: names of further modules that can be recorded and edited: where the residual stream leaves a layer.
        streams: the text stream each site reads.
        projections: modules of a site that make keys and values of its text.
        denoiser: the module that the sites are part of.
        sample_rate: of the decoded audio, in Hz.
        functional: layer indices known to control concepts in this checkpoint, the strongest first; None if not known.
        functional_origin: where these are known from, in words.
        is_mini: whether it is the architecture's mini, which comes with the package.
        sings: whether it sings from lyrics.
        draws_tokens: whether rounding may make another token of a draw, and of the clip from there on.
        reload: loads the same checkpoint again, in another process; None of a model that ``tada.load`` did not load.
        live: the sampling run in progress and the interventions in force.
    """

    reload: Callable[[], Model] | None = None
    device: torch.device

    def __init__(self, device: torch.device, about: hub.About) -> None:
        self.device = device
        self.checkpoint, self.is_mini = about.checkpoint, about.is_mini
        self.functional = None if about.functional is None else tuple(about.functional)
        self.functional_origin = about.functional_origin
        if about.sampling is not None:  # a checkpoint that samples in its own way does so under every preset's name
            own = replace(self.presets["default"], **about.sampling)
            self.presets = dict.fromkeys([*self.presets, "mini"], own)
        self.live = Live()

    @classmethod
    def open(cls, checkpoint: str | Path | None, device: str | torch.device, dtype: torch.dtype | None) -> Self:
        """Load a checkpoint of this architecture; the arguments are those of :func:`tada.load`."""
        device = pick_device(device)
        dtype = pick_dtype(dtype, device, cls.half)
        wanted = str(checkpoint or ARCHITECTURES[cls.name].hub_id)
        folder = cls.find(wanted)
        with hub.reading(folder):
            parts = cls.read(folder, dtype)
            return cls(parts, device, hub.about(folder, wanted, ARCHITECTURES[cls.name]))  # type: ignore[call-arg, arg-type]

    # ---- facts

    @property
    def vocabulary(self) -> Vocabulary:
        """The words that the checkpoint understands: ``"mini"`` for those in the package, else ``"public"``."""
        return "mini" if self.is_mini else "public"

    @property
    def default_seconds(self) -> float:
        """Length of a clip where none is asked for, in seconds: the paper's, or that of the minis' training."""
        return MINI_SECONDS if self.is_mini else self.public_seconds

    def fingerprint(self) -> str:
        """The sha256 of the weights, see :func:`tada.models.fingerprint.fingerprint`."""
        return fingerprint(self)

    # ---- what users call

    def encode(
        self,
        prompts: str | Sequence[str],
        negative: str | Sequence[str | None] | None = None,
        lyrics: Lyrics = None,
    ) -> Context:
        """Encode prompts, each on its own, into a context padded to one length, with one row per prompt.

        What is beyond the limit of a text encoder is cut off, with a warning.

        Args:
            prompts: one text per row; a single text is one row.
            negative: what the unconditional pass is told instead of nothing; one for all rows, or one per row.
            lyrics: text to sing, for models that do (ACE-Step); one for all rows, one per row, or prompt -> lyrics.

        Raises:
            ValueError: no prompt, or numbers of texts that do not match.
        """
        prompts = arguments.texts("prompts", prompts)
        negatives, words = arguments.per_row("negative", negative, len(prompts)), arguments.sung(lyrics, prompts)
        self.tell_cut([*prompts, *(one for one in negatives if one)], self.sampling())
        triples = list(zip(prompts, negatives, words, strict=True))
        with torch.no_grad():
            encoded = {triple: self.encode_one(*triple) for triple in dict.fromkeys(triples)}
        return join([encoded[triple] for triple in triples])

    def heard(self, prompt: str, sampling: Sampling | str | None = None) -> str:
        """Return what the text encoders read of a prompt: all of it, or its beginning where it is too long for one."""
        readers = self.tokenizers(self.sampling(sampling))
        return prompt[: min(reach(tokenizer, prompt, tokens) for tokenizer, tokens in readers)]

    def tell_cut(self, prompts: Iterable[str], sampling: Sampling) -> None:
        """Warn of prompts that are longer than the text encoders read, with what is cut off."""
        rest = {prompt: prompt[len(self.heard(prompt, sampling)) :] for prompt in dict.fromkeys(prompts)}
        cut = {prompt: end for prompt, end in rest.items() if end}
        for prompt, end in list(cut.items())[:1]:
            warnings.warn(
                f"{len(cut)} of {len(rest)} prompts are longer than {self.name} reads: of {prompt[:40]!r}... the last "
                f"{len(end)} of {len(prompt)} characters are cut off, from {end[:40]!r}",
                stacklevel=3,
            )

    def noise(self, seeds: int | Sequence[int], seconds: float) -> Latents:
        """Draw the starting noise of each row from its own seed, so that a clip does not depend on its batch.

        Args:
            seeds: one per row, 0 to 2^64 - 1; a single seed is one row.
            seconds: length of the clips.

        Raises:
            ValueError: a seed that is none, or a length that the model cannot make.
        """
        drawn, seconds = arguments.seeds(seeds), number("seconds", seconds, 1 / self.sample_rate, LONGEST)
        shape = self.noise_shape(seconds)
        rows = [self.draw(shape, torch.Generator().manual_seed(seed)) for seed in drawn]
        return Latents(torch.stack(rows).to(self.device), tuple(drawn), seconds)

    def sample(
        self, context: Context, noise: Latents, sampling: Sampling | str | None = None, progress: bool = False
    ) -> Latents:
        """Denoise, of context and noise one row per clip, into latents with the record of each row.

        Args:
            sampling: settings, or the name of a preset; None for the model's default.
            progress: show a progress bar.

        Raises:
            ValueError: rows that do not match, or latents that became NaN or infinite (the first step is named).
        """
        if len(context) != len(noise):
            raise InputError(f"got {len(context)} rows of context and {len(noise)} of noise; expected as many of each")
        settings = self.settled(self.sampling(sampling), noise.seconds)
        if not settings.is_guided and any(context.negatives):
            warnings.warn(f"guidance={settings.guidance}: the negative prompt has no effect", stacklevel=2)
        with torch.no_grad(), self.running(context, noise, settings) as run:
            values = last_finite(self.denoise_loop(noise, run), settings.steps, self.name if progress else None)
            records = [self._record(context, noise, row, settings) for row in range(len(noise))]
        return replace(noise, values=values, records=tuple(records))

    def decode(self, latents: Latents) -> Clips:
        """Turn sampled latents into clips of ``latents.seconds`` at :attr:`sample_rate`.

        Raises:
            ValueError: NaN or infinite samples, with the rows.
        """
        with torch.no_grad():
            audio = self.to_audio(latents)[..., : round(latents.seconds * self.sample_rate)]
        return Clips(audio, self.sample_rate, latents.records)

    def generate(
        self,
        prompts: str | Sequence[str],
        seeds: int | Sequence[int],
        seconds: float,
        sampling: Sampling | str | None = None,
        negative: str | Sequence[str | None] | None = None,
        lyrics: Lyrics = None,
        progress: bool = False,
    ) -> Clips:
        """Encode, draw noise, sample and decode, a clip per row; one prompt or one seed serves all rows of the other.

        The arguments are those of :meth:`encode`, :meth:`noise` and :meth:`sample`.
        """
        prompts, drawn = arguments.texts("prompts", prompts), arguments.seeds(seeds)
        rows = max(len(prompts), len(drawn))
        if {len(prompts), len(drawn)} - {1, rows}:
            raise InputError(f"got {len(prompts)} prompts and {len(drawn)} seeds; expected as many, or one of either")
        noise = self.noise(drawn * (rows // len(drawn)), seconds)
        context = self.encode(prompts * (rows // len(prompts)), negative, lyrics)
        return self.decode(self.sample(context, noise, sampling, progress))

    def sampling(self, preset: Sampling | str | None = None, **changes: Any) -> Sampling:
        """The settings of a preset (None: the default one) with ``changes``; settings are completed for this model.

        A change to None is none.
        """
        if not isinstance(preset, Sampling):
            name = preset or "default"
            check_name("sampling preset", name, self.presets)
            preset = self.presets[name]
        wanted = type(self.presets["default"])
        if type(preset) is Sampling:
            preset = wanted(**asdict(preset))
        if type(preset) is not wanted:
            raise TypeError(f"{type(preset).__name__} is not for {self.name}: use {wanted.__name__}")
        return replace(preset, **{name: value for name, value in changes.items() if value is not None})

    def __repr__(self) -> str:
        return f"<{self.name}: {self.checkpoint}, {len(self.sites)} sites, {self.device}, {self.dtype}>"

    # ---- the sampling run

    @contextmanager
    def running(self, context: Context, noise: Latents, sampling: Sampling) -> Iterator[SamplingState]:
        """Hold a sampling run, of which hooks know while its caller calls the denoiser; arguments as for sample."""
        if self.live.run is not None:
            raise RuntimeError("this model is already sampling: one run at a time")
        conditioning = self.conditioning(context, noise.seconds, sampling)
        self.live.run = SamplingState(conditioning, sampling, noise.seconds, len(noise))
        try:
            yield self.live.run
        finally:
            self.live.run = None

    def _record(self, context: Context, noise: Latents, row: int, sampling: Sampling) -> dict[str, Any]:
        return {
            "model": self.name,
            "checkpoint": self.checkpoint,
            "prompt": context.prompts[row],
            "negative": context.negatives[row] if sampling.is_guided else None,
            "lyrics": context.lyrics[row],
            "seed": noise.seeds[row],
            "seconds": noise.seconds,
            "sampling": asdict(sampling),
            "interventions": [str(item) for item in self.live.interventions],
            "versions": versions(),
        }
