"""The slider's Python side: manifests, the table of native players; loudness."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bs4 import BeautifulSoup

from tada.audio import Clip, filters, lufs
from tada.display import slider
from tada.display.players import Sound


@pytest.fixture
def manifest() -> dict[str, Any]:
    level = {"lufs": -18.04, "peak": 0.9}
    clips = [
        {"file": "m100.mp3", "alpha": -3.25, "percent": -100, "metrics": {"clap": 0.12345}, **level},
        {"file": "p100.mp3", "alpha": 3.25, "percent": 100, "spectrogram": "p100.webp", **level},
        {"file": "zero.mp3", "alpha": 0.0, "percent": 0, "metrics": {"clap": 0.2}, **level},
    ]
    sweep = {"concept": "tempo", "method": "caa", "label": "CAA", "prompt": 'a "<b>" & song', "seed": 3, "clips": clips}
    return {"seconds": 1.0, "sample_rate": 16000, "command": "tada", "metrics": {"clap": "CLAP"}, "sweeps": [sweep]}


def soup(text: str) -> Any:
    return BeautifulSoup(text, "html.parser")


def alpha_sweep(method: str = "caa", gain: float = 1.0, frames: int = 16000) -> slider.AlphaSweep:
    record = {"prompt": "a song", "seed": 3, "model": "stable-audio", "checkpoint": "mini"}
    tones = sum(torch.sin(torch.arange(frames) * pitch / 16000 * 6.2832)[None] for pitch in (300, 700, 1900)) * 0.05
    clips = [(share, Clip(tones * (1 + gain * share / 200), 16000, record)) for share in (-100, 0, 100)]
    sounds = [Sound(clip, f"{share} %", share / 10, share, {"CLAP": share / 1000}) for share, clip in clips]
    return slider.AlphaSweep("tempo", method, sounds, low="slower", high="faster", layers=[6, 7])


def test_the_table_has_a_native_player_for_each_clip_in_order_of_strength(manifest: dict[str, Any]) -> None:
    page = soup(slider.render(manifest, "clips"))
    rows = page.select("tr[data-percent]")
    assert [row["data-percent"] for row in rows] == ["-100", "0", "100"]
    assert [row.audio["src"] for row in rows] == ["clips/m100.mp3", "clips/zero.mp3", "clips/p100.mp3"]
    assert all(row.audio.has_attr("controls") and row.audio["preload"] == "none" for row in rows)
    assert page.find("steer-slider")["data-players"] == "3"
    assert rows[2]["data-spectrogram"] == "clips/p100.webp"
    cells = [cell.get_text() for cell in rows[0].select("td")]
    assert cells[1:] == ["−3.25", "−18.0 LUFS", "0.123"]
    assert rows[2].select("td")[-1].get_text() == "–", "a metric that the clip lacks"


def test_words_of_the_table_are_the_manifest_s_and_escaped(manifest: dict[str, Any]) -> None:
    text = slider.render(manifest)
    page = soup(text)
    assert "<b>" not in text and page.find("details")["data-prompt"] == 'a "<b>" & song'
    assert page.audio["aria-label"] == 'tempo at −100 %: a "<b>" & song'
    assert page.caption.get_text().startswith("tempo. Prompt: a")
    manifest["sweeps"][0] |= {"low": "slower", "high": "faster"}
    assert "from slower to faster" in slider.render(manifest)


def test_on_a_page_of_the_book_clips_are_files_beside_it(page: Path, tmp_path: Path) -> None:
    shown = slider.steer([alpha_sweep()], "tempo", "tada run x").data
    players = soup(shown).select("tr[data-percent]")
    assert len(players) == 3
    for row in players:
        assert (tmp_path / row.audio["src"]).is_file() and (tmp_path / row["data-spectrogram"]).stat().st_size < 30_000
    assert "base64" not in shown and "<script" not in shown
    assert 'src="elsewhere/' in slider.render(slider.read(page / "tempo"), "elsewhere")


def test_in_a_live_notebook_the_output_needs_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TADA_PAGE", raising=False)
    shown = slider.steer([alpha_sweep()], "tempo").data
    assert shown.count('src="data:audio/mpeg;base64,') == 3
    assert "customElements.define" in shown


def test_written_clips_keep_their_own_loudness_and_the_unsteered_one_is_shared(tmp_path: Path) -> None:
    folder = slider.write([alpha_sweep(), alpha_sweep("sae", 0.5)], tmp_path / "tempo")
    manifest = slider.read(folder)
    steps = np.diff([clip["lufs"] for clip in manifest["sweeps"][0]["clips"]])
    assert steps == pytest.approx([20 * np.log10(2), 20 * np.log10(1.5)], abs=0.05)
    assert len({one["clips"][1]["file"] for one in manifest["sweeps"]}) == 1
    assert len(list(folder.glob("*.mp3"))) == 5
    assert manifest["sweeps"][0]["layers"] == [6, 7]
    assert (manifest["metrics"], manifest["checkpoint"]) == ({"CLAP": "CLAP"}, "mini")


def test_clips_over_full_scale_are_turned_down_together(tmp_path: Path) -> None:
    loud = alpha_sweep()
    loud = replace(loud, sounds=[replace(s, clip=replace(s.clip, samples=s.clip.samples * 9)) for s in loud.sounds])
    clips = slider.read(slider.write([loud], tmp_path / "tempo"))["sweeps"][0]["clips"]
    assert 0.9 < max(clip["peak"] for clip in clips) <= 1
    assert clips[2]["peak"] / clips[1]["peak"] == pytest.approx(1.5, rel=0.02)


SOUNDS = alpha_sweep().sounds


@pytest.mark.parametrize(
    ("sweeps", "name", "expected"),
    [
        ([], "tempo", "got no clips"),
        ([alpha_sweep()], "a+b", r"got the name 'a\+b'"),
        ([alpha_sweep("caa+")], "tempo", r"got the name 'caa\+'; expected letters"),
        ([alpha_sweep(), alpha_sweep("sae", frames=8000)], "tempo", "expected all alike"),
        ([replace(alpha_sweep(), sounds=[replace(SOUNDS[0], strength=None)])], "tempo", "percent for '-100 %'"),
        ([replace(alpha_sweep(), sounds=[*SOUNDS, SOUNDS[1]])], "tempo", "each once"),
    ],
)
def test_what_cannot_be_a_slider_says_why(sweeps: Any, name: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=expected):
        slider.write(sweeps, tmp_path / name)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda m: m.pop("sweeps"), "got no sweeps"),
        (lambda m: m["sweeps"][0].pop("prompt"), "a sweep lacks prompt; expected concept, method"),
        (lambda m: m["sweeps"][0]["clips"][1].pop("lufs"), "tempo, caa: a clip lacks lufs"),
        (lambda m: m["sweeps"][0]["clips"][1].update(percent=-100), r"\[-100, -100, 0\]; expected .* each once"),
        (lambda m: m["sweeps"][0]["clips"].clear(), "expected at least one"),
        *(
            (lambda m, file=file: m["sweeps"][0]["clips"][1].update(file=file), "own folder")
            for file in ("../../../etc/passwd", "/etc/passwd", "a/b.mp3", "..\\b.mp3", "javascript:alert(1)", ".mp3")
        ),
    ],
)
def test_a_faulty_manifest_says_what_is_wrong(
    manifest: dict[str, Any], spoil: Any, expected: str, tmp_path: Path
) -> None:
    spoil(manifest)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=expected):
        slider.read(tmp_path)


def test_a_missing_manifest_says_where_it_was_sought(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / "manifest.json"))):
        slider.read(tmp_path)


# ---- loudness


def test_loudness_filters_are_the_standard_s() -> None:
    shelf, high = filters(48_000)
    assert shelf[0] == pytest.approx([1.53512485958697, -2.69169618940638, 1.19839281085285], abs=1e-8)
    assert shelf[1] == pytest.approx([1, -1.69065929318241, 0.73248077421585], abs=1e-8)
    assert high[1] == pytest.approx([1, -1.99004745483398, 0.99007225036621], abs=1e-8)


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_loudness_of_a_full_scale_sine(rate: int) -> None:
    sine = np.sin(2 * np.pi * 997 * np.arange(4 * rate) / rate)
    assert lufs(sine, rate) == pytest.approx(-3.01, abs=0.05)
    assert lufs(sine / 10, rate) == pytest.approx(-23.01, abs=0.05)
    assert lufs(np.stack([sine, sine], 1), rate) == pytest.approx(0, abs=0.05)


def test_loudness_ignores_silence_and_quiet_passages() -> None:
    sine = np.sin(2 * np.pi * 997 * np.arange(16_000) / 16_000)
    silent = np.concatenate([sine, np.zeros(16_000)])
    assert lufs(silent, 16_000) == pytest.approx(lufs(sine, 16_000), abs=1.2)  # only blocks across the edge count
    assert lufs(np.zeros(16_000), 16_000) == -70
    assert lufs(sine[:100], 16_000) < 0
    with pytest.raises(ValueError, match="1 of them NaN"):
        lufs([0.0, np.nan], 16_000)
