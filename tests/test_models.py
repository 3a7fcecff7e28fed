"""The protocol: sites, pipeline parity, independence of rows, and what bad input gets."""

from __future__ import annotations

import dataclasses
import math
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import tada
from checks import SECONDS, assert_same, steps_of
from tada.errors import InputError
from tada.metrics import clap, judges
from tada.models.ace_step.adapter import METHODS
from tada.models.context import Stream, join
from tada.models.fingerprint import fingerprint

PROMPTS = ["a happy song", "a slow, sad ballad with piano and strings", "fast techno"]
QUICK = tada.Sampling(steps=3, guidance=3.0)


def sampled(model, prompts, seeds, sampling=QUICK, negative=None):
    context = model.encode(prompts, negative)
    return model.sample(context, model.noise(seeds, SECONDS), sampling)


# ---- sites


def test_audioldm2_sites_are_in_the_papers_order_and_streams_alternate_by_attention(tiny_model):
    model = tiny_model("audioldm2")
    blocks = [(f"down_blocks.{i}", (1, 2, 5, 6)) for i in (1, 2, 3)] + [("mid_block", (1, 2))]
    blocks += [(f"up_blocks.{i}", (1, 2, 5, 6, 9, 10)) for i in range(3)]
    places = [(block, a, t) for block, ids in blocks for a in ids for t in (0, 1)]
    assert list(model.sites) == [f"{block}.attentions.{a}.transformer_blocks.{t}.attn2" for block, a, t in places]
    assert model.sites[44] == "up_blocks.1.attentions.5.transformer_blocks.0.attn2"
    assert list(model.streams.values()) == ["gpt2" if a in (1, 5, 9) else "t5" for _, a, _ in places]


def test_sites_of_other_checkpoints(tiny_model, tmp_path):
    base = tada.load("audioldm2", tada.tiny.build("audioldm2", tmp_path, topology="base"), device="cpu")
    assert len(base.sites) == 32
    assert tiny_model("stable-audio").sites == tuple(f"transformer_blocks.{i}.attn2" for i in range(24))


@pytest.mark.parametrize(
    ("name", "keyword", "sites"),
    [
        ("ace-step", "encoder", "transformer_blocks.{}.cross_attn"),
        ("musicgen", "key_value_states", "layers.{}.encoder_attn"),
    ],
)
def test_sites_are_the_modules_that_are_handed_text(tiny_model, name, keyword, sites):
    model, handed = tiny_model(name), []
    with ExitStack() as stack:
        for place, module in model.denoiser.named_modules():
            note = partial(lambda place, _, __, given: handed.append(place) if keyword in given else None, place)
            stack.enter_context(module.register_forward_pre_hook(note, with_kwargs=True))
        sampled(model, PROMPTS[0], 1, tada.Sampling(1, 1.0))
    assert tuple(dict.fromkeys(filter(None, handed))) == model.sites == tuple(sites.format(i) for i in range(24))


def test_site_count_is_the_architectures(model):
    assert len(model.sites) == tada.ARCHITECTURES[model.name].site_count
    assert set(model.streams.values()) == set(model.conditioning(model.encode("a"), SECONDS, model.sampling()).cond)


def test_layers_by_index_name_and_set(model):
    first, last = model.sites[0], model.sites[-1]
    assert model.resolve(0) == model.resolve(first) == (first,)
    assert model.resolve([0, last, -1]) == (first, last)
    assert model.resolve("all") == model.resolve(None) == model.sites
    for wrong, error in (
        (len(model.sites), IndexError),
        ("transformer_blocks.0.attn3", KeyError),
        ("functional", ValueError),
        ([], ValueError),
    ):
        with pytest.raises(error):
            model.resolve(wrong)
    with pytest.raises(KeyError, match="did you mean"):
        model.resolve(model.sites[3][:-1])


def test_functional_layers_and_their_complement(model):
    model = model.with_functional([1, 2])
    assert model.functional == (1, 2) and model.resolve("functional") == model.sites[1:3]
    assert set(model.resolve("all-but-functional")) == set(model.sites) - set(model.sites[1:3])


# ---- parity with the pipelines' own call


@pytest.mark.parametrize("negative", [None, "low quality"])
@pytest.mark.parametrize("guidance", [1.0, 3.5])
@pytest.mark.parametrize(
    ("name", "length", "rows"), [("audioldm2", "audio_length_in_s", 1), ("stable-audio", "audio_end_in_s", 2)]
)
@pytest.mark.filterwarnings("ignore:Should have:UserWarning")
def test_clips_are_those_of_the_librarys_own_pipeline(tiny_model, negative, guidance, name, length, rows):
    model, prompts = tiny_model(name), PROMPTS[:rows]
    noise = model.noise(range(7, 7 + rows), SECONDS)
    ours = model.decode(model.sample(model.encode(prompts, negative), noise, tada.Sampling(4, guidance))).audio
    theirs = model.pipeline(
        prompts,
        **{length: SECONDS},
        num_inference_steps=4,
        guidance_scale=guidance,
        negative_prompt=[negative] * rows if negative else None,
        latents=noise.values.clone(),
        generator=[torch.Generator().manual_seed(seed) for seed in noise.seeds],
        output_type="pt",
    ).audios
    assert theirs.abs().max() > 0.01, "too quiet to tell"
    torch.testing.assert_close(ours.view(theirs.shape), theirs, atol=1e-5, rtol=0)


# ---- rows


def test_a_row_is_the_same_alone_in_a_batch_and_in_another_order(model):
    """Its latents and its sound, also where two rows share a seed."""
    seeds, order = [2, 1, 2], [2, 0, 1]
    batch = sampled(model, PROMPTS, seeds)
    audio = model.decode(batch).audio
    assert (audio[0] - audio[1]).abs().max() > 0.01, "too quiet to tell"
    for row, prompt in enumerate(PROMPTS):
        alone = sampled(model, prompt, seeds[row])
        assert_same(alone.values[0], batch.values[row])
        torch.testing.assert_close(model.decode(alone).audio[0], audio[row], atol=1e-5, rtol=0)
    again = sampled(model, [PROMPTS[i] for i in order], [seeds[i] for i in order])
    assert_same(again.values, batch.values[order])


def test_rows_differ_by_seed_and_by_prompt(model):
    a, b, c = sampled(model, [PROMPTS[0], PROMPTS[0], PROMPTS[1]], [1, 2, 1]).values
    assert (a - b).abs().max() > 1e-3
    assert (a - c).abs().max() > 1e-4


@pytest.mark.parametrize("name", ["audioldm2", "stable-audio", "musicgen"])
def test_negative_prompts_are_per_row(tiny_model, name):
    model = tiny_model(name)
    mixed = sampled(model, PROMPTS[:2], [1, 2], negative=["noise", None]).values
    assert_same(mixed[:1], sampled(model, PROMPTS[0], 1, negative="noise").values)
    assert_same(mixed[1:], sampled(model, PROMPTS[1], 2).values)
    assert (mixed[:1] - sampled(model, PROMPTS[0], 1).values).abs().max() > 1e-5


# ---- generate, clips, records


def test_generate_is_the_composition(model):
    clips = model.generate(PROMPTS[:2], [3, 4], SECONDS, QUICK)
    latents = model.sample(model.encode(PROMPTS[:2]), model.noise([3, 4], SECONDS), QUICK)
    assert torch.equal(clips.audio, model.decode(latents).audio)
    assert clips.sample_rate == tada.ARCHITECTURES[model.name].sample_rate
    assert len(model.generate("a", [1, 2], SECONDS, QUICK)) == len(model.generate(["a", "b"], 1, SECONDS, QUICK)) == 2
    with pytest.raises(ValueError, match="3 prompts and 2 seeds"):
        model.generate(PROMPTS, [1, 2], SECONDS, QUICK)


def test_a_clip_knows_how_it_was_made(model, tmp_path):
    with tada.edit(model, {0: lambda hidden, when: hidden}):
        clip = model.generate("a happy song", 3, SECONDS, QUICK)[0]
    record = clip.record
    assert (record["model"], record["prompt"], record["seed"]) == (model.name, "a happy song", 3)
    assert record["sampling"]["steps"] == steps_of(model, 3) and "tiny random" in record["checkpoint"]
    assert record["interventions"] == ["edit of 1 sites, cond"] and "torch" in record["versions"]
    saved = clip.save(tmp_path / "x.wav")
    assert saved.exists() and list(tmp_path.iterdir()) == [saved]


def test_presets_and_settings(model):
    assert model.sampling().steps == model.presets["default"].steps
    changed = model.sampling("localisation", steps=2)
    assert changed.steps == 2 and changed.guidance == model.presets["localisation"].guidance
    assert dataclasses.asdict(model.sampling(tada.Sampling(5, 2.0)))["steps"] == 5
    with pytest.raises(KeyError, match="preset"):
        model.sampling("localization")
    with pytest.raises(ValueError, match="steps=0"):
        tada.Sampling(steps=0)


# ---- contexts


def test_contexts_are_padded_without_changing_the_clip(model):
    short, both = model.encode(PROMPTS[0]), model.encode(PROMPTS[:2])
    padded = both[0]
    assert all(padded.cond[name].tokens == both[1].cond[name].tokens for name in both.cond)
    noise = model.noise(1, SECONDS)
    assert_same(model.sample(padded, noise, QUICK).values, model.sample(short, noise, QUICK).values)


def test_context_rows_and_join(model):
    context = model.encode(PROMPTS)
    again = join([context[2], context[0]])
    assert again.prompts == (PROMPTS[2], PROMPTS[0]) == context[[2, 0]].prompts
    assert context[torch.tensor([True, False, True])].prompts == (PROMPTS[0], PROMPTS[2])
    with pytest.raises(IndexError, match="0 to 2"):
        context[3]


def test_a_stream_without_mask_cannot_be_padded():
    with pytest.raises(ValueError, match="fixed length"):
        Stream(torch.zeros(1, 2, 3)).pad(4)
    with pytest.raises(ValueError, match="cut text"):
        Stream(torch.zeros(1, 2, 3), torch.ones(1, 2, dtype=torch.bool)).pad(1)


# ---- bad input


def test_empty_input_and_numbers_that_do_not_match(model):
    for words, wrong in (
        ("no prompts", lambda: model.encode([])),
        (r"seeds=\[\]", lambda: model.noise([], SECONDS)),
        ("2 of negative", lambda: model.encode(PROMPTS, ["a", "b"])),
        ("2 rows of context and 3 of noise", lambda: model.sample(model.encode(["a", "b"]), model.noise([1, 2, 3], 1))),
    ):
        with pytest.raises(ValueError, match=words):
            wrong()


@pytest.mark.parametrize("seconds", [0.37, 1, 1.2345678, np.float32(0.75), torch.tensor(0.5)])
def test_a_clip_is_as_long_as_asked(model, seconds):
    noise = model.noise(1, seconds)
    assert model.decode(noise).audio.shape[-1] == round(float(seconds) * model.sample_rate)


@pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf, 1e12, "4", None])
def test_lengths_that_no_model_makes(model, seconds):
    with pytest.raises(InputError, match="got seconds="):
        model.generate("a", 1, seconds)


def test_every_integer_is_a_seed_or_a_layer(model):
    three, several = model.noise(3, SECONDS).values, model.noise([2, 3, 4], SECONDS)
    assert torch.equal(three[0], several.values[1]) and torch.equal(several[1].values, three)
    assert torch.equal(model.noise(np.int64(3), SECONDS).values, three)
    assert torch.equal(model.noise(torch.tensor([3]), SECONDS).values, three)
    assert model.resolve(np.int64(1)) == model.resolve(torch.tensor(1)) == model.resolve(1)
    assert model.resolve(np.array([2, 1])) == model.resolve([2, 1])
    for other in (1.0, True, [None], object()):
        with pytest.raises(InputError, match="layers"):
            model.resolve(other)
    with tada.record(model, np.int64(1), steps=np.array([0])) as kept:
        sampled(model, PROMPTS[0], np.int64(1))
    assert torch.equal(kept[np.int64(1)], kept[1]) and kept.steps == (0,)
    assert several[np.int64(1)].seeds == several[1].seeds == (3,)


@pytest.mark.parametrize("prompt", [None, math.nan, 3, b"a", ["a", None], "\ud800"])
def test_prompts_are_texts(model, prompt):
    with pytest.raises(InputError, match="got prompts="):
        model.encode(prompt)


@pytest.mark.parametrize("name", ["audioldm2", "stable-audio", "musicgen"])
def test_texts_without_effect_are_told(tiny_model, name):
    model, off = tiny_model(name), replace(QUICK, guidance=1.0)
    with pytest.raises(ValueError, match="lyrics"):
        model.encode("a", lyrics="la la")
    with pytest.warns(UserWarning, match="guidance=1.0.*has no effect"):
        clips = model.generate("a", 1, SECONDS, off, negative="drums")
    assert clips[0].record["negative"] is None


def test_nothing_of_float64_is_made_while_sampling(model):
    """Not every device has it."""
    context, noise, found = model.encode("a"), model.noise(1, SECONDS), []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            made = func(*args, **(kwargs or {}))
            if isinstance(made, torch.Tensor) and made.dtype == torch.float64 and made.numel() > 64:
                found.append(str(func))
            return made

    methods = [{"method": method} for method in METHODS] if model.name == "ace-step" else [{}]
    for method in methods:
        settings = model.sampling(None, steps=3, guidance=4.0, **method)
        with Watch():
            model.sample(context, noise, settings)
    assert not found


def test_what_a_text_encoder_does_not_read_is_told(model):
    long = "a slow song with guitars and drums in a large room, " * 60
    with pytest.warns(UserWarning, match=r"1 of 2 prompts are longer than .* characters are cut off") as told:
        cut = model.encode([long + "violin", "a song"])
    assert len(told) == 1 and len(str(told[0].message)) < 300
    heard = model.heard(long + "violin")
    assert len(heard) < len(long) and model.heard(long + "trumpet") == heard and model.heard("a song") == "a song"
    with pytest.warns(UserWarning, match="cut off"):
        other = model.encode([long + "trumpet", "a song"])
    assert all(torch.equal(cut.cond[name].states, other.cond[name].states) for name in cut.cond)
    early = model.encode(["violin " + long, "a song"])
    assert not all(torch.equal(cut.cond[name].states, early.cond[name].states) for name in cut.cond)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_broken_latents_and_audio_name_step_and_row(model, value):
    def spoil(hidden, when):
        return torch.where(torch.tensor([False, True]).view(-1, 1, 1), torch.full_like(hidden, value), hidden)

    with pytest.raises(ValueError, match=r"after step 1 of \d+, rows \[1\]"), tada.edit(model, {2: spoil}, steps=1):
        sampled(model, PROMPTS[:2], [1, 2])
    latents = model.noise([1, 2], SECONDS)
    latents.values[1] = value
    with pytest.raises(ValueError, match=r"rows \[1\]"):
        model.decode(latents)


def test_one_run_at_a_time(model):
    def again(hidden, when):
        sampled(model, PROMPTS[0], [1])
        return hidden

    with pytest.raises(RuntimeError, match="already sampling"), tada.edit(model, {0: again}):
        sampled(model, PROMPTS[0], [1])


# ---- facts of a checkpoint


def test_facts_of_a_checkpoint_are_attributes(model):
    assert not model.is_mini and model.vocabulary == "public"
    assert model.default_seconds == (30.0 if model.sings else 10.0)
    assert model.label([2, 0]) == "2+0" and model.label(model.sites[1]) == "1"


def test_a_mini_knows_its_words_and_length():
    mini = tada.load("stable-audio", "mini", device="cpu")
    assert mini.is_mini and mini.vocabulary == "mini" and mini.default_seconds == 4.096
    assert mini.fingerprint() == tada.load("stable-audio", "mini", device="cpu").fingerprint()


def test_loading_is_logged_with_the_hash_of_the_weights(caplog, tiny_folder):
    tada.load("stable-audio", tiny_folder("stable-audio"), device="cpu")
    clap.load("mini")
    assert not caplog.records
    with caplog.at_level("INFO", "tada.loaded"):
        model = tada.load("stable-audio", tiny_folder("stable-audio"), device="cpu")
        ear = clap.load("mini")
        judge = judges.ProbeJudge()
    said = dict(record.args for record in caplog.records)
    assert list(said) == [model.checkpoint, "mini-clap", "attribute probe"]
    assert said[model.checkpoint] == model.fingerprint() and said["mini-clap"] == fingerprint(ear)
    assert judge.key.endswith(said["attribute probe"])
