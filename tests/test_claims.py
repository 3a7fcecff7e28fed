"""Claims: verdicts on results whose answer is known, what is missing, published values, agreement of judges."""

from __future__ import annotations

import re
from itertools import product

import numpy as np
import pandas as pd
import pytest

from tada import patching
from tada import stats as intervals
from tada.cli import app
from tada.experiments import claims
from tada.experiments.claims import Claim, Effect, Evidence
from tada.experiments.claims.agreement import _correlated
from tada.experiments.claims.check import MEASURES
from tada.experiments.claims.effects import impacts
from tada.experiments.claims.measures import concentration
from tada.experiments.localisation import published as published_layers


def by_name(name: str) -> Claim:
    return next(claim for claim in claims.CLAIMS if claim.name == name)


def sweep(
    strong: dict[str, tuple[int, ...]], layers: int = 12, pairs: int = 24, noise: float = 0.02, seed: int = 0
) -> pd.DataFrame:
    """Scores of a sweep in which the given layers of each concept have the whole effect, shared equally."""
    rng = np.random.default_rng(seed)
    rows = []
    for concept, own in strong.items():
        for pair in range(pairs):
            effects = {"none": 0.0, "all": 1.0} | {str(i): (i in own) / len(own) for i in range(layers)}
            rows += [(concept, f"p{pair}", name, one + noise * rng.normal(), one) for name, one in effects.items()]
    table = pd.DataFrame(rows, columns=["concept", "pair", "layers", "value", "truth"])
    return table.assign(method="patch", metric="probe", model="stable-audio", checkpoint="mini", seed=0)


WAYS = {"none": ("none", "none"), "all": ("CAA", "all"), "others": ("CAA", "all-but-functional"),
        "functional": ("CAA", "functional"), "sae": ("SAE", "6")}  # fmt: skip


def steered(
    slopes: dict[str, float], away: dict[str, float] | None = None, prompts: int = 12, noise: float = 0.01
) -> pd.DataFrame:
    """Results of two concepts in which each arm moves alignment by its slope, and LPAPS by ``away``."""
    rng, rows = np.random.default_rng(0), []
    arms = [("none", 0.0), *product(slopes, (-100.0, -50.0, 50.0, 100.0))]
    for concept, number, (arm, percent) in product(("mood", "tempo"), range(prompts), arms):
        value = 0.4 + slopes.get(arm, 0.0) * percent / 200 + noise * rng.normal()
        far = (away or {}).get(arm, 1.0) * abs(percent) / 100 + noise * abs(rng.normal()) * bool(percent)
        about = (concept, f"{concept} {number}", number, *WAYS[arm], percent)
        rows += [(*about, "probe", value), (*about, "mini-clap", value / 2), (*about, "lpaps", far)]
    columns = ["concept", "prompt", "seed", "method", "layers", "alpha", "metric", "value"]
    table = pd.DataFrame(rows, columns=columns).assign(model="stable-audio", checkpoint="mini", pair="x")
    return table.assign(percent=table["alpha"])


def together(scores: pd.DataFrame, noise: float = 0.02, seed: int = 0) -> pd.DataFrame:
    """Scores of the two strongest layers that either half of the pairs chooses, on the other half."""
    rng, halves, parts = np.random.default_rng(seed), patching.split_pairs(scores), []
    for chooser, other in (halves, halves[::-1]):
        chosen = [str(layer) for layer in patching.call_pooled(chooser)[:2]]
        ends = other[other["layers"].isin(["none", "all"])]
        none = other[other["layers"] == "none"].set_index(["concept", "pair"])["value"]
        gained = other[other["layers"].isin(chosen)].groupby(["concept", "pair"])["truth"].sum()
        rows = other[other["layers"] == "none"].assign(layers="functional")
        rows["value"] = (none + gained).to_numpy() + noise * rng.normal(size=len(rows))
        parts += [ends, rows] if chosen else []
    return pd.concat(parts)


def mini(scores: pd.DataFrame | None = None, **given: pd.DataFrame) -> Evidence:
    return Evidence("stable-audio", "mini", scores, **given)


def localised(scores: pd.DataFrame) -> Evidence:
    return mini(scores, together=together(scores))


NAMES = "abcdefgh"
GOOD = {"functional": 0.8, "all": 0.5, "others": 0.1, "sae": 0.7}


def check(evidence: Evidence, *names: str) -> pd.DataFrame:
    return claims.check([evidence], [by_name(name) for name in names])


def verdict(name: str, evidence: Evidence) -> str:
    """By the probe, where it needs a judge."""
    found = check(evidence, name)
    return str(found[found["judge"].isin(["probe", ""])]["status"].iloc[0])


def effect_of(name: str, evidence: Evidence, judge: str = "probe") -> Effect:
    effect = MEASURES[name](evidence, judge)
    assert effect is not None
    return effect


# ---- verdicts


def test_a_status_is_where_the_whole_interval_lies() -> None:
    assert claims.status(Effect(1.0, 0.6, 1.4, "", 8), 0.5) == "supported"
    assert claims.status(Effect(0.2, 0.1, 0.4, "", 8), 0.5) == "contradicted"
    assert claims.status(Effect(1.0, 0.4, 1.4, "", 8), 0.5) == "undecided"
    assert claims.status(Effect(1.0, 0.6, 1.4, "", 7), 0.5) == "too few"
    assert claims.status(Effect.undefined("flat", 8), 0.5) == "undecided"
    assert claims.status(None, 0.5) == "not run"


def test_concentrated_and_shared_layers_are_found() -> None:
    one = localised(sweep(dict.fromkeys(NAMES, (5, 6))))
    effect = concentration(one)
    assert effect.low > 0.9 and effect.value == pytest.approx(1.0, abs=0.05)
    assert [verdict(name, one) for name in ("few layers", "shared layers", "middle layers")] == ["supported"] * 3
    assert verdict("few layers", mini(one.scores)) == "not run", "no set was routed"


def test_layers_that_each_concept_has_for_itself_are_not_shared() -> None:
    one = localised(sweep({name: (2 * i, 2 * i + 1) for i, name in enumerate(NAMES[:4])}, layers=8))
    assert verdict("few layers", one) == "contradicted"
    many = sweep({name: (i, i + 8) for i, name in enumerate(NAMES)}, layers=16)
    assert verdict("shared layers", mini(many)) == "contradicted"


def test_control_spread_over_all_layers_is_not_that_of_few() -> None:
    effect = concentration(localised(sweep(dict.fromkeys(NAMES[:4], tuple(range(8))), layers=8)))
    assert effect.high < 0.5 and effect.value == pytest.approx(2 / 8, abs=0.05)
    wide = mini(sweep(dict.fromkeys(NAMES[:4], tuple(range(12)))))
    found = check(wide, "few layers").iloc[0]
    assert found["status"] == "undecided" and "neither half" in found["over"]


def test_the_impact_of_few_layers_is_held_as_often_as_it_says_however_noisy_dead_layers_are() -> None:
    held = 0
    for draw in range(30):
        scores = sweep(dict.fromkeys(NAMES[:5], (5, 6)), pairs=8, noise=0.2, seed=draw)
        found = concentration(mini(scores, together=together(scores, 0.2, draw)))
        assert found is not None and found.units == 40
        held += found.low <= 1.0 <= found.high
    assert held >= 26


def test_mirrored_concepts_are_one_family() -> None:
    strong = dict.fromkeys(("female", "male", "slow", "fast", "happy", "sad", "flute"), (5,))
    found = check(mini(sweep(strong, pairs=8)), "shared layers").iloc[0]
    assert (found["units"], found["status"]) == (4, "too few") and found["over"] == "4 families of 7 concepts"


def test_the_middle_is_the_middle_half_of_the_depth() -> None:
    def found(layer: int) -> str:
        return verdict("middle layers", Evidence("ace-step", "mini", sweep(dict.fromkeys(NAMES, (layer,)), pairs=6)))

    verdicts = {layer: found(layer) for layer in (0, 2, 3, 8, 9, 11)}
    assert {layer for layer, said in verdicts.items() if said == "supported"} == {3, 8}
    assert {layer for layer, said in verdicts.items() if said == "contradicted"} == {0, 2, 9, 11}


def test_layers_in_between_are_held_against_the_mean_of_the_rest() -> None:
    rows = sweep({"a": (44, 45, 50, 51), "b": (44, 45, 50, 51)}, layers=64, pairs=4, noise=0)
    strength = {"46": 0.2, "47": 0.1, "48": 0.2, "49": 0.1, "3": 0.56}
    for layer, value in strength.items():
        rows.loc[rows["layers"] == layer, "value"] = value
    one = Evidence("audioldm2", "public", rows.assign(model="audioldm2", checkpoint="public"))
    found = check(one, "layers in between").iloc[0]
    assert found["value"] == pytest.approx(0.15 - 0.56 / 56) and found["status"] == "supported"


def test_impacts_are_those_of_equation_9() -> None:
    scores = sweep({"a": (3,), "b": (3, 4)}, noise=0.1)
    table, names, pairs = impacts(scores)
    wanted = patching.impact(scores).pivot(index="concept", columns="layers", values="impact")
    assert names == ["a", "b"] and table.shape == (2, 1 + intervals.RESAMPLES, 12) and pairs == 24
    for row, name in enumerate(names):
        assert table[row, 0] == pytest.approx([wanted.loc[name, str(layer)] for layer in range(12)])


def test_a_concept_without_effect_is_left_out() -> None:
    scores = sweep({"a": (3,), "b": (4,)})
    silent = scores["concept"] == "b"
    scores.loc[silent, "value"] = np.random.default_rng(1).normal(size=silent.sum())
    assert impacts(scores).concepts == ["a"]


def test_steering_as_the_paper_says_supports_its_claims() -> None:
    one = mini(results=steered(GOOD, {"functional": 0.5, "sae": 0.5}))
    for name in ("functional layers suffice", "others collapse", "more control", "more precision", "removal", "graded",
                 "preservation (LPAPS)", "autoencoder competes"):  # fmt: skip
        assert verdict(name, one) == "supported", name


def test_steering_against_the_paper_contradicts() -> None:
    slopes = {"functional": 0.3, "all": 0.8, "others": 0.6, "sae": 0.05}
    one = mini(results=steered(slopes, {"all": 0.5, "others": 0.5}))
    for name in ("others collapse", "more control", "more precision", "preservation (LPAPS)", "autoencoder competes"):
        assert verdict(name, one) == "contradicted", name
    backwards = mini(results=steered({**GOOD, "functional": -0.5}))
    for name in ("functional layers suffice", "removal", "graded"):
        assert verdict(name, backwards) == "contradicted", name


def test_noise_with_few_prompts_is_seldom_taken_for_an_effect() -> None:
    decided = 0
    for draw in range(40):
        rng = np.random.default_rng(draw)
        results = steered({"functional": 0.0, "all": 0.0}, prompts=8)
        own = results["metric"] == "probe"
        results.loc[own, "value"] = rng.normal(size=own.sum())
        found = check(mini(results=results), "more control")
        decided += found.loc[found["judge"] == "probe", "status"].iloc[0] != "undecided"
    assert decided <= 5, f"{decided} of 40 at 95 %"


def test_one_concept_that_does_not_move_is_enough_against_every() -> None:
    results = steered(GOOD)
    stuck = (results["concept"] == "mood") & (results["metric"] == "probe")
    results.loc[stuck, "value"] -= GOOD["functional"] * 1.5 * results.loc[stuck, "percent"] / 200
    assert verdict("functional layers suffice", mini(results=results)) == "contradicted"


AWAY = {"functional": 0.5, "all": 1.0, "others": 0.8, "sae": 0.4}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("functional layers suffice", 0.8), ("others collapse", 0.8 - 2 * 0.1), ("more control", 0.8 - 0.5),
        ("removal", 0.4), ("graded", 1.0), ("smoother", 0.0), ("preservation (LPAPS)", 0.75 * (0.8 - 0.5)),
        # areas of triangles, as far as both get: half the distance times the gain there
        ("more precision", 0.5 * 0.5 * (0.4 - 0.25 * 0.5)),
        ("more precision than the others", 0.5 * 0.5 * (0.4 - 0.05 * 0.5 / 0.8)),
        ("precise autoencoder", 0.5 * 0.4 * (0.35 - 0.25 * 0.4)),
        ("autoencoder competes", 0.7 - 0.8 * 0.8), ("autoencoder surpasses", 0.7 - 0.8),
    ],
)  # fmt: skip
def test_effects_on_straight_lines_are_known(name: str, value: float) -> None:
    one = mini(results=steered(GOOD, AWAY, prompts=3, noise=0))
    effect = effect_of(name, one, "probe" if by_name(name).judged else "")
    assert effect[:3] == pytest.approx((value, value, value), abs=1e-9)


def test_every_and_any_take_the_least_and_the_largest_concept_at_a_confidence_for_both() -> None:
    results = steered({"functional": 0.5, "sae": 0.7}, noise=0.1)
    weak = (results["concept"] == "mood") & (results["method"] == "SAE") & (results["metric"] == "probe")
    results.loc[weak, "value"] -= 0.6 * results.loc[weak, "percent"] / 200
    one = mini(results=results)
    least, largest = (effect_of(name, one) for name in ("functional layers suffice", "autoencoder surpasses"))

    def moved(arm: str) -> np.ndarray:
        found = []
        for concept, arms in one.rows.items():
            scores = arms[arm].scores["probe"]
            found.append(intervals.draws(12, seed=intervals.named_seed(concept)) @ (scores[:, -1] - scores[:, 0]))
        return np.array(found)

    def ends(values: np.ndarray) -> np.ndarray:
        return np.array([intervals.bootstrap(each, 12, 0.975) for each in values])

    gaps = moved("sae") - moved("functional")
    assert gaps[0, 0] < 0 < gaps[1, 0]
    assert least[1:3] == pytest.approx(ends(moved("functional")).min(0))
    assert largest[:3] == pytest.approx((gaps[1, 0], *ends(gaps).max(0)))


def test_unevenness_is_in_units_of_the_whole_movement() -> None:
    results = steered({"functional": 0.8, "all": 0.4}, noise=0)
    bent = (results["layers"] == "all") & (results["percent"] == 50) & (results["metric"] == "probe")
    results.loc[bent, "value"] += 0.1  # steps of .1, .1, .2, 0
    effect = effect_of("smoother", mini(results=results))
    assert effect.value == pytest.approx(np.std([0.1, 0.1, 0.2, 0.0]) / 0.4)


def test_ratings_are_the_mean_of_all_four_over_all_strengths() -> None:
    results = steered({"functional": 0.8, "all": 0.4}, noise=0).assign(model="ace-step", checkpoint="public")
    sound = results[results["metric"] == "probe"]
    rated = [
        sound.assign(metric=axis, value=6 + 0.1 * place * (sound["layers"] == "functional") * (sound["percent"] > 0))
        for place, axis in enumerate(("CE", "CU", "PC", "PQ"))
    ]
    one = Evidence("ace-step", "public", results=pd.concat([results, *rated]))
    found = check(one, "quality (ratings)").iloc[0]
    assert found["value"] == pytest.approx(0.1 * 1.5 * 2 / 5) and found["status"] == "supported"
    unrated = check(Evidence("ace-step", "public", results=results), "quality (ratings)").iloc[0]
    assert unrated["status"] == "needs public weights" and unrated["command"].endswith("--aesthetics")


def with_sets(results: pd.DataFrame, metric: str, values: dict[str, float]) -> pd.DataFrame:
    """Results with distances between sets: a value for each arm (``none``: the unsteered clips), three groups."""
    rows = [
        (concept, *WAYS[arm], percent, pair, value + abs(percent) / 100 + shift)
        for concept, (arm, value) in product(("mood", "tempo"), values.items())
        for percent in ((0.0,) if arm == "none" else (-100.0, 100.0))
        for pair, shift in (("all", 0.0), ("without 0", 0.1), ("without 1", -0.1), ("without 2", 0.05))
    ]
    sets = pd.DataFrame(rows, columns=["concept", "method", "layers", "alpha", "pair", "value"])
    about = {"model": "stable-audio", "checkpoint": "mini", "metric": metric, "prompt": ""}
    return pd.concat([results, sets.assign(**about)])


def test_sets_of_clips_are_compared_with_a_jackknife() -> None:
    results = with_sets(steered(GOOD, prompts=32), "kad", {"functional": 0.0, "others": 2.0})
    one = mini(results=results)
    effect = effect_of("preservation (sets)", one, "")
    assert effect[:3] == pytest.approx((2.0, 2.0, 2.0)) and "2 concepts" in effect.over
    assert MEASURES["quality (renders)"](one, "") is None


def test_quality_is_held_against_the_unsteered_clips() -> None:
    names, clips = ("global steering degrades", "quality kept", "quality (renders)"), steered(GOOD, prompts=32)

    def found(**values: float) -> list[str]:
        one = mini(results=with_sets(clips, "kad-renders", {"none": 10.0, **values}))
        return [verdict(name, one) for name in names]

    # values are those at strength 0, and 1 more at the ends of the range
    assert found(all=14.0, functional=9.5) == ["supported"] * 3
    assert found(all=8.0, functional=13.0) == ["contradicted"] * 3
    assert found(all=9.0, functional=10.0)[:2] == ["undecided"] * 2
    one = mini(results=with_sets(clips, "kad-renders", {"none": 10, "all": 14}))
    assert effect_of("global steering degrades", one, "").value == pytest.approx(5.0)


# ---- what is missing


def test_nothing_measured_is_no_error_and_says_what_to_run() -> None:
    found = claims.check([Evidence("ace-step", "mini")])
    assert set(found["claim"]) == {claim.name for claim in claims.CLAIMS}
    assert set(found["status"]) <= {"not run", "needs public weights"}
    for text in found.loc[found["model"] != "all", "command"]:
        words = text.split()
        assert words[0] == "tada" and words[1] in app.commands, text
        known = {option for parameter in app.commands[words[1]].params for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= known, text


def test_a_general_property_needs_all_three() -> None:
    scores = sweep(dict.fromkeys("abcdef", (5,)))
    wide = sweep(dict.fromkeys("abcdef", tuple(range(8))), layers=8)

    def general(checkpoint: str = "mini", **found: pd.DataFrame) -> str:
        evidence = [
            Evidence(name.replace("_", "-"), checkpoint, own, together=together(own)) for name, own in found.items()
        ]
        rows = claims.check(evidence, [by_name("few layers"), by_name("general")])
        return str(rows[rows["claim"] == "general"]["status"].iloc[0])

    assert general(ace_step=scores, stable_audio=scores, audioldm2=scores) == "supported"
    assert general(ace_step=scores, stable_audio=scores) == "undecided"
    assert general(ace_step=scores, stable_audio=wide) == "contradicted"
    assert general("tiny", ace_step=scores, stable_audio=scores, audioldm2=scores) == "not run"


def test_named_layers_are_tested_on_the_public_checkpoint_alone() -> None:
    def found(checkpoint: str, strong: tuple[int, ...]) -> pd.Series:
        scores = sweep(dict.fromkeys("abc", strong)).assign(model="ace-step", checkpoint=checkpoint)
        rows = check(Evidence("ace-step", checkpoint, scores), "layers of ACE-Step v1")
        assert rows[["model", "checkpoint"]].to_numpy().tolist() == [["ace-step", "public"]]
        return rows.iloc[0]

    assert found("public", (6, 7))["status"] == "supported" and found("public", (6, 5))["status"] == "contradicted"
    missing = found("mini", (6, 7))
    assert missing["status"] == "needs public weights" and "checkpoint public" in missing["command"]


def test_a_claim_about_transformers_leaves_the_unet_out() -> None:
    both = [Evidence(name, "mini", sweep(dict.fromkeys("ab", (5,)))) for name in ("audioldm2", "ace-step")]
    assert claims.check(both, [by_name("middle layers")])["model"].tolist() == ["ace-step"]


def test_an_effect_that_these_results_cannot_give_says_what_to_run() -> None:
    lacking = mini(results=steered({"functional": 0.8, "all": 0.5}))
    found = check(lacking, "autoencoder competes", "preservation (sets)")
    assert set(found["status"]) == {"not run"}
    assert found["command"].str.startswith("tada table --model stable-audio").all()
    alone = mini(results=steered(GOOD, prompts=1))
    assert set(check(alone, "graded")["status"]) == {"not run"}, "one prompt has no interval"


# ---- what was published


def test_published_values_are_those_of_the_files() -> None:
    told = claims.published()
    assert set(told["claim"]) <= {claim.name for claim in claims.CLAIMS} and set(told["version"]) == {"v2", "v3"}
    named = dict(zip(told["claim"], told["published"], strict=True))
    spelt = {"ace-step": "ACE-Step v1", "stable-audio": "Stable Audio Open", "audioldm2": "AudioLDM2"}
    for model, claim in spelt.items():
        layers = published_layers().query(f"model == {model!r}").set_index("layer")["impact"]
        found = re.findall(r"(\d+) \((\.\d+)\)", named[f"layers of {claim}"])
        assert found and all(layers[int(layer)] == float(impact) for layer, impact in found)
        assert [int(layer) for layer, _ in found[:3]] == layers.nlargest(3).index.tolist()


def test_every_claim_says_where_and_how() -> None:
    names = [claim.name for claim in claims.CLAIMS]
    assert len(set(names)) == len(names) >= 18
    for claim in claims.CLAIMS:
        assert claim.says.endswith(".") and claim.where and claim.test
        assert (claim.name not in MEASURES) == (claim.needs == "verdicts") == bool(claim.after)


# ---- agreement


def agreement(results: pd.DataFrame) -> pd.DataFrame:
    found = claims.agreement([mini(results=results)])
    assert found["ear"].eq("mini-clap").all(), "nobody is held against the probe but the ear"
    return found


def test_a_judge_that_follows_the_truth_agrees_and_one_that_does_not_does_not() -> None:
    results = steered(GOOD)
    found = agreement(results)
    assert found["concept"].tolist() == ["mood", "tempo"] and (found["correlation"] > 0.9).all()
    assert (found["same"] == found["pairs"]).all() and (found["pairs"] >= 5).all()
    assert (found[["best", "best by other"]] == "functional").all(axis=None)
    against = results.assign(value=results["value"].where(results["metric"] != "mini-clap", -results["value"]))
    turned = agreement(against)
    assert (turned["correlation"] < -0.9).all() and (turned["same"] == 0).all()


def test_rows_that_the_truth_does_not_tell_apart_are_no_pairs() -> None:
    found = agreement(steered({"functional": 0.8, "all": 0.5, "others": 0.5, "sae": 0.1}, noise=0.05))
    assert (found["pairs"] == 5).all() and (found["clips"] == 12 * (1 + 4 * 4)).all()


def test_rank_correlations_of_drawn_prompts_are_those_of_clips_repeated() -> None:
    random = np.random.default_rng(3)
    clips = np.stack([random.integers(0, 6, (9, 4)), random.normal(size=(9, 4))]).astype(float)
    clips[1] += 0.3 * clips[0]
    times = (intervals.draws(9, resamples=200) * 9).round().astype(int)
    naive = [
        pd.DataFrame(np.repeat(clips, drawn, axis=1).reshape(2, -1).T).corr("spearman").iloc[0, 1] for drawn in times
    ]
    low, high = intervals.bootstrap(np.array(naive), 9)
    found = _correlated(clips)
    assert found == pytest.approx({"correlation": naive[0], "low": low, "high": high})
    assert np.isnan(_correlated(np.ones((2, 9, 4)))["correlation"])
