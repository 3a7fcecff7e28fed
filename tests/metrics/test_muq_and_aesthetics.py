"""MuQ-MuLan and Audiobox Aesthetics on random weights, through their own packages, without a hub."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from clips import music, optional

from tada.metrics import aesthetics, clap, embedding, muq
from tada.metrics.packages import need

pytestmark = optional


@pytest.fixture(scope="module")
def mulan() -> Any:
    """MuQ-MuLan at small width: its own class, its parts built from settings instead of the hub."""
    import transformers

    package = need("muq")
    width = 32
    conformer = transformers.Wav2Vec2ConformerConfig(
        hidden_size=width, num_attention_heads=2, intermediate_size=64, num_hidden_layers=2,
        position_embeddings_type="rotary", conv_depthwise_kernel_size=31,
    ).to_dict()  # fmt: skip
    conformer.pop("id2label"), conformer.pop("label2id")
    settings = package.MuQConfig(
        conv_dim=16, encoder_dim=width, encoder_depth=2, w2v2_config=conformer,
        stat={"melspec_2048_mean": 6.77, "melspec_2048_std": 18.4},
    )  # fmt: skip
    text = transformers.XLMRobertaConfig(
        vocab_size=1200, hidden_size=width, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64
    )
    words = transformers.AutoTokenizer.from_pretrained(clap.MINI)
    module = __import__("muq.muq_mulan.muq_mulan", fromlist=["MuLanConfig"])
    branch = {"dim": width, "tf_depth": 1, "heads": 2, "dim_head": 16}
    config = module.MuQMuLanConfig(
        mulan=module.MuLanConfig(dim_latent=16).__dict__,
        audio_model={"name": "muq", "model_dim": width, "use_layer_idx": -1},
        text_model={"name": "xlm-roberta-base", "model_dim": width, "use_layer_idx": -1},
        audio_transformer=branch,
        text_transformer={**branch, "max_seq_len": 64},
    )
    with pytest.MonkeyPatch.context() as patch:
        torch.manual_seed(0)
        patch.setattr(package.MuQ, "from_pretrained", lambda *args, **kwargs: package.MuQ(settings))
        patch.setattr(
            transformers.XLMRobertaModel, "from_pretrained", lambda *args, **kwargs: transformers.XLMRobertaModel(text)
        )
        patch.setattr(transformers.AutoTokenizer, "from_pretrained", lambda *args, **kwargs: words)
        patch.setattr(package.MuQMuLan, "from_pretrained", lambda *args, **kwargs: package.MuQMuLan(config))
        ear = muq.load("random/muq-mulan", device="cpu")
        embedding.embed_text(ear, ["loads the tokenizer"])
        yield ear


def test_muq_puts_clips_and_texts_in_one_space(mulan: Any) -> None:
    heard = embedding.embed(mulan, music(12, 48_000), 48_000)
    told = embedding.embed_text(mulan, ["a piano song", "a fast track"])
    assert mulan.rate == 24_000
    assert heard.shape == told.shape == (2, 16)
    assert (told.norm(dim=1) - 1).abs().max() < 1e-5
    assert (heard[0] - heard[1]).norm() > 1e-4
    assert embedding.similarity(heard, told).abs().max() <= 1 + 1e-6


def test_muq_is_the_package_s_own_number_at_24_khz(mulan: Any) -> None:
    clips = music(12, 24_000)
    with torch.no_grad():
        own = mulan.model.calc_similarity(mulan.model(wavs=clips), mulan.model(texts=["a piano song"]))[:, 0]
    ours = embedding.similarity(embedding.embed(mulan, clips, 24_000), embedding.embed_text(mulan, ["a piano song"]))
    assert (own - ours).abs().max() < 1e-6


def test_muq_clips_are_independent_and_any_rate_does(mulan: Any) -> None:
    together, alone = (
        embedding.embed(mulan, music(5, 48_000, top=1e4), 48_000),
        embedding.embed(mulan, music(5, 48_000, top=1e4)[1:], 48_000),
    )
    assert (together[1:] - alone).abs().max() < 1e-5
    assert (embedding.embed(mulan, music(5, 44_100, top=1e4), 44_100) - together).norm(dim=1).max() < 0.01


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The predictor at its own size (there is no other), its weights random, from a file as it is published."""
    package = need("audiobox_aesthetics", "audiobox_aesthetics.model.aes")
    torch.manual_seed(0)
    ranges = {axis: {"mean": 5.0 + place, "std": 1.5} for place, axis in enumerate(aesthetics.AXES)}
    settings = {
        "proj_num_layer": 1, "proj_ln": False, "proj_act_fn": "gelu", "proj_dropout": 0.0, "nth_layer": 13,
        "use_weighted_layer_sum": True, "precision": "32", "normalize_embed": True, "output_dim": 1,
    }  # fmt: skip
    model = package.AesMultiOutput(**settings, target_transform=ranges)
    path = tmp_path_factory.mktemp("aesthetics") / "checkpoint.pt"
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    torch.save({"state_dict": state, "model_cfg": settings, "target_transform": ranges}, path)
    return aesthetics.load(path)


def test_aesthetics_rates_each_clip_by_itself(predictor: Any) -> None:
    clips = music(4, 16_000)
    table = aesthetics.score(predictor, clips, 16_000)
    assert list(table.columns) == list(aesthetics.AXES) and len(table) == 2
    assert (table["PQ"] - table["CE"] - 3).abs().max() < 3, "each axis has its own range"
    alone = aesthetics.score(predictor, clips[1:], 16_000)
    assert (table.iloc[1] - alone.iloc[0]).abs().max() < 1e-3
    assert (table.iloc[0] - table.iloc[1]).abs().max() > 0


def test_aesthetics_takes_any_rate_and_stereo(predictor: Any) -> None:
    mono = aesthetics.score(predictor, music(4, 16_000, 1), 16_000)
    tones = music(4, 48_000, 1)
    stereo = aesthetics.score(predictor, torch.stack([1.5 * tones, 0.5 * tones], 1), 48_000)
    assert ((mono - stereo).abs() / mono.abs()).max().max() < 0.01
