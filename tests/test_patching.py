"""The sweep against the naive loop and known answers; impact, its intervals and the rule; screening; resuming."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import tada
from checks import SECONDS, Ears, Towards, assert_same, heard_only_by, power
from tada import patching
from tada.engine import COLUMNS
from tada.errors import InputError
from tada.minis.cards import MINIS
from tada.models.base import Model
from tada.patching import screening, sweeps
from tada.store import Store

QUICK = tada.Sampling(steps=2, guidance=3.0)
SETS = [1, [0, 2]]
PAIRS = pd.DataFrame(
    {
        "concept": ["violin", "violin", "happy"],
        "target": ["a violin song", "slow, with two violins", "a happy tune"],
        "source": ["a trumpet song", "slow, with two trumpets", "a sad tune"],
    }
)


def two_values(clips, rows):
    return {"power": power(clips, rows), "rows": np.ones(len(rows))}


def sweep(model, pairs=PAIRS[:1], seeds=1, sets=SETS, score=None, store=None, **options):
    setting = replace(tada.Setting(SECONDS, QUICK, batch=4), **options)
    return patching.sweep(model, pairs, seeds, sets, setting, score=score or Ears(), store=store)


def naive(model: Model, layers: str, rows: int = 1) -> torch.Tensor:
    """One intervention a run: the clip of the first pair with some layers routed, ``rows`` times in its batch."""
    context = model.encode([PAIRS["source"][0], PAIRS["target"][0]])
    base, source = context[[0] * rows], context[[1] * rows]
    sites = layers if layers in ("none", "all") else [int(layer) for layer in layers.split("+")]
    with nullcontext() if layers == "none" else tada.route(model, sites, source):
        return model.decode(model.sample(base, model.noise([1] * rows, SECONDS), QUICK)).audio[0]


# ---- the sweep is the naive loop


@pytest.mark.parametrize("rows", [1, 4])
def test_the_sweep_is_the_naive_loop_to_the_bit(model, rows):
    """Batches of one shape give equal bits; with more than one row the naive run fills its batch with one clip."""
    ears = Ears()
    frame = sweep(model, score=ears, batch=rows)
    assert list(frame["layers"]) == ["none", "all", "1", "0+2"] and set(ears.batches) == {rows}
    for row in frame.itertuples():
        if row.layers != "all":
            assert torch.equal(ears.heard[row.unit_hash], naive(model, row.layers, rows)), row.layers
    clips = list(ears.heard.values())
    assert len({clip.double().sum().item() for clip in clips}) == 4, "the routed layers change the sound"


def test_all_is_the_target_prompt_and_routing_every_layer(model):
    ears = Ears()
    frame = sweep(model, score=ears, batch=1)
    every = ears.heard[frame[frame["layers"] == "all"]["unit_hash"].item()]
    context = model.encode([PAIRS["source"][0], PAIRS["target"][0]])
    target = model.decode(model.sample(context[1], model.noise(1, SECONDS), QUICK)).audio[0]
    assert torch.equal(every, target)
    assert_same(every, naive(model, "all"))


def test_other_batches_change_a_clip_by_rounding_only(model):
    one, five = Ears(), Ears()
    sweep(model, PAIRS[:1], [1, 2], score=one, batch=1)
    sweep(model, PAIRS[:1], [1, 2], score=five, batch=5)
    assert one.heard.keys() == five.heard.keys() and set(five.batches) == {5, 3}
    for unit, clip in one.heard.items():
        assert_same(five.heard[unit], clip)


def test_what_else_is_computed_does_not_change_a_bit(ace):
    few, many = Ears(), Ears()
    sweep(ace, PAIRS, [1], [1], score=few, batch=4)
    sweep(ace, PAIRS, [1], [3, 1, [0, 2]], score=many, batch=4)
    assert few.heard.keys() < many.heard.keys()
    assert all(torch.equal(many.heard[unit], clip) for unit, clip in few.heard.items())


def test_layer_sets_by_any_name_are_one_set(ace):
    names = [3, ace.sites[3], [-21], (5, 4), [ace.sites[4], 5], "all"]
    assert list(patching.resolve_sets(ace, names)) == ["3", "4+5"]
    assert len(patching.resolve_sets(ace, None)) == len(ace.sites)


def test_layer_sets_may_differ_by_concept(ace):
    given = {"happy": [0], "slow": [[1, 2], 3]}
    pairs = PAIRS[1:].assign(concept=list(given))
    table = sweep(ace, pairs, sets=given)
    layers = {name: set(part["layers"]) for name, part in table.groupby("concept")}
    assert layers == {"happy": {"none", "all", "0"}, "slow": {"none", "all", "1+2", "3"}}
    with pytest.raises(KeyError, match="no concept of layer_sets 'slow'"):
        sweep(ace, pairs, sets={"happy": [0]})


def test_the_table_says_all(ace):
    frame = sweep(ace, PAIRS, [1, 2], score=two_values, batch=24)
    assert list(frame) == [*COLUMNS, "unit_hash"]
    assert len(frame) == 3 * 2 * 4 * 2 and set(frame["metric"]) == {"power", "rows"} and frame["value"].notna().all()
    targets = frame[frame["layers"] == "all"].drop_duplicates("pair")["prompt"]
    assert list(targets) == list(PAIRS["target"])
    assert set(frame[frame["layers"] != "all"]["prompt"]) == set(PAIRS["source"])
    assert frame["model"].unique() == ["ace-step"] and frame["checkpoint"].unique() == [ace.checkpoint]


def test_text_is_encoded_once_and_no_clip_twice(ace, monkeypatch):
    said, made = [], []
    encode, sample = ace.encode_one, ace.sample
    monkeypatch.setattr(ace, "encode_one", lambda *text: said.append(text[0]) or encode(*text))
    monkeypatch.setattr(ace, "sample", lambda context, *rest: made.append(len(context)) or sample(context, *rest))
    sweep(ace, PAIRS, range(1, 3), batch=6)
    assert sorted(said) == sorted([*PAIRS["target"], *PAIRS["source"]])
    assert sum(made) == 3 * 2 * (2 + len(SETS)), "pairs x seeds x (L + 2), and no recorded clean run"


# ---- known answers


@pytest.fixture
def planted(ace):
    """A model whose text acts at sites 3 and 8 only."""
    with heard_only_by(ace, 3, 8):
        yield ace


def planted_scores(model, sets):
    pairs = pd.concat([PAIRS] * 6).assign(concept="violin", pair=range(18), seed=range(1, 19))
    return sweep(model, pairs, 1, sets, score=Towards(model, pairs, tada.Setting(SECONDS, QUICK)), batch=12)


def test_planted_layers_are_found_and_no_others(planted):
    singles = [0, 3, 5, 8, 13, 23]
    scores = planted_scores(planted, [*singles, [3, 8], [4, 5, 6, 7]])
    impacts = patching.impact(scores)
    of = {row.layers: row.impact for row in impacts.itertuples()}
    assert of["3+8"] == pytest.approx(1.0, abs=1e-6), "both layers together are the full swap"
    others = [of[str(layer)] for layer in singles if layer not in (3, 8)]
    assert max(map(abs, others)) < 1e-9 and abs(of["4+5+6+7"]) < 1e-9
    assert of["3"] > 0.05 and of["8"] > 0.05
    called = patching.functional(impacts)
    assert set(called[called["functional"]]["layers"]) == {"3", "8"}


def test_screening_ranks_the_planted_layers_first(planted):
    found = screening.screen(planted, PAIRS, [1], [*range(12), [3, 8]], tada.Setting(SECONDS, QUICK), steps=[0, 1])
    assert len(found) == 3 * 2 * 13
    assert set(screening.rank(found[found["layers"] != "3+8"])[:2]) == {"3", "8"}
    assert np.allclose(found[found["layers"] == "3+8"]["change"], 1.0, atol=1e-5)
    assert found[~found["layers"].isin(["3", "8", "3+8"])]["change"].abs().max() < 1e-5


@pytest.mark.parametrize("name", MINIS)
def test_a_screened_call_is_the_call_of_the_run(tiny_model, name):
    """The denoiser asked again with what was kept says what it said; layers outside the run are refused."""
    model, said = tiny_model(name), []
    with model.denoiser.register_forward_hook(lambda _, args, output: said.append(output)):
        frame = screening.screen(model, PAIRS[:1], 1, [0, 1], tada.Setting(SECONDS, QUICK), steps=[1])
    kept, again = (value[0] if isinstance(value, tuple) else value for value in (said[-2], said[-1]))
    conditional = kept[-1:] if len(kept) == 2 else next(s for s in reversed(said[:-1]) if len(s) == 1)
    if model.name != "ace-step":  # whose conditional pass is a call of its own, before the unconditional one
        assert_same(again[:1].float(), conditional.float())
    assert len(again) == 4 and (frame["change"] > 0).all()
    with pytest.raises(ValueError, match=r"got steps=\[2\].*0 to 1"):
        screening.screen(model, PAIRS[:1], 1, [0], tada.Setting(SECONDS, QUICK), steps=[2])


def test_keys_values_and_silence_are_the_naive_interventions(model):
    ears = Ears()
    sets = [patching.Change(1, "keys"), patching.Change([0, 2], "values"), patching.Change(1, "ablated")]
    pairs = PAIRS[:1].assign(paraphrase="a song of trumpets")
    frame = sweep(model, pairs, sets=sets, score=ears, batch=1)
    assert list(frame["layers"]) == ["none", "all", "1 keys", "0+2 values", "1 ablated", "1 keys", "0+2 values"]
    heard = {row.layers: ears.heard[row.unit_hash] for row in frame.itertuples() if row.method == "patch"}
    base, target = model.encode([PAIRS["source"][0], PAIRS["target"][0]])
    noise, silence = model.noise(1, SECONDS), {1: lambda hidden, when: torch.zeros_like(hidden)}
    naive = {
        "1 keys": (base, tada.route(model, 1, target, part="keys")),
        "0+2 values": (base, tada.route(model, [0, 2], target, part="values")),
        "1 ablated": (target, tada.edit(model, silence, passes="both")),
    }
    for layers, (context, intervention) in naive.items():
        with intervention:
            clip = model.decode(model.sample(context, noise, QUICK)).audio[0]
        assert torch.equal(heard[layers], clip), layers
    assert len({clip.double().sum().item() for clip in heard.values()}) == 5


def test_text_has_no_way_in_but_the_sites(model):
    """With all of them silent, clips of any two prompts are one."""
    ears = Ears()
    frame = sweep(model, PAIRS[1:], [[1]] * 2, [patching.Change("all", "ablated")], ears, batch=1)
    first, second = (ears.heard[unit] for unit in frame[frame["layers"] == "all ablated"]["unit_hash"])
    assert_same(first, second)


def test_silencing_what_carries_nothing_leaves_the_whole_effect(planted):
    impacts = patching.impact(planted_scores(planted, [patching.Change([4, 5], "ablated"), 3]))
    of = {row.layers: row.impact for row in impacts.itertuples()}
    assert of["4+5 ablated"] == pytest.approx(1.0, abs=1e-6)
    assert list(patching.functional(impacts)["layers"]) == ["3"], "only layers on their own are called functional"
    with pytest.raises(KeyError, match="did you mean 'ablated'"):
        planted_scores(planted, [patching.Change(3, "ablate")])


def test_controls_route_other_prompts(ace):
    ears = Ears()
    pairs = PAIRS[:1].assign(paraphrase=["a song of trumpets"], unrelated=PAIRS["source"][:1])
    frame = sweep(ace, pairs, score=ears, batch=4)
    assert list(frame["method"].value_counts(sort=False)) == [4, 2, 2]
    heard = {(row.method, row.layers): ears.heard[row.unit_hash] for row in frame.itertuples()}
    none = heard["patch", "none"]
    assert torch.equal(heard["patch-unrelated", "1"], none), "the prompt itself, routed, changes nothing"
    assert not torch.equal(heard["patch-paraphrase", "1"], none)


# ---- the store and resuming


def test_a_second_run_computes_nothing_and_a_larger_one_only_what_is_new(ace, tmp_path):
    ears = Ears()
    first = sweep(ace, PAIRS, score=ears, store=tmp_path)
    assert sum(ears.batches) == 12
    pd.testing.assert_frame_equal(sweep(ace, PAIRS, score=ears, store=tmp_path), first)
    assert sum(ears.batches) == 12, "a second run asked for clips"
    sweep(ace, PAIRS, sets=[*SETS, 5], score=ears, store=tmp_path)
    assert sum(ears.batches) == 15


def test_all_that_determines_a_score_is_in_its_hash(ace):
    other = Ears()
    other.key = "other ears"
    changes = [{}, {"seeds": 2}, {"pairs": PAIRS[1:2]}, {"score": other}, {"lyrics": ""}]
    changes += [{"sampling": tada.Sampling(3, 3.0)}, {"seconds": SECONDS / 2}]
    units = [unit for change in changes for unit in sweep(ace, **change)["unit_hash"]]
    assert len(units) == 28 == len(set(units))


def test_other_weights_are_another_model(ace):
    before = ace.fingerprint()
    assert before == ace.fingerprint()
    weight = ace.denoiser.get_submodule(ace.sites[0]).to_q.weight
    kept = weight.detach().clone()
    try:
        weight.data[0, 0] += 1e-3
        assert ace.fingerprint() != before
    finally:
        weight.data.copy_(kept)


def test_a_run_cut_anywhere_ends_in_the_same_table(ace, tmp_path):
    whole = sweep(ace, PAIRS, [1, 2], store=tmp_path / "whole", batch=4)

    class Falls(Ears):
        def __call__(self, clips, rows):
            if len(self.batches) == 2:
                raise KeyboardInterrupt
            return super().__call__(clips, rows)

    heard = 0
    for _ in range(2):
        ears = Falls()
        with pytest.raises(KeyboardInterrupt):
            sweep(ace, PAIRS, [1, 2], score=ears, store=tmp_path / "cut", batch=4)
        heard += sum(ears.batches)
    ears = Ears()
    pd.testing.assert_frame_equal(sweep(ace, PAIRS, [1, 2], score=ears, store=tmp_path / "cut", batch=4), whole)
    assert heard + sum(ears.batches) == len(whole)


RUN = """
import sys
import pandas as pd, torch, tada
from checks import SECONDS
from test_patching import PAIRS, QUICK, SETS, two_values
from tada import patching
from tada.engine.pool import processes

if __name__ == "__main__":
    torch.set_num_threads(1)
    model = tada.load("ace-step", sys.argv[1], device="cpu")
    with processes(int(sys.argv[3])) as executor:
        setting = tada.Setting(SECONDS, QUICK, batch=4, executor=executor)
        many = pd.concat([PAIRS] * 4).assign(pair=range(12))
        patching.sweep(model, many, 1, SETS, setting, score=two_values, store=sys.argv[2])
"""


def test_killed_sweeps_go_on_where_they_were_and_workers_change_nothing(tiny_folder, ace, tmp_path):
    """Workers of a killed sweep end with it; the table is that of an undisturbed run in one process."""
    script = tmp_path / "run.py"
    script.write_text(RUN)
    cut = tmp_path / "cut"
    many = pd.concat([PAIRS] * 4).assign(pair=range(12))
    process = subprocess.Popen(
        [sys.executable, str(script), str(tiny_folder("ace-step")), str(cut), "2"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, Path(__file__).parents[:2]))},
    )
    deadline = time.monotonic() + 300
    while process.poll() is None and len(Store(cut).known()) < 3:
        assert time.monotonic() < deadline, "nothing was stored in five minutes"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    time.sleep(0.8)
    stored = Store(cut).known()
    assert stored, "the workers had stored something"
    time.sleep(0.4)
    assert Store(cut).known() == stored, "a worker went on alone"

    def both(store):
        return sweep(ace, many, score=two_values, store=store)

    pd.testing.assert_frame_equal(both(cut), both(tmp_path / "whole"))


def test_clips_are_kept_when_asked_and_made_again_when_gone(ace, tmp_path):
    ears = Ears()
    frame = sweep(ace, score=ears, store=tmp_path / "store", keep=tmp_path / "clips")
    files = sorted(path.stem for path in (tmp_path / "clips").glob("*.flac"))
    assert files == sorted(frame["unit_hash"])
    (tmp_path / "clips" / f"{files[0]}.flac").unlink()
    again = sweep(ace, score=ears, store=tmp_path / "store", keep=tmp_path / "clips")
    pd.testing.assert_frame_equal(again, frame)
    assert sum(ears.batches) == 5 and len(list((tmp_path / "clips").glob("*.flac"))) == 4


# ---- batch size and memory


def test_memory_that_does_not_suffice_halves_the_batch(ace, monkeypatch, caplog):
    ears, sample = Ears(), ace.sample

    def small(context, *rest):
        if len(context) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return sample(context, *rest)

    monkeypatch.setattr(ace, "sample", small)
    with caplog.at_level(logging.WARNING, "tada.engine"):
        frame = sweep(ace, PAIRS, score=ears, batch=9)
    assert set(ears.batches) == {3} and len(frame) == 12
    assert "going on with 5 rows" in caplog.text and "going on with 3 rows" in caplog.text
    monkeypatch.setattr(ace, "sample", lambda *_: (_ for _ in ()).throw(RuntimeError("another fault")))
    with pytest.raises(RuntimeError, match="another fault"):
        sweep(ace)


def test_an_executor_and_none_give_one_table(ace):
    pairs = pd.concat([PAIRS] * 4).assign(pair=range(12))
    with ThreadPoolExecutor(1) as pool:
        pd.testing.assert_frame_equal(
            sweep(ace, pairs, score=two_values, executor=pool), sweep(ace, pairs, score=two_values)
        )


# ---- what is wrong is said


def test_pairs_that_the_encoder_cannot_tell_apart_are_left_out_and_counted(tiny_model):
    model, long = tiny_model("stable-audio"), "a song with guitars and drums in a large room, " * 60
    late = pd.DataFrame({"concept": "violin", "target": [long + "violin"], "source": [long + "trumpet"]})
    early = pd.DataFrame({"concept": "violin", "target": ["a violin"], "source": ["a trumpet"]})
    plan = (model, pd.concat([late, early]), [[1], [2]], [[0]], tada.Setting(SECONDS, QUICK), two_values)
    with pytest.warns(UserWarning, match="1 of 2 pairs differ only in words that stable-audio does not read"):
        kept = sweeps.plan_sweep(*plan)
    assert set(kept["prompt"]) == {"a violin", "a trumpet"}
    assert set(kept["seed"]) == {2}, "a pair keeps its own seeds"
    with pytest.raises(InputError, match="1 of 1 pairs.*give shorter prompts"):
        sweeps.plan_sweep(model, late, 1, *plan[3:])


def one_value(clips, rows):
    return [1.0]


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"sets": [24]}, IndexError, "no layer 24"),
        ({"sets": ["transformer_blocks.1.attn"]}, KeyError, "no site"),
        ({"sets": 3}, ValueError, r"such as \[3\]"),
        ({"sets": ["functional"]}, ValueError, "functional layers"),
        ({"pairs": PAIRS[:0]}, ValueError, "no pairs"),
        ({"pairs": PAIRS.rename(columns={"source": "sources"})}, ValueError, "did you mean 'sources'"),
        ({"pairs": pd.concat([PAIRS, PAIRS])}, ValueError, "there twice"),
        ({"score": lambda clips, rows: [0.0] * len(rows)}, ValueError, "attribute key"),
        ({"score": one_value}, ValueError, "a value each"),
        *(({"seeds": seeds}, ValueError, "follow each other") for seeds in ([1, 1], [1, 3])),
        *(({"seeds": seeds}, ValueError, "some for each row, none of them twice") for seeds in ([[1, 1]], [[1], [2]])),
        *(({"seeds": seeds}, ValueError, r"got seeds=\[\]") for seeds in ([], [[]])),
    ],
)
def test_wrong_input_is_refused_with_reasons(ace, given, error, words):
    with pytest.raises(error, match=words):
        sweep(ace, **given)


def test_workers_find_the_model_s_own_weights_or_say_so(tiny_folder):
    model = tada.load("ace-step", tiny_folder("ace-step"), device="cpu")
    with torch.no_grad():
        model.denoiser.get_submodule(model.sites[0]).to_q.weight[0, 0] += 1.0
    with ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match="other weights"):
        sweep(model, score=two_values, executor=pool)
    model.reload = None
    with ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match="cannot load it"):
        sweep(model, score=two_values, executor=pool)


def test_captions_of_every_kind_go_through(ace):
    odd = pd.DataFrame({"concept": ["x"], "target": ['"a" <b>violin</b>\n🎻'], "source": ['"a" <b>trumpet</b>\n🎺']})
    assert len(sweep(ace, odd)) == 4


# ---- impact


def scores(values: dict[str, list[float]], method: str = "patch", concept: str = "c", seeds: int = 1) -> pd.DataFrame:
    """A table of scores: layers -> value of each pair, the same for every seed; no pair shares a seed."""
    rows = [
        {"checkpoint": "k", "model": "m", "concept": concept, "metric": "s", "method": method, "layers": layers}
        | {"pair": f"p{pair}", "seed": pair * seeds + seed, "value": value}
        for layers, line in values.items()
        for pair, value in enumerate(line)
        for seed in range(seeds)
    ]
    return pd.DataFrame(rows)


def noisy(rng: np.random.Generator, values: dict[str, float], pairs: int, spread: float) -> dict[str, list[float]]:
    """Layers -> a value of each pair about that of the layers."""
    return {layers: list(value + rng.normal(0, spread, pairs)) for layers, value in values.items()}


def test_impact_is_equation_9_unrounded_and_unclipped():
    none, every = [0.1, 0.2, 0.3, 0.2], [0.5, 0.6, 0.7, 0.7]
    table = scores({"none": none, "all": every, "0": none, "1": every, "2": [0.0, 0.1, 0.2, 0.0], "3": [1.0] * 4})
    impacts = patching.impact(table).set_index("layers")["impact"]
    assert impacts["0"] == 0 and impacts["1"] == 1
    assert impacts["2"] == pytest.approx((0.075 - 0.2) / (0.625 - 0.2)) and impacts["2"] < 0
    assert impacts["3"] == pytest.approx((1.0 - 0.2) / (0.625 - 0.2)) and impacts["3"] > 1


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng, hits = np.random.default_rng(0), 0
    for _ in range(100):
        level, effect = rng.normal(0, 1, 40), 1 + 0.3 * rng.normal(size=40)
        layer = level + 0.4 * effect + 0.2 * rng.normal(size=40)
        row = patching.impact(scores({"none": level, "all": level + effect, "0": layer}), resamples=300).iloc[0]
        hits += row["low"] <= 0.4 <= row["high"]
        assert row["known"] and row["effect_low"] < row["effect"] < row["effect_high"]
    assert 86 <= hits <= 100


def test_the_bootstrap_is_paired_and_seeded():
    """What all clips of a prompt share cancels: levels that differ wildly do not widen the interval."""
    level = np.random.default_rng(1).normal(0, 100, 20)
    table = scores({"none": level, "all": level + 1, "0": level + 0.5})
    row = patching.impact(table).iloc[0]
    assert row["low"] == pytest.approx(0.5, abs=1e-6) and row["high"] == pytest.approx(0.5, abs=1e-6)
    noisy = table.assign(value=table["value"] + np.random.default_rng(2).normal(0, 0.1, len(table)))
    pd.testing.assert_frame_equal(patching.impact(noisy, seed=3), patching.impact(noisy, seed=3))
    assert patching.impact(noisy, seed=3)["low"][0] != patching.impact(noisy, seed=4)["low"][0]


def test_more_prompts_narrow_the_interval_and_more_seeds_of_a_prompt_do_not():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.3, 64)

    def width(pairs: int, seeds: int = 1) -> float:
        values = {"none": [0.0] * pairs, "all": [1.0] * pairs, "0": list(0.5 + noise[:pairs])}
        row = patching.impact(scores(values, seeds=seeds)).iloc[0]
        assert (row["pairs"], row["clips"]) == (pairs, pairs * seeds)
        return row["high"] - row["low"]

    assert width(64) < 0.7 * width(16)
    assert width(16, seeds=4) == pytest.approx(width(16), rel=0.1)


@pytest.mark.parametrize("pairs", [1, 8])
def test_a_small_full_swap_or_a_single_pair_makes_the_impact_unknown(pairs):
    table = scores({"none": [0.0, 1.0] * 4, "all": [1.1, 0.0] * 4, "0": [0.55, 0.5] * 4})
    row = patching.impact(table[table["pair"].isin([f"p{number}" for number in range(pairs)])]).iloc[0]
    assert not row["known"] and (row["low"], row["high"]) == (-np.inf, np.inf)
    assert row["effect_low"] < 0 < row["effect_high"] and np.isfinite(row["impact"])


def test_scores_with_gaps_or_twice_are_refused():
    table = scores({"none": [0.0, 0.1], "all": [1.0, 1.0], "0": [0.5, 0.5]})
    with pytest.raises(ValueError, match=r"concept c.*no clips with layers 'all'"):
        patching.impact(table[table["layers"] != "all"])
    with pytest.raises(ValueError, match="pair p1 has no clip"):
        patching.impact(table[:-1])
    with pytest.raises(ValueError, match="2 scores are there twice"):
        patching.impact(pd.concat([table, table[-2:]]))
    with pytest.raises(ValueError, match="1 scores are NaN"):
        patching.impact(table.assign(value=[np.nan, *table["value"][1:]]))


def test_the_rule_needs_impact_certainty_and_a_margin_over_controls():
    rng = np.random.default_rng(0)
    values = {"none": 0.0, "all": 1.0, "5": 0.6, "6": 0.3, "7": 0.05, "8": 0.0, "9": 0.2}
    table = scores(noisy(rng, values, 16, 0.01))
    others = noisy(rng, {"5": 0.0, "6": 0.01, "7": 0.0, "8": 0.0, "9": 0.2}, 16, 0.01)
    control = scores(others, "patch-unrelated")
    called = patching.functional(patching.impact(pd.concat([table, control])))
    assert list(called["layers"]) == ["5", "6", "9", "7", "8"]
    assert list(called[called["functional"]]["layers"]) == ["5", "6"], "9 is no better than its control, 7 is little"
    assert set(patching.functional(patching.impact(table)).query("functional")["layers"]) == {"5", "6", "9"}
    least = patching.functional(patching.impact(pd.concat([table, control])), least=0.01)
    assert list(least[least["functional"]]["layers"]) == ["5", "6", "7"]
    few = table[table["pair"].isin([f"p{number}" for number in range(7)])]
    assert not patching.functional(patching.impact(few))["functional"].any(), "seven pairs call nothing"


def null_scores(rng: np.random.Generator, pairs: int, layers: int, concept: str) -> pd.DataFrame:
    """Scores of a continuous judge in which the full swap has an effect and no layer has any."""
    names = ["none", "all", *map(str, range(layers))]
    clips = rng.normal(size=pairs) + 0.4 * rng.normal(size=(len(names), pairs))
    clips[1] += 1
    return scores({name: list(line) for name, line in zip(names, clips, strict=True)}, concept=concept)


@pytest.mark.parametrize(("pairs", "layers"), [(8, 24), (12, 12)])
def test_no_layer_is_called_where_none_has_an_effect(pairs, layers):
    rng = np.random.default_rng(0)
    table = pd.concat([null_scores(rng, pairs, layers, f"c{number}") for number in range(200)])
    called = patching.functional(patching.impact(table, resamples=200)).groupby("concept")
    wrong, alone = called["functional"].any().sum(), called["low"].max().gt(0).sum()
    assert wrong <= 0.05 * 200, f"{wrong} of 200 concepts with a false functional layer"
    assert alone > 0.15 * 200, "intervals of single layers do not hold for all at once"


def test_pooled_impacts_are_means_over_known_concepts_with_the_pairs_of_all():
    rng = np.random.default_rng(0)

    def concept(name: str, strong: float) -> pd.DataFrame:
        return scores(noisy(rng, {"none": 0.0, "all": 1.0, "0": strong, "1": 0.0}, 6, 0.05), concept=name)

    lost = scores({"none": [0.0, 1.0] * 3, "all": [1.0, 0.0] * 3, "0": [9.0] * 6, "1": [9.0] * 6}, concept="lost")
    table = pd.concat([concept("a", 0.2), concept("b", 0.6), lost])
    single = patching.impact(table).set_index(["concept", "layers"])
    pooled = patching.pooled_impact(table).set_index("layers")
    assert pooled.loc["0", "impact"] == pytest.approx(single.loc[[("a", "0"), ("b", "0")], "impact"].mean())
    assert (pooled.loc["0", "pairs"], pooled.loc["0", "concepts"]) == (12, 2)
    every, one = pooled.loc["0"], single.loc[("a", "0")]
    assert every["high"] - every["low"] < one["high"] - one["low"]
    called = patching.functional(pooled.reset_index())
    assert list(called.loc[called["functional"], "layers"]) == ["0"], "twelve pairs of two concepts are enough"
    assert not patching.functional(patching.impact(table))["functional"].any(), "six of one are not"


def test_functional_layers_are_chosen_on_half_of_the_pairs_and_held_against_the_other():
    rng = np.random.default_rng(1)

    def lines(strong: str) -> dict[str, list[float]]:
        return noisy(rng, {"none": 0.0, "all": 1.0} | {layer: 0.9 * (layer in strong) for layer in "012345"}, 10, 0.05)

    same = pd.concat([scores(lines("25"), concept=name) for name in "ab"])
    found = patching.choose_functional(same)
    assert sorted(found.layers) == [2, 5] and found[1:] == (1.0, 2, 10, (0, 9))
    halves = {
        key: [x for pair in zip(one, lines("23")[key], strict=True) for x in pair] for key, one in lines("25").items()
    }
    found = patching.choose_functional(scores(halves))
    assert sorted(found.layers) == [2, 5] and found.jaccard == pytest.approx(1 / 3), "2 of 2, 3 and 5"
    none = patching.choose_functional(scores(lines("")))
    assert none.layers == [] and none.jaccard is None
    with pytest.raises(ValueError, match="metric s, t; expected one"):
        patching.choose_functional(pd.concat([same, same.assign(metric="t")]))


def test_a_layer_is_held_against_its_control_pair_by_pair():
    """Pairs differ far more than a layer and its control do: intervals overlap, and the margin is certain."""
    easy = np.linspace(0, 1, 16)
    table = scores({"none": [0.0] * 16, "all": [1.0] * 16, "5": list(0.2 + 0.8 * easy), "6": list(easy)})
    control = scores({"5": list(0.8 * easy), "6": list(0.5 - 0.1 * easy)}, "patch-unrelated")
    impacts = patching.impact(pd.concat([table, control])).set_index(["method", "layers"])
    layer, held = impacts.loc[("patch", "5")], impacts.loc[("patch-unrelated", "5")]
    assert layer["low"] < held["high"]
    assert (held["margin"], held["margin_low"], held["margin_high"]) == pytest.approx((0.2, 0.2, 0.2))
    other = impacts.loc[("patch-unrelated", "6")]
    assert other["margin"] == pytest.approx(0.05) and other["margin_low"] < 0 < other["margin_high"]
    assert np.isnan(layer["margin"])
    called = patching.functional(impacts.reset_index())
    assert list(called[called["functional"]]["layers"]) == ["5"]
    with pytest.raises(ValueError, match="control patch-unrelated but none of the layers 6"):
        patching.impact(pd.concat([table[table["layers"] != "6"], control]))


def test_the_aggregate_shows_its_spread_and_leaves_out_what_is_unknown():
    one, two = (scores({"none": [0] * 2, "all": [1] * 2, "0": [x] * 2}, concept=str(x)) for x in (0.2, 0.6))
    lost = scores({"none": [0.0, 1.0], "all": [1.0, 0.0], "0": [9.0, 9.0]}, concept="c")
    row = patching.aggregate(patching.impact(pd.concat([one, two, lost]))).iloc[0]
    assert (row["mean"], row["low"], row["high"]) == pytest.approx((0.4, 0.2, 0.6))
    assert row["std"] == pytest.approx(np.std([0.2, 0.6], ddof=1)) and (row["concepts"], row["unknown"]) == (2, 1)


def test_growing_sets_add_one_layer_at_a_time():
    assert patching.nested_sets(["7", "6", "5"]) == [[7], [7, 6], [7, 6, 5]]
    assert patching.nested_sets([7, 6, 5], most=1) == [[7]]
