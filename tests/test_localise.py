"""A localisation by profile: what it settles, what it finds, what the probe hears, what was published."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import tada
from checks import SECONDS, Ears, Towards, heard_only_by, run
from tada import patching
from tada.concepts import names
from tada.experiments import localisation
from tada.experiments.profiles import PROFILES
from tada.metrics.judges import ProbeJudge, as_judge, make_judge
from tada.minis import probe
from tada.minis.cards import MINIS
from tada.store import Store


def plan(folder, concepts=("violin",), **options):
    """An experiment on a tiny model, and its pairs."""
    chosen = {name: options.pop(name) for name in ("rules", "limit") if name in options}
    given = {"steps": 2, "seconds": SECONDS, "judge": Ears(), "profile": "smoke", **options}
    work = localisation.plan("ace-step", folder, **given)
    return work, localisation.build_pairs(work, concepts, **{"limit": 2, **chosen})


def test_pairs_that_the_model_reads_whole_come_first(tiny_folder):
    captions = ["a violin " + "with guitars in a large room, " * 200, "a song with a violin"]
    work, pairs = plan(tiny_folder("ace-step"), captions=captions)
    assert [text.startswith("a song") for text in pairs["target"]] == [True, False]
    assert work.model.heard(pairs["target"][1]) != pairs["target"][1]


# ---- the probe as a score


def test_every_concept_of_the_paper_has_a_class_and_those_nobody_plays_are_named():
    assert localisation.split_known(ProbeJudge(), names("paper")) == (list(names("paper")), [])
    known, left_out = localisation.split_known(ProbeJudge(), names("authors"))
    silent = {"metal", "opera", "saxophone", "cello", "bongos", "harmonica", "trombone", "xylophone"}
    assert set(left_out) == silent
    assert {"jazz", "flute", "female"} <= set(known)


def test_another_probe_is_another_score(tmp_path):
    (tmp_path / "probe.safetensors").write_bytes((probe.WEIGHTS / "probe.safetensors").read_bytes())
    assert ProbeJudge(tmp_path).key == ProbeJudge().key, "the weights count, not the folder"
    with pytest.raises(FileNotFoundError, match="train it"):
        ProbeJudge(tmp_path / "nowhere")


# ---- the plan


def test_who_judges_follows_from_the_checkpoint(tmp_path):
    assert make_judge("", "mini").unit == "probability"
    public = make_judge("", None)
    assert public.unit == "similarity" and public.key == "tada.metrics.concept_score public clap 2"
    assert make_judge("paper", "mini").key == "tada.metrics.concept_score public paper 2"
    assert make_judge("tada.experiments.minis:hear").key == "tada.experiments.minis.hear"
    with pytest.raises(ValueError, match="no score for the folder"):
        make_judge("", tmp_path)
    with pytest.raises(ValueError, match=r"no score 'prob'.*expected probe"):
        make_judge("prob", tmp_path)


def test_a_plan_settles_what_a_profile_says_and_what_is_changed(tiny_folder):
    work, pairs = plan(tiny_folder("ace-step"), ("violin", "sad"), limit=3)
    assert pairs.groupby("concept").size().to_dict() == {"violin": 3, "sad": 3}
    assert work.setting.sampling.steps == 2 and work.setting.seconds == SECONDS
    assert localisation.count_clips(work, pairs) == 6 * 26
    assert localisation.count_clips(work, pairs, 2, controls=2) == 6 * 8
    some = localisation.select_pairs(pairs[pairs["concept"] == "sad"], 1)
    assert list(some["concept"]) == ["sad"] and some.attrs["rules"] == "paper" and len(pairs) == 6
    assert len(localisation.select_pairs(pairs, 2)) == 4
    _, short = plan(tiny_folder("ace-step"), (), judge="probe", limit=1)
    assert set(short["concept"]) == set(PROFILES["smoke"].localisation.concepts)


def test_concepts_that_the_judge_does_not_know_are_left_out_and_said(tiny_folder):
    _, pairs = plan(tiny_folder("ace-step"), ("violin", "opera"), judge="probe", rules="authors", captions=CAPTIONS)
    assert pairs.attrs["left_out"] == ["opera"] and set(pairs["concept"]) == {"violin"}
    with pytest.raises(ValueError, match="attribute probe knows none of opera"):
        plan(tiny_folder("ace-step"), ("opera",), judge="probe", rules="authors", captions=CAPTIONS)


CAPTIONS = ["a violin plays", "an opera singer", "a slow violin melody"]


def test_what_cannot_be_planned_is_refused_with_the_nearest(tiny_folder):
    with pytest.raises(KeyError, match="did you mean 'ace-step'"):
        localisation.plan("ace-stepp", None)
    with pytest.raises(KeyError, match="did you mean 'smoke'"):
        plan(tiny_folder("ace-step"), profile="smok")
    with pytest.raises(KeyError, match="did you mean 'violin'"):
        plan(tiny_folder("ace-step"), ("violine",))


# ---- from the plan to the tables


def test_a_command_leaves_its_tables_and_a_second_one_computes_nothing(tiny_folder, tmp_path, monkeypatch):
    given = f"--model ace-step --checkpoint {tiny_folder('ace-step')} --profile smoke --steps 2 --seconds {SECONDS}"
    given += f" --score checks:power --concept violin --layers 1 --layers 3+4 --store {tmp_path}"

    def sweep():
        done = run("sweep", *given.split())
        assert done.exit_code == 0 and "2 pairs of 1 concepts" in done.stdout and "8 clips" in done.stdout, done.output
        return pd.read_csv(tmp_path / "impact.csv", dtype={"layers": str})

    impacts = sweep()
    assert list(impacts["layers"]) == ["1", "3+4"]
    assert (tmp_path / "pairs.parquet").is_file() and (tmp_path / "scores.parquet").is_file()
    monkeypatch.setattr("tada.engine.chunks._batches", lambda *_: pytest.fail("a clip was made again"))
    pd.testing.assert_frame_equal(sweep(), impacts)


def test_of_a_localisation_with_fewer_seeds_all_that_is_there_is_loaded(tiny_folder, tmp_path):
    work, pairs = plan(tiny_folder("ace-step"))
    scores = localisation.sweep(work, pairs.assign(seeds=1), store=tmp_path)
    pd.testing.assert_frame_equal(localisation.load_finished(work, pairs.assign(seeds=2), tmp_path), scores)
    first = localisation.select_pairs(pairs.assign(seeds=2), 1)
    assert len(first) < len(pairs)
    scores = localisation.sweep(work, first, store=tmp_path)
    pd.testing.assert_frame_equal(localisation.load_finished(work, pairs.assign(seeds=2), tmp_path), scores)
    assert localisation.load_finished(work, pairs, tmp_path / "nowhere") is None


def test_models_are_compared_by_what_a_store_has_of_them(monkeypatch, tmp_path, tiny_folder):
    work, pairs = plan(tiny_folder("ace-step"))
    monkeypatch.setattr(localisation, "plan", lambda *_: work)
    monkeypatch.setattr(localisation, "build_pairs", lambda _: pairs)
    place = localisation.scores_folder(tmp_path, "ace-step", "mini")
    scores = localisation.sweep(work, pairs, store=place)
    found = localisation.pooled_by_model(["ace-step", "stable-audio"], tmp_path)
    assert set(found["architecture"]) == {"ace-step"} and len(found) == len(work.model.sites)
    assert found["depth"].min() == 0 and found["depth"].max() == 1
    pd.testing.assert_frame_equal(found[["layers", "impact"]], patching.pooled_impact(scores)[["layers", "impact"]])
    assert localisation.pooled_by_model(["stable-audio"], tmp_path).empty


@pytest.fixture
def planted(tiny_folder):
    """A plan on a model whose text acts at layers 3 and 8 only, judged by how far a clip has come to the target's."""
    work, pairs = plan(tiny_folder("ace-step"), limit=8)
    with heard_only_by(work.model, 3, 8):
        yield replace(work, judge=as_judge(Towards(work.model, pairs, work.setting))), pairs


def test_the_layers_that_act_are_found_ranked_and_grown(planted):
    work, pairs = planted
    impacts = patching.impact(localisation.sweep(work, pairs, [0, 3, 5, 8, 20]))
    dead = impacts[~impacts["layers"].isin(["3", "8"])]
    assert dead["impact"].abs().max() < 1e-9
    single = impacts.assign(bound=impacts["low"])  # few pairs tell of one layer, but not of all at once
    controlled = localisation.add_controls(work, pairs, single)
    called = patching.functional(controlled)
    controls = controlled[controlled["method"] != "patch"]
    assert set(controls["method"]) == {"patch-paraphrase", "patch-unrelated"}
    assert set(controls["layers"]) <= {"3", "8"}, "controls are made where they can decide"
    assert set(called.loc[called["functional"], "layers"]) <= {"3", "8"}
    curve = localisation.cumulative_impacts(work, pairs, [8, 3, 5, 20], 3)
    assert list(curve.drop_duplicates("size")[["size", "added"]].to_numpy().ravel()) == [1, 8, 2, 3, 3, 5]
    assert curve.query("size >= 2")["impact"].to_numpy() == pytest.approx(1.0, abs=1e-6)


def test_layers_of_either_half_are_routed_together_on_the_other(planted, tmp_path, monkeypatch):
    work, pairs = planted
    ends = localisation.sweep(work, pairs, [], store=tmp_path)
    named = iter([[8, 3, 5], [], [8, 3, 5], [], [], []])
    monkeypatch.setattr(patching, "call_pooled", lambda scores: next(named))
    together = localisation.measure_together(work, pairs, ends, store=tmp_path)
    assert set(together["pair"]) == set(pairs["pair"][1::2]), "the half that names layers does not measure them"
    impacts = patching.pooled_impact(together)
    assert impacts["layers"].tolist() == ["functional"] and impacts["impact"].item() == pytest.approx(1.0, abs=1e-6)
    again = localisation.measure_together(work, pairs, ends, made=True, store=tmp_path)
    pd.testing.assert_frame_equal(again, together)
    assert localisation.measure_together(work, pairs, ends, store=tmp_path) is None, "neither names any"


def test_functional_layers_are_chosen_on_pairs_of_their_own_and_kept(tiny_folder, tmp_path, monkeypatch):
    work, shown = plan(tiny_folder("ace-step"), ("sad",), limit=256)
    swept = []

    def scores(work, pairs, **options):
        swept.append(pairs)
        units = patching.plan_sweep(work.model, pairs, localisation.seeds_of(pairs), None, work.setting, work.judge)
        strength = units["layers"].map({"all": 1.0, "7": 0.4, "3": 0.6}).fillna(0.0)
        noise = np.random.default_rng(0).normal(0, 0.01, len(units))
        return units.assign(checkpoint="c", model="m", metric="s", value=strength + noise)

    monkeypatch.setattr(localisation, "sweep", scores)
    chosen = localisation.measure_functional(work, 16, ("sad",))
    assert not set(swept[0]["pair"]) & set(shown["pair"]) and not set(swept[0]["seed"]) & set(shown["seed"])
    assert chosen[:4] == ([3, 7], 1.0, 1, 8)
    (tmp_path / "tada.json").write_text('{"label": "mine", "functional": [1]}')
    kept = json.loads(localisation.keep_functional(tmp_path, chosen).read_text())
    assert kept["label"] == "mine" and kept["functional"]["layers"] == [3, 7] and len(kept) == 2


def test_published_values_are_of_the_public_models_and_peak_at_the_paper_s_layers():
    table = localisation.published()
    for name in MINIS:
        architecture = tada.ARCHITECTURES[name]
        rows = table[table["model"] == name]
        assert rows["layer"].is_unique and rows["layer"].between(0, architecture.site_count - 1).all()
        top = rows.nlargest(2, "impact")["layer"]
        assert set(top) <= set(architecture.paper_layers)
    assert table.set_index(["model", "layer"]).loc[("audioldm2", 51), "impact"] == 0.02


# ---- two sweeps on one store


def test_what_another_process_is_making_is_waited_for_not_made_again(tiny_folder, tmp_path, monkeypatch):
    """The claim of another is held while the sweep starts; when it is given back, its scores are there."""
    work, pairs = plan(tiny_folder("ace-step"))
    whole = localisation.sweep(work, pairs, [1, 2], store=tmp_path / "theirs")
    mine = Store(tmp_path / "mine")
    claim = mine.claim(f"chunk {whole['unit_hash'].iloc[0]}")
    assert claim.__enter__()

    def finish():
        time.sleep(0.6)
        Store(tmp_path / "mine").add(Store(tmp_path / "theirs").frame())
        claim.__exit__(None, None, None)

    other = threading.Thread(target=finish)
    other.start()
    monkeypatch.setattr("tada.engine.chunks.make_clips", lambda model, job, chunk, missing, limit: _none(missing))
    start = time.monotonic()
    frame = localisation.sweep(work, pairs, [1, 2], store=mine)
    other.join()
    assert time.monotonic() - start > 0.4
    pd.testing.assert_frame_equal(frame, whole)


def _none(rows):
    assert rows.empty, "a clip that another process had made was made again"
    return iter(())


# ---- a mini


@pytest.mark.parametrize("name", MINIS)
def test_the_sweep_of_a_mini_is_the_naive_loop(name):
    """Within 1e-5 of full scale one by one; side by side within 1e-3: phase stages enlarge what is rounded away (and of
    one clip in a hundred make another; not of these)."""
    work = localisation.plan(name, "mini", steps=3)
    pairs = localisation.build_pairs(work, ["happy"], limit=1)
    model, pair, heard, together = work.model, pairs.iloc[0], {}, {}

    def keep(clips, rows):
        (heard if len(rows) == 1 else together).update(zip(rows["layers"], clips.audio, strict=True))
        return np.zeros(len(rows))

    keep.key = "clips of a test"
    layers = [[1], [2, 5]]
    for batch in (1, 4):
        patching.sweep(model, pairs, [5], layers, replace(work.setting, batch=batch), score=keep)
    base, target = (model.encode(pair[which]) for which in ("source", "target"))
    for which in layers:
        with tada.route(model, which, target):
            noise = model.noise(5, work.setting.seconds)
            (alone,) = model.decode(model.sample(base, noise, work.setting.sampling)).audio
        clip = heard["+".join(map(str, which))]
        assert (clip - alone).abs().max() < 1e-5 and alone.abs().max() > 0.01
        assert (clip - together["+".join(map(str, which))]).abs().max() < 1e-3
        assert (clip - heard["none"]).abs().max() > 1e-3, "routing changes the sound"
