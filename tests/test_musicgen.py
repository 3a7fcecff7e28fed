"""MusicGen: the library's generation to the token, the cache, noise that strengths share, the residual stream."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
import torch
from transformers import MusicgenConfig, MusicgenForConditionalGeneration

import tada
from checks import SECONDS
from tada import patching, steering
from tada.errors import CheckpointError
from tada.io import write_json
from tada.models import hub
from tada.models.musicgen import MusicGen, Parts, choose
from tada.steering.prompted import Poles

PROMPTS = ["a happy song", "a slow, sad ballad with piano and strings"]


@pytest.fixture
def musicgen(tiny_model):
    return tiny_model("musicgen")


def sample(model, context, seeds=(1, 2), **changes):
    return model.sample(context, model.noise(seeds, SECONDS), model.sampling(**changes)).values


def generated(model, guidance, use_cache=True):
    """The codes that the library's greedy generation decodes."""
    read, kept = model.tokenizer(PROMPTS, padding=True, return_tensors="pt"), []
    codec, steps = model.network.audio_encoder, model.settled(model.sampling(), SECONDS).steps
    decode, codec.decode = codec.decode, lambda codes, **how: kept.append(codes[0]) or decode(codes, **how)
    try:
        how = {"do_sample": False, "guidance_scale": guidance, "max_new_tokens": steps, "use_cache": use_cache}
        model.network.generate(**read, **how)
    finally:
        del codec.decode
    return kept[0].float()


def shift(hidden, when=None):
    return hidden + torch.linspace(-8, 8, hidden.shape[-1])


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_greedy_codes_are_those_of_the_library(musicgen, guidance, use_cache):
    ours = sample(musicgen, musicgen.encode(PROMPTS), top_k=1, guidance=guidance)
    assert torch.equal(ours, generated(musicgen, guidance, use_cache)) and len(ours.unique()) > 4


def test_a_stereo_checkpoint_sounds_as_by_the_library(musicgen, tiny_folder):
    """Its codebooks are those of left and right in turn, and lag in pairs."""
    config = MusicgenConfig.from_pretrained(tiny_folder("musicgen"))
    config.decoder.num_codebooks, config.decoder.audio_channels, config.decoder.num_hidden_layers = 8, 2, 2
    network = MusicgenForConditionalGeneration(config)
    for layer in network.audio_encoder.quantizer.layers:
        layer.codebook.embed.normal_(std=8)
    model = MusicGen(Parts(network, musicgen.tokenizer), musicgen.device, hub.About("stereo"))
    how, steps = {"decoder_start_token_id": 64, "pad_token_id": 64}, model.settled(model.sampling(), SECONDS).steps
    read = model.tokenizer(PROMPTS, padding=True, return_tensors="pt")
    theirs = network.generate(**read, **how, do_sample=False, guidance_scale=3.0, max_new_tokens=steps)
    ours = model.generate(PROMPTS, [1, 2], SECONDS, model.sampling(top_k=1)).audio
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    assert ours.shape[1] == 2 and (ours[:, 0] - ours[:, 1]).abs().max() > 0.01
    assert model.to_latents(ours[:, :1]).shape == model.noise([1, 2], SECONDS).values.shape


@pytest.mark.parametrize("part", ["encoder_attn", ""])
def test_an_edit_of_every_frame_is_that_of_whole_sequences_without_cache(musicgen, part):
    """The naive way: the library generates without cache, a hook shifts the output at all frames and both passes."""
    site = f"layers.3.{part}".rstrip(".")
    module = musicgen.denoiser.get_submodule(site)
    with module.register_forward_hook(lambda _, args, output: (shift(output[0]), *output[1:])):
        naive = generated(musicgen, 3.0, use_cache=False)
    context = musicgen.encode(PROMPTS)
    with tada.edit(musicgen, {site: shift}, passes="both"):
        edited = sample(musicgen, context, top_k=1)
    assert torch.equal(edited, naive) and not torch.equal(edited, sample(musicgen, context, top_k=1))


def test_recorded_frames_are_those_of_one_pass_over_the_finished_clip(musicgen):
    context, sites = musicgen.encode(PROMPTS), [musicgen.sites[5], musicgen.residuals[5]]
    with tada.record(musicgen, sites) as kept:
        codes = sample(musicgen, context, guidance=1.0).long()
    tokens = torch.full((2, 4, kept.steps[-1] + 1), musicgen.config.pad_token_id)
    for book in range(4):
        tokens[:, book, 1 + book : 1 + book + codes.shape[-1]] = codes[:, book, : tokens.shape[-1] - 1 - book]
    text, whole = context.cond["text"], []
    read = {"encoder_hidden_states": text.states, "encoder_attention_mask": text.mask}
    site, layer = (musicgen.denoiser.get_submodule(name) for name in sites)

    def keep(module, args, output):
        whole.append(output[0])

    with site.register_forward_hook(keep), layer.register_forward_hook(keep):
        musicgen.network.decoder(tokens.flatten(0, 1), **read, use_cache=False)
    for name, wanted in zip(sites, whole, strict=True):
        torch.testing.assert_close(kept[name][:, :, 0].transpose(0, 1), wanted, atol=1e-5, rtol=1e-4)


def test_choices_have_the_probabilities_of_their_logits():
    logits = torch.tensor([[[0.5, 0.2, 0.2, 0.1]]]).log()
    draws = [torch.Generator().manual_seed(0)]
    drawn = torch.stack([choose(logits, draws, 4)[0, 0] for _ in range(4000)])
    assert (drawn.bincount(minlength=4) / 4000 - logits.exp().flatten()).abs().max() < 0.03
    assert {int(choose(logits, draws, 3)) for _ in range(200)} == {0, 1, 2}
    assert {int(choose(logits, draws, 1)) for _ in range(20)} == {0}


def test_strengths_share_their_noise(musicgen):
    """The weaker a push, the more codes are those of the clip itself."""
    torch.manual_seed(0)
    vector = steering.Vector({site: torch.randn(1, 16) for site in musicgen.residuals}).unit()
    strengths = [0.0, 0.1, 0.7, 5.0]
    context = musicgen.encode(PROMPTS[0])[[0] * 4]
    plain = sample(musicgen, context, (1,) * 4)
    with vector.apply(musicgen, strengths, None, renorm=False):
        steered = sample(musicgen, context, (1,) * 4)
    kept = (steered == plain).flatten(1).float().mean(1)
    assert torch.equal(steered[0], plain[0]) and (kept[:-1] > kept[1:]).all()


def test_contrast_in_the_residual_stream(musicgen):
    setting = tada.Setting(SECONDS, musicgen.sampling(guidance=3.0))
    vector = steering.contrast(musicgen, PROMPTS[:1], PROMPTS[1:], 0, setting, musicgen.residuals)
    assert vector.sites == musicgen.residuals and vector.steps == vector.info["sampling"]["steps"] == 19
    with vector.apply(musicgen, 30.0, musicgen.residuals[2], renorm=False):
        steered = sample(musicgen, musicgen.encode(PROMPTS[0]), (1,))
    assert not torch.equal(steered, sample(musicgen, musicgen.encode(PROMPTS[0]), (1,)))
    assert musicgen.label([0, musicgen.residuals[2]]) == "0+layers.2"
    assert steering.Arm("CAA", vector, ["layers.3", 1]).name(musicgen) == "1+layers.3"


def test_guiding_away_from_no_prompt_is_the_usual_guidance(musicgen):
    """``uncond + g (cond - uncond)`` is ``cond + (g - 1) (cond - uncond)``; so it is from the middle of a clip on."""
    neutral = musicgen.encode(PROMPTS)
    poles = Poles(neutral, neutral, replace(neutral, cond=neutral.uncond))
    guided = sample(musicgen, neutral, guidance=3.0)
    with steering.guide_apart(musicgen, 2.0, poles):
        assert torch.equal(sample(musicgen, neutral, guidance=1.0), guided)
    with steering.guide_apart(musicgen, 2.0, poles, steps=range(9, 19)):
        late = sample(musicgen, neutral, guidance=1.0)
    plain = sample(musicgen, neutral, guidance=1.0)
    assert torch.equal(late[:, 0, :9], plain[:, 0, :9]) and not torch.equal(late, plain)


def test_what_a_language_model_cannot_do_is_refused(musicgen):
    with pytest.raises(ValueError, match="cross-attention sites"):
        musicgen.with_functional(["layers.3"])
    with pytest.raises(ValueError, match=r"layers\.2"), tada.route(musicgen, "layers.2", musicgen.encode("a")):
        pass
    pairs = pd.DataFrame({"concept": ["mood"], "target": PROMPTS[:1], "source": PROMPTS[1:]})
    with pytest.raises(ValueError, match="use sweep"):
        patching.screen(musicgen, pairs, 1, [0], tada.Setting(SECONDS))


def test_another_network_is_refused(tmp_path):
    write_json(tmp_path / "config.json", {"model_type": "musicgen_melody"})
    with pytest.raises(CheckpointError, match="musicgen_melody"):
        tada.load("musicgen", tmp_path)
