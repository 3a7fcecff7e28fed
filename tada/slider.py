"""The steering slider: clips of one prompt at several strengths, to be heard side by side.

A manifest says which clips there are. :func:`render` writes it as a table of native players, which works anywhere;
``steer-slider.js`` makes a slider of that table where scripts run. :func:`show` is what a notebook calls.

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
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

Manifest = Mapping[str, Any]
_TYPES = {".mp3": "audio/mpeg", ".wav": "audio/wav", ".flac": "audio/flac", ".webp": "image/webp", ".png": "image/png"}
_NEEDED = ("concept", "method", "prompt", "seed", "clips")
_NEEDED_OF_CLIPS = ("file", "alpha", "percent", "lufs", "peak")
PICTURE_BYTES = 30_000
"""Of one spectrogram, at most."""


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
        raise FileNotFoundError(f"no manifest of clips at {path}: name the folder that holds manifest.json")
    return _checked(json.loads(path.read_text(encoding="utf-8")), str(path))


def show(source: str | Path | Manifest, base: str | None = None) -> Slider:
    """A slider to display in a notebook.

    Args:
        source: the manifest, its file, or the folder that holds it.
        base: where the clips lie, as the page sees it; None: in a build of the book that is ``TADA_CLIPS`` and the
            folder's name, elsewhere the clips are put into the output itself, so that it needs no file.

    Raises:
        FileNotFoundError, ValueError: as :func:`read`.
    """
    manifest = read(source)
    folder = None if isinstance(source, Mapping) else Path(source)
    folder = folder.parent if folder is not None and folder.is_file() else folder
    served = os.environ.get("TADA_CLIPS", "")
    if base is None and served and folder is not None:
        base = f"{served.rstrip('/')}/{folder.name}"
    if base is not None or folder is None:
        return Slider(render(manifest, (base or "").rstrip("/")), describe(manifest), manifest)
    own = folder
    script = "".join(f"<{tag}>{_asset(name)}</{tag}>" for tag, name in _assets())
    return Slider(script + render(manifest, locate=lambda file: _inline(own / file)), describe(manifest), manifest)


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
        "model": " ".join(str(manifest[name]) for name in ("model", "checkpoint") if manifest.get(name)),
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
    return problems


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
    import numpy as np
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
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial{path.suffix}")
    picture.save(partial, quality=60)
    return partial.replace(path)


def _checked(manifest: dict[str, Any], name: str) -> dict[str, Any]:
    if not manifest.get("ladders"):
        raise ValueError(f"{name}: got no ladders; expected a list of them under 'ladders'")
    for ladder in manifest["ladders"]:
        _require(ladder, _NEEDED, f"{name}: a ladder")
        called = f"{name}: the ladder {ladder['concept']}, {ladder['method']}"
        for clip in ladder["clips"]:
            _require(clip, _NEEDED_OF_CLIPS, f"{called}: a clip")
        strengths = [clip["percent"] for clip in ladder["clips"]]
        if not strengths or len(set(strengths)) < len(strengths):
            raise ValueError(f"{called}: got the strengths {strengths}; expected at least one, each once")
    return manifest


def _require(entry: Mapping[str, Any], fields: tuple[str, ...], called: str) -> None:
    missing = [name for name in fields if entry.get(name) is None]
    if missing:
        raise ValueError(f"{called} lacks {', '.join(missing)}; expected {', '.join(fields)}")


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
        f'<div class="steer-scroll" role="region" aria-label="{_text(ladder["concept"])}, {_text(label)}" tabindex="0">'
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


def _assets() -> tuple[tuple[str, str], ...]:
    return ("style", "steer-slider.css"), ("script", "steer-slider.js")


def _asset(name: str) -> str:
    return files("tada.data").joinpath(name).read_text(encoding="utf-8")
