"""Every way to steer: a naive reference, strength 0 to the last bit, a batch as one by one, nothing left behind."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch

import tada
from checks import SECONDS, assert_same, steps_of
from tada import steering
from tada.errors import InputError
from tada.hooks import edit, record
from tada.minis.cards import MINIS
from tada.models import pipeline
from tada.models.context import Stream
from tada.models.run import SamplingState
from tada.steering import Vector, prompted
from tada.steering.prompted import Poles

STEPS = 2
QUICK = tada.Sampling(steps=STEPS, guidance=3.0)
NEUTRAL, POSITIVE, NEGATIVE = "a song q", "a quick happy song z", "a sad song z"
WORD = "q"
"""A word of one token, also to tiny models, which read letter by letter."""


@cache
def encoded(model):
    return model.encode([NEUTRAL, POSITIVE, NEGATIVE])


def poles(model, rows=1):
    return Poles(*(encoded(model)[[row] * rows] for row in range(3)))


def sample(model, context, seed=7):
    return model.sample(context, model.noise([seed] * len(context), SECONDS), QUICK).values


@cache
def plain_clip(model, rows=1):
    """Latents of the neutral prompt, made once."""
    return sample(model, poles(model, rows).neutral)


@cache
def drawn(model):
    """A vector of unit length."""
    draw = torch.Generator().manual_seed(0)
    return Vector({site: torch.randn(1, model.site_width(site), generator=draw) for site in model.sites}).unit()


@cache
def ways(model):
    """Name -> an intervention on the clips of the neutral prompt, as a function of strengths and layers."""
    vector, token = drawn(model), steering.token_vector(model, [POSITIVE, "a z"], [NEGATIVE, "a y"], "z")
    by = {name: getattr(steering, name) for name in ("switch_prompt", "shift_text", "guide_apart")}
    found = {n: lambda alpha, layers, fn=fn: fn(model, alpha, poles(model, len(alpha)), layers) for n, fn in by.items()}
    return found | {
        "shift_token": lambda alpha, layers: steering.shift_token(
            model, alpha, poles(model, len(alpha)).neutral, token, WORD, layers
        ),
        "clamp": lambda alpha, layers: steering.clamp(model, alpha, vector, layers),
        "remove": lambda alpha, layers: vector.remove(model, alpha, layers),
        "add": lambda alpha, layers: (vector * 4).apply(model, alpha[0] if len(alpha) == 1 else alpha, layers, "both"),
    }


NAMES = ["switch_prompt", "shift_text", "guide_apart", "shift_token", "clamp", "remove", "add"]


@pytest.mark.parametrize("name", NAMES)
def test_strength_0_is_the_clip_itself(model, name):
    for alpha in ([0, 0.0], [0]):
        plain = plain_clip(model, len(alpha))
        with ways(model)[name](alpha, "all"):
            assert torch.equal(sample(model, poles(model, len(alpha)).neutral), plain)


def check_batch(model, name, layers):
    way = ways(model)[name]
    with way([-2.0, 0.0, 1.0], layers):
        together = sample(model, poles(model, 3).neutral)
    assert torch.equal(together[1], plain_clip(model, 3)[1])
    for alpha, row in ((-2.0, together[0]), (1.0, together[2])):
        with way([alpha], layers):
            assert_same(sample(model, poles(model).neutral)[0], row)
    if (model.name, name) != ("musicgen", "switch_prompt"):  # of whose many steps two need not change a code
        assert (together[0] - together[1]).abs().max() > 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_strengths_in_one_batch_are_those_one_by_one(model, name):
    check_batch(model, name, "all")


@pytest.mark.parametrize("layers", [[1, 4], [0, 2]], ids=["functional", "others"])
@pytest.mark.parametrize("name", NAMES)
def test_so_they_are_in_some_layers(tiny_model, name, layers):
    check_batch(tiny_model("ace-step"), name, layers)


@pytest.mark.parametrize("name", NAMES)
def test_an_error_inside_leaves_nothing_behind(tiny_model, name):
    model = tiny_model("stable-audio")
    with pytest.raises(KeyboardInterrupt), ways(model)[name]([2.0], "all"), edit(model, {5: _interrupt}):
        sample(model, poles(model).neutral)
    assert not (model.live.guides or model.live.interventions or model.live.handles) and model.live.run is None


@pytest.mark.parametrize("name", NAMES[:3])
def test_strengths_that_do_not_fit_the_rows(tiny_model, name):
    model = tiny_model("stable-audio")
    with (
        pytest.raises(InputError, match="2 strengths for 1 rows"),
        getattr(steering, name)(model, [1, 2], poles(model)),
    ):
        pass


def _interrupt(hidden, when):
    raise KeyboardInterrupt


# ---- naive references: every site reads, or the denoiser predicts, what the equation says


def reading(monkeypatch, streams):
    """Let the whole denoiser read ``streams(run)`` in the conditional pass, without any hook."""

    def stream(run, name):
        sides = [streams(run) if which == "cond" else run.conditioning.streams(which) for which in run.passes]
        return Stream.cat([side[name] for side in sides])

    monkeypatch.setattr(SamplingState, "stream", stream)


@pytest.mark.parametrize("alpha", [1, -STEPS])
def test_switch_prompt_reads_the_pole_in_the_last_steps(model, monkeypatch, alpha):
    with steering.switch_prompt(model, alpha, poles(model)):
        steered = sample(model, poles(model).neutral)
    neutral, positive, negative = (
        model.conditioning(side, SECONDS, model.sampling(QUICK)).cond for side in poles(model)
    )
    pole = positive if alpha > 0 else negative
    reading(monkeypatch, lambda run: pole if run.step >= run.sampling.steps - abs(alpha) else neutral)
    assert_same(sample(model, poles(model).neutral), steered, 1e-6)


@pytest.mark.parametrize("alpha", [0.7, -1.5])
def test_shift_text_adds_differences_token_by_token(model, monkeypatch, alpha):
    """On what the sites read, which is linear in the embeddings."""
    with steering.shift_text(model, alpha, poles(model)):
        steered = sample(model, poles(model).neutral)
    c, p, n = (model.conditioning(side, SECONDS, model.sampling(QUICK)).cond for side in poles(model))
    moved = {}
    for name in c:
        states = c[name].states + alpha * (p[name].states - n[name].states)
        mask = None if c[name].mask is None else c[name].mask | p[name].mask | n[name].mask
        longest = None if mask is None else max((c, p, n), key=lambda side: int(side[name].mask.sum()))[name].positions
        moved[name] = Stream(states, mask, longest)
    reading(monkeypatch, lambda run: moved)
    assert_same(sample(model, poles(model).neutral), steered, 1e-6)


def test_shift_token_adds_the_difference_at_one_word(model, monkeypatch):
    tokenizer = model.tokenizers(model.sampling())[-1][0]
    name = "t5" if model.name == "audioldm2" else "text"

    def state(text, word, like):
        return model.encode([text, like]).cond[name].states[0, tokenizer(text)["input_ids"].index(_id(tokenizer, word))]

    differences = []
    for one, other in ((POSITIVE, NEGATIVE), ("a z", "a y")):
        place = tokenizer(one)["input_ids"].index(_id(tokenizer, "z"))
        sides = [model.encode([text, POSITIVE]).cond[name].states[0, place] for text in (one, other)]
        differences.append(sides[0] - sides[1])
    token = steering.token_vector(model, [POSITIVE, "a z"], [NEGATIVE, "a y"], "z")
    expected = sum(differences) / 2
    torch.testing.assert_close(token.directions[name][0], expected, atol=1e-6, rtol=1e-6)
    context = poles(model).neutral
    with steering.shift_token(model, 2.0, context, token, WORD):
        steered = sample(model, context)
    states = context.cond[name].states.clone()
    states[0, tokenizer(NEUTRAL)["input_ids"].index(_id(tokenizer, WORD))] += 2.0 * expected
    moved = replace(context, cond={**context.cond, name: replace(context.cond[name], states=states)})
    read = model.conditioning(moved, SECONDS, model.sampling(QUICK)).cond
    reading(monkeypatch, lambda run: read)
    assert_same(sample(model, context), steered, 1e-6)


def _id(tokenizer, word):
    return tokenizer.convert_tokens_to_ids(word)


@pytest.mark.parametrize("name", MINIS)
def test_guide_apart_adds_the_difference_of_two_predictions(tiny_model, monkeypatch, name):
    model, alpha = tiny_model(name), -1.5
    with steering.guide_apart(model, alpha, poles(model)):
        steered = sample(model, poles(model).neutral)
    runs = [
        SamplingState(model.conditioning(side, SECONDS, model.sampling(QUICK)), model.sampling(QUICK), SECONDS, 1)
        for side in poles(model)[1:]
    ]
    if model.name == "ace-step":
        plain = model.velocity

        def velocity(run):
            v = plain(run)
            ask = [lambda x, sigma, i, run=run: model.predict(x, sigma, run, i, ("cond",)) for run in runs]
            return lambda *place: v(*place) + alpha * (ask[0](*place) - ask[1](*place))

        monkeypatch.setattr(model, "velocity", velocity)
    else:
        plain = pipeline.guided

        def guided(ask, run):
            x, t, *_ = ask.args
            return plain(ask, run) + alpha * (model.denoise(x, t, runs[0]) - model.denoise(x, t, runs[1]))

        monkeypatch.setattr(pipeline, "guided", guided)
    assert_same(sample(model, poles(model).neutral), steered, 2e-6)  # some CPUs round to 1.07e-6


def test_clamp_sets_the_share_along_the_direction(model):
    layer, vector = 1, drawn(model) * 3.0
    site = model.sites[layer]
    with record(model, layer, steps=0) as plain:
        sample(model, poles(model).neutral)
    with steering.clamp(model, 4.0, vector, layer), record(model, layer, steps=0) as held:
        sample(model, poles(model).neutral)
    h, v = plain[site][0], vector.directions[site][0] / vector.directions[site][0].norm()
    naive = torch.stack([torch.stack([frame + (4.0 - frame @ v) * v for frame in clip]) for clip in h])
    torch.testing.assert_close(held[site][0], naive, atol=1e-6 * float(h.abs().max().clamp(min=1)), rtol=1e-6)


# ---- layers, steps


def test_layers_that_take_no_part_read_the_neutral_prompt(model):
    """With one layer and all steps, PCI is a route of that layer, and a shift by 1 from the negative pole is, too."""
    neutral, positive, _ = poles(model)
    with tada.route(model, [1], positive, passes="cond"):
        routed = sample(model, neutral)
    with steering.switch_prompt(model, steps_of(model, STEPS), poles(model), [1]):
        assert_same(sample(model, neutral), routed, 1e-6)
    with steering.guide_apart(model, 1.0, Poles(neutral, positive, neutral), [1]):
        one = sample(model, neutral)
    with steering.guide_apart(model, 1.0, Poles(neutral, positive, neutral), "all"):
        assert (sample(model, neutral) - one).abs().max() > 1e-6


def test_steps_that_take_no_part_are_plain(model):
    neutral, count = poles(model).neutral, steps_of(model, STEPS)
    for way in (steering.shift_text, steering.guide_apart):
        found = []
        for steps in ([count - 1], -1, None):
            with way(model, 2.0, poles(model), None, steps):
                found.append(sample(model, neutral))
        assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])
        assert not torch.equal(found[0], plain_clip(model))
    with pytest.raises(ValueError, match="has steps 0 to"), steering.switch_prompt(model, count + 1, poles(model)):
        sample(model, neutral)


def test_the_place_of_a_word_goes_with_the_vector(tiny_model, monkeypatch):
    model, asked = tiny_model("stable-audio"), []
    monkeypatch.setattr(prompted, "token_place", lambda model, prompt, word, last=True: asked.append(last) or 0)
    for last in (True, False):
        token = steering.token_vector(model, ["z a z"], ["y a y"], "z", last)
        with steering.shift_token(model, 1.0, poles(model).neutral, token, WORD):
            sample(model, poles(model).neutral)
    assert asked == [True, True, False, False]


def test_words_that_are_missing_or_several_tokens(model):
    with pytest.raises(InputError, match="with the word 'piano'"):
        prompted.token_place(model, "a song", "piano")
    with pytest.raises(InputError, match="which is 4 tokens"):
        prompted.token_place(model, "a song", "song")
    assert prompted.token_place(model, "a q a q", "q", last=False) < prompted.token_place(model, "a q a q", "q")


def test_layers_that_do_not_read_the_word(tiny_model):
    model = tiny_model("audioldm2")
    vector = steering.token_vector(model, ["a z"], ["a y"], "z")
    deaf = [site for site in model.sites if model.streams[site] == "gpt2"]
    with pytest.raises(InputError, match="none of which reads t5"):
        steering.shift_token(model, 1.0, poles(model).neutral, vector, WORD, deaf).__enter__()
