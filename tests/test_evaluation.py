"""The evaluation: what is steered and scored, the store, and Table 1 against answers known beforehand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import tada
from tada import evaluation
from tada.engine import COLUMNS
from tada.evaluation import results
from tada.metrics import curve, fad, lpaps, preservation
from tada.metrics.suite import MetricSuite, SuiteFeatures
from tada.models.base import Model
from tada.steering import Arm, Trial, Vector, ranges, seeded
from tada.steering.arms import plan_steering
from tada.store import Store, packing

SECONDS = 1.2
PROMPTS = ["a song", "slow music", "techno", "a tune"]
QUICK = tada.Sampling(steps=2, guidance=7.0)
PERCENTS = (-100, -50, 0, 50, 100)


@pytest.fixture(scope="module")
def model(tiny_model: Callable[[str], Model]) -> Model:
    return tiny_model("stable-audio")


@pytest.fixture(scope="module")
def panel() -> MetricSuite:
    return MetricSuite("mini")


def arm(model: Model, layers: object = "all", seed: int = 0) -> Arm:
    """Random directions at every site, strong enough to be heard."""
    rng = torch.Generator().manual_seed(seed)
    directions = {site: torch.randn(1, model.site_width(site), generator=rng) for site in model.sites}
    return Arm("CAA", Vector(directions).unit(), layers, (40.0, 20.0), renorm=False)  # type: ignore[arg-type]


def evaluate(model: Model, panel: MetricSuite, **changes: object) -> pd.DataFrame:
    options = {"arms": [arm(model), arm(model, [0, 1])], "suite": panel, "percents": PERCENTS}
    names = ("concept", "prompts", "seeds", *(field.name for field in fields(tada.Setting)))
    options["trial"] = trial(**{name: changes.pop(name) for name in names if name in changes})
    return evaluation.run(model, **(options | changes))  # type: ignore[arg-type]


def trial(concept: str = "mood", prompts: object = PROMPTS, seeds: object = None, **setting: object) -> Trial:
    rows = seeded(prompts, 2115) if seeds is None else tuple(zip(prompts, seeds, strict=True))
    return Trial(concept, rows, replace(tada.Setting(SECONDS, QUICK, batch=16), **setting))


@pytest.fixture(scope="module")
def run(model: Model, panel: MetricSuite) -> pd.DataFrame:
    return evaluate(model, panel)


# ---- running


def test_a_run_has_every_clip_and_metric_once(run: pd.DataFrame) -> None:
    clips, every = run[run["prompt"] != ""], run[(run["prompt"] != "") & (run["layers"] == "all")]
    assert list(run.columns) == [*COLUMNS, "percent", "unit_hash"]
    assert clips[clips["method"] == "none"]["unit_hash"].nunique() == len(PROMPTS)
    assert clips["unit_hash"].nunique() == len(PROMPTS) * (1 + 2 * 4)
    assert not clips.duplicated(["prompt", "layers", "alpha", "metric"]).any()
    similar = {f"{ear}{side}" for ear in ("mini-clap", "mini-second") for side in ("", "-opposite")}
    judged = {"probe", "musicnn", "signal", "major"}
    assert set(clips["metric"]) == {*similar, *judged, "lpaps", "lpaps-token", *preservation.AXES}
    assert set(zip(every["percent"], every["alpha"], strict=True)) == {(-100, -20), (-50, -10), (50, 20), (100, 40)}
    assert set(clips["layers"]) == {"none", "all", "0+1"} and run["value"].notna().all()


def test_the_unsteered_clip_is_0_away_from_itself_and_steering_is_heard(run: pd.DataFrame) -> None:
    distance = run[run["metric"] == "lpaps"].groupby(["layers", "alpha"])["value"].mean()
    assert distance["none"].tolist() == [0]
    assert (distance["all"] > 1e-4).all() and (distance["all"] > distance["0+1"]).all()


def test_scores_are_those_of_clips_made_one_by_one(model: Model, panel: MetricSuite, run: pd.DataFrame) -> None:
    sampling = model.sampling(None, steps=2)
    for number, alpha in ((1, -20.0), (3, 40.0)):
        plain = panel.listen(model.generate(PROMPTS[number], 2115 + number, SECONDS, sampling))
        with arm(model).vector.apply(model, alpha, layers="all", renorm=False):
            clips = model.generate(PROMPTS[number], 2115 + number, SECONDS, sampling)
        wanted = panel.compare(panel.listen(clips), "mood", plain) | panel.judge(clips, "mood")
        rows = run[(run["prompt"] == PROMPTS[number]) & (run["layers"] == "all") & (run["alpha"] == alpha)]
        for metric, value in rows.set_index("metric")["value"].items():
            assert value == pytest.approx(wanted[str(metric)][0], abs=1e-3), metric


def test_distances_of_sets_are_those_of_the_embeddings(model: Model, panel: MetricSuite, run: pd.DataFrame) -> None:
    sampling, seeds = model.sampling(None, steps=2), range(2115, 2119)
    plain = panel.listen(model.generate(PROMPTS, list(seeds), SECONDS, sampling)).embedding
    with arm(model).vector.apply(model, 40.0, layers="all", renorm=False):
        steered = panel.listen(model.generate(PROMPTS, list(seeds), SECONDS, sampling)).embedding
    rows = run[(run["layers"] == "all") & (run["alpha"] == 40)].set_index(["metric", "pair"])["value"].sort_index()
    assert set(rows["fad"].index) == {"all", *(f"without {i}" for i in range(4))}
    width = fad.spread(plain)
    for pair, some in (("all", [0, 1, 2, 3]), ("without 1", [0, 2, 3])):
        one, other = steered[some], plain[some]
        assert rows["fad", pair] == pytest.approx(fad.distance(one, other), rel=1e-2)
        assert rows["kad", pair] == pytest.approx(fad.kernel(one, other, width, paired=True), rel=1e-2)


def test_a_run_goes_on_where_it_was_and_does_nothing_twice(
    model: Model, panel: MetricSuite, run: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate(model, panel, store=tmp_path, percents=(-100, 100), arms=[arm(model)])
    made, sample = [], type(model).sample
    monkeypatch.setattr(type(model), "sample", lambda *given: made.append(len(given[2])) or sample(*given))
    whole = evaluate(model, panel, store=tmp_path)
    assert made == [4, 16, 16], "the clips at strength 0 again, and batches of one shape with what was missing"
    assert whole.drop(columns="value").equals(run.drop(columns="value"))
    assert np.allclose(whole["value"], run["value"], rtol=1e-3, atol=1e-4)
    made.clear()
    assert evaluate(model, panel, store=tmp_path).equals(whole)
    assert not made

    page = {"own": sorted(Store(tmp_path).known()), "made": {}, "seconds": 1.0}
    packing.pack(tmp_path, {"07_table_1": page}, tmp_path / "results", {})
    assert "embedding" not in pd.read_parquet(tmp_path / "results" / "rows.parquet")
    monkeypatch.setenv("TADA_RESULTS", str(tmp_path / "results"))
    shipped = packing.round_measures(whole)
    assert evaluate(model, panel, store=tmp_path / "own").equals(shipped) and not made, "all of it ships"
    other = evaluate(model, panel, store=tmp_path / "own", percents=(-100, 25), arms=[arm(model)])
    assert len(made) == 2 and {"all", "without 3"} <= set(other["pair"]), "distances that do not ship need embeddings"


def test_what_determines_a_clip_is_in_its_hash(model: Model, panel: MetricSuite, run: pd.DataFrame) -> None:
    def plan(**changes: object) -> set[str]:
        arms, suite = changes.pop("arms", [arm(model)]), changes.pop("panel", panel)
        return set(plan_steering(model, arms, trial(**changes), PERCENTS, suite)["unit_hash"])

    known = plan()
    assert known < set(run["unit_hash"])
    zero = set(run[run["method"] == "none"]["unit_hash"])
    assert plan(arms=[arm(model, seed=1)]) & known == zero
    assert plan(arms=[replace(arm(model), renorm=True)]) & known == zero
    assert plan(arms=[arm(model, [5])]) & known == zero
    longer = plan(arms=[replace(arm(model), scale=(50.0, 20.0))]) & known
    assert zero < longer and len(longer) == len(zero) + 2 * len(PROMPTS), "other raw strengths, those below 0 the same"
    for change in (
        {"concept": "tempo"}, {"seconds": 2.0}, {"negative": "noise"}, {"panel": MetricSuite("mini", loudness=-20)},
        {"sampling": model.sampling(None, steps=3)}, {"seeds": [1, 2, 3, 4]},
    ):  # fmt: skip
        assert not plan(**change) & known, change
    assert plan(batch=2) == known


def test_a_run_that_was_stopped_ends_as_the_whole_one(
    model: Model, panel: MetricSuite, run: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, sample = [], type(model).sample

    def stop(self: Model, *rest: object) -> object:
        made.append(1)
        if len(made) > 5:
            raise KeyboardInterrupt
        return sample(self, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(type(model), "sample", stop)
    with pytest.raises(KeyboardInterrupt):
        evaluate(model, panel, store=tmp_path, batch=3)
    monkeypatch.undo()
    stored = Store(tmp_path).known()
    assert 4 < len(stored) < run["unit_hash"].nunique()
    whole = evaluate(model, panel, store=tmp_path)
    assert stored < set(whole["unit_hash"]) and whole.drop(columns="value").equals(run.drop(columns="value"))
    assert np.allclose(whole["value"], run["value"], rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="finish the run"):
        evaluation.table(whole[whole["unit_hash"] != whole["unit_hash"].iloc[-100]])


def test_renders_add_the_distance_to_them(model: Model, panel: MetricSuite) -> None:
    renders = torch.randn(20, 128, generator=torch.Generator().manual_seed(0))
    found = evaluate(model, panel, arms=[arm(model)], renders=renders)
    assert {"fad-renders", "kad-renders"} <= set(evaluation.table(found)["column"])
    for metric in ("fad-renders", "kad-renders"):
        rows = found[found["metric"] == metric]
        assert set(rows["layers"]) == {"none", "all"} and set(rows["alpha"]) == {-20, -10, 0, 20, 40}


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"prompts": []}, ValueError, "0 prompts"),
        ({"prompts": ["a", "a"], "seeds": [1, 1]}, ValueError, "none of them twice"),
        ({"arms": []}, ValueError, "one or more"),
        ({"percents": [0]}, ValueError, "other than 0"),
        ({"percents": [float("nan")]}, ValueError, "finite"),
        ({"concept": "moods"}, KeyError, "did you mean 'mood'"),
    ],
)
def test_runs_that_make_no_sense_are_refused(
    changes: dict[str, object], error: type[Exception], words: str, model: Model, panel: MetricSuite
) -> None:
    with pytest.raises(error, match=words):
        evaluate(model, panel, **changes)


# ---- AUC and the table


@pytest.fixture(scope="module")
def piano() -> pd.DataFrame:
    return pd.read_csv(Path(__file__).parent / "data" / "published_steering_piano.csv")


def test_published_rows_give_the_published_auc(piano: pd.DataFrame) -> None:
    published = pd.read_csv(Path(__file__).parent / "data" / "published_concepts.csv").query("concept == 'piano'")
    cutoffs = tuple(published[["cutoff_positive", "cutoff_negative"]].iloc[0])
    names = {"caa_all": "CAA", "caa_loc": "CAA (loc.)", "sae": "SAE (loc.)"}
    for method, rows in piano.groupby("method"):
        wanted = published.set_index("method").loc[names[str(method)]]
        assert round(evaluation.auc(rows, "muq", cutoffs), 3) == wanted["auc_muq"]
        assert round(evaluation.auc(rows, "clap", cutoffs), 3) == wanted["auc_clap"]
    with pytest.raises(KeyError, match="did you mean 'lpap'"):
        evaluation.auc(piano.rename(columns={"lpaps": "lpap"}), "muq", cutoffs)


def made_up(strong: float = 1.0, prompts: int = 30, noise: float = 0.05, seed: int = 0) -> pd.DataFrame:
    """Results whose table is known: two arms, gains of 1 and ``strong`` over the range, distances 2 and 1."""
    rng, rows = np.random.default_rng(seed), []
    quirk = rng.normal(0, 0.5, prompts)  # each prompt's own level, the same in all arms
    for number in range(prompts):
        about = (str(number), f"p{number}", number)
        rows += [(*about, "none", "none", 0.0, "mini-clap", quirk[number]), (*about, "none", "none", 0.0, "lpaps", 0.0)]
        for layers, gain, far in (("all", 1.0, 2.0), ("functional", strong, 1.0)):
            for alpha in (-10.0, -5.0, 5.0, 10.0):
                value = quirk[number] + gain * alpha / 20 + rng.normal(0, noise)
                rows.append((*about, "CAA", layers, alpha, "mini-clap", value))
                rows.append((*about, "CAA", layers, alpha, "lpaps", far * abs(alpha) / 10))
    columns = ["pair", "prompt", "seed", "method", "layers", "alpha", "metric", "value"]
    return pd.DataFrame(rows, columns=columns).assign(checkpoint="c", model="m", concept="mood", unit_hash="")


def cell(cells: pd.DataFrame, column: str, layers: str = "all") -> pd.Series:
    return cells[(cells["column"] == column) & (cells["layers"] == layers)].iloc[0]


def test_the_table_is_what_it_was_made_of() -> None:
    cells = evaluation.table(made_up(strong=2.0))
    assert cell(cells, "lpaps")["value"] == pytest.approx(1.5)
    assert cell(cells, "delta mini-clap")["value"] == pytest.approx(1.0, abs=0.05)
    assert cell(cells, "delta mini-clap", "functional")["value"] == pytest.approx(2.0, abs=0.05)
    assert cell(cells, "smoothness mini-clap")["value"] < 0.03
    # both get as far as 1: gain 0.25 at distance 1 for all layers, 1 for the functional ones
    assert cell(cells, "auc mini-clap")["value"] == pytest.approx(0.125, abs=0.02)
    assert cell(cells, "auc mini-clap", "functional")["value"] == pytest.approx(0.5, abs=0.03)
    for variant in curve.VARIANTS:
        bent = made_up(noise=0.0)
        bent.loc[(bent["alpha"] == 5) & (bent["metric"] == "mini-clap"), "value"] += 0.1  # steps 1/4 1/4 .35 .15
        found = cell(evaluation.table(bent, variant=variant), "smoothness mini-clap", "functional")["value"]
        wanted = {"paper": np.std([0.25, 0.25, 0.35, 0.15]), "authors": np.std([0.25, 0.15])}
        assert found == pytest.approx(wanted.get(variant, np.std([0.7, 0.3]) / 2))
    fixed = evaluation.table(made_up(strong=2.0), {"mood": (0.5, 0.5)})
    assert cell(fixed, "auc mini-clap")["value"] == pytest.approx(0.03125, abs=0.01)


def test_delta_is_two_sided_where_it_is_asked_for_and_the_opposite_was_measured() -> None:
    plain = made_up(noise=0.0)
    opposite = plain[plain["metric"] == "mini-clap"].assign(metric="mini-clap-opposite")
    both = pd.concat([plain, opposite.assign(value=-0.4 * opposite["value"])])  # 0.2 more of it at the lowest strength
    assert cell(evaluation.table(both, variant="authors"), "delta mini-clap")["value"] == pytest.approx((0.5 + 0.2) / 2)
    for rows, variant in ((both, "paper"), (plain, "authors")):
        assert cell(evaluation.table(rows, variant=variant), "delta mini-clap")["value"] == pytest.approx(1.0)


@pytest.mark.parametrize(("prompts", "runs", "least"), [(16, 30, 23), (4, 40, 35)])
def test_intervals_hold_the_truth_about_as_often_as_they_say(prompts: int, runs: int, least: int) -> None:
    """Plain percentiles of 4 prompts hold it in about 32 of 40."""
    hits = 0
    for seed in range(runs):
        made = made_up(prompts=prompts, noise=0.4, seed=seed)
        cells = evaluation.table(made[made["metric"] == "mini-clap"])
        found, uneven = cell(cells, "delta mini-clap"), cell(cells, "smoothness mini-clap")
        hits += found["low"] <= 1.0 <= found["high"]
        assert 0 <= uneven["low"] <= uneven["value"] <= uneven["high"], "a deviation is not below 0"
    assert hits >= least


def test_prompts_are_drawn_together_so_that_their_own_levels_cancel() -> None:
    """Prompts differ by far more than the arms do: only a paired comparison can tell them apart."""
    cells = evaluation.table(made_up(strong=1.2))
    better = cell(cells, "delta mini-clap", "functional")
    assert better["best"] and not cell(cells, "delta mini-clap")["tied"]
    assert cell(cells, "lpaps", "functional")["best"] and not cell(cells, "lpaps")["best"]
    same = evaluation.table(made_up(strong=1.0, noise=0.3))
    assert same[same["column"] == "delta mini-clap"]["tied"].all()


def test_rows_are_tied_by_their_difference_not_by_their_intervals() -> None:
    """Prompts differ in how far they go, by more than the arms do, but always in the same way."""
    results = made_up(strong=1.2, noise=0.01)
    far = np.random.default_rng(1).normal(1, 0.5, 30)[results["seed"]]
    own = results["metric"] == "mini-clap"
    results.loc[own, "value"] += (far * results["alpha"] / 20)[own]
    cells = evaluation.table(results)
    better, worse = (cell(cells, "delta mini-clap", layers) for layers in ("functional", "all"))
    assert better["low"] < worse["high"] and better["best"] and not worse["tied"]


def test_distances_between_sets_are_means_over_the_steered_ones() -> None:
    values = {("none", 0.0): 9.0, ("all", -10.0): 1.0, ("all", 10.0): 3.0, ("functional", -10.0): 1.0,
              ("functional", 10.0): 2.0}  # fmt: skip
    shifts = {"all": 0.0} | {f"without {i}": 0.01 * i for i in range(10)}
    rows = [(*arm, pair, value + shift) for arm, value in values.items() for pair, shift in shifts.items()]
    sets = pd.DataFrame(rows, columns=["layers", "alpha", "pair", "value"]).assign(metric="fad-renders", prompt="")
    sets["method"] = sets["layers"].map({"none": "none"}).fillna("CAA")
    cells = evaluation.table(pd.concat([made_up(), sets.assign(checkpoint="c", model="m", concept="mood")]))
    assert [cell(cells, "fad-renders", layers)["value"] for layers in ("all", "functional")] == [2.0, 1.5]
    assert cell(cells, "fad-renders", "functional")["best"] and not cell(cells, "fad-renders")["tied"]


def test_what_was_not_measured_is_a_gap_with_its_command(run: pd.DataFrame) -> None:
    cells = evaluation.table(run, resamples=20)
    for rating in ("CE", "CU", "PC", "PQ"):
        gap = cell(cells, rating)
        assert np.isnan(gap["value"]) and "audiobox_aesthetics==0.0.4" in gap["note"]
    text = evaluation.layout(cells)
    assert (text["CE"] == "not measured").all() and text["fad"].str.contains(r"\[").all()
    assert list(text.index.get_level_values("layers")) == ["all", "0+1"]


def test_table_1_is_written_for_readers_and_for_latex() -> None:
    cells = evaluation.table(made_up(strong=2.0))
    text = evaluation.layout(cells, digits=2)
    assert text["delta mini-clap"].str.contains(r"\*").tolist() == [False, True]
    same = evaluation.layout(evaluation.table(made_up(noise=0.3)))
    assert same["delta mini-clap"].str.contains(r"\*").tolist() == [True, True], "the tied row is marked, too"
    assert evaluation.layout(cells, "html")["lpaps"].str.contains("<b>").tolist() == [False, True]
    written = evaluation.latex(cells)
    assert written.count(r"\\") == 3 and r"\textbf{0.750}" in written and written.startswith(r"\begin{tabular}")
    with pytest.raises(KeyError, match="did you mean 'latex'"):
        evaluation.layout(cells, "latexx")


def test_results_that_cannot_be_tabled_are_refused() -> None:
    whole = made_up(prompts=4)
    for wrong, words in (
        (whole[whole["method"] != "none"], "no clips at strength 0"),
        (whole[whole["method"] == "none"], "no steered clips"),
        (pd.concat([whole, whole]), "several runs"),
        (whole.drop(whole.index[-1]), "gaps"),
        (whole.assign(value=whole["value"].where(whole.index != whole.index[-2])), "gaps"),
        (pd.DataFrame(), "got 0 results"),
    ):
        with pytest.raises(ValueError, match=words):
            evaluation.table(wrong)
    signal = whole[whole["metric"] == "lpaps"].assign(metric="brightness")
    dark = pd.concat([whole, signal.assign(value=signal["value"].where(signal["alpha"] < 10))])
    assert set(evaluation.table(dark)["column"]) == set(evaluation.table(whole)["column"]), "a silent clip has none"
    assert all("brightness" not in one.scores for one in results.by_arm(dark).values())
    assert all("brightness" in one.scores for one in results.by_arm(pd.concat([whole, signal])).values())


def test_columns_take_the_direction_that_their_metric_says() -> None:
    made = evaluation.columns(["lpaps", "fad", "clap", "CE"], (1.0, 1.0))
    assert [(one.name, one.better) for one in made] == [
        ("lpaps", "lower"), ("fad", "lower"), ("delta clap", "higher"), ("smoothness clap", "lower"),
        ("auc clap", "higher"), ("CE", "higher"),
    ]  # fmt: skip
    alpha, curves = np.array([-2.0, -1.0, 0.0, 1.0, 2.0]), np.random.default_rng(0).normal(size=(3, 5))
    for column, alone in ((made[2], curve.delta), (made[3], curve.smoothness)):
        assert column.of is not None
        assert column.of(alpha, curves, None) == pytest.approx([alone(alpha, one) for one in curves], rel=1e-12)
    assert made[0].of is not None
    assert made[0].of(alpha, curves, None) == pytest.approx(curves[:, [0, 1, 3, 4]].mean(1))


# ---- ranges by distance


def test_the_strength_that_moves_clips_so_far_is_found(model: Model, panel: MetricSuite) -> None:
    ladder, one, asked = [float(2**power) for power in range(-1, 8)], arm(model), trial(prompts=PROMPTS[:2])

    def listen() -> SuiteFeatures:
        return panel.listen(model.generate(PROMPTS[:2], [2115, 2116], SECONDS, QUICK))

    def distance(strength: float) -> float:
        with one.vector.apply(model, strength, layers="all", renorm=False):
            return float(lpaps.distance(listen().stages, plain.stages).mean())

    plain = listen()
    target = distance(3.0)
    found, reached = ranges.range_by_distance(model, one, asked, (target, 99.0), panel, ladder)
    assert distance(found.scale[0]) == pytest.approx(target, rel=0.1)
    assert reached == (True, False) and found.scale[1] in ladder
    assert found.raw(50) == pytest.approx(found.scale[0] / 2)
    assert replace(one, scale=(10, 30)).raw(-50) == -15
    up, down = ranges.prompt_distance(model, asked, ["happy song", "sad song"], PROMPTS[:2], panel)
    assert up > 1e-6 and down == pytest.approx(0, abs=1e-6), "swapped prompts move clips, equal ones do not"


def test_crossings_by_hand() -> None:
    ladder = [1.0, 2.0, 4.0, 8.0]
    assert ranges._crossing(ladder, np.array([0.1, 0.2, 0.4, 0.5]), 0.3) == (pytest.approx(2 * 2**0.5), True)
    assert ranges._crossing(ladder, np.array([0.2, 0.3, 0.4, 0.5]), 0.1) == (0.5, True)
    assert ranges._crossing(ladder, np.array([0.1, 0.3, 0.2, 0.2]), 0.9) == (2.0, False)
