"""The ears' recipe: texts and what they promise, the loss, training that goes on, and ears as written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tada.io import sha256
from tada.minis import cards
from tada.minis.attributes import CLASSES, draw
from tada.minis.ears import clap, load, second
from tada.minis.ears.ear import Ear
from tada.minis.probe import TEST_SEED
from tests.minis.conftest import TEXTS, noise
from training.ears import accuracy as measured
from training.ears import material, models, recipe
from training.ears.texts import ANY, FRAMES, about, contrast, counterfactual, fits, promise, prompts
from training.material import truth

NAMES = ("clap", "second")


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("words") / "words.json"
    models.clap_tokenizer(path)
    return path


def build(name: str, words: Path) -> Ear:
    """An untrained ear of small width."""
    torch.manual_seed(3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "WIDTH", 8)
        patch.setattr(models, "TEXT_WIDTH", 16)
        return models.build_clap(words) if name == "clap" else second.SecondEar(["piano", "a", "song"], 16, 1)


@pytest.fixture(scope="module")
def small_clap(words: Path) -> clap.ClapEar:
    return build("clap", words).eval().requires_grad_(False)


# Texts


def test_prompts_name_their_class_and_differ() -> None:
    for name, classes in CLASSES.items():
        for frame in FRAMES:
            texts = prompts(name, frame)
            assert len(set(texts)) == len(classes)
    assert prompts("voice", "clap")[0] == "This is a music of A female vocal singing"
    assert prompts("instrument", "muq")[0] == "A piano-based track"
    with pytest.raises(KeyError, match="did you mean 'tempo'"):
        prompts("tempi")


def test_contrasts_never_hold_the_frame_kept_for_tests() -> None:
    unseen = FRAMES["unseen"][0].split(":")[0]
    for name, classes in CLASSES.items():
        for seed in range(60):
            texts = [one.text for one in contrast(name, seed)]
            assert len(set(texts)) == len(classes) and not any(unseen in text for text in texts)


def test_a_counterfactual_breaks_one_promise() -> None:
    differences = set()
    for seed in range(200):
        clip = truth([seed])[0]
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
        **dict.fromkeys(CLASSES, ANY), "tempo": 1, "genre": 2,
    }  # fmt: skip
    assert about(truth([5])[0].tolist(), 5) == about(truth([5])[0].tolist(), 5)


# Training


def test_agreement_is_lowest_where_the_right_ones_are_high() -> None:
    wanted = torch.tensor([[True, False], [False, False]])
    good = torch.where(wanted, 8.0, -8.0)
    assert recipe.agreement(good, wanted) < 1e-3 < 1 < recipe.agreement(-good, wanted)


def test_texts_embedded_by_length_come_back_in_order(words: Path) -> None:
    ear, texts = build("clap", words).eval(), ["a song " * count for count in (9, 1, 7, 3, 5)]
    assert torch.allclose(recipe.embed_texts(ear, texts), ear.embed_text(texts), atol=1e-5)


def test_truth_is_that_of_the_renders() -> None:
    for seed, row in zip((3, 4), truth([3, 4]).tolist(), strict=True):
        labels = draw(seed).labels()
        assert [classes[i] for i, classes in zip(row, CLASSES.values(), strict=True)] == [
            labels[name] for name in CLASSES
        ]


def test_clips_of_training_tests_and_probes_do_not_meet() -> None:
    assert material.FIRST > 100_000_000
    assert material.FIRST + 1000 * material.PART < 700_000_000 < TEST_SEED


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch, words: Path) -> None:
    """Training on four clips, judged on eight, with small ears."""
    monkeypatch.setattr(material, "PART", 4)
    seen = {name: value.half() for name, value in material.spectrograms(range(4)).items()}
    monkeypatch.setattr(material, "load", lambda folder, parts, ear: (seen[ear], truth(range(4))))
    monkeypatch.setattr("training.material.TESTED", 8)
    monkeypatch.setattr(recipe, "PARTS", 1)
    monkeypatch.setattr(recipe, "build", lambda name, folder: build(name, words))
    for name in NAMES:
        monkeypatch.setitem(recipe.RECIPES, name, recipe.RECIPES[name]._replace(steps=3, batch=4))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("few")
def test_training_goes_on_where_it_was_and_writes_a_card(name: str, tmp_path: Path) -> None:
    whole = recipe.train(name, tmp_path / "whole", tmp_path)
    recipe.train(name, tmp_path / "killed", tmp_path, limit=0.0)
    assert not (tmp_path / "killed" / "card.json").is_file()
    resumed = recipe.train(name, tmp_path / "killed", tmp_path)
    assert np.allclose(whole["loss"], resumed["loss"], rtol=1e-6)
    card = json.loads((tmp_path / "whole" / "card.json").read_text())
    assert card["clips"] == 4 and card["steps"] == 3
    assert set(card["accuracy"]) == set(CLASSES)
    assert card["sha256"] == {file: sha256(tmp_path / "whole" / file) for file in card["sha256"]}
    whole_rows, resumed_rows = (load(name, tmp_path / folder).embed_text(TEXTS) for folder in ("whole", "killed"))
    assert torch.allclose(whole_rows, resumed_rows, atol=1e-4)


def test_the_parts_are_made_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(material, "PART", 2)
    seen, truth = material.load(tmp_path, range(2), "second")
    assert seen.shape == (4, 257, 64) and seen.dtype == torch.float16 and truth.shape == (4, len(CLASSES))
    before = (tmp_path / "001.safetensors").stat().st_mtime_ns
    again, _ = material.load(tmp_path, range(2), "clap")
    assert again.shape == (4, 251, 64)
    assert (tmp_path / "001.safetensors").stat().st_mtime_ns == before
    own = material.spectrograms([material.FIRST + 3])["second"][0]
    assert torch.allclose(seen[3].float(), own, atol=0.01)


def test_accuracy_counts_what_is_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.material.TESTED", 32)

    class Knowing(second.SecondEar):
        """Knows the truth of test clips, except that it takes every voice for female."""

        def embed_audio(self, audio: torch.Tensor, sample_rate: int, batch: int = 64) -> torch.Tensor:
            heard = truth(range(TEST_SEED, TEST_SEED + len(audio)))
            rows = torch.cat([torch.nn.functional.one_hot(heard[:, i], 5) for i in range(len(CLASSES))], 1).float()
            rows[:, :5] = torch.eye(5)[0]
            return rows

        def embed_text(self, texts: list[str], batch: int = 256) -> torch.Tensor:  # type: ignore[override]
            rows = torch.zeros(len(texts), 5 * len(CLASSES))
            for row, text in enumerate(texts):
                place = next(
                    (n, f)
                    for n in CLASSES
                    for f in FRAMES
                    if text in prompts(n, f) and len(prompts(n, f)) == len(texts)
                )
                rows[row, 5 * list(CLASSES).index(place[0]) + prompts(*place).index(text)] = 1
            return rows

    table = measured.summary(measured.accuracy(Knowing(["a"], 16, 1)))
    voices = truth(range(TEST_SEED, TEST_SEED + 32))[:, 0]
    assert table["accuracy"]["voice"] == pytest.approx((voices == 0).float().mean().item())
    assert table["accuracy"].drop("voice").eq(1).all()
    assert (table["low"] < table["accuracy"]).all() and (table["worst"] <= table["accuracy"]).all()


def test_a_masked_spectrogram_keeps_most_of_itself_and_rows_apart() -> None:
    seen = torch.randn(3, 90, 64, generator=torch.Generator().manual_seed(1))
    masked = recipe.mask_spectrograms(seen, 1.0, torch.Generator().manual_seed(2))
    gain = (masked - seen).flatten(1).median(1).values[:, None, None]
    assert 0.6 < (masked - seen - gain).abs().lt(1e-4).float().mean() < 1
    seen[1] += 5
    again = recipe.mask_spectrograms(seen, 1.0, torch.Generator().manual_seed(2))
    assert torch.equal(again[[0, 2]], masked[[0, 2]]) and not torch.equal(again[1], masked[1])


def test_the_second_ear_finds_captions_better_than_chance_when_it_knows_them(words: Path) -> None:
    class Knowing(second.SecondEar):
        """Gives each row of clips and texts the place that it has in the batch."""

        def encode_audio(self, spectrograms: torch.Tensor) -> torch.Tensor:
            return torch.eye(len(spectrograms))

        def encode_text(self, texts: list[str]) -> torch.Tensor:
            return torch.eye(4)[[self.order.index(text) for text in texts]]

    ear = Knowing(["a"], 16, 1)
    ear.order = [recipe.caption(draw(seed), seed).text for seed in range(4)]
    loss, figures = recipe.CaptionTrainer(ear)(torch.zeros(4, 8, 64), truth(range(4)), 0)
    assert figures == {"right_caption": 1.0} and loss < 1e-3


def test_gradients_reach_all_of_an_ear(words: Path) -> None:
    for name, one in ((name, build(name, words)) for name in NAMES):
        trainer = recipe.RECIPES[name].trainer(one)
        seen = one.features(noise(4, 4.096), 16_000)[:, 0]
        trainer(seen, truth(range(4)), 0)[0].backward()
        idle = [name for name, value in trainer.named_parameters() if value.grad is None or not value.grad.any()]
        # transformers' own scales are set from ours at the end; a key's bias does not change a softmax
        assert [name for name in idle if "logit_scale" not in name and "key.bias" not in name] == []


def test_the_folder_is_one_of_transformers(small_clap: clap.ClapEar, tmp_path: Path) -> None:
    from transformers import ClapModel, ClapProcessor

    models.save_clap(small_clap, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(recipe.SHIPPED)
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
    assert len(ids) == models.LONGEST
    assert len(small_clap.processor.tokenizer.tokenize("female piano drums maracas reggae techno")) == 6


def test_the_second_ear_survives_its_folder(tmp_path: Path) -> None:
    torch.manual_seed(1)
    whole = second.SecondEar(["a", "piano", "song"], 16, 1).eval()
    models.save_second(whole, tmp_path)
    again = second.load(tmp_path)
    assert torch.allclose(whole.embed_text(TEXTS), again.embed_text(TEXTS), atol=2e-2)
    assert torch.allclose(
        whole.embed_audio(noise(2, 4.096), 16_000), again.embed_audio(noise(2, 4.096), 16_000), atol=2e-2
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_ear_was_trained_by_its_recipe(name: str) -> None:
    card = cards.read(name)
    assert (card["seed"], card["steps"]) == (recipe.RECIPES[name].seed, recipe.RECIPES[name].steps)
