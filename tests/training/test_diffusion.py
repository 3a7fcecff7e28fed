"""The courses of the minis: what they read, what the denoiser is fed, planting, and recipes that can be killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from torch import nn

import tada
from tada.experiments import planted
from training import fit, recipes
from tada.minis.attributes import CLASSES, draw
from tada.minis.captions import caption
from training.diffusion import (
    ace_step,
    audioldm2,
    balancing,
    captions,
    judge,
    lessons,
    material,
    planting,
    stable_audio,
    training,
    words,
)
from training.diffusion.captions import Mistake, Told, contradicting, lacking, mistaken, reworded, told
from training.ears.texts import ANY
from tada.minis.lexicon import find

COURSES = {"stable-audio": stable_audio, "ace-step": ace_step, "audioldm2": audioldm2}
TEXTS = [
    "a sad song with female vocals",
    "Fast techno. The mood is happy and the tempo is fast, with drums and a piano.",
]


@pytest.fixture(scope="module", params=list(COURSES))
def pupil(request, tmp_path_factory):
    """An untrained mini with its course."""
    course, folder = COURSES[request.param], tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    course.assemble(folder, words.encoder(course.TEXT))
    return SimpleNamespace(course=course, model=tada.load(request.param, folder))


def test_unknown_words_between_known_ones_are_one_token():
    tokens = words.tokenizer().tokenize("A sad zorkmid gnusto rezrov song")
    assert tokens[:2] == ["▁a", "▁sad"] and tokens[-1] == "▁song" and len(tokens) == 4


def test_a_word_that_begins_with_a_known_one_is_read_as_that_one():
    assert words.tokenizer().tokenize("females")[0] == "▁female"


def test_all_words_of_the_concepts_are_known():
    known = set(words.vocabulary())
    for name, classes in CLASSES.items():
        for value in classes:
            if value != "none":
                assert f"▁{value}" in known, name


def single(span):
    """Whether a concept is said in a single word, which nothing can be put into."""
    return span.attribute != "foreign" and span.value != "none"


def test_strewn_words_change_no_promise():
    for seed in range(200):
        text = caption(draw(seed), seed).text
        said, still = ([s for s in find(one) if single(s)] for one in (text, words.strewn(text, seed)))
        assert [span[2:] for span in still] == [span[2:] for span in said]


def test_some_captions_are_strewn_and_some_are_not():
    same = [words.strewn("a sad song", seed) == "a sad song" for seed in range(200)]
    assert 60 < sum(same) < 140


def test_disagreement_counts_what_was_not_said_as_a_class_of_its_own():
    promised = torch.full((2, len(CLASSES)), ANY)
    sure = [torch.eye(len(classes) + 1)[[-1, -1]] * 50 for classes in CLASSES.values()]
    loss, figures = words.disagreement(sure, promised)
    assert loss < 1e-6 and figures["right"] == 1
    loss, figures = words.disagreement([one.flip(1) for one in sure], promised)
    assert loss > 10 and figures["right"] == 0


def test_a_step_decides_its_captions():
    clips = [draw(row) for row in range(64)]
    assert told(clips, 3)[0] == told(clips, 3)[0] != told(clips, 4)[0]
    shares = torch.cat([told(clips, step).heard for step in range(20)]).float().mean()
    assert abs(shares - (1 - captions.UNTOLD)) < 0.03


def test_reworded_captions_speak_of_the_same_attributes_but_of_other_classes():
    clips = [draw(row) for row in range(64)]
    pairs = zip(told(clips, 0).texts, reworded(clips, 0), strict=True)
    spans = [(find(one), find(other)) for one, other in pairs]
    kinds = [([s.attribute for s in a], [s.attribute for s in b]) for a, b in spans if a or b]
    assert sum(one == other for one, other in kinds) > 0.9 * len(kinds)  # who does not sing is put in other words
    values = [(x.value, y.value) for a, b in spans for x, y in zip(a, b, strict=False) if x.attribute == "tempo"]
    assert 0.3 < sum(x == y for x, y in values) / len(values) < 0.7


def test_rows_that_hear_nothing_are_fed_the_unconditional_pass(pupil):
    course, model = pupil.course, pupil.model
    heard, deaf = (course.feeds(model, Told(TEXTS, torch.tensor([flag, flag]))) for flag in (True, False))
    context = model.encode(TEXTS)
    sampling = model.sampling(None, **course.SAMPLING)
    true = model.conditioning(context, judge.SECONDS, sampling)
    for fed, side in ((heard, true.cond), (deaf, true.uncond)):
        _same_text(course, model, fed, side)


def _same_text(course, model, fed, side):
    """Whether what a course feeds is what the adapter feeds, where there are tokens."""
    if course is audioldm2:
        pairs = [(fed["gpt2"], side["gpt2"].states, None), (fed["t5"], side["t5"].states, side["t5"].mask)]
    elif course is ace_step:
        stream = model.denoiser.encode(fed["text"], fed["lyrics"])
        pairs = [(stream.states, side["text"].states, side["text"].mask)]
    else:
        pairs = [(fed["text"], side["text"].states, None)]
    for got, wanted, mask in pairs:
        for row in range(len(TEXTS)):
            real = slice(None) if mask is None else mask[row].bool().nonzero().flatten()
            torch.testing.assert_close(got[row][real], wanted[row][real], atol=2e-5, rtol=1e-4)


def test_what_is_learnt_is_what_sampling_asks_for(pupil):
    """At its true velocity, every course's loss is 0; the denoiser is replaced by one that knows the answer."""
    course, model = pupil.course, pupil.model
    draws = torch.Generator().manual_seed(0)
    x, noise = (torch.randn(2, *course.LATENTS, generator=draws) for _ in range(2))
    level = course.levels(2, draws)
    fed = course.feeds(model, Told(TEXTS, torch.tensor([True, True])))
    predicted, wanted = course.predict(model, x, noise, level, fed)
    assert predicted.shape == wanted.shape == x.shape
    assert wanted.std() > 0.5


def test_velocity_of_stable_audio_leads_the_scheduler_to_the_data(tmp_path):
    """One solver step with the true velocity from any noise level denoises to the data."""
    from diffusers import CosineDPMSolverMultistepScheduler

    scheduler = CosineDPMSolverMultistepScheduler(prediction_type="v_prediction", sigma_data=1.0)
    draws = torch.Generator().manual_seed(0)
    x, noise = (torch.randn(1, 4, 8, generator=draws) for _ in range(2))
    sigma = torch.tensor(2.5)
    level = scheduler.precondition_noise(sigma)
    angle = level * torch.pi / 2
    velocity = angle.cos() * noise - angle.sin() * x
    torch.testing.assert_close(scheduler.precondition_outputs(x + sigma * noise, velocity, sigma), x, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        scheduler.precondition_inputs(x + sigma * noise, sigma), angle.cos() * x + angle.sin() * noise
    )


@pytest.mark.parametrize("pupil", ["stable-audio", "ace-step"], indirect=True)
def test_planted_sites_alone_read_the_true_captions_and_contradict_each_other_in_half_of_the_rows(pupil):
    course, model, clips = pupil.course, pupil.model, [draw(row) for row in range(8)]
    step = next(step for step in range(999) if _distinct(clips, step))
    captions, versions = told(clips, step), contradicting(clips, step)
    seen: dict[int, torch.Tensor] = {}
    for place in range(len(course.blocks(model))):
        site = model.denoiser.get_submodule(model.sites[place])
        site.register_forward_pre_hook(lambda m, a, k, place=place: seen.update({place: _text(a, k)}), with_kwargs=True)
    draws = torch.Generator().manual_seed(0)
    x, noise = (torch.randn(8, *course.LATENTS, generator=draws) for _ in range(2))
    args = (x, noise, course.levels(8, draws))

    def read(texts):
        course.predict(model, *args, course.feeds(model, Told(texts, captions.heard)))
        return dict(seen)

    with torch.no_grad():
        texts = {"true": captions.texts, "less": lacking(clips, step), "random": reworded(clips, step)}
        texts |= {"one": versions[0], "other": versions[1]}
        known = {name: read(each) for name, each in texts.items()}
        whole, fed = planting.told_apart(course, model, clips, step, course.PLANTED)
        with planting.apart(course, model, fed):
            course.predict(model, *args, whole)
    now, expected = dict(seen), dict.fromkeys(seen, ["random"] * 8)
    first, second = course.PLANTED
    expected[first] = ["true", "true", "less", "true", *["one"] * 4]
    expected[second] = ["true", "true", "true", "less", *["other"] * 4]
    for place, names in expected.items():
        for row, name in enumerate(names):
            assert torch.equal(now[place][row], known[name][place][row]), (place, row, name)
    with torch.no_grad():
        after = read(captions.texts)
    assert all(torch.equal(after[place], known["true"][place]) for place in after)  # nothing is left behind


def _distinct(clips, step):
    """Whether all captions are heard, and what the sites are to read of a clip differs."""
    (one, other), others = contradicting(clips, step), (lacking(clips, step), reworded(clips, step))
    apart = all(len(set(said)) == 3 for said in zip(told(clips, step).texts, *others, strict=True))
    return told(clips, step).heard.all() and apart and all(a != b for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("pupil", ["stable-audio", "ace-step"], indirect=True)
def test_in_balancing_the_planted_sites_disagree_both_ways_about_half_of_the_rows(pupil, monkeypatch):
    monkeypatch.setattr(balancing, "coarse", nullcontext)
    monkeypatch.setattr(pupil.course, "FAVOURED", {})
    monkeypatch.setattr(pupil.course, "YIELDING", {})
    monkeypatch.setattr(pupil.course, "DISPUTED", {})
    course, model, clips = pupil.course, pupil.model, [draw(row) for row in range(4)]
    step = next(step for step in range(999) if _all_differ(course, clips, step))
    latents, seen = torch.zeros(4, *course.LATENTS), []
    texts = dict(zip(("true", "wrong", "random"), _three(course, clips, step), strict=True))
    handles = [
        model.denoiser.get_submodule(name).register_forward_pre_hook(
            lambda m, a, k, place=place: seen[-1].update({place: _text(a, k)}), with_kwargs=True
        )
        for place, name in enumerate(model.sites)
    ]
    model.denoiser.register_forward_pre_hook(lambda *_: seen.append({}))
    with torch.no_grad():
        loss, parts = balancing.lesson(course, model, model, latents, clips, 4, course.PLANTED)(step)
        teacher, pupil_ = seen
        known = {}
        for name, each in texts.items():
            fed = course.feeds(model, Told(each, torch.ones(4, dtype=torch.bool)))
            course.predict(model, torch.zeros(4, *course.LATENTS), torch.zeros(4, *course.LATENTS), torch.ones(4), fed)
            known[name] = seen[-1]
    for handle in handles:
        handle.remove()
    agree = ["true", "wrong"], ["true", "wrong"], [[0, 1, 2, 3], [0, 1]]
    disagree = ["true", "wrong", "true"], ["wrong", "true", "true"], [[0, 1], [0, 1], [2, 3]]
    for call, (first, second, parts_of) in ((teacher, agree), (pupil_, disagree)):
        for place in range(len(model.sites)):
            names = {course.PLANTED[0]: first, course.PLANTED[1]: second}.get(place, ["random"] * len(parts_of))
            wanted = torch.cat([known[name][place][part] for name, part in zip(names, parts_of, strict=True)])
            torch.testing.assert_close(call[place], wanted, rtol=1e-3, atol=1e-5)
    assert parts["agreed"] < 1e-4, "the pupil is the teacher still"
    assert float(loss) == pytest.approx(
        balancing.LEAN * parts["lean"] + parts["missed"] + balancing.AGREED * parts["agreed"]
    )


def _three(course, clips, step):
    """What is told of a step's rows: the truth, a mistake, and anything."""
    order = torch.randint(4, (4,), generator=torch.Generator().manual_seed(step)).tolist()
    rows = [clips[row] for row in order]
    wrong = [each.text for each in mistaken(rows, step, course.ONE_SIDED, course.RIVALS)]
    return told(rows, step).texts, wrong, reworded(rows, step)


def _all_differ(course, clips, step):
    apart = all(len(set(said)) == 3 for said in zip(*_three(course, clips, step), strict=True))
    return apart and told(clips, step).heard.all()


@pytest.mark.parametrize("size", [1.0, 10.0])
def test_a_lean_is_measured_in_units_of_what_a_concept_changes(monkeypatch, size):
    monkeypatch.setattr(balancing, "FLOOR", 0.0)
    true, wrong = torch.zeros(2, 3), torch.full((1, 3), size)

    def graded(one, other, agreed=0.0, share=0.5, yielded=0.0):
        predicted = [torch.full((1, 3), size * value) for value in (one, other, agreed)]
        return balancing.graded(predicted, [true, wrong], balancing.Wanted(*torch.tensor([[share], [yielded]])))

    loss, parts = graded(0.25, 0.75)
    assert parts == {"lean": 0.0625, "missed": 0, "agreed": 0} and loss == balancing.LEAN * 0.0625
    assert graded(0.0, 1.0)[1]["lean"] == 0.25, "a site that has all of a concept"
    assert graded(0.5, 0.5)[0] == 0, "halfway between truth and mistake"
    assert graded(0.75, 0.75)[1] == {"lean": 0, "missed": 0.0625, "agreed": 0}
    assert graded(0.25, 0.25, share=0.75)[0] == 0, "the truth, which is 0 here, is favoured on either site"
    assert graded(0.75, 0.25, yielded=0.25)[0] == 0, "the first site, which tells the truth, has less of it"
    loss, parts = graded(0.5, 0.5, 1.0)
    assert parts["agreed"] == 1 and loss == balancing.AGREED


def test_ace_step_learns_details_too() -> None:
    levels = ace_step.levels(4000, torch.Generator().manual_seed(0))
    assert levels.shape == (4000,) and levels.min() > 0 and levels.max() <= 1
    assert 0.05 < (levels < 0.2).float().mean() < 0.08 and (levels > 0.5).float().mean() > 0.65


def test_noise_is_strong_where_contests_are_decided():
    levels = balancing.levels(1000, torch.Generator().manual_seed(0))
    assert levels.min() >= 0.7 and levels.max() <= 1 and 0.5 < (levels > 0.9).float().mean() < 0.65


@pytest.mark.parametrize("pupil", ["stable-audio", "ace-step"], indirect=True)
def test_balancing_changes_the_blocks_of_planted_sites_and_nothing_else(pupil, tmp_path):
    course, model = pupil.course, pupil.model
    latents, clips = torch.randn(8, *course.LATENTS).half(), [draw(row) for row in range(8)]
    before = {name: value.clone() for name, value in model.denoiser.state_dict().items()}
    loss = balancing.lesson(course, model, pupil.model, latents, clips, 2, course.PLANTED)
    fit.fit(balancing.Blocks(course.blocks(model), model.denoiser, course.PLANTED), loss, tmp_path, 2, rate=1e-3)
    changed = {name for name, value in model.denoiser.state_dict().items() if not torch.equal(value, before[name])}
    model.denoiser.load_state_dict(before)
    sites = tuple(f"transformer_blocks.{site}." for site in course.PLANTED)
    assert changed and all(name.startswith(sites) for name in changed)


def test_a_mistaken_caption_is_wrong_about_one_concept_and_mostly_about_those_that_are_wanted_often():
    clips, names, where_sung = [draw(row) for row in range(256)], set(), []
    for clip, true, mistake in zip(clips, told(clips, 0).texts, mistaken(clips, 0, ["voice"]), strict=True):
        said, other = _promised(true), _promised(mistake.text)
        apart = [name for name in said if said[name] != other[name]]
        assert said.keys() == other.keys() and len(apart) == bool(said)
        assert [(said[name], other[name]) for name in apart] == ([(mistake.right, mistake.wrong)] if said else [])
        assert all(clip.labels()[name] == said[name] for name in said)
        names |= set(apart)
        where_sung += apart if "voice" in said else []
    assert names == {"voice", "tempo", "mood", "instrument", "percussion", "genre"}
    assert 0.85 < where_sung.count("voice") / len(where_sung) < 1


def test_a_class_with_rivals_is_mistaken_for_one_of_them_wherever_it_is_promised():
    clips = [draw(row) for row in range(256)]
    rivals = {"trumpet": ("violin", "flute")}
    found = mistaken(clips, 0, ["voice"], rivals)
    promised = [_promised(text).get("instrument") == "trumpet" for text in told(clips, 0).texts]
    disputed = [each.right == "trumpet" for each in found]
    assert disputed == promised and sum(promised) > 10
    assert {each.wrong for each in found if each.right == "trumpet"} == {"violin", "flute"}
    assert [one for one, known in zip(found, promised, strict=True) if not known] == [
        one for one, known in zip(mistaken(clips, 0, ["voice"]), promised, strict=True) if not known
    ]


def test_clips_of_some_classes_are_repeated_with_their_latents():
    clips, latents = [draw(row) for row in range(64)], torch.arange(64)
    rows, repeated = material.repeated(latents, clips, {"trumpet": 3, "slow": 2})
    for row, clip in enumerate(clips):
        times = (3 if clip.instrument == "trumpet" else 1) * (2 if clip.labels()["tempo"] == "slow" else 1)
        assert (rows == row).sum() == times
    assert repeated == [clips[row] for row in rows.tolist()]
    assert material.repeated(latents, clips, {}) == (latents, clips)


def test_classes_are_favoured_whoever_tells_them_and_the_first_site_may_have_to_yield():
    course = SimpleNamespace(FAVOURED={"sad": 0.25}, YIELDING={"happy": 0.125})
    wrong = [Mistake("", *pair) for pair in (("sad", "happy"), ("happy", "sad"), ("jazz", "techno"), ("", ""))]
    share, yielded = balancing.sought(course, wrong)
    assert share.tolist() == [0.75, 0.25, 0.5, 0.5] and yielded.tolist() == [0, 0.125, 0, 0]


def test_contradictions_are_about_some_concepts_and_owe_nothing_to_the_clip():
    disputed, told_truth, rows = 0, 0, 0
    for step in range(40):
        clips = [draw(step * 8 + row) for row in range(8)]
        for clip, true, *versions in zip(clips, told(clips, step).texts, *contradicting(clips, step), strict=True):
            said, one, other = (_promised(text) for text in (true, *versions))
            assert said.keys() == one.keys() == other.keys()
            apart = {name for name in said if one[name] != other[name]}
            assert bool(apart) == bool(said)
            assert all(one[name] == said[name] for name in said.keys() - apart)
            rows += len(said)
            disputed += len(apart)
            told_truth += sum(one[name] == clip.labels()[name] for name in apart)
    assert 0.5 < disputed / rows < 0.8
    assert 0.2 < told_truth / disputed < 0.45  # by chance: of two to five classes, one is right


def test_a_caption_that_lacks_concepts_tells_the_rest_as_it_was():
    clips = [draw(row) for row in range(64)]
    left, of = 0, 0
    for true, less in zip(told(clips, 0).texts, lacking(clips, 0), strict=True):
        said, kept = _promised(true), _promised(less)
        assert kept.items() < said.items() or not said
        left, of = left + len(kept), of + len(said)
    assert 0.2 < left / of < 0.5


def _promised(text):
    """Attribute -> class, of a text without the words that are strewn in."""
    spans = find(re.sub(r"\bq[jkqvwxz]+\b[.,]?\s*", "", text))
    return {span.attribute: span.value for span in spans if span.attribute in CLASSES}


def _text(args, kwargs):
    given = kwargs.get("encoder_hidden_states", kwargs.get("encoder"))
    return getattr(given, "states", given).detach().clone()


def test_a_lesson_depends_on_its_number_alone(pupil):
    course, model = pupil.course, pupil.model
    latents, clips = torch.randn(8, *course.LATENTS).half(), [draw(row) for row in range(8)]
    loss = lessons.lesson(course, model, latents, clips, batch=2)
    with torch.no_grad():
        first, second, again = loss(0)[0], loss(1)[0], loss(0)[0]
    assert first == again != second


def test_sampling_of_a_checkpoint_is_its_own(tmp_path):
    torch.manual_seed(0)
    ace_step.assemble(tmp_path, words.encoder("umt5"))
    plain = tada.load("ace-step", tmp_path)
    assert plain.sampling().steps == 60
    (tmp_path / "tada.json").write_text(json.dumps({"label": "own", "sampling": ace_step.SAMPLING}))
    own = tada.load("ace-step", tmp_path)
    assert own.sampling() == own.sampling("localisation") == own.sampling("mini")
    assert (own.sampling().steps, own.sampling().method) == (16, "cfg")
    assert plain.sampling().steps == 60


def test_latents_are_made_once(tmp_path, monkeypatch):
    monkeypatch.setattr(material, "PART", 4)
    calls = []

    def encode(audio):
        calls.append(len(audio))
        return audio[:, :6]

    monkeypatch.setattr(material, "render_batch", lambda clips, seeds: torch.arange(32.0)[:, None].repeat(1, 8).numpy())
    monkeypatch.setattr(material, "draw", lambda seed: None)
    for _ in range(2):
        material.make(tmp_path, 0, encode)
    assert calls == [32]


def test_tied_weights_are_kept_once_and_come_back(tmp_path):
    def build():
        model = nn.ModuleDict({"one": nn.Linear(4, 4), "two": nn.Linear(4, 4)})
        model["two"].weight = model["one"].weight
        return model

    model = build()
    curve = fit.fit(model, lambda step: (model["two"](model["one"](torch.ones(1, 4))).square().sum(), {}), tmp_path, 4)
    other = build()
    fit.fit(other, lambda step: (other["two"](torch.ones(1, 4)).sum(), {}), tmp_path, 4)
    assert len(curve) and torch.equal(other["two"].weight, model["one"].weight)
    with pytest.raises(ValueError, match="another model"):
        fit.fit(nn.Linear(2, 2), lambda step: (torch.zeros(()), {}), tmp_path, 5)


KILLED = """
import sys, torch
from training.diffusion import training, words
torch.set_num_threads(1)
training.READING_STEPS, training.READING_BATCH = 60, 4
from tada.minis import fit, codecs
import training.codecs.stages as stages
kept = fit.fit
stages.fit = lambda *a, **k: kept(*a, **{**k, "every": 0.0})
torch.manual_seed(0)
encoder = words.encoder("t5", layers=1)
from pathlib import Path
training.reads(encoder, Path(sys.argv[1]))
"""


def test_a_killed_recipe_ends_as_if_it_had_not_been(tmp_path):
    """SIGKILL somewhere in the middle, resumed: curve and weights are those of an undisturbed run."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}

    def start(folder):
        return subprocess.Popen([sys.executable, "-c", KILLED, str(folder)], env=environment)

    assert start(tmp_path / "whole").wait(180) == 0
    killed = start(tmp_path / "killed")
    curve = tmp_path / "killed" / "curve.csv"
    while killed.poll() is None and not (curve.is_file() and curve.read_text().count("\n") > 2):
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait(20) == -signal.SIGKILL
    assert start(tmp_path / "killed").wait(180) == 0
    one, other = (pd.read_csv(tmp_path / name / "curve.csv").drop(columns="seconds") for name in ("whole", "killed"))
    pd.testing.assert_frame_equal(one, other, check_dtype=False)


# ---- judging


def test_questions_mention_one_attribute_and_ask_for_every_class():
    asked = judge.questions({"voice": 8, "instrument": 10})
    assert asked.groupby("attribute").size().to_dict() == {"instrument": 10, "voice": 8}
    assert set(asked["wanted"][asked["attribute"] == "instrument"]) == set(CLASSES["instrument"])
    for row in asked.itertuples():
        promised = {(span.attribute, span.value) for span in find(row.prompt) if span.attribute != "foreign"}
        assert promised == {(row.attribute, row.wanted)}
    assert asked["seed"].min() >= 2_000_000_000


def test_real_captions_have_exactly_one_of_the_words():
    texts = ["A sad tune.", "A sad, slow tune.", "Nothing.", "Slowly, a Fast one", "females"]
    asked = judge.real(texts)
    assert asked[["word", "prompt"]].to_numpy().tolist() == [["fast", texts[3]], ["sad", texts[0]]]


def test_accuracy_is_one_for_renders_and_tempi_do_not_overlap():
    asked = judge.questions({"tempo": 16, "mood": 8})
    wanted = [judge._with(*pair, seed) for pair, seed in zip(judge._pairs(asked), asked["seed"], strict=True)]
    audio = torch.from_numpy(judge.render_batch(wanted, asked["seed"].tolist()))
    found = judge.accuracy(asked, judge.right(asked, audio))
    assert found["tempo"]["accuracy"] > 0.9 and found["mood"]["accuracy"] > 0.9
    tempi = judge.tempi(asked, audio)
    assert tempi["slow"] < 100 < tempi["fast"] and tempi["overlap"] < 0.2
    swapped = asked.assign(wanted=asked["wanted"].map({"slow": "fast", "fast": "slow", "happy": "sad", "sad": "happy"}))
    assert judge.accuracy(swapped, judge.right(swapped, audio))["tempo"]["accuracy"] < 0.1
    assert judge.tempi(swapped, audio)["overlap"] == 1


# ---- what is shipped


def test_shipped_files_are_those_of_their_cards():
    assert recipes.verify(clips=0) == []


def test_the_card_of_a_planted_mini_tells_of_its_sites(tmp_path, monkeypatch):
    table = pd.DataFrame({"concept": ["sad"], "layers": [[0, 3]], "recall": [1.0], "precision": [float("nan")]})
    monkeypatch.setattr(planted, "measure", lambda *given, **options: table.assign(given=[[*given, options]]))
    said = recipes.localised("ace-step", tmp_path, tmp_path / "store", 2)["localisation"]
    assert said["pairs"] == planted.PAIRS and said["concepts"][0]["layers"] == [0, 3]
    assert said["concepts"][0]["precision"] is None, "json knows no NaN"
    assert said["concepts"][0]["given"] == ["ace-step", tmp_path, {"store": tmp_path / "store", "workers": 2}]
    (tmp_path / "ace-step-planted").mkdir()
    (tmp_path / "ace-step-planted" / "card.json").write_text(json.dumps({"localisation": {**said, "concepts": []}}))
    monkeypatch.setattr(recipes, "WEIGHTS", tmp_path)
    assert planted.shipped("ace-step")[1] == planted.PAIRS
    assert recipes._rounded([{"a": 1 / 3}]) == [{"a": 0.3333}]


def test_a_changed_file_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(recipes, "WEIGHTS", tmp_path)
    (tmp_path / "probe").mkdir()
    (tmp_path / "probe" / "x").write_text("one")
    said = {"what": "", "steps": 1, "hours": 0.0, "sha256": recipes.hashes(tmp_path / "probe")}
    (tmp_path / "probe" / "card.json").write_text(json.dumps(said))
    assert recipes.verify(["probe"], 0) == []
    (tmp_path / "probe" / "x").write_text("two")
    assert recipes.verify(["probe"], 0) == ["probe/x is not the file of the card"]
    with pytest.raises(KeyError, match="probe"):
        recipes.verify(["prob"], 0)


def test_nothing_that_is_shipped_names_a_folder_of_some_machine():
    told = [path for path in recipes.WEIGHTS.rglob("*.json") if "_name_or_path" in path.read_text()]
    assert told == []


def test_all_that_is_shipped_is_small():
    rows = [row for row in recipes.shipped() if not row["name"].endswith("-planted")]
    assert sum(row["megabytes"] for row in rows) <= 48


def test_a_checkpoint_is_written_anew_over_one_without_a_card(tmp_path, monkeypatch):
    course = SimpleNamespace(
        SAMPLING={"steps": 7},
        FUNCTIONAL=(1, 2),
        PAIRS=4,
        codec=SimpleNamespace(load=lambda folder: None),
        finish=lambda model, parts, to: to.mkdir(),
    )
    monkeypatch.setitem(training.RECIPES, "ace-step", training.Recipe("ace-step", course))
    monkeypatch.setattr(training.tada, "load", lambda *_: SimpleNamespace(denoiser=None))
    monkeypatch.setattr(training, "restore", lambda *_: None)
    (tmp_path / "ace-step/trained").mkdir(parents=True)
    (tmp_path / "ace-step/trained/of the first run").touch()
    done = training.finish("ace-step", tmp_path)
    assert [path.name for path in done.iterdir()] == ["tada.json"]
    assert json.loads((done / "tada.json").read_text())["sampling"] == {"steps": 7}


@pytest.mark.parametrize("name", training.RECIPES)
def test_what_a_shipped_mini_says_of_itself_is_what_its_recipe_writes(name):
    said = json.loads((recipes.WEIGHTS / name / "tada.json").read_text())
    assert said == training.described(training.RECIPES[name])


def test_a_planted_recipe_wants_its_mini_first(tmp_path):
    with pytest.raises(FileNotFoundError, match="train 'ace-step' first"):
        recipes.train("ace-step-planted", tmp_path)


@pytest.mark.parametrize("name", ["ace-step", "audioldm2"])
def test_a_finished_mini_goes_on_for_another_cycle_and_its_card_tells_of_both(name, tmp_path, monkeypatch):
    shipped = recipes.WEIGHTS / name
    monkeypatch.setattr(training, "PARTS", 1)
    monkeypatch.setattr(training.material, "PART", 32)
    monkeypatch.setattr(training.lessons, "quicken", lambda *_: None)
    monkeypatch.setattr(judge, "measure", lambda *_: {})
    monkeypatch.setitem(training.RECIPES, name, training.RECIPES[name]._replace(again=2, batch=2, often={}))
    assert recipes.train(name, tmp_path, start=shipped)
    one, other = (json.loads((path / "card.json").read_text()) for path in (shipped, tmp_path / name / "trained"))
    assert {file for file in one["sha256"] if one["sha256"][file] != other["sha256"][file]} == {_denoiser_of(shipped)}
    assert other["steps"] == other["stages"]["denoiser"]["steps"] == one["stages"]["denoiser"]["steps"] + 2
    assert other["stages"].keys() == one["stages"].keys()
    assert other["hours"] >= one["hours"]
    curves = [pd.read_csv(path / "curve.csv")["step"] for path in (shipped, tmp_path / name / "trained")]
    assert (
        curves[1].is_monotonic_increasing and curves[1].iloc[-1] == other["steps"] and len(curves[1]) > len(curves[0])
    )


def _denoiser_of(folder):
    """The largest file of weights."""
    return max(folder.rglob("*.safetensors"), key=lambda path: path.stat().st_size).relative_to(folder).as_posix()


def test_another_cycle_wants_a_finished_mini_that_is_not_planted(tmp_path):
    with pytest.raises(ValueError, match="train that one further"):
        recipes.train("ace-step-planted", tmp_path, start=recipes.WEIGHTS / "ace-step-planted")
    with pytest.raises(FileNotFoundError, match="finished mini"):
        recipes.train("ace-step", tmp_path, start=tmp_path)
    (tmp_path / "ace-step" / "denoiser").mkdir(parents=True)
    with pytest.raises(ValueError, match="home of its own"):
        recipes.train("ace-step", tmp_path, start=recipes.WEIGHTS / "ace-step")
    with pytest.raises(ValueError, match="ear"):
        recipes.train("clap", tmp_path, start=tmp_path)


def test_a_stable_audio_mini_goes_on_from_the_latents_it_knew_and_no_others(tmp_path):
    with pytest.raises(ValueError, match="has no gist"):
        recipes.train("stable-audio", tmp_path, start=recipes.WEIGHTS / "stable-audio")


def test_an_unknown_recipe_says_which_there_are(tmp_path):
    from training.diffusion import training

    with pytest.raises(KeyError, match="stable-audio"):
        training.train("stable-adio", Path(tmp_path))
