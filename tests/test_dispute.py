"""Verdicts of the dispute on simulated values whose truth is known, and the parts of its studies."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from tada.concepts import steered as prompts
from tada.display import dispute as figures
from tada.engine import Setting
from tada.experiments import dispute, hypotheses, planted
from tada.experiments.benchmark import open_benchmark
from tada.experiments.claims import CONTRADICTED, NOT_RUN, SUPPORTED, TOO_FEW, UNDECIDED, Effect
from tada.experiments.hypotheses import HYPOTHESES, TESTS, Findings, contrast, settle, verdict
from tada.experiments.table_1 import Config
from tada.hooks import record, route
from tada.steering import Vector

# ---- the rule


@pytest.mark.parametrize(
    ("ends", "bar", "margin", "expected"),
    [
        ((0.1, 0.3), 0.0, 0.0, SUPPORTED),
        ((-0.3, -0.1), 0.0, 0.0, CONTRADICTED),
        ((-0.1, 0.3), 0.0, 0.0, UNDECIDED),
        ((0.1, 0.3), 0.2, 0.0, UNDECIDED),
        ((-0.1, 0.1), 0.0, 0.2, SUPPORTED),
        ((0.3, 0.4), 0.0, 0.2, CONTRADICTED),
        ((-0.4, -0.3), 0.0, 0.2, CONTRADICTED),
        ((0.1, 0.3), 0.0, 0.2, UNDECIDED),
        ((-0.5, 0.5), 0.0, 0.2, UNDECIDED),
    ],
)
def test_a_verdict_is_where_the_interval_lies(ends, bar, margin, expected):
    assert verdict(Effect(np.mean(ends), *ends, "", 8), bar, margin) == expected
    assert verdict(Effect(np.mean(ends), *ends, "", 7), bar, margin) == TOO_FEW


def test_nothing_measured_and_what_cannot_be_told():
    assert verdict(None) == verdict(None, margin=0.1) == NOT_RUN
    assert verdict(Effect.undefined("why", 20)) == verdict(Effect.undefined("why", 20), margin=0.1) == UNDECIDED


# ---- on simulated data


def simulated(means: dict[str, float], seed: int, study: str = "study", concepts: int = 3, units: int = 8) -> Findings:
    """Values of conditions around known means: spread .2 from prompt to prompt, of which half is shared."""
    draw, rows = np.random.default_rng(seed), []
    for concept in ("mood", "tempo", "piano")[:concepts]:
        for unit in range(units):
            shared = draw.normal(0, 0.14)
            for condition, mean in means.items():
                value = mean + shared + draw.normal(0, 0.14)
                rows.append((study, concept, f"p{unit}", condition, "probe", value))
    return Findings("ace-step", "mini", pd.DataFrame(rows, columns=dispute.COLUMNS))


def rates(means, weights, share="", bar=0.0, margin=0.0, count=20):
    """How often the rule gives each verdict."""
    test = contrast("study", weights, share)
    said = [verdict(test(simulated(means, seed))["probe"], bar, margin) for seed in range(count)]
    return {name: said.count(name) / count for name in (SUPPORTED, CONTRADICTED, UNDECIDED)}


DIFFERENCE = {"a": 1.0, "b": -1.0}


def test_true_claims_are_supported_and_false_ones_contradicted():
    assert rates({"a": 0.5, "b": 0.2}, DIFFERENCE)[SUPPORTED] > 0.9
    assert rates({"a": 0.2, "b": 0.5}, DIFFERENCE)[CONTRADICTED] > 0.9
    equal = rates({"a": 0.3, "b": 0.3}, DIFFERENCE)
    assert equal[SUPPORTED] <= 0.15 and equal[CONTRADICTED] <= 0.15


def test_shares_are_held_against_their_bar():
    share = {"share": "whole", "bar": 0.47}
    assert rates({"part": 0.8, "whole": 1.0}, {"part": 1.0}, **share)[SUPPORTED] > 0.9
    assert rates({"part": 0.2, "whole": 1.0}, {"part": 1.0}, **share)[CONTRADICTED] > 0.9
    at_bar = rates({"part": 0.47, "whole": 1.0}, {"part": 1.0}, **share)
    assert at_bar[SUPPORTED] <= 0.15 and at_bar[CONTRADICTED] <= 0.15


def test_equality_is_supported_only_within_the_margin():
    assert rates({"a": 0.5, "b": 0.5}, DIFFERENCE, margin=0.3)[SUPPORTED] > 0.9
    assert rates({"a": 1.0, "b": 0.3}, DIFFERENCE, margin=0.3)[CONTRADICTED] > 0.9
    assert rates({"a": 0.6, "b": 0.3}, DIFFERENCE, margin=0.3)[SUPPORTED] <= 0.15


def test_a_share_of_nothing_is_no_share():
    found = contrast("study", {"part": 1.0}, "whole")(simulated({"part": 0.3, "whole": 0.0}, 1))["probe"]
    assert np.isnan(found.value) and "cannot be told from 0" in found.over
    assert contrast("study", {"missing": 1.0})(simulated({"a": 1.0}, 0)) == {}


def test_a_contrast_is_the_mean_over_concepts_of_paired_differences():
    found = simulated({"a": 0.5, "b": 0.2}, 3)
    effect = contrast("study", DIFFERENCE)(found)["probe"]
    wide = found.values.pivot_table("value", ["concept", "unit"], "condition")
    assert effect.value == pytest.approx((wide["a"] - wide["b"]).mean()) and effect.units == 24


# ---- the list


def test_every_hypothesis_has_a_test_and_every_test_a_hypothesis():
    names = [one.name for one in HYPOTHESES]
    assert sorted(names) == sorted(TESTS) and len(set(names)) == len(names)
    assert all(all((one.says, one.who, one.number, one.test, one.change)) for one in HYPOTHESES)


def test_one_table_of_claims_with_verdicts():
    found = simulated(
        {"prompt": 1.0, "K/V patch": 0.8, "output patch": 0.3, "same-pair vector": 0.2}, 0, "decomposition"
    )
    verdicts = settle([found])
    said = verdicts.set_index("hypothesis")["status"]
    assert said["keys and values"] == said["outputs carry less"] == SUPPORTED
    assert said["self-attention"] == said["localised CAA"] == NOT_RUN
    html = figures.dispute_table(verdicts).data
    assert html.count("<tr") == len(HYPOTHESES) + 1 and "supported</b>" in html and "13 % less" in html
    assert set(hypotheses.conditions(found)["condition"]) == set(found.values["condition"])
    assert figures.judge_table(verdicts).data


def test_judges_are_shown_by_what_they_know():
    judges = ["mini-clap", "probe", "muq"]
    rows = pd.DataFrame({"hypothesis": ["one"] * 3, "model": "m", "checkpoint": "c", "judge": judges})
    assert figures.first_judges(rows)["judge"].tolist() == ["probe"]


def test_orders_of_arms_and_stability_are_rank_correlations_over_concepts():
    rows = [
        (f"c{concept}", method, "all", column, sign * place)
        for concept in range(9)
        for place, method in enumerate(("CAA", "PCI", "SAE"))
        for column, sign in (("auc probe", 1), ("auc mini-clap", 1), ("auc musicnn", -1))
    ]
    cells = pd.DataFrame(rows, columns=["concept", "method", "layers", "column", "value"])
    found = hypotheses.same_order(Findings("m", "c", cells=cells))
    assert found["mini-clap"].value == 1 and found["musicnn"].value == -1 and found["musicnn"].units == 9


# ---- parts of studies


def test_cosines_of_blocks_and_names_of_counts():
    means = {"a": torch.tensor([[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]])}
    one, other = dispute.block_vector(means, range(2)), dispute.block_vector(means, range(2, 4))
    assert dispute.cosine(one, one) == pytest.approx(1) and dispute.cosine(one, other) == pytest.approx(0)
    assert isinstance(one, Vector)
    assert dispute.named_counts((4, 16, 50, 200)) == {"fewest pairs": 4, "the paper's pairs": 50, "most pairs": 200}
    assert dispute.named_counts((1, 2))["the paper's pairs"] == 2


@pytest.mark.parametrize("name", ["ace-step", "stable-audio", "audioldm2"])
def test_self_attention_is_what_reads_no_text_in_the_same_blocks(tiny_model, name):
    model = tiny_model(name)
    found = dispute.self_attention(model, [1, 4])
    assert len(found) == 2 and not set(found) & set(model.sites)
    assert [one.rpartition(".")[0] for one in found] == [model.sites[layer].rpartition(".")[0] for layer in (1, 4)]


def test_a_study_without_rows_still_holds_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(dispute.STUDIES, "nothing", lambda table, concept: pd.DataFrame(columns=dispute.COLUMNS))
    model = SimpleNamespace(device="cpu")
    table = SimpleNamespace(
        config=SimpleNamespace(concepts=("mood",), profile="smoke"), work=SimpleNamespace(model=model)
    )
    values = dispute.measure(table, ["nothing"])
    assert values.empty
    assert values["value"].dtype == float


def test_movements_are_taken_prompt_by_prompt():
    rows = []
    for prompt, gain in (("a", 0.1), ("b", 0.3)):
        about = {"concept": "mood", "metric": "probe", "prompt": prompt, "seed": 0}
        steered = [("one", -100.0, 0.5 - gain), ("one", 100.0, 0.5 + gain), ("patch", 100.0, 0.6)]
        for method, percent, value in (("none", 0.0, 0.5), *steered):
            rows.append({**about, "method": method, "percent": percent, "value": value})
    found = dispute.movements(pd.DataFrame(rows)).set_index(["condition", "unit"])["value"]
    assert found["one", "a"] == pytest.approx(0.2) and found["one", "b"] == pytest.approx(0.6)
    assert found["patch", "a"] == pytest.approx(0.1), "from the unsteered clip where there is no other side"


def test_a_plant_s_vector_is_that_of_clips_whose_other_layers_read_neutral_prompts(tiny_model):
    model, pairs = tiny_model("ace-step"), prompts.pairs("mood", "mini", "revised", 3)
    setting = Setting(0.5, model.sampling(None, steps=2), batch=4)
    found, naive = planted.fit_vector(model, pairs, [2], 7, setting), {}
    for row in range(3):
        said = [pairs.positive[row], pairs.negative[row], pairs.neutral[row]]
        context, noise = model.encode(said), model.noise([7 + row], 0.5)
        for pole, sign in ((0, 1.0), (1, -1.0)):
            with route(model, 2, context[[pole]]), record(model) as kept:
                model.sample(context[[2]], noise, setting.sampling)
            for site, hidden in kept.items():
                naive[site] = naive.get(site, 0) + sign * hidden[:, 0].float().mean(1)
    for layer, site in enumerate(model.sites):
        size = naive[site].norm(dim=-1, keepdim=True)
        torch.testing.assert_close(found.directions[site], naive[site] / size.clamp_min(1e-12), atol=1e-4, rtol=0)
        assert found.directions[site][0].any() == (layer >= 2), "layers before the planted one see nothing at first"


def test_vectors_of_blocks_are_those_of_their_pairs_and_are_found_again(tmp_path, monkeypatch):
    table = open_benchmark(Config("ace-step", "tiny", "smoke", ("tempo",), "6+7", seconds=0.5, store=tmp_path))
    found = dispute.vectors_of_blocks(table, "tempo", (1, 2))
    assert {name: len(some) for name, some in found.items()} == {"1": 4, "2": 2, "rest": 1}
    means = dispute.difference_of_pairs(table, "tempo", 6)
    for vector, pairs in ((found["1"][3], range(3, 4)), (found["2"][1], range(2, 4)), (found["rest"][0], range(4, 6))):
        for site, own in dispute.block_vector(means, pairs).directions.items():
            torch.testing.assert_close(vector.directions[site], own)
    monkeypatch.setattr(dispute, "pair_means", None)
    again = dispute.vectors_of_blocks(table, "tempo", (1, 2))
    site = next(iter(again["2"][0].directions))
    assert torch.equal(again["2"][0].directions[site], found["2"][0].directions[site])
