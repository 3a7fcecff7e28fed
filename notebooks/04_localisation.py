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
# # Which layers carry a concept
#
# A text-to-music model reads its prompt in every cross-attention layer. Does it matter which of them reads that the song is
# *sad*? The paper {cite:p}`tada` answers by **patching**: take a [pair of prompts](03_counterfactual_pairs) that differ in one
# concept, let the model play the prompt without the concept, and let a single layer read the prompt with it. If the music turns
# sad, that layer carries the concept.
#
# How much of the whole effect a layer $l$ has for a concept $c$ is its **impact** (equation 9 of the paper):
#
# $$I(l, c) = \frac{\mathrm{sim}(l) - \mathrm{sim}(\mathrm{none})}{\mathrm{sim}(\mathrm{all}) - \mathrm{sim}(\mathrm{none})}$$
#
# where sim is how much of the concept an ear hears, on average over clips: in clips of the counterfactual prompt (none), of the
# target prompt (all), and of the counterfactual prompt with layer $l$ reading the target prompt. An impact of 0 says that the
# layer alone does nothing, 1 that it does as much as all layers together. Nothing is clipped: an impact may be negative, or
# above 1.

# %% tags=["setup", "hide-cell"]
import tada.book.colab

tada.book.colab.setup()

# %% tags=["parameters"]
architecture: str = "ace-step"  # audioldm2, stable-audio or ace-step
checkpoint: str = "mini"  # mini, public, a hub id or a folder; tiny builds a random one
profile: str = "mini"  # how much to run: smoke, mini, colab or paper
concepts: list[str] = []  # which; none for all that the profile looks at
pairs: int = 0  # of prompts, a concept; 0 for the profile's
seeds: int = 0  # of noise for each pair, its own; 0 for the profile's
steps: int = 0  # denoising steps; 0 for the profile's
seconds: float = 0.0  # length of the clips; 0 for the profile's
score: str = ""  # what judges clips: probe, clap, muq, paper or module:name; empty for the checkpoint's own
captions: str = ""  # csv or Parquet file, or google/MusicCaps; empty: the synthetic captions
workers: int = 2  # processes, each with a model and one thread; 1 on a GPU
store: str = "../_build/localisation"  # where scores are kept
most: int = 6  # layers of the largest set in the curve of growing sets
heard: int = 3  # concepts whose clips can be played below

# %% tags=["hide-input"]
import time
from contextlib import nullcontext

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import Markdown, display

import tada
from tada import patching
from tada.book.provenance import rerun_command
from tada.display import live, players, plots, tables
from tada.display import localisation as figures
from tada.experiments import localisation

plots.style()

# %% [markdown]
# ## What is localised

# %%
experiment = localisation.plan(
    architecture,
    checkpoint,
    profile,
    judge=score,
    captions=captions or None,
    steps=steps or None,
    seconds=seconds or None,
)
prompts = localisation.build_pairs(experiment, concepts, limit=pairs or None, seeds=seeds or None)
model, setting = experiment.model, experiment.setting

# %% tags=["hide-input"]
title = f"{tada.ARCHITECTURES[architecture].title}: {model.checkpoint}"
judge = f"{experiment.judge.label}, {experiment.judge.unit} of the concept"
facts = {
    "checkpoint": f"{model.checkpoint}: {figures.CHECKPOINTS.get(checkpoint, 'a checkpoint of your own')}",
    "layers": len(model.sites),
    "concepts": ", ".join(prompts["concept"].unique()),
    "left out": ", ".join(prompts.attrs["left_out"]) or "none",
    "pairs": f"{prompts.groupby('concept').size().max()} a concept at most, {prompts['seeds'].max()} seed(s) of its own for each",
    "clips": f"{localisation.count_clips(experiment, prompts):,} of {setting.seconds:g} s, {setting.sampling.steps} denoising steps",
    "judge": judge,
}
tables.fact_table(facts)

# %% [markdown]
# Concepts are left out where the judge does not know them: the renderer behind the minis plays no opera and no cello, so nothing
# could be heard of them.
#
# ## One layer, by hand
#
# All of the method, for one pair and one seed. Routing a layer to the target prompt is the whole intervention: what a site reads
# does not change from step to step, so nothing has to be recorded first.

# %%
pair = prompts.iloc[0]


def play(pair, layers=None, prompt=0):
    """The clip of the counterfactual prompt (0) or the target (1), with some layers routed to the target."""
    context, noise = model.encode([pair["source"], pair["target"]]), model.noise(int(pair["seed"]), setting.seconds)
    with tada.route(model, layers, context[1]) if layers else nullcontext():
        return model.decode(model.sample(context[prompt], noise, setting.sampling))


def similarity(clips, concept):
    """What the judge says of a clip."""
    values = experiment.judge(clips, pd.DataFrame({"concept": [concept]}))
    return float(next(iter(values.values()))[0])


none, every = (similarity(play(pair, prompt=prompt), pair["concept"]) for prompt in (0, 1))
middle = len(model.sites) // 2
alone = similarity(play(pair, [middle]), pair["concept"])
impact = (alone - none) / (every - none)
pair["concept"], none, every, alone, impact

# %% [markdown]
# One pair tells little: the next one may say the opposite. Impacts are taken over many pairs.
#
# ## Every layer, every concept
#
# `sweep` does the same for all pairs and layers, side by side in few batches, on several processes. Every pair has noise of its
# own, which all of its clips share. Every score is kept on disk under the hash of all that determines it: a run that was stopped
# goes on where it was, and a second run computes nothing.

# %%
place = localisation.scores_folder(store, architecture, checkpoint)
options = {"store": place, "workers": workers if str(model.device) == "cpu" else 1}
start, before = time.monotonic(), len(tada.store.Store(place).known())
by_metric = localisation.sweep_by_metric(experiment, prompts, **options)
scores = next(iter(by_metric.values()))
took, new = time.monotonic() - start, len(tada.store.Store(place).known()) - before
f"{len(scores):,} scores, {new:,} of them computed now, in {took:.0f} s"

# %% [markdown]
# Intervals come from a bootstrap over pairs that draws the same pairs for all three terms of the equation. Where the effect of
# the full swap cannot be told from zero, there is nothing to take a share of, and the impact is **unknown**.
#
# A layer is called **functional** by one rule. Its impact is at least .1, the threshold of the paper's third version. It lies
# above 0 by an interval that holds for all layers at once, since of a dozen intervals at 95 % one would often lie above 0 by
# chance. And it does better than two controls, the same layer reading a paraphrase of the counterfactual prompt, and an unrelated
# caption: the **margin**, its impact less the control's on the same pairs, has an interval above 0. Of fewer than eight pairs
# nothing is called. Where a concept is spread over many layers, none may pass.

# %%
impacts = patching.impact(scores)
impacts = localisation.add_controls(experiment, prompts, impacts, **options)
called = patching.functional(impacts)

# %% mystnb={"image": {"alt": "Heat map of layers, from the first at the top to the last at the bottom, by concepts. Each cell shows the lower end of the interval, the impact and the upper end as three strips, from blue below zero over white to red at one. Framed cells are functional, hatched ones unknown."}}
figures.impact_map(called, len(model.sites), f"Impact of each layer, {title}")
plt.show()

# %% [markdown]
# Read a cell from left to right: the lower end of its interval, the impact, the upper end. A cell of one colour is certain, one
# that runs from blue to red is not. Framed cells are functional, hatched cells unknown.

# %%
figures.verdict_table(called)

# %% [markdown]
# *None* and *all* are what the judge hears on average in clips of the counterfactual and of the target prompt, *effect* is their
# difference, by which impacts are divided. Brackets are 95 % intervals.
#
# ## The controls
#
# If any other text moved the judge as much, the layer would be sensitive, not functional. Controls are made on the first pairs
# only; margins compare them with the layer on these.

# %%
controls = figures.control_values(impacts)
if len(controls):
    display(tables.folded(controls, f"Controls at {len(controls)} cells"))
else:
    display(Markdown("No layer came so far that a control could decide."))

# %% [markdown]
# ## The functional layers of the model
#
# The same rule on impacts averaged over the known concepts names the layers of a model. They are chosen on every other pair of
# each concept. The other pairs choose, too: the **Jaccard index** is the share of the layers named by both in those named by
# either, and says how far the choice can be trusted. The pages on steering take the layers that the checkpoint comes with, if it
# comes with any.

# %%
chosen = patching.choose_functional(scores)
figures.functional_table(chosen, model)

# %% [markdown]
# What do they carry **together**? Each half of the pairs chooses, and its layers are routed on the pairs of the other half, which
# had no say: at most as many as the paper names in the public model of this architecture.

# %%
together = localisation.measure_together(experiment, prompts, scores, **options)
if together is None:
    display(Markdown("Neither half names a layer: there is nothing to route."))
else:
    display(figures.pooled_table(patching.pooled_impact(together)))

# %% [markdown]
# ## By an ear
#
# The paper's sim is the similarity of a clip to words. On a mini the CLAP-class ear listens to the same clips beside the probe. It
# learnt from the same renders, so that it is another question to the clip, and no independent witness. In each column: the layer
# of the highest impact, and that impact. The last one compares how the two rank all layers.

# %%
if len(by_metric) > 1:
    compared = localisation.compare_metrics(by_metric)
    display(figures.metric_table(compared), Markdown(figures.metric_line(compared)))
else:
    display(Markdown("The judge of this page is an ear itself."))

# %% [markdown]
# ## Over all concepts
#
# Above, measured here: the mean impact of each layer over the known concepts, the line from the smallest to the largest, a cross
# where no concept is known. Below, **published** by the paper's authors for their public model, as far as they list it; hatched
# bars are blocks that they patched as a whole. The two are different models, judged by different ears. They are shown together
# because the question is the same, not to be compared bar by bar.

# %% mystnb={"image": {"alt": "Two bar charts. Above in blue, the mean impact of each layer of the checkpoint on this page with the range over concepts. Below in outlined orange, the published mean impacts of the public model."}}
spread = patching.aggregate(impacts)
figures.mean_impact_bars(spread, localisation.published().query("model == @architecture"), f"Measured here, {title}")
plt.show()

# %% [markdown]
# ## Layers together
#
# Concepts may need several layers at once. Layers are routed together, the strongest on average first, one more each time. A
# curve that stays low says that the concept is spread over more layers than that.

# %% mystnb={"image": {"alt": "Line chart: the impact of layer sets that grow by one layer at a time, one thin grey line a concept and a thick blue line for their mean."}}
order = spread[spread["method"] == "patch"].sort_values("mean", ascending=False, kind="stable")["layers"]
curves = localisation.cumulative_impacts(experiment, prompts, order, min(most, len(model.sites)), **options)
figures.nested_set_curves(curves, f"Growing layer sets, {title}")
plt.show()

# %%
figures.nested_set_table(curves)

# %% [markdown]
# ## To hear
#
# For the concepts with the strongest single layers: the first pair, with the first seed. *Top* is the layer of the highest impact
# on this concept, *dead* the one whose impact is nearest to 0. The number is the judge's score of that one clip.


# %%
def sounds(concept):
    """The clips of one concept, to be played."""
    pair = prompts[prompts["concept"] == concept].iloc[0]
    rows = called[called["concept"] == concept]
    top, dead = rows["layers"].iloc[0], rows.loc[rows["impact"].abs().idxmin(), "layers"]
    ways = {
        f"counterfactual ({pair['counterfactual']})": {},
        f"target ({concept})": {"prompt": 1},
        f"top layer {top} reads the target": {"layers": [int(top)]},
        f"dead layer {dead} reads the target": {"layers": [int(dead)]},
    }
    clips = {name: play(pair, **way) for name, way in ways.items()}
    return [players.Sound(clip[0], name, scores={concept: similarity(clip, concept)}) for name, clip in clips.items()]


# %% tags=["hide-input"]
best = called[called["known"]].groupby("concept", sort=False)["impact"].max().sort_values(ascending=False)
command = rerun_command(
    "04_localisation", "architecture checkpoint profile concepts pairs seeds steps seconds score captions", globals()
)
for name in list(best.index[:heard]) or list(prompts["concept"].unique()[:1]):
    display(players.show(sounds(name), f"patched-{name}", command))

# %% [markdown]
# ### Patch it yourself
#
# The mini is small enough to run in the page. Take the first pair of a concept, tick the layers that read the target prompt, and
# listen; or type two prompts of your own.

# %%
first_pairs = prompts.drop_duplicates("concept")
offer = live.Live({}, seconds=setting.seconds, sampling=setting.sampling, pairs=first_pairs)
live.show(model, "live", offer, profile)

# %% [markdown]
# ## All values
#
# Impact with its interval, layers down and concepts across.

# %%
values = figures.impact_values(called)
tables.folded(values, f"Impacts of {len(values)} layers")

# %% [markdown]
# ## What this can and cannot say
#
# - An impact says what a layer does **alone**. A concept that two layers share may show in neither, and the curve of growing sets
#   is there to catch it.
# - The impact is a share of what the whole prompt does. Where the model hardly follows the prompt, the share is of nothing much:
#   look at the effect before the impact.
# - The rule holds for all layers of one concept at once. With many concepts a cell may still pass it by chance.
# - A mini is a small model of synthetic music. Where its concepts sit says nothing about where the public model keeps them. Whether
#   the method finds what is there is asked on the page of [known answers](04_known_answers).
# - The judge of the minis is a probe that was trained on renders. What a mini plays no renderer knows; where judges that nobody here
#   trained do not hear what the probe hears is shown [with the minis](02_the_minis). For public models the paper's ears judge, with
#   their own faults.
#
# ## With a public checkpoint
#
# The same page, on a machine with room for the model, the ears and access to a model hub. The table at its top says which
# checkpoint it was run with.
#
# ```shell
# tada run notebooks/04_localisation.py --profile colab -p architecture stable-audio -p checkpoint public -p workers 1 \
#   -p captions google/MusicCaps
# tada run notebooks/04_localisation.py --profile paper -p architecture ace-step -p checkpoint public -p workers 1 \
#   -p captions google/MusicCaps -p score paper
# ```
#
# `colab` takes 32 pairs and 2 seeds a concept, `paper` up to 256 pairs and 8 seeds as section 4.1 does. `tada sweep` does the same
# without a page.
