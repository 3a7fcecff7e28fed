"""Checkpoints with faults: a file that is missing, empty, cut off or another is named before anything is built."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import tada
from tada.errors import CheckpointError
from tada.minis.cards import MINIS
from tada.models import mini_folder

FAULTS: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "a pointer of Git LFS": lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "holds a list": lambda path: path.write_text("[1]"),
}
OURS = ("card.json", "curve.csv")
"""Files of the folder that loading does not read."""


def cases() -> list[tuple[str, str, str]]:
    """Every file of every mini with every fault; files that a model can do without may be missing."""
    spare = ("special_tokens_map.json", "generation_config.json", "tokenizer_config.json", "tada.json", "merges.txt",
             "vocab.json", "tokenizer/tokenizer.json")  # fmt: skip
    found = []
    for name in MINIS:
        folder = mini_folder(name)
        for file in sorted(folder.rglob("*.*")):
            if file.is_file() and file.name not in (*OURS, "merges.txt"):
                kinds = [kind for kind in FAULTS if kind != "holds a list" or file.suffix == ".json"]
                kinds = kinds[1:] if str(file).endswith(spare) else kinds
                found += [(name, str(file.relative_to(folder)), kind) for kind in kinds]
    return found


def copied(name: str, folder: Path) -> Path:
    """A copy of a mini, its large files by link."""
    return Path(shutil.copytree(mini_folder(name), folder, copy_function=lambda a, b: Path(b).symlink_to(a)))


def replaced(path: Path) -> Path:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("name", "file", "kind"), cases())
def test_a_file_at_fault_is_named_with_a_remedy(tmp_path, name, file, kind):
    folder = copied(name, tmp_path / "copy")
    FAULTS[kind](replaced(folder / file))
    with pytest.raises(CheckpointError) as error:
        tada.load(name, folder, device="cpu")
    said = str(error.value)
    assert Path(file).name in said or f"{Path(file).parts[0]} has no weights" in said
    assert "copy or download it again" in said or "expected the folder of a whole pipeline" in said
    assert len(said) < 800


@pytest.mark.parametrize(
    ("name", "file", "key", "value"),
    [("ace-step", "ace_step_transformer/config.json", "num_layers", 10**9),
     ("ace-step", "ace_step_transformer/config.json", "num_layers", 99),
     ("ace-step", "umt5-base/config.json", "num_layers", 10**9), ("ace-step", "umt5-base/config.json", "d_model", 16),
     ("stable-audio", "transformer/config.json", "num_layers", 10**9),
     ("stable-audio", "transformer/config.json", "num_layers", 99),
     ("stable-audio", "text_encoder/config.json", "num_layers", 99),
     ("audioldm2", "language_model/config.json", "n_layer", 99),
     ("audioldm2", "unet/config.json", "layers_per_block", 10**9),
     ("audioldm2", "text_encoder/config.json", "projection_dim", 7)],
)  # fmt: skip
def test_sizes_that_the_weights_do_not_have(tmp_path, name, file, key, value):
    folder = copied(name, tmp_path / "copy")
    path = replaced(folder / file)
    config = json.loads(path.read_text())
    assert key in config
    path.write_text(json.dumps(config | {key: value}))
    start = time.monotonic()
    with pytest.raises(CheckpointError, match=Path(file).parts[0]):
        tada.load(name, folder, device="cpu")
    assert time.monotonic() - start < 30


@pytest.mark.parametrize("said", [{"sampling": {"bogus": 1}}, {"sampling": []}, {"sampling": {"steps": "x"}},
                                  {"functional": [10**6]}, {"functional": 3}, {"functional": "a"}])  # fmt: skip
def test_what_a_card_says_must_fit(tmp_path, said):
    folder = copied("stable-audio", tmp_path / "copy")
    replaced(folder / "tada.json").write_text(json.dumps(said))
    with pytest.raises(tada.errors.TadaError):
        tada.load("stable-audio", folder, device="cpu")


def test_pickles_are_not_read(tmp_path):
    folder = copied("stable-audio", tmp_path / "copy")
    weights = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(CheckpointError, match="transformer has no weights .*pickles are not read"):
        tada.load("stable-audio", folder, device="cpu")
