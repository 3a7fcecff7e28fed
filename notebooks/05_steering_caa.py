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
# # Steering with contrastive activation addition
#
# The [last page](04_localisation) found the layers in which a concept is decided. Can one turn that concept up and down there,
# like a knob, without touching the prompt?
#
# **Contrastive activation addition** (CAA) does it with one direction per layer. Play many prompts that have the concept and
# their counterparts that do not, and look at what each cross-attention layer puts out, averaged over the frames of the clip,
# $\bar{\mathbf h}$. The mean difference, of length 1, is the direction (equation 2 of the paper {cite:p}`tada`):
#
# $$\mathbf v_c = \frac{1}{N}\sum_{i=1}^{N} \bar{\mathbf h}_c^{(i)} - \bar{\mathbf h}_{\tilde c}^{(i)}, \qquad
# \mathbf v_c^{\mathrm{CAA}} = \frac{\mathbf v_c}{\lVert \mathbf v_c \rVert_2}$$
#
# While another prompt plays, it is added to what the layer puts out, with a strength $\alpha$, and every frame gets its old
# length back (equation 3):
#
# $$\mathbf h' = \mathbf h + \alpha\,\mathbf v_c^{\mathrm{CAA}}, \qquad \mathrm{ReNorm}(\mathbf h', \mathbf h) =
# \frac{\mathbf h'}{\lVert \mathbf h' \rVert_2}\,\lVert \mathbf h \rVert_2$$
#
# There is one direction for every denoising step, and only the conditional pass is steered.

# %% tags=["setup", "hide-cell"]
import tada.book.colab

tada.book.colab.setup()

# %% tags=["parameters"]
architecture: str = "ace-step"  # audioldm2, stable-audio or ace-step
checkpoint: str = "mini"  # mini, public, a hub id or a folder; tiny builds a random one
profile: str = "mini"  # how much to run: smoke, mini, colab or paper
concepts: list[str] = ["tempo", "mood", "vocal gender", "piano"]  # what is steered; see tada.concepts.steered.CONCEPTS
functional: str = ""  # functional layers such as 6+7; empty: those the checkpoint says of itself
words: str = ""  # vocabulary of the prompts: mini or public; empty: the checkpoint's
held_out: int = 0  # prompts for results, for each concept; 0 for the profile's
store: str = "../_build/steering"  # where scores and vectors are kept
workers: int = 2  # processes, each with a model and one thread; 1 on a GPU, and at smoke, where they would not pay
live: bool = False  # widgets that generate while you move them, for Jupyter and Colab

# %% tags=["hide-input"]
from dataclasses import replace
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import torch
from IPython.display import Markdown, display

import tada
from tada import steering
from tada.book.provenance import rerun_command
from tada.concepts import steered as prompts
from tada.display import live as instrument
from tada.display import plots, tables, widgets
from tada.display import steering as figures
from tada.experiments import localisation
from tada.experiments import steering as steer
from tada.steering import library

plots.style()

# %% [markdown]
# ## What is steered

# %%
start = partial(
    steer.plan,
    architecture,
    checkpoint,
    profile,
    functional=functional,
    vocabulary=words,
    prompts=held_out,
)
experiment = start()
model, setting, size = experiment.model, experiment.setting, experiment.profile.steering
kept = Path(store)

# %% tags=["hide-input"]
layers = ", ".join(map(str, model.functional or ())) or "none, so that only all layers are steered"
facts = {
    "checkpoint": model.checkpoint,
    "layers": len(model.sites),
    "functional layers": f"{layers} ({model.functional_origin})",
    "clips": f"{setting.seconds:g} s, {setting.sampling.steps} denoising steps, guidance {setting.sampling.guidance:g}",
    "prompt pairs a concept": size.pairs,
    "held-out prompts a concept": f"{size.range_prompts} to find the range, {size.prompts} others for results",
    "judge": experiment.judge.label,
}
tables.fact_table(facts)

# %% [markdown]
# The pairs put the same base prompts into a template for either pole; the paper uses fifty of them.

# %%
figures.prompt_table(prompts.pairs(name, experiment.vocabulary, count=2) for name in concepts)

# %% [markdown]
# ## By hand
#
# All of the method, for one layer and two pairs, with nothing but a hook that looks and a hook that adds.

# %%
layer = localisation.strongest_layer(model)
few = prompts.pairs(concepts[0], experiment.vocabulary, count=2)


def mean_output(prompt, seed):
    """What the layer puts out at each step, averaged over frames: [steps, dim]."""
    seen, noise = [], model.noise(seed, setting.seconds)

    def look(hidden, when):
        seen.append(hidden[0].float().mean(dim=0))
        return hidden

    with tada.edit(model, {layer: look}):
        model.sample(model.encode(prompt, lyrics=few.lyrics if model.sings else None), noise, setting.sampling)
    return torch.stack(seen)


sides = zip(few.positive, few.negative, (10, 11), strict=True)  # both sides of a pair share their noise
difference = sum(mean_output(with_it, seed) - mean_output(without, seed) for with_it, without, seed in sides) / 2
by_hand = difference / difference.norm(dim=1, keepdim=True)


def add(hidden, when):
    """Equations 2 and 3 at one layer, strength 2."""
    moved = hidden + 2.0 * by_hand[when.step].to(hidden)
    return moved / moved.norm(dim=-1, keepdim=True) * hidden.norm(dim=-1, keepdim=True)


neutral = prompts.neutral(concepts[0], 1, experiment.vocabulary, first=size.range_prompts)
with tada.edit(model, {layer: add}):
    steered = model.generate(neutral, 0, setting.seconds, setting.sampling)

# %% [markdown]
# The library does the same for all layers at once, many prompts side by side. On the same two pairs it finds the same direction,
# and adding it gives the same clip:

# %%
vector = steering.contrast(
    model,
    few.positive,
    few.negative,
    10,
    replace(setting, lyrics=few.lyrics if model.sings else None),
    [layer],
)
with vector.apply(model, 2.0, [layer]):
    again = model.generate(neutral, 0, setting.seconds, setting.sampling)

# %%
unlike = float((vector.directions[model.sites[layer]] - by_hand.cpu()).abs().max())
apart = float((again.audio - steered.audio).abs().max() / steered.audio.abs().max())
Markdown(f"Largest difference: {unlike:.1e} in the direction, {apart:.1e} of full scale in the clip.")

# %% [markdown]
# ## All pairs, all layers
#
# One vector per concept. A vector is a plain value: it adds, scales, negates, combines with others, and is saved as safetensors.

# %%
steer.compute_ahead(start, concepts, kept, workers if str(model.device) == "cpu" and profile != "smoke" else 1)
vectors = {name: library.fit(model, steer.recipe(experiment, name), kept / "vectors") for name in concepts}

# %% [markdown]
# ### How strong is strong?
#
# The same number is little for one model and far too much for another. Each vector is tried on a few prompts, from an eighth to
# four times the length of what its layers put out. Strengths that break the sound are left out: those at which the judge is no
# longer sure of the *other* attributes. The range ends in the middle of the strengths at which the judge hears nearly all of the
# movement that can be had. Strengths below are per cent of that range; 0 is the unsteered clip, bitwise.

# %%
vectors = {name: steer.fit_vector(experiment, name, kept) for name in concepts}

# %%
figures.range_table(vectors)

# %% [markdown]
# ## Does it move the concept?
#
# Every held-out prompt, which says nothing of the concept, is played at every strength with its own noise. A whole grid of
# strengths is one batch. The judge never took part in training the model.

# %%
results = pd.concat(
    [steer.steer_layer_sets(experiment, name, vectors[name], kept) for name in concepts], ignore_index=True
)

# %% mystnb={"image": {"alt": "One panel a concept: what the judge hears of the concept, from 0 to 1, against the strength of steering, a line with its band for each layer set."}}
names = {layers: figures.LAYER_SETS[layers] for layers in experiment.layer_sets}
curves = steer.curves(results, "concept")
figures.strength_curves(curves, concepts, "layers", names, experiment.judge.unit, "the range of these layers")
plt.show()

# %% [markdown]
# Bands are 95 % intervals by bootstrap over prompts. The movement from the lowest to the highest strength, and how sure the
# judge still is of everything else there (1: as sure as of the unsteered clips):

# %%
moves = steer.movements(results)
figures.movement_table(moves)

# %% [markdown]
# The same clips by judges that nobody here trained. **Signal estimators** look for the beat, the mode, a voice (1: found in all
# clips, -1: its opposite in all), and count onsets, or measure how much better major fits than minor, or pitch. The tags of **musicnn** {cite:p}`musicnn` that
# have the concept's name come from recorded music. They had no say in the range.

# %%
opinions = steer.movements_by_metric(results)
figures.judge_table(opinions)

# %% tags=["hide-input"]
Markdown("" if checkpoint == "tiny" else figures.judge_lines(opinions))

# %%
random = "Weights are random here: what moves above is noise, and says nothing about the paper."
Markdown(random if checkpoint == "tiny" else steer.verdict(results, model.functional is not None))

# %% [markdown]
# ## Hear it
#
# One held-out prompt and one noise for all clips of a concept. Choose the concept and the layers, and move the strength.

# %% tags=["hide-input"]
again = rerun_command(
    "05_steering_caa", "architecture checkpoint profile concepts functional words held_out", globals()
)

# %%
options = {
    name: [
        widgets.SteeringOption(steering.Arm("CAA", vectors[name], layers), f"caa-{layers}", f"CAA, {words} layers")
        for layers, words in names.items()
    ]
    for name in concepts
}
trials = {name: steer.result_trial(experiment, name) for name in concepts}
if live:
    display(widgets.live_panel(model, options, trials[concepts[0]]))
else:
    display(widgets.prepared_slider(model, options, trials, "caa", size.strengths, again, kept / "clips"))

# %% [markdown]
# ### Make your own
#
# The mini is small enough to run in the page: type a prompt, choose concepts and strengths, tick the layers that are steered. With
# *Patch*, the ticked layers read another prompt instead, as on the [page before](04_localisation). Every clip is the one that the
# same call makes in Python.

# %%
offer = instrument.Live(
    vectors, seconds=setting.seconds, sampling=setting.sampling, vectors_folder="_build/steering/vectors"
)
instrument.show(model, "live", offer, profile)

# %% [markdown]
# ## Several at once, and variants
#
# Vectors of several concepts add up to one. Variants have names: `vector.step_mean()` is one direction for all steps,
# `passes="both"` steers the unconditional pass, too, `steps=range(5, 20)` only part of the way, `vector.remove(model)` takes a
# direction out instead of adding one, and `renorm=False` leaves lengths as they come.

# %%
if len(concepts) > 1:
    first, second = (vectors[name] for name in concepts[:2])
    both = steering.combine([first, second], [1.0, -1.0], orthogonal=True)
    with both.apply(model, 1.0, experiment.layer_sets[0]):
        mixed = model.generate(neutral, 0, setting.seconds, setting.sampling)

# %% [markdown]
# ## Limits
#
# - A range is found with a judge. Another judge may draw it elsewhere, and strengths beyond it are not meaningless, only unsafe.
# - What a layer set can do depends on how many layers it has: steering all layers moves more of the model than steering two. The
#   ranges are calibrated for each set so that each is shown at its best.
# - How many prompts there are depends on the profile; the intervals say how much a difference of means tells.
# - On a mini the judge is an attribute probe, trained on renders; on a public checkpoint it can only be an ear of the CLAP class. What
#   a mini played nobody knows, so that the probe's word stands beside that of others. No number of a mini says anything about a
#   public model.
#
# ## Your own
#
# ```shell
# tada vectors fit --model ace-step --checkpoint mini --concept tempo --calibrated all
# tada steer --model ace-step --checkpoint mini --concept tempo --alpha 80% --layers all \
#   --prompt "a folk song with piano" --out fast.wav
# tada run notebooks/05_steering_caa.py -p architecture stable-audio -p functional 11+12
# ```
