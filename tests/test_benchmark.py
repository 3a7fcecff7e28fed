"""The benchmark of ways to steer: prompts, arms, controls, one distance for all, and several concepts at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import tada
from checks import SECONDS, assert_same
from tada import evaluation, steering
from tada.concepts import steered as prompts
from tada.display import benchmark as figures
from tada.engine import Texts
from tada.experiments import benchmark, dispute, table_1
from tada.experiments.benchmark import CONTROL
from tada.metrics.judges import ProbeJudge
from tada.minis.attributes import CLASSES
from tada.stats import ABOVE, UNDECIDED, mean_interval
from tada.steering import Arm, ClampArm, RecordedArm, StackedArm, Vector

QUICK = tada.Sampling(steps=2, guidance=3.0)
SETTING = tada.Setting(SECONDS, QUICK)

# ---- prompts


@pytest.mark.parametrize("vocabulary", ["public", "mini"])
@pytest.mark.parametrize("concept", list(prompts.CONCEPTS))
def test_neutral_prompts_and_their_partners_share_their_base(concept, vocabulary):
    about, found = prompts.get(concept), prompts.poles(concept, 3, vocabulary, first=2)
    assert list(found) == prompts.neutral(concept, 3, vocabulary, first=2, wording="revised")
    templates = about.neutral["revised"], *about.templates["revised"]
    for plain, sides in found.items():
        bases = set()
        for text, template in zip((plain, *sides), templates, strict=True):
            before, after = template.split("{base}")
            assert text.startswith(before) and text.endswith(after)
            bases.add(text[len(before) : len(text) - len(after)])
        assert len(bases) == 1 and len({plain, *sides}) >= 2


def test_the_word_of_a_template_and_where_it_stands():
    assert prompts.word("{base}, with piano") == ("piano", True)
    assert prompts.word("fast song, {base}") == ("song", False)
    played = prompts.played()
    assert {"tempo", "mood", "vocal gender", "piano", "drums", "violin", "flute or trumpet"} <= set(played)
    assert all(prompts.get(name).attribute in CLASSES for name in played)


# ---- arms


def sample(model, context):
    return model.sample(context, model.noise([7] * len(context), SECONDS), QUICK).values


def rows_of(model, arm, prompt="a song", percent=100.0):
    return pd.DataFrame([{"prompt": prompt, "seed": 7, "percent": percent, "alpha": arm.raw(percent)}]).assign(
        **arm.texts(prompt)
    )


def steered(model, arm, texts, percent=100.0):
    encoded = model.encode(texts)
    rows = rows_of(model, arm, percent=percent)
    with arm.intervene(model, rows, Texts(encoded, {text: row for row, text in enumerate(texts)})):
        return sample(model, encoded[[0]])


TEXTS = ["a song", "a happy song"]


def test_a_stack_is_its_parts_one_inside_the_other(tiny_model):
    model, draw = tiny_model("stable-audio"), torch.Generator().manual_seed(0)
    one, other = (
        Vector({site: torch.randn(1, model.site_width(site), generator=draw) for site in model.sites}).unit()
        for _ in range(2)
    )
    parts = ClampArm("clamp", one, [1, 4], (3.0, 2.0)), ClampArm("clamp", other, [1, 4], (1.0, 5.0))
    for percent, alphas in ((50.0, (1.5, 0.5)), (-100.0, (-2.0, -5.0))):
        together = steered(model, StackedArm("two", parts, [1, 4]), TEXTS, percent)
        with steering.clamp(model, [alphas[0]], one, [1, 4]), steering.clamp(model, [alphas[1]], other, [1, 4]):
            assert torch.equal(sample(model, model.encode(TEXTS)[[0]]), together)


def test_outputs_of_the_positive_run_at_all_layers_are_that_run(tiny_model):
    model = tiny_model("stable-audio")
    said = {"a song": ("a happy song", "")}
    arm = RecordedArm("output patch", "outputs", said, SETTING, "all")
    encoded = model.encode(TEXTS)
    assert_same(steered(model, arm, TEXTS), sample(model, encoded[[1]]), 1e-5)
    assert torch.equal(steered(model, arm, TEXTS, 0.0), sample(model, encoded[[0]]))
    with pytest.raises(KeyError, match="prompt with poles"):
        arm.texts("another")


def test_the_same_pairs_vector_adds_the_difference_of_frame_means(tiny_model):
    model, layer = tiny_model("stable-audio"), 3
    arm = RecordedArm("same-pair vector", "means", {"a song": ("a happy song", "")}, SETTING, [layer], (0.5, 0.5))
    encoded, means = model.encode(TEXTS), []
    for row in (0, 1):
        with tada.record(model, layer) as kept:
            sample(model, encoded[[row]])
        means.append(kept[layer].mean(2))
    move = means[1] - means[0]  # [steps, rows, dim]
    with tada.edit(model, {layer: lambda hidden, when: hidden + 0.5 * move[when.step][:, None]}, "cond"):
        expected = sample(model, encoded[[0]])
    assert_same(steered(model, arm, TEXTS), expected, 1e-6)


# ---- a run


class Suite:
    """Metrics whose values are known: LPAPS is a tenth of the raw strength, ears hear a hundredth of it."""

    key = "suite of the tests"

    def knows(self, concept):
        return True

    def __call__(self, clips, rows):
        alpha = rows["alpha"].to_numpy(float)
        noise = 0.001 * clips.audio.double().square().mean((1, 2)).numpy()
        ears = dict.fromkeys(("probe", "mini-clap", "signal"), alpha / 100 + noise)
        return {**ears, "lpaps": np.abs(alpha) / 10}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> table_1.Table1:
    home = tmp_path_factory.mktemp("benchmark")
    config = table_1.Config("stable-audio", "tiny", "smoke", ("mood",), "12+11", store=str(home / "store"))
    return replace(benchmark.open_benchmark(config), suite=Suite())


def test_every_way_makes_its_rows_and_strangers_are_refused(table):
    kept = {
        method: [make(table, "mood", layers) is not None for layers in table.work.layer_sets]
        for method, make in benchmark.METHODS.items()
        if method != "SAE"
    }
    tiny_reads_letters, profile_trains_none = "Token Embeddings", "Concept Sliders"
    assert {name for name, some in kept.items() if not any(some)} == {tiny_reads_letters, profile_trains_none}
    assert all(all(some) for some in kept.values() if any(some))
    with pytest.raises(KeyError, match="did you mean 'CAA'"):
        benchmark.make_arms(table, "mood", ["CCA"])
    lines = figures.gap_lines(pd.DataFrame({"method": ["CAA"]}), ["CAA", "SAE"])
    assert "- SAE: it is on one" in lines and "CAA" not in lines


def test_a_slider_is_trained_once_for_its_layers(table):
    own = table_1.open_table(replace(table.config, slider_iterations=2))  # as a worker does
    way = benchmark.METHODS["Concept Sliders"](own, "mood", "functional")
    again = benchmark.METHODS["Concept Sliders"](own, "mood", "functional")
    assert len(way.slider.info["losses"]) == 2 and set(way.slider.down) == set(again.slider.down)
    assert all(torch.equal(again.slider.up[name], up) for name, up in way.slider.up.items())
    assert len(list(table.kept("benchmark-sliders").glob("*.safetensors"))) == 1


def test_all_ways_end_at_the_distance_of_the_prompt(table):
    steps = benchmark.count_steps(table)
    assert benchmark.prompt_cutoffs(table, "mood") == pytest.approx((steps / 10, steps / 10))
    between = 8 ** ((steps / 10 - 0.1) / (0.8 - 0.1))  # on a log scale between the two rungs of this profile, 1 and 8
    for way in benchmark.make_arms(table, "mood", ["PCI", "CAA", "FreeSliders", "Clamp"]):
        assert way.scale == pytest.approx([steps if way.method == "PCI" else between] * 2)


def test_a_benchmark_is_computed_once_with_its_controls(table, monkeypatch):
    results = benchmark.compute(table, ["CAA"])
    arms, controls = benchmark.without_controls(results), results[results["method"].str.startswith(CONTROL)]
    assert set(arms["method"]) == {"none", "CAA"}
    assert set(arms["layers"]) == {"none", "functional", "all", "all-but-functional"}
    names = {"random 0", "random 1", "shuffled labels", "unrelated concept", "paraphrase"}
    assert set(controls["method"]) == {CONTROL + name for name in names} and set(controls["percent"]) == {100, -100}
    strong = results[(results["layers"] == "functional") & (results["percent"] == 100)].groupby("method")["alpha"].max()
    assert strong[CONTROL + "random 0"] == strong["CAA"] == strong[CONTROL + "shuffled labels"]

    monkeypatch.setattr(type(table.work.model), "sample", lambda *_: pytest.fail("a second run computes nothing"))
    again = benchmark.compute(table, ["CAA"])
    pd.testing.assert_frame_equal(again, results)
    cells = benchmark.make_table(table, results)
    assert {"auc probe", "auc mini-clap", "auc signal"} <= set(cells["column"])
    means = evaluation.pooled(arms, {"mood": benchmark.prompt_cutoffs(table, "mood")})
    one = means[(means["layers"] == "all") & (means["column"] == "auc probe")].iloc[0]
    each = cells[(cells["layers"] == "all") & (cells["column"] == "auc probe")]["value"]
    assert one["value"] == pytest.approx(each.mean()) and one["concepts"] == 1
    assert "CAA, all" in figures.area_table(means).to_html()
    assert "here: probe" in figures.published_beside(means, ["probe"]).to_html()


@pytest.fixture
def probe_alone(monkeypatch):
    monkeypatch.setattr(benchmark, "truth_judges", lambda table: [ProbeJudge()])


def test_several_concepts_at_once_are_all_judged(table, probe_alone):
    rows = benchmark.steer_together(table, ["mood", "piano"])
    found = benchmark.together_table(rows)
    ways = {"alone", "sum of 2", "Gram-Schmidt of 2", "clamp of 2"}
    assert set(found["way"]) == ways and set(found["concept"]) == {"mood", "piano"}
    assert len(found[found["concept"] == "piano"]) == len(ways)
    assert "Gram-Schmidt of 2" in figures.together_table(found).to_html()


CONDITIONS = {
    "decomposition": {"prompt", "K/V patch", "output patch", "same-pair vector", "mean vector"},
    "pairs": {"fewest pairs", "the paper's pairs", "most pairs"},
    "sites": {"cross-attention", "self-attention"},
    "manner": {"as it is", "without renorm", "both passes"},
    "sampling": {f"{layers}, {how}" for layers in ("all", "functional")
                 for how in ("fewest steps", "most steps", "no guidance")},
    "stacking": {"alone", "sum", "Gram-Schmidt", "clamp"},
    "plants": {"prompt of the plant", "planted", "all", "others"},
}  # fmt: skip


@pytest.mark.parametrize("study", dispute.STUDIES)
def test_a_study_has_a_value_for_every_prompt_under_each_condition(table, probe_alone, study):
    own = replace(table, config=replace(table.config, concepts=("mood", "piano") if study == "stacking" else ("mood",)))
    values = dispute.measure(own, [study])
    told = values[~values["condition"].str.startswith("cosine")]
    assert list(values) == dispute.COLUMNS and set(told["condition"]) == CONDITIONS[study]
    counts = told[told["judge"] == "probe"].groupby(["concept", "condition"])["unit"].nunique()
    assert set(counts) == {benchmark.size_of(table).prompts}
    if study == "pairs":
        cosines = values[values["condition"].str.startswith("cosine")]
        assert cosines["value"].between(-1.001, 1.001).all()
        assert cosines["condition"].value_counts()["cosine, fewest pairs"] > 1
    with pytest.raises(KeyError, match="study"):
        dispute.measure(own, ["sides"])


# ---- controls


def simulated(moves: dict[str, float], prompts_: int = 12) -> pd.DataFrame:
    """Results in which each method moves the probe by so much, from prompt to prompt with a spread of .05."""
    draw, rows = np.random.default_rng(0), []
    for place in range(prompts_):
        about: dict[str, Any] = {"concept": "mood", "prompt": f"p{place}", "seed": place, "metric": "probe"}
        rows.append({**about, "method": "none", "layers": "none", "percent": 0.0, "value": 0.5})
        for method, move in moves.items():
            half = (move + draw.normal(0, 0.05)) / 2
            some = [(-100.0, 0.5 - half), (100.0, 0.5 + half)]
            steered_ = {**about, "method": method, "layers": "functional"}
            rows += [{**steered_, "percent": percent, "value": value} for percent, value in some]
    return pd.DataFrame(rows)


def test_controls_that_do_something_are_told_first():
    names = [f"{CONTROL}random {place}" for place in range(8)]
    results = simulated({"CAA": 0.4, **dict.fromkeys(names, 0.0), f"{CONTROL}unrelated concept": 0.3})
    effects = benchmark.control_effects(results).set_index("control")
    assert effects.loc["random", "verdict"] == UNDECIDED and effects.loc["random", "draws"] == 8
    assert effects.loc["unrelated concept", "verdict"] == ABOVE
    said = figures.control_lines(effects.reset_index())
    assert said.startswith("**Controls that ought to do nothing") and "unrelated concept, by probe" in said
    quiet = figures.control_lines(benchmark.control_effects(simulated(dict.fromkeys(names, 0.0))))
    assert quiet.startswith("Every control lies within")
    few = benchmark.control_effects(simulated(dict.fromkeys(names, 0.5), prompts_=3))
    assert "nothing can be said" in figures.control_lines(few)


def test_the_other_concept_is_of_another_attribute():
    for name in prompts.played():
        assert prompts.get(benchmark.other_concept(name)).attribute != prompts.get(name).attribute


def test_an_interval_over_crossed_units_is_wider_than_over_rows():
    draw = np.random.default_rng(1)
    values = (draw.normal(size=(10, 1)) + 0.1 * draw.normal(size=(10, 6))).ravel()
    rows, columns = np.repeat(np.arange(10), 6).tolist(), np.tile(np.arange(6), 10).tolist()
    (_, low, high), (_, least, most) = mean_interval(values, rows, columns), mean_interval(values)
    assert low < least and high > most


def test_layers_in_arms_are_named(tiny_model):
    from tada.display.steering import arm_name

    vector = Vector({tiny_model("stable-audio").sites[0]: torch.ones(1, 8)})
    assert arm_name(Arm("AUSteer", vector).method, "functional") == "AUSteer, functional"
