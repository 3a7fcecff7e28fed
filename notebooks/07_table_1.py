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
# # Table 1
#
# Is steering two layers better than steering all of them? The paper's proof is one table {cite:p}`tada`: four concepts, four
# ways to steer, and for each way how much of the concept it moves, how evenly, and what it costs the rest of the music.
#
# | row | what is steered |
# |---|---|
# | CAA, all | every cross-attention layer |
# | CAA, all-but-functional | every layer but the functional ones |
# | CAA, functional | the functional layers alone |
# | SAE | one functional layer, by features of a [sparse autoencoder](06_sparse_autoencoder) |
#
# Every row steers the same prompts from the same noise, and is measured from the same unsteered clips.

# %% tags=["setup", "hide-cell"]
import tada.book.colab

tada.book.colab.setup()

# %% tags=["parameters"]
architecture: str = "ace-step"  # audioldm2, stable-audio or ace-step
checkpoint: str = "mini"  # mini, public, a hub id or a folder; tiny builds a random one
profile: str = "mini"  # how much to run: smoke, mini, colab or paper
concepts: list[str] = ["tempo", "mood", "vocal gender", "piano"]  # rows of the table
functional: str = ""  # functional layers such as 6+7; empty: what the checkpoint says, or a localisation found
layer: int = -1  # of the autoencoder; -1: the strongest functional one
words: str = ""  # vocabulary of the prompts: mini or public; empty: the checkpoint's
scale: str = ""  # what 100 % is: length, calibrated, distance or paper; empty: the profile's
prompts: int = 0  # steered, for each concept; 0 for the profile's
spacing: int = 0  # of strengths from -100 to 100, in percent of the range; 0 for the profile's
seconds: float = 0.0  # length of the clips; 0 for the profile's
captions: str = ""  # csv or Parquet file, or google/MusicCaps, to train the autoencoder on; empty: synthetic captions
workers: int = 2  # processes, each with a model and one thread; 1 on a GPU, and at smoke, where they would not pay
store: str = "../_build/steering"  # where results are kept
localisation: str = "../_build/localisation"  # where the scores of localisation are
heard: int = 2  # concepts whose clips can be played below

# %% tags=["hide-input"]
import time
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown, display

from tada import evaluation
from tada.book.provenance import rerun_command
from tada.display import players, plots, tables
from tada.display import steering as figures
from tada.display import table_1 as table_figures
from tada.experiments import steering, table_1
from tada.steering import ranges
from tada.store import Store

plots.style()

# %% [markdown]
# ## What is compared

# %%
asked = table_1.Config(
    architecture, checkpoint, profile, tuple(concepts), functional, layer, words,
    scale=scale, prompts=prompts, spacing=spacing, seconds=seconds, captions=captions, store=store, localisation=localisation,
)  # fmt: skip
table = table_1.open_table(asked)
config, experiment = table.config, table.work
model, setting, size = experiment.model, experiment.setting, experiment.profile.table
again = rerun_command(
    "07_table_1",
    "architecture checkpoint profile concepts functional words scale prompts spacing seconds layer captions",
    globals() | {"layer": str(layer) if layer >= 0 else ""},
)

# %% tags=["hide-input"]
facts = table_figures.model_facts(table) | {
    "autoencoder": f"on layer {config.layer}",
    "prompts": f"{size.prompts} a concept, which say nothing of it; sets of clips have {size.prompts} clips at each strength",
    "strengths": ", ".join(f"{percent:+g} %" for percent in size.percents) + ", and the unsteered clip",
    "100 %": table_figures.SCALES[size.scale],
    "clips": f"{setting.seconds:g} s, {setting.sampling.steps} denoising steps, guidance {setting.sampling.guidance:g}",
    "ears": "CLAP and MuQ-MuLan"
    if experiment.vocabulary == "public"
    else "the package's own: mini-clap, mini-second and a probe",
}
tables.fact_table(facts)

# %% [markdown]
# ## Steer and score
#
# One call. Vectors, the autoencoder and every score are kept under the hash of all that determines them: a run that was stopped
# goes on, and a second one computes nothing.

# %%
before = len(Store(table.kept("evaluation")).known())
start = time.monotonic()
results = table_1.compute(table, workers)
took = time.monotonic() - start
new = len(Store(table.kept("evaluation")).known()) - before
clips = results[results["prompt"] != ""]
f"{clips['unit_hash'].nunique():,} clips scored, {new:,} of them now, in {took:.0f} s"

# %% [markdown]
# What 100 % is in raw strength, the $\alpha$ of equations 2 and 8:

# %%
table_figures.raw_strength_table(clips)

# %% [markdown]
# ## By hand
#
# Two columns of one row, from the scores, as section 4.2 words them: *delta alignment* is the mean similarity at the largest
# strength less that at the smallest, *smoothness* the standard deviation of the steps from each strength to the next.

# %%
ear = "mini-clap" if "mini-clap" in set(clips["metric"]) else "clap"
rows = clips[
    (clips["concept"] == concepts[0]) & (clips["metric"] == ear) & clips["layers"].isin(["none", "functional"])
]
curve = rows.groupby("alpha")["value"].mean().sort_index()
by_hand = {"delta": curve.iloc[-1] - curve.iloc[0], "smoothness": np.diff(curve).std()}

cells = evaluation.table(results)
row = cells[(cells["concept"] == concepts[0]) & (cells["layers"] == "functional")].set_index("column")["value"]
{name: f"{value:.4f} by hand, {row[f'{name} {ear}']:.4f} in the table" for name, value in by_hand.items()}

# %% [markdown]
# ## The table
#
# In each concept and column the best row is bold, and so is every row that cannot be told from it: the interval of their difference
# holds 0. Brackets are 95 % intervals from a bootstrap over prompts, the same prompts drawn for all rows, wider where prompts are
# few; those of distances between sets come from leaving out groups of prompts. Columns of the package's own ears are named so:
# *mini-clap* stands where the paper has CLAP, *mini-second* where it has MuQ-MuLan, and *probe* is an attribute probe, trained on
# renders, which the paper could not have. Two judges nobody here trained: *musicnn* {cite:p}`musicnn`, by its tags of the concept's name,
# in log-odds, and *signal*, estimators of the beat, the mode or the voice, 1 where they find the one pole and -1 for the other.

# %%
table_figures.block_tables(cells)

# %% [markdown]
# *lpaps*, *fad* and *kad* are distances from the unsteered clips, means over all strengths but 0. So are, between 0 and 1, those of
# *harmony* (pitch classes), *structure* (which times of a clip are alike), *rhythm* (onsets) and *melody* (the clearest pitch), the axes
# of the paper's second version by estimators that nobody trained. *auc* is the gain in alignment over LPAPS, up to the LPAPS that
# every row of the concept reaches. *fad-renders* and *kad-renders* are distances to renders, the measure
# of quality that can be had for synthetic music. Fréchet distances (*fad*) of few clips are far above those of many, so they compare
# rows of this table only; kernel distances (*kad*) have no such bias. See [what the metrics can tell](09_metric_validity).

# %%
if cells["value"].isna().any():
    display(Markdown("Columns of Table 1 that are **not measured** here, and what fills them:"))
    display(table_figures.gap_table(cells))

# %% [markdown]
# Audiobox Aesthetics was trained on real recordings: of clips of a mini its ratings would mean little, and the table of a mini
# goes without.
#
# ## What it buys and what it costs
#
# Each point is a strength: how far the clip has moved from the unsteered one (to the right), and how much alignment was gained in
# the wanted direction (up). A way of steering is better where its line is higher at the same distance.

# %% mystnb={"image": {"alt": "One panel per concept: gain in alignment over LPAPS for the four ways of steering, one line for each direction."}}
judge = "probe" if "probe" in set(clips["metric"]) else ear
figures.gain_curves(evaluation.gains(clips, judge), judge)
plt.show()

# %% [markdown]
# ## Which rows win
#
# For every column, in how many concepts each row is the best, or cannot be told from it.

# %%
table_figures.win_table(cells)

# %% [markdown]
# The number in brackets counts ties. Where it is the same in all rows, the prompts are too few to tell. What each sentence of the
# paper makes of these numbers is on the [next page](08_claims).
#
# ## Hear it
#
# One prompt and one noise for all clips of a concept.


# %%
def sounds(name):
    """The unsteered clip of a concept, and for each row of the table the clips at both ends of the strengths."""
    trial = steering.result_trial(experiment, name)
    trial = replace(trial, rows=trial.rows[:1])
    shown = []
    for arm in table_1.make_arms(table, name):
        percents = (-100, 100) if shown else (0, -100, 100)
        strengths = [arm.raw(percent) for percent in percents]
        made = ranges.clips(model, arm, trial, strengths, table.kept("clips"))
        title = figures.arm_name(arm.method, arm.layers if isinstance(arm.layers, str) else config.layer)
        titles = [f"{title}, {percent:+d} %" if percent else "unsteered" for percent in percents]
        shown += [players.Sound(*one) for one in zip(made, titles, strengths, percents, strict=True)]
    return shown


for name in concepts[:heard]:
    display(Markdown(f"**{name}**"), players.show(sounds(name), f"table-{name.replace(' ', '-')}", again))

# %% [markdown]
# ## The files
#
# The whole table with intervals as csv, and as LaTeX and HTML:

# %%
files = evaluation.write(cells, table.folder)
[path.name for path in files]

# %%
display(tables.folded(evaluation.latex(cells), "LaTeX"))
every = cells[["concept", "method", "layers", "column", "value", "low", "high", "best", "tied", "prompts"]].round(4)
tables.folded(every, f"All {len(every)} cells")

# %% [markdown]
# ## What was published
#
# The numbers of the paper's own Table 1 (its first version) are in no source that could be read. Below are averages of its third
# version over nine concepts for the public ACE-Step, as its authors publish them (the second version prints others): *auc* as
# above, smoothness of curves scaled to 1, and the mean of the four Audiobox ratings, with other strengths and methods than here.
# They belong to another model and are not to be compared with the numbers above.

# %%
table_figures.published_table()

# %% [markdown]
# ## Limits
#
# - The fewer the prompts, the wider the intervals. `-p prompts 100` is the paper's number.
# - Strengths are comparable between rows only as far as what 100 % means is fair to them; the figure above does not depend on it.
# - Every row may use its own layers, but the number of layers differs: *all but functional* pushes many more layers than
#   *functional*.
# - A mini is small, its music synthetic. No number here says anything about a public model.
#
# ## Your own
#
# ```shell
# tada table --model stable-audio --checkpoint mini --variant authors
# tada table --model stable-audio --checkpoint mini --concept tempo --prompts 20
# tada run notebooks/07_table_1.py -p architecture ace-step -p checkpoint public -p functional 6+7 -p layer 7 --profile paper
# ```
