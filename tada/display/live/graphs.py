"""The parts of a mini as ONNX graphs, with weights in two bytes and arithmetic in float32: what a page runs.

Three graphs make a clip. ``text`` reads a prompt once and gives the keys and values of every layer, in both guidance
passes; a page exchanges those of a layer for another prompt's, which is what patching is. ``step`` predicts one guided
velocity, with a push at the output of every layer (equation 3). ``sound`` decodes latents: to magnitudes where the
checkpoint has a phase stage, whose last part is no network and is computed by the page, else to audio. A fourth one,
``probe``, says what the attribute probe hears.
"""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tada.errors import InputError, MissingPackageError
from tada.minis import mel, probe
from tada.minis.attributes import CLASSES
from tada.minis.sounds import SAMPLE_RATE as RATE
from tada.models.ace_step.adapter import AceStep, AceStepSampling
from tada.models.ace_step.codec import PhaseCodec
from tada.models.ace_step.text import text_states
from tada.models.base import Model
from tada.models.context import Stream
from tada.models.run import Sampling
from tada.steering.vector import rescale

OPSET = 17
SMALL = 256
"""Values below which a weight stays in float32."""


class Text(nn.Module):
    """Token ids and mask ``[1, tokens]`` to keys and values ``[layers, 2, heads, 1 + tokens, dim]`` of the conditional
    and the unconditional pass, and which of their places are real, ``[layers, 1 + tokens]``."""

    def __init__(self, model: AceStep) -> None:
        super().__init__()
        self.encoder, self.network = model.parts.text_encoder, model.parts.transformer

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        network, real = self.network, mask > 0
        states = text_states(self.encoder, ids, real)
        both = network.genre_embedder(torch.cat([states, torch.zeros_like(states)]))
        voice = network.speaker_embedder(states.new_zeros(2, 1, network.config.speaker_embedding_dim))
        places = torch.arange(1 + ids.shape[1]).expand(2, -1)  # a mini sings no lyrics: nothing follows the prompt
        stream = Stream(torch.cat([voice, both], dim=1), None, places)
        sites: list[Any] = [network.get_submodule(name) for name in network.sites]
        keys, values = (torch.stack(parts) for parts in zip(*(site.keys_values(stream) for site in sites), strict=True))
        used = torch.cat([torch.ones(1, 1), mask.float()], dim=1).expand(len(sites), -1)
        return keys, values, used


class Step(nn.Module):
    """Latents ``[1, C, R, T]``, noise level and guidance ``[1]``, what :class:`Text` gives, and a push
    ``[layers, dim]`` to the guided velocity; ``scale`` 0 of the push leaves outputs as they are."""

    def __init__(self, model: AceStep) -> None:
        super().__init__()
        self.network = copy.deepcopy(model.parts.transformer)
        self.given: tuple[Tensor, ...] = ()
        for layer, name in enumerate(model.sites):
            site = self.network.get_submodule(name)
            site.register_forward_pre_hook(partial(self._read, layer), with_kwargs=True)
            site.register_forward_hook(partial(self._push, layer))

    def _read(self, layer: int, site: nn.Module, args: Any, keywords: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        keys, values, used, _ = (part[layer] for part in self.given)
        mask = (used > 0.5)[None].expand(2, -1)
        return args, {**keywords, "encoder": Stream(keys, mask, memo={site: (keys, values)})}

    def _push(self, layer: int, site: nn.Module, args: Any, output: Tensor) -> Tensor:
        cond, uncond = output.chunk(2)
        return torch.cat([rescale(cond + self.given[-1][layer], cond), uncond])

    def forward(self, x: Tensor, sigma: Tensor, guidance: Tensor, *given: Tensor) -> Tensor:
        self.given = given
        cond, uncond = self.network(torch.cat([x, x]), (1000 * sigma).expand(2), None).chunk(2)
        velocity: Tensor = uncond + guidance * (cond - uncond)
        return velocity


class Sound(nn.Module):
    """Latents ``[1, C, R, T]`` to magnitudes ``[bins, time]`` or, without a phase stage, to mono audio ``[frames]``."""

    def __init__(self, model: AceStep) -> None:
        super().__init__()
        self.codec = model.codec

    def forward(self, latents: Tensor) -> Tensor:
        if isinstance(self.codec, PhaseCodec):
            stage = self.codec.vocoder
            return stage.magnitudes(stage.whole(self.codec.image(latents)))[0]
        return self.codec.vocode(self.codec.mels(latents)).mean(1)[0]


class Verdict(nn.Module):
    """Power spectrum ``[513, frames]`` of a clip at 16 kHz, as ``tada.minis.mel.log_mel`` takes it, to probabilities of
    all classes, attribute after attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.probe = probe.load()
        self.bank = nn.Parameter(mel.filters().T, requires_grad=False)

    def forward(self, power: Tensor) -> Tensor:
        logits = self.probe((self.bank @ power).clamp_min(1e-5).log()[None])
        return torch.cat([logits[name].softmax(1)[0] for name in CLASSES])


def require_runnable(model: Model, sampling: Sampling | str | None = None) -> tuple[AceStep, AceStepSampling]:
    """Return a model that a page can run, and the settings that it samples with.

    Raises:
        InputError: a model or settings that no page computes.
    """
    if not isinstance(model, AceStep):
        raise InputError(f"got {model.name}; a page can run ace-step only")
    sampling = model.sampling(sampling)
    assert isinstance(sampling, AceStepSampling)
    plain = {"method": "cfg", "solver": "euler", "omega": 0.0, "decay": 0.0, "pad_to": None}
    other = {name: getattr(sampling, name) for name, value in plain.items() if getattr(sampling, name) != value}
    other |= {name: True for name in ("erg_tag", "erg_lyric", "erg_diffusion") if getattr(sampling, name)}
    if other:
        raise InputError(f"{model.checkpoint} samples with {other}; a page computes {plain} without ERG only")
    return model, sampling


def make_graphs(model: AceStep, seconds: float, tokens: int) -> dict[str, bytes]:
    """Export a model on the CPU, in float32: name of a graph -> its bytes, the same at every call.

    Prompts are padded to ``tokens``.

    Raises:
        MissingPackageError: onnx is not installed.
    """
    network, one = model.parts.transformer.config, torch.ones(1)
    latents, layers = model.noise(0, seconds).values, len(model.sites)
    held = torch.randn(2, layers, 2, network.num_attention_heads, 1 + tokens, network.attention_head_dim)
    given = (*held, torch.ones(layers, 1 + tokens), torch.ones(layers, network.inner_dim))
    ids = torch.ones(1, tokens, dtype=torch.long)
    read = ("keys", "values", "used")
    made = {
        "text": to_onnx(Text(model), {"ids": ids, "mask": ids}, read),
        "step": to_onnx(
            Step(model),
            {"x": latents, "sigma": one, "guidance": one, **dict(zip((*read, "push"), given, strict=True))},
            ("velocity",),
        ),
        "sound": to_onnx(Sound(model), {"latents": latents}, ("sound",)),
    }
    if model.codec.vocoder.config.sampling_rate != RATE:  # the probe knows no other
        return made
    power = torch.rand(mel.WINDOW // 2 + 1, 1 + round(seconds * RATE) // mel.HOP)
    return made | {"probe": to_onnx(Verdict(), {"power": power}, ("heard",))}


def to_onnx(module: nn.Module, inputs: Mapping[str, Tensor], outputs: tuple[str, ...]) -> bytes:
    """Trace a module on inputs by name, and return it as ONNX with weights in two bytes."""
    try:
        import onnx
    except ModuleNotFoundError:
        raise MissingPackageError("a page's graphs need onnx: pip install 'tada-companion[book]'") from None
    traced = io.BytesIO()
    torch.onnx.register_custom_op_symbolic("aten::rms_norm", _rms_norm, OPSET)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of shapes that the trace holds as constants, as they are
        names = {"input_names": list(inputs), "output_names": list(outputs)}
        export: Any = torch.onnx.export  # its types know no files in memory
        export(module.eval(), tuple(inputs.values()), traced, dynamo=False, opset_version=OPSET, **names)
    model = onnx.load_from_string(traced.getvalue())
    _mend(model.graph)
    _shrink(model.graph)
    return bytes(model.SerializeToString(deterministic=True))


def _rms_norm(graph: Any, x: Any, shape: Any, weight: Any, eps: Any) -> Any:
    """``torch.nn.functional.rms_norm`` over the last axis without weight, which opset 17 does not have."""
    mean = graph.op("ReduceMean", graph.op("Mul", x, x), axes_i=[-1], keepdims_i=1)
    return graph.op("Div", x, graph.op("Sqrt", graph.op("Add", mean, eps)))


def _mend(graph: Any) -> None:
    """Count the axes of transpositions from the front: the exporter leaves negative ones, which ONNX does not know."""
    for node in graph.node:
        if node.op_type == "Transpose":
            axes = node.attribute[0].ints
            axes[:] = [axis % len(axes) for axis in axes]


def _shrink(graph: Any) -> None:
    """Keep a graph's weights in two bytes each, with what makes them float32 in front of what reads them."""
    from onnx import TensorProto, helper, numpy_helper

    nodes, numbers = [], []
    for weight in graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype == np.float32 and values.size >= SMALL:
            name, (small, *steps) = weight.name, in_steps(values)
            weight.CopyFrom(numpy_helper.from_array(small, f"{name}.small"))
            numbers += [numpy_helper.from_array(part, f"{name}.{place}") for place, part in enumerate(steps)]
            nodes.append(helper.make_node("Cast", [f"{name}.small"], [f"{name}.float"], to=TensorProto.FLOAT))
            nodes.append(helper.make_node("Add", [f"{name}.float", f"{name}.0"], [f"{name}.whole"]))
            nodes.append(helper.make_node("Mul", [f"{name}.whole", f"{name}.1"], [name]))
    nodes = [*nodes, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(numbers)


def in_steps(values: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[np.float32], NDArray[np.float32]]:
    """Write weights as numbers of two bytes, what is added to them, and what they are multiplied with after that.

    Whole numbers of the largest power of two that divides all weights, where there are such. Most lie from -128 to 127;
    moved by 128 their second byte is the same, and they pack into half. Else fp16, which nothing is done to.
    """
    step = 2.0 ** float(np.frexp(np.abs(values).max())[1] - 14)
    numbers = (values / step).astype(np.int64)
    if (numbers * step != values).any():
        return values.astype(np.float16), np.zeros(1, np.float32), np.ones(1, np.float32)
    bits = int(np.bitwise_or.reduce(np.abs(numbers), axis=None))
    common = max(bits & -bits, 1)
    moved, scale = np.full(1, -128, np.float32), np.full(1, step * common, np.float32)
    return (numbers // common + 128).astype(np.int16), moved, scale
