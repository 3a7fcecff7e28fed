"""Figures and tables of the notebooks: what is drawn and written is what was found."""

from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from tada import evaluation, patching
from tada.display import claims as claim_figures
from tada.display import localisation, minis, pairs, plots, sites, steering, table_1, tables, validity
from tada.experiments import claims
from tada.experiments import localisation as localise
from tada.experiments import validity as measured


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def titles(figure):
    return [axis.get_title("left") for axis in figure.axes if axis.get_title("left")]


def test_strength_curves_have_a_panel_a_concept_and_a_line_a_layer_set():
    rows = [
        (name, layers, percent, 0.5 + percent / 400, 0.4, 0.6)
        for name in ("tempo", "mood")
        for layers in ("functional", "all")
        for percent in (-100, 0, 100)
    ]
    curves = pd.DataFrame(rows, columns=["concept", "layers", "percent", "mean", "low", "high"])
    figure = steering.strength_curves(curves, ["tempo", "mood"], "layers", {"all": "every layer"}, "value", "the range")
    assert titles(figure) == ["tempo: from slow to fast", "mood: from sad to happy"]
    (line,) = figure.axes[0].lines
    assert line.get_label() == "every layer" and line.get_ydata().tolist() == [0.25, 0.5, 0.75]
    assert "the range" in figure.axes[-1].get_xlabel()


def results() -> pd.DataFrame:
    rows = [
        (method, layers, prompt, percent, metric, value)
        for prompt in ("a", "b")
        for method, layers, percent, probe, distance in (
            ("none", "none", 0.0, 0.5, 0.0), ("CAA", "all", -100.0, 0.2, 2.0), ("CAA", "all", 100.0, 0.9, 3.0),
            ("SAE", "7", -100.0, 0.5, 1.0), ("SAE", "7", 100.0, 0.6, 1.0),
        )
        for metric, value in (("probe", probe), ("lpaps", distance))
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["method", "layers", "prompt", "percent", "metric", "value"])
    return frame.assign(concept="tempo", alpha=frame["percent"] / 50)


def test_gains_are_positive_in_the_wanted_direction_and_drawn_so():
    gains = evaluation.gains(results(), "probe")
    assert gains["gain"].tolist() == pytest.approx([0.3, 0.4, 0.0, 0.1])
    figure = steering.gain_curves(gains, "probe")
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert lines["CAA, all"].get_xdata().tolist() == [0, 3] and lines["SAE, layer 7"].get_linestyle() == "-"
    assert titles(figure) == ["tempo"]
    text = table_1.raw_strength_table(results()).to_html()
    assert "+2.00" in text and "-2.00" in text


def test_table_1_marks_directions_and_leaves_gaps_to_a_table_of_their_own():
    cells = pd.DataFrame([
        {"column": column, "layers": layers, "value": value, "best": best, "better": better, "note": note}
        for column, better, note, values in (("lpaps", "lower", "", (1, 2)), ("CE", "higher", "run x", [np.nan] * 2))
        for layers, value, best in zip(("functional", "all"), values, (True, False), strict=True)
    ]).assign(checkpoint="k", concept="tempo", method="CAA", low=0.5, high=2.5, tied=False)  # fmt: skip
    text = table_1.block_tables(cells).data
    assert "lpaps ↓" in text and "CAA, functional" in text and "<b>1.000</b>" in text and "CE" not in text
    assert text.count(">tempo<") == 1, "a concept is named once"
    assert "run x" in table_1.gap_table(cells).to_html()
    assert "1 (1)" in table_1.win_table(cells).to_html() and "0 (0)" in table_1.win_table(cells).to_html()
    assert "CAA" in table_1.published_table().to_html()


def test_localisation_tables_say_what_is_functional_and_controlled(tiny_model):
    called = impacts({"sad": [(0.4, 0.5, 0.6), (-0.1, 0.0, 0.1)]}).assign(functional=[True, False], pairs=12)
    called = called.assign(none=0.1, all=0.9, effect=0.8, effect_low=0.7, effect_high=0.9)
    choice = patching.Functional([3, 1], 0.5, 14, 84, (0, 1))
    chosen = localisation.functional_table(choice, tiny_model("ace-step")).to_html()
    assert "3, 1" in chosen and "index 0.50" in chosen and "84 pairs of 14 concepts" in chosen
    assert "0: 0.50 [0.40, 0.60]" in localisation.verdict_table(called).to_html()
    assert "too few pairs" in localisation.verdict_table(called.assign(pairs=7)).to_html()
    assert localisation.impact_values(called)["sad"].tolist() == ["0.50 [0.40, 0.60]", "0.00 [-0.10, 0.10]"]
    assert localisation.control_values(called).empty
    control = called[:1].assign(method="patch-unrelated", impact=0.1, low=0.0, high=0.2)
    control = control.assign(margin=0.4, margin_low=0.3, margin_high=0.5)
    (cell,) = localisation.control_values(pd.concat([called, control])).to_dict("records")
    assert cell["the concept"] == "0.50 [0.40, 0.60]" and cell["unrelated"] == "0.10 [0.00, 0.20]"
    assert cell["margin over unrelated"] == "0.40 [0.30, 0.50]"


def test_changes_are_struck_out_and_escaped():
    changes = [{"start": 4, "end": 8, "before": "slow", "after": "fast"}]
    assert pairs.mark_changes("a < slow song", changes[:0]) == "a &lt; slow song"
    assert pairs.mark_changes("The slow song", changes) == "The <del>slow</del> <b>fast</b> song"
    frame = pd.DataFrame({"concept": ["x", "x", "y"], "target": ["one", "one two three", "one two"]})
    axis = pairs.length_boxes(frame).axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["x", "y"]
    assert "50%" in pairs.kept_rule_table(["x", "x", "y"], [[], ["capital"], []]).to_html()
    assert "capital" in pairs.broken_rule_table([[], ["capital"], []]).to_html()


def test_sites_are_bars_in_order_with_their_blocks(tiny_model):
    model = tiny_model("audioldm2")
    rows = sites.site_rows(model)
    assert rows["site"].tolist() == list(model.sites) and rows["block"].iloc[0].startswith("down")
    axis = sites.site_bars({"audioldm2": model}).axes[0]
    assert [bar.get_height() for bar in axis.patches] == rows["width"].tolist()
    assert "44, 45, 50, 51" in sites.overview_table({"audioldm2": model}).to_html()
    assert "up 1" in sites.block_table({"audioldm2": model}).to_html()
    figure = sites.recorded_maps(torch.rand(3, 5), torch.randn(7, 4), 2, 2, "k")
    assert titles(figure) == ["Size of each site's output", "Layer 2 at step 2"]
    assert figure.axes[0].collections[0].get_array().shape == (3, 5)


def test_cards_become_points_with_intervals():
    value = {"accuracy": 0.9, "low": 0.8, "high": 0.95, "clips": 96}
    cards = {"one": {"part": {"tempo": value}, "speed": {"seconds": 7.2}}, "two": {}}
    found = minis.accuracies(cards, cards, "part")
    assert found.to_dict("records") == [{"mini": "one", "attribute": "tempo", **value}]
    assert minis.accuracies(cards, cards, "part", ", steering")["attribute"].tolist() == ["tempo, steering"]
    axis = minis.accuracy_points(found, "title").axes[0]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["tempo"]
    assert "0.900 [0.800, 0.950]" in minis.accuracy_table(found).to_html()
    assert minis.measures(cards, cards, "speed").to_dict("records") == [{"mini": "one", "seconds": 7.2}]


def test_verdicts_are_worded_and_effects_scaled():
    row = {"claim": claims.CLAIMS[0].name, "model": "ace-step", "checkpoint": "mini", "judge": "probe", "command": ""}
    row |= {"status": claims.SUPPORTED, "value": 0.6, "low": 0.3, "high": 0.9, "bar": 0.1, "over": ""}
    missing = {**row, "checkpoint": "own", "status": claims.NOT_RUN, "value": np.nan, "command": "tada run <x>"}
    general = {**missing, "claim": "general", "model": "all", "judge": "", "over": "1 of 3 tested"}
    verdicts = pd.DataFrame([row, missing, general])
    text = claim_figures.claim_sections(verdicts).data
    assert "probe: <b class='tada-supported'>supported</b> <small>0.6 [0.3, 0.9]</small>" in text
    assert "Not run:</i> ACE-Step v1, own" in text and "tada run &lt;x&gt;" in text
    assert text.count("<details>") == text.count("</details>") == len(claims.CLAIMS)
    short = claim_figures.verdict_table(verdicts).data
    assert claims.CLAIMS[0].says in short and "not run" in short and "0.6 [0.3, 0.9]" in short
    assert "<br>not run <small>1 of 3 tested</small></td>" in short and short.count("<th>") == 3
    (line,) = [one for one in claim_figures.effect_intervals(verdicts).axes[0].lines if one.get_linewidth() == 1.6]
    assert line.get_xdata() == pytest.approx([0.25, 1.0]), "less the bar, over the larger end"


def test_evenness_of_answers_and_their_curves():
    answers = pd.DataFrame(
        {"even": [0.0, 0.5, 1.0], "odd": [0.0, 1.0, 0.9]}, index=pd.Index([60, 120, 180], name="tempo")
    )
    steps = measured.evenness(answers).set_index("ear")
    assert steps.loc["even"].tolist() == [1.0, 0.5] and steps.loc["odd"].tolist() == [0.5, 1.0]
    assert len(validity.tempo_curves(answers).axes[0].lines) == 2
    sets = pd.DataFrame({"sets": "same", "n": [4, 4, 8], "fad": [1.0, 3.0, 0.5], "kad": 0.0})
    line = validity.distance_curves(sets, {"same": 0.1}).axes[0].lines[0]
    assert line.get_ydata().tolist() == [2.0, 0.5]


def test_tables_and_facts_say_what_is_missing_and_are_escaped():
    assert "<summary>a &lt; b</summary><pre class='tada-scroll'>x &amp; y</pre>" in tables.folded("x & y", "a < b").data
    frame = pd.DataFrame({"a": [0.123, np.nan], "b": ["<x>", None]})
    for text in (tables.table(frame, {"a": "{:.2f}"}).to_html(), tables.plain_table(frame)):
        assert "–" in text and "tada-table" in text and "&lt;x&gt;" in text and "<x>" not in text
    assert "&lt;k&gt;" in tables.fact_table({"checkpoint": "<k>"}).to_html()


# ---- impacts

CASE = {"checkpoint": "k", "model": "ace-step", "metric": "probe", "method": "patch"}
TABLE = {"sad": [(0.1, 0.2, 0.3), (0.5, 0.8, 1.4), (-0.2, -0.1, 0.0)], "fast": [None, None, None]}


def impacts(values: dict[str, list[tuple[float, float, float] | None]]) -> pd.DataFrame:
    """Concept -> ``low, impact, high`` of each layer, None for unknown."""
    rows = [
        {**CASE, "concept": name, "layers": str(layer), "known": cell is not None}
        | dict(zip(("low", "impact", "high"), cell or (-np.inf, 0.7, np.inf), strict=True))
        for name, cells in values.items()
        for layer, cell in enumerate(cells)
    ]
    return pd.DataFrame(rows)


def test_a_cell_is_its_interval_an_unknown_one_is_hatched_and_a_functional_one_framed():
    table = impacts(TABLE).assign(functional=lambda rows: (rows["concept"] == "sad") & (rows["layers"] == "1"))
    axis = localisation.impact_map(table, 5, "ours").axes[0]
    grid = axis.collections[0].get_array()
    assert grid.shape == (5, 6), "layers without a row stay empty"
    np.testing.assert_allclose(np.ma.getdata(grid)[:3, :3], TABLE["sad"])
    assert np.isnan(np.ma.filled(grid, np.nan)[:, 3:]).all(), "the estimate of an unknown cell is not drawn"
    assert sorted(patch.get_xy() for patch in axis.patches if patch.get_hatch()) == [(3, 0), (3, 1), (3, 2)]
    assert [patch.get_xy() for patch in axis.patches if not patch.get_fill()] == [(0, 1)]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["sad", "fast"]


def test_a_heatmap_of_two_models_or_of_nothing_is_refused():
    table = impacts(TABLE)
    with pytest.raises(ValueError, match="2 values of checkpoint"):
        localisation.impact_map(pd.concat([table, table.assign(checkpoint="other")]), 3, "")
    with pytest.raises(ValueError, match="single layers"):
        localisation.impact_map(table.assign(layers="6+7"), 3, "")


def test_colours_are_not_red_against_green():
    """Seen by an eye without the middle cones (Machado 2009), the ends of the map and its middle stay apart."""
    deuteranope = np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]])
    ends = mpl.colormaps[plots.DIVERGING]([0.0, 0.25, 0.5, 0.75, 1.0])[:, :3] @ deuteranope.T
    apart = np.linalg.norm(ends[:, None] - ends[None], axis=-1) + np.eye(5)
    assert apart.min() > 0.25


def test_published_values_have_a_look_of_their_own_and_an_unknown_layer_is_a_cross():
    spread = patching.aggregate(impacts({"sad": [(0.1, 0.2, 0.3), None]}))
    figure = localisation.mean_impact_bars(spread, localise.published().query("model == 'audioldm2'"), "ours")
    above, below = figure.axes
    assert {bar.get_facecolor()[:3] for bar in above.patches} == {mpl.colors.to_rgb(plots.OURS)}
    assert {bar.get_edgecolor()[:3] for bar in below.patches} == {mpl.colors.to_rgb(plots.THEIRS)}
    assert "Published" in below.get_title("left") and "Published" not in above.get_title("left")
    assert any(bar.get_hatch() for bar in below.patches), "blocks that were patched as a whole"
    assert [bar.get_x() + 0.4 for bar in above.patches] == [0]
    assert above.lines[0].get_xdata().tolist() == [1] and above.lines[0].get_marker() == "x"


def test_depths_of_models_of_different_size_share_an_axis():
    rows = [("one", depth, 0.1, 0.0, 0.2) for depth in (1.0, 0.0)]
    rows += [("two", depth, 0.3, 0.2, 0.4) for depth in (0.0, 0.5, 1.0)]
    columns = ["architecture", "depth", "impact", "low", "high"]
    (axis,) = localisation.depth_lines(pd.DataFrame(rows, columns=columns)).axes
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["one, 2 layers", "two, 3 layers"]
    assert axis.lines[0].get_xdata().tolist() == [0, 1] and len(axis.lines[1].get_xdata()) == 3
    (axis,) = localisation.depth_lines(pd.DataFrame(columns=columns)).axes
    assert not axis.get_legend().get_texts(), "nothing has been localised"


def test_the_curve_is_the_mean_of_what_is_known():
    rows = [
        (name, size, added, value, name != "c")
        for name in "abc"
        for size, added, value in ((1, 7, 0.2 if name == "a" else 0.4), (2, 6, 0.9))
    ]
    curves = pd.DataFrame(rows, columns=["concept", "size", "added", "impact", "known"])
    (axis,) = localisation.nested_set_curves(curves, "").axes
    thick = next(line for line in axis.lines if line.get_linewidth() == 2)
    np.testing.assert_allclose(thick.get_ydata(), [0.3, 0.9])
    assert [label.get_text() for label in axis.get_xticklabels()] == ["7", "+6"]
    assert sum(line.get_color() == plots.QUIET and len(line.get_xdata()) > 0 for line in axis.lines) == 2


def test_intervals_show_the_unknown():
    table = impacts({"sad": [(0.1, 0.2, 0.3), None]})
    axis = plots.intervals(table.rename(columns={"impact": "value"}), ["layer 0", "layer 1"], "", "").axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["layer 0", "layer 1"]
    assert sum(bool(patch.get_hatch()) for patch in axis.patches) == 1
    assert tables.interval_texts(table) == ["0.20 [0.10, 0.30]", "unknown"]
    controls = table.assign(margin=0.4, margin_low=-0.05, margin_high=0.8)
    assert tables.interval_texts(controls, "margin", "margin_low", "margin_high") == ["0.40 [-0.05, 0.80]", "unknown"]
