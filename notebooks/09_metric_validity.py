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
checkpoint: str = "mini"  # mini, planted or a folder; tiny builds a random one; none: renders only
profile: str = "mini"  # how much to run: smoke, mini, colab or paper
renders: int = 0  # true clips; 0 for the profile's
prompts: int = 0  # of the model; 0 for the profile's
store: str = ""  # where clips of the model are kept; empty: ../_build/validity

# %% tags=["hide-input"]
import os
import tempfile
from pathlib import Path

os.environ |= {"TRANSFORMERS_VERBOSITY": "error", "DIFFUSERS_VERBOSITY": "error"}

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from IPython.display import Markdown, display

import tada
from tada import concepts
from tada.display import plots, tables
from tada.loudness import lufs
from tada.metrics import clap, embedding, fad, lpaps, muq
from tada.metrics.judges import ATTRIBUTES
from tada.minis import listen, probe
from tada.minis.attributes import CLASSES, TEMPI, Attributes, draw, of_labels
from tada.minis.captions import caption
from tada.minis.probe import TEST_SEED
from tada.minis.render import FRAMES, render_batch
from tada.minis.sounds import SAMPLE_RATE
from tada.steering import ranges

plots.style()
SIZES = {"smoke": (64, 3), "mini": (512, 16), "colab": (2048, 32), "paper": (4096, 64)}
count, clips_of_model = (given or usual for given, usual in zip((renders, prompts), SIZES[profile], strict=True))
rng = np.random.default_rng(0)

# %% [markdown]
# ## Clips whose truth is known
#
# Renders with seeds that no recipe uses, every class of every attribute equally likely.

# %%
seeds = range(TEST_SEED + 10_000, TEST_SEED + 10_000 + count)
attributes = [draw(seed) for seed in seeds]
labels = pd.DataFrame([one.labels() for one in attributes])
audio = torch.from_numpy(render_batch(attributes, seeds))
first, second = clap.load("mini"), muq.load("mini")
heard = {one.name: embedding.embed(one, audio, SAMPLE_RATE) for one in (first, second)}
f"{count} renders of {FRAMES / SAMPLE_RATE:g} s"

# %% [markdown]
# Beside them clips of the model, two from each of a few captions, if the checkpoint is there.

# %% tags=["hide-input"]
scratch = tempfile.TemporaryDirectory()
model, played, texts = None, None, []
if checkpoint not in ("", "none"):
    try:
        where = tada.tiny.build(architecture, Path(scratch.name) / "tiny") if checkpoint == "tiny" else checkpoint
        model = tada.load(architecture, where)
    except (KeyError, OSError) as error:
        display(Markdown(f"No clips of a model: {error.args[0] if error.args else error}"))
if model is not None:
    sampling = model.sampling(
        "mini" if "mini" in model.presets else "default", **({"steps": 3} if profile == "smoke" else {})
    )
    seconds = 1.2 if checkpoint == "tiny" else FRAMES / SAMPLE_RATE
    texts = [caption(draw(seed), seed, form="sentences").text for seed in range(TEST_SEED, TEST_SEED + clips_of_model)]
    kept = Path(store or "../_build/validity")
    about = {
        "texts": texts,
        "weights": model.fingerprint(),
        "sampling": str(sampling),
        "seconds": seconds,
    }
    place = kept / f"{tada.store.key(about)}.safetensors"
    if not place.is_file():
        made = [
            model.generate(texts[start : start + 8], [seed] * len(texts[start : start + 8]), seconds, sampling)
            for seed in (1, 2)
            for start in range(0, len(texts), 8)
        ]
        records = [record for part in made for record in part.records]
        ranges.write_clips(tada.Clips(torch.cat([part.audio for part in made]), made[0].sample_rate, records), place)
    whole = ranges.read_clips(place)
    played = whole.audio.float(), whole.sample_rate
    display(Markdown(f"{len(whole)} clips of {model.checkpoint}."))

# %% [markdown]
# ## 1. How many clips does a Fréchet distance need?
#
# Two halves of the same renders come from one distribution: their true distance is 0. What is measured falls with the number of
# clips, and never gets there. Beside it, two sets that do differ: renders with piano and renders with violin.
#
# FAD-infinity extrapolates in $1/n$; KAD is unbiased by construction.


# %%
def by_size(one, other, sizes, repeats=5):
    """Mean distances of random subsets, for each size."""
    rows = []
    for size in sizes:
        for _ in range(repeats):
            a, b = (rows_[rng.permutation(len(rows_))[:size]] for rows_ in (one, other))
            rows.append({"n": size, "fad": fad.distance(a, b), "kad": fad.kernel(a, b)})
    return pd.DataFrame(rows)


rows = heard[first.name]
half = rng.permutation(count)
pianos, violins = (np.flatnonzero(labels["instrument"] == name) for name in ("piano", "violin"))
most = min(len(pianos), len(violins))
groups = {
    "same kind": (rows[half[: count // 2]], rows[half[count // 2 :]]),
    "piano and violin": (rows[pianos], rows[violins]),
}
sizes = sorted({int(n) for n in np.geomspace(4, most, 6)})
measured = pd.concat([by_size(*pair, sizes).assign(sets=name) for name, pair in groups.items()])
infinity = {name: fad.extrapolated(*pair).value for name, pair in groups.items()}

# %% mystnb={"image": {"alt": "Fréchet distance over the number of clips, falling for two sets of the same kind and for two sets that differ, with their extrapolated values as dotted lines; below, KAD over the number of clips, flat."}} tags=["hide-input"]
figure, axes = plt.subplots(2, 1, figsize=(plots.WIDTH, 4.4), sharex=True, layout="constrained")
for axis, name in zip(axes, ("fad", "kad"), strict=True):
    for place_, (sets, part) in enumerate(measured.groupby("sets", sort=False)):
        spread = part.groupby("n")[name]
        colour = plots.OKABE_ITO[place_]
        axis.plot(spread.mean().index, spread.mean(), "o-", color=colour, markersize=3, label=sets)
        axis.fill_between(spread.mean().index, spread.min(), spread.max(), color=colour, alpha=0.15, linewidth=0)
        if name == "fad":
            axis.axhline(infinity[sets], color=colour, linestyle=":", linewidth=1)
    axis.axhline(0, color="0.35", linewidth=0.6)
    axis.set(ylabel="Fréchet distance" if name == "fad" else "KAD")
axes[0].legend(frameon=False, fontsize=8.5)
axes[1].set(xlabel="clips in each set", xscale="log")
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
def apart(x, y, rate):
    """LPAPS of clips and their partners, in both kinds."""
    one, other = (lpaps.embed(first, part, rate) for part in (x, y))
    return {over: lpaps.distance(one, other, over).numpy() for over in lpaps.AXES}


some = min(count, 48)
base = audio[:some]
noise = torch.randn(base.shape, generator=torch.Generator().manual_seed(0)) * base.std(1, keepdim=True)
again = torch.from_numpy(
    render_batch([attributes[i] for i in range(some)], range(TEST_SEED + 50_000, TEST_SEED + 50_000 + some))
)
swapped = {"slow": "fast", "fast": "slow"}
turned = [of_labels(one.labels() | {"tempo": swapped[one.labels()["tempo"]]}) for one in attributes[:some]]
changes = {
    "noise at -60 dB": base + 1e-3 * noise,
    "noise at -40 dB": base + 1e-2 * noise,
    "1 dB quieter": base * 10 ** (-1 / 20),
    "shifted by 10 ms": base.roll(SAMPLE_RATE // 100, 1),
    "the same seed, other tempo": torch.from_numpy(render_batch(turned, list(seeds)[:some])),
    "the same attributes, another seed": again,
    "other music": base.roll(1, 0),
}
floor = [{"change": name, "clips": "renders", **apart(base, other, SAMPLE_RATE)} for name, other in changes.items()]

# %% tags=["hide-input"]
if played is not None:
    sound, rate = played
    by_seed = sound[: len(texts)], sound[len(texts) :]
    floor.append({"change": "the same prompt, another seed", "clips": "model", **apart(*by_seed, rate)})
    floor.append(
        {"change": "another prompt, the same seed", "clips": "model", **apart(by_seed[0], by_seed[0].roll(1, 0), rate)}
    )
    # A push so weak that it cannot matter: random directions of a thousandth of what the layers put out.
    widths = {site: model.site_width(site) for site in model.sites}
    draw_ = torch.Generator().manual_seed(0)
    push = tada.steering.Vector({site: torch.randn(1, width, generator=draw_) for site, width in widths.items()}).unit()
    trial = tada.steering.Trial("", tada.steering.cross(texts[:4], [1]), tada.Setting(seconds, sampling))
    unit = ranges.lengths(model, push, trial, None)
    for share in (0.001, 0.01, 0.1):
        pushed = ranges.clips(model, tada.steering.Arm("random", push, None), trial, [0.0, share * unit], kept)
        values = apart(pushed.audio.float()[1::2], pushed.audio.float()[::2], pushed.sample_rate)
        floor.append({"change": f"a random push of {share:g} of the layers' length", "clips": "model", **values})
table = pd.DataFrame(
    [
        {"change": row["change"], "clips": row["clips"], "n": len(row["channel"]), "LPAPS": row["channel"].mean(),
         "lowest": row["channel"].min(), "highest": row["channel"].max(), "authors' kind": row["token"].mean()}
        for row in floor
    ]
)  # fmt: skip
tables.table(table, dict.fromkeys(("LPAPS", "lowest", "highest", "authors' kind"), "{:.3f}"))

# %% [markdown]
# *LPAPS* normalises each token over its channels, as it is defined; *authors' kind* each channel over its tokens, as their code
# does. A distance below that of another seed of the same prompt says that a clip kept more of itself than a second take would.
#
# ## 3. Do ears hear what is there?
#
# Each ear is asked of every render how similar it is to a concept's query. The chance that a clip with the concept scores above one
# with its counterpart (area under the ROC curve) is 1 for a perfect ear and 0.5 for a deaf one. The probe is asked the same.

# %%
listener = probe.load().probabilities(audio, SAMPLE_RATE)


def ranked(values, positive, negative):
    """Area under the ROC curve, with a 95 % interval by bootstrap over clips."""

    def area(a, b):
        return float((a[:, None] > b).mean() + (a[:, None] == b).mean() / 2)

    a, b = values[positive], values[negative]
    draws = [area(rng.choice(a, len(a)), rng.choice(b, len(b))) for _ in range(200)]
    return area(a, b), *np.percentile(draws, [2.5, 97.5])


verdicts = []
for concept in concepts.TABLE_1:
    wanted, against = concepts.judged(concept).poles
    attribute = ATTRIBUTES[wanted]
    positive = (labels[attribute] == wanted).to_numpy()
    negative = (labels[attribute] == against).to_numpy() if against else ~positive
    answers = {
        one.name: embedding.similarity(
            heard[one.name], embedding.embed_text(one, [concepts.judged(concept).query(judge)])
        ).numpy()
        for one, judge in ((first, "clap"), (second, "muq"))
    }
    chance = listener[attribute].numpy()
    answers["probe"] = chance[:, CLASSES[attribute].index(wanted)]
    for name, values in answers.items():
        area, low, high = ranked(values, positive, negative)
        verdicts.append(
            {
                "concept": concept,
                "ear": name,
                "area": area,
                "low": low,
                "high": high,
                "clips": int((positive | negative).sum()),
            }
        )
hearing = pd.DataFrame(verdicts)

# %% tags=["hide-input"]
hearing["text"] = [f"{row.area:.2f} [{row.low:.2f}, {row.high:.2f}]" for row in hearing.itertuples()]
display(tables.table(hearing.pivot_table("text", "concept", "ear", "first", sort=False).reset_index()))
accuracy = [
    {
        "attribute": name,
        "right": float((chance.argmax(1).numpy() == labels[name].map(list(CLASSES[name]).index)).mean()),
    }
    for name, chance in listener.items()
]
bpm = listen.tempo(audio.numpy())
true = np.array([one.tempo for one in attributes])
accuracy.append({"attribute": "tempo within 4 %, by signal", "right": float((np.abs(bpm / true - 1) < 0.04).mean())})
tables.table(pd.DataFrame(accuracy), {"right": "{:.1%}"})

# %% [markdown]
# Telling two poles apart is one thing, measuring what lies between them another. Smoothness in Table 1 is that of an ear's answers.
# Here is what the ears make of music whose tempo rises evenly: the renderer plays any tempo, also those between *slow* and *fast*,
# which no ear was trained on.

# %%
tempi, takes = np.linspace(60, 190, 14), 2 if profile == "smoke" else 12
ladder = [Attributes(tempo=float(tempo), genre=attributes[take].genre) for tempo in tempi for take in range(takes)]
played_at = torch.from_numpy(render_batch(ladder, list(seeds)[:takes] * len(tempi)))
answers = {
    one.name: embedding.similarity(
        embedding.embed(one, played_at, SAMPLE_RATE), embedding.embed_text(one, [concepts.judged("tempo").query(judge)])
    )
    for one, judge in ((first, "clap"), (second, "muq"))
}
answers["probe"] = probe.load().probabilities(played_at, SAMPLE_RATE)["tempo"][:, CLASSES["tempo"].index("fast")]
curves = {name: values.view(len(tempi), takes).mean(1).numpy() for name, values in answers.items()}

# %% mystnb={"image": {"alt": "Answers of the two ears and the probe, each scaled to its own range, over the true tempo from 60 to 190 beats per minute; the bands in which the ears were trained are shaded."}} tags=["hide-input"]
figure, axis = plt.subplots(figsize=(plots.WIDTH, 2.6), layout="constrained")
for low, high in TEMPI.values():
    axis.axvspan(low, high, color="0.9")
for place_, (name, curve) in enumerate(curves.items()):
    axis.plot(
        tempi, (curve - curve.min()) / np.ptp(curve), "o-", color=plots.OKABE_ITO[place_], markersize=3, label=name
    )
axis.set(xlabel="true tempo, beats per minute (shaded: what the ears were trained on)", ylabel="answer, 0 to 1")
axis.legend(frameon=False, fontsize=8.5)
plt.show()

# %% tags=["hide-input"]
steps = pd.DataFrame(
    [
        {
            "ear": name,
            "rank correlation with tempo": pd.Series(curve).corr(pd.Series(tempi), "spearman"),
            "largest step, share of the range": np.abs(np.diff(curve)).max() / np.ptp(curve),
        }
        for name, curve in curves.items()
    ]
)
display(tables.table(steps, dict.fromkeys(list(steps)[1:], "{:.2f}")))
even, column = 1 / (len(tempi) - 1), "largest step, share of the range"
worst = steps.loc[steps[column].idxmax()]
told = f"An even ear would take steps of {even:.2f}; {worst['ear']} takes one of {worst[column]:.2f}. "
if worst[column] > 2 * even:
    told += "Part of what Table 1 calls uneven is the ear, not the steering."
Markdown(told)

# %% [markdown]
# ## 4. Does loudness pass for music?
#
# The same renders, only louder or softer. What moves is an artefact: a steering method that changes the level would be paid for it.
# Shifts of similarity are in units of the spread of that similarity over renders.

# %%
quiet = audio[: min(count // 2, 64)]
levels = (-24, -12, -6, -3, 3, 6)
plain = {one.name: embedding.embed(one, quiet, SAMPLE_RATE) for one in (first, second)}
rest = rows[len(quiet) :][: len(quiet)]
confound = []
for level in levels:
    changed = (quiet * 10 ** (level / 20)).clamp(-1, 1)
    row = {"gain, dB": level, "LPAPS": apart(changed, quiet, SAMPLE_RATE)["channel"].mean()}
    moved = {one.name: embedding.embed(one, changed, SAMPLE_RATE) for one in (first, second)}
    row["FAD to other renders"] = fad.distance(moved[first.name], rest) if len(rest) > 1 else np.nan
    for one, judge in ((first, "clap"), (second, "muq")):
        shifts = []
        for concept in concepts.TABLE_1:
            text = embedding.embed_text(one, [concepts.judged(concept).query(judge)])
            spread = embedding.similarity(heard[one.name], text).std()
            shifts.append(
                float(
                    (embedding.similarity(moved[one.name], text) - embedding.similarity(plain[one.name], text)).mean()
                    / spread
                )
            )
        row[f"largest shift, {one.name}"] = max(shifts, key=abs)
    confound.append(row)

# %% tags=["hide-input"]
unchanged = fad.distance(plain[first.name], rest) if len(rest) > 1 else np.nan
shown = pd.DataFrame(confound)
display(
    tables.table(shown, dict.fromkeys([name for name in shown if name != "gain, dB"], "{:+.2f}") | {"LPAPS": "{:.2f}"})
)
loud = [lufs(clip.numpy(), SAMPLE_RATE) for clip in quiet]
worst = shown.loc[shown[f"largest shift, {first.name}"].abs().idxmax()]
told = (
    f"Unchanged, the distance to other renders is {unchanged:.2f}. Renders lie at {np.mean(loud):.1f} LUFS with a standard deviation of "
    f"{np.std(loud):.1f}. The largest shift by {first.name} is {worst[f'largest shift, {first.name}']:+.2f} spreads, at "
    f"{worst['gain, dB']:+.0f} dB."
)
if played is not None:
    levels_of_model = [lufs(clip.mean(0).numpy(), rate) for clip in sound]
    told += f" Clips of the model lie at {np.mean(levels_of_model):.1f} LUFS with a standard deviation of {np.std(levels_of_model):.1f}."
Markdown(told)

# %% [markdown]
# For this reason clips of minis are brought to the renders' loudness before the ears of [Table 1](07_table_1) hear them.
#
# ## What follows
#
# - Fréchet distances are compared at one number of clips, and that number is stated. Table 1 does so: all its rows have the same
#   prompts.
# - An LPAPS is read against the table of section 2.
# - An ear's verdict on a concept is worth what section 3 says of it. Where it is near one half, its columns in Table 1 are noise.
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
