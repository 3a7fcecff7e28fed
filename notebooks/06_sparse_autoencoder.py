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
# # Sparse autoencoders
#
# [CAA](05_steering_caa) needs to be told which concept it looks for. Can the directions inside a layer be found without that, and
# does one of them turn out to *be* tempo?
#
# A **sparse autoencoder** describes what a layer puts out, frame by frame, as a sum of a few **features** out of many. The paper
# {cite:p}`tada` trains one on the layer with the largest impact: of the products of $\mathbf h$ with all rows of
# $\mathbf W_{\mathrm{enc}}$ only the $k$ largest are kept (equation 4), and their sum rebuilds $\mathbf h$ (equation 5):
#
# $$\mathbf f = \mathrm{TopK}(\mathbf W_{\mathrm{enc}}(\mathbf h - \mathbf b_{\mathrm{pre}})), \qquad
# \hat{\mathbf h} = \mathbf W_{\mathrm{dec}}\mathbf f + \mathbf b_{\mathrm{pre}}$$
#
# There are $m$ times as many features as $\mathbf h$ has dimensions.

# %% tags=["setup", "hide-cell"]
import tada.book.colab

tada.book.colab.setup()

# %% tags=["parameters"]
architecture: str = "ace-step"  # audioldm2, stable-audio or ace-step
checkpoint: str = "mini"  # mini, public, a hub id or a folder; tiny builds a random one
profile: str = "mini"  # how much to run: smoke, mini, colab or paper
concepts: list[str] = ["tempo", "mood", "vocal gender", "piano"]  # what is steered; see tada.concepts.steered.CONCEPTS
layer: int = -1  # index of the layer; -1: the functional one of the largest impact, or the middle one if none is known
functional: str = ""  # functional layers such as 6+7; empty: those the checkpoint says of itself
words: str = ""  # vocabulary of the prompts: mini or public; empty: the checkpoint's
captions: str = ""  # csv or Parquet file, or google/MusicCaps, to train on; empty: the synthetic captions
store: str = "../_build/steering"  # where results are kept
live: bool = False  # widgets that generate while you move them, for Jupyter and Colab

# %% tags=["hide-input"]
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import torch
from IPython.display import Markdown, display

import tada
from tada import steering
from tada.book.provenance import rerun_command
from tada.display import plots, tables, widgets
from tada.display import steering as figures
from tada.display.features import feature_table
from tada.experiments import autoencoder, localisation
from tada.experiments import steering as steer
from tada.sae import features
from tada.steering import library, ranges
from tada.store import Store

plots.style()

# %%
experiment = steer.plan(
    architecture,
    checkpoint,
    profile,
    functional=functional,
    vocabulary=words,
    captions=captions or None,
)
model, size = experiment.model, experiment.profile.autoencoder
setting, steps = autoencoder.recording(experiment)
chosen = layer if layer >= 0 else localisation.strongest_layer(model)
site = model.sites[chosen]
kept = Path(store)

# %% tags=["hide-input"]
facts = {
    "checkpoint": model.checkpoint,
    "layer": f"{chosen} of {len(model.sites)}, width {model.site_width(site)}",
    "functional layers": f"{', '.join(map(str, model.functional or ())) or 'none'} ({model.functional_origin})",
    "trained on": f"{size.clips} clips of {setting.seconds:g} s at {len(steps)} denoising steps, measured on {size.held_out} others",
    "judge": experiment.judge.label,
}
tables.fact_table(facts)

# %% [markdown]
# ## By hand
#
# Equations 4 and 5 take a few lines. As in the authors' code, what TopK keeps is no less than 0 (a ReLU); and activations are
# divided by one number first, so that the same learning rate fits every layer. The library keeps the code as values and indices and never builds the dense
# `[frames, features]` tensor; on the same weights it finds the same.

# %%
with tada.record(model, [site], steps=[0]) as seen:
    model.sample(model.encode("a song"), model.noise(0, setting.seconds), setting.sampling)
h = seen[site].flatten(0, 2).float().cpu()

torch.manual_seed(0)
untrained = tada.sae.SparseAutoencoder(tada.sae.SaeConfig(h.shape[1], 4 * h.shape[1], 8))
untrained.initialise(h)
with torch.no_grad():
    pre = (h - untrained.b_pre) / untrained.scale @ untrained.W_enc.T
    least = pre.topk(8, dim=1).values[:, -1:]
    f = torch.where(pre >= least, pre.relu(), 0)
    by_hand = f @ untrained.W_dec * untrained.scale + untrained.b_pre
    difference = (untrained(h) - by_hand).abs().max() / h.abs().max()
float(difference)

# %% [markdown]
# ## How many features, how many at once?
#
# The paper tries $m$ = 2, 4, 8, 16 with $k$ = 16, 32, 64 and selects "based on the lowest reconstruction error and fraction of both
# dead and high-frequency features". All combinations are trained here on the same frames, in one pass, and measured on clips they
# did not see. The three shares are added up, and the lowest sum wins; combinations with more than a tenth of dead features are
# passed over where there are others. The paper chose $m$ = 4, $k$ = 64.

# %% tags=["hide-input"]
wanted = autoencoder.estimate_bytes(size, *h.shape, len(steps), setting.batch)
tables.fact_table(
    {
        "activations": f"{wanted['disk'] / 1e6:,.1f} MB on disk, made once",
        "training": f"at most {wanted['memory'] / 1e6:,.0f} MB of memory",
    }
)

# %%
found = autoencoder.train_or_load(experiment, chosen, kept / "sae")

# %%
figures.search_table(found.table)

# %% [markdown]
# *Dead* features fire on none of the measured frames, *frequent* ones on more than a tenth. Small profiles search with
# few steps and leave out the largest autoencoders; `tada sae search` runs the whole of it.
#
# The chosen one is trained on:

# %% mystnb={"image": {"alt": "Explained variance over training steps rises, and the share of dead features changes."}}
figures.training_curves(found.log)
plt.show()

# %% tags=["hide-input"]
on = found.measured
Markdown(
    f"On held-out clips it explains {on['explained_variance']:.1%} of the variance with {on['l0']:.1f} of "
    f"{found.sae.config.latents} features active; {on['dead']:.1%} of them never fire, {on['frequent']:.1%} often."
)

# %% [markdown]
# ## Which features speak for a concept?
#
# Features are scored on the same prompt pairs as CAA's, after the manner of TF-IDF (equation 6): active with the concept, and
# seldom without it, where $\mu_j$ is the mean activity of feature $j$ over frames:
#
# $$\mathrm{score}(j, c) = \mu_j(\mathcal P_c)\,\log\left(1 + \frac{1}{\mu_j(\mathcal P_{\tilde c}) + \epsilon}\right)$$

# %%
table = autoencoder.score_table(experiment, found, concepts, kept / "sae")
best = features.top(table, 2)

# %% [markdown]
# The strongest two of each concept, with clips in which they are most active and where in time, and what steering with that one
# feature does to the judge's value of the concept. Activity is the mean over denoising steps of the values in the code. The
# strengths are one length of what the layer puts out, up and down.

# %%
some = autoencoder.browser_trial(experiment)
keep = kept / "sae" / found.key[:16] / f"browser-{profile}"
heard = features.listen(model, found.sae, site, some, sorted(set(best["feature"])), keep=keep)
scores = Store(kept / "features")
unit = steering.lengths(model, features.single(found.sae, site, 0), some, None, scores)
arms = {row.feature: features.arm(found.sae, site, row.feature, model.checkpoint) for row in best.itertuples()}
trials = {name: steer.range_trial(experiment, name) for name in concepts}
effects = pd.concat(
    ranges.grid(model, arms[row.feature], trials[row.concept], [-unit, 0.0, unit], experiment.judge, scores).assign(
        feature=row.feature
    )
    for row in best.itertuples()
)

# %%
feature_table(heard, best, "feature", 2, effects)

# %% [markdown]
# ## Steering with features
#
# The $\tau$ best features' directions add up to a steering vector (equation 7), which is added to what the layer puts out, without
# giving frames their old length back (equation 8). The paper takes 20 features, 40 for mood; of small autoencoders at most a tenth
# of all features is taken. The vector is of the same kind as CAA's, and calibrated like it.

# %%
vectors = {}
for name in concepts:
    vector = autoencoder.feature_vector(experiment, found, table, name)
    arm = steering.Arm("sae", vector, None, renorm=False)
    vectors[name] = steer.calibrate_vector(experiment, name, arm, kept)
    vectors[name].save(library.path(kept / "vectors", model, name, "sae"))

caa = {name: steer.fit_vector(experiment, name, kept) for name in concepts}
for name in concepts:
    caa[name] = steer.calibrate_vector(experiment, name, steering.Arm("caa", caa[name], [chosen]), kept)

# %%
results = pd.concat(
    [
        steer.steer_arm(experiment, name, arm, kept)
        for name in concepts
        for arm in (
            steering.Arm("sae", vectors[name], None, renorm=False),
            steering.Arm("caa", caa[name], [chosen]),
        )
    ],
    ignore_index=True,
)

# %% mystnb={"image": {"alt": "One panel per concept: the judge's value against the strength, for the autoencoder's vector and for CAA at the same layer."}}
methods = {"sae": "autoencoder", "caa": "CAA"}
curves = steer.curves(results)
figures.strength_curves(curves, concepts, "method", methods, experiment.judge.unit, f"the range at layer {chosen}")
plt.show()

# %%
figures.movement_table(steer.movements(results))

# %%
if checkpoint == "tiny":
    display(Markdown("Weights are random here: what moves above is noise, and says nothing about music."))

# %% [markdown]
# Bands and intervals are 95 % by bootstrap over prompts. Both vectors act at the same single layer.
#
# ## Hear it

# %% tags=["hide-input"]
again = rerun_command(
    "06_sparse_autoencoder",
    "architecture checkpoint profile concepts layer functional words captions",
    globals() | {"layer": str(chosen)},
)


# %%
def options(name):
    """The autoencoder's vector at its layer, and CAA at every layer set."""
    arm = steering.Arm("SAE", vectors[name], None, renorm=False)
    yield widgets.SteeringOption(arm, "sae", f"autoencoder, layer {chosen}")
    for layers in experiment.layer_sets:
        label = f"CAA, {figures.LAYER_SETS[layers]} layers"
        yield widgets.SteeringOption(steering.Arm("CAA", caa[name], layers), f"caa-{layers}", label)


every = {name: list(options(name)) for name in concepts}
trials = {name: steer.result_trial(experiment, name) for name in concepts}
if live:
    display(widgets.live_panel(model, every, trials[concepts[0]]))
else:
    display(
        widgets.prepared_slider(
            model, every, trials, "sae", experiment.profile.steering.strengths, again, kept / "clips"
        )
    )

# %% [markdown]
# ## Limits
#
# - A feature that is active with a concept need not cause it. The effect column is the test, and some features fail it.
# - The score knows two sides of a concept only: a feature of loudness scores for *fast* if fast clips are louder.
# - The choice of $m$ and $k$ adds up shares of unlike things; the paper does not say how it weighs them.
# - How long training is depends on the profile. The paper trained for 15 epochs on clips of 5,521 captions: `-p profile paper`.
