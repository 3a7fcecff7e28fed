"""Players: files that can be played, one loudness for all, a manifest that says all, nothing embedded on pages."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from tada.audio import Clip, lufs, matching_gain, source
from tada.display import players
from tada.display.players import Sound


def tone(level: float = 0.05, rate: int = 16_000, seconds: float = 2.0, pitch: float = 440.0) -> Clip:
    wave = level * torch.sin(2 * math.pi * pitch * torch.arange(round(seconds * rate)) / rate)
    return Clip(torch.stack([wave, wave]), rate, {"prompt": 'a "sad" <song>', "seed": 7, "checkpoint": "k"})


@pytest.mark.parametrize(
    ("rate", "low", "high"), [(16_000, 63, 67), (24_000, 63, 67), (32_000, 95, 99), (48_000, 95, 99)]
)
def test_an_mp3_is_mono_small_and_what_went_in(tmp_path, rate, low, high):
    entry = players.write_clip(Sound(tone(rate=rate, seconds=4.0), "x"), tmp_path / "new")
    (path,) = (tmp_path / "new").iterdir()
    assert path.name == entry["file"] and low <= path.stat().st_size * 8 / 4000 <= high
    samples, read = soundfile.read(path)
    assert read == rate and samples.ndim == 1 and abs(len(samples) / rate - 4.0) < 0.1
    assert abs(np.abs(np.fft.rfft(samples[: 4 * rate])).argmax() / 4 - 440) < 2


def test_loudness_is_matched_and_never_cut():
    for level in (0.003, 0.3):
        samples = Sound(tone(level), "x").samples
        assert lufs(samples * 10 ** (matching_gain(samples, 16_000, -20) / 20), 16_000) == pytest.approx(-20)
    assert matching_gain(np.eye(1, 16_000)[0], 16_000, -20, 0.98) == pytest.approx(20 * np.log10(0.98)), "cut if louder"
    assert matching_gain(np.zeros(16_000), 16_000, -20) == 0


def test_on_a_page_clips_are_files_with_a_manifest(page):
    sounds = [Sound(tone(0.01), "base"), Sound(tone(0.2, pitch=880), "steered", -3.5, -70.0, {"sad": 0.25})]
    text = players.show(sounds, "some-clips", "tada run x").data
    assert "data:audio" not in text and text.count("<audio") == 2
    manifest = json.loads((page / "some-clips" / "manifest.json").read_text())
    assert manifest["command"] == "tada run x" and manifest["metrics"] == {"sad": "sad"}
    for entry in manifest["clips"]:
        file = page / "some-clips" / entry["file"]
        assert hashlib.sha256(file.read_bytes()).hexdigest() == entry["sha256"]
        assert f'src="04_page/some-clips/{entry["file"]}"' in text, "relative to the page, which lies beside the folder"
        assert entry["prompt"] == 'a "sad" <song>' and entry["seed"] == 7
        assert entry["lufs"] == pytest.approx(-20, abs=0.6)
    base, steered = manifest["clips"]
    assert base["lufs_before"] == pytest.approx(lufs(sounds[0].samples, 16_000), abs=0.01)
    assert (base["alpha"], steered["alpha"], steered["percent"], steered["metrics"]) == (None, -3.5, -70, {"sad": 0.25})


def test_the_table_says_what_each_clip_is(page):
    text = players.show([Sound(tone(), "base <0>"), Sound(tone(), "x", 2.0, None, {"sad": 0.5})], "a").data
    level = f"−{abs(lufs(Sound(tone(), '').samples, 16_000)):.1f} LUFS"
    for part in ("base &lt;0&gt;", "a &quot;sad&quot; &lt;song&gt;", "Seed 7", ">2<", "0.5", level, "Checkpoint"):
        assert part in text, part
    assert 'preload="none"' in text and "aria-label=" in text and "<song>" not in text


def test_spectrograms_stand_under_their_players_where_asked_for(page):
    text = players.show([Sound(tone(), "base <0>")], "drawn", pictures=True).data
    (entry,) = json.loads((page / "drawn" / "manifest.json").read_text())["clips"]
    assert (page / "drawn" / entry["spectrogram"]).is_file()
    assert f'src="04_page/drawn/{entry["spectrogram"]}"' in text and 'alt="Spectrogram: base &lt;0&gt;"' in text
    assert "<img" not in players.show([Sound(tone(), "base")], "plain").data


def test_a_tone_stands_where_it_sounds_and_is_as_thin_whatever_the_sample_rate(tmp_path):
    heights, rows = [], []
    for rate in (16_000, 44_100):
        samples = tone(rate=rate).samples[0].numpy() * (np.arange(2 * rate) < rate)
        path = players.spectrogram(samples, rate, tmp_path / f"{rate}.png")
        picture = np.asarray(Image.open(path).convert("L"), float)
        shade = picture[:, 120]
        heights.append(shade.argmax())
        rows.append((shade > shade.max() / 2).sum())
        assert picture.shape == (128, 480) and shade.max() > 3 * picture[heights[-1], 310:].mean(), "then it is silent"
    assert abs(heights[0] - heights[1]) <= 1 and abs(rows[0] - rows[1]) <= 1 and max(rows) <= 3
    assert heights[0] == pytest.approx(127 * (1 - np.log(440 / 60) / np.log(8000 / 60)), abs=2)


def test_in_a_live_notebook_the_sound_travels_with_the_output(monkeypatch, tmp_path):
    monkeypatch.delenv(players.PAGE, raising=False)
    monkeypatch.chdir(tmp_path)
    text = players.show([Sound(tone(), "base")], "a").data
    content = base64.b64decode(text.split("base64,")[1].split('"')[0])
    assert soundfile.info(io.BytesIO(content)).samplerate == 16_000
    assert not list(tmp_path.iterdir()), "nothing is left"


def test_what_cannot_be_shown_is_refused(page):
    with pytest.raises(ValueError, match="no sounds"):
        players.show([], "a")
    for name in ("", "a/b", "../a"):
        with pytest.raises(ValueError, match="letters, digits and hyphens"):
            players.show([Sound(tone(), "base")], name)


def test_a_checkpoint_called_after_its_model_is_named_once():
    assert source({"model": "ace-step", "checkpoint": "ace-step mini, own"}) == "ace-step mini, own"
    assert source({"model": "ace-step", "checkpoint": "ACE-Step/one"}) == "ace-step ACE-Step/one"
    assert source({"checkpoint": "mini"}) == "mini" and source({"model": "ace-step"}) == "ace-step"
