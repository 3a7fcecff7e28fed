"""The sites of models: tables of them and their blocks, a picture of their order, and what was recorded at them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from tada.display import plots
from tada.display.tables import table
from tada.models import ARCHITECTURES
from tada.models.base import Model

Models = Mapping[str, Model]
"""Architecture -> model."""


def site_rows(model: Model) -> pd.DataFrame:
    """List a model's sites: ``layer, site, block, width, stream`` and whether the paper calls it ``functional``."""
    known = ARCHITECTURES[model.name]
    paper = known.paper_layers if len(model.sites) == known.site_count else ()
    rows = [
        (layer, site, block_name(site), model.site_width(site), model.streams[site], layer in paper)
        for layer, site in enumerate(model.sites)
    ]
    return pd.DataFrame(rows, columns=["layer", "site", "block", "width", "stream", "functional"])


def block_name(site: str) -> str:
    """Name a site's block: ``down_blocks.1.…`` is ``down 1``; a plain stack of transformer blocks is one block."""
    first, second = site.split(".")[:2]
    return {"down": f"down {second}", "up": f"up {second}", "mid": "mid"}.get(first.split("_")[0], "transformer")


def overview_table(models: Models) -> Any:
    """Tabulate models with their number of sites, functional layers, text streams and checkpoints."""
    rows = []
    for name, model in models.items():
        sites, known = site_rows(model), ARCHITECTURES[name]
        functional = ", ".join(sites.loc[sites["functional"], "layer"].astype(str))
        streams = ", ".join(sorted(sites["stream"].unique()))
        rows.append((known.title, len(sites), functional, streams, model.checkpoint, known.hub_id))
    columns = ["model", "sites", "functional (paper)", "text streams", "checkpoint on this page", "public checkpoint"]
    return table(pd.DataFrame(rows, columns=columns))


def block_table(models: Models) -> Any:
    """Tabulate the blocks of models with their layers, widths and text streams."""
    rows = []
    for name, model in models.items():
        for block, part in site_rows(model).groupby("block", sort=False):
            layers, streams = f"{part['layer'].min()}–{part['layer'].max()}", ", ".join(part["stream"].unique())
            rows.append((ARCHITECTURES[name].title, block, layers, len(part), part["width"].iloc[0], streams))
    return table(pd.DataFrame(rows, columns=["model", "block", "layers", "sites", "width", "streams"]))


def site_bars(models: Models) -> Figure:
    """Draw every site as a bar in the order of the forward pass, a panel a model.

    Height is the width of what the site adds to the sound, colour the text it reads; functional layers are marked.
    """
    sites = {name: site_rows(model) for name, model in models.items()}
    streams = sorted({stream for rows in sites.values() for stream in rows["stream"]})
    colours = dict(zip(streams, plots.OKABE_ITO, strict=False))
    figure, axes = plots.panels(len(sites), 2.2, sharex=False)
    for axis, (name, rows) in zip(axes, sites.items(), strict=True):
        _draw_bars(axis, rows, colours)
        _mark_functional(axis, rows)
        _name_blocks(axis, rows)
        plots.set_heading(axis, ARCHITECTURES[name].title, note=models[name].checkpoint)
    axes[-1].set_xlabel("layer index")
    handles: list[Any] = [plt.Rectangle((0, 0), 1, 1, color=colours[stream]) for stream in streams]
    handles.append(plt.Line2D([], [], marker="v", color="black", linestyle="none", markersize=5))
    labels = [*(f"reads {stream}" for stream in streams), "functional (paper)"]
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=8.5)
    return figure


def _draw_bars(axis: Axes, rows: pd.DataFrame, colours: Mapping[str, str]) -> None:
    top, known = rows["width"].max(), rows["functional"].any()
    shades = [(colours[row.stream], 0.45 if known and not row.functional else 1.0) for row in plots.named_rows(rows)]
    axis.bar(rows["layer"], rows["width"], width=0.8, color=shades)
    axis.set(xlim=(-0.7, len(rows) - 0.3), ylim=(0, 1.62 * top), yticks=[0, top], ylabel="width")
    axis.set_xticks(range(0, len(rows), 8 if len(rows) > 32 else 4))
    axis.spines["left"].set_bounds(0, top)


def _mark_functional(axis: Axes, rows: pd.DataFrame) -> None:
    """Mark functional layers by triangles, and number each run of neighbours."""
    marked, top = rows[rows["functional"]], rows["width"].max()
    axis.plot(marked["layer"], marked["width"] + 0.10 * top, "v", color="black", markersize=5)
    layers = marked["layer"].to_numpy()
    for run in np.split(layers, np.flatnonzero(np.diff(layers) > 1) + 1):
        if len(run):
            label = f"{run[0]}, {run[-1]}" if len(rows) <= 32 else "\n".join(map(str, run))
            height = rows["width"][run].max() + 0.22 * top
            axis.text(run.mean(), height, label, ha="center", va="bottom", fontsize=9.5, linespacing=1.0)


def _name_blocks(axis: Axes, rows: pd.DataFrame) -> None:
    """Name blocks below the axis where a model has several."""
    blocks = rows.groupby("block", sort=False)["layer"].mean()
    for name, middle in blocks.items() if len(blocks) > 1 else ():
        axis.annotate(
            str(name).replace(" ", "\n"), (middle, 0), (0, -18), "data", "offset points",
            ha="center", va="top", fontsize=9, color="0.35",
        )  # fmt: skip


def recorded_maps(sizes: Tensor, hidden: Tensor, layer: int, step: int, checkpoint: str) -> Figure:
    """Draw sizes of outputs ``[steps, sites]``, and below them one output in full, ``[positions, channels]``."""
    figure, (above, below) = plots.panels(2, 2.6, sharex=False)
    sns.heatmap(sizes.numpy(), cmap=plots.SEQUENTIAL, ax=above, xticklabels=8 if sizes.shape[1] > 32 else 4)
    above.plot(layer + 0.5, len(sizes), "v", color="black", markersize=6, clip_on=False, zorder=3)
    above.set(xlabel="layer index", ylabel="step")
    plots.set_heading(above, "Size of each site's output", note=f"root mean square · {checkpoint}")
    limit = float(hidden.abs().max())
    every = max(1, len(hidden) // 8)
    sns.heatmap(hidden.T.numpy(), cmap=plots.DIVERGING, vmin=-limit, vmax=limit, ax=below, xticklabels=every)
    below.set(xlabel="position in the sound", ylabel="channel")
    plots.set_heading(below, f"Layer {layer} at step {step}", note=f"output of cross-attention · {checkpoint}")
    for axis in (above, below):
        axis.invert_yaxis()
        axis.tick_params(rotation=0)
    return figure
