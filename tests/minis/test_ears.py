"""The ears: one space for audio and text, rows by themselves, what they learn from, and what the shipped ones hear."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tada.minis.attributes import CLASSES, draw
from tada.minis.ears import WEIGHTS, clap, load, material, second, spectra, training
from tada.minis.ears.ear import Ear
from training.ears.texts import ANY, FRAMES, about, contrast, counterfactual, fits, promise, prompts
from tests.minis.conftest import Renders

NAMES = ("clap", "second")
TEXTS = ["a piano song", "This is a music of a female vocal singing", "Slow, sad. " * 60, "zzz?!"]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("words") / "words.json"
    clap.tokenizer_of(path)
    return path


@pytest.fixture(scope="module", params=NAMES)
def ear(request: pytest.FixtureRequest, words: Path) -> Ear:
    """An untrained ear of small width."""
    torch.manual_seed(3)
    small = clap.build(words, 8, 16) if request.param == "clap" else second.SecondEar(["piano", "a", "song"], 16, 1)
    return small.eval().requires_grad_(False)


def noise(rows: int, seconds: float, rate: int = 16_000) -> torch.Tensor:
    return torch.randn(rows, round(seconds * rate), generator=torch.Generator().manual_seed(1)) * 0.1


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
    with pytest.raises(KeyError, match="did you mean 'second'"):
        training.train("seconds", "nowhere")
    with pytest.raises(FileNotFoundError, match="train"):
        load(ear.name, "nowhere")
    with pytest.raises(KeyError, match="did you mean 'tempo'"):
        prompts("tempi")


def test_gradients_reach_all_of_an_ear(words: Path) -> None:
    torch.manual_seed(0)
    for one in (clap.build(words, 8, 16), second.SecondEar(["piano", "a", "song"], 16, 1)):
        pupil = training.Apprentice(one)
        seen = one.seen(noise(4, 4.096), 16_000)[:, 0]
        pupil(seen, material.truth(range(4)), 0)[0].backward()
        idle = [name for name, value in pupil.named_parameters() if value.grad is None or not value.grad.any()]
        # transformers' own scales are set from ours at the end; a key's bias does not change a softmax
        assert [name for name in idle if "logit_scale" not in name and "key.bias" not in name] == []


# The CLAP-class ear


@pytest.fixture(scope="module")
def small_clap(words: Path) -> clap.ClapEar:
    torch.manual_seed(3)
    return clap.build(words, 8, 16).eval().requires_grad_(False)


def test_four_stages_can_be_reached_with_gradients(small_clap: clap.ClapEar) -> None:
    audio = noise(2, 5.0).requires_grad_()
    stages = small_clap.stages(small_clap.seen(audio, 16_000)[:, 0])
    assert [tuple(stage.shape[1:]) for stage in stages] == [(16, 16, 16), (32, 8, 8), (64, 4, 4), (64, 4, 4)]
    sum(stage.square().sum() for stage in stages).backward()
    assert audio.grad is not None and audio.grad.abs().sum(1).min() > 0


def test_spectrograms_are_those_of_the_feature_extractor(small_clap: clap.ClapEar) -> None:
    for seconds in (4.096, 5.0):
        audio = noise(2, seconds)
        own = small_clap.look(spectra.windows(audio)[:, 0])
        features = small_clap.processor.feature_extractor(
            list(audio.numpy()), sampling_rate=16_000, return_tensors="pt"
        )
        assert features["input_features"].shape == (2, 1, 251, 64)
        assert torch.allclose(features["input_features"][:, 0].float(), own, atol=2e-3)


def test_the_folder_is_one_of_transformers(small_clap: clap.ClapEar, tmp_path: Path) -> None:
    from transformers import ClapModel, ClapProcessor

    clap.save(small_clap, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(training.SHIPPED)
    model, processor = ClapModel.from_pretrained(tmp_path).float().eval(), ClapProcessor.from_pretrained(tmp_path)
    audio = noise(2, 4.096)
    # audio and text apart: "padding" would go to both, and the extractor would pad with silence
    features = processor(audio=list(audio.numpy()), sampling_rate=16_000, return_tensors="pt")["input_features"]
    words = processor(text=TEXTS[:2], padding=True, return_tensors="pt")
    with torch.no_grad():
        output = model(input_features=features, **words)
    again = clap.load(tmp_path)
    assert torch.allclose(output.audio_embeds, again.embed_audio(audio, 16_000), atol=1e-4)
    assert torch.allclose(output.text_embeds, again.embed_text(TEXTS[:2]), atol=1e-4)
    assert torch.allclose(small_clap.embed_audio(audio, 16_000), again.embed_audio(audio, 16_000), atol=2e-2)  # fp16
    assert small_clap.model.dtype == torch.float32


def test_the_tokenizer_heeds_no_case_and_cuts_long_texts(small_clap: clap.ClapEar) -> None:
    loud, quiet = small_clap.embed_text(["A SAD Song", "a sad song"])
    assert torch.equal(loud, quiet)
    ids = small_clap.processor.tokenizer(["drums " * 500], truncation=True)["input_ids"][0]
    assert len(ids) == clap.LONGEST
    assert len(small_clap.processor.tokenizer.tokenize("female piano drums maracas reggae techno")) == 6


# The second ear


def test_the_second_ear_survives_its_folder(tmp_path: Path) -> None:
    torch.manual_seed(1)
    whole = second.SecondEar(["a", "piano", "song"], 16, 1).eval()
    second.save(whole, tmp_path)
    again = second.load(tmp_path)
    assert torch.allclose(whole.embed_text(TEXTS), again.embed_text(TEXTS), atol=2e-2)
    assert torch.allclose(
        whole.embed_audio(noise(2, 4.096), 16_000), again.embed_audio(noise(2, 4.096), 16_000), atol=2e-2
    )


def test_the_second_ear_heeds_order_of_neighbours_but_no_gain() -> None:
    torch.manual_seed(1)
    one = second.SecondEar(["no", "voice", "drums"], 16, 1).eval()
    first, other = one.embed_text(["no voice drums", "voice no drums"])
    assert (first - other).norm() > 1e-3
    loud = 0.5 * noise(2, 4.096)
    assert torch.allclose(one.embed_audio(loud, 16_000), one.embed_audio(loud / 3, 16_000), atol=1e-3)


def test_words_are_split_at_spaces_hyphens_and_stops() -> None:
    assert second.split("A Drums-based track, don't.") == ["a", "drums", "based", "track", ",", "don't", "."]


# Texts


def test_prompts_name_their_class_and_differ() -> None:
    for name, classes in CLASSES.items():
        for frame in FRAMES:
            texts = prompts(name, frame)
            assert len(set(texts)) == len(classes)
    assert prompts("voice", "clap")[0] == "This is a music of A female vocal singing"
    assert prompts("instrument", "muq")[0] == "A piano-based track"


def test_contrasts_never_hold_the_frame_kept_for_tests() -> None:
    unseen = FRAMES["unseen"][0].split(":")[0]
    for name, classes in CLASSES.items():
        for seed in range(60):
            texts = [one.text for one in contrast(name, seed)]
            assert len(set(texts)) == len(classes) and not any(unseen in text for text in texts)


def test_a_counterfactual_breaks_one_promise() -> None:
    differences = set()
    for seed in range(200):
        clip = material.truth([seed])[0]
        told, changed = counterfactual(clip.tolist(), seed)
        promised = torch.tensor([told.promised, changed.promised])
        assert fits(clip[None], promised)[0, 0]
        broken = (promised[0] != promised[1]).sum().item()
        differences.add(broken)
        assert fits(clip[None], promised)[0, 1] == (broken == 0) == (told.text == changed.text)
    assert differences == {0, 1}


def test_fits_asks_for_all_that_is_promised() -> None:
    truth = torch.tensor([[0, 1], [1, 1]])
    promised = torch.tensor([[ANY, ANY], [0, ANY], [ANY, 1], [1, 0]])
    assert fits(truth, promised).tolist() == [[True, True, True, False], [True, False, True, False]]


def test_promises_are_the_classes_mentioned() -> None:
    promised = promise({"tempo": "fast", "genre": "reggae"})
    assert dict(zip(CLASSES, promised, strict=True)) == {
        "voice": ANY, "tempo": 1, "mood": ANY, "instrument": ANY, "percussion": ANY, "genre": 2,
    }  # fmt: skip
    assert about(material.truth([5])[0].tolist(), 5) == about(material.truth([5])[0].tolist(), 5)


# Training


def test_agreement_is_lowest_where_the_right_ones_are_high() -> None:
    wanted = torch.tensor([[True, False], [False, False]])
    good = torch.where(wanted, 8.0, -8.0)
    assert training.agreement(good, wanted) < 1e-3 < 1 < training.agreement(-good, wanted)


def test_texts_read_by_length_come_back_in_order(ear: Ear) -> None:
    texts = ["a song " * count for count in (9, 1, 7, 3, 5)]
    assert torch.allclose(training.read(ear, texts), ear.embed_text(texts), atol=1e-5)


def test_truth_is_that_of_the_renders() -> None:
    for seed, row in zip((3, 4), material.truth([3, 4]).tolist(), strict=True):
        labels = draw(seed).labels()
        assert [classes[i] for i, classes in zip(row, CLASSES.values(), strict=True)] == [
            labels[name] for name in CLASSES
        ]


def test_clips_of_training_tests_and_probes_do_not_meet() -> None:
    assert material.FIRST > 100_000_000
    assert material.FIRST + 1000 * material.PART < 700_000_000 < training.TEST_SEED


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training on four clips, judged on eight, with small ears."""
    monkeypatch.setattr(material, "PART", 4)
    seen = {name: value.half() for name, value in material.spectrograms(range(4)).items()}
    monkeypatch.setattr(material, "load", lambda folder, parts, ear: (seen[ear], material.truth(range(4))))
    judge, pairs = training.accuracy, training.counterfactuals
    monkeypatch.setattr(training, "accuracy", lambda ear: judge(ear, 8))
    monkeypatch.setattr(training, "counterfactuals", lambda ear: pairs(ear, 8))
    build = clap.build
    monkeypatch.setattr(clap, "build", lambda path: build(path, 8, 16))
    monkeypatch.setattr(second, "build", lambda: second.SecondEar(["piano", "a", "song"], 16, 1))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("few")
def test_training_goes_on_where_it_was_and_writes_an_ear_with_its_card(name: str, tmp_path: Path, words: Path) -> None:
    for folder in ("whole", "killed"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "words.json").write_bytes(words.read_bytes())
    whole = training.train(name, tmp_path / "whole", steps=3, batch=4, parts=1)
    training.train(name, tmp_path / "killed", steps=3, batch=4, parts=1, limit=0.0)
    assert not (tmp_path / "killed" / "card.json").is_file()
    resumed = training.train(name, tmp_path / "killed", steps=3, batch=4, parts=1)
    assert np.allclose(whole["loss"], resumed["loss"], rtol=1e-6)
    content = json.loads((tmp_path / "whole" / "card.json").read_text())
    assert content["clips"] == 4 and content["steps"] == 3
    assert set(content["accuracy"]) == set(CLASSES)
    assert content["sha256"] == {
        path: hashlib.sha256((tmp_path / "whole" / path).read_bytes()).hexdigest() for path in content["sha256"]
    }
    told = [load(name, tmp_path / folder).embed_text(TEXTS) for folder in ("whole", "killed")]
    assert torch.allclose(told[0], told[1], atol=1e-4)


def test_the_parts_are_made_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(material, "PART", 2)
    seen, truth = material.load(tmp_path, 2, "second")
    assert seen.shape == (4, 257, 64) and seen.dtype == torch.float16 and truth.shape == (4, 6)
    before = (tmp_path / "001.safetensors").stat().st_mtime_ns
    again, _ = material.load(tmp_path, 2, "clap")
    assert again.shape == (4, 251, 64)
    assert (tmp_path / "001.safetensors").stat().st_mtime_ns == before
    own = material.spectrograms([material.FIRST + 3])["second"][0]
    assert torch.allclose(seen[3].float(), own, atol=0.01)


def test_accuracy_counts_what_is_nearest() -> None:
    class Knowing(second.SecondEar):
        """Knows the truth of test clips, except that it takes every voice for female."""

        def embed_audio(self, audio: torch.Tensor, sample_rate: int, batch: int = 64) -> torch.Tensor:
            truth = material.truth(range(training.TEST_SEED, training.TEST_SEED + len(audio)))
            rows = torch.cat([torch.nn.functional.one_hot(truth[:, i], 5) for i in range(6)], 1).float()
            rows[:, :5] = torch.eye(5)[0]
            return rows

        def embed_text(self, texts: list[str], batch: int = 256) -> torch.Tensor:  # type: ignore[override]
            rows = torch.zeros(len(texts), 30)
            for row, text in enumerate(texts):
                place = next(
                    (n, f)
                    for n in CLASSES
                    for f in FRAMES
                    if text in prompts(n, f) and len(prompts(n, f)) == len(texts)
                )
                rows[row, 5 * list(CLASSES).index(place[0]) + prompts(*place).index(text)] = 1
            return rows

    table = training.summary(training.accuracy(Knowing(["a"], 16, 1), 32))
    voices = material.truth(range(training.TEST_SEED, training.TEST_SEED + 32))[:, 0]
    assert table["accuracy"]["voice"] == pytest.approx((voices == 0).float().mean().item())
    assert table["accuracy"].drop("voice").eq(1).all()
    assert (table["low"] < table["accuracy"]).all() and (table["worst"] <= table["accuracy"]).all()


# The shipped ears

shipped = pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            marks=pytest.mark.skipif(
                not (WEIGHTS / name / "model.safetensors").is_file(), reason=f"no trained {name} ear"
            ),
        )
        for name in NAMES
    ],
)


@shipped
def test_a_shipped_ear_hears_renders_it_never_heard(name: str, renders: Renders) -> None:
    one = load(name)
    heard = one.embed_audio(torch.from_numpy(renders.audio), 16_000)
    truth = material.truth(renders.seeds)
    for place, (attribute, frame) in enumerate(
        zip(CLASSES, ["bare", "clap", "muq", "unseen", "sentence", "muq"], strict=True)
    ):
        nearest = (heard @ one.embed_text(prompts(attribute, frame)).T).argmax(1)
        assert (nearest == truth[:, place]).float().mean() >= 0.9, attribute


@shipped
def test_a_shipped_ear_is_what_its_card_says(name: str) -> None:
    folder = WEIGHTS / name
    content = json.loads((folder / "card.json").read_text())
    assert set(content["sha256"]) >= {"model.safetensors", "config.json"}
    for file, digest in content["sha256"].items():
        assert hashlib.sha256((folder / file).read_bytes()).hexdigest() == digest, file
    recipe = training.RECIPES[name]
    assert (content["seed"], content["steps"]) == (recipe.seed, recipe.steps)
    assert content["parameters"] <= {"clap": 1_500_000, "second": 1_000_000}[name]
    for attribute, row in content["accuracy"].items():
        assert row["clips"] >= 512
        assert row["accuracy"] >= (0.9 if attribute == "instrument" else 0.95), attribute
    assert isinstance(pd.read_csv(folder / "curve.csv"), pd.DataFrame)
    assert not list(folder.glob("*.txt"))
