"""ACE-Step behind the protocol: what ERG changes, rows, routes, loading, and where the parts are."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

import tada
from tada import steering
from tada.errors import InputError
from tada.models.ace_step.adapter import AceStepSampling, weak_range
from tada.models.ace_step.files import PARTS, WEIGHTS

SECONDS = 0.5
PROMPTS = ["a happy song", "a slow, sad ballad with piano and strings", "techno"]
GUIDED = AceStepSampling(steps=4, guidance=7.0)
NO_ERG = {"erg_tag": False, "erg_lyric": False, "erg_diffusion": False}


def sampled(model, context, seeds=(1, 2, 3), settings=GUIDED, seconds=SECONDS):
    return model.sample(context, model.noise(seeds, seconds), settings).values


# ---- rows


@pytest.mark.parametrize("settings", [GUIDED, replace(GUIDED, omega=0.0), replace(GUIDED, **NO_ERG)])
def test_rows_are_independent_unless_upstreams_mean_mixes_them(ace, vocabulary, settings):
    """Prompts and lyrics of different lengths: a row alone is the row in a batch and in another order."""
    lyrics = ["", "la la la", None]
    context = ace.encode(PROMPTS, lyrics=lyrics)
    together = sampled(ace, context, settings=settings)
    backwards = sampled(ace, context[[2, 1, 0]], (3, 2, 1), settings)
    torch.testing.assert_close(backwards.flip(0), together, atol=1e-5, rtol=0)
    for row in range(3):
        alone = sampled(ace, ace.encode(PROMPTS[row], lyrics=lyrics[row]), (row + 1,), settings)
        torch.testing.assert_close(alone[0], together[row], atol=1e-5, rtol=0)
    mixed = sampled(ace, context, settings=replace(settings, batch_mean=True))
    assert settings.omega == 0 or (mixed[2] - together[2]).abs().max() > 1e-5


@pytest.mark.parametrize("method", ["apg", "cfg", "cfg_star"])
def test_one_call_for_both_passes_equals_two(ace, method, monkeypatch):
    settings = replace(GUIDED, method=method, **NO_ERG)
    context = ace.encode(PROMPTS)
    calls = []
    with ace.denoiser.register_forward_hook(lambda *_: calls.append(1)):
        batched = sampled(ace, context, settings=settings)
        assert len(calls) == 4
        monkeypatch.setattr("tada.models.ace_step.adapter.weak_range", lambda *_: range(0))
        apart = sampled(ace, context, settings=replace(settings, erg_diffusion=True))
    assert len(calls) == 4 + 8
    torch.testing.assert_close(batched, apart, atol=1e-5, rtol=0)


def test_guidance_runs_in_the_middle_steps_only(ace):
    context = ace.encode(PROMPTS)
    settings = AceStepSampling(steps=8, guidance=7.0, interval=0.5)
    with tada.record(ace, 0, reduce="mean", passes="uncond") as kept:
        sampled(ace, context, settings=settings)
    assert kept.steps == (2, 3, 4, 5)
    with pytest.raises(RuntimeError, match="never fired"), tada.record(ace, 0, passes="uncond"):
        sampled(ace, context, settings=replace(settings, guidance=1.0))


# ---- ERG and routes


def test_what_erg_changes(ace, vocabulary):
    """Each part of ERG changes the clip, but for the prompt's part without the lyrics' part."""
    context = ace.encode(PROMPTS, lyrics="la la")
    plain = replace(GUIDED, **NO_ERG)
    clips = {
        name: sampled(ace, context, settings=replace(plain, **{n: True for n in name.split("+") if n}))
        for name in ("", "erg_tag", "erg_lyric", "erg_tag+erg_lyric", "erg_diffusion")
    }
    assert torch.equal(clips["erg_tag"], clips[""])
    for one, other in (("", "erg_lyric"), ("erg_lyric", "erg_tag+erg_lyric"), ("", "erg_diffusion")):
        assert (clips[one] - clips[other]).abs().max() > 1e-4


def test_the_unconditional_pass_knows_the_prompt_only_under_erg(ace):
    both = ace.encode(["a happy song", "a gloomy one"])
    null = {
        erg: [ace.conditioning(c, SECONDS, settings).uncond["text"].states for c in (both[0], both[1])]
        for erg, settings in (("plain", replace(GUIDED, **NO_ERG)), ("erg", GUIDED))
    }
    assert torch.equal(*null["plain"])
    assert not torch.allclose(*null["erg"], atol=1e-4)


@pytest.mark.parametrize("passes", ["cond", "both"])
@pytest.mark.parametrize("erg", [True, False], ids=["erg", "plain"])
def test_routing_every_site_is_the_source(ace, erg, passes):
    """Over both passes always; over the conditional pass alone only where the unconditional one is prompt-free."""
    settings = GUIDED if erg else replace(GUIDED, **NO_ERG)
    base, source = ace.encode(["a happy song"] * 2), ace.encode(["a gloomy one"] * 2)
    wanted = sampled(ace, source, (1, 2), settings)
    with tada.route(ace, "all", source, passes=passes):
        routed = sampled(ace, base, (1, 2), settings)
    same = torch.allclose(routed, wanted, atol=1e-5)
    assert same == (passes == "both" or not erg)
    assert not torch.allclose(sampled(ace, base, (1, 2), settings), wanted, atol=1e-3)


def test_a_route_covers_mask_and_positions(ace, vocabulary):
    """A source of another length, with lyrics, is read with its own mask and positions."""
    both = ace.encode(PROMPTS[:2], lyrics=[None, "la la"])
    base, source = both[0], both[1]
    with tada.route(ace, "all", source):
        routed = sampled(ace, base, (1,))
    torch.testing.assert_close(routed, sampled(ace, ace.encode(PROMPTS[1], lyrics="la la"), (1,)), atol=1e-5, rtol=0)


def test_record_sees_what_the_block_adds(ace):
    """The residual stream after the site is the one before it plus what was recorded; the feed-forward is silenced."""
    seen, block = {}, ace.denoiser.transformer_blocks[3]
    with (
        block.cross_attn.register_forward_pre_hook(lambda _, args, __: seen.update(before=args[0]), with_kwargs=True),
        block.ff.register_forward_hook(lambda _, __, output: output * 0),
        block.register_forward_hook(lambda _, __, output: seen.update(after=output)),
        tada.edit(ace, {3: lambda hidden, when: hidden + 2}),
        tada.record(ace, 3) as kept,
    ):
        sampled(ace, ace.encode(PROMPTS), settings=AceStepSampling(steps=1, guidance=1.0))
    torch.testing.assert_close(seen["before"] + kept[ace.sites[3]][0], seen["after"])


# ---- settings


def test_presets_are_upstreams_and_the_papers(ace):
    default, localisation, steering = (ace.sampling(name) for name in ("default", "localisation", "steering"))
    assert (default.steps, default.guidance, default.interval, default.omega) == (60, 15.0, 0.5, 10.0)
    assert (localisation.steps, localisation.guidance, localisation.omega, localisation.pad_to) == (50, 7.0, 7.0, 128)
    assert (steering.steps, steering.guidance, steering.interval) == (60, 5.0, 1.0)
    assert ace.sampling(tada.Sampling(5, 3.0)) == AceStepSampling(steps=5, guidance=3.0)


@pytest.mark.parametrize(
    "wrong", [{"method": "apq"}, {"solver": "ddim"}, {"interval": 1.5}, {"pad_to": 0}, {"steps": 0}]
)
def test_wrong_settings_are_errors(wrong):
    with pytest.raises(ValueError, match=str(next(iter(wrong.values())))):
        AceStepSampling(**wrong)


def test_padding_to_a_length_moves_lyrics_but_not_a_prompt_alone(ace, vocabulary):
    to = replace(GUIDED, pad_to=40)
    silent, sung = ace.encode(PROMPTS[0]), ace.encode(PROMPTS[0], lyrics="la la la")
    assert ace.conditioning(sung, SECONDS, to).cond["text"].positions[0, -1] > 40
    torch.testing.assert_close(sampled(ace, silent, (1,), to), sampled(ace, silent, (1,)), atol=1e-5, rtol=0)
    assert (sampled(ace, sung, (1,), to) - sampled(ace, sung, (1,))).abs().max() > 1e-4
    assert ace.conditioning(silent, SECONDS, replace(GUIDED, pad_to=5)).cond["text"].tokens == 1 + 5 + 1


def test_a_prompt_longer_than_the_padding_is_cut_before_it_is_encoded(ace):
    """Its row is that of its first words, also beside a short prompt; what was cut off leaves no trace."""
    to = replace(GUIDED, pad_to=8)
    long, other = "abc def ghijkl", "abc def xyzxyzxyz"  # seven letters and pieces, then the end token
    both = ace.conditioning(ace.encode([long, "a"]), SECONDS, to).cond["text"]
    alone = ace.conditioning(ace.encode(long), SECONDS, to).cond["text"]
    assert alone.tokens == 1 + 8 + 1
    assert torch.equal(alone.states, ace.conditioning(ace.encode(other), SECONDS, to).cond["text"].states)
    torch.testing.assert_close(both.states[:1], alone.states, atol=1e-6, rtol=0)


def test_altered_embeddings_are_not_lost_where_prompts_are_cut(ace):
    poles = steering.Poles(*(ace.encode(["abc def ghijkl", "abc xyz", "abc uvw"])[[row]] for row in range(3)))
    to = replace(GUIDED, pad_to=8)
    with steering.shift_text(ace, 0.0, poles):
        sampled(ace, poles.neutral, (1,), to)
    altered = steering.shift_text(ace, 1.0, poles)
    with pytest.raises(InputError, match="shorten these prompts, or sample with pad_to=None"), altered:
        sampled(ace, poles.neutral, (1,), to)
    with steering.shift_text(ace, 1.0, poles):
        sampled(ace, poles.neutral, (1,), replace(to, pad_to=40))


def test_erg_layers_of_other_depths():
    assert [weak_range(*given) for given in ((24, 15, 20, 24), (12, 8, 10, 12), (6, 4, 6, 6))] == [
        range(15, 20),
        range(8, 10),
        range(4, 6),
    ]
    for depth in range(1, 30):
        layers = weak_range(depth, 15, 20, 24)
        assert len(layers) >= 1 and layers.stop <= depth


# ---- loading and bad input


def test_bad_input_is_an_error(ace):
    with pytest.raises(ValueError, match="no negative prompt"):
        ace.encode("a", negative="noise")
    for seconds in (0.01, 241):
        with pytest.raises(ValueError, match=f"seconds={seconds}"):
            ace.noise(1, seconds)


@pytest.fixture
def broken(tiny_folder, tmp_path):
    """A copy of the tiny checkpoint whose transformer file can be changed."""
    folder = tmp_path / "broken"
    shutil.copytree(tiny_folder("ace-step"), folder)

    def change(edit):
        path = folder / PARTS[0] / WEIGHTS
        weights = load_file(path)
        edit(weights)
        save_file(weights, path)
        return folder

    return change


def test_the_public_files_unused_parameters_are_dropped(broken, ace):
    def add(weights):
        weights["projectors.0.0.weight"] = torch.zeros(3, 2)
        for name in ("add_q_proj.weight", "add_k_proj.bias", "add_v_proj.weight", "to_add_out.bias"):
            weights[f"transformer_blocks.0.cross_attn.{name}"] = torch.zeros(4)

    model = tada.load("ace-step", broken(add), device="cpu")
    kept = model.denoiser.state_dict()
    assert kept.keys() == ace.denoiser.state_dict().keys()
    assert all(torch.equal(value, kept[name]) for name, value in ace.denoiser.state_dict().items())


def test_files_that_do_not_fit_name_the_parameters(broken):
    def spoil(weights):
        weights["extra.weight"] = torch.zeros(1)
        weights["lyric_proj.bias"] = torch.zeros(3)
        del weights["proj_in.early_conv_layers.0.bias"]

    with pytest.raises(OSError, match=r"Missing.*proj_in.*Unexpected.*extra.*size mismatch for lyric_proj.bias"):
        tada.load("ace-step", broken(spoil), device="cpu")


def test_an_unknown_setting_in_a_config_is_an_error(broken):
    folder = broken(lambda weights: None)
    path = folder / PARTS[2] / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"kernels": 3}))
    with pytest.raises(OSError, match="kernels"):
        tada.load("ace-step", folder, device="cpu")


def test_the_public_checkpoint_is_pinned_and_knows_its_layers(tiny_folder, monkeypatch):
    asked = []

    def folder(checkpoint, fetch, index, revision=None):
        asked.append((checkpoint, index, revision))
        return tiny_folder("ace-step")

    monkeypatch.setattr("tada.models.hub.folder", folder)
    assert tada.load("ace-step", device="cpu").resolve("functional") == tuple(
        f"transformer_blocks.{i}.cross_attn" for i in (6, 7)
    )
    tada.load("ace-step", "someone/else", device="cpu")
    assert asked == [
        ("ACE-Step/ACE-Step-v1-3.5B", "ace_step_transformer/config.json", "82cd0d7b6322bd28cd4e830fe675ddb6180ce36c"),
        ("someone/else", "ace_step_transformer/config.json", None),
    ]


def test_the_public_config_file_is_understood(tmp_path):
    """Its keys, those that nothing here computes with among them, give the default sizes."""
    from parity import meta
    from tada.models.ace_step.files import read_config
    from tada.models.ace_step.transformer import TransformerConfig
    from tada.models.ace_step.vocoder import VocoderConfig

    for file, kind in (("transformer_state_dict", TransformerConfig), ("vocoder_state_dict", VocoderConfig)):
        config = {"_class_name": "x", "_diffusers_version": "0.32.2", **meta(file)["config"]}
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert read_config(tmp_path, kind) == kind()


def test_loading_in_another_dtype(tiny_folder):
    model = tada.load("ace-step", tiny_folder("ace-step"), device="cpu", dtype=torch.bfloat16)
    assert {p.dtype for p in model.denoiser.parameters()} == {torch.bfloat16}
    clips = model.generate("a", 1, SECONDS, AceStepSampling(steps=2, guidance=5.0))
    assert clips[0].samples.dtype == torch.float32 and len(clips[0].samples) == 2


def test_offload_keeps_one_part_on_the_device(ace, monkeypatch):
    """Seen from the device: the text encoder, then the denoiser, then the codec, and no other beside it."""
    parts = {"text": ace.parts.text_encoder, "denoiser": ace.denoiser, "codec": ace.codec}
    here: dict[str, str] = {}
    order: list[str] = []

    def move(name, device):
        here[name] = str(device)
        if device == ace.device:
            assert [n for n, d in here.items() if d == str(ace.device)] == [name]
            order.append(name)

    for name, part in parts.items():
        monkeypatch.setattr(part, "to", lambda device, name=name: move(name, device))
    monkeypatch.setattr(ace, "device", torch.device("meta"))
    ace._use(ace.codec)
    assert not here, "nothing moves where there is room for all"
    monkeypatch.setattr(ace, "offload", True)
    for part in parts.values():
        ace._use(part)
    assert order == ["text", "denoiser", "codec"]
