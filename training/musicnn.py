"""Convert the published weights of musicnn, without TensorFlow, and hold the port against the published example.

``pip download --no-deps musicnn==0.1.0``, then ``python -m training.musicnn musicnn-0.1.0-py3-none-any.whl``. With
``--examples`` (the folder ``audio`` of github.com/jordipons/musicnn) the tags are compared with those of its README.
"""

from __future__ import annotations

import ast
import copy
import json
import struct
import zipfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import soundfile
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tada.errors import InputError
from tada.io import atomic_write, sha256, write_json
from tada.metrics import musicnn
from tada.minis.cards import hashes
from training.material import render

SOURCE = "https://github.com/jordipons/musicnn"
PUBLISHED = {
    "joram-moments_of_clarity-08-solipsism-59-88.mp3": (
        "techno", "electronic", "synth", "fast", "beat", "drums", "no vocals", "no vocal", "dance", "ambient",
    ),
    "TRWJAZW128F42760DD_test.mp3": ("guitar", "piano", "fast"),
}  # fmt: skip
"""Example -> its likeliest tags by the MTT network, the likeliest first, as the README has them."""


def convert(tensors: Mapping[str, Tensor]) -> musicnn.Tagger:
    """Put the tensors of a checkpoint into the port; layers are numbered in the order of the forward pass."""
    tagger = musicnn.Tagger()
    for kind, name, rename in (
        (nn.Conv2d, "conv2d", {"kernel": "weight", "bias": "bias"}),
        (nn.Linear, "dense", {"kernel": "weight", "bias": "bias"}),
        (nn.BatchNorm1d | nn.BatchNorm2d, "batch_normalization", {
            "gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var",
        }),
    ):  # fmt: skip
        for place, module in enumerate(one for one in tagger.modules() if isinstance(one, kind)):
            for old, new in rename.items():
                value = tensors[f"{name}{f'_{place}' if place else ''}/{old}"]
                getattr(module, new).data.copy_(value.movedim((-1, -2), (0, 1)) if old == "kernel" else value)
    return tagger.eval().requires_grad_(False)


# ---- TensorFlow's checkpoints: an index of sorted, prefix-compressed keys, and one file of raw tensors


def read_checkpoint(index: bytes, data: bytes) -> dict[str, Tensor]:
    """Read the float32 tensors of a checkpoint of one shard."""
    footer, at, numbers, tensors = index[-48:], 0, [], {}
    for _ in range(4):  # offset and size of the block of names, and of that of the blocks
        number, at = varint(footer, at)
        numbers.append(number)
    _, _, start, size = numbers
    for _, handle in entries(index, start, size):
        block, at = varint(handle, 0)
        length, _ = varint(handle, at)
        for name, value in entries(index, block, length):
            fields = parse(value)
            if name and fields.get(1) == [1]:  # the first entry is the header; type 1 is float32
                dims = [parse(dim).get(1, [1])[0] for dim in parse(fields.get(2, [b""])[0]).get(2, [])]
                begin, count = fields.get(4, [0])[0], fields[5][0]
                values = np.frombuffer(data[begin : begin + count], "<f4").reshape(dims)
                tensors[name.decode()] = torch.from_numpy(values.copy())
    return tensors


def entries(index: bytes, start: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block; each key says how much it shares with the one before."""
    if index[start + size]:
        raise InputError("got a compressed checkpoint; expected a plain one, as in musicnn 0.1.0")
    block, key, at = index[start : start + size], b"", 0
    restarts = struct.unpack("<I", block[-4:])[0]
    while at < size - 4 - 4 * restarts:
        shared, at = varint(block, at)
        new, at = varint(block, at)
        length, at = varint(block, at)
        key = key[:shared] + block[at : at + new]
        yield key, block[at + new : at + new + length]
        at += new + length


def parse(message: bytes) -> dict[int, list[Any]]:
    """Fields of a protocol buffer by their numbers."""
    fields: dict[int, list[Any]] = {}
    at = 0
    while at < len(message):
        tag, at = varint(message, at)
        size = {1: 8, 5: 4}.get(tag & 7, 0)
        if tag & 7 == 2:
            size, at = varint(message, at)
        value: Any = message[at : at + size]
        if tag & 7 == 0:
            value, at = varint(message, at)
        at += size
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def varint(data: bytes, at: int) -> tuple[int, int]:
    """A number in groups of seven bits, the lowest first, and where it ends."""
    number = shift = 0
    while True:
        byte = data[at]
        number, shift, at = number | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return number, at


# ---- what is shipped


def compare(tagger: musicnn.Tagger, examples: Path) -> dict[str, list[str]]:
    """The likeliest tags of the published examples; InputError where they are not the published ones."""
    found = {}
    for name, published in PUBLISHED.items():
        samples, rate = soundfile.read(examples / name, dtype="float32", always_2d=True)
        chances = tagger.probabilities(torch.from_numpy(samples.T)[None], rate)[0]
        found[name] = [tagger.tags[place] for place in chances.argsort(descending=True)[: len(published)]]
        if found[name] != list(published):
            raise InputError(f"{name}: got {found[name]}; the README has {list(published)}")
    return found


def rounding(whole: musicnn.Tagger, stored: musicnn.Tagger) -> float:
    """How far 16 bits move any tag of 32 renders."""
    audio = render(range(32))
    one, other = (tagger.probabilities(audio, musicnn.RATE) for tagger in (whole, stored))
    return float((one - other).abs().max())


@click.command()
@click.argument("wheel", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--examples", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="FOLDER")
@click.option("--out", default=musicnn.FOLDER, type=click.Path(path_type=Path), metavar="FOLDER")
def main(wheel: Path, examples: Path | None, out: Path) -> None:
    """Convert the networks of WHEEL, and write them with their tags, licence and card."""
    files = zipfile.ZipFile(wheel)
    settings = ast.parse(files.read("musicnn/configuration.py"))
    tags = {item.targets[0].id: item.value for item in settings.body if isinstance(item, ast.Assign)}  # type: ignore[attr-defined]
    write_json(out / "tags.json", {name: ast.literal_eval(tags[f"{name}_LABELS"]) for name in musicnn.NAMES})
    licence = files.read("musicnn-0.1.0.dist-info/LICENSE.md")
    atomic_write(out / "LICENSE", lambda draft: draft.write_bytes(licence))
    moved = {}
    for name in musicnn.NAMES:
        index, data = (files.read(f"musicnn/{name}_musicnn/.{part}") for part in ("index", "data-00000-of-00001"))
        tagger = convert(read_checkpoint(index, data))
        weights = copy.deepcopy(tagger).half().state_dict()
        atomic_write(out / f"{name}.safetensors", partial(save_file, weights))
        moved[name] = round(rounding(tagger, musicnn.load(name, out)), 5)
    card: dict[str, Any] = {
        "what": "music tags, trained by others (musicnn 0.1.0)",
        "data": "MTT: MagnaTagATune; MSD: Million Song Dataset; trained by Pons and Serra (2019)",
        "licence": "ISC",
        "source": {"url": SOURCE, "file": wheel.name, "sha256": sha256(wheel)},
        "parameters": sum(value.numel() for value in tagger.parameters()) * len(musicnn.NAMES),
        "steps": 0,
        "hours": 0.0,
        "largest change of a tag by 16 bits": moved,
        "published example": compare(musicnn.load("MTT", out), examples) if examples else "not compared",
    }
    write_json(out / "card.json", card | {"sha256": hashes(out)})
    click.echo(json.dumps(card, indent=1))


if __name__ == "__main__":
    main(prog_name="python -m training.musicnn")
