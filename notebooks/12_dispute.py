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
# # The dispute
#
# Others repeated the paper's experiments on other models, and some found the opposite. Who is right cannot be told from a model whose
# truth nobody knows. Here each claim and each counter-claim is a **hypothesis** with a test on models whose truth is known:
#
# 1. an **effect** is measured, such as how far clips move when the functional layers are steered, less how far by all layers;
# 2. its 95 % **interval** comes from drawing prompts anew, for every concept its own;
# 3. a **rule** decides: wholly above the bar it is *supported*, wholly below *contradicted*, else *undecided*, and of fewer than eight
#    independent units nothing is said. A claim that two things are equal has a margin in place of the bar.
#
# The rule was tried on simulated numbers whose truth is known. Bars and margins are ours, and a verdict on a mini is about the mini.

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
methods: list[str] = ["PCI", "AUSteer", "CAA", "SAE"]  # ways to steer that are compared; all makes one ranking of more
studies: list[str] = []  # which; empty: all; see tada.experiments.dispute.STUDIES

# %% tags=["hide-input"]
import matplotlib.pyplot as plt

from tada.display import dispute as figures
from tada.display import plots, tables
from tada.display.table_1 import model_facts
from tada.experiments import benchmark, dispute, hypotheses
from tada.experiments.table_1 import Config

plots.style()

# %% [markdown]
# ## What is measured
#
# | study | what is varied |
# |---|---|
# | decomposition | what takes the place of the prompt: keys and values, outputs, the pair's own mean difference, a mean vector |
# | pairs | how many pairs a vector is fitted from |
# | sites | cross-attention or self-attention of the same blocks |
# | manner | whether lengths are kept, and whether both guidance passes are steered |
# | sampling | denoising steps, and guidance |
# | stacking | how many sliders are on |
# | plants | where models are steered of which it is [known](04_known_answers) which layers read the concept: there, at all layers, at the others |
#
# Beside them stand the [benchmark](10_benchmark), its controls, and [leakage](11_leakage).

# %%
config = Config(
    architecture, checkpoint, profile, tuple(concepts), functional, layer, words,
    seconds=seconds, store=store, localisation=localisation,
)  # fmt: skip
table = benchmark.open_benchmark(config)
model, names, size = table.work.model, table.config.concepts, benchmark.size_of(table)

# %% tags=["hide-input"]
facts = model_facts(table) | {
    "concepts": ", ".join(names),
    "prompts": f"{size.prompts} a concept, each with noise of its own",
    "pairs": ", ".join(map(str, size.pairs)),
    "steps": ", ".join(map(str, size.steps)),
}
tables.fact_table(facts)

# %%
found = hypotheses.collect(table, tuple(methods), tuple(studies) or tuple(dispute.STUDIES), workers)
f"{len(found.values):,} values of {found.values['study'].nunique()} studies"

# %% [markdown]
# ## By hand
#
# One hypothesis: *keys and values of the functional layers carry about half of what the prompt does*. Every prompt has a movement under
# either condition; the share is the ratio of their means.

# %%
judge = "probe" if "probe" in set(found.values["judge"]) else "clap"
some = found.values[(found.values["study"] == "decomposition") & (found.values["judge"] == judge)]
means = some.groupby(["condition", "concept"])["value"].mean().groupby("condition").mean()
f"{means['K/V patch'] / means['prompt']:.3f} of the prompt" if {"K/V patch", "prompt"} <= set(
    means.index
) else "not measured"

# %% [markdown]
# ## What each condition does
#
# Mean of the concepts with its interval: how far clips move, and for pairs the cosine of vectors as well.

# %% mystnb={"image": {"alt": "A panel for each study: the movement of the concept under each condition, with its interval."}}
conditions = hypotheses.conditions(found)
for study, own in conditions.groupby("study", sort=False):
    for which in [name for name in (judge, "") if name in set(own["judge"])] or own["judge"].unique()[:1]:
        figures.condition_intervals(conditions, study, which)
        plt.show()

# %% [markdown]
# ## Every claim
#
# Judged by the probe where there is one; small print names another judge.

# %%
verdicts = hypotheses.settle([found])
figures.dispute_table(verdicts)

# %%
figures.judge_table(verdicts)

# %% [markdown]
# ## Not here
#
# - *People prefer it*: the paper's user study, and listening tests, need people.
# - *Stable Audio 3, ACE-Step 1.5*: models of which no mini of known truth exists. The same page runs on them once an adapter does.
#
# ## Limits
#
# - More than two dozen hypotheses at 95 % are many tests: a verdict or two will be chance.
# - Claims were made of other models, with other prompts, seconds and steps. A verdict here says what such a claim is worth where the
#   truth is known, not that others measured wrongly.
# - Conditions end at equal distance or at equal strength, as each test says; another choice may turn a verdict.
#
# ## Your own
#
# ```shell
# tada run notebooks/12_dispute.py -p architecture stable-audio
# tada run notebooks/12_dispute.py -p studies decomposition,pairs -p concepts tempo,mood
# ```
