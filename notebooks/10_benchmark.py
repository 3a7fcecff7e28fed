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
# # A benchmark of ways to steer
#
# Adding a direction is one way to turn a concept up. The newer versions of the paper {cite:p}`tada` compare it with ways that move the
# prompt, the prediction or the weights. Each is one equation, with a strength $\alpha$ and the layers it acts on:
#
# | way | what changes |
# |---|---|
# | PCI | the last $\lvert\alpha\rvert$ steps read the prompt that asks for the concept |
# | Text Embeddings | layers read $\mathbf c + \alpha\,(\mathbf c_{+} - \mathbf c_{-})$, token by token |
# | Token Embeddings | the same at one word, by the mean difference of many prompts |
# | FreeSliders | the prediction becomes $\mathbf v + \alpha\,(\mathbf v_{+} - \mathbf v_{-})$ |
# | Concept Sliders | attention weights become $\mathbf W + \alpha\,\mathbf B\mathbf A$, trained |
# | AUSteer | outputs move along the channels whose sign differs most consistently |
# | CAA, SAE | outputs move along a mean difference, or along features of an autoencoder |
# | Probe direction | outputs move along the weights of a linear probe |
# | Clamp | the share along CAA's direction is held at $\alpha$ in place of adding to it |
#
# A way that changes more of a clip moves more of the concept, too. So each ends where the clips are as far from the unsteered ones
# (LPAPS) as with the prompt itself, found on prompts that no result uses. What is compared is the **area** under the gain in
# alignment over that distance.

# %% tags=["setup", "hide-cell"]
import tada.book.colab

tada.book.colab.setup()

# %% tags=["parameters"]
architecture: str = "ace-step"  # audioldm2, stable-audio or ace-step
checkpoint: str = "mini"  # mini, public, a hub id or a folder; tiny builds a random one
profile: str = "mini"  # how much to run: smoke, mini, colab or paper
concepts: list[str] = []  # what is steered; empty: all that the renderer plays, or the paper's nine; at smoke two
functional: str = ""  # functional layers such as 6+7; empty: what the checkpoint says, or a localisation found
layer: int = -1  # of the autoencoder; -1: the strongest functional one
words: str = ""  # vocabulary of the prompts: mini or public; empty: the checkpoint's
seconds: float = 0.0  # length of the clips; 0 for the profile's
workers: int = 2  # processes, each with a model and one thread; 1 on a GPU, and at smoke, where they would not pay
store: str = "../_build/steering"  # where results are kept
localisation: str = "../_build/localisation"  # where the scores of localisation are
methods: list[str] = []  # ways to steer; empty: all; see tada.experiments.benchmark.METHODS
slider_iterations: int = 0  # of the training of Concept Sliders; 0 for the profile's, which may be none
together: int = 0  # concepts that are steered at once; 0 for the profile's

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
from IPython.display import HTML, Markdown, display

from tada import evaluation
from tada.concepts import steered as prompts
from tada.display import benchmark as figures
from tada.display import plots, table_1, tables
from tada.experiments import benchmark
from tada.experiments.table_1 import Config

plots.style()

# %% [markdown]
# ## What is compared

# %%
config = Config(
    architecture, checkpoint, profile, tuple(concepts), functional, layer, words,
    seconds=seconds, store=store, localisation=localisation, slider_iterations=slider_iterations,
)  # fmt: skip
table = benchmark.open_benchmark(config)
model, names, size = table.work.model, table.config.concepts, benchmark.size_of(table)
setting = table.work.setting

# %% tags=["hide-input"]
facts = table_1.model_facts(table) | {
    "concepts": ", ".join(names),
    "prompts": f"{size.prompts} a concept, each with noise of its own; {table.work.profile.steering.range_prompts} others find ranges",
    "strengths": ", ".join(f"{percent:+g} %" for percent in size.percents) + ", and the unsteered clip",
    "controls": f"{size.random} random vectors, shuffled labels, another concept's vector, a paraphrase",
    "clips": f"{setting.seconds:g} s, {setting.sampling.steps} denoising steps, guidance {setting.sampling.guidance:g}",
}
tables.fact_table(facts)

# %% [markdown]
# Every neutral prompt has two partners that differ in one word or two. All three are worded as in the authors' later code:

# %%
figures.pole_table({name: prompts.poles(name, 2, table.work.vocabulary) for name in names})

# %% [markdown]
# ## Steer and score
#
# Everything is kept under the hash of all that determines it: a run that was stopped goes on, and a second one computes nothing.

# %%
chosen = tuple(methods) or tuple(benchmark.METHODS)
results = benchmark.compute(table, chosen, workers)
clips = results[results["prompt"] != ""]
f"{clips['unit_hash'].nunique():,} clips scored"

# %% [markdown]
# ## First the controls
#
# Random vectors of CAA's own length, a vector of the same pairs with half of them swapped, one of an unrelated concept, and the same
# prompt in other words: none of them ought to move the concept. Where one does, an effect of that size is no evidence.

# %%
effects = benchmark.control_effects(results)
display(Markdown(figures.control_lines(effects)), figures.control_table(effects))

# %% [markdown]
# ## By hand
#
# The area of one way and concept, in the wanted direction: strengths in order, trapezoids from distance 0 to the distance of the
# prompt.

# %%
judge = "probe" if "probe" in set(results["metric"]) else "clap"
cells = benchmark.make_table(table, results)
gains = evaluation.gains(results, judge)
first = cells[cells["column"] == f"auc {judge}"].iloc[0]
some = gains[(gains[["concept", "method", "layers"]] == first[["concept", "method", "layers"]].to_numpy()).all(axis=1)]
cutoffs = benchmark.prompt_cutoffs(table, first["concept"])
by_hand = 0.0
for side, cutoff in zip((1, -1), cutoffs, strict=True):
    near = (0.0, 0.0)
    for far in some[some["percent"] * side > 0].sort_values("percent", key=abs)[["lpaps", "gain"]].to_numpy():
        part = 1.0 if far[0] < cutoff else (cutoff - near[0]) / (far[0] - near[0])
        by_hand += part * (far[0] - near[0]) * (near[1] + part * (far[1] - near[1]) / 2) / 2
        near = tuple(far)
        if part < 1:
            break
f"{first['concept']}, {first['method']}, {first['layers']}: {by_hand:.4f} by hand, {first['value']:.4f} in the table"

# %% [markdown]
# ## The table
#
# Areas, mean of the concepts, each in units of its judge times LPAPS, with 95 % intervals over prompts. Ears stand first in the paper.
# Here they stand beside what nobody can talk into agreement: the probe, signal estimators, and musicnn {cite:p}`musicnn`.

# %%
distances = {name: benchmark.prompt_cutoffs(table, name) for name in names}
means = evaluation.pooled(benchmark.without_controls(results), distances)
tables.folded(HTML(figures.area_table(means).to_html()), "Areas of every way by every judge")

# %% mystnb={"image": {"alt": "One line for each way to steer and layer set: the area under the gain in alignment over distance, mean of the concepts, with its interval."}}
figures.area_intervals(means, judge)
plt.show()

# %% tags=["hide-input"]
Markdown(figures.gap_lines(results, chosen))

# %% [markdown]
# Smoothness, what is preserved (harmony, structure, rhythm and melody among it), and quality, by concept; the best row of a column and all that cannot be told from it are bold:

# %%
tables.folded(table_1.block_tables(cells), "Every concept, way and column")

# %% [markdown]
# ## What was published
#
# The paper's second and third version print different numbers for the same rows, and neither says how sure they are. They are of the
# public ACE-Step, by MuQ and CLAP; beside them the same rows here. Only orders can be compared, not sizes: judges and distances differ.

# %%
display(
    figures.published_beside(
        means,
        [
            name
            for name in ("muq", "clap", "mini-second", "mini-clap", "probe")
            if f"auc {name}" in set(means["column"])
        ],
    )
)
figures.published_concepts()

# %% [markdown]
# ## Several concepts at once
#
# Vectors of several concepts are added, each by its own range; added after each has lost what the ones before it point to
# (Gram-Schmidt); or their shares are held (clamp). How far does each concept move, beside what it moves alone?

# %%
at_once = names[: together or size.stack]
if len(at_once) > 1:
    display(figures.together_table(benchmark.together_table(benchmark.steer_together(table, at_once))))
else:
    display(Markdown("One concept alone: nothing to combine."))

# %% [markdown]
# ## Limits
#
# - One distance decides where all ways end. Another network would end some of them elsewhere.
# - A way that needs text to line up is at the mercy of the prompt's wording; prompts here are made to line up.
# - The vectors, sliders and features come from the same few pairs. More pairs may favour some ways over others.
# - A mini is small and plays synthetic music. What ranks ways there need not rank them in a public model.
#
# ## Your own
#
# ```shell
# tada run notebooks/10_benchmark.py -p architecture stable-audio -p methods PCI,CAA,AUSteer
# tada run notebooks/10_benchmark.py --profile paper -p checkpoint public -p functional 6+7 -p concepts piano,mood
# ```
