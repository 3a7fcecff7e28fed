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
# # Each claim of the paper, put to the test
#
# A table of numbers convinces easily. Which sentences of the paper {cite:p}`tada` do numbers carry? Here every sentence that can be
# tested is a row: a hypothesis with an effect, its 95 % interval, and a **bar** that the effect must clear.
#
# | verdict | the interval of the effect |
# |---|---|
# | **supported** | lies above the bar |
# | **contradicted** | lies below it |
# | **undecided** | holds it, or what was measured cannot give the effect |
# | **too few** | is of fewer than eight independent units, of which nothing is said |
# | **not run** | nothing was measured yet; the command that does it is given |
# | **needs public weights** | only the public checkpoint can tell |
#
# The tests and the bars are ours; the paper states none. A verdict on a mini is about the mini: whether the paper's method finds
# and does there what it found and did in the public models.

# %% tags=["setup", "hide-cell"]
import tada.book.colab

tada.book.colab.setup()

# %% tags=["parameters"]
architectures: list[str] = ["ace-step", "stable-audio", "audioldm2"]  # architectures
checkpoints: list[str] = ["mini"]  # mini, public, a hub id or a folder; tiny ones were random
profile: str = "mini"  # of the results that are looked for: smoke, mini, colab or paper
store: str = "../_build/steering"  # where results of steering are
localisation: str = "../_build/localisation"  # where the scores of localisation are

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown, display

from tada.display import claims as figures
from tada.display import plots, tables
from tada.experiments import claims, table_1
from tada.stats import bootstrap, draws

plots.style()

# %% [markdown]
# ## Verdicts
#
# Nothing is generated on this page. It reads the scores that the pages of [localisation](04_localisation) and of
# [Table 1](07_table_1) left in their stores.

# %%
evidence = table_1.load_evidence(architectures, checkpoints, store, localisation, profile)
verdicts = claims.check(evidence)
figures.verdict_table(verdicts)

# %% [markdown]
# Claims down, checkpoints across: the verdict, and the effect with its interval. Claims that need a judge are judged by the probe
# where there is one. How each claim was tested, what every judge says, what was published of public models, and what fills the
# gaps; here are the claims, too, that only public checkpoints can decide:

# %%
figures.claim_sections(verdicts)

# %% [markdown]
# What there was to read, in scored clips:

# %%
figures.evidence_table(evidence)

# %% [markdown]
# ## By hand
#
# One claim: *steering the functional layers alone moves the concept*. The effect is the alignment at the largest strength less that
# at the smallest; its interval comes from drawing prompts anew, and is widened because they are few.


# %%
def moved(results, concept, judge):
    """Delta alignment of each prompt, and its mean with a 95 % interval."""
    rows = results[(results["concept"] == concept) & (results["metric"] == judge) & (results["layers"] == "functional")]
    wide = rows.pivot(index="prompt", columns="percent", values="value").sort_index(axis=1)
    deltas = (wide.iloc[:, -1] - wide.iloc[:, 0]).to_numpy()
    interval = bootstrap(draws(len(deltas)) @ deltas, len(deltas))
    return deltas.round(3), deltas.mean().round(3), np.round(interval, 3)


steered = [one for one in evidence if one.results is not None]
moved(
    steered[0].results, steered[0].results["concept"].iloc[0], steered[0].judges()[0]
) if steered else "nothing was steered yet"

# %% [markdown]
# ## All effects
#
# Each line is an effect with its interval, scaled to its own size since effects have different units: to the right of the bar (at 0)
# it speaks for the claim. Judged by the probe where the claim needs a judge of alignment and there is one.

# %% tags=["hide-output"] mystnb={"image": {"alt": "Effects less their bars with intervals, one line for each claim and checkpoint; to the right of zero they support the claim."}}
figures.effect_intervals(verdicts)
plt.show()

# %% [markdown]
# ## Do the judges agree?
#
# The paper could only ask CLAP and MuQ. Here the same steered clips are judged by the package's two ears and by the probe, all trained
# on renders, by signal estimators, which nobody trained, and by musicnn {cite:p}`musicnn`, which others trained on recorded music.
# None of them knows what was played. How well do the others agree with the probe, and would they have ranked the layer sets alike?
# *Correlation* is that of ranks over clips, with its interval. *Pairs* are rows of Table 1 whose delta alignment the probe tells
# apart, *same* those of them that the other judge orders the same way.

# %%
agreed = claims.agreement(steered)
if len(agreed):
    display(
        Markdown(figures.agreement_lines(agreed)),
        tables.folded(figures.agreement_frame(agreed), "Every concept and judge"),
    )
else:
    display(Markdown("No steered clips yet: `tada table --model stable-audio --checkpoint mini` makes some."))

# %% [markdown]
# Where they differ, a verdict above is one of its judge. Now all are held against judges that nobody here trained: musicnn, the
# signal estimators, and what these measure without classes: onsets a second, major over minor, brightness
# and pitch. Estimators look for major and minor, and for a voice whose pitch moves: where they agree with nobody, a listener who
# listens for that would not hear it either.

# %%
for other in ("musicnn", "signal", "onsets", "major", "brightness", "pitch"):
    agreed = claims.agreement(steered, other)
    if len(agreed):
        display(
            Markdown(f"Against {other}:\n\n{figures.agreement_lines(agreed)}"),
            tables.folded(figures.agreement_frame(agreed), f"Every concept and judge, against {other}"),
        )
    else:
        display(Markdown(f"No steered clips whose {other} was measured."))

# %% [markdown]
# ## What is not tested
#
# - *Features of the autoencoder are the most interpretable*: a judgement of people. The [feature browser](06_sparse_autoencoder)
#   lets you listen.
# - *Prompts are too blunt for fine control* and *no other work localises these models*: motivation and history, not results.
# - *GPT-4 wrote the counterfactual prompts*: the released code swaps words by rule, and so does this project, see
#   [counterfactual pairs](03_counterfactual_pairs).
#
# ## Limits
#
# - Undecided is not refuted. With few prompts most differences between good methods are undecided.
# - Claims about *every* concept use intervals at a confidence for all of them at once; other claims are averages over the concepts.
# - Two dozen claims on several checkpoints are many tests, each at 95 %: some verdicts will be chance.
# - The first claim routes layers on pairs that did not choose them. Concepts that are swapped for one another, such as *slow* and
#   *fast*, count as one where concepts are counted.
# - Quality is the distance to true renders by one ear, which hears what it was trained to hear. Its margin is ours.
#
# ## Your own
#
# ```shell
# tada run notebooks/08_claims.py -p architectures stable-audio -p checkpoints mini,public
# ```
