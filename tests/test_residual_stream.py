"""Steering MusicGen's residual stream: strategies, and what is said of their results."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from tada.audio import Clips
from tada.experiments import benchmark, residual_stream
from tada.experiments.residual_stream import METHOD, rises, spill
from tada.experiments.table_1 import Config

OWN, OTHER = residual_stream.MEASURES["tempo"], residual_stream.MEASURES["timbre"]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    store = str(tmp_path_factory.mktemp("residual"))
    return benchmark.open_benchmark(Config("musicgen", "tiny", "smoke", ("tempo",), "6+7", seconds=1.0, store=store))


def rows(rise: float, other: float, prompts: int = 12) -> pd.DataFrame:
    """Clips whose own measure rises by a share from the lowest to the highest strength, another by another share."""
    rng, found = np.random.default_rng(0), []
    for number in range(prompts):
        for measure, share in ((OWN, rise), (OTHER, other)):
            base, noise = rng.uniform(1, 100), np.exp(0.02 * rng.standard_normal())
            values = {-100.0: base, 0.0: base, 100.0: base * (1 + share) * noise}
            found += [
                ("tempo", "m", "l", f"prompt {number}", number, percent, measure, value)
                for percent, value in values.items()
            ]
    return pd.DataFrame(found, columns=["concept", "method", "layers", "prompt", "seed", "percent", "metric", "value"])


def test_rises_are_those_that_were_put_in_whatever_the_level_of_a_prompt():
    found = rises(rows(0.3, -0.05)).set_index("measure")
    assert found["own"].to_dict() == {OWN: True, OTHER: False}
    for measure, share in ((OWN, 0.3), (OTHER, -0.05)):
        assert found.loc[measure, "low"] < share < found.loc[measure, "high"]
        assert found.loc[measure, "rise"] == pytest.approx(share, abs=0.02)
    assert spill(found.reset_index())["share"].item() == pytest.approx(0.195, abs=0.08)


def test_where_the_own_measure_may_not_have_moved_nothing_is_shared():
    still = spill(rises(rows(0.0, 0.3)))
    assert np.isnan(still["share"].item()) and still["other"].item() == pytest.approx(0.3, abs=0.05)


def test_a_silent_clip_says_nothing_of_a_rise():
    silent = rows(0.3, 0.0)
    silent.loc[silent["prompt"] == "prompt 3", "value"] = 0.0
    assert set(rises(silent)["prompts"]) == {11}


def test_distances_are_means_over_both_ends_and_prompts():
    about = {"concept": "tempo", "method": "m", "layers": "l", "metric": "lpaps"}
    values = [(f"prompt {n}", percent, n + percent / 1000) for n in range(9) for percent in (-100.0, 50.0, 100.0)]
    found = residual_stream.distances(pd.DataFrame(values, columns=["prompt", "percent", "value"]).assign(**about))
    assert found["value"].item() == pytest.approx(4.0) and found["low"].item() < 4 < found["high"].item()


def test_sound_is_measured_by_the_signal():
    time = torch.arange(64_000) / 16_000
    clicks = torch.sin(2 * torch.pi * 3000 * time) * (time % 0.5 < 0.05)
    measured = residual_stream.sound(Clips(clicks[None, None] * 0.5, 16_000), pd.DataFrame())
    assert measured[OWN][0] == pytest.approx(2, abs=0.3)
    assert measured[OTHER][0] == pytest.approx(3000, rel=0.2)


def test_strategies_say_where_when_and_how(table):
    model, ways = table.work.model, {way.method: way for way in residual_stream.strategies(table, "tempo")}
    assert len(ways) == 8 and all(name.startswith(METHOD) for name in ways)
    sites = {name.removeprefix(METHOD): way.sites(model) for name, way in ways.items()}
    assert sites["every layer"] == model.residuals and len(sites["one layer"]) == 1
    assert set(sites["one layer"]) < set(sites["middle third"]) == set(sites["fading"])
    whole = ways[f"{METHOD}middle third"].vector
    assert whole.steps == 1 and not torch.allclose(whole.directions["layers.9"].norm(), torch.ones(()), atol=1e-2)
    first = ways[f"{METHOD}first quarter"].vector.directions["layers.9"]
    steps = benchmark.count_steps(table)
    assert len(first) == steps and (first.norm(dim=1) > 0).sum() == np.ceil(steps / 4)
    assert (ways[f"{METHOD}fading"].vector.directions["layers.9"].norm(dim=1).diff() < 0).all()


def test_all_metrics_are_there_beside_the_sound(table, monkeypatch):
    arm = residual_stream.strategies(table, "tempo")[1]
    monkeypatch.setattr(residual_stream, "ways", lambda *_: [benchmark.range_way(table, "tempo", arm)])
    found = residual_stream.curves(table, "tempo", (-100.0, 100.0))
    assert {*residual_stream.MEASURED, *residual_stream.DISTANCES} < set(found["metric"])
    assert set(residual_stream.rises(found)["measure"]) == {OWN, OTHER}
    assert (residual_stream.distances(found).query("metric == 'lpaps'")["value"] > 0).all()


def test_a_layer_at_a_time_is_steered_and_kept(table):
    found = residual_stream.by_layer(table, "tempo")
    assert set(found["layers"]) == {"none", *table.work.model.residuals}
    assert found["value"].notna().all() and set(found["metric"]) == {OWN, OTHER}
    pd.testing.assert_frame_equal(residual_stream.by_layer(table, "tempo"), found)
