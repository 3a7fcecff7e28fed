"""Claims: verdicts on results whose answer is known, what is missing, published values, and Table 1 by profile."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from tada import claims, evaluation, table_runs
from tada.claims import Claim, Effect, Evidence
from tada.cli import app
from tada.errors import unknown
from tada.models import ARCHITECTURES

PERCENTS = (-100.0, -50.0, 0.0, 50.0, 100.0)


def by_name(name: str) -> Claim:
    return next(claim for claim in claims.CLAIMS if claim.name == name)


def sweep(strong: dict[str, tuple[int, ...]], layers: int = 12, pairs: int = 24, noise: float = 0.02) -> pd.DataFrame:
    """Scores of a sweep in which the given layers of each concept have the whole effect, shared equally."""
    rng = np.random.default_rng(0)
    rows = []
    for concept, own in strong.items():
        for pair in range(pairs):
            effects = {"none": 0.0, "all": 1.0} | {str(i): (i in own) / len(own) for i in range(layers)}
            rows += [(concept, f"p{pair}", name, value + noise * rng.normal()) for name, value in effects.items()]
    table = pd.DataFrame(rows, columns=["concept", "pair", "layers", "value"])
    return table.assign(method="patch", metric="probe", model="stable-audio", checkpoint="mini", seed=0)


def steered(
    slopes: dict[str, float], away: dict[str, float] | None = None, prompts: int = 12, noise: float = 0.01
) -> pd.DataFrame:
    """Results of two concepts in which each arm moves alignment by its slope, and LPAPS by ``away``."""
    rng = np.random.default_rng(0)
    ways = {"all": ("CAA", "all"), "others": ("CAA", "all-but-functional"), "functional": ("CAA", "functional"),
            "sae": ("SAE", "6")}  # fmt: skip
    rows = []
    for concept in ("mood", "tempo"):
        for number in range(prompts):
            about = {"concept": concept, "prompt": f"{concept} {number}", "seed": number, "pair": "x"}
            for metric in ("probe", "mini-clap"):
                rows.append({**about, "method": "none", "layers": "none", "percent": 0.0, "metric": metric,
                             "value": 0.4 + noise * rng.normal()})  # fmt: skip
            rows.append({**about, "method": "none", "layers": "none", "percent": 0.0, "metric": "lpaps", "value": 0.0})
            for arm, slope in slopes.items():
                method, layers = ways[arm]
                for percent in PERCENTS:
                    if percent:
                        own = {**about, "method": method, "layers": layers, "percent": percent}
                        value = 0.4 + slope * percent / 200 + noise * rng.normal()
                        rows.append({**own, "metric": "probe", "value": value})
                        rows.append({**own, "metric": "mini-clap", "value": value / 2})
                        far = (away or {}).get(arm, 1.0) * abs(percent) / 100
                        rows.append({**own, "metric": "lpaps", "value": far + noise * abs(rng.normal())})
    return pd.DataFrame(rows).assign(model="stable-audio", checkpoint="mini", alpha=lambda table: table["percent"])


GOOD = {"functional": 0.8, "all": 0.5, "others": 0.1, "sae": 0.7}


def verdict(name: str, evidence: Evidence, judge: str = "probe") -> str:
    found = claims.check([evidence], [by_name(name)])
    return str(found[found["judge"].isin([judge, ""])]["status"].iloc[0])


# ---- verdicts


def test_a_status_is_where_the_whole_interval_lies() -> None:
    assert claims.status(Effect(1.0, 0.6, 1.4, ""), 0.5) == "supported"
    assert claims.status(Effect(0.2, 0.1, 0.4, ""), 0.5) == "contradicted"
    assert claims.status(Effect(1.0, 0.4, 1.4, ""), 0.5) == "undecided"
    assert claims.status(None, 0.5) == "not run"


def test_concentrated_and_shared_layers_are_found() -> None:
    names = ("a", "b", "c", "d", "e", "f")
    one = Evidence("stable-audio", "planted", sweep(dict.fromkeys(names, (5, 6))))
    effect = claims.concentration(one)
    assert effect is not None and effect.low > 0.7 and effect.value == pytest.approx(0.9, abs=0.1)
    assert verdict("few layers", one) == "supported"
    assert verdict("shared layers", one) == "supported"
    assert verdict("middle layers", one) == "supported"


def test_layers_that_each_concept_has_for_itself_are_not_shared() -> None:
    own = {name: (2 * i, 2 * i + 1) for i, name in enumerate(("a", "b", "c", "d", "e", "f"))}
    one = Evidence("stable-audio", "mini", sweep(own))
    assert verdict("few layers", one) == "contradicted"
    assert verdict("shared layers", one) == "contradicted"


def test_control_spread_over_all_layers_contradicts() -> None:
    names = ("a", "b", "c", "d", "e", "f")
    one = Evidence("stable-audio", "mini", sweep(dict.fromkeys(names, tuple(range(12)))))
    effect = claims.concentration(one)
    assert effect is not None and effect.high < 0.5 and effect.value == pytest.approx(2 / 12, abs=0.08)
    assert verdict("few layers", one) == "contradicted"


def test_the_first_layers_are_not_the_middle() -> None:
    names = ("a", "b", "c", "d", "e", "f")
    assert verdict("middle layers", Evidence("ace-step", "mini", sweep(dict.fromkeys(names, (0,))))) == "contradicted"


def test_impacts_are_those_of_equation_9() -> None:
    from tada.patching import impact

    scores = sweep({"a": (3,), "b": (3, 4)}, noise=0.1)
    table, names = claims.impacts(scores)
    wanted = impact(scores).pivot(index="concept", columns="layers", values="impact")
    assert names == ["a", "b"] and table.shape == (2, 1 + claims.RESAMPLES, 12)
    for row, name in enumerate(names):
        assert table[row, 0] == pytest.approx([wanted.loc[name, str(layer)] for layer in range(12)])


def test_a_concept_without_effect_is_left_out() -> None:
    scores = sweep({"a": (3,), "b": (4,)})
    silent = scores["concept"] == "b"
    scores.loc[silent, "value"] = np.random.default_rng(1).normal(size=silent.sum())
    assert claims.impacts(scores)[1] == ["a"]
    assert claims.concentration(Evidence("ace-step", "mini", scores)) is None


def test_steering_as_the_paper_says_supports_its_claims() -> None:
    away = {"functional": 0.5, "all": 1.0, "others": 1.0, "sae": 0.5}
    one = Evidence("stable-audio", "mini", results=steered(GOOD, away))
    for name in ("functional layers suffice", "others collapse", "more control", "more precision", "removal", "graded",
                 "preservation (LPAPS)", "autoencoder competes"):  # fmt: skip
        assert verdict(name, one) == "supported", name


def test_steering_against_the_paper_contradicts() -> None:
    slopes = {"functional": 0.3, "all": 0.8, "others": 0.6, "sae": 0.05}
    one = Evidence("stable-audio", "mini", results=steered(slopes, {"functional": 1.0, "all": 0.5, "others": 0.5}))
    for name in ("others collapse", "more control", "more precision", "preservation (LPAPS)", "autoencoder competes"):
        assert verdict(name, one) == "contradicted", name
    backwards = Evidence("stable-audio", "mini", results=steered({**GOOD, "functional": -0.5}))
    for name in ("functional layers suffice", "removal", "graded"):
        assert verdict(name, backwards) == "contradicted", name


def test_noise_decides_nothing() -> None:
    one = Evidence("stable-audio", "mini", results=steered(dict.fromkeys(GOOD, 0.0), prompts=6, noise=0.2))
    found = claims.check([one], [by_name("more control"), by_name("others collapse")])
    assert set(found["status"]) == {"undecided"}


def test_noise_with_few_prompts_is_seldom_taken_for_an_effect() -> None:
    decided = 0
    for draw in range(60):
        rng = np.random.default_rng(draw)
        results = steered({"functional": 0.0, "all": 0.0}, prompts=4)
        own = results["metric"] == "probe"
        results.loc[own, "value"] = rng.normal(size=own.sum())
        found = claims.check([Evidence("stable-audio", "mini", results=results)], [by_name("more control")])
        decided += found.loc[found["judge"] == "probe", "status"].iloc[0] != "undecided"
    assert decided <= 7, f"{decided} of 60 at 95 %"


def test_one_concept_that_does_not_move_is_enough_against_every() -> None:
    results = steered(GOOD)
    stuck = (results["concept"] == "mood") & (results["metric"] == "probe")
    results.loc[stuck, "value"] -= GOOD["functional"] * 1.5 * results.loc[stuck, "percent"] / 200
    assert verdict("functional layers suffice", Evidence("stable-audio", "mini", results=results)) == "contradicted"


def test_effects_are_what_can_be_computed_by_hand() -> None:
    results = steered(GOOD)
    found = claims.check([Evidence("stable-audio", "mini", results=results)], [by_name("more control")])
    row = found[found["judge"] == "probe"].iloc[0]
    ends = results[(results["metric"] == "probe") & (results["percent"].abs() == 100)]
    means = ends.groupby(["concept", "layers", "percent"])["value"].mean().unstack("percent")
    moved = (means[100.0] - means[-100.0]).unstack("layers")
    assert row["value"] == pytest.approx((moved["functional"] - moved["all"]).mean())
    assert row["low"] < row["value"] < row["high"]


def test_sets_of_clips_are_compared_with_a_jackknife() -> None:
    rows = [
        {"concept": "mood", "prompt": "", "seed": -1, "method": "CAA", "layers": layers, "percent": percent,
         "metric": "fad", "pair": pair, "value": value + shift}
        for layers, value in (("functional", 1.0), ("all-but-functional", 2.0))
        for percent in (-100.0, 100.0)
        for pair, shift in (("all", 0.0), ("without 0", 0.1), ("without 1", -0.1), ("without 2", 0.05))
    ]  # fmt: skip
    one = Evidence("stable-audio", "mini", results=pd.DataFrame(rows))
    effect = claims.sets_apart("fad", "functional", "others")(one, "")
    assert effect is not None and effect[:3] == pytest.approx((1.0, 1.0, 1.0))
    assert claims.sets_apart("fad-truth", "functional", "all")(one, "") is None


# ---- what is missing


def test_nothing_measured_is_no_error_and_says_what_to_run() -> None:
    found = claims.check([Evidence("ace-step", "mini")])
    assert set(found["claim"]) == {claim.name for claim in claims.CLAIMS}
    assert set(found["status"]) <= {"not run", "needs public weights", "needs a package"}
    told = found[found["status"].isin(["not run", "needs public weights"]) & (found["model"] != "all")]["command"]
    for text in told:
        words = text.split()
        assert words[0] == "tada" and words[1] in app.commands, text
        known = {option for parameter in app.commands[words[1]].params for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= known, text


def test_a_general_property_needs_all_three() -> None:
    names = ("a", "b", "c", "d", "e", "f")
    scores = sweep(dict.fromkeys(names, (5,)))
    wide = sweep(dict.fromkeys(names, tuple(range(12))))

    def general(**found: pd.DataFrame) -> str:
        rows = claims.check([Evidence(name.replace("_", "-"), "mini", scores) for name, scores in found.items()])
        return str(rows[rows["claim"] == "general"]["status"].iloc[0])

    assert general(ace_step=scores, stable_audio=scores, audioldm2=scores) == "supported"
    assert general(ace_step=scores, stable_audio=scores) == "undecided"
    assert general(ace_step=scores, stable_audio=wide) == "contradicted"


def test_gathering_from_empty_stores_finds_nothing_and_loads_nothing(tmp_path: Path) -> None:
    found = table_runs.gather(["ace-step"], ["mini", "public"], tmp_path / "a", tmp_path / "b")
    assert [(one.model, one.checkpoint, one.scores, one.results) for one in found] == [
        ("ace-step", "mini", None, None),
        ("ace-step", "public", None, None),
    ]
    with pytest.raises(KeyError, match=re.escape(unknown("architecture", "ace", ARCHITECTURES))):
        table_runs.gather(["ace"], ["mini"], tmp_path, tmp_path)


# ---- what was published


def test_published_values_are_those_of_the_files() -> None:
    told = claims.published().set_index("claim")["published"]
    assert "CAA (loc.) 0.104, CAA 0.075 (auc muq)" in told["more precision"]
    assert "7 (0.488), 6 (0.292)" in told["layers of ACE-Step v1"]
    assert "12 (0.511), 11 (0.222)" in told["layers of Stable Audio Open"]
    assert told["layers of AudioLDM2"].endswith("without 51"), "the published averages have 48 in its place"
    assert claims.published_share("ace-step") > 0.7


def test_every_claim_says_where_and_how() -> None:
    names = [claim.name for claim in claims.CLAIMS]
    assert len(set(names)) == len(names) >= 18
    for claim in claims.CLAIMS:
        assert claim.says.endswith(".") and claim.where and claim.test
        assert (claim.published is None) == (claim.source == "")
        assert (claim.measure is None) == (claim.needs in ("public", "ratings", "models"))


# ---- agreement


def test_a_judge_that_follows_the_truth_agrees_and_one_that_does_not_does_not() -> None:
    results = steered(GOOD)
    found = claims.agreement(results, "mini-clap")
    assert found["concept"].tolist() == ["mood", "tempo"]
    assert (
        (found["correlation"] > 0.9).all() and (found["same"] == found["pairs"]).all() and (found["pairs"] >= 5).all()
    )
    assert (found["best"] == "functional").all() and (found["best by truth"] == "functional").all()
    against = results.assign(value=results["value"].where(results["metric"] != "mini-clap", -results["value"]))
    turned = claims.agreement(against, "mini-clap")
    assert (turned["correlation"] < -0.9).all() and (turned["same"] == 0).all()


# ---- Table 1 by profile


@pytest.fixture(scope="module")
def request_(tmp_path_factory: pytest.TempPathFactory) -> table_runs.Request:
    import tada

    home = tmp_path_factory.mktemp("table")
    folder = tada.tiny.build("stable-audio", home / "tiny")
    return table_runs.settled(
        table_runs.Request(
            "stable-audio", str(folder), "smoke", ("mood",), words="mini", seconds=1.2, store=str(home / "store"),
            localisation=str(home / "localisation"),
        )
    )  # fmt: skip


def test_layers_are_settled_and_say_where_they_come_from(request_: table_runs.Request) -> None:
    layers = [int(part) for part in request_.functional.split("+")]
    assert len(layers) == 2 and layers == sorted(layers) and request_.layer in layers
    assert "not localised" in request_.origin
    from dataclasses import replace

    given = table_runs.settled(replace(request_, functional="5+3", layer=-1, origin=""))
    assert (given.functional, given.layer, given.origin) == ("3+5", 3, "given")
    with pytest.raises(KeyError, match="did you mean"):
        _ = replace(request_, reach="lengths").size


def test_a_table_is_computed_once_and_kept(request_: table_runs.Request, monkeypatch: pytest.MonkeyPatch) -> None:
    results = table_runs.compute(request_)
    cells = evaluation.table(results)
    rows = cells[["method", "layers"]].drop_duplicates().to_numpy().tolist()
    assert rows == [["CAA", "all"], ["CAA", "all-but-functional"], ["CAA", "functional"], ["SAE", str(request_.layer)]]
    assert {"fad-truth", "lpaps", "delta probe", "smoothness mini-clap"} <= set(cells["column"])
    steered_ = results[(results["method"] != "none") & (results["prompt"] != "")]
    assert (steered_.groupby("layers")["alpha"].max() == -steered_.groupby("layers")["alpha"].min()).all()

    network = table_runs.run_of(request_).model
    monkeypatch.setattr(type(network), "sample", lambda *_: pytest.fail("a second run computes nothing"))
    again = table_runs.compute(request_)
    pd.testing.assert_frame_equal(again, results)

    store = Path(request_.store)
    found = table_runs.gather(["stable-audio"], [request_.checkpoint], store, request_.localisation)
    assert found[0].results is not None and len(found[0].results) == len(results)
    assert "not run" not in set(claims.check(found, [by_name("graded")])["status"])

    made = table_runs.write(cells, store / "out")
    assert [path.name for path in made] == ["table.csv", "table.tex", "table.html"]
    assert len(pd.read_csv(made[0])) == len(cells)
    assert r"\begin{tabular}" in made[1].read_text() and "<table" in made[2].read_text()


def test_the_command_says_what_is_wrong_in_one_line() -> None:
    done = CliRunner().invoke(app, ["table", "--model", "stable-audio", "--profile", "smokey"])
    assert done.exit_code == 2 and "did you mean 'smoke'" in done.output + str(done.stderr)


def test_functional_layers_come_from_a_finished_localisation_and_claims_read_it(tmp_path: Path) -> None:
    import tada
    from tada import localise, patching
    from tada.store import UNIT, Store

    folder = str(tada.tiny.build("ace-step", tmp_path / "tiny"))
    request = table_runs.Request("ace-step", folder, "smoke", words="mini", localisation=str(tmp_path / "localisation"),
                                 store=str(tmp_path / "store"))  # fmt: skip
    assert table_runs.localised(request, "smoke") is None

    work = localise.plan("ace-step", folder, profile="smoke", score="probe")
    job = patching._Job(work.sampling, work.seconds, None, None, work.score, 0, None, None)
    plan = patching.units(work.model, work.pairs, work.seeds, None, job)
    strength = plan["layers"].map({"all": 1.0, "7": 0.7, "3": 0.4}).fillna(0.0)
    noise = np.random.default_rng(0).normal(0, 0.01, len(plan))
    rows = pd.DataFrame({UNIT: plan[UNIT], "metric": "probe", "value": strength + noise}).drop_duplicates(UNIT)
    store = Store(table_runs.localisation_folder(request))
    store.add(rows.iloc[:-1])
    assert table_runs.localised(request, "smoke") is None, "one clip is missing"
    store.add(rows.iloc[-1:])

    scores = table_runs.localised(request, "smoke")
    assert scores is not None
    found = localise.ranked(patching.impact(scores))
    assert found[:2] == [7, 3]
    assert claims.concentration(Evidence("ace-step", "mini", scores)).value > 0.8  # type: ignore[union-attr]
