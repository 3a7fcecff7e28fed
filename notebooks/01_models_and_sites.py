# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Models and their sites
#
# A text-to-music diffusion model turns noise into sound in many small steps. At each step the text has its say in one kind
# of place only: the **cross-attention** modules, where the sound being made looks at the words.
# The paper {cite:p}`tada` asks which of these places decide about a musical concept, and finds a handful.
#
# This page opens the models and lists those places, because everything later counts on their order being right:
#
# - a **site** is one cross-attention module, called by its dotted name inside the network;
# - its **layer index** is its position in the order in which the network runs, from 0. This is the paper's numbering;
# - its **text stream** is the encoder whose output it reads.
#
# :::{admonition} What runs here, and what it can tell
# :class: important
# By default this page builds tiny checkpoints with **random weights**: the public models' own classes, with all their sites,
# at a small fraction of their width. Names, order, count and text streams of the sites are those of the public models.
# Sounds and activations are noise, and say nothing about music. A public checkpoint can be named instead, see
# [the end of the page](#public-checkpoint).
# :::

# %% tags=["setup", "hide-cell"]
import tada.book.colab

tada.book.colab.setup()

# %% tags=["parameters"]
architecture: str = "audioldm2"  # the model whose activations are recorded below
checkpoint: str = ""  # a hub id or folder for that model; empty builds a tiny random one
prompt: str = "a calm piano melody"  # what that model is asked for
seed: int = 0  # of the noise the clip starts from
steps: int = 10  # denoising steps
seconds: float = 1.0  # length of the clip

# %% tags=["hide-input"]
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from IPython.display import display

import tada

plt.rcParams.update({"figure.dpi": 200, "font.size": 10, "axes.spines.top": False, "axes.spines.right": False})

# %% [markdown]
# ## Opening the models
#
# `tada.load` opens a checkpoint from a hub or from a folder by the same code. `tada.tiny.build` writes such a folder.

# %%
if architecture not in tada.ARCHITECTURES:
    raise ValueError(f"got architecture={architecture!r}; expected one of {', '.join(tada.ARCHITECTURES)}")

scratch = tempfile.TemporaryDirectory()
models = {}
for name in tada.ARCHITECTURES:
    named = checkpoint if name == architecture else ""
    models[name] = tada.load(name, named or tada.tiny.build(name, Path(scratch.name) / name))


# %% tags=["hide-input"]
def sites_of(model):
    """One row per site: layer index, block, width, text stream, and whether the paper calls it functional."""
    known = tada.ARCHITECTURES[model.name]
    paper = known.paper_layers if len(model.sites) == known.site_count else ()
    return pd.DataFrame(
        {
            "layer": range(len(model.sites)),
            "site": model.sites,
            "block": [block_of(site) for site in model.sites],
            "width": [model.site_width(site) for site in model.sites],
            "stream": [model.streams[site] for site in model.sites],
            "functional": [layer in paper for layer in range(len(model.sites))],
        }
    )


def block_of(site):
    """`down_blocks.1.…` is `down 1`; a plain stack of transformer blocks is one block."""
    first, second = site.split(".")[:2]
    side = first.split("_")[0]
    return {"down": f"down {second}", "up": f"up {second}", "mid": "mid"}.get(side, "transformer")


def show(frame):
    """A table in the look of the book."""
    return frame.style.hide(axis="index").set_table_attributes('class="dataframe tada-table"')


def span(layers):
    """`0-7` for consecutive layers."""
    return f"{min(layers)}–{max(layers)}"


sites = {name: sites_of(model) for name, model in models.items()}
overview = pd.DataFrame(
    {
        "model": [tada.ARCHITECTURES[name].title for name in models],
        "sites": [len(model.sites) for model in models.values()],
        "functional (paper)": [", ".join(map(str, frame.layer[frame.functional])) for frame in sites.values()],
        "text streams": [", ".join(sorted(frame.stream.unique())) for frame in sites.values()],
        "checkpoint on this page": [model.checkpoint for model in models.values()],
        "public checkpoint": [tada.ARCHITECTURES[name].hub_id for name in models],
    }
)
show(overview)

# %% [markdown]
# ## The sites along the depth of each network
#
# One bar is one site, in the order of the forward pass. Height is the width of what the site adds to the sound, colour the
# text it reads. The marked bars are the functional layers that the paper names in section 4.1. Widths are those of the
# checkpoint on this page: a tiny one keeps the proportions, with 16, 24 and 40 where the public AudioLDM2 has 256, 384 and 640.

# %% mystnb={"image": {"alt": "One row of bars per model, one bar per cross-attention site in the order of the forward pass. Bar height is the width of the site, colour its text stream. Numbered triangles mark the functional layers of the paper: few, and next to each other, past the middle in the U-Net and before or at the middle in the transformers."}} tags=["hide-input"]
OKABE_ITO = ["#0072B2", "#E69F00", "#009E73", "#CC79A7"]
streams = sorted(set(pd.concat(sites.values()).stream))
colours = dict(zip(streams, OKABE_ITO, strict=False))

figure, rows = plt.subplots(len(models), 1, figsize=(4.6, 2.15 * len(models) + 0.5), squeeze=False)
for axis, (name, frame) in zip(rows[:, 0], sites.items(), strict=True):
    top = frame.width.max()
    marked = frame[frame.functional]
    alphas = np.where(frame.functional | ~frame.functional.any(), 1.0, 0.45)
    for row, alpha in zip(frame.itertuples(), alphas, strict=True):
        axis.bar(row.layer, row.width, width=0.8, color=colours[row.stream], alpha=alpha)
    axis.plot(marked.layer, marked.width + 0.10 * top, "v", color="black", markersize=5)
    for run in np.split(marked.layer.to_numpy(), np.flatnonzero(np.diff(marked.layer) > 1) + 1):
        if len(run):
            label = f"{run[0]}, {run[-1]}" if len(frame) <= 32 else "\n".join(map(str, run))
            axis.text(
                run.mean(),
                frame.width[run].max() + 0.22 * top,
                label,
                ha="center",
                va="bottom",
                fontsize=9.5,
                linespacing=1.0,
            )
    edges = frame.index[frame.block != frame.block.shift()].tolist()
    for start, stop in zip(edges, [*edges[1:], len(frame)], strict=True):
        if len(edges) > 1:
            where = {
                "transform": axis.get_xaxis_transform(),
                "ha": "center",
                "va": "top",
                "fontsize": 9,
                "color": "0.35",
            }
            axis.text((start + stop - 1) / 2, -0.27, frame.block[start].replace(" ", "\n"), **where)
    axis.set_title(tada.ARCHITECTURES[name].title, loc="left", fontsize=12, fontweight="bold", pad=19)
    axis.text(0, 1.05, models[name].checkpoint, transform=axis.transAxes, fontsize=9, color="0.35", va="bottom")
    axis.set(xlim=(-0.7, len(frame) - 0.3), ylim=(0, 1.62 * top), yticks=[0, top], ylabel="width")
    axis.set_xticks(range(0, len(frame), 8 if len(frame) > 32 else 4))
    axis.spines["left"].set_bounds(0, top)
rows[-1, 0].set_xlabel("layer index")
handles = [plt.Rectangle((0, 0), 1, 1, color=colours[stream]) for stream in streams]
handles.append(plt.Line2D([], [], marker="v", color="black", linestyle="none", markersize=5))
labels = [*(f"reads {stream}" for stream in streams), "functional (paper)"]
figure.legend(
    handles,
    labels,
    loc="lower center",
    ncols=4,
    frameon=False,
    fontsize=8.5,
    handlelength=0.9,
    handletextpad=0.4,
    columnspacing=0.9,
)
figure.tight_layout(rect=(0, 0.06, 1, 1), h_pad=1.5)
plt.show()

# %% [markdown]
# AudioLDM2 is a U-Net: its sites sit in blocks that go down in resolution and up again, and it reads two texts. Two sites in a
# row read the same stream, the next two the other. Of the paper's functional layers, 44 and 45 read the output of GPT-2,
# 50 and 51 that of T5. The other models are plain stacks of transformer blocks, each with one site and one text.
#
# Each model is asked twice per step: once with the prompt, once without it, and guidance exaggerates the difference. The
# unconditional pass of AudioLDM2 and Stable Audio reads a negative prompt or nothing. That of ACE-Step is different: by default
# (entropy rectifying guidance, ERG) it reads the same prompt and lyrics, weakened. What a site reads there still depends on the
# prompt, so routing another prompt to the conditional pass alone is not the whole swap; `tada.route` therefore routes both
# passes unless told otherwise.
#
# The same blocks, with their layers:

# %% tags=["hide-input"]
blocks = pd.concat(
    [
        frame.groupby("block", sort=False)
        .agg(
            layers=("layer", span),
            sites=("layer", "size"),
            width=("width", "first"),
            streams=("stream", lambda column: ", ".join(dict.fromkeys(column))),
        )
        .reset_index()
        .assign(model=tada.ARCHITECTURES[name].title)
        for name, frame in sites.items()
    ]
)
show(blocks[["model", "block", "layers", "sites", "width", "streams"]])

# %% [markdown]
# The full list, in order. A site can be named by its layer index or by this name everywhere in the library:

# %% tags=["hide-cell"]
for frame in sites.values():
    display(show(frame.drop(columns="block")))

# %% [markdown]
# ## One recorded activation
#
# `tada.record` keeps what sites put out while a clip is made: exactly what the network goes on with. A reduction runs before
# anything is kept, so that recording all sites at all steps stays small. Here it is the root mean square.

# %%
model = models[architecture]
sampling = tada.Sampling(steps=steps)


def size(hidden):
    """Root mean square over tokens and channels, one number per row of the batch."""
    return hidden.float().square().mean(dim=(1, 2)).sqrt()


with tada.record(model, reduce=size) as sizes:
    clips = model.generate([prompt], [seed], seconds, sampling)

# %% [markdown]
# Looking must not change anything. The same clip, made without looking, is the same to the last bit:

# %%
plain = model.generate([prompt], [seed], seconds, sampling)
bool(torch.equal(plain.audio, clips.audio))

# %% [markdown]
# Two views of it: the size of every site's output at every step, and one site's output in full at the last step, frame by
# frame (or patch by patch, where a site looks at a picture of the sound) and channel by channel.

# %%
layer = tada.ARCHITECTURES[architecture].paper_layers[0]
with tada.record(model, [layer], steps=[steps - 1]) as full:
    model.generate([prompt], [seed], seconds, sampling)

grid = torch.stack([sizes[site][:, 0] for site in model.sites], dim=1).cpu()
hidden = full[model.sites[layer]][0, 0].float().cpu()
grid.shape, hidden.shape

# %% mystnb={"image": {"alt": "Two heat maps. Above, the size of every site's output at every denoising step, with a mark at the site that is shown below. Below, that site's output at the last step: positions in the sound from left to right, channels from bottom to top, negative values in blue and positive ones in red."}} tags=["hide-input"]
figure, (above, below) = plt.subplots(2, 1, figsize=(4.6, 5.2), gridspec_kw={"height_ratios": [1, 1.1]})
image = above.imshow(
    grid, aspect="auto", cmap="cividis", origin="lower", extent=(-0.5, grid.shape[1] - 0.5, -0.5, steps - 0.5)
)
above.plot(layer, steps - 0.5, "v", color="black", markersize=6, clip_on=False, zorder=3)
above.set(xlabel="layer index", ylabel="denoising step")
above.yaxis.get_major_locator().set_params(integer=True)
above.set_title("Size of each site's output", loc="left", fontsize=12, fontweight="bold", pad=25)
above.text(0, 1.09, f"root mean square · {model.checkpoint}", transform=above.transAxes, fontsize=9, color="0.35")
figure.colorbar(image, ax=above, pad=0.02)

limit = float(hidden.abs().max())
image = below.imshow(
    hidden.T, aspect="auto", cmap="RdBu_r", vmin=-limit, vmax=limit, origin="lower", interpolation="nearest"
)
below.set(xlabel="position in the sound", ylabel="channel")
below.set_title(f"Layer {layer} at step {steps - 1}", loc="left", fontsize=12, fontweight="bold", pad=25)
below.text(
    0, 1.05, f"output of cross-attention · {model.checkpoint}", transform=below.transAxes, fontsize=9, color="0.35"
)
figure.colorbar(image, ax=below, pad=0.02)
figure.tight_layout(h_pad=1.5)
plt.show()

# %% [markdown]
# With random weights these patterns are those of random numbers, and the stripes below are no sign of music: attention that
# has learnt nothing gives each position nearly the same average of the words. What the figure shows is that every site fires
# at every step and that what it puts out can be read.
#
# (public-checkpoint)=
# ## With a public checkpoint
#
# The same page runs on public weights, on a machine with room for them and access to a model hub. This was not done for the
# page you are reading.
#
# ```shell
# tada run notebooks/01_models_and_sites.py -p architecture audioldm2 \
#   -p checkpoint cvssp/audioldm2-large -p steps 50 -p seconds 10
# ```
#
# Stable Audio Open is gated: accept its licence on its hub page and log in first.
