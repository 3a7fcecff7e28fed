"""Measure a mini: accuracy by the probe, tempo, real captions, Fréchet distance, speed; and check it against its card.

All captions and noise seeds are ones that nothing was trained on.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

import tada
from tada.metrics.fad import distance
from tada.minis import cards, ears, listen, probe
from tada.minis.attributes import CLASSES, Attributes, draw
from tada.minis.captions import caption
from tada.minis.mel import listenable
from tada.minis.probe import TEST_SEED
from tada.minis.render import FRAMES, render_batch
from tada.minis.sounds import SAMPLE_RATE
from tada.stats import proportion

FIRST = TEST_SEED + 300_000
"""Seed of the first caption and the first noise."""
ASKED: Mapping[str, int] = {"voice": 96, "tempo": 96, "mood": 96, "instrument": 100, "percussion": 64, "genre": 96}
"""Attribute -> clips that are asked for one of its classes, and for nothing else."""
REAL: Mapping[str, tuple[str, str]] = {
    "female": ("voice", "female"),
    "male": ("voice", "male"),
    "slow": ("tempo", "slow"),
    "fast": ("tempo", "fast"),
    "happy": ("mood", "happy"),
    "sad": ("mood", "sad"),
}
"""Word of a real caption -> what it asks for."""
SECONDS = FRAMES / SAMPLE_RATE

Report = Callable[[str], None]


def questions(asked: Mapping[str, int] = ASKED) -> pd.DataFrame:
    """Write prompts that mention one attribute each: attribute, wanted (class), prompt, seed."""
    rows: list[tuple[str, str, str, int]] = []
    for name, clips in asked.items():
        classes = [value for value in CLASSES[name] if value != "none"]
        for place in range(clips):
            seed, wanted = FIRST + len(rows), classes[place % len(classes)]
            text = caption(draw_with(name, wanted, seed), seed, mention=(name,)).text
            rows.append((name, wanted, text, seed))
    return pd.DataFrame(rows, columns=["attribute", "wanted", "prompt", "seed"])


def draw_with(name: str, wanted: str, seed: int) -> Attributes:
    """Draw attributes, from this seed on, until one has the class."""
    return next(each for each in map(draw, range(seed, seed + 10_000)) if each.labels().get(name) == wanted)


def select_captions(captions: Sequence[str], clips: int = 16, seed: int = 0) -> pd.DataFrame:
    """Select captions with exactly one of six words, up to ``clips`` of each: attribute, wanted, prompt, seed, word."""
    by_word: dict[str, list[str]] = {word: [] for word in REAL}
    for text in captions:
        words = [word for word in REAL if re.search(rf"\b{word}\b", text, re.IGNORECASE)]
        if len(words) == 1:
            by_word[words[0]].append(text)
    rng = np.random.default_rng(seed)
    rows: list[tuple[str, str, str, int, str]] = []
    for word, texts in by_word.items():
        for place in rng.permutation(len(texts))[:clips]:
            rows.append((*REAL[word], texts[place], FIRST + 50_000 + len(rows), word))
    return pd.DataFrame(rows, columns=["attribute", "wanted", "prompt", "seed", "word"])


def generate(
    model: Any, prompts: Sequence[str], seeds: Sequence[int], batch: int = 16, report: Report | None = None
) -> Tensor:
    """Generate clips of a mini as the judges take them, mono ``[rows, 65536]`` at 16 kHz."""
    parts = []
    for start in range(0, len(prompts), batch):
        clips = model.generate(list(prompts[start : start + batch]), list(seeds[start : start + batch]), SECONDS)
        audio = listenable(clips.audio, clips.sample_rate)[:, :FRAMES]
        parts.append(torch.nn.functional.pad(audio, (0, FRAMES - audio.shape[1])))
        if report:
            report(f"{min(start + batch, len(prompts))} of {len(prompts)} clips")
    return torch.cat(parts)


def answer(model: Any, asked: pd.DataFrame, report: Report | None = None) -> Tensor:
    """Generate one clip for each row of :func:`questions` or :func:`select_captions`."""
    return generate(model, asked["prompt"].tolist(), asked["seed"].tolist(), report=report)


def hits(asked: pd.DataFrame, audio: Tensor) -> pd.Series:
    """Say whether each clip is of the class that was asked for, by the probe."""
    labels = probe.load().labels(audio, SAMPLE_RATE)
    pairs = zip(asked["attribute"], asked["wanted"], strict=True)
    return pd.Series([labels[name][row] == wanted for row, (name, wanted) in enumerate(pairs)])


def accuracy(asked: pd.DataFrame, hits: pd.Series, by: str = "attribute") -> dict[str, dict[str, float]]:
    """Share of hits by attribute, with its 95 % interval (Wilson)."""
    rows = {}
    for name, group in hits.groupby(asked[by].to_numpy(), sort=False):
        low, high = proportion(int(group.sum()), len(group))
        rows[str(name)] = {"accuracy": float(group.mean()), "low": low, "high": high, "clips": len(group)}
    return rows


def tempo(asked: pd.DataFrame, audio: Tensor) -> dict[str, float]:
    """Median measured beats per minute of slow and fast clips, and how far the two distributions overlap (0 to 1)."""
    rows = torch.tensor((asked["attribute"] == "tempo").tolist())
    speed, wanted = listen.tempo(audio[rows].numpy()), asked["wanted"].to_numpy()[rows.numpy()]
    slow, fast = np.sort(speed[wanted == "slow"]), np.sort(speed[wanted == "fast"])
    places = np.concatenate([slow, fast])
    below = [np.searchsorted(each, places, "right") / len(each) for each in (slow, fast)]
    overlap = 1 - float((below[0] - below[1]).max())
    return {"slow": float(np.median(slow)), "fast": float(np.median(fast)), "overlap": overlap}


def frechet(model: Any, clips: int = 512, report: Report | None = None) -> dict[str, float]:
    """Fréchet distance of clips to true renders, and of two disjoint sets of renders of that size (CLAP-class ear).

    The mini is asked for what renders are drawn from, by their captions: all that a caption leaves open is left to it.
    All clips are brought to one loudness first, which that ear heeds.
    """
    ear = ears.load("clap")
    first, second, asked = (range(FIRST + offset, FIRST + offset + clips) for offset in (200_000, 250_000, 300_000))
    texts = [caption(draw(seed), seed).text for seed in asked]
    truth = _embed(ear, _render(first))
    of_mini = distance(_embed(ear, generate(model, texts, asked, report=report)), truth)
    of_renders = distance(_embed(ear, _render(second)), truth)
    return {"distance": of_mini, "renders": of_renders, "ratio": of_mini / of_renders, "clips": clips}


def _render(seeds: range) -> Tensor:
    parts = [seeds[start : start + 64] for start in range(0, len(seeds), 64)]
    return torch.cat([torch.from_numpy(render_batch([draw(seed) for seed in part], part)) for part in parts])


def _embed(ear: Any, audio: Tensor) -> Tensor:
    level = audio.square().mean(1, keepdim=True).sqrt().clamp_min(1e-5)
    return torch.cat([ear.embed_audio(rows, SAMPLE_RATE) for rows in (0.1 * audio / level).split(64)])


def speed(model: Any, clips: int = 16) -> dict[str, float]:
    """Seconds to make clips from text, and how many plain denoiser calls of that batch fit into the time."""
    prompts = [caption(draw(FIRST + row), FIRST + row).text for row in range(clips)]
    began = time.perf_counter()
    model.generate(prompts, list(range(clips)), SECONDS)
    whole = time.perf_counter() - began
    context, noise = model.encode(prompts), model.noise(list(range(clips)), SECONDS)
    began = time.perf_counter()
    model.sample(context, noise, model.sampling(None, steps=1, guidance=1.0))
    call = time.perf_counter() - began
    return {"clips": clips, "seconds": whole, "denoiser_call": call, "calls": whole / call}


def measure(model: Any, captions: str | Path | None = None, report: Report | None = None) -> dict[str, Any]:
    """Compute all figures of a mini's card.

    Args:
        model: the mini, with its own sampling as the default.
        captions: csv with MusicCaps captions; None leaves those out.
        report: is told of progress.
    """
    asked = questions()
    audio = answer(model, asked, report)
    right = hits(asked, audio)
    content: dict[str, Any] = {
        "one concept": accuracy(asked, right),
        "by class": accuracy(asked.assign(which=asked["attribute"] + " " + asked["wanted"]), right, "which"),
        "tempo": tempo(asked, audio),
        "frechet": frechet(model, report=report),
        "speed": speed(model),
    }
    if captions is not None:
        real = select_captions(pd.read_csv(captions)["caption"].tolist())
        right = hits(real, answer(model, real, report))
        content["real captions"] = accuracy(real, right)
        content["real captions by word"] = accuracy(real, right, "word")
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
        trouble += wrong
        if clips and name in cards.MINIS and not wrong:
            trouble += _measure_again(name, clips, report)
    return trouble


def _measure_again(name: str, clips: int, report: Report) -> list[str]:
    """Ask a mini anew, for fewer clips; an accuracy below the card's interval by more than its own is trouble."""
    share, card = clips / sum(ASKED.values()), cards.read(name)["one concept"]
    asked = questions({attribute: max(8, round(share * count)) for attribute, count in ASKED.items()})
    model = tada.load(name.removesuffix("-planted"), "planted" if name.endswith("-planted") else "mini")
    trouble = []
    for attribute, row in accuracy(asked, hits(asked, answer(model, asked))).items():
        expected = card[attribute]["accuracy"]
        report(
            f"{name}: {attribute} {row['accuracy']:.2f} ({row['low']:.2f} to {row['high']:.2f}), card {expected:.2f}"
        )
        if row["high"] < card[attribute]["low"]:
            trouble.append(f"{name} {attribute}: measured {row['accuracy']:.2f}, the card says {expected:.2f}")
    return trouble
