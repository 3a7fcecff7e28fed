"""laion-clap and transformers' ClapModel on the same random weights hear, read and feel the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clips import music as sounds
from clips import optional

from tada.metrics import clap, embedding, lpaps
from tada.metrics.packages import need
from tada.models import hub

pytestmark = optional
RATE = 48_000
TEXTS = ["a piano song", "This is a music of a female vocal singing"]


@pytest.fixture(scope="module")
def words() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(clap.MINI, model_max_length=clap.TOKENS)


@pytest.fixture(scope="module")
def offline(words: Any) -> Any:
    """The hub answers with a small tokenizer and a text model of one layer."""
    import transformers

    small = transformers.RobertaConfig(
        vocab_size=len(words),
        hidden_size=768,
        num_hidden_layers=1,
        num_attention_heads=12,
        intermediate_size=64,
        layer_norm_eps=1e-5,
    )
    with pytest.MonkeyPatch.context() as patch:
        for name in ("RobertaTokenizer", "BertTokenizer", "BartTokenizer", "AutoTokenizer"):
            patch.setattr(getattr(transformers, name), "from_pretrained", lambda *args, **kwargs: words)
        patch.setattr(
            transformers.RobertaModel, "from_pretrained", lambda *args, **kwargs: transformers.RobertaModel(small)
        )
        yield


@pytest.fixture(scope="module")
def module(offline: None) -> Any:
    """laion-clap of the public checkpoint's size, the weights random, its batch norm not trivial, texts told apart."""
    torch.manual_seed(0)
    built = need("laion_clap").CLAP_Module(enable_fusion=False, amodel="HTSAT-base", device="cpu").eval()
    for value in built.model.text_branch.parameters():
        value.data.mul_(8 if value.ndim == 2 else 1)
    norm = built.model.audio_branch.bn0
    norm.running_mean.normal_(-20, 5)
    norm.running_var.uniform_(50, 200)
    for name, value in built.model.audio_branch.named_parameters():
        if name.endswith("relative_position_bias_table"):
            torch.nn.init.normal_(value, std=0.5)
    return built


@pytest.fixture(scope="module")
def file(module: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as laion-clap's training writes it."""
    path = tmp_path_factory.mktemp("laion") / "epoch_15.pt"
    state = {f"module.{name}": value for name, value in module.model.state_dict().items()}
    torch.save({"epoch": 15, "name": "run", "best": np.float64(0.9), "state_dict": state}, path)
    return path


@pytest.fixture(scope="module")
def music() -> torch.Tensor:
    return sounds(12, RATE, top=14_000.0)


class LaionClap(clap.Clap):
    """laion-clap itself, windows and all else as in the library."""

    def __init__(self, module: Any) -> None:
        embedding.AudioTextModel.__init__(self)
        self.module, self.weights = module.requires_grad_(False), "random"
        self.rate, self.window, self.hop, self.padding = 48_000, 480_000, 432_000, "repeatpad"

    def embed_windows(self, pieces: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        model, kept = self.module.model, []
        hooks = [
            layer.register_forward_hook(lambda module, inputs, output: kept.append(output[0].float()))
            for layer in model.audio_branch.layers
        ]
        rows = model.get_audio_embedding([{"waveform": piece, "longer": torch.tensor(False)} for piece in pieces])
        for hook in hooks:
            hook.remove()
        return rows.float(), tuple(kept)

    def embed_text(self, texts: Sequence[str]) -> torch.Tensor:
        return self.module.get_text_embedding(list(texts), use_tensor=True).float()


@pytest.fixture(scope="module")
def ears(module: Any, file: Path) -> tuple[clap.Clap, clap.Clap]:
    """laion-clap itself, and the same file as the default that is fetched from the hub."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hub, "probe", lambda *args: None)
        patch.setattr("huggingface_hub.hf_hub_download", lambda *args, **kwargs: file)
        return LaionClap(module), clap.load()


def test_the_same_weights_give_the_same_embedding(ears: tuple[clap.Clap, clap.Clap], music: torch.Tensor) -> None:
    a, b = (embedding.embed(ear, music, RATE) for ear in ears)
    assert a.shape == (2, 512)
    assert (a - b).abs().max() < 1e-5
    assert (a[0] - a[1]).abs().max() > 1e-3, "the ear tells the clips apart"
    told = [embedding.embed_text(ear, TEXTS) for ear in ears]
    assert (told[0] - told[1]).abs().max() < 1e-5
    assert (told[0][0] - told[0][1]).abs().max() > 1e-3


def test_the_same_weights_give_the_same_lpaps(ears: tuple[clap.Clap, clap.Clap], music: torch.Tensor) -> None:
    for over in lpaps.AXES:
        a, b = (lpaps.between(ear, music[:1], music[1:], RATE, over) for ear in ears)
        assert a.item() > 1e-3
        assert (a - b).abs().max() < 1e-4 * a.item()


def test_windows_are_as_the_package_itself_hears_them(
    module: Any, ears: tuple[clap.Clap, clap.Clap], music: torch.Tensor
) -> None:
    """12 s: windows at 0 and 9 s, the second one 3 s long and repeated up to 10 s by the package."""
    alone = [module.get_audio_embedding_from_data(music[:, start : start + 10 * RATE], use_tensor=True)
             for start in (0, 9 * RATE)]  # fmt: skip
    for ear in ears:
        assert (embedding.embed(ear, music, RATE) - torch.stack(alone).mean(0)).abs().max() < 1e-5


def test_what_is_imported_for_images_is_gone_again(module: Any) -> None:
    import sys

    assert not [name for name, value in sys.modules.items() if type(value).__name__ == "_Names"]
