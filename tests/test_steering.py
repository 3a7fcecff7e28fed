"""CAA: a naive reference, the algebra of vectors, and what bad input gets."""

from __future__ import annotations

import math

import pytest
import torch

import tada
from checks import SECONDS, assert_same, steps_of
from tada import steering
from tada.errors import InputError
from tada.steering import vector as vector_module

HAPPY = ["a happy song", "a happy tune with piano"]
SAD = ["a sad song", "a sad tune with piano"]
QUICK = tada.Sampling(steps=3, guidance=3.0)
SETTING = tada.Setting(SECONDS, QUICK)
LAYERS = [1, 5]


@pytest.fixture(scope="module")
def vectors(tiny_model):
    """A vector of each architecture, fitted once."""
    fitted = {}

    def vector(model):
        if model.name not in fitted:
            fitted[model.name] = steering.contrast(model, HAPPY, SAD, 1, SETTING)
        return fitted[model.name]

    return vector


def sample(model, prompts=("a song",), seeds=(7,), sampling=QUICK):
    return model.sample(model.encode(list(prompts)), model.noise(seeds, SECONDS), sampling).values


# ---- equations 2 and 3


def test_contrast_is_equation_2(model, vectors):
    """Plain hooks, one clip at a time: mean difference of frame means, of unit length per site and step."""
    site = model.sites[5]
    sums = {}
    for sign, prompts in ((1, HAPPY), (-1, SAD)):
        for seed, prompt in enumerate(prompts, 1):
            heard = []
            with tada.edit(model, {site: lambda h, when, heard=heard: heard.append(h[0].mean(dim=0)) or h}):
                sample(model, [prompt], (seed,))
            sums[prompt] = sign * torch.stack(heard) / len(prompts)
    difference = sum(sums.values())
    expected = difference / difference.norm(dim=1, keepdim=True)
    torch.testing.assert_close(vectors(model).directions[site], expected, atol=1e-4, rtol=0)
    assert vectors(model).steps == steps_of(model, 3)
    assert vectors(model).sites == model.sites


@pytest.mark.parametrize("renorm", [True, False])
def test_apply_is_equation_3_and_8(model, vectors, renorm):
    site, alpha = model.sites[1], 4.0
    one = tada.Sampling(1, 3.0)
    vector = steering.Vector({site: vectors(model).directions[site][:1]}, vectors(model).info)
    with tada.record(model, site) as plain:
        sample(model, sampling=one)
    with vector.apply(model, alpha, layers=None, renorm=renorm), tada.record(model, site) as steered:
        sample(model, sampling=one)
    h = plain[site][0]
    moved = h + alpha * vector.directions[site][0]
    if renorm:
        moved = moved / moved.norm(dim=-1, keepdim=True) * h.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(steered[site][0], moved, atol=1e-5, rtol=1e-5)


def test_only_the_chosen_layers_steps_and_pass_are_steered(model, vectors):
    one = vectors(model).step_mean()
    with tada.record(model, LAYERS[0]) as plain:
        sample(model)
    with one.apply(model, 3.0, LAYERS[0], steps=[1]), tada.record(model, LAYERS[0]) as steered:
        sample(model)
    assert torch.equal(steered[LAYERS[0]][0], plain[LAYERS[0]][0])
    assert not torch.allclose(steered[LAYERS[0]][1], plain[LAYERS[0]][1], atol=1e-3)


def test_directions_are_weighed_step_by_step(model, vectors):
    whole = vectors(model)
    one = whole.step_mean(unit=False)
    for site, direction in whole.directions.items():
        assert torch.allclose(one.directions[site][0], direction.mean(0))
        weighed = one.over_steps([1.0, 0.0]).directions[site]
        assert torch.equal(weighed, torch.stack([one.directions[site][0], torch.zeros_like(one.directions[site][0])]))
    with pytest.raises(ValueError, match="one a step"):
        whole.over_steps([1.0] * (whole.steps + 1))


def test_removal_leaves_nothing_along_the_direction(model, vectors):
    layer = LAYERS[0]
    with vectors(model).remove(model, 1.0, layer), tada.record(model, layer) as kept:
        sample(model)
    hidden, direction = kept[layer][:, 0], vectors(model).directions[model.sites[layer]]
    share = (hidden * direction[:, None]).sum(dim=-1)
    assert share.abs().max() < 1e-4 * hidden.norm(dim=-1).max()


def test_layer_sets(model, vectors):
    known = model.with_functional([1, 2])
    with vectors(model).apply(known, 2.0), tada.record(known, [1, 2, 3]) as kept:
        functional = sample(known)
    with vectors(model).apply(model, 2.0, [1, 2]):
        assert torch.equal(sample(model), functional)
    assert len(kept) == 3
    with pytest.raises(ValueError, match="not known"), vectors(model).apply(model, 2.0):
        pass


# ---- fitting


def test_the_batch_does_not_matter_and_seeds_of_a_prompt_are_its_own(tiny_model):
    model = tiny_model("stable-audio")
    settings = [tada.Setting(SECONDS, QUICK, batch=batch) for batch in (1, 4)]
    one, four = (steering.means(model, HAPPY, range(4, 6), setting, [2])[model.sites[2]] for setting in settings)
    torch.testing.assert_close(one, four, atol=1e-5, rtol=0)
    rows = [(prompt, 4 + 2 * place + k) for place, prompt in enumerate(HAPPY) for k in range(2)]
    parts = [steering.means(model, [prompt], seed, settings[0], [2])[model.sites[2]] for prompt, seed in rows]
    torch.testing.assert_close(one, sum(parts) / len(parts), atol=1e-5, rtol=0)
    shared = steering.means(model, HAPPY, [[7]] * len(HAPPY), settings[0], [2])[model.sites[2]]
    parts = [steering.means(model, [prompt], 7, settings[0], [2])[model.sites[2]] for prompt in HAPPY]
    torch.testing.assert_close(shared, sum(parts) / len(parts), atol=1e-5, rtol=0)


def test_the_other_pass_has_its_own_vector(tiny_model):
    """ACE-Step's unconditional pass reads the weakened prompt, so that pairs differ there too."""
    model = tiny_model("ace-step")
    cond, uncond = (steering.contrast(model, HAPPY, SAD, 1, SETTING, [3], which) for which in ("cond", "uncond"))
    assert not torch.allclose(cond.directions[model.sites[3]], uncond.directions[model.sites[3]], atol=1e-2)


def test_lyrics_are_honoured(tiny_model, monkeypatch):
    model = tiny_model("ace-step")
    asked = []
    encode = model.encode
    monkeypatch.setattr(model, "encode", lambda p, n, lyrics: asked.extend(lyrics) or encode(p))
    steering.contrast(model, HAPPY, SAD, 1, tada.Setting(SECONDS, QUICK, lyrics="[inst]"), [3])
    assert asked == ["[inst]"] * 4


# ---- algebra


def test_vectors_are_a_vector_space(tiny_model, vectors):
    v = vectors(tiny_model("stable-audio"))
    w = -v.step_mean()
    site = v.sites[0]
    torch.testing.assert_close((2 * v - v).directions[site], v.directions[site])
    torch.testing.assert_close((v + w).directions[site], v.directions[site] + w.directions[site])
    torch.testing.assert_close((v * 3).unit().directions[site], v.directions[site])
    assert (v + w).info["checkpoint"] == v.info["checkpoint"]


def test_strength_and_scale_are_the_same_thing(tiny_model, vectors):
    model = tiny_model("stable-audio")
    with vectors(model).apply(model, 6.0, LAYERS):
        strong = sample(model)
    with (vectors(model) * 3).apply(model, 2.0, LAYERS):
        assert_same(sample(model), strong)


def test_orthogonal_parts_keep_length_and_do_not_overlap():
    generator = torch.Generator().manual_seed(0)
    first, second, third = (steering.Vector({"a": torch.randn(2, 8, generator=generator)}) for _ in range(3))
    parts = steering.orthogonalise([v.directions["a"] for v in (first, second, third)])
    for i in range(3):
        for j in range(i):
            assert (parts[i] * parts[j]).sum(dim=-1).abs().max() < 1e-5
    torch.testing.assert_close(parts[2].norm(dim=-1), third.directions["a"].norm(dim=-1))
    both = steering.combine([first, second], [1.0, 0.5], orthogonal=True)
    torch.testing.assert_close(both.directions["a"], parts[0] + 0.5 * parts[1])


def test_vectors_of_other_sites_combine_to_the_union():
    both = steering.Vector({"a": torch.ones(1, 3)}) + steering.Vector({"b": torch.ones(4, 3), "a": torch.ones(4, 3)})
    assert both.sites == ("a", "b")
    assert both.steps == 4
    assert torch.equal(both.directions["a"], torch.full((4, 3), 2.0))


# ---- files


def test_saved_and_loaded(tiny_model, vectors, tmp_path):
    vector = vectors(tiny_model("audioldm2"))
    again = steering.Vector.load(vector.save(tmp_path / "mood"))
    assert again.sites == vector.sites
    assert all(torch.equal(again.directions[s], vector.directions[s]) for s in vector.sites)
    assert again.info == vector.info
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mood.json", "mood.safetensors"]


# ---- bad input


def test_a_vector_of_another_checkpoint(tiny_model, vectors):
    model, vector = tiny_model("stable-audio"), vectors(tiny_model("ace-step"))
    with pytest.raises(ValueError, match="was fitted on tiny random ace-step"), vector.apply(model, 1.0, [1]):
        pass
    with (
        pytest.raises(KeyError, match="no direction at transformer_blocks.1.attn2"),
        vector.of(model).apply(model, 1.0, [1]),
    ):
        pass


def test_other_steps(tiny_model, vectors):
    model = tiny_model("stable-audio")
    with (
        pytest.raises(ValueError, match="directions for 3 steps, the run has 5"),
        vectors(model).apply(model, 1.0, [1]),
    ):
        sample(model, sampling=tada.Sampling(5, 3.0))
    with vectors(model).step_mean().apply(model, 1.0, [1]):
        sample(model, sampling=tada.Sampling(5, 3.0))


def test_strengths_that_do_not_fit_the_rows(tiny_model, vectors):
    model = tiny_model("stable-audio")
    with pytest.raises(ValueError, match="3 strengths for 1 rows"), vectors(model).apply(model, [1.0, 2.0, 3.0], [1]):
        sample(model)


ONE = steering.Vector({"a": torch.ones(1, 3)})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda model: steering.contrast(model, HAPPY, SAD[:1], 1, SETTING), "2 positive and 1 negative"),
        (lambda model: steering.contrast(model, HAPPY, HAPPY, 1, SETTING), "do they differ"),
        (lambda model: steering.contrast(model, HAPPY, SAD, 1, SETTING, [3], "uncond"), "do they differ"),
        (lambda model: steering.means(model, [], 1, SETTING), "no prompts"),
        (lambda model: steering.means(model, HAPPY, 1, SETTING, passes="both"), "apart"),
        (lambda model: steering.Vector({}), "without sites"),
        (lambda model: steering.Vector({"a": torch.ones(1, 3), "b": torch.ones(2, 3)}), "steps"),
        (lambda model: steering.combine([ONE], [1.0, 2.0]), "weights"),
        (lambda model: steering.combine([steering.Vector({"a": torch.ones(n, 3)}) for n in (2, 3)]), "combine"),
    ],
)
def test_vectors_that_cannot_be(tiny_model, make, words):
    with pytest.raises(ValueError, match=words):
        make(tiny_model("stable-audio"))


@pytest.mark.parametrize("size", [2000.0, 60000.0, 1e-7])
def test_renorm_keeps_lengths_that_half_precision_cannot_hold(size):
    """A row of 2,400 values of 2,000 each is longer than the largest float16."""
    hidden = torch.full((1, 3, 2400), size, dtype=torch.float16)
    kept = vector_module.rescale(hidden * 0.75, hidden)
    torch.testing.assert_close(kept.float(), hidden.float(), rtol=1e-2, atol=1e-7)


@pytest.mark.parametrize("alpha", ["2", None, True, math.nan, math.inf, [1.0, math.nan], ["2"], [[1.0]], [], {}])
def test_strengths_are_numbers(model, alpha):
    vector = steering.Vector({model.sites[0]: torch.ones(1, model.site_width(model.sites[0]))})
    with pytest.raises(InputError, match="got alpha="), vector.apply(model, alpha, layers=None):
        pass


def test_pairs_that_the_encoder_cannot_tell_apart_fit_no_vector(model):
    long = "a song with guitars and drums in a large room, " * 60
    with pytest.raises(InputError, match="1 of 2 pairs differ only in words"):
        steering.contrast(model, ["a", long + "happy"], ["b", long + "sad"], 1, SETTING)


def test_names_with_dots_are_two_files(tmp_path):
    one, two = (steering.Vector({"a": torch.full((1, 3), float(n))}).save(tmp_path / f"happy.v{n}") for n in (1, 2))
    assert (one.name, two.name) == ("happy.v1.safetensors", "happy.v2.safetensors")
    assert steering.Vector.load(tmp_path / "happy.v1").directions["a"][0, 0] == 1


@pytest.mark.parametrize("card", ["", "[1]", "{}", '{"sha256": 3}', "{", '{"sha256": "0", "info": []}'])
def test_a_damaged_card_is_named(tmp_path, card):
    path = ONE.save(tmp_path / "v")
    path.with_suffix(".json").write_text(card)
    with pytest.raises(InputError, match="v.json"):
        steering.Vector.load(path)
    with pytest.raises(FileNotFoundError):
        steering.Vector.load(tmp_path / "none")
