"""What a mini does of what it is asked: accuracy as the probes hear it, tempo, real captions, distance, speed.

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

from tada.metrics.fad import distance
from tada.minis import ears, listen
from tada.minis import probe as probes
from tada.minis.attributes import CLASSES, draw
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

Progress = Callable[[str], None]


def questions(asked: Mapping[str, int] = ASKED) -> pd.DataFrame:
    """One prompt per row that mentions one attribute: attribute, wanted (class), prompt, seed."""
    rows: list[tuple[str, str, str, int]] = []
    for name, clips in asked.items():
        classes = [one for one in CLASSES[name] if one != "none"]
        for place in range(clips):
            seed, wanted = FIRST + len(rows), classes[place % len(classes)]
            text = caption(_with(name, wanted, seed), seed, mention=(name,)).text
            rows.append((name, wanted, text, seed))
    return pd.DataFrame(rows, columns=["attribute", "wanted", "prompt", "seed"])


def _with(name: str, wanted: str, seed: int) -> Any:
    """Attributes drawn from seeds until one has the class."""
    return next(one for one in map(draw, range(seed, seed + 10_000)) if one.labels().get(name) == wanted)


def real(captions: Sequence[str], clips: int = 16, seed: int = 0) -> pd.DataFrame:
    """Captions that have exactly one of six words, up to ``clips`` of each: attribute, wanted, prompt, seed, word."""
    found: dict[str, list[str]] = {word: [] for word in REAL}
    for text in captions:
        said = [word for word in REAL if re.search(rf"\b{word}\b", text, re.IGNORECASE)]
        if len(said) == 1:
            found[said[0]].append(text)
    rng = np.random.default_rng(seed)
    rows: list[tuple[str, str, str, int, str]] = []
    for word, texts in found.items():
        for place in rng.permutation(len(texts))[:clips]:
            rows.append((*REAL[word], texts[place], FIRST + 50_000 + len(rows), word))
    return pd.DataFrame(rows, columns=["attribute", "wanted", "prompt", "seed", "word"])


def hear(
    model: Any, prompts: Sequence[str], seeds: Sequence[int], batch: int = 16, tell: Progress | None = None
) -> Tensor:
    """Clips of a mini as the ears take them, ``[rows, 65536]`` at 16 kHz."""
    parts = []
    for start in range(0, len(prompts), batch):
        clips = model.generate(list(prompts[start : start + batch]), list(seeds[start : start + batch]), SECONDS)
        audio = listenable(clips.audio, clips.sample_rate)[:, :FRAMES]
        parts.append(torch.nn.functional.pad(audio, (0, FRAMES - audio.shape[1])))
        if tell:
            tell(f"{min(start + batch, len(prompts))} of {len(prompts)} clips")
    return torch.cat(parts)


def right(asked: pd.DataFrame, audio: Tensor) -> pd.Series:
    """Whether each clip is of the class that was asked for, as the probes hear it."""
    heard = probes.load().labels(audio, SAMPLE_RATE)
    return pd.Series([heard[name][row] == wanted for row, (name, wanted) in enumerate(_pairs(asked))])


def _pairs(asked: pd.DataFrame) -> list[tuple[str, str]]:
    return list(zip(asked["attribute"], asked["wanted"], strict=True))


def accuracy(asked: pd.DataFrame, hits: pd.Series, by: str = "attribute") -> dict[str, dict[str, float]]:
    """Share of right clips by attribute, with its 95 % interval (Wilson)."""
    rows = {}
    for name, group in hits.groupby(asked[by].to_numpy(), sort=False):
        low, high = proportion(int(group.sum()), len(group))
        rows[str(name)] = {"accuracy": float(group.mean()), "low": low, "high": high, "clips": len(group)}
    return rows


def tempi(asked: pd.DataFrame, audio: Tensor) -> dict[str, float]:
    """Median measured beats per minute of slow and fast clips, and how far the two distributions overlap (0 to 1)."""
    rows = torch.tensor((asked["attribute"] == "tempo").tolist())
    speed, wanted = listen.tempo(audio[rows].numpy()), asked["wanted"].to_numpy()[rows.numpy()]
    slow, fast = np.sort(speed[wanted == "slow"]), np.sort(speed[wanted == "fast"])
    places = np.concatenate([slow, fast])
    below = [np.searchsorted(each, places, "right") / len(each) for each in (slow, fast)]
    return {
        "slow": float(np.median(slow)),
        "fast": float(np.median(fast)),
        "overlap": 1 - float((below[0] - below[1]).max()),
    }


def frechet(model: Any, clips: int = 512, tell: Progress | None = None) -> dict[str, float]:
    """Fréchet distance of clips to true renders, and of two disjoint sets of renders of that size (CLAP-class ear).

    The mini is asked for what renders are drawn from, by their captions: all that a caption leaves open is left to it.
    All clips are brought to one loudness first, which that ear heeds.
    """
    ear = ears.load("clap")
    one, other, asked = (range(FIRST + offset, FIRST + offset + clips) for offset in (200_000, 250_000, 300_000))
    texts = [caption(draw(seed), seed).text for seed in asked]
    truth = _heard(ear, _renders(one))
    made = distance(_heard(ear, hear(model, texts, asked, tell=tell)), truth)
    true = distance(_heard(ear, _renders(other)), truth)
    return {"distance": made, "renders": true, "ratio": made / true, "clips": clips}


def _renders(seeds: range) -> Tensor:
    parts = [seeds[start : start + 64] for start in range(0, len(seeds), 64)]
    return torch.cat([torch.from_numpy(render_batch([draw(seed) for seed in part], part)) for part in parts])


def _heard(ear: Any, audio: Tensor) -> Tensor:
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


def measure(model: Any, captions: str | Path | None = None, tell: Progress | None = None) -> dict[str, Any]:
    """All figures of a mini's card.

    Args:
        model: the mini, with its own sampling as the default.
        captions: csv with MusicCaps captions; None leaves those out.
        tell: hears of progress.
    """
    asked = questions()
    audio = hear(model, asked["prompt"].tolist(), asked["seed"].tolist(), tell=tell)
    hits = right(asked, audio)
    content: dict[str, Any] = {
        "one concept": accuracy(asked, hits),
        "by class": accuracy(asked.assign(which=asked["attribute"] + " " + asked["wanted"]), hits, "which"),
        "tempo": tempi(asked, audio),
        "frechet": frechet(model, tell=tell),
        "speed": speed(model),
    }
    if captions is not None:
        others = real(pd.read_csv(captions)["caption"].tolist())
        heard = right(others, hear(model, others["prompt"].tolist(), others["seed"].tolist(), tell=tell))
        content["real captions"] = accuracy(others, heard)
        content["real captions by word"] = accuracy(others, heard, "word")
    return content
