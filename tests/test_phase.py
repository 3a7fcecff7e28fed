"""The phase stage: bands, phases, and the way from audio to spectra and back."""

from __future__ import annotations

import math

import pytest
import torch

from tada.errors import CheckpointError
from tada.models import phase
from tada.models.phase import PhaseConfig, PhaseStage

RATE = 16_000


@pytest.fixture
def stage() -> PhaseStage:
    torch.manual_seed(0)
    return PhaseStage(PhaseConfig(width=16, depth=1)).eval().requires_grad_(False)


def sine(hertz: float, seconds: float = 1.024) -> torch.Tensor:
    return 0.5 * torch.sin(2 * math.pi * hertz * torch.arange(round(RATE * seconds)) / RATE)[None]


def test_bands_sum_to_one_and_cover_every_frequency_between_their_ends(stage):
    assert torch.allclose(stage.bank.sum(1), torch.ones(128))
    covered = stage.bank.sum(0) > 0
    assert covered[2:505].all()
    assert not covered[0]


@pytest.mark.parametrize("hertz", [110.0, 441.0, 1000.0, 3333.0])
def test_phases_of_true_magnitudes_give_the_tone_back(stage, hertz):
    tone = sine(hertz)
    magnitudes = stage.transform(tone).abs()
    turns = torch.polar(torch.ones_like(magnitudes), phase.phases(magnitudes, 256))
    spectrum = torch.fft.rfft(stage.overlap_add(magnitudes * turns)[0, 2048:-2048] * torch.hann_window(12288))
    assert abs(spectrum.abs().argmax().item() * RATE / 12288 - hertz) < 2  # on the tone, not on a multiple of 62.5


def test_the_transform_is_undone_by_adding_frames_up(stage):
    audio = torch.randn(2, 4096, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(stage.overlap_add(stage.transform(audio)), audio, atol=1e-4)


@pytest.mark.parametrize("block", [(), (8, 4), (128, 4)])
def test_what_the_autoencoder_sees_is_made_sound_of_again(block):
    stage = PhaseStage(PhaseConfig(width=16, depth=1, block=block)).eval().requires_grad_(False)
    audio = torch.cat([sine(300), sine(500)])
    image = stage.image(audio, 1024)
    assert image.shape[0] == 2
    assert image[0].numel() == 128 * 64
    assert torch.equal(stage.audio(image), stage(stage.spectra(audio)))


def test_rows_sound_the_same_alone_and_in_any_batch(stage):
    spectra = stage.spectra(torch.cat([sine(300), sine(500), sine(700)]))
    together = stage(spectra)
    assert torch.equal(together[1:2], stage(spectra[1:2]))
    assert torch.equal(together, stage(spectra))


def test_a_stage_is_written_and_read(stage, tmp_path):
    assert phase.read(tmp_path) is None
    stage.load_state_dict({name: value.half().float() for name, value in stage.state_dict().items()})
    phase.write(stage, tmp_path)
    again = phase.read(tmp_path)
    spectra = stage.spectra(sine(300))
    assert again.config == stage.config
    assert torch.equal(again(spectra), stage(spectra))


def test_a_used_stage_goes_to_another_device_whole(stage):
    stage(stage.spectra(sine(300)))
    moved = stage.to("meta")
    assert {part.device.type for part in (*moved.parameters(), *moved.buffers())} == {"meta"}
    assert moved(moved.spectra(sine(300).to("meta"))).shape == (1, 16_384)


def test_a_damaged_stage_is_refused_by_its_file(stage, tmp_path):
    phase.write(stage, tmp_path)
    weights = tmp_path / phase.FOLDER / phase.WEIGHTS
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=phase.WEIGHTS):
        phase.read(tmp_path)


def test_wild_spectra_make_a_loud_sound_and_none_that_is_broken(stage):
    wild = 100 * torch.randn(1, 128, 32, generator=torch.Generator().manual_seed(0))
    loud = stage(wild)
    assert loud.isfinite().all() and 1 < loud.abs().max() < 500
    tone = stage.spectra(sine(300))
    assert stage.magnitudes(tone).max() < stage.config.window / 2, "what can be is as it was"
