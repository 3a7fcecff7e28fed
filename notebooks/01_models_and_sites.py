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
# - its **layer index** is its position in the order in which the network runs, from 0, as the authors' code and the first
#   version of the paper count; the third counts from 1;
# - its **text stream** is the encoder whose output it reads.
#
# :::{admonition} What runs here, and what it can tell
# :class: important
# Where no checkpoint is named, this page builds a tiny one with **random weights**: the public model's own classes, with all its
# sites, at a small fraction of their width. Names, order, count and text streams of the sites are those of the public model;
# sounds and activations are noise, and say nothing about music. The table below says which checkpoint stands for which model.
# One with trained weights can be named, see [the end of the page](#public-checkpoint).
# :::

# %% tags=["setup", "hide-cell"]
import tada.book.colab

tada.book.colab.setup()

# %% tags=["parameters"]
architecture: str = "audioldm2"  # the model whose activations are recorded below
checkpoint: str = ""  # mini, public, a hub id or a folder for that model; empty builds a tiny random one
prompt: str = "a calm piano melody"  # what that model is asked for
seed: int = 0  # of the noise the clip starts from
steps: int = 10  # denoising steps; MusicGen's follow from the length
seconds: float = 1.0  # length of the clip

# %% tags=["hide-input"]
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown, display

import tada
from tada.display import plots, tables
from tada.display import sites as figures
from tada.experiments.experiment import load_model

plots.style()

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
    models[name] = load_model(name, named or tada.tiny.build(name, Path(scratch.name) / name))

# %%
figures.overview_table(models)

# %% [markdown]
# ## The sites along the depth of each network
#
# One bar is one site, in the order of the forward pass. Height is the width of what the site adds to the sound, colour the
# text it reads. The marked bars are the functional layers that the paper names in section 4.1, where the checkpoint has as many
# sites as the public one. Widths are those of the checkpoint on this page: a tiny one keeps the proportions, with 16, 24 and 40
# where the public AudioLDM2 has 256, 384 and 640.

# %% mystnb={"image": {"alt": "One row of bars per model, one bar per cross-attention site in the order of the forward pass. Bar height is the width of the site, colour its text stream. Numbered triangles mark the functional layers of the paper."}}
figures.site_bars(models)
plt.show()

# %% [markdown]
# AudioLDM2 is a U-Net: its sites sit in blocks that go down in resolution and up again, and it reads two texts. Two sites in a
# row read the same stream, the next two the other. Of the functional layers that the paper names there, 44 and 45 read the output
# of GPT-2, 50 and 51 that of T5. The other models are plain stacks of transformer blocks, each with one site and one text.
# MusicGen is not of the paper: it is no diffusion model but writes its sound frame by frame, so that a step is a frame, and what
# a site puts out at a step is one position.
#
# Each model is asked twice per step: once with the prompt, once without it, and guidance exaggerates the difference. The
# unconditional pass of AudioLDM2, Stable Audio and MusicGen reads a negative prompt or nothing. That of ACE-Step is different: by default
# (entropy rectifying guidance, ERG) it reads the same prompt and lyrics, weakened. What a site reads there still depends on the
# prompt, so routing another prompt to the conditional pass alone is not the whole swap; `tada.route` therefore routes both
# passes unless told otherwise.
#
# The same blocks, with their layers:

# %%
figures.block_table(models)

# %% [markdown]
# The full list, in order. A site can be named by its layer index or by this name everywhere in the library:

# %% tags=["hide-output"]
for model in models.values():
    display(tables.table(figures.site_rows(model).drop(columns="block")))

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
# Two views of it: the size of every site's output at every step, and at the last step the output of the site that puts out most
# there, in full: frame by frame (or patch by patch, where a site looks at a picture of the sound) and channel by channel.

# %%
grid = torch.stack([sizes[site][:, 0] for site in model.sites], dim=1).cpu()
layer = int(grid[-1].argmax())
with tada.record(model, [layer], steps=-1) as full:
    model.generate([prompt], [seed], seconds, sampling)

hidden = full[model.sites[layer]][0, 0].float().cpu()
grid.shape, hidden.shape

# %% mystnb={"image": {"alt": "Two heat maps. Above, the size of every site's output at every denoising step, with a mark at the site that is shown below. Below, that site's output at the last step: positions in the sound from left to right, channels from bottom to top, negative values in blue and positive ones in red."}}
figures.recorded_maps(grid, hidden, layer, len(grid) - 1, model.checkpoint)
plt.show()

# %% [markdown]
# What the figure shows is that every site fires at every step and that what it puts out can be read.

# %% tags=["hide-input"]
if not checkpoint:
    told = "The weights are random here, and so are these patterns: attention that has learnt nothing gives each position nearly "
    display(Markdown(told + "the same average of the words, which may look like stripes."))

# %% [markdown]
# (public-checkpoint)=
# ## With trained weights
#
# The same page runs on a mini of this package, and on public weights on a machine with room for them and access to a model hub.
#
# ```shell
# tada run notebooks/01_models_and_sites.py -p architecture audioldm2 -p checkpoint mini
# tada run notebooks/01_models_and_sites.py -p architecture audioldm2 \
#   -p checkpoint cvssp/audioldm2-large -p steps 50 -p seconds 10
# ```
#
# Stable Audio Open is gated: accept its licence on its hub page and log in first.
