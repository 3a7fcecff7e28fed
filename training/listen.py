"""What an untrained listener finds in clips whose attributes are known: the bars that training is decided by.

Tempo, voice, mode and timbre by signal estimators, how far what is sung is off the tune, onsets, and the tags of the
ear from outside. On renders this is what a listener can find at all; through a codec, and generated, what is left.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.fft import irfft, rfft
from scipy.signal import find_peaks
from scipy.stats import mannwhitneyu

from tada.audio import Clips
from tada.experiments import agreement, minis
from tada.metrics import signals
from tada.metrics.judges import OutsideJudge, class_of
from tada.minis.attributes import Attributes, draw
from tada.minis.captions import caption, mentionable
from tada.minis.composition import write
from tada.minis.sounds import SAMPLE_RATE, Audio
from tada.models.base import Model
from tada.stats import bootstrap, draws, proportion

NEAR = 0.05
"""Seconds within which an onset is the one that was written."""
Row = tuple[str, float, float, float, int]


def listen(audio: Audio, played: Sequence[Attributes], seeds: Sequence[int] | None = None) -> pd.DataFrame:
    """Measure what can be heard in clips.

    Args:
        audio: float32 ``[rows, frames]`` at 16 kHz.
        played: what each is a clip of, with no open field.
        seeds: of the renders that they were made of; None where they are of none, and have no tune that is known.

    Returns:
        One row a bar: ``bar, value, low, high, clips``.
    """
    labels = pd.DataFrame([each.labels() for each in played])
    rows = [*_classes(audio, labels), *_tags(audio, labels)]
    if seeds is not None:
        rows += _tunes(audio, played, seeds)
    return pd.DataFrame(rows, columns=["bar", "value", "low", "high", "clips"])


def measure_bars(model: Model, clips: int = 256) -> dict[str, dict[str, Any]]:
    """Listen to new renders, to the same through a mini's codec, and to what it makes when all of them is asked for.

    Returns:
        ``renders``, ``codec``, ``generated`` (in as many steps as the mini's own) and ``generated, steering`` -> bar ->
        ``value, low, high, clips``, what there is of them.
    """
    seeds = minis.BLOCK[400_000 : 400_000 + clips]
    played = [draw(seed) for seed in seeds]
    asked = pd.DataFrame({"prompt": [describe(*each) for each in zip(played, seeds, strict=True)], "seed": seeds})
    renders = agreement.render(played, seeds, asked["prompt"].tolist())
    found = {"renders": listen(minis.mono(renders).numpy(), played, seeds)}
    found["codec"] = listen(minis.mono(agreement.through_codec(model, renders)).numpy(), played, seeds)
    for ending, steps in minis.heeded_steps(model).items():
        made = agreement.generate_asked(model, asked, steps)
        found[f"generated{ending}"] = listen(minis.mono(made).numpy(), played)
    return {
        source: {row.pop("bar"): row for row in (row.dropna().to_dict() for _, row in rows.iterrows())}
        for source, rows in found.items()
    }


def describe(attributes: Attributes, seed: int) -> str:
    """Write a caption that names all attributes, but for percussion where there is none."""
    return caption(attributes, seed, mention=mentionable(attributes.labels())).text


def _classes(audio: Audio, labels: pd.DataFrame) -> Iterator[Row]:
    """How often the estimators name the class that was asked for."""
    found = {name: np.array(estimate(audio)) for name, estimate in signals.CLASSIFIED.items()}
    sung = (labels["voice"] != "none").to_numpy()
    hertz = signals.pitch(audio)
    yield _share("tempo right", found["tempo"] == labels["tempo"])
    yield _share("sung voice found", found["voice"][sung] != "none")
    yield _share("no voice found where there is none", found["voice"][~sung] == "none")
    border = np.sqrt(signals.PITCHES["male"][1] * signals.PITCHES["female"][0])
    yield _share("female or male by pitch", ((hertz > border) == (labels["voice"] == "female"))[sung])
    yield _share("mode right", found["mood"] == labels["mood"])
    yield _share("timbre right by centroid", found["timbre"] == labels["timbre"])
    fast, slow = (_density(signals.pulse(audio)[(labels["tempo"] == name).to_numpy()]) for name in ("fast", "slow"))
    noise = harmonic_to_noise(audio[sung])
    yield "harmonics above noise where a voice sings, dB", float(np.median(noise)), np.nan, np.nan, len(noise)
    yield "overlap of slow and fast pulses", float(np.minimum(fast, slow).sum()), np.nan, np.nan, len(audio)


def harmonic_to_noise(audio: Audio) -> NDArray[np.float64]:
    """Estimate how far harmonics stand above noise in dB, ``[rows]``: median of the louder half of all 80 ms.

    The share of a frame that repeats itself at the best period of a voice is that of its autocorrelation, divided by
    the window's own (Boersma 1993).
    """
    window = np.hanning(1280)
    frames = np.lib.stride_tricks.sliding_window_view(audio, 1280, axis=-1)[:, ::640] * window
    own = irfft(np.abs(rfft(window, 4096)) ** 2)
    alike = irfft(np.abs(rfft(frames, 4096)) ** 2)
    lags = slice(int(SAMPLE_RATE // signals.PITCHES["female"][1]), int(SAMPLE_RATE // signals.PITCHES["male"][0]))
    share = alike[..., lags] / np.maximum(alike[..., :1], 1e-12) / (own[lags] / own[0])
    best = share.max(-1).clip(1e-4, 1 - 1e-4)
    loud = alike[..., 0] >= np.median(alike[..., 0], 1, keepdims=True)
    return np.nanmedian(np.where(loud, 10 * np.log10(best / (1 - best)), np.nan), 1)


def _share(name: str, right: NDArray[np.bool_] | pd.Series) -> Row:
    hits = int(np.sum(right))
    return name, hits / len(right), *proportion(hits, len(right)), len(right)


def _density(values: NDArray[np.floating]) -> NDArray[np.float64]:
    counts, _ = np.histogram(values, np.geomspace(60, 120, 31))
    return counts / max(len(values), 1)


def _tags(audio: Audio, labels: pd.DataFrame) -> Iterator[Row]:
    """How well the tag of a class tells its clips from all others (area under the curve), and the mean of them."""
    judge, clips, areas = OutsideJudge(), Clips(torch.from_numpy(audio)[:, None], SAMPLE_RATE), []
    for name, scores in zip(judge.names, judge.score(clips, judge.names).T, strict=True):
        attribute, own = class_of(name)
        areas.append(_area(f"tag {name}", scores, (labels[attribute] == own).to_numpy()))
        yield areas[-1]
    yield "tags, mean", float(np.mean([area[1] for area in areas])), np.nan, np.nan, len(audio)


def _area(name: str, scores: NDArray[np.floating], own: NDArray[np.bool_]) -> Row:
    """The area under the curve, with its interval by resampling clips."""
    count = len(scores)
    samples = (np.repeat(np.arange(count), np.round(weights * count).astype(int)) for weights in draws(count, 200))
    ranks = np.array([_auc(scores[rows], own[rows]) for rows in samples])
    low, high = bootstrap(ranks, count)
    return name, float(ranks[0]), float(low), float(high), int(own.sum())


def _auc(scores: NDArray[np.floating], own: NDArray[np.bool_]) -> float:
    if own.all() or not own.any():
        return float("nan")
    return float(mannwhitneyu(scores[own], scores[~own]).statistic / own.sum() / (~own).sum())


def _tunes(audio: Audio, played: Sequence[Attributes], seeds: Sequence[int]) -> Iterator[Row]:
    """How far what is sung is off the tune in cents, and which share of the onsets found were written."""
    cents, written, found = [], 0, 0
    flux = signals.onsets(audio).sum(1)
    for row, (attributes, seed) in enumerate(zip(played, seeds, strict=True)):
        beat = 60 / float(attributes.tempo or 1)
        events = write(attributes, seed)
        starts = np.array([event.beat * beat for event in events])
        peaks, _ = find_peaks(flux[row], prominence=0.2 * np.percentile(flux[row], 98))
        times = (peaks + 2) * signals.HOP / SAMPLE_RATE
        written += int(sum(np.abs(starts - time).min() <= NEAR for time in times))
        found += len(times)
        if attributes.voice:
            heard = signals.sung_pitch(audio[row : row + 1], attributes.voice)[0]
            for event in events:
                if event.part == "song":
                    first, last = ((event.beat * beat + shift) / 0.04 for shift in (0.08, event.length * beat - 0.12))
                    if (some := heard[int(first) : max(int(last), int(first))]).size:
                        cents.append(100 * abs(float(np.median(some)) - event.pitch))
    if cents:
        yield "cents off the tune, median", float(np.median(cents)), np.nan, np.nan, len(cents)
    yield "onsets that were written", written / max(found, 1), *proportion(written, found), found
