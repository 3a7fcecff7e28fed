"""The steering slider: clips of one prompt at several strengths, to be heard side by side.

:func:`steer` is what a notebook calls. It writes clips and a manifest, and :func:`render` writes that as a table of
native players, which works anywhere; ``steer-slider.js`` makes a slider of the table where scripts run.

The manifest is that of ``tada.display.players`` with a sweep over strengths for each concept, method, prompt and seed::

    {"title", "model", "checkpoint", "seconds", "sample_rate", "command", "metrics", "sweeps": [
      {"concept", "low", "high", "method", "label", "layers", "prompt", "seed", "clips": [{..., "spectrogram"}]}]}

``spectrogram``, ``low`` and ``high`` (what the two ends mean) may be left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from IPython.display import HTML

from tada import escape
from tada.audio import source
from tada.display import players
from tada.display.players import Locate, Sound, data_attributes
from tada.errors import InputError, MissingFileError
from tada.io import write_json

ASSETS = {"style": "steer-slider.css", "script": "steer-slider.js"}
SWEEP_FIELDS = ("concept", "method", "prompt", "seed", "clips")
CLIP_FIELDS = ("file", "alpha", "percent", "lufs", "peak")


@dataclass(frozen=True, eq=False)
class AlphaSweep:
    """Clips of one prompt and seed that differ in strength.

    Attributes:
        concept: what is steered.
        method: short name of how, letters, digits and hyphens; part of links.
        sounds: the clips with their strengths, percents and scores; the unsteered one is at 0 percent.
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


def steer(sweeps: Sequence[AlphaSweep], name: str, command: str = "") -> HTML:
    """Show a slider of clips, with their files beside the page that is being built, or inside the output.

    Args:
        sweeps: one or more, of clips equal in length and rate.
        name: of their folder, letters, digits and hyphens; once a page.
        command: that makes these clips again.

    Raises:
        InputError: no sweeps, an impossible name, clips unequal in length or rate, two clips of one strength.
    """
    with players.clip_folder(name) as (folder, locate):
        table = render(read(write(sweeps, folder, command)), locate)
    if players.page_folder() is not None:
        return HTML(table)
    assets = {tag: files("tada.data").joinpath(file).read_text(encoding="utf-8") for tag, file in ASSETS.items()}
    return HTML("".join(f"<{tag}>{text}</{tag}>" for tag, text in assets.items()) + table)


def write(sweeps: Sequence[AlphaSweep], folder: str | Path, command: str = "") -> Path:
    """Write clips (mp3 at their own loudness, pictures) and ``manifest.json`` into a folder; return the folder.

    All clips of a slider are turned down by one factor where any would exceed full scale. Equal clips, such as the
    unsteered one of several methods, become one file.

    Raises:
        InputError: as :func:`steer`.
    """
    folder = Path(folder)
    players.require_name(folder.name)
    sounds = [sound for sweep in sweeps for sound in sweep.sounds]
    _require_alike(sweeps, sounds)
    loudest = max(float(np.abs(sound.samples).max()) for sound in sounds)
    gain = min(0.0, 20 * float(np.log10(players.CEILING / loudest))) if loudest else 0.0
    clip = sounds[0].clip
    manifest = {
        "title": ", ".join(dict.fromkeys(sweep.concept for sweep in sweeps)),
        "model": clip.record.get("model"),
        "checkpoint": clip.record.get("checkpoint"),
        "seconds": clip.seconds,
        "sample_rate": clip.sample_rate,
        "command": command,
        "metrics": players.metric_names(sounds),
        "sweeps": [_write_sweep(sweep, folder, gain) for sweep in sweeps],
    }
    write_json(folder / "manifest.json", _checked(manifest, "the slider"))
    return folder


def _require_alike(sweeps: Sequence[AlphaSweep], sounds: Sequence[Sound]) -> None:
    if not sounds:
        raise InputError("got no clips; expected one or more sweeps with clips")
    for sweep in sweeps:
        players.require_name(sweep.method)
    shapes = {(sound.clip.samples.shape[-1], sound.clip.sample_rate) for sound in sounds}
    if len(shapes) > 1:
        raise InputError(f"got clips of (frames, Hz) {sorted(shapes)}; expected all alike")
    numbers = ((sound.title, value) for sound in sounds for value in (sound.strength, sound.percent))
    without = [title for title, value in numbers if value is None or not np.isfinite(value)]
    if without:
        raise InputError(f"got no strength or percent for {without[0]!r}; expected both, finite, on every clip")


def _write_sweep(sweep: AlphaSweep, folder: Path, gain: float) -> dict[str, Any]:
    clips = [players.write_clip(sound, folder, gain, picture=True) for sound in sweep.sounds]
    return {
        **{name: getattr(sweep, name) for name in ("concept", "method", "low", "high")},
        "label": sweep.label or sweep.method,
        "layers": list(sweep.layers),
        "prompt": clips[0]["prompt"] or "",
        "seed": clips[0]["seed"] or 0,
        "clips": clips,
    }


def read(folder: str | Path) -> dict[str, Any]:
    """Read the manifest of a folder of clips, and check it.

    Raises:
        MissingFileError: there is no manifest.
        InputError: an entry lacks a field, a file lies elsewhere, or a sweep has no clip or two of one strength.
    """
    path = Path(folder) / "manifest.json"
    if not path.is_file():
        raise MissingFileError(f"no manifest of clips at {path}: name the folder that holds manifest.json")
    return _checked(json.loads(path.read_text(encoding="utf-8")), str(path))


def _checked(manifest: dict[str, Any], name: str) -> dict[str, Any]:
    if not manifest.get("sweeps"):
        raise InputError(f"{name}: got no sweeps; expected a list of them under 'sweeps'")
    for sweep in manifest["sweeps"]:
        _require(sweep, SWEEP_FIELDS, f"{name}: a sweep")
        called = f"{name}: the sweep {sweep['concept']}, {sweep['method']}"
        for clip in sweep["clips"]:
            _require(clip, CLIP_FIELDS, f"{called}: a clip")
            for file in (clip["file"], clip.get("spectrogram") or clip["file"]):
                if re.search(r"[/\\:]", file) or file.startswith("."):
                    raise InputError(f"{called}: got the file {file!r}; expected a name in the manifest's own folder")
        strengths = [clip["percent"] for clip in sweep["clips"]]
        if not strengths or len(set(strengths)) < len(strengths):
            raise InputError(f"{called}: got the strengths {strengths}; expected at least one, each once")
    return manifest


def _require(entry: Mapping[str, Any], fields: tuple[str, ...], called: str) -> None:
    missing = [name for name in fields if entry.get(name) is None]
    if missing:
        raise InputError(f"{called} lacks {', '.join(missing)}; expected {', '.join(fields)}")


def render(manifest: Mapping[str, Any], base: str | Locate = "") -> str:
    """Write the table of native players as HTML, with what the slider needs to know in data attributes.

    ``base`` is the folder of the clips, as the page sees it, or a function that addresses a file of the manifest.
    """
    locate = base if callable(base) else (lambda file: f"{base.rstrip('/')}/{file}" if base else file)
    command, metrics, sweeps = manifest.get("command"), manifest.get("metrics", {}), manifest["sweeps"]
    own = {
        "title": manifest.get("title", "Steering"),
        "seconds": manifest.get("seconds"),
        "rate": manifest.get("sample_rate"),
        "model": source(manifest),
        "command": command,
        "metrics": escape.json(metrics),
        "players": sum(len(sweep["clips"]) for sweep in sweeps),
    }
    parts = "".join(_sweep(sweep, metrics, locate, is_open=sweep is sweeps[0]) for sweep in sweeps)
    made = f"<p>Made with <code>{escape.html(command)}</code></p>" if command else ""
    return f"<steer-slider{data_attributes(own)}>\n{parts}{made}</steer-slider>"


def _sweep(sweep: Mapping[str, Any], metrics: Mapping[str, str], locate: Locate, is_open: bool) -> str:
    own = {name: sweep.get(name) for name in ("concept", "method", "prompt", "seed", "low", "high")}
    own |= {"label": sweep.get("label") or sweep["method"], "layers": ", ".join(map(str, sweep.get("layers") or []))}
    name = f"{escape.html(sweep['concept'])}: {escape.html(own['label'])}"
    ends = f", from {sweep['low']} to {sweep['high']}" if sweep.get("low") and sweep.get("high") else ""
    caption = f"{sweep['concept']}{ends}. Prompt: {sweep['prompt']} Seed {sweep['seed']}."
    clips = sorted(({**clip, "prompt": sweep["prompt"]} for clip in sweep["clips"]), key=lambda clip: clip["percent"])
    return (
        f'<details class="steer-ladder"{data_attributes(own)}{" open" if is_open else ""}><summary>{name}</summary>'
        f'<div class="steer-scroll" role="group" aria-label="{name.replace(": ", ", ", 1)}" tabindex="0">'
        f"{players.clip_table(clips, metrics, locate, caption, sweep['concept'])}</div></details>\n"
    )
