"""The ears: one space for audio and text, rows by themselves, and what the shipped ones hear."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from tada.minis import cards
from tada.minis.attributes import CLASSES
from tada.minis.ears import load, second, spectra
from tada.minis.ears.ear import Ear
from tests.minis.conftest import TEXTS, Renders, noise

NAMES = ("clap", "second")


@pytest.fixture(scope="module", params=NAMES)
def ear(request: pytest.FixtureRequest) -> Ear:
    return load(request.param)


def test_audio_and_text_get_rows_of_unit_length_in_one_space(ear: Ear) -> None:
    heard, told = ear.embed_audio(noise(3, 4.096), 16_000), ear.embed_text(TEXTS)
    assert heard.shape == (3, 128) and told.shape == (4, 128)
    assert heard.dtype == told.dtype == torch.float32
    assert torch.allclose(heard.norm(dim=1), torch.ones(3), atol=1e-5)
    assert torch.allclose(told.norm(dim=1), torch.ones(4), atol=1e-5)
    assert (heard[0] - heard[1]).abs().max() > 1e-4


def test_a_row_alone_is_the_same_in_any_batch(ear: Ear) -> None:
    audio = noise(3, 4.096)
    together = ear.embed_audio(audio, 16_000)
    assert torch.allclose(ear.embed_audio(audio[1:2], 16_000), together[1:2], atol=1e-5)
    assert torch.allclose(ear.embed_audio(audio, 16_000, batch=2), together, atol=1e-5)
    told = ear.embed_text(TEXTS)
    assert torch.allclose(ear.embed_text(TEXTS[:1]), told[:1], atol=1e-5)
    assert torch.equal(ear.embed_text(TEXTS), told)


def test_stereo_is_heard_as_its_mean_and_any_rate_at_16_khz(ear: Ear) -> None:
    time = torch.arange(4 * 48_000) / 48_000
    tone = 0.3 * torch.sin(2 * torch.pi * 440 * time) + 0.2 * torch.sin(2 * torch.pi * 1500 * time)
    stereo = torch.stack([1.5 * tone, 0.5 * tone])[None]
    mono = ear.embed_audio(tone[None], 48_000)
    assert torch.allclose(ear.embed_audio(stereo, 48_000), mono, atol=1e-4)
    other = 0.3 * torch.sin(2 * torch.pi * 523 * time) + 0.2 * torch.sin(2 * torch.pi * 2500 * time)
    slower = ear.embed_audio(tone[None, ::3], 16_000)
    assert (slower - mono).norm() < 0.2 * (ear.embed_audio(other[None], 48_000) - mono).norm()


def test_long_clips_are_heard_in_pieces_and_short_ones_repeated(ear: Ear) -> None:
    audio = noise(1, 1.5 * ear.frames / 16_000)
    pieces = torch.cat([audio[:, : ear.frames], audio[:, -ear.frames :]])
    mean = ear.embed_audio(pieces, 16_000).mean(0, keepdim=True)
    expected = torch.nn.functional.normalize(mean, dim=1)
    assert torch.allclose(ear.embed_audio(audio, 16_000), expected, atol=1e-5)
    short = noise(1, 1.0)
    assert torch.allclose(
        ear.embed_audio(short, 16_000), ear.embed_audio(short.repeat(1, 6)[:, : ear.frames], 16_000), atol=1e-5
    )


def test_windows_cover_a_clip_evenly() -> None:
    clip = torch.arange(25)[None]
    assert spectra.windows(clip, 10)[0, :, 0].tolist() == [0, 8, 15]
    assert spectra.windows(clip, 25).shape == (1, 1, 25)
    assert spectra.windows(torch.arange(3)[None], 7).tolist() == [[[0, 1, 2, 0, 1, 2, 0]]]


def test_what_makes_no_sense_is_refused(ear: Ear) -> None:
    with pytest.raises(ValueError, match="list of texts"):
        ear.embed_text("piano")
    with pytest.raises(ValueError, match="list of texts"):
        ear.embed_text([])
    with pytest.raises(ValueError, match=r"expected \[rows, frames\]"):
        ear.embed_audio(torch.zeros(16_000), 16_000)
    with pytest.raises(ValueError, match="at least 0.1 s"):
        ear.embed_audio(torch.zeros(1, 100), 16_000)
    with pytest.raises(KeyError, match="did you mean 'clap'"):
        load("clapp")
    with pytest.raises(FileNotFoundError, match="train"):
        load(ear.name, "nowhere")


# The CLAP-class ear


def test_spectrograms_are_those_of_the_feature_extractor() -> None:
    small_clap = load("clap")
    for seconds in (4.096, 5.0):
        audio = noise(2, seconds)
        own = small_clap.spectrogram(spectra.windows(audio)[:, 0])
        features = small_clap.processor.feature_extractor(
            list(audio.numpy()), sampling_rate=16_000, return_tensors="pt"
        )
        assert features["input_features"].shape == (2, 1, 251, 64)
        assert torch.allclose(features["input_features"][:, 0].float(), own, atol=2e-3)


# The second ear


def test_the_second_ear_heeds_order_of_neighbours_but_no_gain() -> None:
    torch.manual_seed(1)
    one = second.SecondEar(["no", "voice", "drums"], 16, 1).eval()
    first, other = one.embed_text(["no voice drums", "voice no drums"])
    assert (first - other).norm() > 1e-3
    loud = 0.5 * noise(2, 4.096)
    assert torch.allclose(one.embed_audio(loud, 16_000), one.embed_audio(loud / 3, 16_000), atol=1e-3)


def test_words_are_split_at_spaces_hyphens_and_stops() -> None:
    assert second.split("A Drums-based track, don't.") == ["a", "drums", "based", "track", ",", "don't", "."]


# The shipped ears

PROMPTS = {
    "voice": ["female voice", "male voice", "no voice"],
    "tempo": ["This is a music of slow song", "This is a music of fast song"],
    "mood": ["A cheerful track", "A sad track"],
    "genre": ["A jazz track", "A techno track", "A reggae track"],
}
HEARD = {"clap": [*CLASSES], "second": ["voice", "instrument", "genre", "timbre"]}
"""Ear -> attributes that it hears; of the second, which read captions alone, no other is asked for."""


def test_a_shipped_ear_hears_renders_it_never_heard(ear: Ear, renders: Renders) -> None:
    clips = ear.embed_audio(torch.from_numpy(renders.audio), 16_000)
    for attribute in set(PROMPTS).intersection(HEARD["second" if isinstance(ear, second.SecondEar) else "clap"]):
        texts = PROMPTS[attribute]
        nearest = (clips @ ear.embed_text(texts).T).argmax(1)
        truth = [CLASSES[attribute].index(clip.labels()[attribute]) for clip in renders.attributes]
        assert (nearest == torch.tensor(truth)).float().mean() >= 0.9, attribute


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_ear_is_small_and_good_by_its_card(name: str) -> None:
    card, folder = cards.read(name), cards.WEIGHTS / name
    assert card["parameters"] <= {"clap": 1_500_000, "second": 1_000_000}[name]
    assert all(card["accuracy"][attribute]["accuracy"] >= 0.9 for attribute in HEARD[name])
    assert all(row["clips"] >= 512 for row in card["accuracy"].values())
    assert len(pd.read_csv(folder / "curve.csv")) and not list(folder.glob("*.txt"))
