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
# # What else moves
#
# A slider that says *piano* may also slow the music down. Nobody hears that in a number that only measures piano. Here every clip is
# judged for **every** concept, whichever one is steered:
#
# - the **slope** of a judge's value over the strength, by least squares for each prompt, for one range of the slider, is a row of a
#   matrix: steered concepts down, measured ones across;
# - **specificity** is how many times further the own concept moves than the others on average;
# - the **usable span** runs from the first strength at which the gain is sure to the first one at which a judge is no longer sure of
#   everything else.
#
# Judges are those that are no ears: the attribute probe, signal estimators, and musicnn {cite:p}`musicnn`. Steered is CAA on the functional
# layers, whose range ends at the distance of the prompt, as on the [page before](10_benchmark).

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
heard: int = 2  # concepts whose clips can be played below

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
from IPython.display import display

from tada.book.provenance import rerun_command
from tada.display import leakage as figures
from tada.display import plots, tables, widgets
from tada.display.table_1 import model_facts
from tada.experiments import benchmark, leakage
from tada.experiments.table_1 import Config

plots.style()

# %% [markdown]
# ## What is steered

# %%
config = Config(
    architecture, checkpoint, profile, tuple(concepts), functional, layer, words,
    seconds=seconds, store=store, localisation=localisation,
)  # fmt: skip
table = benchmark.open_benchmark(config)
model, names, size = table.work.model, table.config.concepts, benchmark.size_of(table)

# %% tags=["hide-input"]
strengths = ", ".join(f"{percent:g}" for percent in size.leak)
facts = model_facts(table) | {
    "concepts": ", ".join(names),
    "prompts": f"{size.prompts} a concept, each with noise of its own",
    "strengths": f"{strengths} % of the range, either way, and the unsteered clip",
    "judges": ", ".join(judge.label for judge in benchmark.truth_judges(table)),
}
tables.fact_table(facts)

# %%
rows = leakage.measure(table, workers)
f"{rows['unit_hash'].nunique():,} clips judged for {len(names)} concepts each"

# %% [markdown]
# ## By hand
#
# One cell: the slope in each prompt, and their mean.

# %%
some = rows[
    (rows["concept"] == names[0]) & rows["metric"].str.endswith(f": {names[0]}") & (rows["percent"].abs() <= 100)
]
some = some[some["metric"] == some["metric"].iloc[0]]
wide = some.pivot_table("value", "prompt", "percent")
strength = wide.columns.to_numpy(float) / 100
slopes = wide.to_numpy() @ (strength - strength.mean()) / ((strength - strength.mean()) ** 2).sum()
f"{some['metric'].iloc[0]}: {slopes.round(3).tolist()}, mean {slopes.mean():+.4f}"

# %% [markdown]
# ## The matrix
#
# On the diagonal is what was asked for, off it what came along. Concepts of one attribute cannot move apart: more violin is less piano.

# %%
by_prompt = leakage.prompt_slopes(rows)
found = leakage.matrix(by_prompt)
judge = found["judge"].iloc[0]

# %% mystnb={"image": {"alt": "A matrix with steered concepts down and measured concepts across: how far each measured concept moves for one range of the slider, with unsure cells hatched."}}
figures.leak_map(found, judge)
plt.show()

# %%
display(*figures.leak_tables(found))

# %% [markdown]
# The same by the other judges is folded above. How many times further does the own concept move than the others?

# %%
figures.specificity_table(leakage.specificity(by_prompt))

# %% [markdown]
# ## From audible to broken
#
# In per cent of the range. A slider whose broken strength lies close to its audible one is a switch.

# %%
spans = leakage.spans(rows)
figures.span_table(spans)

# %% [markdown]
# ## Hear it
#
# One prompt and one noise for all clips of a concept. Below each slider stands from where to where it can be used.

# %% tags=["hide-input"]
again = rerun_command(
    "11_leakage",
    "architecture checkpoint profile concepts functional words seconds layer",
    globals() | {"layer": str(layer) if layer >= 0 else ""},
)

# %%
played = names[:heard]
options = {
    name: [
        widgets.SteeringOption(
            benchmark.ranged_caa(table, name), "caa", f"CAA, functional layers; {figures.span_label(spans, name)}"
        )
    ]
    for name in played
}
trials = {name: benchmark.result_trial(table, name) for name in played}
percents = [-size.leak[-1], *range(-100, 101, 50), size.leak[-1]]
widgets.prepared_slider(model, options, trials, "leakage", percents, again, table.kept("clips"))

# %% [markdown]
# ## Limits
#
# - A judge that mistakes one concept for another shows a leak that is its own. Where judges differ, [what the metrics can
#   tell](09_metric_validity) says which to believe.
# - Prompts that name the other concepts hold them fast. Half of what could be named is, in every prompt.
# - Broken means that the probe is less sure of the rest. A clip can be spoilt in ways that it does not hear.
#
# ## Your own
#
# ```shell
# tada run notebooks/11_leakage.py -p architecture stable-audio -p concepts tempo,mood,piano
# ```
