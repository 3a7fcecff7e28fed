"""Plants: only their sites read the concept, what is equal is made once, and what is found is counted."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import pandas as pd
import pytest
import torch

import tada
from checks import SECONDS, Ears
from tada import patching
from tada.experiments import localisation, plants
from tada.pairs import shared_text

QUICK = tada.Sampling(steps=2, guidance=3.0)
PAIR = pd.DataFrame({"concept": ["happy"], "target": ["an upbeat song, slow"], "source": ["a downbeat song, slow"]})


def sweep(model, layers, pairs=PAIR, **options):
    """The clips of a plant's sweep by method and layers, its scores, and how many clips were made."""
    ears, planted = Ears(), patching.plant(model, pairs, layers)
    setting = tada.Setting(SECONDS, QUICK, batch=1)
    scores = patching.sweep(model, planted, 1, setting=setting, score=ears, **options)
    clips = {(row.method, row.layers): ears.heard[row.unit_hash] for row in scores.itertuples()}
    return clips, scores, len(ears.heard)


def play(model, *routes):
    """A clip of the counterfactual prompt with sites routed to other texts, by hand."""
    context, noise = model.encode([PAIR["source"][0], *(text for text, _ in routes)]), model.noise(1, SECONDS)
    with ExitStack() as stack:
        for row, (_, sites) in enumerate(routes, 1):
            stack.enter_context(tada.route(model, sites, context[row]))
        return model.decode(model.sample(context[0], noise, QUICK)).audio[0]


def test_sites_that_are_not_planted_read_the_same_whatever_is_routed(model):
    clips, scores, made = sweep(model, [1, 3])
    rest, text = [site for place, site in enumerate(model.sites) if place not in (1, 3)], "song, slow"
    none = clips["patch", "none"]
    assert torch.equal(none, play(model, (text, rest)))
    again = play(model, (text, rest), (text, [0]))
    assert torch.equal(clips["patch", "0"], again) and torch.equal(again, none), "bit for bit the clip of none"
    target = PAIR["target"][0]
    assert torch.equal(clips["patch", "3"], play(model, (text, rest), (target, [3])))
    assert not torch.equal(clips["patch", "3"], none)
    assert torch.equal(clips["patch", "all"], play(model, (text, rest), (target, [1, 3])))
    assert len(scores) == 2 + len(model.sites) and made == 4, "clips that are equal by construction are made once"


def test_controls_and_keys_know_of_the_plant(ace):
    pairs = PAIR.assign(paraphrase="slow, a downbeat song", unrelated="a tune")
    clips, scores, made = sweep(ace, [3], pairs)
    assert made == 5 and torch.equal(clips["patch-unrelated", "0"], clips["patch", "none"])
    assert not torch.equal(clips["patch-unrelated", "3"], clips["patch", "none"])
    plain = patching.sweep(ace, pairs, 1, setting=tada.Setting(SECONDS, QUICK), score=Ears())
    other = sweep(ace, [4], pairs)[1]
    assert not set(scores["unit_hash"]) & {*plain["unit_hash"], *other["unit_hash"]}
    assert not set(scores["pair"]) & {*plain["pair"], *other["pair"]}
    changes = [patching.Change([0, 3], "keys"), patching.Change(0, "values"), patching.Change(0, "ablated")]
    clips, _, made = sweep(ace, [3], layer_sets=changes)
    assert torch.equal(clips["patch", "0 values"], clips["patch", "none"])
    assert made == 4, "silence is no text: it reaches any site"


def test_a_null_plant_has_no_effect_and_names_nothing(model):
    pairs = pd.concat([PAIR] * 2).assign(pair=range(2))
    clips, scores, _ = sweep(model, [], pairs)
    assert torch.equal(clips["patch", "all"], clips["patch", "none"]), "no text comes in by another way"
    called = patching.functional(patching.impact(scores))
    assert not called["known"].any() and not called["functional"].any()


def test_plants_are_drawn_from_their_seeds(tiny_model):
    model = tiny_model("stable-audio")
    drawn = [patching.draw_plant(model, seed) for seed in range(200)]
    assert drawn[7] == patching.draw_plant(model, 7)
    assert {len(layers) for layers in drawn} == {1, 2, 3, 4}
    assert {layer for layers in drawn for layer in layers} == set(range(len(model.sites)))
    own = patching.plant(model, PAIR, {"happy": [2, 0]})
    assert own["planted"][0] == (model.sites[2], model.sites[0]) and own["shared"][0] == "song, slow"
    assert patching.plant(model, PAIR.assign(target="fast", source="slow"), [2])["shared"][0] == "music"
    with pytest.raises(KeyError, match="no concept of the planted layers 'happy'"):
        patching.plant(model, PAIR, {"hapy": [1]})


def test_what_prompts_share_is_in_both():
    assert shared_text("A fast, happy tune", "A slow, happy tune") == "A , happy tune"
    assert shared_text("one", "two") == ""


# ---- counting


def simulated(number, layers, reach, pairs=20):
    """Scores of a plant of 6 layers whose planted ones have a share each of an effect of 1, or of none."""
    rng, rows = np.random.default_rng(number), []
    for pair in range(pairs):
        values = {"none": 0.0, "all": reach, **{str(layer): 0.0 for layer in range(6)}}
        values |= {str(layer): reach / len(layers) + rng.normal(0, 0.02) for layer in layers}
        for method in ("patch", "patch-unrelated"):
            about = {"checkpoint": "c", "model": "m", "concept": "happy", "metric": "s", "method": method, "seed": 1}
            names = [name for name in values if method == "patch" or name not in ("none", "all")]
            rows += [
                about | {"pair": f"{number} {pair}", "layers": name, "value": values[name] * (method == "patch")}
                for name in names
            ]
    return pd.DataFrame(rows)


@pytest.fixture
def answers():
    """Scores and pairs of two plants that work, of a null plant, and of one whose sites do nothing."""
    chosen = {0: ([1, 3], 1.0), 1: ([2], 1.0), 2: ([], 0.0), 3: ([4], 0.0)}
    scores = pd.concat([simulated(number, *one) for number, one in chosen.items()], ignore_index=True)
    pairs = scores[["pair", "concept"]].drop_duplicates().assign(plant=lambda rows: rows["pair"].str[0].astype(int))
    return scores, pairs.assign(layers=[chosen[number][0] for number in pairs["plant"]])


def test_right_and_wrong_calls_are_counted(answers):
    grades = plants.grade(*answers)
    assert set(grades["pairs"]) == {3, 6, 12}, "eight of 20 pairs tell what the plant does"
    many = grades[(grades["pairs"] == 12) & ~grades["controls"]].set_index("plant")
    assert many[["planted", "carrying", "called", "right", "found"]].loc[0].tolist() == [2] * 5
    assert many[["null", "unknown"]].to_numpy().tolist() == [[False, False]] * 2 + [[True, True]] * 2
    assert many["called"].tolist() == [2, 1, 0, 0]
    assert grades.groupby("pairs")["called"].max()[3] == 0, "of three pairs nothing is called"
    found = plants.summarise(grades).set_index(["pairs", "controls", "measure"])
    assert found.loc[(12, True, "precision"), ["value", "plants"]].tolist() == [1, 2]
    assert found.loc[(12, True, "recall"), "low"] < found.loc[(12, True, "recall"), "value"] == 1
    assert found.loc[(12, True, "null plants unknown"), ["value", "plants"]].tolist() == [1, 2]
    assert np.isnan(found.loc[(3, False, "precision"), "value"])


def test_a_rule_that_calls_every_layer_is_found_out(answers):
    grades = plants.grade(*answers, lambda impacts: patching.functional(impacts).assign(functional=True), sizes=[12])
    found = plants.summarise(grades).set_index(["pairs", "controls", "measure"])["value"]
    assert found[12, False, "false calls"] == 1 and found[12, False, "null plants named"] == 1
    assert found[12, False, "precision"] == pytest.approx((2 / 6 + 1 / 6 + 0 + 1 / 6) / 4)


def test_plants_of_a_model_are_built_and_graded(tiny_folder):
    work = localisation.plan("ace-step", tiny_folder("ace-step"), "smoke", judge=Ears(), steps=1, seconds=SECONDS)
    pairs = plants.build_plants(work, ["happy"], drawn=1)
    assert pairs["plant"].tolist() == [0] * 11 + [1] * 11 and pairs["pair"].is_unique
    scores = localisation.sweep(work, pairs, controls=True)
    grades = plants.grade(scores, pairs)
    with pytest.raises(ValueError, match="expected 20 or more"):
        plants.grade(scores, pairs, sizes=[12])
    planted = grades.groupby("plant")["planted"].unique().map(list).tolist()
    assert planted == [[len(patching.draw_plant(work.model, 0))], [0]]
    assert set(grades["layers"]) == {len(work.model.sites)} and not grades.loc[grades["plant"] == 1, "called"].any()
