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
# # Counterfactual pairs
#
# To find out which layers decide about a concept, the paper {cite:p}`tada` makes a model hear two texts that differ in that
# concept and in nothing else: a **target** prompt that holds it, and a **counterfactual** prompt that holds its counterpart.
# "A slow song with a violin" and "A slow song with a trumpet" are such a pair for *violin*.
#
# Pairs are made from captions in two steps. A caption is taken if it has a word of the concept and none of its counterpart.
# Then every word of the concept is replaced by its counterpart. Two rule sets say which words those are:
#
# - `paper`: the fifteen concepts of section 4.1. The paper had a language model rewrite the captions, and its full word table
#   is not public text. Here the words are swapped by rules that keep the grammar: articles, plurals, pronouns and capitals.
# - `authors`: the word lists that the authors released, 21 concepts, swapped word for word, faults and all.
#
# :::{admonition} What this page is made from
# :class: important
# By default the captions are the package's own, of synthetic music: a small grammar in the manner of MusicCaps. MusicCaps
# itself is not part of this project; [the end of the page](#with-musiccaps) says how to use it.
# :::

# %% tags=["setup", "hide-cell"]
import tada.book.colab

tada.book.colab.setup()

# %% tags=["parameters"]
captions: str = ""  # csv or Parquet file with a column "caption", or google/MusicCaps; empty: the synthetic captions
rules: str = "paper"  # "paper" or "authors"
limit: int = 256  # pairs a concept, at most
checked: int = 50  # pairs a concept that the written rules are tested on
out: str = ""  # where the pairs are written; empty: a folder that is gone afterwards

# %% tags=["hide-input"]
import re
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import Markdown

import tada.concepts
import tada.pairs
from tada.display import pairs as figures
from tada.display import plots, tables

plots.style()

# %% [markdown]
# ## Building them
#
# One call. What it refused, and how many captions would have qualified, is in `attrs`.

# %%
pairs = tada.pairs.build(captions or None, rules=rules, limit=limit)
len(pairs), pairs["concept"].nunique()

# %%
figures.summary_table(pairs)

# %% [markdown]
# *Candidates* are the captions that qualify, of which the first are taken. *Words* is the mean length of a target, *changed*
# the mean number of changed places, *longer* how many words the counterfactual gains. *Leak* is the share of counterfactuals
# that still hold a word of the authors' wider list for the concept: "energetic" in a song that is now slow, for example. It is
# no fault of the swap, but it weakens the contrast, and a dash stands where their list has no such concept.
#
# ## Reading some
#
# The word of the target is struck out, its counterpart follows in bold.


# %%
def sample(frame, count, seed=0):
    """Some pairs of each concept."""
    return pd.concat(
        [part.sample(min(count, len(part)), random_state=seed) for _, part in frame.groupby("concept", sort=False)]
    )


figures.change_list(sample(pairs, 1))

# %% [markdown]
# ## Lengths

# %% mystnb={"image": {"alt": "Box plot of the number of words of the target prompts, one box per concept. The boxes of all concepts overlap widely."}}
figures.length_boxes(pairs)
plt.show()

# %% [markdown]
# ## The written rules
#
# A good pair keeps seven rules, each of which is tested on random pairs of every concept:
#
# 1. the target has a word of the concept;
# 2. it has no word of the counterfactual;
# 3. the counterfactual prompt keeps no word of the concept;
# 4. it has a word of its own;
# 5. nothing but the words of the concept was changed, to the letter;
# 6. "a" and "an" are right before every changed word;
# 7. a changed word keeps its capital.
#
# The `authors` rule set breaks some of them by design: its replacements are lower-case and do not look at articles.

# %%
tested = sample(pairs, checked)
known = tada.concepts.RULES[rules]
broken = [tada.pairs.violations(known[row.concept], row.target, row.source) for row in tested.itertuples()]
figures.kept_rule_table(tested["concept"], broken)

# %%
figures.broken_rule_table(broken) if any(broken) else Markdown(f"None of the {len(tested)} pairs breaks any rule.")

# %% [markdown]
# These tests read the same word lists as the swaps. A test that does not is made of word beginnings: in a counterfactual of
# *violin*, does any word begin with "violin" or "fiddl"?

# %%
BEGINNINGS = {
    **{"female": r"female|wom[ae]n|girl", "male": r"male|m[ae]n\b|boy", "slow": "slow", "fast": "fast|rapid|quick"},
    **{"happy": "happ|joy|upbeat|uplift", "sad": "sad|melanchol|gloom|depress", "drums": "drum", "flute": "flut"},
    **{"guitar": "guitar", "maracas": "maraca", "trumpet": "trumpet", "violin": "violin|fiddl", "jazz": "jazz"},
    **{"techno": r"techno\b", "reggae": "reggae"},
}
left = [
    (name, len(part), int(part["source"].str.contains(rf"\b(?:{BEGINNINGS[name]})", flags=re.I).sum()))
    for name, part in pairs.groupby("concept", sort=False)
    if name in BEGINNINGS
]
tables.table(pd.DataFrame(left, columns=["concept", "pairs", "word beginnings left"]))

# %% [markdown]
# ## A rewriter of your own
#
# Any function may rewrite: a language model, a person, a table. Whatever it returns is held against the rules, and what fails
# is refused and counted. This one is careless with every third caption:

# %%
turn = iter(range(10**6))


def careless(target, concept):
    """The rules' own swap, but every third time in capitals."""
    good = tada.pairs.swap(target, concept)
    return good.upper() if next(turn) % 3 == 0 else good


some = tada.pairs.build(captions or None, ["violin"], limit=20, rewriter=careless)
len(some), some.attrs["rejected"]

# %% [markdown]
# A local language model (the paper asked GPT-4) is such a function, too:
#
# ```python
# generate = transformers.pipeline("text-generation", FOLDER_OR_HUB_ID, return_full_text=False)
#
#
# def rewriter(target, concept):
#     ask = f"Rewrite this caption so that it is about {concept.counterfactual} instead of {concept.name}: {target}\n"
#     return generate(ask, max_new_tokens=256)[0]["generated_text"].strip()
# ```
#
# ## Controls
#
# Does routing *any* other text to a layer change the sound as much as the concept does? Two prompts that say nothing of the
# concept are routed to find out: a paraphrase of the counterfactual prompt, and an unrelated caption.

# %%
controlled = tada.pairs.with_controls(sample(pairs, 1).reset_index(drop=True), captions or None)
tables.table(controlled[["concept", "source", "paraphrase", "unrelated"]].head(3))

# %% [markdown]
# ## Taking them along
#
# A csv file, which `pandas.read_csv` and `datasets.load_dataset("csv", data_files=...)` open.

# %%
scratch = tempfile.TemporaryDirectory()
tada.pairs.export(pairs, Path(out or scratch.name) / "pairs.csv").name

# %% [markdown]
# (with-musiccaps)=
# ## With MusicCaps
#
# The captions are public under terms of their own. With access to the hub, or with the csv on your disk:
#
# ```shell
# tada run notebooks/03_counterfactual_pairs.py -p captions google/MusicCaps
# tada run notebooks/03_counterfactual_pairs.py -p captions musiccaps-public.csv -p rules authors
# ```
#
# The csv is not part of this project, so no count on it is shown here: the commands above compute them. The authors published
# 3,246 pairs in 21 concepts; `tests/test_pairs.py` holds the released rules to exactly that, and fifty random pairs of each
# concept to the rules of this page, wherever the csv is at hand (`TADA_MUSICCAPS` names it).
