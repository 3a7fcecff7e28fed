"""The steering slider: clips of one prompt at several strengths, to be heard side by side.

:func:`steer` is what a notebook calls. It writes clips and a manifest, and :func:`render` writes that as a table of
native players, which works anywhere; ``steer-slider.js`` makes a slider of the table where scripts run.

A manifest is one json beside its clips::

    {"title", "model", "checkpoint", "seconds", "sample_rate", "command", "metrics": {name: label}, "ladders": [
      {"concept", "low", "high", "method", "label", "layers", "prompt", "seed", "clips": [
        {"file", "alpha", "percent", "lufs", "peak", "metrics": {name: value}, "spectrogram", "sha256"}]}]}

A ladder is one concept, method, prompt and seed; its clips differ in strength alone. ``alpha`` is the strength as the
method takes it, ``percent`` the same in per cent of the calibrated range. ``peak`` is 1.0 at full scale. ``metrics``,
``spectrogram``, ``low`` and ``high`` (what the two ends mean) may be left out.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from tada.audio import source
from tada.display import players
from tada.display.players import Sound
from tada.errors import InputError, MissingFileError
from tada.io import atomic_write, write_json
from tada.loudness import lufs

Manifest = Mapping[str, Any]
_TYPES = {".mp3": "audio/mpeg", ".wav": "audio/wav", ".flac": "audio/flac", ".webp": "image/webp", ".png": "image/png"}
_ASSETS = (("style", "steer-slider.css"), ("script", "steer-slider.js"))
_NEEDED = ("concept", "method", "prompt", "seed", "clips")
_NEEDED_OF_CLIPS = ("file", "alpha", "percent", "lufs", "peak")
PICTURE_BYTES = 30_000
"""Of one spectrogram, at most."""

LOUDNESS_TOLERANCE = 0.1
"""LU between a clip and what the manifest says of it."""


@dataclass(frozen=True)
class Slider:
    """A slider that notebooks display: HTML, or one line of text where there is no HTML."""

    html: str
    text: str
    manifest: Manifest = field(repr=False)

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text


def read(source: str | Path | Manifest) -> dict[str, Any]:
    """A manifest from a file, the folder that holds it, or a mapping, checked.

    Raises:
        FileNotFoundError: there is no manifest.
        ValueError: an entry lacks a field, or a ladder has no clip or two of one strength.
    """
    if isinstance(source, Mapping):
        return _checked(dict(source), "the manifest")
    path = Path(source)
    path = path / "manifest.json" if path.is_dir() else path
    if not path.is_file():
        raise MissingFileError(f"no manifest of clips at {path}: name the folder that holds manifest.json")
    return _checked(json.loads(path.read_text(encoding="utf-8")), str(path))


@dataclass(frozen=True, eq=False)
class Ladder:
    """Clips of one prompt and seed that differ in strength.

    Attributes:
        concept: what is steered.
        method: short name of how, letters, digits and hyphens; part of file names and links.
        sounds: the clips with their strengths, shares and scores; the unsteered one has share 0.
        label: of the method, in words.
        low: what the lowest strength leads to, such as "slower".
        high: what the highest leads to.
        layers: that were steered.
    """

    concept: str
    method: str
    sounds: Sequence[Sound]
    label: str = ""
    low: str = ""
    high: str = ""
    layers: Sequence[int | str] = ()


def steer(ladders: Sequence[Ladder], name: str, title: str = "", command: str = "") -> Slider:
    """A slider of clips, with their files beside the page that is being built, or inside the output where none is.

    Args:
        ladders: one or more, of clips equal in length and rate.
        name: of the slider, letters, digits and hyphens; once a page.
        title: what a screen reader calls it; by default the concepts.
        command: that makes these clips again.

    Raises:
        ValueError: no ladders, an ill name, clips unequal in length or rate, two clips of one strength.
    """
    page = players.page_folder()
    if page is not None:
        return show(write(ladders, page / name, title, command))
    with tempfile.TemporaryDirectory() as folder:
        return show(write(ladders, Path(folder) / name, title, command))


def write(ladders: Sequence[Ladder], folder: str | Path, title: str = "", command: str = "") -> Path:
    """Write clips (mp3 at their own loudness, pictures) and ``manifest.json`` into a folder; return the folder.

    All clips of a slider are turned down by one factor where any would exceed full scale. Equal clips, such as the
    unsteered one of several methods, become one file.

    Raises:
        ValueError: as :func:`steer`.
    """
    folder = Path(folder)
    sounds = [sound for ladder in ladders for sound in ladder.sounds]
    _allow(ladders, sounds, folder.name)
    folder.mkdir(parents=True, exist_ok=True)
    loudest = max(float(np.abs(players.mono(sound.clip)).max()) for sound in sounds)
    factor = min(1.0, players.CEILING / loudest) if loudest else 1.0
    record = sounds[0].clip.record
    manifest = {
        "title": title or ", ".join(dict.fromkeys(ladder.concept for ladder in ladders)),
        "model": record.get("model"),
        "checkpoint": record.get("checkpoint"),
        "seconds": sounds[0].clip.seconds,
        "sample_rate": sounds[0].clip.sample_rate,
        "command": command,
        "metrics": {score: score for sound in sounds for score in sound.scores or {}},
        "ladders": [_described(ladder, folder, factor) for ladder in ladders],
    }
    write_json(folder / "manifest.json", _checked(manifest, "the slider"))
    return folder


def show(source: str | Path | Manifest, base: str | None = None) -> Slider:
    """A slider of clips that are there already, to display in a notebook.

    Args:
        source: the manifest, its file, or the folder that holds it.
        base: where the clips lie, as the page sees it; None: beside the page if one is being built and they are
            there, else they are put into the output itself, so that it needs no file.

    Raises:
        FileNotFoundError, ValueError: as :func:`read`.
    """
    manifest = read(source)
    if base is not None or isinstance(source, Mapping):
        return Slider(render(manifest, (base or "").rstrip("/")), describe(manifest), manifest)
    folder = Path(source).parent if Path(source).is_file() else Path(source)
    page = players.page_folder()
    if page is not None and folder.is_relative_to(page):
        return Slider(render(manifest, folder.relative_to(page.parent).as_posix()), describe(manifest), manifest)
    code = "".join(f"<{tag}>{_asset(file)}</{tag}>" for tag, file in _ASSETS)
    return Slider(code + render(manifest, locate=lambda file: _inline(folder / file)), describe(manifest), manifest)


def describe(manifest: Manifest) -> str:
    """One line of text in place of the slider."""
    ladders = manifest["ladders"]
    clips = sum(len(ladder["clips"]) for ladder in ladders)
    concepts = ", ".join(dict.fromkeys(str(ladder["concept"]) for ladder in ladders))
    return f"Slider: {clips} clips of {manifest.get('seconds', '?')} s, {concepts}"


def render(manifest: Manifest, base: str = "", locate: Callable[[str], str] | None = None) -> str:
    """The table of native players as HTML, with what the slider needs to know in data attributes.

    Args:
        manifest: as :func:`read` returns it.
        base: folder of the clips, as the page sees it.
        locate: file of the manifest to address; None puts ``base`` before it.
    """
    find = locate or (lambda file: f"{base}/{file}" if base else file)
    ladders = manifest["ladders"]
    own = {
        "title": manifest.get("title", "Steering"),
        "seconds": manifest.get("seconds"),
        "rate": manifest.get("sample_rate"),
        "model": source(manifest),
        "command": manifest.get("command"),
        "metrics": json.dumps(manifest.get("metrics", {}), ensure_ascii=False),
        "players": sum(len(ladder["clips"]) for ladder in ladders),
    }
    parts = [_ladder(manifest, ladder, find, first=not position) for position, ladder in enumerate(ladders)]
    made = f"<p>Made with <code>{_text(own['command'])}</code></p>" if own["command"] else ""
    return f"<steer-slider{_data(own)}>\n{''.join(parts)}{made}</steer-slider>"


def check(folder: str | Path) -> list[str]:
    """What is wrong with a folder of clips: files missing, damaged, unequal in length, or not those of the manifest."""
    folder = Path(folder)
    manifest = read(folder)
    problems = [problem for clip in _clips(manifest) for problem in _faults(folder, clip)]
    lengths = {clip["file"]: _frames(folder / clip["file"]) for clip in _clips(manifest)}
    known = {length for length in lengths.values() if length}
    if len(known) > 1:
        problems.append(f"clips differ in length: {min(known)} to {max(known)} frames")
    return problems + [problem for clip in _clips(manifest) for problem in _wrong_loudness(folder, clip)]


def spectrogram(samples: Any, sample_rate: int, path: str | Path, width: int = 480, height: int = 128) -> Path:
    """Write a picture of a clip, time to the right and pitch upwards, 80 dB from black to white.

    Args:
        samples: float ``[frames]``, full scale at 1.0.
        sample_rate: in Hz.
        path: of the picture; its suffix is the format, webp or png.
        width: in pixels.
        height: in pixels, one per band; bands are as wide as a fraction of an octave above 60 Hz.

    Returns:
        ``path``.
    """
    from matplotlib import colormaps
    from PIL import Image
    from scipy.signal import stft

    audio = np.asarray(samples, np.float32)
    size = min(2048, 2 ** int(np.log2(len(audio))))
    hop = max(1, len(audio) // width)
    f, _, spectrum = stft(audio, sample_rate, nperseg=size, noverlap=size - hop)
    level = 20 * np.log10(np.abs(spectrum) + 1e-6)
    bands = np.geomspace(60, sample_rate / 2, height)
    rows = np.stack([np.interp(bands, f, level[:, column]) for column in range(level.shape[1])], axis=1)
    shade = np.clip((rows - rows.max()) / 80 + 1, 0, 1)[::-1, :]
    picture = Image.fromarray((colormaps["magma"](shade)[..., :3] * 255).astype(np.uint8)).resize((width, height))
    return atomic_write(path, lambda draft: picture.save(draft, quality=60))


def _allow(ladders: Sequence[Ladder], sounds: Sequence[Sound], name: str) -> None:
    if not sounds:
        raise InputError("got no clips; expected one or more ladders with clips")
    for given in (name, *(ladder.method for ladder in ladders)):
        if not given or not given.replace("-", "").isalnum() or not given.isascii():
            raise InputError(f"got the name {given!r}; expected letters, digits and hyphens, such as 'caa-functional'")
    shapes = {(sound.clip.samples.shape[-1], sound.clip.sample_rate) for sound in sounds}
    if len(shapes) > 1:
        raise InputError(f"got clips of (frames, Hz) {sorted(shapes)}; expected all alike")
    without = [sound.title for sound in sounds if sound.strength is None or sound.share is None]
    if without:
        raise InputError(f"got no strength or share for {without[0]!r}; expected both on every clip")


def _described(ladder: Ladder, folder: Path, factor: float) -> dict[str, Any]:
    record = ladder.sounds[0].clip.record
    return {
        **{"concept": ladder.concept, "method": ladder.method, "label": ladder.label or ladder.method},
        **{"low": ladder.low, "high": ladder.high, "layers": list(ladder.layers)},
        **{"prompt": record.get("prompt", ""), "seed": record.get("seed", 0)},
        "clips": [_written(sound, folder, factor) for sound in ladder.sounds],
    }


def _written(sound: Sound, folder: Path, factor: float) -> dict[str, Any]:
    """Write one clip and its picture; what the manifest says of it."""
    import soundfile

    samples, rate = factor * players.mono(sound.clip), sound.clip.sample_rate
    content = players.encode(samples, rate)
    digest = hashlib.sha256(content).hexdigest()
    share = float(sound.share or 0)
    stem = f"{'m' if share < 0 else 'p'}{abs(round(share)):03d}-{digest[:10]}" if share else f"zero-{digest[:10]}"
    atomic_write(folder / f"{stem}.mp3", content)
    spectrogram(samples, rate, folder / f"{stem}.webp")
    heard, _ = soundfile.read(folder / f"{stem}.mp3")  # encoders change the level by a fraction of a decibel
    return {
        **{"file": f"{stem}.mp3", "spectrogram": f"{stem}.webp", "alpha": float(sound.strength or 0), "percent": share},
        **{"lufs": round(lufs(heard, rate), 2), "peak": round(float(np.abs(heard).max()), 4)},
        **{"metrics": {name: float(value) for name, value in (sound.scores or {}).items()}, "sha256": digest},
    }


def _checked(manifest: dict[str, Any], name: str) -> dict[str, Any]:
    if not manifest.get("ladders"):
        raise InputError(f"{name}: got no ladders; expected a list of them under 'ladders'")
    for ladder in manifest["ladders"]:
        _require(ladder, _NEEDED, f"{name}: a ladder")
        called = f"{name}: the ladder {ladder['concept']}, {ladder['method']}"
        for clip in ladder["clips"]:
            _require(clip, _NEEDED_OF_CLIPS, f"{called}: a clip")
        strengths = [clip["percent"] for clip in ladder["clips"]]
        if not strengths or len(set(strengths)) < len(strengths):
            raise InputError(f"{called}: got the strengths {strengths}; expected at least one, each once")
    return manifest


def _require(entry: Mapping[str, Any], fields: tuple[str, ...], called: str) -> None:
    missing = [name for name in fields if entry.get(name) is None]
    if missing:
        raise InputError(f"{called} lacks {', '.join(missing)}; expected {', '.join(fields)}")


def _clips(manifest: Manifest) -> Iterator[Mapping[str, Any]]:
    for ladder in manifest["ladders"]:
        yield from ladder["clips"]


def _faults(folder: Path, clip: Mapping[str, Any]) -> Iterator[str]:
    path, picture = folder / clip["file"], clip.get("spectrogram")
    if not path.is_file():
        yield f"{clip['file']}: is not there"
    elif not _frames(path):
        yield f"{clip['file']}: cannot be decoded"
    elif clip.get("sha256") and hashlib.sha256(path.read_bytes()).hexdigest() != clip["sha256"]:
        yield f"{clip['file']}: is not the file that the manifest names"
    if picture and not (folder / picture).is_file():
        yield f"{picture}: is not there"
    elif picture and (folder / picture).stat().st_size > PICTURE_BYTES:
        yield f"{picture}: is over {PICTURE_BYTES // 1000} kB"


def _wrong_loudness(folder: Path, clip: Mapping[str, Any]) -> Iterator[str]:
    import soundfile

    if _frames(folder / clip["file"]):
        measured = lufs(*soundfile.read(folder / clip["file"]))
        if abs(measured - clip["lufs"]) > LOUDNESS_TOLERANCE:
            yield f"{clip['file']}: is at {measured:.1f} LUFS, the manifest says {clip['lufs']:.1f}"


def _frames(path: Path) -> int:
    import soundfile

    try:
        return len(soundfile.read(path)[0])
    except (soundfile.SoundFileError, OSError):
        return 0


def _ladder(manifest: Manifest, ladder: Mapping[str, Any], find: Callable[[str], str], first: bool) -> str:
    label = ladder.get("label") or ladder["method"]
    own = {
        **{name: ladder.get(name) for name in ("concept", "method", "prompt", "seed", "low", "high")},
        "label": label,
        "layers": ", ".join(map(str, ladder.get("layers") or [])),
    }
    names = manifest.get("metrics", {})
    heads = ["Strength", "Listen", "Raw strength", "Loudness", *names.values()]
    clips = sorted(ladder["clips"], key=lambda clip: clip["percent"])
    rows = "".join(_row(ladder, clip, names, find) for clip in clips)
    ends = f", from {ladder['low']} to {ladder['high']}" if ladder.get("low") and ladder.get("high") else ""
    caption = f"{ladder['concept']}{ends}. Prompt: {ladder['prompt']} Seed {ladder['seed']}."
    return (
        f'<details class="steer-ladder"{_data(own)}{" open" if first else ""}>'
        f"<summary>{_text(ladder['concept'])}: {_text(label)}</summary>"
        f'<div class="steer-scroll" role="group" aria-label="{_text(ladder["concept"])}, {_text(label)}" tabindex="0">'
        f'<table class="steer-table"><caption>{_text(caption)}</caption>'
        f"<thead><tr>{''.join(f'<th scope=col>{_text(head)}</th>' for head in heads)}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div></details>\n"
    )


def _row(
    ladder: Mapping[str, Any], clip: Mapping[str, Any], names: Mapping[str, str], find: Callable[[str], str]
) -> str:
    metrics = {name: round(float(value), 3) for name, value in (clip.get("metrics") or {}).items() if name in names}
    own = {
        **{name: clip[name] for name in ("percent", "alpha", "lufs", "peak")},
        "metrics": json.dumps(metrics),
        "spectrogram": find(clip["spectrogram"]) if clip.get("spectrogram") else None,
        "sha256": clip.get("sha256"),
    }
    strength = f"{_signed(clip['percent'])} %"
    cells = [
        f"{clip['alpha']:.3g}",
        f"{_signed(clip['lufs'], 1)} LUFS",
        *(str(metrics.get(name, "–")) for name in names),
    ]
    player = (
        f'<audio controls preload="none" src="{_text(find(clip["file"]))}" '
        f'aria-label="{_text(ladder["concept"])} at {strength}: {_text(ladder["prompt"])}"></audio>'
    )
    return (
        f"<tr{_data(own)}><th scope=row>{strength}</th><td>{player}</td>"
        + "".join(f"<td>{_text(cell).replace('-', '−')}</td>" for cell in cells)
        + "</tr>"
    )


def _data(values: Mapping[str, Any]) -> str:
    return "".join(f' data-{name}="{_text(value)}"' for name, value in values.items() if value not in (None, ""))


def _text(value: Any) -> str:
    return html.escape(str(value), quote=True)


def _signed(value: float, digits: int = 0) -> str:
    return f"{value:+.{digits}f}".replace("-", "−") if value else "0"


def _inline(path: Path) -> str:
    kind = _TYPES.get(path.suffix, "application/octet-stream")
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _asset(name: str) -> str:
    return files("tada.data").joinpath(name).read_text(encoding="utf-8")
