"""Codecs: real classes, recipes that resume, latents of the promised shapes, distances with known answers."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import tada
from tada.minis.attributes import draw
from tada.models.base import Model
from tada.models.run import Latents
from tests.minis.conftest import Renders
from training import fit as fits
from training.codecs import ace_step, audioldm2, spectral_latents, stable_audio, stages
from training.codecs.distance import beat, differences, levels, lines, mel, spectral
from training.codecs.material import FIRST, crops, renders, repeat_clips
from training.codecs.mels import moments
from training.diffusion import RECIPES, words
from training.diffusion.arch import Arch

CODECS = {"stable-audio": stable_audio, "ace-step": ace_step, "audioldm2": audioldm2}


def networks(codec: Any) -> list[nn.Module]:
    """The parts of a codec that are shipped."""
    return [getattr(codec, name) for name in ("vae", "autoencoder", "vocoder") if hasattr(codec, name)]


class Written(NamedTuple):
    """An untrained codec, the recipe of its mini, and the mini that was written with it."""

    codec: Any
    arch: Arch
    model: Model

    @torch.no_grad()
    def encode(self, audio: Tensor) -> Tensor:
        return self.arch.encode(self.codec, audio)

    def decode(self, latents: Tensor) -> Tensor:
        return self.model.decode(Latents(latents, tuple(range(len(latents))), 1.024)).audio


@pytest.fixture(params=CODECS, scope="module")
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    arch, folder = RECIPES[request.param].arch, tmp_path_factory.mktemp(request.param)
    arch.assemble(folder / "untrained", words.encoder(arch.text_encoder))
    codec = arch.codec.build()
    for network in [*networks(codec), getattr(codec, "gist", None)]:
        if network:
            network.eval()
    arch.finish(tada.load(request.param, folder / "untrained"), arch.codec.build(), folder / "mini")
    return Written(codec, arch, tada.load(request.param, folder / "mini"))


def test_a_codec_has_its_shapes_and_keeps_within_its_size(written: Written, renders: Renders) -> None:
    latents = written.encode(torch.from_numpy(renders.audio[:2]))
    assert tuple(latents.shape[1:]) == written.arch.latents
    sound = written.decode(latents)
    assert sound.shape[-1] >= 1.024 * written.model.sample_rate and sound.isfinite().all()
    assert sum(value.numel() for network in networks(written.codec) for value in network.parameters()) <= 1_200_000


def test_rows_are_independent(written: Written, renders: Renders) -> None:
    audio = torch.from_numpy(renders.audio[:2, :16_384])
    together, alone = written.encode(audio), written.encode(audio[1:])
    assert torch.allclose(together[1:], alone, atol=1e-5)
    assert torch.allclose(written.decode(together)[1:], written.decode(alone), atol=1e-4)


def test_the_adapters_open_what_is_written(written: Written) -> None:
    opened = networks(written.arch.parts(written.model))
    for own, other in zip(networks(written.codec), opened, strict=True):
        assert all(torch.equal(a.half().float(), b) for a, b in _pairs(own, other))


def test_latents_have_the_scale_of_the_pipeline(renders: Renders) -> None:
    codec, audio = audioldm2.build(), torch.from_numpy(renders.audio[:1, :16_384])
    with torch.no_grad():
        plain = audioldm2.encode(codec, audio)
        codec.vae.register_to_config(scaling_factor=0.7)
        assert torch.allclose(audioldm2.encode(codec, audio), 0.7 * plain)


def test_the_ace_step_codec_absorbs_the_adapters_constants(renders: Renders) -> None:
    codec = ace_step.build()
    torch.manual_seed(0)
    plain = type(codec.autoencoder).from_config(codec.autoencoder.config)
    seen = ace_step.mel_input(torch.from_numpy(renders.audio[:1]))
    with torch.no_grad():
        latents = plain.encode(seen).latent
        assert torch.allclose(ace_step._encode(codec, seen), latents, atol=1e-4)
        told, expected = ace_step._decode(codec, latents), plain.decode(latents).sample
    inside = (..., slice(48, -48), slice(48, -48))  # padding is zero before the constants in one, after in the other
    assert torch.allclose(told[inside], expected[inside], atol=1e-4)


def train(name: str, folder: Path, steps: int = 2, **options: Any) -> Any:
    """Train a codec for few steps on short crops of noise."""
    short = {"stable-audio": 4096, "ace-step": 8192, "audioldm2": 7680}[name]
    recipe = CODECS[name].RECIPE
    quick = {key: stage._replace(steps=steps, crops=1, frames=short) for key, stage in recipe.stages.items()}
    audio = (0.1 * np.random.default_rng(0).standard_normal((4, 16_384))).astype(np.float16)
    return stages.train(replace(recipe, stages=quick), folder, audio, compiled=False, **options)


@pytest.mark.parametrize("name", CODECS)
def test_a_recipe_killed_in_its_last_stage_ends_as_if_not(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, fit = train(name, tmp_path / "whole"), fits.fit

    def dies(model: nn.Module, loss: Any, folder: Path, steps: int, rate: float, limit: float) -> pd.DataFrame:
        last = folder.name == list(CODECS[name].STAGES)[-1]
        curve = fit(model, loss, folder, steps, rate, limit=0.0 if last else limit)
        if last:
            raise KeyboardInterrupt
        return curve

    with monkeypatch.context() as dying:
        dying.setattr(fits, "fit", dies)
        with pytest.raises(KeyboardInterrupt):
            train(name, tmp_path / "killed")
    resumed = train(name, tmp_path / "killed")
    for one, other in zip(networks(whole), networks(resumed), strict=True):
        assert all(torch.equal(*pair) for pair in _pairs(one, other))
    untrained = networks(CODECS[name].build())
    assert any(not torch.equal(*pair) for pair in _pairs(networks(whole)[-1], untrained[-1]))


def test_no_stage_learns_from_an_unfinished_one(tmp_path: Path) -> None:
    train("ace-step", tmp_path, limit=0.0)
    assert (tmp_path / "autoencoder" / "checkpoint.safetensors").is_file()
    assert not (tmp_path / "vocoder").exists()


def _pairs(one: nn.Module, other: nn.Module) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_renders_are_made_once(tmp_path: Path) -> None:
    path = tmp_path / "renders.npy"
    made = renders(path, clips=2, first=9)
    before = path.stat().st_mtime_ns
    again = renders(path, clips=2, first=9)
    assert np.array_equal(made, again)
    assert path.stat().st_mtime_ns == before
    assert [file.name for file in tmp_path.iterdir()] == ["renders.npy"]
    with pytest.raises(ValueError, match="expected"):
        renders(path, clips=3)


def test_renders_of_some_classes_are_repeated() -> None:
    audio = np.arange(64, dtype=np.float16)[:, None]
    found = repeat_clips(audio, {"piano": 3, "slow": 2})[:, 0].tolist()
    for row in range(64):
        clip = draw(FIRST + row).labels()
        assert found.count(row) == (3 if clip["instrument"] == "piano" else 1) * (2 if clip["tempo"] == "slow" else 1)
    assert found == sorted(found)


def test_crops_depend_on_the_step_alone() -> None:
    audio = np.arange(4 * 4096, dtype=np.float16).reshape(4, 4096) % 512
    assert torch.equal(crops(audio, 5, 3, 256, 64), crops(audio, 5, 3, 256, 64))
    assert not torch.equal(crops(audio, 5, 3, 256, 64), crops(audio, 6, 3, 256, 64))
    assert set((crops(audio, 5, 32, 256, 64)[:, 0] % 64).tolist()) == {0.0}


def test_distances_have_their_known_answers(renders: Renders) -> None:
    audio = torch.from_numpy(renders.audio[:2])
    assert spectral(audio, audio).item() == 0
    assert mel(audio, audio).item() == 0
    assert spectral(-audio, audio).item() == pytest.approx(0, abs=1e-5)
    assert spectral(audio * 2, audio).item() > 1
    assert spectral(torch.zeros_like(audio), audio).item() > spectral(0.9 * audio, audio).item()
    # the mel's floor apart, half the amplitude is log 4 less in power
    assert mel(0.5 * audio, audio).item() == pytest.approx(math.log(4), rel=0.1)


def test_a_beat_is_what_an_error_has_in_common_at_one_phase(renders: Renders) -> None:
    audio = torch.from_numpy(renders.audio[:8])
    assert beat(audio, audio, 1024).item() == 0
    assert beat(2 * audio, audio, 1024).item() < 2e-3  # the same everywhere is no beat
    time = torch.arange(audio.shape[1])
    marked, free = (audio * (1 + 0.1 * torch.sin(2 * math.pi * time / period)) for period in (512, 700))
    assert beat(marked, audio, 1024).item() > 5 * beat(free, audio, 1024).item()


def test_levels_are_of_bands_whenever_they_sound() -> None:
    noise = 0.1 * torch.randn(2, 16_384, generator=torch.Generator().manual_seed(0))
    assert levels(noise, noise).item() == 0
    assert levels(2 * noise, noise).item() == pytest.approx(1.5 * math.log(4), rel=1e-3)  # of levels, half of power
    early, late = noise.clone(), noise.flip(1)
    early[:, 8192:] = late[:, :8192] = 0
    hiss = early + 0.01 * noise.roll(1, 0)
    assert levels(early, late).item() < 0.2 < 0.1 * levels(hiss, early).item()


def test_lines_are_of_partials_that_stand_out_wherever_they_are() -> None:
    mels = torch.full((1, 32, 8), -6.0)
    mels[:, 5, 2:6] = mels[:, 20, :4] = 2.0
    moved = mels.clone()
    moved[:, [5, 8]], moved[:, [20, 30]] = mels[:, [8, 5]], mels[:, [30, 20]]
    assert lines(mels, mels).item() == 0
    assert lines(moved, mels).item() == pytest.approx(8 * 16 / 256)  # only that bands sound at times they should not
    filled = mels.clamp_min(-4.0)
    assert lines(filled, mels).item() == pytest.approx(2 * 2 * 248 / 256)


def test_finetuning_hears_what_is_silent_to_the_rest() -> None:
    noise = torch.randn(2, 16_384, generator=torch.Generator().manual_seed(0))
    low = torch.sin(2 * math.pi * 100 / 16_000 * torch.arange(16_384)).expand(2, -1) * 0.3
    hiss = low + 1e-3 * (noise - noise.roll(1, 1))
    plain, fine = differences(hiss, low), differences(hiss, low, finetune=True)
    assert plain.keys() == {"spectral", "mel"} < fine.keys()
    assert fine["spectral"] > 1.5 * plain["spectral"]
    assert all(value.item() == 0 for value in differences(low, low, finetune=True).values())


def test_the_ace_step_mini_tells_both_sides_alike(renders: Renders, tmp_path: Path) -> None:
    short = torch.from_numpy(renders.audio[:1, :8192])
    train("ace-step", tmp_path, steps=1)
    codec = ace_step.load(tmp_path)
    with torch.no_grad():
        mels = codec.mels(ace_step.latents(codec, short))
    assert torch.equal(mels[:, 0], mels[:, 1])


def test_moments_vanish_for_a_standard_normal() -> None:
    normal = torch.randn(8, 4, 5000, generator=torch.Generator().manual_seed(0))
    assert moments(normal).item() < 1e-3
    assert moments(2 * normal).item() == pytest.approx(1, rel=0.05)
    assert moments(normal + 3).item() == pytest.approx(9, rel=0.05)


def test_spectral_latents_are_learnt(renders: Renders) -> None:
    torch.manual_seed(0)
    network = spectral_latents.SpectralLatents(8, width=32)
    audio = torch.from_numpy(renders.audio[:8, :16_384])
    seen = spectral_latents.two_mels(audio)
    assert seen.shape == (8, spectral_latents.BANDS, 64)
    assert abs(seen.mean()) < 1.5 and 0.5 < seen.std() < 2
    latents = network.encode(seen)
    assert latents.shape == (8, 8, 16)
    assert torch.allclose(latents.var((0, 2)), torch.ones(8), atol=0.1)
    assert network.decode(latents).shape == seen.shape
    adam = torch.optim.Adam(network.parameters(), 3e-3)
    losses = []
    for step in range(30):
        loss = spectral_latents.gist_loss(network, audio, torch.Generator().manual_seed(step))
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
