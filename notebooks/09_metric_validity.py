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
# # What the metrics can tell
#
# A table is as good as its metrics {cite:p}`tada`. With music from a renderer everything that real music hides is known: what is in a
# clip, what two clips share, how loud it is. Four questions, each answered by a measurement:
#
# 1. How many clips does a **Fréchet distance** need?
# 2. What **LPAPS** is nothing at all?
# 3. Do **ears** hear what is there?
# 4. Does **loudness** pass for music?
#
# The ears are the package's own, which stand where the paper has CLAP and MuQ-MuLan. The questions are the same for the public ones;
# the answers may not be.

# %% tags=["setup", "hide-cell"]
import tada.book.colab

tada.book.colab.setup()

# %% tags=["parameters"]
architecture: str = "ace-step"  # whose clips are looked at beside renders: audioldm2, stable-audio or ace-step
checkpoint: str = "mini"  # mini or a folder; tiny builds a random one; none: renders only
profile: str = "mini"  # how much to run: smoke, mini, colab or paper
renders: int = 0  # true clips; 0 for the profile's
prompts: int = 0  # of the model; 0 for the profile's
store: str = "../_build/validity"  # where clips of the model are kept

# %% tags=["hide-input"]
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from IPython.display import Markdown, display

import tada
from tada.audio import lufs
from tada.display import plots, tables
from tada.display import validity as figures
from tada.experiments import agreement, validity
from tada.experiments.experiment import load_model
from tada.experiments.minis import STEPS, questions
from tada.experiments.profiles import SEEDS, get_profile
from tada.metrics import clap, embedding, fad, muq
from tada.minis.attributes import draw, of_labels
from tada.minis.captions import caption
from tada.minis.render import FRAMES, render_batch
from tada.minis.sounds import SAMPLE_RATE
from tada.steering import Trial, seeded

plots.style()
size, seeds = get_profile(profile).validity, SEEDS["validity"]
count, clips_of_model = renders or size.renders, prompts or size.prompts
rng = np.random.default_rng(0)

# %% [markdown]
# ## Clips whose attributes are known
#
# Renders with seeds that no recipe uses, every class of every attribute equally likely.

# %%
rendered = validity.make_renders(count)
ears = {"clap": clap.load("mini"), "muq": muq.load("mini")}
heard = {name: embedding.embed(one, rendered.audio, SAMPLE_RATE) for name, one in ears.items()}
f"{count} renders of {FRAMES / SAMPLE_RATE:g} s"

# %% [markdown]
# Beside them clips of the model, two from each of a few captions, if the checkpoint is there.

# %%
model, played, texts = None, None, []
kept = Path(store)
if checkpoint not in ("", "none"):
    try:
        model = load_model(architecture, checkpoint)
    except (KeyError, OSError) as error:
        display(Markdown(f"No clips of a model: {error.args[0] if error.args else error}"))
if model is not None:
    preset, steps = "mini" if "mini" in model.presets else "default", 3 if profile == "smoke" else None
    sampling = model.sampling(preset, steps=steps)
    seconds = 1.2 if checkpoint == "tiny" else FRAMES / SAMPLE_RATE
    texts = [caption(draw(seed), seed, form="sentences").text for seed in seeds[:clips_of_model]]
    played = validity.model_clips(model, texts, seconds, sampling, kept)
    display(Markdown(f"{len(played)} clips of {model.checkpoint}."))

# %% [markdown]
# ## 1. How many clips does a Fréchet distance need?
#
# Two halves of the same renders come from one distribution: their true distance is 0. What is measured falls with the number of
# clips, and never gets there. Beside it, two sets that do differ: renders with piano and renders with violin.
#
# FAD-infinity extrapolates in $1/n$; KAD is unbiased by construction.

# %%
rows, labels = heard["clap"], rendered.labels
half = rng.permutation(count)
pianos, violins = (np.flatnonzero(labels["instrument"] == name) for name in ("piano", "violin"))
groups = {
    "same kind": (rows[half[: count // 2]], rows[half[count // 2 :]]),
    "piano and violin": (rows[pianos], rows[violins]),
}
sizes = sorted({int(n) for n in np.geomspace(4, min(len(pianos), len(violins)), 6)})
distances = []
for name, pair in groups.items():
    for n in np.repeat(sizes, 5):
        one, other = (part[rng.permutation(len(part))[:n]] for part in pair)
        distances.append((name, n, fad.distance(one, other), fad.kernel(one, other)))
measured = pd.DataFrame(distances, columns=["sets", "n", "fad", "kad"])
infinity = {name: fad.extrapolated(*pair).value for name, pair in groups.items()}

# %% mystnb={"image": {"alt": "Fréchet distance over the number of clips, falling for two sets of the same kind and for two sets that differ, with their extrapolated values as dotted lines; below, KAD over the number of clips, flat."}}
figures.distance_curves(measured, infinity)
plt.show()

# %% tags=["hide-input"]
means = measured.groupby(["sets", "n"])["fad"].mean()
small, large = sizes[0], sizes[-1]
small_same, large_differ = means["same kind", small], means["piano and violin", large]
Markdown(
    f"With {small} clips a set, two sets of the same kind are {small_same:.2f} apart, with {large} still "
    f"{means['same kind', large]:.2f}; piano and violin with {large} clips are {large_differ:.2f} apart. "
    f"Extrapolated: {infinity['same kind']:.2f} and {infinity['piano and violin']:.2f}. "
    + (
        "Few clips of one kind look further apart than many of two kinds: only distances of equally many clips may be compared."
        if small_same > large_differ
        else "Distances of unequal numbers of clips must not be compared."
    )
)

# %% [markdown]
# ## 2. What LPAPS is nothing at all?
#
# LPAPS is 0 for equal clips. How much is it for changes that nobody would call a change of the music, how much for another
# performance of the same thing, and how much for other music? The yardstick for every LPAPS of a steered clip.

# %%
some = min(count, 48)
base = rendered.audio[:some]
noise = torch.randn(base.shape, generator=torch.Generator().manual_seed(0)) * base.std(1, keepdim=True)
again = render_batch(rendered.attributes[:some], seeds[50_000 : 50_000 + some])
opposite = {"slow": "fast", "fast": "slow"}
named = [one.labels() for one in rendered.attributes[:some]]
turned = render_batch(
    [of_labels({**one, "tempo": opposite[one["tempo"]]}) for one in named], list(rendered.seeds)[:some]
)
changes = {
    "noise at -60 dB": base + 1e-3 * noise,
    "noise at -40 dB": base + 1e-2 * noise,
    "1 dB quieter": base * 10 ** (-1 / 20),
    "shifted by 10 ms": base.roll(SAMPLE_RATE // 100, 1),
    "the same seed, other tempo": torch.from_numpy(turned),
    "the same attributes, another seed": torch.from_numpy(again),
    "other music": base.roll(1, 0),
}
floor = [validity.lpaps_row(ears["clap"], base, other, SAMPLE_RATE, name) for name, other in changes.items()]

# %%
if played is not None:
    one, other = played.audio.float()[: len(texts)], played.audio.float()[len(texts) :]
    changes = {
        "the same prompt, another seed": (one, other),
        "another prompt and seed": (one, one.roll(1, 0)),
    }
    trial = Trial("", seeded(texts[:4], seeds[0]), tada.Setting(seconds, sampling))
    pushed = validity.random_pushes(model, trial, (0.001, 0.01, 0.1), kept)
    plain = pushed.pop(0.0).audio.float()
    for share, moved in pushed.items():
        changes[f"a random push of {share:g} of the layers' length"] = moved.audio.float(), plain
    floor += [
        validity.lpaps_row(ears["clap"], *pair, played.sample_rate, name, "model") for name, pair in changes.items()
    ]
figures.floor_table(floor)

# %% [markdown]
# *LPAPS* normalises each token over its channels, as it is defined; *authors' kind* each channel over its tokens, as their code
# does. A distance below that of another seed of the same prompt says that a clip kept more of itself than a second take would.
#
# ## 3. Do ears hear what is there?
#
# Each ear is asked of every render how similar it is to a concept's query. The chance that a clip with the concept scores above one
# with its counterpart (area under the ROC curve) is 1 for a perfect ear and 0.5 for a deaf one. The probe is asked the same.

# %%
hearing = validity.hearing(rendered, ears, heard, rng)
figures.hearing_table(hearing)

# %%
tables.table(validity.recognition(rendered), {"right": "{:.1%}"})

# %% [markdown]
# Telling two poles apart is one thing, measuring what lies between them another. Smoothness in Table 1 is that of an ear's answers.
# Here is what the ears make of music whose tempo rises evenly: the renderer plays any tempo, also those between *slow* and *fast*,
# which no ear was trained on.

# %%
tempi, takes = np.linspace(60, 190, 14), 2 if profile == "smoke" else 12
answers = validity.tempo_answers(rendered, ears, tempi, takes)

# %% mystnb={"image": {"alt": "Answers of the two ears and the probe, each scaled to its own range, over the true tempo from 60 to 190 beats per minute; the bands in which the ears were trained are shaded."}}
figures.tempo_curves(answers)
plt.show()

# %%
steps = validity.evenness(answers)
tables.table(steps, dict.fromkeys(list(steps)[1:], "{:.2f}"))

# %% tags=["hide-input"]
even, column = 1 / (len(tempi) - 1), "largest step, share of the range"
worst = steps.loc[steps[column].idxmax()]
told = f"An even ear would take steps of {even:.2f}; {worst['ear']} takes one of {worst[column]:.2f}. "
if worst[column] > 2 * even:
    told += "Part of what Table 1 calls uneven is the ear, not the steering."
Markdown(told)

# %% [markdown]
# The ears and the probe learnt from the same renders. Judges that did not, signal estimators and musicnn {cite:p}`musicnn`, are asked
# the same of renders, of renders that went through the codec of the model on this page, and of its clips in as many denoising steps
# as other pages take. A cell is the share of clips in which a judge names the class that was asked for, with its 95 % interval.

# %%
if model is not None and checkpoint == "mini":
    asked = questions(dict.fromkeys(("tempo", "voice", "mood", "instrument"), max(2, size.renders // 64)))
    few = (3,) if profile == "smoke" else tuple(STEPS.values())
    found = agreement.compare({architecture: model}, asked, few, "../_build/agreement")
    display(Markdown(figures.disagreement_lines(found)), *figures.agreement_tables(found))
else:
    display(Markdown("Not asked: this is no model of synthetic music that ships with the package."))

# %% [markdown]
# ## 4. Does loudness pass for music?
#
# The same renders, only louder or softer. What moves is an artefact: a steering method that changes the level would be paid for it.
# Shifts of similarity are in units of the spread of that similarity over renders.

# %%
effects = validity.loudness_effects(rendered, ears, heard, (-24, -12, -6, -3, 3, 6))
changed, unchanged = effects[effects["gain, dB"] != 0], effects[effects["gain, dB"] == 0].iloc[0]
figures.loudness_table(changed)

# %% tags=["hide-input"]
loud = [lufs(clip.numpy(), SAMPLE_RATE) for clip in rendered.audio[: min(count // 2, 64)]]
shift = f"largest shift, {ears['clap'].name}"
worst = changed.loc[changed[shift].abs().idxmax()]
told = (
    f"Unchanged, the distance to other renders is {unchanged['FAD to other renders']:.2f}. Renders lie at "
    f"{np.mean(loud):.1f} LUFS with a standard deviation of {np.std(loud):.1f}. The largest shift by {ears['clap'].name} "
    f"is {worst[shift]:+.2f} spreads, at {worst['gain, dB']:+.0f} dB."
)
if played is not None:
    loud = [lufs(clip.samples.mean(0).numpy(), played.sample_rate) for clip in played]
    told += f" Clips of the model lie at {np.mean(loud):.1f} LUFS with a standard deviation of {np.std(loud):.1f}."
Markdown(told)

# %% [markdown]
# Clips of minis are brought to the renders' loudness before the ears of [Table 1](07_table_1) hear them, so that a level can
# neither help nor harm a row.
#
# ## What follows
#
# - Fréchet distances are compared at one number of clips, and that number is stated. Table 1 does so: all its rows have the same
#   prompts.
# - An LPAPS is read against the table of section 2.
# - An ear's verdict on a concept is worth what section 3 says of it. Where it is near one half, its columns in Table 1 are noise.
# - Where judges that nobody here trained do not hear what the probe hears, the probe's number is a number of the probe.
# - Loudness is matched before listening.
#
# ## Limits
#
# - Renders are simple, and the ears were trained on such renders: on real music any ear does worse.
# - The set of changes in section 2 is a choice. Others would give other floors.
#
# ## Your own
#
# ```shell
# tada run notebooks/09_metric_validity.py -p architecture ace-step -p checkpoint mini
# tada run notebooks/09_metric_validity.py -p checkpoint none -p renders 2000
# ```
