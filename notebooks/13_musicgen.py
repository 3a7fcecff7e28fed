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
# # MusicGen and its residual stream
#
# The closest earlier work {cite:p}`facchiano` steers no diffusion model. MusicGen {cite:p}`musicgen` is a language model: it writes the
# codes of an audio codec, a frame after the other. There a direction for *fast* is the mean of what the residual stream holds for
# prompts that say so, less that for prompts that say *slow*. Added while the model writes, it makes music faster.
#
# Two questions. Theirs: where, when and how is the direction best added, and what comes along with it? And the paper's: is the
# bottleneck of a few cross-attention layers a property of diffusion, or of text-to-music?
#
# :::{admonition} What is known of the source
# :class: note
# Its public text gives the idea, the concepts (tempo: fast or slow; timbre: bright or dark) and that strength, ways to inject and the
# influence of layers were studied. The size of the model, layers, strengths, prompts and numbers are not in it: those here are this book's choice.
# :::

# %% tags=["setup", "hide-cell"]
import tada.book.colab

tada.book.colab.setup()

# %% tags=["parameters"]
checkpoint: str = "mini"  # mini, public, a hub id or a folder; tiny builds a random one
profile: str = "mini"  # how much to run: smoke, mini, colab or paper
concepts: list[str] = ["tempo", "timbre"]  # what is steered
pairs: int = 0  # of a concept in the sweep; 0 for the profile's
functional: str = ""  # functional layers such as 6+7; empty: what the checkpoint says, or a localisation found
words: str = ""  # vocabulary of the prompts: mini or public; empty: the checkpoint's
seconds: float = 0.0  # length of the clips; 0 for the profile's
store: str = "../_build/steering"  # where results are kept
localisation: str = "../_build/localisation"  # where the scores of localisation are

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import pandas as pd

import tada
from tada import patching
from tada.book.provenance import rerun_command
from tada.display import localisation as maps
from tada.display import plots, tables, widgets
from tada.display import residual_stream as figures
from tada.display.table_1 import model_facts
from tada.experiments import benchmark, residual_stream
from tada.experiments import localisation as localise
from tada.experiments.table_1 import Config

plots.style()

# %% [markdown]
# ## The naive way
#
# Prompts of either pole, the mean of the residual stream after one layer over all frames, and the difference of the two:

# %%
config = Config(
    "musicgen", checkpoint, profile, tuple(concepts), functional, vocabulary=words,
    seconds=seconds, store=store, localisation=localisation,
)  # fmt: skip
table = benchmark.open_benchmark(config)
model, setting = table.work.model, table.work.setting
layer = model.residuals[len(model.residuals) // 2]


def mean_after(layer, prompts):
    """The mean of the residual stream over prompts and frames."""
    with tada.record(model, layer, reduce="mean") as kept:
        model.sample(model.encode(prompts), model.noise(range(len(prompts)), setting.seconds), setting.sampling)
    return kept[layer].float().mean((0, 1))


by_hand = mean_after(layer, ["a fast song", "fast music"]) - mean_after(layer, ["a slow song", "slow music"])
f"after {layer} of {len(model.residuals)}: a direction of length {by_hand.norm():.2f}, of two prompts a pole"

# %% [markdown]
# The library does the same with more prompts. Unlike the vectors of [steering](05_steering_caa), these keep their length, one serves
# all frames, and lengths of what they are added to are not restored.

# %%
vectors = {concept: residual_stream.direction(table, concept) for concept in concepts}
pd.DataFrame(
    {
        concept: {place: round(float(d.norm()), 2) for place, d in vector.directions.items()}
        for concept, vector in vectors.items()
    }
).rename_axis("length of the difference after")

# %% tags=["hide-input"]
facts = model_facts(table) | {
    "layers": len(model.residuals),
    "prompts": f"{benchmark.size_of(table).prompts} a concept, none of which names a pole; others find the ranges",
    "clips": f"{setting.seconds:g} s, top-k {setting.sampling.top_k}, guidance {setting.sampling.guidance:g}; all strengths of a prompt share their noise",
}
tables.fact_table(facts)

# %% [markdown]
# ## Strength
#
# No judge: onsets a second and the spectral centroid are counted in the waveform. Beats a minute would be asked for tempo, but an
# estimator tells them up to doubling only. One concept should move its own measure and leave the other's.

# %%
rows = pd.concat([residual_stream.curves(table, concept) for concept in concepts], ignore_index=True)

# %% mystnb={"image": {"alt": "Two panels over the strength: onsets a second, and the spectral centroid in hertz, one line with its interval for each steered concept."}}
figures.curve_lines(rows, residual_stream.METHOD + "middle third")
plt.show()

# %% [markdown]
# ## Where, when and how
#
# Each way goes as far as the prompt itself moves clips (LPAPS, on other prompts). At that distance, by how much does the concept's own
# measure rise from the lowest strength to the highest? Beside them CAA at cross-attention sites, the paper's way, with the layers it takes;
# its direction is one for all frames, too.

# %% mystnb={"image": {"alt": "For each concept one line for each way to steer: the rise of the concept's own measure in percent, with its interval."}}
found = residual_stream.rises(rows)
for concept in concepts:
    figures.strategy_intervals(found, concept)
    plt.show()

# %%
tables.folded(figures.rise_table(found), "All rises, in percent")

# %% [markdown]
# What comes along: how much the other measure moves for one of the concept's own, both as logarithms; a dash where the own may not
# have moved.

# %%
figures.spill_table(residual_stream.spill(found))

# %% [markdown]
# And what of the rest? LPAPS was brought to one value on other prompts. Beside it stand the distances of harmony, structure, rhythm and
# melody from the unsteered clip, the mean over the lowest and the highest strength: 0 is unchanged.

# %%
tables.folded(figures.distance_table(residual_stream.distances(rows)), "Distances from the unsteered clips")

# %% [markdown]
# ## To hear
#
# One prompt and one noise for all strengths; the direction is added after the middle third of the layers.

# %% tags=["hide-input"]
again = rerun_command("13_musicgen", "checkpoint profile concepts functional words seconds", globals())

# %%
arms = {
    concept: next(way for way in residual_stream.ways(table, concept) if way.method.endswith("middle third"))
    for concept in concepts
}
options = {
    concept: [widgets.SteeringOption(arm, "residual", "residual stream, middle third")] for concept, arm in arms.items()
}
trials = {concept: benchmark.result_trial(table, concept) for concept in concepts}
percents = [-100, -50, 0, 50, 100]
widgets.prepared_slider(model, options, trials, "residual", percents, again, table.kept("clips"))

# %% [markdown]
# ## One layer at a time
#
# The difference itself is added after one layer, or taken away.

# %% mystnb={"image": {"alt": "The rise of each concept's own measure when its direction is added after one layer at a time, over the layers, with intervals."}}
single = pd.concat([residual_stream.by_layer(table, concept) for concept in concepts], ignore_index=True)
figures.layer_lines(residual_stream.rises(single))
plt.show()

# %% [markdown]
# ## Is there a bottleneck?
#
# The sweep of [localisation](04_localisation) as it is: one cross-attention layer reads the counterfactual prompt, and the impact is the
# share of the prompt's whole effect (eq. 9).

# %% mystnb={"image": {"alt": "A map of impacts: concepts down, cross-attention layers of MusicGen across."}}
plan = localise.plan("musicgen", checkpoint, profile, seconds=table.config.seconds or None)
scores = localise.sweep(
    plan,
    localise.build_pairs(plan, limit=pairs or None),
    store=localise.scores_folder(localisation, "musicgen", checkpoint),
)
impacts = patching.functional(patching.impact(scores))
maps.impact_map(impacts, len(model.sites), f"{model.checkpoint}, eq. 9")
plt.show()

# %%
maps.pooled_table(patching.pooled_impact(scores))

# %% [markdown]
# Beside it the diffusion models, as far as [localisation](04_localisation) has been run for them with the same checkpoint and profile.

# %% mystnb={"image": {"alt": "Mean impact over concepts, over the depth of the layer, one line with its interval for each architecture."}}
pooled = localise.pooled_by_model(tada.ARCHITECTURES, localisation, checkpoint, profile)
maps.depth_lines(pooled)
plt.show()

# %% [markdown]
# ## Limits
#
# - Onsets are counted, not beats: a busier clip at the same tempo counts as faster.
# - A distance decides how far each way goes; another metric would end some elsewhere.
# - Few prompts are steered: enough for means over them, too few for the distance of two sets by which quality is judged elsewhere.
# - Frames are written one after the other, so that a change early on is in all that follows. *The first quarter* of the frames has
#   more to say here than the first denoising steps of a diffusion model.
# - A mini plays synthetic music; what ranks ways there need not rank them in a public model.
#
# ## Your own
#
# ```shell
# tada run notebooks/13_musicgen.py --profile paper -p checkpoint public -p functional 6+7
# tada sweep --model musicgen --checkpoint mini --concept slow
# ```
