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

from tada.audio import Clip, source
from tada.display import players
from tada.display.players import Sound


def tone(level: float = 0.05, rate: int = 16_000, seconds: float = 2.0, pitch: float = 440.0, **record) -> Clip:
    wave = level * torch.sin(2 * math.pi * pitch * torch.arange(round(seconds * rate)) / rate)
    return Clip(torch.stack([wave, wave]), rate, {"prompt": 'a "sad" <song>', "seed": 7, "checkpoint": "k", **record})


@pytest.fixture
def page(tmp_path, monkeypatch):
    monkeypatch.setenv(players.PAGE, str(tmp_path / "04_page"))
    return tmp_path / "04_page"


@pytest.mark.parametrize(
    ("rate", "low", "high"), [(16_000, 63, 67), (24_000, 63, 67), (32_000, 95, 99), (48_000, 95, 99)]
)
def test_an_mp3_is_mono_small_and_what_went_in(tmp_path, rate, low, high):
    path = players.save(tone(rate=rate, seconds=4.0), tmp_path / "new" / "clip.mp3")
    assert low <= path.stat().st_size * 8 / 4000 <= high
    samples, read = soundfile.read(path)
    assert read == rate and samples.ndim == 1 and abs(len(samples) / rate - 4.0) < 0.1
    spectrum = np.abs(np.fft.rfft(samples[: 4 * rate]))
    assert abs(spectrum.argmax() / 4 - 440) < 2
    assert not list(path.parent.glob(".*")), "no unfinished file is left"


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
def test_other_formats_are_named_by_their_suffix(tmp_path, suffix):
    samples, _ = soundfile.read(players.save(tone(), tmp_path / f"clip.{suffix}"))
    assert len(samples) == 32_000
    with pytest.raises(ValueError, match="cannot write"):
        players.encode(np.zeros(10), 16_000, "mp9")


def test_loudness_is_matched_and_never_cut():
    for level in (0.003, 0.3):
        assert players.loudness(Clip(torch.from_numpy(players.matched(tone(level)))[None], 16_000)) == pytest.approx(
            -20
        )
    assert players.loudness(tone(0.1)) == pytest.approx(20 * math.log10(0.1 / math.sqrt(2)), abs=0.01)
    click = Clip(torch.eye(1, 16_000), 16_000)
    assert np.abs(players.matched(click)).max() == pytest.approx(0.98), "a click cannot be made as loud without cutting"
    silence = Clip(torch.zeros(1, 16_000), 16_000)
    assert players.loudness(silence) == -math.inf and not players.matched(silence).any()
    assert np.array_equal(players.matched(tone(), None), players.mono(tone()))


def test_on_a_page_clips_are_files_with_a_manifest(page):
    sounds = [Sound(tone(0.01), "base"), Sound(tone(0.2, pitch=880), "steered", -3.5, -70.0, {"sad": 0.25})]
    text = players.show(sounds, "some-clips", "tada run x").data
    assert "data:audio" not in text and text.count("<audio") == 2
    manifest = json.loads((page / "manifest.json").read_text())
    assert len(manifest) == 2
    for file, said in manifest.items():
        assert hashlib.sha256((page / file).read_bytes()).hexdigest() == said["sha256"]
        assert f'src="04_page/{file}"' in text, "relative to the page, which lies beside the folder"
        assert said["prompt"] == 'a "sad" <song>' and said["seed"] == 7 and said["command"] == "tada run x"
    base, steered = manifest.values()
    assert base["loudness_db"] == pytest.approx(-43.01, abs=0.02) and steered["strength"] == -3.5
    assert steered["strength_percent"] == -70 and steered["scores"] == {"sad": 0.25} and base["strength"] is None
    players.show([Sound(tone(0.1), "another")], "more")
    assert len(json.loads((page / "manifest.json").read_text())) == 3, "groups of one page share a manifest"


def test_the_table_says_what_each_clip_is(page):
    text = players.show([Sound(tone(), "base <0>"), Sound(tone(), "x", 2.0, None, {"sad": 0.5})], "a").data
    for part in ("base &lt;0&gt;", "a &quot;sad&quot; &lt;song&gt;", "Seed 7", "+2", "0.50", "-29.0 dB", "Checkpoint"):
        assert part in text, part
    assert 'preload="none"' in text and "aria-label=" in text and "<song>" not in text


def test_in_a_live_notebook_the_sound_travels_with_the_output(monkeypatch, tmp_path):
    monkeypatch.delenv(players.PAGE, raising=False)
    monkeypatch.chdir(tmp_path)
    text = players.show([Sound(tone(), "base")], "a").data
    content = base64.b64decode(text.split("base64,")[1].split('"')[0])
    assert soundfile.info(io.BytesIO(content)).samplerate == 16_000
    assert not list(tmp_path.iterdir()), "nothing is written"


def test_what_cannot_be_shown_is_refused(page):
    with pytest.raises(ValueError, match="no sounds"):
        players.show([], "a")
    for name in ("", "a/b", "../a"):
        with pytest.raises(ValueError, match="letters, digits and hyphens"):
            players.show([Sound(tone(), "base")], name)


def test_a_checkpoint_that_is_called_after_its_model_is_named_once() -> None:
    assert source({"model": "ace-step", "checkpoint": "ace-step mini, planted"}) == "ace-step mini, planted"
    assert source({"model": "ace-step", "checkpoint": "ACE-Step/one"}) == "ace-step ACE-Step/one"
    assert source({"checkpoint": "mini"}) == "mini" and source({"model": "ace-step"}) == "ace-step"
