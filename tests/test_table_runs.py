"""Table 1 by profile: layers, rows and ranges, the run and what it leaves, what is gathered from stores."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import tada
from tada import evaluation, patching
from tada.cli import app
from tada.errors import unknown
from tada.experiments import claims
from tada.experiments import localisation as localise
from tada.experiments import table_1 as table_runs
from tada.experiments.claims import Evidence
from tada.experiments.claims.measures import concentration
from tada.experiments.profiles import PROFILES
from tada.experiments.table_1 import request as table_request
from tada.experiments.table_1.arms import _by_distance, caa_arms
from tada.models import ARCHITECTURES, shipped
from tada.patching import sweeps
from tada.steering import distance as reach
from tada.steering import ranges as calibrate
from tada.store import UNIT, Store


@pytest.fixture(scope="module")
def request_(tmp_path_factory: pytest.TempPathFactory) -> table_runs.Request:
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
    assert set(steered_["percent"]) == {-100.0, 100.0} and steered_["prompt"].nunique() == 3
    assert (steered_.groupby("layers")["alpha"].max() == -steered_.groupby("layers")["alpha"].min()).all()

    network = table_runs.run_of(request_).model
    monkeypatch.setattr(type(network), "sample", lambda *_: pytest.fail("a second run computes nothing"))
    again = table_runs.compute(request_)
    pd.testing.assert_frame_equal(again, results)

    store = Path(request_.store)
    found = table_runs.gather(["stable-audio"], [request_.checkpoint], store, request_.localisation)
    assert found[0].results is not None and len(found[0].results) == len(results)
    assert "not run" not in set(
        claims.check(found, [claim for claim in claims.CLAIMS if claim.name == "graded"])["status"]
    )

    made = table_runs.write(cells, store / "out")
    assert [path.name for path in made] == ["table.csv", "table.tex", "table.html"]
    assert len(pd.read_csv(made[0])) == len(cells)
    titles = {name: set(block["column"]) for name, block in table_runs.blocks(cells).items()}
    assert titles["Preservation"] == {"lpaps", "fad", "kad"}
    assert titles["Quality"] == {"fad-truth", "kad-truth", "CE", "CU", "PC", "PQ"}
    assert r"\begin{tabular}" in made[1].read_text() and "<table" in made[2].read_text()


def test_the_rows_are_the_paper_s_and_their_ranges_one_length_of_what_layers_put_out(
    request_: table_runs.Request,
) -> None:
    run = table_runs.run_of(request_)
    functional = [int(layer) for layer in request_.functional.split("+")]
    rows = table_runs.arms(request_, "mood")
    steered = [[run.model.sites.index(site) for site in run.model.resolve(arm.layers)] for arm in rows]
    every = list(range(len(run.model.sites)))
    assert steered == [every, [i for i in every if i not in functional], functional, [request_.layer]]
    assert [(arm.method, arm.renorm) for arm in rows] == [("CAA", True)] * 3 + [("SAE", False)]
    for arm in rows:
        length = calibrate.lengths(run.model, arm.vector, run.trial("mood"), arm.layers)
        assert arm.reach == pytest.approx((length, length), rel=1e-4)
    as_in_the_paper = table_runs.arms(replace(request_, reach="paper"), "mood")
    assert all(arm.reach == (100.0, 100.0) for arm in as_in_the_paper)


def test_a_range_by_a_judge_has_its_high_end_first(
    request_: table_runs.Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrate, "calibrate", lambda model, vector, *_, **__: vector)
    monkeypatch.setattr(calibrate, "limits", lambda *_, **__: (-3.0, 7.0))
    arm = table_runs.arms(replace(request_, reach="calibrated"), "mood")[0]
    assert arm.reach == (7.0, 3.0) and arm.raw(100) == 7.0 and arm.raw(-100) == -3.0


def test_a_request_s_own_numbers_come_before_the_profile_s(request_: table_runs.Request) -> None:
    size = replace(request_, count=5, reach="paper").size
    assert (size.prompts, size.scale, size.percents) == (5, "paper", (-100.0, 100.0))
    assert table_runs.run_of(request_).seconds == 1.2
    assert PROFILES["paper"].table.prompts == 100 and len(PROFILES["paper"].table.percents) == 20
    with pytest.raises(KeyError, match="did you mean 'smoke'"):
        _ = replace(request_, profile="smok").size


def test_clips_of_minis_are_brought_to_the_loudness_of_the_renders(request_: table_runs.Request) -> None:
    from tada.minis.render import LOUDNESS

    ears = table_runs.panel(request_)
    assert ears.loudness == LOUDNESS and ears.weights == "mini" and ears.predictor is None


def test_the_command_says_what_is_wrong_in_one_line() -> None:
    done = CliRunner().invoke(app, ["table", "--model", "stable-audio", "--profile", "smokey"])
    assert done.exit_code == 2 and "did you mean 'smoke'" in done.output + str(done.stderr)


@pytest.fixture
def localised(tmp_path: Path) -> tuple[table_runs.Request, pd.DataFrame]:
    """A tiny ACE-Step, and the scores of a localisation of it in which layers 7 and 3 have most impact."""
    folder = str(tada.tiny.build("ace-step", tmp_path / "tiny"))
    request = table_runs.Request("ace-step", folder, "smoke", words="mini", localisation=str(tmp_path / "localisation"),
                                 store=str(tmp_path / "store"))  # fmt: skip
    work = localise.plan("ace-step", folder, profile="smoke", score="probe")
    job = sweeps._Job(work.sampling, work.seconds, None, None, work.score, 0, None, None)
    plan = patching.units(work.model, work.pairs, work.seeds, None, job)
    strength = plan["layers"].map({"all": 1.0, "7": 0.7, "3": 0.4}).fillna(0.0)
    noise = np.random.default_rng(0).normal(0, 0.01, len(plan))
    return request, plan.assign(metric="probe", value=strength + noise)


def keep(request: table_runs.Request, rows: pd.DataFrame) -> None:
    Store(table_runs.localisation_folder(request)).add(rows[[UNIT, "metric", "value"]].drop_duplicates(UNIT))


def test_functional_layers_come_from_a_finished_localisation_and_claims_read_it(
    localised: tuple[table_runs.Request, pd.DataFrame],
) -> None:
    request, rows = localised
    assert table_runs.localised(request) is None
    keep(request, rows)
    scores = table_runs.localised(request)
    assert scores is not None and scores.groupby("concept")["pair"].nunique().tolist() == [2, 2]
    settled = table_runs.settled(request)
    assert (settled.functional, settled.layer) == ("3+7", 7)
    assert settled.origin == "highest mean impact of 2 concepts, localised on this checkpoint"
    assert table_runs.settled(replace(request, functional="3+5")).layer == 3, "the strongest of those that were given"
    assert concentration(Evidence("ace-step", "mini", scores)).value > 0.8  # type: ignore[union-attr]


def test_of_an_unfinished_localisation_the_pairs_count_that_every_concept_has(
    localised: tuple[table_runs.Request, pd.DataFrame],
) -> None:
    request, rows = localised
    first = rows.groupby("concept")["pair"].transform("first") == rows["pair"]
    keep(request, rows[first].iloc[:-1])
    assert table_runs.localised(request) is None, "one clip is missing"
    keep(request, rows[first].iloc[-1:])
    keep(request, rows[~first & (rows["concept"] == "slow")])
    scores = table_runs.localised(request)
    assert scores is not None and scores.groupby("concept")["pair"].nunique().tolist() == [1, 1]


def test_a_checkpoint_s_own_layers_are_said_to_be_its_own(tmp_path: Path) -> None:
    folder = tada.tiny.build("stable-audio", tmp_path / "tiny")
    about = json.loads((folder / "tada.json").read_text()) if (folder / "tada.json").is_file() else {}
    for said, wanted in (
        ("a localisation of 6 concepts", "a localisation of 6 concepts"),
        ("", "said by the checkpoint"),
    ):
        own = {"functional": [2, 5], "label": f"own {said}"} | ({"functional from": said} if said else {})
        (folder / "tada.json").write_text(json.dumps(about | own))
        table_request._loaded.cache_clear()
        found = table_runs.settled(table_runs.Request("stable-audio", str(folder), "smoke", words="mini"))
        assert (found.functional, found.layer, found.origin) == ("2+5", 5, wanted)


def test_shipped_checkpoints_say_how_their_layers_are_known() -> None:
    own = json.loads((shipped("ace-step", "mini") / "tada.json").read_text())["functional from"]
    assert own.startswith("localisation, ")
    said = {("stable-audio", "planted"): "known by construction", ("ace-step", "mini"): own}
    for (name, checkpoint), wanted in said.items():
        request = table_runs.Request(name, checkpoint, localisation="nowhere")
        assert table_runs.settled(request).origin == wanted


def test_a_range_by_distance_ends_where_the_prompt_s_own_concept_takes_clips(request_: table_runs.Request) -> None:
    run, panel = table_runs.run_of(request_), table_runs.panel(request_)
    arm = caa_arms(replace(request_, reach="paper"), "mood")[0]
    texts = list(run.trial("mood").prompts)
    asked = [[f"{pole} song, {text}" for text in texts] for pole in ("happy", "sad")]
    common = {"panel": panel, "sampling": run.sampling}
    targets = reach.swap(run.model, texts, *asked, run.seconds, **common)
    assert min(targets) > 0
    wanted = reach.find(run.model, arm, texts, targets, run.seconds, **common)
    assert _by_distance(replace(request_, reach="distance"), "mood", arm) == pytest.approx(wanted.strengths)


def test_a_pole_that_no_prompt_asks_for_goes_as_far_as_the_other(
    request_: table_runs.Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    arm, asked = caa_arms(replace(request_, reach="paper"), "piano")[0], []

    def find(
        model: object, arm: object, prompts: object, targets: tuple[float, float], *_: object, **__: object
    ) -> object:
        asked.append(targets)
        return reach.Reach((2.0, 1.0), targets, (True, True))

    monkeypatch.setattr(reach, "find", find)
    monkeypatch.setattr(reach, "swap", lambda *_, **__: (0.5, 0.0))
    assert _by_distance(replace(request_, seconds=1.3), "piano", arm) == (2.0, 1.0) and asked == [(0.5, 0.5)]
    monkeypatch.setattr(reach, "swap", lambda *_, **__: (0.0, 0.0))
    with pytest.raises(ValueError, match="reach='length'"):
        _by_distance(replace(request_, seconds=1.4), "piano", arm)


def test_gathering_from_empty_stores_finds_nothing_and_loads_nothing(tmp_path: Path) -> None:
    found = table_runs.gather(["ace-step"], ["mini", "public"], tmp_path / "a", tmp_path / "b")
    assert [(one.model, one.checkpoint, one.scores, one.results) for one in found] == [
        ("ace-step", "mini", None, None),
        ("ace-step", "public", None, None),
    ]
    with pytest.raises(KeyError, match=re.escape(unknown("architecture", "ace", ARCHITECTURES))):
        table_runs.gather(["ace"], ["mini"], tmp_path, tmp_path)
