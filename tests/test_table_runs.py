"""Table 1 by profile: layers, rows and ranges, the run and what it leaves, what is loaded from stores."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import tada
from tada import evaluation, patching
from tada.errors import unknown
from tada.experiments import claims, localisation, steering, table_1
from tada.experiments.profiles import PROFILES
from tada.experiments.table_1 import Config, Table1, load_localisation, resolve_layers
from tada.metrics import preservation
from tada.minis.render import LOUDNESS
from tada.models import ARCHITECTURES
from tada.models.hub import describe_choice
from tada.steering import Arm, calibrated, lengths
from tada.store import UNIT, Store


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table1:
    home = tmp_path_factory.mktemp("table")
    folder = tada.tiny.build("stable-audio", home / "tiny")
    places = {"store": str(home / "store"), "localisation": str(home / "localisation")}
    given = {"functional": "12+11", "vocabulary": "mini", "seconds": 1.2, **places}
    return table_1.open_table(Config("stable-audio", str(folder), "smoke", ("mood",), **given))


def reopen(table: Table1, **changes: Any) -> Table1:
    """The table with changes to what was asked, its layers as they are."""
    return table_1.open_table(replace(table.config, **changes))


def test_layers_are_settled_and_say_where_they_come_from(table: Table1) -> None:
    assert (table.config.functional, table.config.layer, table.config.origin) == ("12+11", 12, "given")
    with pytest.raises(ValueError, match="not known, it was not localised yet: give them"):
        reopen(table, functional="", origin="")
    with pytest.raises(KeyError, match="did you mean"):
        reopen(table, scale="lengths")


def test_a_table_is_computed_once_and_kept(table: Table1, monkeypatch: pytest.MonkeyPatch) -> None:
    results = table_1.compute(table)
    cells = evaluation.table(results)
    rows = list(cells[["method", "layers"]].drop_duplicates().itertuples(index=False, name=None))
    assert rows == [*(("CAA", name) for name in table_1.LAYER_SETS), ("SAE", str(table.config.layer))]
    assert {"fad-renders", "lpaps", "delta probe", "smoothness mini-clap"} <= set(cells["column"])
    steered = results[(results["method"] != "none") & (results["prompt"] != "")]
    assert set(steered["percent"]) == {-100.0, 100.0} and steered["prompt"].nunique() == 3
    ends = steered.groupby("layers")["alpha"].agg(["min", "max"])
    assert (ends["max"] == -ends["min"]).all()

    monkeypatch.setattr(type(table.work.model), "sample", lambda *_: pytest.fail("a second run computes nothing"))
    pd.testing.assert_frame_equal(table_1.compute(table), results)

    store, config = Path(table.config.store), table.config
    found = table_1.load_evidence(["stable-audio"], [config.checkpoint], store, config.localisation)
    assert found[0].results is not None and len(found[0].results) == len(results)
    checked = claims.check(found)
    assert "not run" not in set(checked.loc[checked["claim"] == "graded", "status"])

    made = evaluation.write(cells, store / "out")
    assert [path.name for path in made] == ["table.csv", "table.tex", "table.html"]
    assert len(pd.read_csv(made[0])) == len(cells)
    titles = {name: set(block["column"]) for name, block in evaluation.blocks(cells).items()}
    assert titles["Preservation"] == {"lpaps", *preservation.AXES, "fad", "kad"}
    assert titles["Quality"] == {"fad-renders", "kad-renders", "CE", "CU", "PC", "PQ"}
    assert r"\begin{tabular}" in made[1].read_text() and "<table" in made[2].read_text()


def test_the_rows_are_the_paper_s_and_their_ranges_one_length(table: Table1) -> None:
    model = table.work.model
    functional = sorted(int(layer) for layer in table.config.functional.split("+"))
    rows = table_1.make_arms(table, "mood")
    steered = [[model.sites.index(site) for site in model.resolve(arm.layers)] for arm in rows]
    every = list(range(len(model.sites)))
    assert steered == [every, [i for i in every if i not in functional], functional, [table.config.layer]]
    assert [(arm.method, arm.renorm) for arm in rows] == [("CAA", True)] * 3 + [("SAE", False)]
    for arm in rows:
        length = lengths(model, arm.vector, steering.range_trial(table.work, "mood"), arm.layers)
        assert arm.scale == pytest.approx((length, length), rel=1e-4)
    assert all(arm.scale == (100.0, 100.0) for arm in table_1.make_arms(reopen(table, scale="paper"), "mood"))


def test_the_authors_strengths_of_the_autoencoder(table: Table1, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[list[str], tuple[float, ...]]] = []

    def run(model: Any, arms: list[Arm], trial: Any, suite: Any, percents: tuple[float, ...], *_: Any) -> pd.DataFrame:
        asked.append(([arm.method for arm in arms], percents))
        return pd.DataFrame({UNIT: ["unsteered", *[arm.method for arm in arms]], "metric": "lpaps"})

    monkeypatch.setattr(evaluation, "run", run)
    opened = reopen(table, scale="authors")
    rows = table_1.evaluate(opened, "mood", table_1.make_arms)
    assert asked == [(["CAA"] * 3, (-100.0, 100.0)), (["SAE"], evaluation.SAE_GRID)]
    assert np.diff(evaluation.SAE_GRID).tolist() == [2.5] * 40 and evaluation.SAE_GRID[0] == -50
    assert rows[UNIT].tolist() == ["unsteered", "CAA", "SAE"], "the unsteered clips are there once"


def test_wording_and_lyrics_reach_prompts_queries_and_songs(table: Table1, tiny_folder: Any, tmp_path: Path) -> None:
    pd.DataFrame({"lyrics": ["la la", "ooh"]}).to_csv(tmp_path / "lyrics.csv")
    opened = reopen(table, wording="revised", lyrics=str(tmp_path / "lyrics.csv"))
    assert opened.suite.wording == "revised" and opened.work.lyrics == ("la la", "ooh")
    work = steering.plan("ace-step", tiny_folder("ace-step"), "smoke")
    work = replace(work, wording=opened.work.wording, lyrics=opened.work.lyrics)
    trial = steering.range_trial(work, "vocal gender")
    assert trial.prompts[0].endswith(", with clean vocal") and trial.setting.lyrics[trial.prompts[0]] == "la la"
    assert work.model.encode("a song", lyrics={"a song": ""}).lyrics == ("",)
    with pytest.raises(KeyError, match="no prompt with lyrics"):
        work.model.encode("another song", lyrics=trial.setting.lyrics)
    assert steering.range_trial(work, "tempo").setting.lyrics == "[inst]"
    assert steering.recipe(work, "mood").wording == "revised"
    assert steering.range_trial(replace(work, lyrics=()), "vocal gender").setting.lyrics == ""


def test_a_range_by_a_judge_keeps_its_scores(table: Table1) -> None:
    arm = table_1.caa_arms(reopen(table, scale="calibrated"), "mood")[0]
    assert arm.scale == calibrated(table.work.model, arm).scale and arm.raw(100) == pytest.approx(arm.scale[0])


def test_numbers_that_are_given_come_before_the_profile_s(table: Table1) -> None:
    opened = reopen(table, prompts=5, spacing=50, scale="paper")
    size, suite = opened.work.profile.table, opened.suite
    assert (size.prompts, size.scale, size.percents) == (5, "paper", (-100.0, -50.0, 50.0, 100.0))
    assert opened.work.setting.seconds == 1.2
    assert (suite.loudness, suite.weights, suite.predictor) == (LOUDNESS, "mini", None), "clips are as loud as renders"
    assert PROFILES["paper"].table.prompts == 100 and len(PROFILES["paper"].table.percents) == 20
    with pytest.raises(KeyError, match="did you mean 'smoke'"):
        reopen(table, profile="smok")


@pytest.fixture
def localised(tmp_path: Path, tiny_folder: Any) -> tuple[Config, pd.DataFrame]:
    """A tiny ACE-Step, and the scores of a localisation of it in which layers 7 and 3 have most impact."""
    folder = str(tiny_folder("ace-step"))
    config = Config("ace-step", folder, "smoke", vocabulary="mini", localisation=str(tmp_path / "localisation"))
    work = localisation.plan("ace-step", folder, "smoke", judge="probe")
    pairs = localisation.build_pairs(work)
    plan = patching.plan_sweep(work.model, pairs, localisation.seeds_of(pairs), None, work.setting, work.judge)
    strength = plan["layers"].map({"all": 1.0, "7": 0.7, "3": 0.4}).fillna(0.0)
    noise = np.random.default_rng(0).normal(0, 0.01, len(plan))
    return config, plan.assign(metric="probe", value=strength + noise)


def keep(config: Config, rows: pd.DataFrame) -> None:
    place = localisation.scores_folder(config.localisation, config.name, config.checkpoint)
    Store(place).add(rows[[UNIT, "metric", "value"]].drop_duplicates(UNIT))


def resolved(config: Config) -> Config:
    work = steering.plan(config.name, config.checkpoint, config.profile, functional=config.functional)
    return resolve_layers(config, work)


def test_layers_come_from_a_finished_localisation_claims_read_it(localised: tuple[Config, pd.DataFrame]) -> None:
    config, rows = localised
    assert load_localisation(config) == (None, None)
    keep(config, rows)
    scores, _ = load_localisation(config)
    assert scores is not None and scores.groupby("concept")["pair"].nunique().tolist() == [2, 2]
    with pytest.raises(ValueError, match="its localisation names none"):
        resolved(config)
    assert resolved(replace(config, functional="3+5")).layer == 3, "the first of those that were given"


def test_layers_are_those_of_the_rule_on_a_finished_localisation(
    localised: tuple[Config, pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, rows = localised
    copies = [rows.assign(pair=rows["pair"] + f"-{copy}", seed=copy) for copy in range(8)]
    more = pd.concat(copies).assign(checkpoint="c", model="m")
    more["value"] += np.random.default_rng(1).normal(0, 0.01, len(more))
    monkeypatch.setattr(table_1, "load_localisation", lambda config: (more, None))
    found = resolved(config)
    assert (found.functional, found.layer) == ("7+3", 7)
    assert found.origin.startswith("localised on 16 pairs of 2 concepts") and found.origin.endswith("index 1.00")


def test_of_an_unfinished_localisation_pairs_of_all_concepts_count(localised: tuple[Config, pd.DataFrame]) -> None:
    config, rows = localised
    first = rows.groupby("concept")["pair"].transform("first") == rows["pair"]
    keep(config, rows[first].iloc[:-1])
    assert load_localisation(config) == (None, None), "one clip is missing"
    keep(config, rows[first].iloc[-1:])
    keep(config, rows[~first & (rows["concept"] == "slow")])
    scores, _ = load_localisation(config)
    assert scores is not None and scores.groupby("concept")["pair"].nunique().tolist() == [1, 1]


def test_a_checkpoint_s_own_layers_are_said_to_be_its_own(tmp_path: Path) -> None:
    folder = tada.tiny.build("stable-audio", tmp_path / "tiny")
    chosen = patching.Functional([5, 2], 0.5, 15, 120, (0, 239))
    told = {"said by the checkpoint": [5, 2], describe_choice(**chosen._asdict()): chosen._asdict()}
    for origin, functional in told.items():
        (folder / "tada.json").write_text(json.dumps({"functional": functional, "label": origin}))
        found = resolved(Config("stable-audio", str(folder), "smoke", vocabulary="mini"))
        assert (found.functional, found.layer, found.origin) == ("5+2", 5, origin)
    (folder / "tada.json").write_text(json.dumps({"functional": chosen._replace(layers=[], jaccard=None)._asdict()}))
    assert tada.load("stable-audio", folder).functional is None, "a localisation that names none"


def test_a_range_by_distance_goes_as_far_as_the_prompt_does(table: Table1, monkeypatch: pytest.MonkeyPatch) -> None:
    targets: dict[str, tuple[float, float]] = {}
    far = {"mood": (0.5, 0.25), "piano": (0.5, 0.0), "tempo": (0.0, 0.0)}

    def found(model: object, arm: Arm, trial: Any, goal: tuple[float, float], *_: object, **__: object) -> Any:
        targets[trial.concept] = goal
        return replace(arm, scale=(2.0, 1.0)), None

    monkeypatch.setattr(table_1, "range_by_distance", found)
    monkeypatch.setattr(table_1, "prompt_distance", lambda model, trial, *_: far[trial.concept])
    opened = reopen(table, scale="distance")
    assert table_1.caa_arms(opened, "mood")[0].scale == (2.0, 1.0)
    table_1.caa_arms(opened, "piano")
    assert targets == {"mood": (0.5, 0.25), "piano": (0.5, 0.5)}, "a pole that no prompt asks for follows the other"
    with pytest.raises(ValueError, match="scale='length'"):
        table_1.caa_arms(opened, "tempo")


def test_gathering_from_empty_stores_finds_nothing_and_loads_nothing(tmp_path: Path) -> None:
    found = table_1.load_evidence(["ace-step"], ["mini", "public"], tmp_path / "a", tmp_path / "b")
    nothing = [("ace-step", checkpoint, None, None) for checkpoint in ("mini", "public")]
    assert [(one.model, one.checkpoint, one.scores, one.results) for one in found] == nothing
    with pytest.raises(KeyError, match=re.escape(unknown("architecture", "ace", ARCHITECTURES))):
        table_1.load_evidence(["ace"], ["mini"], tmp_path, tmp_path)
