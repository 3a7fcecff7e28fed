"""Clips for pages: mono mp3 files with one manifest, and a table of players that says what each clip is.

A manifest is one json beside its clips; those of players and of steering sliders have the same entries::

    {"command", "metrics": {name: label}, "clips": [
      {"file", "title", "prompt", "seed", "model", "checkpoint", "alpha", "percent", "seconds", "lufs",
       "lufs_before", "peak", "metrics": {name: value}, "sha256"}]}

``alpha`` is the strength of a steering as the method takes it, ``percent`` the same in percent of the calibrated range,
both null where nothing is steered. ``lufs`` is the loudness of the file, ``lufs_before`` that of the clip as made,
``peak`` the largest sample of the file, 1.0 at full scale.

On a page of the book a player loads its file when it is played. In a live notebook, where no page is built, the sound
travels with the cell's output instead.
"""

from __future__ import annotations

import base64
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from IPython.display import HTML

from tada import escape
from tada.audio import Clip, encode, lufs, matching_gain, source
from tada.errors import InputError
from tada.io import PAGE, atomic_write, sha256, write_json

LEVEL = -20.0
"""Loudness of clips in a table of players, in LUFS."""

CEILING = 0.98
"""Largest sample of a clip that was made louder."""

HIGHEST = 8000.0
"""Hz that pictures of clips reach up to."""

WIDTH, HEIGHT = 480, 128
"""Pixels of pictures of clips."""

MEDIA_TYPES = {".mp3": "audio/mpeg", ".webp": "image/webp"}

Locate = Callable[[str], str]
"""Finds the address of a file of the manifest, as the page sees it."""


@dataclass(frozen=True, eq=False)
class Sound:
    """A clip and what a listener should know of it.

    Attributes:
        clip: with its record (prompt, seed, checkpoint), as from a model.
        title: what it is, in a few words.
        strength: of a steering, None where there is none.
        percent: the strength in percent of its range.
        scores: name -> value, shown beside the player.
    """

    clip: Clip
    title: str
    strength: float | None = None
    percent: float | None = None
    scores: Mapping[str, float] | None = None

    @property
    def samples(self) -> np.ndarray:
        """The mean of the channels, float64 ``[frames]``."""
        return self.clip.samples.double().mean(0).numpy()


def show(sounds: Sequence[Sound], name: str, command: str = "", pictures: bool = False) -> HTML:
    """Show a table of players, a sound a row; all are matched in loudness, and what each was before is said.

    Args:
        sounds: what is played.
        name: of their folder, letters, digits and hyphens; once a page.
        command: that makes these clips again.
        pictures: whether each clip's spectrogram is shown under its player.

    Raises:
        InputError: no sounds, or a name of other characters.
    """
    if not sounds:
        raise InputError("got no sounds; expected one or more")
    with clip_folder(name) as (folder, locate):
        gains = [matching_gain(sound.samples, sound.clip.sample_rate, LEVEL, CEILING) for sound in sounds]
        clips = [write_clip(sound, folder, gain, pictures) for sound, gain in zip(sounds, gains, strict=True)]
        metrics = metric_names(sounds)
        write_json(folder / "manifest.json", {"command": command, "metrics": metrics, "clips": clips})
        rows = clip_table(clips, metrics, locate)
    checkpoints = escape.html(", ".join(dict.fromkeys(map(source, clips))))
    note = f"Checkpoint: {checkpoints}. Loudness is that of the clip as it was made; all are played at {LEVEL:g} LUFS."
    again = f"<br>To make them again: <code>{escape.html(command)}</code>" if command else ""
    return HTML(f"{rows}<p><small>{note}{again}</small></p>")


def page_folder() -> Path | None:
    """Return the folder for files of the page that is being built; None in a live notebook."""
    page = os.environ.get(PAGE)
    return Path(page) if page else None


@contextmanager
def clip_folder(name: str) -> Iterator[tuple[Path, Locate]]:
    """Give a folder for clips and where a page finds its files: beside the page, or inside the output if there is none.

    Raises:
        InputError: as :func:`require_name`.
    """
    require_name(name)
    page = page_folder()
    if page is not None:
        yield page / name, lambda file: f"{page.name}/{name}/{file}"
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / name, lambda file: inline(Path(folder) / name / file)


def require_name(name: str) -> None:
    """Raise InputError where a name has characters other than letters, digits and hyphens."""
    if not name.replace("-", "").isalnum() or not name.isascii():
        raise InputError(f"got the name {name!r}; expected letters, digits and hyphens, such as 'caa-functional'")


def inline(path: Path) -> str:
    """Return a file as an address that holds all of it."""
    return f"data:{MEDIA_TYPES[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}"


def metric_names(sounds: Sequence[Sound]) -> dict[str, str]:
    """Name every score of some sounds, as a manifest does: name -> label."""
    return {score: score for sound in sounds for score in sound.scores or {}}


def write_clip(sound: Sound, folder: Path, gain: float = 0.0, picture: bool = False) -> dict[str, Any]:
    """Write a clip as mono mp3, ``gain`` dB above its own level, and its picture where asked for; return its entry."""
    import soundfile

    rate, record = sound.clip.sample_rate, sound.clip.record
    samples = sound.samples * 10 ** (gain / 20)
    lowest, highest, wanted = (32, 320, 96) if rate > 24_000 else (8, 160, 64)  # kb/s: of levels 1, 0, and ours
    level = (highest - wanted) / (highest - lowest)
    content = encode(samples, rate, ".mp3", bitrate_mode="CONSTANT", compression_level=level)
    digest = sha256(content)
    path = atomic_write(folder / f"{_stem(sound)}-{digest[:10]}.mp3", content)
    heard, _ = soundfile.read(path)  # encoders change the level by a fraction of a decibel
    drawn = {"spectrogram": spectrogram(sound.samples, rate, path.with_suffix(".webp")).name} if picture else {}
    return {
        "file": path.name,
        "title": sound.title,
        **{name: record.get(name) for name in ("prompt", "seed", "model", "checkpoint")},
        "alpha": sound.strength,
        "percent": sound.percent,
        "seconds": round(sound.clip.seconds, 3),
        "lufs": round(lufs(heard, rate), 2),
        "lufs_before": round(lufs(sound.samples, rate), 2),
        "peak": round(float(np.abs(heard).max()), 4),
        "metrics": _finite(sound.scores or {}),
        "sha256": digest,
        **drawn,
    }


def spectrogram(samples: Any, sample_rate: int, path: Path) -> Path:
    """Write a picture of a clip, time to the right and pitch upwards, 80 dB from black to white; return its path.

    Clips of any sample rate look alike: windows last about a tenth of a second, and bands, one a pixel and all as wide
    as a fraction of an octave, reach from 60 Hz up to 8 kHz.

    Args:
        samples: float ``[frames]``, full scale at 1.0.
        sample_rate: in Hz.
        path: of the picture; its suffix is the format, webp or png.
    """
    from matplotlib import colormaps
    from PIL import Image
    from scipy.signal import stft

    audio = np.asarray(samples, np.float32)
    size = 2 ** min(round(np.log2(0.1 * sample_rate)), int(np.log2(len(audio))))
    hop = max(1, len(audio) // WIDTH)
    f, _, spectrum = stft(audio, sample_rate, nperseg=size, noverlap=size - hop)
    level = 20 * np.log10(np.abs(spectrum) + 1e-6)
    bands = np.geomspace(60, min(HIGHEST, sample_rate / 2), HEIGHT)
    rows = np.stack([np.interp(bands, f, level[:, column]) for column in range(level.shape[1])], axis=1)
    shade = np.clip((rows - rows.max()) / 80 + 1, 0, 1)[::-1, :]
    picture = Image.fromarray((colormaps["magma"](shade)[..., :3] * 255).astype(np.uint8)).resize((WIDTH, HEIGHT))
    return atomic_write(path, lambda draft: picture.save(draft, quality=60))


def _finite(scores: Mapping[str, Any]) -> dict[str, float]:
    """Keep the scores that are numbers: a player shows a dash for others."""
    return {name: float(value) for name, value in scores.items() if value is not None and np.isfinite(value)}


def _stem(sound: Sound) -> str:
    if not sound.percent:
        return "clip" if sound.percent is None else "zero"
    return f"{'m' if sound.percent < 0 else 'p'}{abs(round(sound.percent)):03d}"


# ---- the table of players


def clip_table(
    clips: Sequence[Mapping[str, Any]],
    metrics: Mapping[str, str],
    locate: Locate,
    caption: str = "",
    concept: str = "",
) -> str:
    """Write entries of a manifest as an HTML table, a row each with its player and a column for each of ``metrics``.

    Where a ``concept`` is steered rows begin with strengths, else with titles, and end with prompts. What a script
    needs is in data attributes.
    """
    raw = any(clip["alpha"] is not None for clip in clips)
    heads = [*(["Strength", "Listen"] if concept else ["Clip"]), *["Raw strength"] * raw, "Loudness", *metrics.values()]
    rows = []
    for clip in clips:
        first = f"{signed(clip['percent'])} %" if concept else str(clip["title"])
        name, player = escape.html(first), _player(clip, locate, f"{concept} at {first}" if concept else first)
        title = f"<b>{name}</b><br>{player}{_picture(clip, locate, name)}"
        cells = f"<th scope=row>{name}</th><td>{player}</td>" if concept else f"<td>{title}</td>"
        values = [number(clip["alpha"])] * raw + [f"{signed(clip.get('lufs_before', clip['lufs']), 1)} LUFS"]
        values += [number(clip.get("metrics", {}).get(metric)) for metric in metrics]
        prompt = f"{escape.html(clip['prompt'] or '–')} <i>Seed {escape.html(clip.get('seed'))}.</i>"
        values += [] if concept else [f"<small>{prompt}</small>"]
        rows.append(f"<tr{_row_data(clip, metrics, locate)}>{cells}{''.join(f'<td>{one}</td>' for one in values)}</tr>")
    head = "".join(f"<th scope=col>{escape.html(head)}</th>" for head in heads + ["Prompt and seed"] * (not concept))
    said = f"<caption>{escape.html(caption)}</caption>" if caption else ""
    kind = "steer-table" if concept else "dataframe tada-table tada-players"
    return f'<table class="{kind}">{said}<thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def _player(clip: Mapping[str, Any], locate: Locate, name: str) -> str:
    label = escape.html(f"{name}: {clip['prompt'] or 'no prompt'}")
    return f'<audio controls preload="none" src="{escape.html(locate(clip["file"]))}" aria-label="{label}"></audio>'


def _picture(clip: Mapping[str, Any], locate: Locate, name: str) -> str:
    if not clip.get("spectrogram"):
        return ""
    address = escape.html(locate(clip["spectrogram"]))
    return f'<br><img src="{address}" width=300 height=80 loading=lazy alt="Spectrogram: {name}">'


def _row_data(clip: Mapping[str, Any], metrics: Mapping[str, str], locate: Locate) -> str:
    values = {name: clip.get(name) for name in ("percent", "alpha", "lufs", "peak", "sha256")}
    known = {name: round(value, 3) for name, value in _finite(clip.get("metrics", {})).items() if name in metrics}
    picture = locate(clip["spectrogram"]) if clip.get("spectrogram") else None
    return data_attributes({**values, "metrics": escape.json(known), "spectrogram": picture})


def data_attributes(values: Mapping[str, Any]) -> str:
    """Write values as data attributes of HTML; those that are None or empty are left out."""
    return "".join(f' data-{name}="{escape.html(value)}"' for name, value in values.items() if value not in (None, ""))


def signed(value: float, digits: int = 0) -> str:
    """Write a number with its sign, a true minus; 0 has none."""
    return f"{value:+.{digits}f}".replace("-", "−") if value else "0"


def number(value: float | None) -> str:
    """Write a number to three digits, with a true minus; a dash where there is none."""
    return "–" if value is None or not np.isfinite(value) else f"{value:.3g}".replace("-", "−")
