"""Reference numbers of the public ACE-Step v1 sources, and models filled by the fixtures' weight rule."""

from __future__ import annotations

import json
import math
import zlib
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file

from tada.models.ace_step.transformer import AceStepTransformer, TransformerConfig
from tada.models.context import Stream

DATA = Path(__file__).parent / "data"


@cache
def meta(name):
    return json.loads((DATA / f"{name}.json").read_text())


@cache
def tensors(name):
    return load_file(DATA / f"{name}.safetensors")


def given(name, key):
    return tensors(name)[f"in.{key}"]


def assert_parity(value, name, key, atol):
    expected = tensors(name)[f"out.{key}"]
    assert value.shape == expected.shape
    difference = (value - expected).abs().max().item()
    assert difference <= atol, f"{name} {key}: {difference:.2e} > {atol:.0e}"


def filled(module):
    """The module with the fixtures' weights, of which each depends on its public name and its shape alone."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(drawn(name, parameter.shape))
    return module.eval().requires_grad_(False)


def drawn(name, shape):
    """A weight of normal noise: small biases, norms and gains about 1, matrices of unit gain."""
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
    last = name.rpartition(".")[2]
    if last == "bias":
        return 0.1 * noise
    if last in ("scale_shift_table", "pos_bias_u", "pos_bias_v"):
        return 0.3 * noise
    if len(shape) == 1 or last == "weight_g":
        return 1 + 0.1 * noise
    return noise / math.sqrt(math.prod(shape[1:]))


def config(values, kind):
    """The fixture's configuration as ours, without what only training or upstream's tables need."""
    known = kind.__dataclass_fields__
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in known})


@cache
def transformer(name):
    return filled(AceStepTransformer(config(meta(name)["config"], TransformerConfig)))


def padded(states, mask):
    """A stream whose positions count padding, as upstream's do."""
    return Stream(states, mask.bool(), torch.arange(mask.shape[1]).expand(mask.shape))


def assert_same_shapes(module, file, unused=()):
    """Names and shapes of a module built on the meta device against those of the public file."""
    expected = {n: tuple(s) for n, s in meta(file)["tensors"].items() if not n.startswith(tuple(unused))}
    assert {n: tuple(v.shape) for n, v in module.state_dict().items()} == expected
