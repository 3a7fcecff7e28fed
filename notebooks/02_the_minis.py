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
# # The minis
#
# Public text-to-music models are gigabytes of weights that want a GPU. To run everything here on a laptop, and to know for once
# what was played, this book brings its own: **minis**, small checkpoints of the same architectures, trained on synthetic music. They load
# through the same code as the public ones, and every page works on either.
#
# The renderer that made the music knows which voice sings and how fast the beat is, so a judge can be tested on renders before it
# is believed. What a mini made of a prompt nobody knows: there judges can only be held against each other.
#
# :::{admonition} What a mini is not
# :class: important
# A mini knows four seconds of one small band. Numbers about a mini are numbers about that mini. None of them is a number about
# AudioLDM2, Stable Audio Open or ACE-Step as published.
# :::

# %% tags=["setup", "hide-cell"]
import tada.book.colab

tada.book.colab.setup()

# %% tags=["parameters"]
device: str = "cpu"  # where clips are made: cpu, cuda or mps
heard: int = 3  # prompts to play, each by the renderer and by every mini
profile: str = "mini"  # smoke plays and judges fewer
again: int = 8  # clips an attribute that judges are compared on; 0 for none
store: str = "../_build/agreement"  # where scores by several judges are kept
seed: int = 2_000_900_000  # of prompts and noise; nothing was trained on seeds from 2,000,000,000 on

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import Markdown, display

import tada
from tada.display import minis as figures
from tada.display import players, plots, tables, validity
from tada.experiments import agreement
from tada.experiments import minis as measured
from tada.minis import cards as shipped
from tada.minis.attributes import CLASSES, draw
from tada.minis.captions import caption

plots.style()
if profile == "smoke":
    heard, again = min(heard, 1), min(again, 2)
sizes = {row["name"]: row["megabytes"] for row in shipped.shipped()}
cards = {name: shipped.read(name) for name in sizes}
minis = [name for name in tada.ARCHITECTURES if name in cards]

# %% [markdown]
# ## The music they learnt from
#
# The renderer plays a tune, a bass, perhaps a voice and a beat, from seven attributes. Two of a kind are never mixed: what a
# caption says of a clip is true of it. Mood is mode and melody alone, and a clip is equalised to be bright or dark whatever it plays.

# %%
pd.Series({name: ", ".join(classes) for name, classes in CLASSES.items()}, name="classes").to_frame()

# %%
attributes = draw(seed)
attributes

# %%
told = caption(attributes, seed)
told.text, dict(told.mentioned)

# %% [markdown]
# Captions mention some of the attributes, in the words of the paper's keywords, between words that say nothing about the clip, as
# captions of real music do.
#
# ## What is there

# %%
display(figures.card_table(cards, sizes))
absent = [name for name in tada.ARCHITECTURES if name not in cards]
if absent:
    display(Markdown(f"Not trained yet: {', '.join(absent)}. `make train NAME={absent[0]}` does it."))
notes = [f"- **{name}**: {card['note']}" for name, card in cards.items() if card.get("note")]
if notes:
    display(Markdown("Not everything went by the recipe alone:\n\n" + "\n".join(notes)))

# %% [markdown]
# Every one can be trained anew from its seeds with `python -m training NAME`, on two CPU cores; with
# `--start FOLDER` a finished one goes on for another cycle of the learning rate. `tada minis verify` checks the files against
# their cards and measures again.
#
# ## To hear
#
# The same prompts, once by the renderer, which knows the attributes they came from, and by every mini, which has the words alone.
# Between them is the render as each mini's codec leaves it: the best that its denoiser could do. The figures are of signal
# estimators that learnt nothing.

# %%
models = {name: tada.load(name, "mini", device=device) for name in minis}


def sounds(row):
    """One prompt by the renderer, through every codec, and by every mini."""
    wanted = draw(row)
    text = caption(wanted, row).text
    render = agreement.render([wanted], [row], [text])
    made = {"renderer": render}
    for name, model in models.items():
        made[f"renderer, codec of {name}"] = agreement.through_codec(model, render)
        made[name] = model.generate(text, row, measured.SECONDS)
    return [players.Sound(clips[0], name, scores=measured.signal_figures(clips[0])) for name, clips in made.items()]


for row in range(seed, seed + heard):
    command = "tada run notebooks/02_the_minis.py" + (f" -p heard {heard}" if heard != 3 else "")
    display(players.show(sounds(row), f"prompt-{row - seed}", command, pictures=True))

# %% [markdown]
# ## Do they do what they are asked?
#
# Each prompt mentions one attribute, nothing was trained on its words' seed or on its noise, and the probe, which never saw a
# mini's clip, says what it hears. Chance is one in the number of classes.

# %% mystnb={"image": {"alt": "Accuracy of each mini for each attribute with its 95 percent interval, as points with bars, chance as a short grey line for each attribute."}}
one = figures.accuracies(cards, minis, "one concept")
if len(one):
    figures.accuracy_points(one, "One concept asked for, minis")
    plt.show()

# %%
figures.accuracy_table(one)

# %% [markdown]
# The same by class, where the weak spots are:

# %% tags=["hide-output"]
figures.accuracy_table(figures.accuracies(cards, minis, "by class"))

# %% [markdown]
# A card that names its seeds was measured on clips by which nothing was chosen. Others were measured on clips by which training
# was steered, too, and may flatter.

# %%
old = [name for name in minis if "seeds" not in cards[name]]
if old:
    again_by = f"`python -m training {old[0]} --card` measures anew."
    display(Markdown(f"Measured on clips that training was steered by: {', '.join(old)}. {again_by}"))

# %% [markdown]
# These are minis at their best. [Steering](05_steering_caa) takes fewer denoising steps. The same questions, asked as it does:

# %% tags=["hide-output"]
figures.accuracy_table(
    pd.concat([figures.accuracies(cards, minis, f"one concept{use}", use) for use in measured.STEPS])
)

# %% [markdown]
# ## What a listener without training finds
#
# A judge that learnt from renders may hear what only renders have. Here prompts name every attribute, and estimators that learnt
# nothing look for it: in the renders that such prompts describe, in the same through the codec, and in what the mini makes, at its
# own number of steps and at that of [steering](05_steering_caa). Tags are those of musicnn {cite:p}`musicnn`: how well a tag of that
# name tells such clips from the others (area under the curve).

# %% tags=["hide-output"]
for name in minis:
    if "signals" in cards[name]:
        display(Markdown(f"**{name}**"), figures.signals_table(cards[name]))

# %% [markdown]
# What is found more rarely than was aimed at, so that one cannot rely on hearing it:

# %%
Markdown(figures.missed_lines(cards, minis))

# %% [markdown]
# The probe above might hear something that goes with a tempo, and not the tempo. Here is what the estimators find in the same clips,
# of prompts that mention one attribute each, for those attributes that they know:

# %%
figures.accuracy_table(
    pd.concat([figures.accuracies(cards, minis, f"one concept{use}, by signal", use) for use in measured.STEPS])
)

# %% [markdown]
# ## Captions nobody here wrote
#
# Captions of MusicCaps {cite:p}`musiclm` that have exactly one of the words female, male, slow, fast, happy and sad, as they
# are. Most of their words are unknown to a mini.

# %%
others = figures.accuracies(cards, minis, "real captions")
if len(others):
    display(figures.accuracy_table(others))
    display(figures.accuracy_table(figures.accuracies(cards, minis, "real captions by word"), "word"))
    display(Markdown("The attributes again, by signal estimators:"))
    display(figures.accuracy_table(figures.accuracies(cards, minis, "real captions, by signal")))
else:
    display(Markdown("Not measured: the captions were not at hand when the cards were written."))

# %% [markdown]
# ## How far from renders
#
# The Fréchet distance between a mini's clips and renders, in the CLAP-class ear, beside that between two sets of renders of the
# same size. A ratio of 1 would be as good as new renders.

# %%
formats = {"distance": "{:.4f}", "renders": "{:.4f}", "ratio": "{:.1f}", "clips": "{:.0f}"}
tables.table(figures.measures(cards, minis, "frechet"), formats)

# %% [markdown]
# ## Can the judges be believed?
#
# Probe and ears on renders they never heard, whose attributes are known: the probe reads classes off the sound; the two ears were
# asked in words, which class is nearest.

# %%
judges = [name for name in shipped.EARS if name in cards]
figures.accuracy_table(figures.accuracies(cards, judges, "accuracy"), clips=False)

# %% [markdown]
# Probe and CLAP-class ear learnt from the same renders and their labels, the second ear from captions of other renders alone. Do
# judges that nobody here trained hear the same, also in clips that no renderer made? **Signal estimators** find the beat (up to doubling and halving), a voice by its moving pitch, and major or
# minor. **musicnn** {cite:p}`musicnn` was trained by others on recorded music; a tag with the class's own name has to be likelier
# than for the other clips. Share of clips in which a judge names the class asked for, with its 95 % interval: on renders, on renders
# that went through a mini's codec, as if its denoiser were perfect, and on clips that minis made.

# %%
if again:
    asked = measured.questions(dict.fromkeys(("tempo", "voice", "mood", "instrument"), again))
    found = agreement.compare(models, asked, (measured.STEPS[", steering"],), store)
    display(Markdown(validity.disagreement_lines(found)), *validity.agreement_tables(found))

# %% [markdown]
# ## How they learnt

# %% mystnb={"image": {"alt": "Training curves of the minis' denoisers: mean squared error of the predicted velocity against training steps, smoothed. They fall."}}
figures.loss_curves({name: pd.read_csv(shipped.WEIGHTS / name / "curve.csv") for name in minis})
plt.show()

# %% [markdown]
# The levels of different architectures cannot be compared: each predicts other latents.
#
# ## What a clip costs

# %%
formats = {"clips": "{:.0f}", "seconds": "{:.1f}", "denoiser_call": "{:.3f}", "calls": "{:.0f}"}
tables.table(figures.measures(cards, minis, "speed"), formats)

# %% [markdown]
# *Seconds* from text to sound for so many *clips* at once on the machine that wrote the card, seconds of one plain call of the
# denoiser for that batch, and how many such *calls* fit into the whole.
#
# ## What they cannot do
#
# - They know the renderer's band: five instruments for the tune, two for the beat, two voices that sing vowels, three genres. Asked
#   for an opera, they play something.
# - They sing no words. The ACE-Step mini takes lyrics and does not heed them.
# - Clips are four seconds. Nothing was learnt about form.
# - They are easily satisfied: a small model has few ways to play a concept, which makes steering it look tidier than it may be in a
#   large one.
#
# ## How they differ from the public models
#
# The classes are the public models' own, and so are schedulers, guidance and the order of sites. Width, depth, latents and the text
# encoders are not: twelve sites or so instead of 24 or 64, a text encoder that has read one grammar instead of the web, and a
# codec that knows sixteen thousand samples a second.
#
# No training tells which layers read a concept. To grade a method that localises, minis are [planted](04_known_answers): only
# layers that were drawn are given the words of the concept to read.
