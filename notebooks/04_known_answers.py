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
# # Known answers
#
# [Localisation](04_localisation) says which layers carry a concept. Is it right? Nobody knows which layers of a trained model do. So
# this page makes models of which it is known: **plants**. A few layers are drawn by chance, and only these read the concept. All
# others read what the two prompts of a pair have in common: both prompts without the words in which they differ.
#
# | the counterfactual prompt | the target prompt | what the other layers read |
# |---|---|---|
# | a **downbeat** song, slow | an **upbeat** song, slow | song, slow |
#
# Nothing is trained for this, and nothing is chosen so that localisation does well. What other layers read is the same whatever is
# routed: they carry nothing of the concept, exactly. Beside these plants there are **null** ones, in which no layer reads the
# concept. Nothing is to be found there.

# %% tags=["setup", "hide-cell"]
import tada.book.colab

tada.book.colab.setup()

# %% tags=["parameters"]
architecture: str = "ace-step"  # audioldm2, stable-audio or ace-step
checkpoint: str = "mini"  # mini, public, a hub id or a folder; tiny builds a random one
profile: str = "mini"  # how much to run: smoke, mini, colab or paper
concepts: list[str] = []  # one a plant, in turn; none for all that the profile looks at
plants: int = 0  # that are drawn; 0 for the profile's
pairs: int = 0  # of prompts, a plant; 0 for the profile's
workers: int = 2  # processes, each with a model and one thread; 1 on a GPU
store: str = "../_build/plants"  # where scores are kept

# %% tags=["hide-input"]
from pathlib import Path

import matplotlib.pyplot as plt
import torch

import tada
from tada.display import localisation as figures
from tada.display import plots, tables
from tada.experiments import localisation
from tada.experiments import plants as known_answers

plots.style()

# %% [markdown]
# ## A plant, by hand
#
# Layers 1 and 3 are planted. The other layers are routed to the text that both prompts share; then one layer after the other is
# routed to the target prompt, if it is planted, and to the shared text, which it reads anyway, if it is not.

# %%
experiment = localisation.plan(architecture, checkpoint, profile)
model, setting = experiment.model, experiment.setting
pair = localisation.build_pairs(experiment, concepts, limit=1).iloc[0]
shared = tada.pairs.shared_text(pair["target"], pair["source"])
context, noise = model.encode([pair["source"], pair["target"], shared]), model.noise(0, setting.seconds)
planted = [1, 3]
others = [layer for layer in range(len(model.sites)) if layer not in planted]


def play(layer):
    """The latents of the plant with one layer routed."""
    with tada.route(model, others, context[2]), tada.route(model, layer, context[1 if layer in planted else 2]):
        return model.sample(context[0], noise, setting.sampling).values


with tada.route(model, others, context[2]):
    none = model.sample(context[0], noise, setting.sampling).values
tables.fact_table(
    {"shared text": shared}
    | {f"layer {layer} routed": "the same clip" if torch.equal(play(layer), none) else "another" for layer in range(5)}
)

# %% [markdown]
# Bit for bit the same clip: for layers that are not planted it need not be made again. This is what makes many plants affordable.
#
# ## Many plants
#
# Each plant has 1 to 4 layers, drawn from its number as the seed, and one concept. `patching.plant` marks the pairs, and all that
# localises goes on as always: the sweep, its controls, impacts, the [rule](04_localisation).

# %%
prompts = known_answers.build_plants(experiment, concepts, plants or None, pairs or None)
place = Path(store) / architecture
scores = localisation.sweep(experiment, prompts, controls=True, store=place, workers=workers)
drawn = prompts.drop_duplicates("plant")[["plant", "concept", "layers"]]
tables.fact_table(
    {
        "checkpoint": f"{model.checkpoint}: {figures.CHECKPOINTS.get(checkpoint, 'a checkpoint of your own')}",
        "plants": f"{len(drawn)}, {sum(not layers for layers in drawn['layers'])} of them null",
        "pairs": f"{prompts.groupby('plant').size().max()} a plant, each with a noise of its own",
        "clips": f"{scores['unit_hash'].nunique():,} made, that serve for {len(scores):,}",
        "judge": experiment.judge.label,
    }
)

# %%
tables.folded(drawn, "All plants")

# %% [markdown]
# ## What was found
#
# The pairs of each plant are cut into blocks of 3, 6, 12 and 32, as far as they reach, and each block is localised as if there were
# no more. The pairs that a block leaves out, eight at least, tell what the plant *does*, which is not known beforehand: a layer may read a concept
# and pass nothing on. A planted layer **carries** the concept if its impact on those other pairs is as large as a functional layer's
# has to be. A plant whose layers together have no effect there is null, too.

# %%
found = known_answers.summarise(known_answers.grade(scores, prompts))
figures.known_answer_table(found)

# %% mystnb={"image": {"alt": "Points with intervals, a row a number of pairs, with and without controls: of the planted layers that carry the concept, the share that was called functional."}}
shown = found[found["measure"] == "recall of what carries"]
labels = [f"{row.pairs} pairs, {'with' if row.controls else 'without'} controls" for row in shown.itertuples()]
plots.intervals(shown, labels, f"Layers that carry the concept and are found, {model.checkpoint}", "recall")
plt.show()

# %% [markdown]
# In parentheses stands on how many plants a number rests; each plant counts once, and fewer than eight are too few to rely on.
# Brackets are 95 % intervals. Of fewer than eight pairs the rule calls nothing; *unknown* stands where there is nothing to take a
# share of.
#
# - **Precision**: of the layers that were called, those that are planted. **False calls**: of the layers that are not planted, those
#   that were called.
# - **Recall**: of the planted layers, those that were called; then the same of those that carry the concept.
# - **Null plants**: blocks in which any layer was called, and blocks in which the effect of the full swap was said to be unknown.
#
# ## What this can and cannot say
#
# - A layer that is not planted has an impact of exactly 0 here. To call it would be a fault of the code, from routing to the rule, and
#   this page would show it. Real layers are not as silent: how often noise alone makes a layer look functional is what null plants
#   whose layers do read the concept can tell, and there are few of these.
# - One planted layer among several is routed against the others, which still read the counterfactual. What the concept needs several
#   layers for is missed, here as on any model.
# - What is missed by few pairs is no proof that it is not there: compare the rows.
# - The words that differ are left out, not replaced, so that the shared text may be no sentence. All layers but a few read it: a plant
#   is a model of its own, and where its concepts sit says nothing about the model that it was made of.
#
# ## More of them
#
# ```shell
# tada run notebooks/04_known_answers.py --profile mini -p plants 24 -p pairs 44
# tada run notebooks/04_known_answers.py --profile colab -p architecture audioldm2 -p checkpoint public -p workers 1
# ```
