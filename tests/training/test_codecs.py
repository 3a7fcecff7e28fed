"""Codes of spectra, the autoencoders that they are written into, and the phase stage that is trained on them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tada.models.phase import PhaseConfig, PhaseStage, cut, join
from training.codecs import blocks, books, linear, recipe
from training.codecs.material import crops, renders
from training.codecs.recipe import CodecRecipe


@pytest.fixture(scope="module")
def spectra() -> torch.Tensor:
    """Spectra with something to find in them: smooth over time and bands."""
    noise = torch.randn(8, 1, 20, 40, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.avg_pool2d(noise, 5, 1)[:, 0] * 3


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    return renders(tmp_path_factory.mktemp("renders") / "renders.npy", clips=8)


@pytest.mark.parametrize("shape", [(16, 4), (4, 4), (8, 2)])
def test_a_code_with_all_components_keeps_everything(spectra, shape):
    code = blocks.fit([spectra], *shape, shape[0] * shape[1])
    assert torch.allclose(code.decode(code.encode(spectra)), spectra, atol=1e-4)


def test_fewer_components_lose_the_least_that_any_linear_code_could(spectra):
    code = blocks.fit([spectra], 4, 4, 6)
    parts = cut(spectra, 4, 4).flatten(0, 2)
    left = torch.linalg.svdvals(parts - parts.mean(0))[6:].square().sum()
    error = (code.decode(code.encode(spectra)) - spectra).square().sum()
    assert torch.isclose(error, left, rtol=1e-3)


def test_great_components_have_more_room_but_not_all(spectra):
    codes = blocks.fit([spectra], 4, 4, 6).encode(spectra).transpose(0, 1).flatten(1)
    spread = codes.std(1)
    assert (spread.diff() <= 1e-4).all()
    assert torch.isclose(spread.square().mean(), torch.tensor(1.0), rtol=0.05)


def test_a_code_is_written_and_read(spectra, tmp_path):
    code = blocks.fit([spectra], 4, 4, 6)
    blocks.save(code, tmp_path / "code.safetensors")
    again = blocks.load(tmp_path / "code.safetensors")
    assert torch.equal(again.encode(spectra), code.encode(spectra))


def test_oobleck_is_the_code_of_whole_spectra(spectra):
    code = blocks.fit([spectra], 16, 4, 16)
    vae = linear.make_oobleck(code)
    codes = code.encode(spectra)
    with torch.no_grad():
        assert torch.allclose(vae.encode(spectra).latent_dist.mode(), codes[:, :, 0], atol=1e-2)
        decoded = vae.decode(codes[:, :, 0]).sample
    assert torch.allclose(decoded, code.decode(codes), atol=0.1)  # one bias for all frames of a block


@pytest.mark.parametrize("kind", ["kl", "dc"])
def test_autoencoders_of_one_level_are_the_code_of_blocks(spectra, kind):
    code = blocks.fit([spectra], 4, 4, 6)
    seen = cut(spectra, 4, 4).permute(0, 3, 1, 2)
    codes, wanted = code.encode(spectra), code.decode(code.encode(spectra))
    with torch.no_grad():
        if kind == "kl":
            vae = linear.make_kl(code)
            found, decoded = vae.encode(seen).latent_dist.mode(), vae.decode(codes).sample
        else:
            vae = linear.make_dc(code, scale=0.2, shift=-2.0)
            found = (vae.encode(seen.repeat(1, 2, 1, 1)).latent + 2.0) * 0.2
            left, right = vae.decode(codes / 0.2 - 2.0).sample.chunk(2, 1)
            assert torch.equal(left, right)
            decoded = left
    assert torch.allclose(found, codes, atol=2e-2)
    assert torch.allclose(join(decoded.permute(0, 2, 3, 1), 4, 4), wanted, atol=2e-2)


def test_books_know_points_that_are_sums_of_few(spectra):
    draws = torch.Generator().manual_seed(0)
    first, second = 9 * torch.randn(4, 6, generator=draws), torch.randn(4, 6, generator=draws)
    pick = torch.randint(4, (2, 400), generator=draws)
    points = first[pick[0]] + second[pick[1]]
    found = books.fit(points, 3, 8)
    assert found.shape == (3, 8, 6)
    errors = [(books.quantise(points, found[:count]) - points).square().mean() for count in (1, 2, 3)]
    assert errors[0] > errors[1] >= errors[2] and errors[2] < 0.05 * points.var()


def test_encodec_is_the_code_in_codebooks(spectra):
    code = blocks.fit([spectra], 16, 4, 6)
    points = recipe.points_of(code.encode(spectra))
    own = books.fit(points, 2, 16)
    codec = linear.make_encodec(code, own).eval()
    assert codec.config.num_quantizers == 2
    image = cut(spectra, 16, 4).permute(0, 3, 1, 2)[:, :, 0]
    with torch.no_grad():
        found = codec.quantizer.decode(codec.quantizer.encode(codec.encoder(image)))
        wanted = recipe.spoil(code.encode(spectra), own, 0)
        assert torch.allclose(found[:, :, None], wanted, atol=1e-3)
        decoded = codec.decoder(found)[:, :, None].permute(0, 2, 3, 1)
    assert torch.allclose(join(decoded, 16, 4), code.decode(wanted), atol=1e-3)


def test_training_a_phase_stage_lowers_its_loss_and_goes_on_where_it_stopped(audio, tmp_path):
    small = CodecRecipe(block=(8, 4), codes=8)
    whole = recipe.train(small, tmp_path / "whole", audio, steps=12)
    assert recipe.train(small, tmp_path / "parts", audio, limit=0, steps=12) is None
    parts = None
    while parts is None:
        parts = recipe.train(small, tmp_path / "parts", audio, limit=1, steps=12)
    assert all(torch.equal(x, y) for x, y in zip(whole.stage.parameters(), parts.stage.parameters(), strict=True))
    loss = recipe.sound_loss(whole.stage, whole.code, audio)
    fresh = recipe.sound_loss(recipe.make_stage(small), whole.code, audio)
    assert loss(100)[0] < fresh(100)[0]


def test_crops_come_from_their_step_alone(audio):
    assert torch.equal(crops(audio, 3, 2, 2048), crops(audio, 3, 2, 2048))
    assert not torch.equal(crops(audio, 3, 2, 2048), crops(audio, 4, 2, 2048))


def test_a_stage_of_a_recipe_folds_as_its_code_does():
    stage = PhaseStage(PhaseConfig(block=(8, 4)))
    audio = torch.randn(1, 4096, generator=torch.Generator().manual_seed(1)) / 10
    code = blocks.fit([stage.spectra(audio)], 8, 4, 32)
    image = stage.image(audio, stage.hop)
    codes = (image.permute(0, 2, 3, 1) - code.mean) @ code.analysis
    assert torch.allclose(codes.permute(0, 3, 1, 2), code.encode(stage.spectra(audio)), atol=1e-5)
