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
# | **undecided** | holds it: the clips are too few to tell |
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
checkpoints: list[str] = ["mini", "planted"]  # mini, planted, public, a hub id or a folder; tiny ones were random
profile: str = "mini"  # of the results that are looked for: smoke, mini, colab or paper
store: str = ""  # where results of steering are; empty: ../_build/steering
localisation: str = ""  # where the scores of localisation are; empty: ../_build/localisation

# %% tags=["hide-input"]
import html
import os

os.environ |= {"TRANSFORMERS_VERBOSITY": "error", "DIFFUSERS_VERBOSITY": "error"}

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import HTML, Markdown, display

from tada.display import plots, tables
from tada.experiments import claims
from tada.experiments import table_1 as table_runs
from tada.models import ARCHITECTURES

plots.style()

# %% [markdown]
# ## What there is
#
# Nothing is generated on this page. It reads the scores that the pages of [localisation](04_localisation) and of
# [Table 1](07_table_1) left in their stores.

# %%
evidence = table_runs.gather(
    architectures, checkpoints, store or "../_build/steering", localisation or "../_build/localisation", profile
)

# %% tags=["hide-input"]


def count(one, rows):
    """How many clips, in words."""
    if rows is None:
        absent = one.checkpoint == "mini" and not table_runs.ships(one.model, one.checkpoint)
        return "no such mini in this version" if absent else "none"
    return f"{rows.loc[rows['prompt'] != '', 'unit_hash'].nunique():,} clips"


there = pd.DataFrame(
    [
        (ARCHITECTURES[one.model].title, one.checkpoint, count(one, one.scores), count(one, one.results))
        for one in evidence
    ],
    columns=["model", "checkpoint", "localisation", "steering"],
)
tables.table(there)

# %% [markdown]
# ## By hand
#
# One claim: *steering the functional layers alone moves the concept*. The effect is the alignment at the largest strength less that
# at the smallest; its interval comes from drawing prompts anew, and is widened because they are few.

# %%
from tada.stats import bootstrap, draws


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
# ## Verdicts

# %%
verdicts = claims.check(evidence)

# %% tags=["hide-input"]
marks = {
    claims.SUPPORTED: "<b class='tada-supported'>supported</b>",
    claims.CONTRADICTED: "<b class='tada-contradicted'>contradicted</b>",
}
judges = {
    "mini-clap": "CLAP-class ear",
    "mini-second": "second ear",
    "probe": "truth (probe)",
    "clap": "CLAP",
    "muq": "MuQ-MuLan",
}


def line(row):
    """A verdict in words."""
    said = marks.get(row.status, html.escape(row.status))
    if np.isnan(row.value):
        return said + (f"<br><small>{html.escape(row.over)}</small>" if row.over else "")
    by = f"{judges.get(row.judge, row.judge)}: " if row.judge else ""
    return f"{by}{said} <small>{row.value:.3g} [{row.low:.3g}, {row.high:.3g}]</small>"


def title(name, checkpoint):
    """A checkpoint in words."""
    return f"{ARCHITECTURES[name].title}, {checkpoint}" if name in ARCHITECTURES else "all architectures"


def told(rows):
    """All verdicts of a claim, one line a checkpoint; those without results share one."""
    lines, silent = [], []
    for (name, checkpoint), part in rows.groupby(["model", "checkpoint"], sort=False):
        if (part["status"] == claims.NOT_RUN).all() and name in ARCHITECTURES:
            silent.append(title(name, checkpoint))
        else:
            lines.append(
                f"<i>{html.escape(title(name, checkpoint))}</i><br>" + "<br>".join(map(line, part.itertuples()))
            )
    if silent:
        lines.append(f"<i>Not run:</i> {html.escape('; '.join(silent))}")
    return "<br>".join(lines)


# %% [markdown]
# At a glance: **+** supported, **–** contradicted, **?** undecided, an empty cell not run. Claims that need a judge are judged by the
# truth where there is one. Claims that only public checkpoints can decide are further down.

# %% tags=["hide-input"]
signs = {claims.SUPPORTED: "+", claims.CONTRADICTED: "–", claims.UNDECIDED: "?", claims.NOT_RUN: ""}
truest = verdicts[verdicts["judge"].isin(["", "probe", "clap"]) & (verdicts["status"] != claims.PUBLIC)]
truest = truest.assign(
    where=[title(row.model, row.checkpoint) for row in truest.itertuples()],
    sign=truest["status"].map(signs),
)
glance = truest.pivot_table("sign", "claim", "where", "first", sort=False).fillna("")
tables.table(glance.loc[:, (glance != "").any()].reset_index())

# %% [markdown]
# One by one:

# %% tags=["hide-input"]
known = claims.published().set_index("claim")
for claim in claims.CLAIMS:
    rows = verdicts[verdicts["claim"] == claim.name]
    public = ""
    if claim.name in known.index:
        public = f"<p><b>Published for public models:</b> {html.escape(known.loc[claim.name, 'published'])} <small>({html.escape(known.loc[claim.name, 'source'])})</small></p>"
    missing = rows.loc[rows["command"] != "", "command"].unique()
    how = "".join(f"<br><code>{html.escape(text)}</code>" for text in missing)
    todo = f"<details><summary>What fills the gaps</summary><small>{how}</small></details>" if how else ""
    display(
        HTML(
            f"<h3>{html.escape(claim.says)}</h3><p><small>{html.escape(claim.where)}. Tested: {html.escape(claim.test)}.</small></p>"
            f"<p>{told(rows)}</p>{public}{todo}"
        )
    )

# %% [markdown]
# ## All effects
#
# Each line is an effect with its interval, scaled to its own size since effects have different units: to the right of the bar (at 0)
# it speaks for the claim. Judged by the truth where the claim needs a judge of alignment and there is a probe.

# %% mystnb={"image": {"alt": "Effects less their bars with intervals, one line for each claim and checkpoint; to the right of zero they support the claim."}} tags=["hide-input"]
drawn = verdicts[verdicts["value"].notna() & verdicts["judge"].isin(["", "probe", "clap"])]
if len(drawn):
    ends = drawn[["value", "low", "high"]].sub(drawn["bar"], axis=0)
    ends = ends.div(ends[["low", "high"]].abs().max(axis=1).clip(lower=1e-12), axis=0)
    names = drawn["claim"] + ": " + drawn["model"] + ", " + drawn["checkpoint"].str[:12]
    plots.intervals(ends.assign(known=True), names, "Effects less their bars", "to the right: for the claim")
    plt.gca().set_xticks([0])
    plt.show()
else:
    display(Markdown("Nothing has been measured yet."))

# %% tags=["hide-input"]
counts = verdicts.pivot_table("claim", "checkpoint", "status", "count", fill_value=0, sort=False)
tables.table(counts.reset_index())

# %% [markdown]
# ## Would the paper's metric have told?
#
# The paper could only ask CLAP and MuQ. On synthetic music the truth is known: the attribute probe was trained on the renderer's own
# labels. How well do scores of the CLAP class agree with it on steered clips, and would they have ranked the layer sets rightly?
# *Correlation* is that of ranks over clips, with its interval. *Pairs* are rows of Table 1 whose delta alignment the truth tells
# apart, *same* those of them that the ear orders the same way.


# %% tags=["hide-input"]
def agreed_with(truth, concepts=None):
    """How every ear agrees with a truth, on every checkpoint."""
    parts = [
        claims.agreement(one, judge, truth).assign(model=one.model, checkpoint=one.checkpoint, ear=judge)
        for one in steered
        for judge in one.judges()
        if judge != truth
    ]
    found = pd.concat([part for part in parts if len(part)]) if any(map(len, parts)) else pd.DataFrame()
    return found[found["concept"].isin(concepts or found["concept"])] if len(found) else found


def agreement_table(found):
    """Agreement, one line a concept and ear."""
    first = ["model", "checkpoint", "ear", "concept"]
    shown = found.assign(
        correlation=[f"{row.correlation:.2f} [{row.low:.2f}, {row.high:.2f}]" for row in found.itertuples()]
    )
    return tables.table(shown[[*first, *(c for c in found if c not in (*first, "low", "high"))]])


agreed = agreed_with("probe")
if len(agreed):
    display(agreement_table(agreed))
    lines = []
    for (name, checkpoint, ear), part in agreed.groupby(["model", "checkpoint", "ear"], sort=False):
        right = (part["best"] == part["best by truth"]).sum()
        lines.append(
            f"- {title(name, checkpoint)}, {judges.get(ear, ear)}: {part['same'].sum()} of {part['pairs'].sum()} pairs in the order "
            f"of the truth, the best row in {right} of {len(part)} concepts; median correlation {part['correlation'].median():.2f}."
        )
    display(Markdown("\n".join(lines)))
else:
    display(
        Markdown(
            "No steered clips of a mini yet: `tada table --model stable-audio --checkpoint mini --workers 2` makes some."
        )
    )

# %% [markdown]
# Where verdicts by the ear and by the truth differ, the ear alone would have misled.
#
# Two concepts can be heard in the signal itself, without anything that was trained: tempo in beats per minute, and mood, roughly, in
# the brightness of the sound (the authors' second code validates theirs so). Here these are the truth that all others are held
# against. Clips shorter than 3 s have no tempo.

# %% tags=["hide-input"]
signal = [
    agreed_with("bpm", ["tempo"]).assign(signal="bpm"),
    agreed_with("brightness", ["mood"]).assign(signal="brightness"),
]
signal = [part for part in signal if len(part)]
if signal:
    display(agreement_table(pd.concat(signal)))
else:
    display(Markdown("No steered clips whose signal was measured."))

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
# - Two dozen claims on several checkpoints are many tests: at 95 %, one in forty verdicts of either kind is expected by chance.
# - Functional layers of a mini are chosen by the same localisation that the first claims test; those of a planted one are known.
#
# ## Your own
#
# ```shell
# tada run notebooks/08_claims.py -p architectures stable-audio -p checkpoints mini,public
# ```
