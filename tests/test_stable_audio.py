"""Stable Audio's activation in blocks."""

from __future__ import annotations

import pytest
import torch

from tada.models import stable_audio

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")


@pytest.fixture
def autoencoder():
    """A small one whose activations are not all alike."""
    from diffusers import AutoencoderOobleck

    torch.manual_seed(0)
    sizes = {"encoder_hidden_size": 8, "decoder_channels": 8, "decoder_input_channels": 4}
    vae = AutoencoderOobleck(**sizes, downsampling_ratios=[2, 4], channel_multiples=[1, 2], audio_channels=1).eval()
    for name, value in vae.named_parameters():
        if name.endswith(("alpha", "beta")):
            torch.nn.init.normal_(value, std=0.5)
    return vae


@pytest.mark.parametrize("block", [1, 100, stable_audio.BLOCK])
def test_clips_are_bitwise_those_of_the_plain_activation(autoencoder, monkeypatch, block):
    latents = torch.randn(2, 4, 33)
    with torch.no_grad():
        plain = autoencoder.decode(latents).sample
        monkeypatch.setattr(stable_audio, "BLOCK", block)
        stable_audio.compute_in_blocks(autoencoder)
        calls = []
        monkeypatch.setattr(torch, "add", lambda *args, add=torch.add, **kw: calls.append(0) or add(*args, **kw))
        assert torch.equal(autoencoder.decode(latents).sample, plain)
    assert calls


def test_gradients_flow_as_before(autoencoder):
    latents = torch.randn(1, 4, 8, requires_grad=True)
    autoencoder.decode(latents).sample.sum().backward()
    before, latents.grad = latents.grad, None
    stable_audio.compute_in_blocks(autoencoder)
    autoencoder.decode(latents).sample.sum().backward()
    assert torch.equal(latents.grad, before) and before.abs().sum() > 0


def test_a_loaded_model_decodes_so(tiny_model):
    patched = [p for p in tiny_model("stable-audio").pipeline.vae.modules() if "forward" in vars(p)]
    assert patched and all(part.forward.args == (part,) for part in patched)
