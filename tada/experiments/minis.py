"""Measure a mini: accuracy by probe and signals, real captions, Fréchet distance, speed; and check it against its card.

All captions and noise are of a block of seeds by which nothing was trained and nothing was chosen: whoever tries things
until a card looks better needs another block.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

import tada
from tada import engine
from tada.audio import Clip, Clips
from tada.engine import Job, Setting
from tada.experiments.profiles import PROFILES, SEEDS
from tada.metrics import signals
from tada.metrics.fad import distance
from tada.metrics.judges import JudgeLike
from tada.minis import cards, ears, probe
from tada.minis.attributes import CLASSES, Attributes, draw
from tada.minis.captions import caption
from tada.minis.mel import listenable
from tada.minis.render import FRAMES, render_batch
from tada.minis.sounds import SAMPLE_RATE
from tada.models import ARCHITECTURES
from tada.models.base import Model
from tada.stats import proportion
from tada.store import UNIT, Store

BLOCK = SEEDS["cards"]
"""Seeds of captions and noise."""
ASKED: Mapping[str, int] = {
    "voice": 96,
    "tempo": 96,
    "mood": 96,
    "instrument": 100,
    "percussion": 64,
    "genre": 96,
    "timbre": 64,
}
"""Attribute -> clips that are asked for one of its classes, and for nothing else."""
REAL = {"female": "voice", "male": "voice", "slow": "tempo", "fast": "tempo", "happy": "mood", "sad": "mood"}
"""Word of a real caption, a class -> its attribute."""
STEPS: Mapping[str, int | None] = {"": None, ", steering": PROFILES["mini"].steering.steps}
"""Ending of a card's entries -> denoising steps: those of the mini itself, which are its best, and those of pages."""
SECONDS = FRAMES / SAMPLE_RATE

Report = Callable[[str], None]


def questions(asked: Mapping[str, int] = ASKED) -> pd.DataFrame:
    """Write prompts that mention one attribute each: attribute, wanted (class), prompt, seed."""
    rows: list[tuple[str, str, str, int]] = []
    for name, clips in asked.items():
        classes = cycle(value for value in CLASSES[name] if value != "none")
        for seed, wanted in zip(BLOCK[len(rows) : len(rows) + clips], classes, strict=False):
            rows.append((name, wanted, caption(draw_with(name, wanted, seed), seed, mention=(name,)).text, seed))
    return pd.DataFrame(rows, columns=["attribute", "wanted", "prompt", "seed"])


def draw_with(name: str, wanted: str, seed: int) -> Attributes:
    """Draw attributes, from this seed on, until one has the class."""
    return next(each for each in map(draw, range(seed, seed + 10_000)) if each.labels().get(name) == wanted)


def select_captions(captions: Sequence[str]) -> pd.DataFrame:
    """Select captions with exactly one of six words, up to 16 of each: attribute, wanted, prompt, seed, word."""
    found = [[word for word in REAL if re.search(rf"\b{word}\b", text, re.IGNORECASE)] for text in captions]
    rows: list[tuple[str, str, str, int, str]] = []
    rng = np.random.default_rng(0)
    for word, attribute in REAL.items():
        texts = [text for text, words in zip(captions, found, strict=True) if words == [word]]
        for place in rng.permutation(len(texts))[:16]:
            rows.append((attribute, word, texts[place], BLOCK[50_000 + len(rows)], word))
    return pd.DataFrame(rows, columns=["attribute", "wanted", "prompt", "seed", "word"])


def ask(model: Model, asked: pd.DataFrame, steps: int | None = None, store: Store | None = None) -> pd.DataFrame:
    """Generate and judge one clip for each row of :func:`questions` or :func:`select_captions`.

    In so many denoising steps, None for the mini's own; answers are kept in the store, and found again.

    Returns:
        What was asked, with what :func:`hear` says of each clip.
    """
    found = judge_answers(model, asked, hear, steps, store, store is not None)
    return asked.assign(**{str(name): part["value"].to_numpy() for name, part in found.groupby("metric")})


def judge_answers(
    model: Model, asked: pd.DataFrame, judge: JudgeLike, steps: int | None, store: Store | None, progress: bool = False
) -> pd.DataFrame:
    """Generate and judge one clip for each row of ``prompt, seed``: rows as from ``tada.engine.run``."""
    setting = Setting(SECONDS, model.sampling(steps=steps), batch=16)
    told = [{str(name): value for name, value in row.items()} for row in asked.to_dict("records")]
    units = engine.units(model, setting, judge, told)
    plan = asked.assign(chunk=np.arange(len(asked)) // setting.batch, **{UNIT: units})
    return engine.run(model, plan, Job(replace(setting, progress=progress), judge), store)


def hear(clips: Clips, rows: pd.DataFrame) -> dict[str, Any]:
    """Say whether each clip is of the class that was asked for.

    Returns:
        ``right`` by the probe and ``signal`` by estimators (NaN where these know no such class), 1 or 0.
    """
    audio = mono(clips)
    labels, wanted = probe.load().labels(audio, SAMPLE_RATE), rows["wanted"].to_numpy()
    named = {name: np.array(estimate(audio.numpy())) for name, estimate in signals.CLASSIFIED.items()}
    found: dict[str, Any] = {"right": np.zeros(len(rows)), "signal": np.full(len(rows), np.nan)}
    for name, places in rows.reset_index(drop=True).groupby("attribute").indices.items():
        found["right"][places] = np.array(labels[name])[places] == wanted[places]
        if name in named:
            found["signal"][places] = named[name][places] == wanted[places]
    return found


def embed(clips: Clips, rows: pd.DataFrame) -> dict[str, Any]:
    """Embed clips, brought to one loudness, by the CLAP-class ear."""
    return {"embedding": _embedded(mono(clips)).numpy()}


def mono(clips: Clips) -> Tensor:
    """Make clips as judges take them, mono ``[rows, 65536]`` at 16 kHz."""
    audio = listenable(clips.audio, clips.sample_rate)[:, :FRAMES]
    return torch.nn.functional.pad(audio, (0, FRAMES - audio.shape[1]))


def accuracy(answers: pd.DataFrame, by: str = "attribute", judge: str = "right") -> dict[str, dict[str, float]]:
    """Share of right :func:`ask` answers by attribute, with its 95 % interval (Wilson), by probe or ``"signal"``."""
    rows = {}
    for name, right in answers.dropna(subset=[judge]).groupby(by, sort=False)[judge]:
        low, high = proportion(right.sum(), len(right))
        rows[str(name)] = {"accuracy": float(right.mean()), "low": low, "high": high, "clips": len(right)}
    return rows


def signal_figures(clip: Clip) -> dict[str, float]:
    """Measure what no judge of ours learnt to hear: beats a minute, pitch sung in Hz (NaN where nobody sings), how much
    better a major scale fits than a minor one, spectral centroid in kHz."""
    audio = mono(Clips(clip.samples[None], clip.sample_rate)).numpy()
    measures = {
        "beats a minute": signals.pulse,
        "pitch sung, Hz": lambda audio: signals.voice(audio).hertz,
        "major over minor": signals.major,
        "centroid, kHz": lambda audio: signals.brightness(audio) / 1000,
    }
    return {name: float(measure(audio)[0]) for name, measure in measures.items()}


def frechet(model: Model, clips: int = 256, store: Store | None = None) -> dict[str, float]:
    """Fréchet distance of clips to true renders, and of two disjoint sets of renders of that size (CLAP-class ear).

    The mini is asked for what renders are drawn from, by their captions: all that a caption leaves open is left to it.
    All clips are brought to one loudness first, which that ear heeds.
    """
    first, second, asked = (BLOCK[offset : offset + clips] for offset in (200_000, 250_000, 300_000))
    texts = [{"prompt": caption(draw(seed), seed).text, "seed": seed} for seed in asked]
    made = judge_answers(model, pd.DataFrame(texts), embed, None, store, store is not None)["embedding"]
    known = _renders(first)
    of_mini, of_renders = distance(np.stack(made.to_list()), known), distance(_renders(second), known)
    return {"distance": of_mini, "renders": of_renders, "ratio": of_mini / of_renders, "clips": clips}


def _renders(seeds: range) -> Tensor:
    """Embeddings of renders."""
    parts = [seeds[start : start + 64] for start in range(0, len(seeds), 64)]
    return torch.cat([_embedded(torch.from_numpy(render_batch([draw(seed) for seed in part], part))) for part in parts])


def _embedded(audio: Tensor) -> Tensor:
    level = audio.square().mean(1, keepdim=True).sqrt().clamp_min(1e-5)
    return ears.load("clap").embed_audio(0.1 * audio / level, SAMPLE_RATE)


def speed(model: Model, clips: int = 16) -> dict[str, float]:
    """Seconds to make clips from text, and how many plain denoiser calls of that batch fit into the time."""
    prompts, seeds = [caption(draw(seed), seed).text for seed in BLOCK[:clips]], list(range(clips))
    began = time.perf_counter()
    model.generate(prompts, seeds, SECONDS)
    whole = time.perf_counter() - began
    context, noise = model.encode(prompts), model.noise(seeds, SECONDS)
    began = time.perf_counter()
    model.sample(context, noise, model.sampling(steps=1, guidance=1.0))
    call = time.perf_counter() - began
    return {"clips": clips, "seconds": whole, "denoiser_call": call, "calls": whole / call}


def heeded_steps(model: Model) -> dict[str, int | None]:
    """Select those of :data:`STEPS` that change a model's clips: MusicGen takes a step a frame, whatever is said."""
    settled = {ending: model.settled(model.sampling(steps=steps), SECONDS) for ending, steps in STEPS.items()}
    return {ending: STEPS[ending] for ending, one in settled.items() if not ending or one != settled[""]}


def measure(model: Model, captions: str | Path | None = None, store: str | Path | None = None) -> dict[str, Any]:
    """Compute all figures of a mini's card but its speed.

    Args:
        captions: csv with MusicCaps captions; None leaves those out.
        store: folder where judged clips are kept, so that a stopped run goes on.
    """
    kept = None if store is None else Store(store)
    content: dict[str, Any] = {"seeds": [BLOCK.start, BLOCK.stop - 1]}
    for ending, steps in heeded_steps(model).items():
        answers = ask(model, questions(), steps, kept)
        content[f"one concept{ending}"] = accuracy(answers)
        content[f"one concept{ending}, by signal"] = accuracy(answers, judge="signal")
        content[f"by class{ending}"] = accuracy(answers.assign(of=answers["attribute"] + " " + answers["wanted"]), "of")
    content["frechet"] = frechet(model, store=kept)
    if captions is not None:
        answers = ask(model, select_captions(pd.read_csv(captions)["caption"].tolist()), store=kept)
        content["real captions"], content["real captions by word"] = accuracy(answers), accuracy(answers, "word")
        content["real captions, by signal"] = accuracy(answers, judge="signal")
    return content


def verify(names: Sequence[str] = (), clips: int = 128, report: Report = lambda _: None) -> list[str]:
    """Check shipped weights against their cards, and measure the minis among them again.

    Args:
        names: which; none: all that are there.
        clips: to measure each mini with, about; 0 checks the hashes alone.
        report: is told what was found.

    Returns:
        What is wrong, one sentence each.

    Raises:
        UnknownNameError: a name that is not shipped.
    """
    trouble = []
    for name in cards.selected(names):
        wrong = cards.check_files(name, report)
        whole = clips and name in ARCHITECTURES and not wrong
        trouble += _measure_again(name, clips, report) if whole else wrong
    return trouble


def _measure_again(name: str, clips: int, report: Report) -> list[str]:
    """Ask a mini anew, for fewer clips; an accuracy below the card's interval by more than its own is trouble."""
    share, card, trouble = clips / sum(ASKED.values()), cards.read(name)["one concept"], []
    asked = questions({attribute: max(8, round(share * count)) for attribute, count in ASKED.items()})
    for attribute, row in accuracy(ask(tada.load(name, "mini"), asked)).items():
        found, expected = row["accuracy"], card[attribute]["accuracy"]
        report(f"{name}: {attribute} {found:.2f} ({row['low']:.2f} to {row['high']:.2f}), card {expected:.2f}")
        if row["high"] < card[attribute]["low"]:
            trouble.append(f"{name} {attribute}: measured {found:.2f}, the card says {expected:.2f}")
    return trouble
