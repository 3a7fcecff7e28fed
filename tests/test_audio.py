"""Clips as files: of any length in any format, and nothing that is no sound."""

from __future__ import annotations

import subprocess
import sys

import pytest
import soundfile
import torch

from tada.audio import FORMATS, LOUDEST, Clip, Clips, lufs
from tada.errors import InputError

LONG = """
import sys, torch
from tada.audio import Clip
Clip(torch.zeros(2, 60 * 48_000), 48_000).save(sys.argv[1])
"""


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_minute_of_stereo_is_saved_in_every_format(tmp_path, suffix):
    path = tmp_path / f"a long clip{suffix}"
    subprocess.run([sys.executable, "-c", LONG, str(path)], check=True)  # an encoder that dies takes its process along
    about = soundfile.info(path)
    assert about.channels == 2 and about.samplerate == 48_000 and abs(about.duration - 60) < 0.1


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("scale", [0.5, LOUDEST])
def test_blocks_join_without_a_seam_and_the_loudest_clip_is_encoded(tmp_path, suffix, scale):
    wave = scale * torch.sin(torch.arange(150_000) * 0.05)[None]
    heard, rate = soundfile.read(Clip(wave, 16_000).save(tmp_path / f"a{suffix}"))
    assert rate == 16_000 and len(heard) >= 150_000
    if scale < 1:
        assert abs(heard[:150_000] - wave[0].numpy()).max() < 0.05


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e10, -2 * LOUDEST])
def test_what_is_no_sound_is_refused_where_a_clip_is_made(value):
    samples = torch.zeros(1, 400)
    samples[0, 7] = value
    for make in (lambda: Clip(samples, 16_000), lambda: Clips(samples[None], 16_000)):
        with pytest.raises(InputError, match="times full scale, in the audio of rows"):
            make()


def test_what_cannot_be_written_is_said_and_leaves_no_file(tmp_path):
    with pytest.raises(InputError, match="channels, frames"):
        Clip(torch.zeros(400), 16_000)
    for name, rate, channels in (("a.mp3", 12_345, 1), ("a.mp3", 16_000, 6), ("a.aif", 16_000, 1), (".wav", 16_000, 1)):
        with pytest.raises(InputError, match="choose another format|expected one such as clip.wav"):
            Clip(torch.zeros(channels, 400), rate).save(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("rate", [0, -1, 1000, "x", None, float("nan")])
def test_loudness_at_a_rate_without_meaning_is_refused(rate):
    with pytest.raises(InputError, match="got sample_rate="):
        lufs(torch.ones(100).numpy(), rate)
