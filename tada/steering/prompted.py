"""Ways to steer by other prompts: what the sites read, or what the denoiser predicts, moves towards a pole's prompt.

Each equation is a context manager; the context that is sampled inside it is that of the neutral prompts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from sys import maxsize
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from tada.arguments import integers
from tada.engine import Texts
from tada.errors import InputError, UnknownNameError, unknown
from tada.hooks import Steps, route
from tada.models.base import Layers, Model
from tada.models.context import Context, Stream, join
from tada.models.run import SamplingState
from tada.steering.arms import Way, digest
from tada.steering.vector import Alpha, Vector, per_row, read_strength


class Poles(NamedTuple):
    """Contexts of equal rows, encoded in one call.

    Attributes:
        neutral: the prompts that are steered.
        positive: the same prompts asking for the concept.
        negative: the same asking for its counterpart, or without the concept.
    """

    neutral: Context
    positive: Context
    negative: Context


# ---- equations


@contextmanager
def switch_prompt(model: Model, alpha: Alpha, poles: Poles, layers: Layers | None = None) -> Iterator[None]:
    """Let the conditional pass read a pole's prompt in the last ``|alpha|`` denoising steps (PCI, v2 of the paper).

    Args:
        alpha: steps that read the positive prompt, or below 0 the negative one, rounded to whole steps; one for all
            clips or one per row.
        poles: the prompts.
        layers: the sites that read it: indices, site names or a layer set; None for all.

    Raises:
        ValueError: more steps than the run has, or a strength that is not finite or not one per row.
    """
    steps = per_row(read_strength(alpha), len(poles.neutral)).round()
    rows = torch.arange(len(steps))
    source = join([poles.positive, poles.negative])[torch.where(steps > 0, rows, rows + len(steps))]
    with ExitStack() as routes:
        for count in sorted({abs(int(step)) for step in steps} - {0}):
            routes.enter_context(route(model, layers, source, steps.abs() == count, "cond", range(-count, 0)))
        yield


@contextmanager
def shift_text(
    model: Model, alpha: Alpha, poles: Poles, layers: Layers | None = None, steps: Steps = None
) -> Iterator[None]:
    """Let sites read ``c + alpha (c_positive - c_negative)``, token by token, in the conditional pass (v2's TextEmb).

    Args:
        alpha: strength, 0 leaves the clip as it is to the last bit; one for all clips or one per row.
        poles: the prompts, whose tokens should line up.
        layers: the sites that read it: indices, site names or a layer set; None for all.
        steps: denoising steps; None for all.

    Raises:
        ValueError: a strength that is not finite or not one per row.
    """
    strength = per_row(read_strength(alpha), len(poles.neutral))
    sides = [side.cond for side in poles]
    cond = {name: _moved(strength, *(side[name] for side in sides)) for name in poles.neutral.cond}
    with route(model, layers, replace(poles.neutral, cond=cond), strength != 0, "cond", steps):
        yield


def _moved(strength: Tensor, neutral: Stream, positive: Stream, negative: Stream) -> Stream:
    """The sum of embeddings, with all tokens that any of them has; a stream of token ids stays."""
    if not neutral.states.is_floating_point():
        return neutral
    states = neutral.states + strength.to(neutral.states).view(-1, 1, 1) * (positive.states - negative.states)
    masks, positions = ([getattr(one, name) for one in (neutral, positive, negative)] for name in ("mask", "positions"))
    return Stream(
        states,
        None if masks[0] is None else torch.stack(masks).any(0),
        None if positions[0] is None else torch.stack(positions).amax(0),
    )


@contextmanager
def guide_apart(
    model: Model, alpha: Alpha, poles: Poles, layers: Layers | None = None, steps: Steps = None
) -> Iterator[None]:
    """Add ``alpha (v(positive) - v(negative))`` to the guided prediction (FreeSliders, arXiv 2511.00103).

    Both predictions are without guidance; each step makes two more denoiser rows a clip. Arguments are those of
    :func:`shift_text`; sites that ``layers`` leaves out go on reading the neutral prompt.
    """
    strength = per_row(read_strength(alpha), len(poles.neutral))
    wanted = None if steps is None else set(integers("steps", steps, -maxsize))

    def change(prediction: Tensor, run: SamplingState, predict: Callable[[], Tensor]) -> Tensor:
        if wanted is not None and not wanted & {run.step, run.step - run.sampling.steps}:
            return prediction
        positive, negative = predict().chunk(2)
        return prediction + strength.to(prediction).view(-1, *[1] * (prediction.dim() - 1)) * (positive - negative)

    with ExitStack() as stack:
        if strength.any():
            stack.enter_context(route(model, layers, poles.positive, passes="positive", steps=steps))
            stack.enter_context(route(model, layers, poles.negative, passes="negative", steps=steps))
            model.live.guides.append(change)
            stack.callback(model.live.guides.remove, change)
        yield


# ---- the embedding of one word

TEXT_STREAMS = ("text", "t5")
"""Streams whose tokens are those of the prompt, the last of a model's tokenizers."""


def token_vector(
    model: Model, positive: Sequence[str], negative: Sequence[str], word: str, last: bool = True
) -> Vector:
    """Average ``c_positive - c_negative`` at a word's token over prompt pairs (v2's TokEmb).

    Args:
        positive: prompts with the word.
        negative: their counterparts, in the same order.
        word: of the positive prompts, a single token.
        last: take the word's last place in a prompt, not its first.

    Returns:
        A vector whose only site is the text stream, ``[1, text dim]``; for :func:`shift_token`.

    Raises:
        ValueError: sides of different length, or a prompt without the word as a single token.
    """
    if not positive or len(positive) != len(negative):
        raise InputError(f"got {len(positive)} positive and {len(negative)} negative prompts; expected pairs")
    encoded = model.encode([*positive, *negative])
    name, rows = _text_stream(encoded), torch.arange(len(positive))
    with_, without = encoded.cond[name].states.float().cpu().chunk(2)
    places = torch.tensor([token_place(model, prompt, word, last) for prompt in positive])
    info = {"method": "token", "model": model.name, "checkpoint": model.checkpoint, "word": word, "sites": [name]}
    return Vector({name: (with_ - without)[rows, places].mean(0, keepdim=True)}, {**info, "last": last})


@contextmanager
def shift_token(
    model: Model,
    alpha: Alpha,
    neutral: Context,
    vector: Vector,
    word: str,
    layers: Layers | None = None,
    steps: Steps = None,
) -> Iterator[None]:
    """Add ``alpha d`` to the embedding of one word of the prompts that sites read in the conditional pass (TokEmb).

    Args:
        alpha: strength, 0 leaves the clip as it is to the last bit; one for all clips or one per row.
        neutral: the prompts that are sampled.
        vector: from :func:`token_vector`.
        word: that stands in every prompt, a single token; its last or first place is taken, as for the vector.
        layers: the sites that read it: indices, site names or a layer set; None for all.
        steps: denoising steps; None for all.

    Raises:
        ValueError: a prompt without the word, layers that do not read it, a strength that is not finite or not one per
            row.
    """
    strength, name = per_row(read_strength(alpha), len(neutral)), _text_stream(neutral)
    if all(model.streams[site] != name for site in model.resolve(layers)):
        raise InputError(f"got layers {layers}, none of which reads {name}, where the word is; give one that does")
    stream = neutral.cond[name]
    states, direction = stream.states.clone(), vector.directions[name][0].to(stream.states)
    last = bool(vector.info.get("last", True))
    places = [token_place(model, prompt, word, last) for prompt in neutral.prompts]
    states[torch.arange(len(places)), places] += strength.to(states)[:, None] * direction
    moved = replace(neutral, cond={**neutral.cond, name: Stream(states, stream.mask, stream.positions)})
    with route(model, layers, moved, strength != 0, "cond", steps):
        yield


def token_place(model: Model, prompt: str, word: str, last: bool = True) -> int:
    """Place of a word among the tokens of a prompt; ValueError where it is missing or several tokens."""
    found = [match.span() for match in re.finditer(rf"\b{re.escape(word)}\b", prompt)]
    if not found:
        raise InputError(f"got {prompt!r}; expected a prompt with the word {word!r}")
    tokens = _tokens(model, prompt, *found[-1 if last else 0])
    if len(tokens) != 1:
        raise InputError(f"got {word!r}, which is {len(tokens)} tokens to {model.name}; expected a word of one token")
    return tokens[0]


def count_tokens(model: Model, word: str) -> int:
    """Count the tokens of a word in the middle of a prompt."""
    return len(_tokens(model, f"a {word} a", 2, 2 + len(word)))


def _tokens(model: Model, prompt: str, start: int, end: int) -> list[int]:
    """Places of the tokens of ``prompt[start:end]``."""
    tokenizer, _ = model.tokenizers(model.sampling())[-1]
    spans = tokenizer(prompt, return_offsets_mapping=True, verbose=False)["offset_mapping"]
    return [place for place, (first, stop) in enumerate(spans) if first < end and stop > start]


def _text_stream(context: Context) -> str:
    return next(name for name in TEXT_STREAMS if name in context.cond)


# ---- arms

Equation = Callable[..., AbstractContextManager[None]]


def find_poles(poles: Mapping[str, tuple[str, str]], prompt: str) -> tuple[str, str]:
    """Give the positive and the negative prompt of a prompt; UnknownNameError for one that has none."""
    if prompt not in poles:
        raise UnknownNameError(unknown("prompt with poles", prompt, poles))
    return poles[prompt]


@dataclass(frozen=True, eq=False)
class PromptArm(Way):
    """A way to steer by the prompts of a concept's poles.

    Attributes:
        method: ``"PCI"``, say.
        equation: :func:`switch_prompt`, :func:`shift_text` or :func:`guide_apart`.
        poles: prompt that is steered -> the same asking for the positive and for the negative pole.
        layers: the sites that take part: a layer set, indices or site names; None for all.
        scale: raw strength at +100 and at -100 percent, both above 0; as it is, percent are raw strengths.
        options: further arguments of the equation, as json can hold them.
    """

    method: str
    equation: Equation
    poles: Mapping[str, tuple[str, str]]
    layers: Layers | None = None
    scale: tuple[float, float] = (100.0, 100.0)
    options: Mapping[str, Any] = field(default_factory=dict)

    def describe(self, model: Model) -> dict[str, Any]:
        return {"sites": list(self.sites(model)), "equation": self.equation.__name__, **self.options}

    def texts(self, prompt: str) -> dict[str, str]:
        positive, negative = find_poles(self.poles, prompt)
        return {"positive": positive, "negative": negative}

    def intervene(self, model: Model, rows: pd.DataFrame, texts: Texts) -> AbstractContextManager[None]:
        poles = Poles(*(texts(rows[side]) for side in ("prompt", "positive", "negative")))
        return self.equation(model, rows["alpha"].tolist(), poles, self.layers, **self.options)


@dataclass(frozen=True, eq=False)
class TokenArm(Way):
    """A way to steer by the embedding of one word, see :func:`shift_token`.

    Attributes:
        method: ``"TokEmb"``, say.
        vector: from :func:`token_vector`.
        word: that stands in every prompt that is steered.
        layers: the sites that take part: a layer set, indices or site names; None for all.
        scale: raw strength at +100 and at -100 percent, both above 0; as it is, percent are raw strengths.
    """

    method: str
    vector: Vector
    word: str
    layers: Layers | None = None
    scale: tuple[float, float] = (100.0, 100.0)

    def describe(self, model: Model) -> dict[str, Any]:
        return {"sites": list(self.sites(model)), "vector": digest(self.vector), "word": self.word}

    def intervene(self, model: Model, rows: pd.DataFrame, texts: Texts) -> AbstractContextManager[None]:
        return shift_token(model, rows["alpha"].tolist(), texts(rows["prompt"]), self.vector, self.word, self.layers)
