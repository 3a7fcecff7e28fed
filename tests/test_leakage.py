"""Leakage on simulated clips whose movements are known: slopes, specificity, and from where to where a slider works."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from tada.audio import Clips
from tada.display import leakage as figures
from tada.experiments import leakage
from tada.metrics import curve
from tada.metrics.judges import EveryConcept
from tada.stats import ABOVE, UNDECIDED

PERCENTS = (-200.0, -100.0, -50.0, 0.0, 50.0, 100.0, 200.0)


def simulated(prompts: int = 12) -> pd.DataFrame:
    """Mood moves by .4 a range and takes tempo along by -.1; piano stays; the sound breaks beyond 100 %."""
    draw, rows = np.random.default_rng(0), []
    for place in range(prompts):
        for percent in PERCENTS:
            about = {"concept": "mood", "prompt": f"p{place}", "seed": place, "percent": percent}
            about["method"] = "CAA" if percent else "none"
            values = {"probe: mood": 0.4, "probe: tempo": -0.1, "probe: piano": 0.0, "concept": 0.4}
            for metric, slope in values.items():
                rows.append({**about, "metric": metric, "value": slope * percent / 100 + draw.normal(0, 0.02)})
            rows.append({**about, "metric": "sound", "value": 0.9 if abs(percent) <= 100 else 0.5})
    return pd.DataFrame(rows)


def test_slopes_are_those_of_the_simulation():
    found = leakage.matrix(leakage.prompt_slopes(simulated())).set_index("measured")
    for name, slope in {"mood": 0.4, "tempo": -0.1, "piano": 0.0}.items():
        assert found.loc[name, "slope"] == pytest.approx(slope, abs=0.02)
        assert found.loc[name, "low"] - 0.01 < slope < found.loc[name, "high"] + 0.01
    assert found.loc["mood", "verdict"] == ABOVE and found.loc["piano", "verdict"] == UNDECIDED
    figure = figures.leak_map(found.reset_index(), "probe")
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["mood", "tempo", "piano"]
    assert len(figure.axes[0].patches) == 1, "only piano is hatched"


def test_a_slope_is_of_the_line_through_the_points():
    assert curve.slope([0, 1, 2], [[1.0, 3.0, 5.0], [0.0, 0.0, 3.0]]).tolist() == [2.0, 1.5]


def test_specificity_is_the_own_slope_over_the_mean_of_the_others():
    slopes = leakage.prompt_slopes(simulated())
    (row,) = leakage.specificity(slopes).to_dict("records")
    assert row["own"] / row["others"] == pytest.approx(row["ratio"]) and row["ratio"] == pytest.approx(8, rel=0.2)
    assert row["low"] < row["ratio"] < row["high"]
    assert leakage.specificity(slopes[slopes["measured"] == "mood"]).empty


def test_a_slider_is_usable_from_audible_to_broken():
    found = leakage.spans(simulated())
    assert found[["audible", "broken", "furthest"]].to_numpy().tolist() == [[50.0, 200.0, 200.0]] * 2
    assert figures.span_label(found, "mood").startswith("up: audible from 50 %, broken from 200 %; down: ")
    still = simulated().query("metric != 'concept'")
    deaf = still[still["metric"] == "probe: piano"].assign(metric="concept")
    nothing = leakage.spans(pd.concat([still[still["metric"] == "sound"], deaf]).replace({"value": {0.5: 0.9}}))
    assert nothing[["audible", "broken"]].isna().all(axis=None)
    assert "not audible" in figures.span_label(nothing, "mood")
    assert "4.0" in figures.span_table(found).to_html()


def test_every_concept_is_judged_in_every_clip():
    class Loud:
        metric, key = "loud", "loud"

        def hears(self, concept, clips):
            return concept != "unknown"

        def sides(self, concept):
            return ["happy", "sad"] if concept == "mood" else [concept]

        def score(self, clips, names):
            level = clips.audio.abs().mean((1, 2)).numpy()
            return np.stack([level * len(name) for name in names], 1)

    judge = EveryConcept([Loud()], ["mood", "piano", "unknown"])
    found = judge(Clips(torch.ones(2, 1, 8), 8), pd.DataFrame({"concept": ["tempo"] * 2}))
    said = {name: values.tolist() for name, values in found.items()}
    assert said == {"loud: mood": [2.0] * 2, "loud: piano": [5.0] * 2}
