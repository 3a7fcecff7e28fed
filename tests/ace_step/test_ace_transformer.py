"""ACE-Step's transformer: parity with the public sources, and what must hold at every size and length."""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack

import pytest
import torch

from parity import assert_parity, assert_same_shapes, given, meta, padded, transformer
from tada.models.ace_step.transformer import AceStepTransformer, TransformerConfig
from tada.models.context import Stream

SMALL = TransformerConfig(
    num_layers=3,
    inner_dim=48,
    num_attention_heads=3,
    attention_head_dim=16,
    mlp_ratio=1.5,
    text_embedding_dim=20,
    speaker_embedding_dim=12,
    lyric_encoder_vocab_size=31,
    lyric_hidden_size=40,
    lyric_layers=2,
    lyric_heads=4,
    lyric_ff_size=24,
    patch_hidden_size=36,
    patch_norm_groups=6,
    in_channels=5,
    out_channels=5,
    patch_size=(12, 1),
)


def streams(kind="lyric"):
    text = padded(given("parity_a", "text_states"), given("parity_a", "text_mask"))
    return text, Stream(given("parity_a", f"{kind}_ids"), given("parity_a", f"{kind}_mask").bool())


def blank(stream):
    return Stream(torch.zeros_like(stream.states), stream.mask, stream.positions)


def encoded(kind="lyric"):
    return transformer("parity_a").encode(*streams(kind), given("parity_a", "speaker"))


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(3)
    return AceStepTransformer(SMALL).eval().requires_grad_(False)


def random_inputs(rows=3, frames=11, tokens=6, sung=4):
    draw = torch.Generator().manual_seed(1)
    text = Stream(torch.randn(rows, tokens, 20, generator=draw), torch.ones(rows, tokens, dtype=torch.bool))
    lyrics = Stream(torch.randint(31, (rows, sung), generator=draw), torch.ones(rows, sung, dtype=torch.bool))
    return text, lyrics, torch.randn(rows, 5, 12, frames, generator=draw), torch.tensor([900.0, 500.0, 20.0])[:rows]


# ---- parity


def test_encode_parity():
    model, (text, lyrics) = transformer("parity_a"), streams()
    encoder = encoded()
    assert_parity(encoder.states, "parity_a", "encode.states", 1e-5)
    assert_parity(encoder.mask.float(), "parity_a", "encode.mask", 0)
    assert_parity(model.encode(blank(text), blank(lyrics)).states, "parity_a", "encode_null.states", 1e-5)
    assert_parity(encoded("nolyric").states, "parity_a", "encode_nolyric.states", 1e-5)
    assert_parity(encoded("nolyric").mask.float(), "parity_a", "encode_nolyric.mask", 0)
    weak = range(*meta("parity_a")["erg_lyric"]["layers"])
    assert_parity(model.encode(text, lyrics, weak_lyrics=weak).states, "parity_a", "encode_erg.states", 1e-5)
    raw = model.lyric_encoder(model.lyric_embs(lyrics.states), lyrics.mask)
    assert_parity(raw, "parity_a", "lyric_encoder", 1e-4)


def test_decode_parity():
    model, latents = transformer("parity_a"), given("parity_a", "latents")
    weak = range(*meta("parity_a")["erg_diffusion"]["layers"])
    for case, kind, time, blocks in (
        ("decode_1", "lyric", 1, ()),
        ("decode_2", "lyric", 2, ()),
        ("decode_1_nolyric", "nolyric", 1, ()),
        ("decode_2_erg", "lyric", 2, weak),
    ):
        sample = model(latents, given("parity_a", f"timestep_{time}"), encoded(kind), weak_blocks=blocks)
        assert_parity(sample, "parity_a", f"{case}.sample", 1e-4)


def test_parity_inside_every_block():
    model, seen = transformer("parity_a"), {}
    modules = {name: model.get_submodule(name) for name in ("timestep_embedder", "t_block", "proj_in")}
    for i, block in enumerate(model.transformer_blocks):
        parts = {"attn": block.attn, "cross_attn": block.cross_attn, "ff": block.ff, "block": block}
        modules |= {f"{name}.{i}": module for name, module in parts.items()}
    with ExitStack() as stack:
        for key, module in modules.items():
            hook = module.register_forward_hook(lambda _, __, out, key=key: seen.update({key: out}))
            stack.enter_context(hook)
        model(given("parity_a", "latents"), given("parity_a", "timestep_1"), encoded())
    seen["proj_in"] = seen["proj_in"].flatten(2).transpose(1, 2)
    for key, value in seen.items():
        assert_parity(value, "parity_a", f"decode_1.{key}", 1e-4)
    assert len(seen) == 19


def test_names_and_shapes_are_the_public_ones():
    with torch.device("meta"):
        model = AceStepTransformer()
    names = meta("transformer_state_dict")["tensors"]
    unused = [n for n in names if ".add_" in n or ".to_add_out." in n or n.startswith("projectors.")]
    assert_same_shapes(model, "transformer_state_dict", unused)
    assert sum(p.numel() for p in model.parameters()) == 2_588_427_392


# ---- other sizes and lengths


def test_a_config_that_does_not_fit_is_an_error():
    with pytest.raises(ValueError, match="inner_dim"):
        dataclasses.replace(SMALL, inner_dim=47)


@pytest.mark.parametrize("positions", ["counted", "given"])
def test_padding_of_text_and_lyrics_changes_nothing(small, positions):
    """Positions count valid tokens, so that lyrics follow the prompt wherever they lie in the padded sequence."""
    text, lyrics, latents, time = random_inputs()
    if positions == "given":
        text, lyrics = (padded(s.states, s.mask) for s in (text, lyrics))
    plain = small(latents, time, small.encode(text, lyrics))
    more = small(latents, time, small.encode(text.pad(13), lyrics.pad(9)))
    torch.testing.assert_close(more, plain, atol=1e-5, rtol=0)


def test_padding_that_is_counted_moves_the_lyrics(small):
    text, lyrics, latents, time = random_inputs()
    longer = text.pad(13)
    counted = small.encode(padded(longer.states, longer.mask), lyrics)
    assert counted.positions[0].tolist() == list(range(1 + 13 + 4))
    difference = small(latents, time, counted) - small(latents, time, small.encode(text, lyrics))
    assert difference.abs().max() > 1e-3


def test_a_row_without_lyrics_beside_one_with(small):
    text, lyrics, latents, time = random_inputs()
    mask = lyrics.mask.clone()
    mask[1] = False
    mixed = small.encode(text, Stream(lyrics.states, mask))
    assert mixed.states.isfinite().all()
    none = Stream(lyrics.states[1:2, :1] * 0, mask[1:2, :1])
    alone = small(latents[1:2], time[1:2], small.encode(text.rows(torch.tensor([1])), none))
    torch.testing.assert_close(alone[0], small(latents, time, mixed)[1], atol=1e-5, rtol=0)


def test_keys_and_values_are_computed_once_per_stream(small):
    text, lyrics, latents, time = random_inputs()
    encoder, calls = small.encode(text, lyrics), []
    site = small.get_submodule(small.sites[1])
    other = encoder.where(torch.tensor([True, False, False]), small.encode(blank(text), blank(lyrics)))
    with site.to_k.register_forward_hook(lambda *_: calls.append(1)):
        first = small(latents, time, encoder)
        assert torch.equal(small(latents, time, encoder), first)
        assert len(calls) == 1
        changed = small(latents, time, other)
    assert len(calls) == 2
    assert not torch.allclose(changed[0], first[0], atol=1e-4)
    torch.testing.assert_close(changed[1:], first[1:], atol=1e-6, rtol=0)


def test_gradients_reach_every_parameter():
    torch.manual_seed(0)
    model = AceStepTransformer(SMALL)
    text, lyrics, latents, time = random_inputs()
    for _ in range(2):
        encoder = model.encode(text, lyrics, speaker=torch.ones(3, 12))
        model(latents, time, encoder).square().mean().backward()
        assert not encoder.memo, "keys and values with gradients must not be kept"
    missing = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not missing


def test_bfloat16_stays_near_float32(small):
    text, lyrics, latents, time = random_inputs()
    exact = small(latents, time, small.encode(text, lyrics))
    half = AceStepTransformer(SMALL).bfloat16()
    half.load_state_dict(small.state_dict())
    text = Stream(text.states.bfloat16(), text.mask)
    rough = half(latents.bfloat16(), time, half.encode(text, lyrics)).float()
    assert (rough - exact).norm() / exact.norm() < 0.03
