"""Figures: what is drawn is what was found, what is unknown is drawn as unknown."""

from __future__ import annotations

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from tada import patching
from tada.display import localisation as figures
from tada.display import plots, tables
from tada.experiments import localisation as localise

CASE = {"checkpoint": "k", "model": "ace-step", "metric": "probe", "method": "patch"}


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def impacts(values: dict[str, list[tuple[float, float, float] | None]]) -> pd.DataFrame:
    """Concept -> ``low, impact, high`` of each layer, None for unknown."""
    rows = [
        {**CASE, "concept": name, "layers": str(layer), "known": cell is not None}
        | dict(zip(("low", "impact", "high"), cell or (-np.inf, 0.7, np.inf), strict=True))
        for name, cells in values.items()
        for layer, cell in enumerate(cells)
    ]
    return pd.DataFrame(rows)


TABLE = {"sad": [(0.1, 0.2, 0.3), (0.5, 0.8, 1.4), (-0.2, -0.1, 0.0)], "fast": [None, None, None]}


def test_a_cell_is_its_interval_and_an_unknown_one_is_hatched():
    axis = figures.impact_map(impacts(TABLE)).axes[0]
    grid = axis.collections[0].get_array()
    assert grid.shape == (3, 6)
    np.testing.assert_allclose(np.ma.getdata(grid)[:, :3], TABLE["sad"])
    assert np.isnan(np.ma.filled(grid, np.nan)[:, 3:]).all(), "the estimate of an unknown cell is not drawn"
    hatched = [patch for patch in axis.patches if patch.get_hatch()]
    assert sorted(patch.get_xy() for patch in hatched) == [(3, 0), (3, 1), (3, 2)]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["sad", "fast"]


def test_functional_cells_are_framed_and_layers_without_a_row_stay_empty():
    table = impacts(TABLE).assign(functional=lambda rows: (rows["concept"] == "sad") & (rows["layers"] == "1"))
    axis = figures.impact_map(table, layers=5).axes[0]
    framed = [patch.get_xy() for patch in axis.patches if not patch.get_fill()]
    assert framed == [(0, 1)] and axis.collections[0].get_array().shape == (5, 6)


def test_a_heatmap_of_two_models_or_of_nothing_is_refused():
    table = impacts(TABLE)
    with pytest.raises(ValueError, match="2 values of checkpoint"):
        figures.impact_map(pd.concat([table, table.assign(checkpoint="other")]))
    with pytest.raises(ValueError, match="single layers"):
        figures.impact_map(table.assign(layers="6+7"))


def test_colours_are_not_red_against_green():
    """Seen by an eye without the middle cones (Machado 2009), the ends of the map and its middle stay apart."""
    deuteranope = np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]])
    ends = (
        np.array([mpl.colormaps[plots.DIVERGING](place)[:3] for place in (0.0, 0.25, 0.5, 0.75, 1.0)]) @ deuteranope.T
    )
    apart = np.linalg.norm(ends[:, None] - ends[None], axis=-1) + np.eye(5)
    assert apart.min() > 0.25


def test_published_values_have_a_panel_and_a_look_of_their_own():
    spread = patching.aggregate(impacts(TABLE))
    figure = figures.mean_impact_bars(spread, localise.published().query("model == 'audioldm2'"), "ours")
    above, below = figure.axes
    assert {bar.get_facecolor()[:3] for bar in above.patches} == {mpl.colors.to_rgb(plots.OURS)}
    assert {bar.get_edgecolor()[:3] for bar in below.patches} == {mpl.colors.to_rgb(plots.THEIRS)}
    assert "Published" in below.get_title("left") and "Published" not in above.get_title("left")
    assert any(bar.get_hatch() for bar in below.patches), "blocks that were patched as a whole"
    assert len(figures.mean_impact_bars(spread).axes) == 1


def test_a_layer_unknown_for_all_concepts_is_a_cross_not_a_bar():
    axis = figures.mean_impact_bars(patching.aggregate(impacts({"sad": [(0.1, 0.2, 0.3), None]}))).axes[0]
    assert [bar.get_x() + 0.4 for bar in axis.patches] == [0]
    assert axis.lines[0].get_xdata().tolist() == [1] and axis.lines[0].get_marker() == "x"


def test_the_curve_is_the_mean_of_what_is_known():
    rows = [
        (n, size, added, value, known)
        for n, known in (("a", True), ("b", True), ("c", False))
        for size, added, value in ((1, 7, 0.2 if n == "a" else 0.4), (2, 6, 0.9))
    ]
    axis = figures.nested_set_curves(pd.DataFrame(rows, columns=["concept", "size", "added", "impact", "known"])).axes[
        0
    ]
    thick = next(line for line in axis.lines if line.get_linewidth() == 2)
    np.testing.assert_allclose(thick.get_ydata(), [0.3, 0.9])
    assert [label.get_text() for label in axis.get_xticklabels()] == ["7", "+6"]
    assert sum(line.get_color() == plots.QUIET and len(line.get_xdata()) > 0 for line in axis.lines) == 2


def test_intervals_show_the_unknown():
    table = impacts({"sad": [(0.1, 0.2, 0.3), None]})
    axis = plots.intervals(table.rename(columns={"impact": "value"}), ["layer 0", "layer 1"]).axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["layer 0", "layer 1"]
    assert sum(bool(patch.get_hatch()) for patch in axis.patches) == 1
    assert tables.interval_texts(table) == ["0.20 [0.10, 0.30]", "unknown"]
    controls = table.assign(margin=0.4, margin_low=-0.05, margin_high=0.8)
    assert tables.interval_texts(controls, "margin", "margin_low", "margin_high") == ["0.40 [-0.05, 0.80]", "unknown"]


def test_tables_say_what_is_missing_and_escape_what_is_text():
    frame = pd.DataFrame({"a": [0.123, np.nan], "b": ["<x>", None]})
    for text in (tables.table(frame, {"a": "{:.2f}"}).to_html(), tables.plain_table(frame)):
        assert "–" in text and "tada-table" in text
        assert "&lt;x&gt;" in text and "<x>" not in text
