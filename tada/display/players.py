"""Players for pages: clips as small files beside the page, with a table that says what each of them is.

On a page of the book a player loads its file when it is played; nothing is embedded. In a live notebook, where no page
is built, the sound travels with the cell's output instead.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from tada.audio import Clip, source
from tada.errors import InputError
from tada.io import PAGE, atomic_write, write_json

if TYPE_CHECKING:
    from IPython.display import HTML

LEVEL = -20.0
"""Root mean square of a clip in a player, in dB of full scale."""

CEILING = 0.98
KILOBITS = {"low": 64, "high": 96}
"""Constant rate of the mp3 files, in kb/s: up to 24 kHz, and above."""


@dataclass(frozen=True, eq=False)
class Sound:
    """A clip and what a listener should know of it.

    Attributes:
        clip: with its record (prompt, seed, checkpoint), as from a model.
        title: what it is, in a few words.
        strength: of a steering, None where there is none.
        share: the strength in percent of its range.
        scores: name -> value, shown beside the player.
    """

    clip: Clip
    title: str
    strength: float | None = None
    share: float | None = None
    scores: Mapping[str, float] | None = None


def show(sounds: Sequence[Sound], name: str, command: str = "") -> HTML:
    """A table of players; all are matched in loudness, and what each was before is shown.

    Args:
        sounds: one a row.
        name: of the group, used in file names; once a page.
        command: that makes these clips again.

    Raises:
        ValueError: no sounds, or a name with characters other than letters, digits and hyphens.
    """
    from IPython.display import HTML

    if not sounds:
        raise InputError("got no sounds; expected one or more")
    if not name or not name.replace("-", "").isalnum():
        raise InputError(f"got the name {name!r}; expected letters, digits and hyphens, such as 'top-layer'")
    entries = [_entry(sound, f"{name}-{number}", command) for number, sound in enumerate(sounds)]
    folder = page_folder()
    if folder is not None:
        _note(folder, entries)
    return HTML(_table(entries, command))


def page_folder() -> Path | None:
    """Where files of the page that is being built go; None in a live notebook."""
    page = os.environ.get(PAGE)
    return Path(page) if page else None


def save(clip: Clip, path: str | Path, level: float | None = LEVEL) -> Path:
    """Write a clip as mono mp3 of 64 or 96 kb/s, or in another format that the suffix names (ogg, flac, wav).

    Args:
        clip: any.
        path: ends in ``.mp3`` or another suffix that soundfile writes.
        level: root mean square in dB of full scale, lower where peaks would be cut; None leaves the clip as it is.

    Returns:
        The path.
    """
    path = Path(path)
    return atomic_write(path, encode(matched(clip, level), clip.sample_rate, path.suffix.lstrip(".")))


def loudness(clip: Clip) -> float:
    """Root mean square of the channels' mean, in dB of full scale; minus infinity for silence."""
    level = float(np.sqrt(np.square(mono(clip)).mean()))
    return 20 * float(np.log10(level)) if level else -np.inf


def mono(clip: Clip) -> np.ndarray:
    """The mean of the channels, float64 ``[frames]``."""
    samples: Tensor = clip.samples
    return samples.double().mean(0).numpy()


def matched(clip: Clip, level: float | None = LEVEL) -> np.ndarray:
    """The mean of the channels at a level, less where it would exceed full scale; silence stays silent."""
    samples, now = mono(clip), loudness(clip)
    if level is None or not np.isfinite(now):
        return samples
    gain = 10 ** ((level - now) / 20)
    return samples * min(gain, CEILING / float(np.abs(samples).max()))


def encode(samples: np.ndarray, sample_rate: int, suffix: str = "mp3") -> bytes:
    """A sound file's content.

    Args:
        samples: ``[frames]``, full scale at 1.0.
        sample_rate: in Hz.
        suffix: of the format.

    Raises:
        ValueError: a format that the installed libsndfile cannot write.
    """
    import soundfile

    if suffix.upper() not in soundfile.available_formats():
        raise InputError(
            f"the installed libsndfile {soundfile.__libsndfile_version__} cannot write {suffix}: expected one of "
            f"{', '.join(sorted(soundfile.available_formats())).lower()}; version 1.1 and later write mp3"
        )
    buffer = BytesIO()
    quality: dict[str, Any] = {}
    if suffix == "mp3":
        quality = {"bitrate_mode": "CONSTANT", "compression_level": _compression(sample_rate)}
    soundfile.write(buffer, samples, sample_rate, format=suffix.upper(), **quality)
    return buffer.getvalue()


def _compression(sample_rate: int) -> float:
    """libsndfile's compression level for the wanted rate: 0 is the highest, 1 the lowest."""
    high = sample_rate > 24_000
    lowest, highest = (32, 320) if high else (8, 160)
    return (highest - KILOBITS["high" if high else "low"]) / (highest - lowest)


# ---- a row of the table


def _entry(sound: Sound, name: str, command: str) -> dict[str, Any]:
    """What the manifest says of a clip, and where a player finds it."""
    record = sound.clip.record
    content = encode(matched(sound.clip), sound.clip.sample_rate)
    digest = hashlib.sha256(content).hexdigest()
    file = f"{name}-{digest[:8]}.mp3"
    folder = page_folder()
    if folder is None:
        source = f"data:audio/mpeg;base64,{base64.b64encode(content).decode()}"
    else:
        atomic_write(folder / file, content)
        source = f"{folder.name}/{file}"
    return {
        "file": file,
        "title": sound.title,
        "prompt": record.get("prompt"),
        "seed": record.get("seed"),
        "model": record.get("model"),
        "checkpoint": record.get("checkpoint"),
        "interventions": list(record.get("interventions", ())),
        "strength": sound.strength,
        "strength_percent": sound.share,
        "seconds": round(sound.clip.seconds, 3),
        "loudness_db": round(loudness(sound.clip), 2) if loudness(sound.clip) > -np.inf else None,
        "matched_db": LEVEL,
        "scores": dict(sound.scores or {}),
        "sha256": digest,
        "command": command,
        "source": source,
    }


def _note(folder: Path, entries: Sequence[Mapping[str, Any]]) -> None:
    """Add clips to the manifest of a page."""
    path = folder / "manifest.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    known |= {entry["file"]: {key: entry[key] for key in entry if key not in ("file", "source")} for entry in entries}
    write_json(path, known)


def _table(entries: Sequence[Mapping[str, Any]], command: str) -> str:
    """Rows with a player each; what all have in common stands below."""
    strength = any(entry["strength"] is not None for entry in entries)
    scores = list(dict.fromkeys(name for entry in entries for name in entry["scores"]))
    head = ["clip", *(["strength"] if strength else []), *scores, "prompt and seed", "was at"]
    lines = "".join(_row(entry, strength, scores) for entry in entries)
    shared = ", ".join(dict.fromkeys(map(source, entries)))
    note = f"Checkpoint: {html.escape(shared)}. All are played at {LEVEL:g} dB (root mean square)."
    again = f"<br>To make them again: <code>{html.escape(command)}</code>" if command else ""
    cells = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    return (
        f'<table class="dataframe tada-table tada-players"><thead><tr>{cells}</tr></thead><tbody>{lines}</tbody>'
        f"</table><p><small>{note}{again}</small></p>"
    )


def _row(entry: Mapping[str, Any], strength: bool, scores: Sequence[str]) -> str:
    label = f"{entry['title']}: {entry['prompt'] or 'no prompt'}, seed {entry['seed']}"
    player = (
        f'<audio controls preload="none" aria-label="{html.escape(label)}" src="{entry["source"]}" '
        'style="width: 15rem; max-width: 60vw; height: 2.2rem"></audio>'
    )
    cells = [f"<b>{html.escape(entry['title'])}</b><br>{player}"]
    if strength:
        cells.append(_strength(entry))
    cells += [f"{entry['scores'][name]:.2f}" if name in entry["scores"] else "–" for name in scores]
    prompt = f"{html.escape(str(entry['prompt'] or '–'))} <i>Seed {entry['seed']}.</i>"
    cells.append(f'<small style="display: inline-block; min-width: 16rem; line-height: 1.35">{prompt}</small>')
    level = "silence" if entry["loudness_db"] is None else f"{entry['loudness_db']:.1f} dB"
    cells.append(f'<span style="white-space: nowrap">{level}</span>')
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _strength(entry: Mapping[str, Any]) -> str:
    if entry["strength"] is None:
        return "–"
    percent = "" if entry["strength_percent"] is None else f" ({entry['strength_percent']:+.0f} %)"
    return f"{entry['strength']:+g}{percent}"
