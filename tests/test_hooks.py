"""Record, edit and route: invariants, known answers, and errors instead of silence."""

from __future__ import annotations

import pytest
import torch

import tada
from checks import SECONDS, assert_same, steps_of

QUICK = tada.Sampling(steps=3, guidance=3.0)
ONE = tada.Sampling(steps=1, guidance=3.0)
HAPPY, SAD = "a happy song", "a slow, sad ballad with piano and strings"


def sample(model, context, seeds=(1,), sampling=QUICK):
    return model.sample(context, model.noise(list(seeds), SECONDS), sampling).values


def shift(amount):
    return lambda hidden, when: hidden + amount


# ---- edit


def test_zero_edit_is_bitwise_identity(model):
    context = model.encode([HAPPY, SAD])
    plain = sample(model, context, (1, 2))
    with tada.edit(model, {"all": lambda hidden, when: hidden + 0.0 * torch.ones_like(hidden)}, passes="both"):
        assert torch.equal(sample(model, context, (1, 2)), plain)


def test_an_edit_of_one_row_leaves_the_others(model):
    context = model.encode([HAPPY, SAD])
    rows = torch.tensor([1.0, 5.0]).view(-1, 1, 1)
    plain = sample(model, context, (1, 2))
    with tada.edit(model, {"all": lambda hidden, when: hidden * rows}):
        steered = sample(model, context, (1, 2))
    assert_same(steered[0], plain[0])
    assert (steered[1] - plain[1]).abs().max() > 1e-4
    assert torch.equal(sample(model, context, (1, 2)), plain), "outside the block"


@pytest.mark.parametrize(("passes", "edited"), [("cond", 0), ("uncond", 1)])
def test_edits_of_one_pass_leave_the_other_untouched(model, passes, edited):
    context = model.encode([HAPPY, SAD])
    with tada.record(model, 0, passes="both") as before:
        sample(model, context, (1, 2), ONE)
    with tada.edit(model, {0: shift(2.0)}, passes=passes), tada.record(model, 0, passes="both") as after:
        sample(model, context, (1, 2), ONE)
    assert torch.equal(after[0][0, 1 - edited], before[0][0, 1 - edited])
    assert torch.equal(after[0][0, edited], before[0][0, edited] + 2.0)


def test_an_edit_knows_where_it_is(model):
    seen = []
    with tada.edit(model, {0: lambda h, when: seen.append(when) or h, 2: lambda h, when: h}, passes="both"):
        sample(model, model.encode(HAPPY))
    count = steps_of(model, 3)
    assert {w.site for w in seen} == {model.sites[0]} and {w.steps for w in seen} == {count}
    assert sorted((w.step, w.is_cond) for w in seen) == [(s, c) for s in range(count) for c in (False, True)]
    seen.clear()
    with tada.edit(model, {0: lambda h, when: seen.append(when.step) or h}, steps=range(1, 3)):
        sample(model, model.encode(HAPPY))
    assert seen == [1, 2]


def test_nested_edits_compose_in_order(model):
    context = model.encode(HAPPY)
    with tada.record(model, 0, steps=0) as plain:
        sample(model, context, sampling=ONE)
    with (
        tada.edit(model, {0: shift(1.0)}),
        tada.edit(model, {0: lambda h, w: h * 2.0}),
        tada.record(model, 0, steps=0) as kept,
    ):
        sample(model, context, sampling=ONE)
    assert torch.equal(kept[0], (plain[0] + 1.0) * 2.0)


# ---- record


@pytest.mark.parametrize("name", ["audioldm2", "stable-audio"])
def test_record_sees_what_the_network_goes_on_with(tiny_model, name):
    """The residual stream after a site is the one before it plus what was recorded, whatever the nesting."""
    model, before, after = tiny_model(name), [], []
    block = model.denoiser.get_submodule(model.sites[0].rpartition(".")[0])
    with (
        block.norm2.register_forward_pre_hook(lambda _, args: before.append(args[0].clone())),
        block.norm3.register_forward_pre_hook(lambda _, args: after.append(args[0].clone())),
        tada.record(model, 0, passes="both") as kept,
        tada.edit(model, {0: shift(2.0)}, passes="both"),
    ):
        sample(model, model.encode([HAPPY, SAD]), (1, 2), ONE)
    cond, uncond = kept[0][0]
    assert torch.equal(before[0] + torch.cat([uncond, cond]), after[0])


def test_record_does_not_change_anything(model):
    context = model.encode([HAPPY, SAD])
    plain = sample(model, context, (1, 2))
    with tada.record(model, passes="both"):
        assert torch.equal(sample(model, context, (1, 2)), plain)


def test_record_shapes_and_reduction(model):
    context = model.encode([HAPPY, SAD])
    with (
        tada.record(model, [0, 3]) as whole,
        tada.record(model, 0, reduce="mean") as mean,
        tada.record(model, 0, reduce=lambda h: h.norm(dim=-1), steps=[0, 2]) as norms,
    ):
        sample(model, context, (1, 2))
    steps, rows, tokens, width = whole[3].shape
    assert torch.equal(whole[3], whole[model.sites[3]])
    assert (steps, rows, width) == (steps_of(model, 3), 2, model.site_width(model.sites[3]))
    assert list(whole) == [model.sites[0], model.sites[3]]
    torch.testing.assert_close(mean[0], whole[0].mean(dim=2))
    assert norms[0].shape == (2, 2, whole[0].shape[2]) and norms.steps == (0, 2)


def test_runs_inside_one_block_are_joined_along_rows(model):
    context = model.encode([HAPPY, SAD])
    with tada.record(model, 0, reduce="mean") as together:
        sample(model, context, (1, 2))
    with tada.record(model, 0, reduce="mean") as apart:
        sample(model, context[0], (1,))
        sample(model, context[1], (2,))
    torch.testing.assert_close(apart[0], together[0])


def test_asking_for_a_site_that_was_not_recorded(model):
    with tada.record(model, 0) as kept:
        sample(model, model.encode(HAPPY))
    for site in (model.sites[1], 1):
        with pytest.raises(KeyError, match="recorded site"):
            kept[site]


# ---- route


def test_routing_every_site_is_sampling_the_source(model):
    base, source = model.encode([HAPPY, SAD])
    with tada.route(model, "all", source):
        routed = sample(model, base)
    assert_same(routed, sample(model, source))
    plain = sample(model, base)
    assert (routed - plain).abs().max() > 1e-4
    with tada.route(model, "all", base):
        assert_same(sample(model, base), plain)


def test_routing_rows_of_one_batch_equals_one_at_a_time(model):
    base, source = model.encode([HAPPY, SAD])
    layers = (0, 5, len(model.sites) - 1)
    alone = []
    for layer in layers:
        with tada.route(model, layer, source):
            alone.append(sample(model, base)[0])
    n = len(layers)
    with (
        tada.route(model, layers[0], source, rows=[0]),
        tada.route(model, layers[1], source, rows=[1]),
        tada.route(model, layers[2], source, rows=[False, False, True, False]),
    ):
        batch = sample(model, base[[0] * (n + 1)], (1,) * (n + 1))
    assert_same(batch[:n], torch.stack(alone))
    assert_same(batch[n], sample(model, base)[0])
    assert (batch[0] - batch[n]).abs().max() > 1e-6


def test_routes_from_one_context_share_its_conditioning(model, monkeypatch):
    base, source = model.encode([HAPPY, SAD])
    made, conditioning = [], model.conditioning
    monkeypatch.setattr(model, "conditioning", lambda *args: made.append(args[0]) or conditioning(*args))
    with tada.route(model, 0, source), tada.route(model, 3, source), tada.route(model, 5, base):
        sample(model, base)
    assert [c.prompts for c in made] == [base.prompts, source.prompts, base.prompts]


def test_routes_nest_the_inner_one_wins(model):
    base, source, third = model.encode([HAPPY, SAD, "fast techno"])
    with tada.route(model, "all", source), tada.route(model, "all", third):
        assert_same(sample(model, base), sample(model, third))


def test_route_edit_and_record_combine(model):
    base, source = model.encode([HAPPY, SAD])
    with tada.edit(model, {0: shift(1.0)}), tada.record(model, 0, steps=0) as direct:
        sample(model, source, sampling=ONE)
    with tada.record(model, 0, steps=0) as routed, tada.edit(model, {0: shift(1.0)}), tada.route(model, 0, source):
        sample(model, base, sampling=ONE)
    assert_same(routed[0], direct[0])


def test_routing_some_steps(model):
    base, source = model.encode([HAPPY, SAD])
    with tada.route(model, "all", source, steps=range(steps_of(model, 3))):
        whole = sample(model, base)
    with tada.route(model, "all", source, steps=[2]):
        late = sample(model, base)
    assert_same(whole, sample(model, source))
    assert (late - sample(model, base)).abs().max() > 1e-6 and (late - whole).abs().max() > 1e-6


@pytest.mark.parametrize("part", ["keys", "values"])
def test_keys_or_values_of_another_prompt_are_what_their_projections_make_of_it(model, part):
    """The naive way: keep what the projection puts out for one prompt, and put it in its place for the other."""
    base, source = model.encode(["a fast song", "a slow song"])  # of one length: masks and positions agree
    once, layer = tada.Sampling(1, 1.0), 2
    projection = model.denoiser.get_submodule(model.sites[layer]).get_submodule(model.projections[part])
    kept = []
    with projection.register_forward_hook(lambda module, args, output: kept.append(output)):
        sample(model, source, sampling=once)
    with projection.register_forward_hook(lambda module, args, output: kept[0]):
        naive = sample(model, base, sampling=once)
    with tada.route(model, layer, source, part=part):
        routed = sample(model, base, sampling=once)
    assert torch.equal(routed, naive)
    assert not torch.equal(routed, sample(model, base, sampling=once))


def test_keys_and_values_together_are_the_whole_route(model):
    base, source = model.encode(["a fast song", "a slow song"])
    with tada.route(model, [1, 3], source):
        whole = sample(model, base)
    with tada.route(model, [1, 3], source, part="values"), tada.route(model, [1, 3], source, part="keys"):
        assert_same(sample(model, base), whole)


# ---- gone afterwards


@pytest.mark.parametrize("intervention", ["record", "edit", "route"])
def test_an_exception_inside_sampling_leaves_a_usable_model(model, intervention):
    def fail(hidden, when):
        raise ZeroDivisionError

    context, source = model.encode([HAPPY, SAD])
    plain = sample(model, context)
    open_ = {
        "record": lambda: tada.record(model),
        "edit": lambda: tada.edit(model, {"all": shift(1.0)}),
        "route": lambda: tada.route(model, "all", source),
    }[intervention]
    with pytest.raises(ZeroDivisionError), open_(), tada.edit(model, {0: fail}):
        sample(model, context)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.denoiser.modules())
    assert torch.equal(sample(model, context), plain)


# ---- errors


def test_what_never_fires_is_an_error(model):
    with pytest.raises(RuntimeError, match="never fired"), tada.record(model, 0):
        pass
    with pytest.raises(RuntimeError, match="never fired"), tada.record(model, 0, passes="uncond"):
        sample(model, model.encode(HAPPY), sampling=tada.Sampling(1, 1.0))


@pytest.mark.parametrize("steps", [99, [0, 99], range(99), [-99, -1]])
def test_a_missing_step(model, steps):
    with pytest.raises(ValueError, match="this run has steps 0 to"), tada.edit(model, {0: shift(1.0)}, steps=steps):
        sample(model, model.encode(HAPPY))


@pytest.mark.parametrize("steps", [[], "1", 1.5, True])
def test_steps_that_cannot_be(model, steps):
    with pytest.raises(ValueError, match="got steps="), tada.record(model, 0, steps=steps):
        pass


def test_unknown_arguments(model):
    for error, words, make in (
        (KeyError, "no site 'nowhere'", lambda: tada.record(model, "nowhere")),
        (KeyError, "no site 'nowhere'", lambda: tada.edit(model, {"nowhere": shift(0.0)})),
        (KeyError, "no site 'nowhere'", lambda: tada.route(model, "nowhere", model.encode(HAPPY))),
        (KeyError, "part of a route", lambda: tada.route(model, 1, model.encode(HAPPY), part="queries")),
        (IndexError, "no layer 64", lambda: tada.record(model, 64)),
        (ValueError, "no pass 'conditional'", lambda: tada.record(model, 0, passes="conditional")),
        (ValueError, "no reduction", lambda: tada.record(model, 0, reduce="max")),
        (ValueError, "no edits", lambda: tada.edit(model, {})),
    ):
        with pytest.raises(error, match=words), make():
            pass


def test_contexts_of_different_rows(model):
    base, source = model.encode([HAPPY, SAD]), model.encode([SAD, HAPPY, HAPPY])
    with pytest.raises(ValueError, match="3 rows for 2 clips"), tada.route(model, 0, source):
        sample(model, base, (1, 2))


@pytest.mark.parametrize(("name", "layer"), [("audioldm2", 2), ("ace-step", 0)])
def test_contexts_of_different_length_in_tokens(tiny_model, name, layer):
    """Layer 2 of AudioLDM2 reads T5; Stable Audio's contexts are all of one length."""
    model = tiny_model(name)
    short, long = model.encode("a"), model.encode(SAD)
    with pytest.raises(ValueError, match=f"route at {model.sites[layer]}.*one call"), tada.route(model, layer, long):
        sample(model, short)


def test_rows_and_shapes_that_do_not_exist(model):
    base = model.encode(HAPPY)
    for error, words, make in (
        (IndexError, "rows", lambda: tada.route(model, 0, base, rows=[1])),
        (ValueError, "row mask", lambda: tada.route(model, 0, base, rows=[True, False])),
        (ValueError, "edit at", lambda: tada.edit(model, {0: lambda h, w: h[..., :1]})),
    ):
        with pytest.raises(error, match=words), make():
            sample(model, base)


def test_a_denoiser_called_outside_sampling(model):
    module = model.denoiser.get_submodule(model.sites[0])
    with tada.record(model, 0) as kept:
        (hook,) = module._forward_hooks.values()
        with pytest.raises(RuntimeError, match="outside model.sample"):
            hook(module, (), torch.zeros(1, 1, 1))
        sample(model, model.encode(HAPPY))
    assert kept[0].shape[0] == steps_of(model, 3)
