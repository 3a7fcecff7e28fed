"""ACE-Step's codec: autoencoder, vocoder, mel analysis and resampling."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from parity import assert_parity, assert_same_shapes, config, filled, given, meta
from tada.models.ace_step.codec import Codec, resample
from tada.models.ace_step.convolution import convolve, deconvolve
from tada.models.ace_step.vocoder import Vocoder, VocoderConfig, log_mel

NAME = "parity_a_vocoder"


@pytest.fixture(scope="module")
def vocoder():
    return filled(Vocoder(config(meta(NAME)["vocoder"], VocoderConfig)))


@pytest.fixture(scope="module")
def codec():
    from diffusers import AutoencoderDC

    vocoder = Vocoder(config(meta(NAME)["chain_vocoder"], VocoderConfig))
    return Codec(filled(AutoencoderDC(**meta(NAME)["dcae"])), filled(vocoder))


# ---- parity


def test_vocoder_parity(vocoder):
    mel = given(NAME, "tiny_mel")
    features = vocoder.backbone(mel)
    assert_parity(features, NAME, "tiny.backbone", 1e-5)
    assert_parity(vocoder.head.conv_pre(features), NAME, "tiny.conv_pre", 1e-5)
    assert_parity(vocoder(mel), NAME, "tiny.wav", 1e-5)


def test_vocoder_parity_at_the_public_size():
    assert_parity(filled(Vocoder())(given(NAME, "real_mel")), NAME, "real.wav", 1e-5)


def test_mel_parity():
    assert_parity(log_mel(given(NAME, "audio"), VocoderConfig()), NAME, "mel.logmel", 1e-4)


def test_chain_parity(codec):
    mels = codec.mels(given(NAME, "latents"))
    assert_parity(mels, NAME, "chain.logmel", 1e-5)
    wave = codec.vocode(mels)
    assert_parity(wave, NAME, "chain.wav_44100", 1e-5)
    assert_parity(resample(wave, 44100, 48000), NAME, "chain.wav_48000", 1e-5)
    assert_parity(codec.decode(given(NAME, "latents")), NAME, "chain.wav_48000", 1e-5)
    assert_parity(codec.encode(given(NAME, "audio_48000")), NAME, "chain.encoded", 1e-5)


def test_names_and_shapes_are_the_public_ones():
    from diffusers import AutoencoderDC
    from transformers import UMT5Config, UMT5EncoderModel

    with torch.device("meta"):
        vocoder = Vocoder()
        autoencoder = AutoencoderDC(**meta("dcae_state_dict")["config"])
        text = UMT5EncoderModel(UMT5Config(**meta("umt5_state_dict")["config"]))
    assert_same_shapes(vocoder, "vocoder_state_dict", ["mel_transform."])
    assert_same_shapes(autoencoder, "dcae_state_dict")
    names = {n: tuple(p.shape) for n, p in text.named_parameters()}
    assert names == {n: tuple(s) for n, s in meta("umt5_state_dict")["tensors"].items()}


# ---- other lengths


@pytest.mark.parametrize(("total", "frames"), [(300, 64), (129, 128), (90, 100), (61, 7)])
def test_the_vocoder_in_pieces_is_the_whole(vocoder, total, frames):
    mel = torch.randn(2, 20, total, generator=torch.Generator().manual_seed(total))
    assert (vocoder.chunked(mel, frames) - vocoder(mel)).abs().max() < 1e-6


def test_the_halo_covers_what_reaches_a_sample(vocoder):
    """Changing a frame changes no sample further away than the halo says, at the tiny and at the public depth."""
    mel = torch.randn(1, 20, 201, generator=torch.Generator().manual_seed(0))
    other = mel.clone()
    other[..., 100] += 3.0
    changed = (vocoder(mel) - vocoder(other)).flatten().unflatten(0, (201, -1)).abs().amax(1).nonzero()
    reach = max(100 - int(changed.min()), int(changed.max()) - 100)
    assert vocoder.config.halo - 8 <= reach <= vocoder.config.halo
    assert VocoderConfig().halo == 93


def test_rows_are_decoded_alone(codec):
    latents = torch.randn(3, 8, 16, 4, generator=torch.Generator().manual_seed(0))
    together = codec.decode(latents)
    assert together.shape == (3, 2, math.ceil(4 * 4096 * 160 / 147))
    for row in range(3):
        torch.testing.assert_close(codec.decode(latents[row : row + 1])[0], together[row], atol=1e-6, rtol=0)


def test_resampling_keeps_a_tone():
    time, new_time = torch.arange(44100) / 44100, torch.arange(48000) / 48000
    tone = torch.sin(2 * math.pi * 1000 * time)
    out = resample(tone.expand(2, 3, -1), 44100, 48000)
    assert out.shape == (2, 3, 48000)
    middle = slice(200, -200)
    torch.testing.assert_close(out[1, 2, middle], torch.sin(2 * math.pi * 1000 * new_time)[middle], atol=2e-3, rtol=0)
    assert torch.equal(resample(tone, 48000, 48000), tone)


def test_a_tone_lies_in_the_mel_band_of_its_frequency():
    tone = torch.sin(2 * math.pi * 440 * torch.arange(22050) / 44100)[None]
    mel = log_mel(tone, VocoderConfig())
    band = int(mel.mean(-1).argmax())
    edges = torch.linspace(40 * 3 / 200, 15 + 27 * math.log(16) / math.log(6.4), 130)
    assert abs(float(edges[band + 1]) - 440 * 3 / 200) < float(edges[1] - edges[0])


def test_sides_that_are_the_same_are_made_once(codec, monkeypatch):
    mels = torch.randn(1, 2, codec.vocoder.config.n_mels, 4, generator=torch.Generator().manual_seed(0))
    same, calls = mels[:, :1].expand(-1, 2, -1, -1), []
    chunked = codec.vocoder.chunked
    monkeypatch.setattr(codec.vocoder, "chunked", lambda side: calls.append(side) or chunked(side))
    both, one = codec.vocode(mels), codec.vocode(same)
    assert len(calls) == 3 and both.shape[1] == 2
    assert torch.equal(one, both[:, :1])


# ---- convolutions


@pytest.mark.parametrize(("dilation", "groups", "bias"), [(1, 1, True), (3, 1, False), (1, 4, True)])
def test_convolutions_in_the_fast_layout_are_the_plain_ones(dilation, groups, bias):
    draws = torch.Generator().manual_seed(0)
    x, weight = torch.randn(2, 8, 50, generator=draws), torch.randn(12, 8 // groups, 5, generator=draws)
    added = torch.randn(12, generator=draws) if bias else None
    wanted = F.conv1d(x, weight, added, padding=2 * dilation, dilation=dilation, groups=groups)
    torch.testing.assert_close(convolve(x, weight, added, 2 * dilation, dilation, groups), wanted)
    other = convolve(x.to("meta"), weight.to("meta"), None, 2 * dilation, dilation, groups)  # devices but CPUs
    assert other.shape == wanted.shape
    x, weight, added = (torch.randn(shape, generator=draws) for shape in ((2, 8, 20), (8, 6, 8), (6,)))
    wanted = F.conv_transpose1d(x, weight, added, stride=4, padding=2)
    torch.testing.assert_close(deconvolve(x, weight, added, 4, 2), wanted)
    assert deconvolve(x.to("meta"), weight.to("meta"), added.to("meta"), 4, 2).shape == wanted.shape
