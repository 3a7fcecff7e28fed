"""Metrics: known answers, clips by themselves, any rate, and what is refused."""

from __future__ import annotations

import importlib.util
import math
import pickle
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.linalg import sqrtm
from torch import Tensor

from tada.metrics import audio, clap, curve, embedding, fad, lpaps, muq, packages
from tada.minis import ears as mini_ears
from tada.minis.attributes import Attributes
from tada.models import hub

RATE = 16_000


def sounds(seconds: float, rate: int, rows: int = 2, top: float = 7_000.0) -> Tensor:
    """A dense bed of sines up to ``top`` Hz, faded in and out: the same sound at any rate."""
    time = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    rng = torch.Generator().manual_seed(7)
    pitches = 60 * (top / 60) ** torch.rand(rows, 48, 1, generator=rng, dtype=torch.float64)
    phases = 6.3 * torch.rand(rows, 48, 1, generator=rng, dtype=torch.float64)
    beds = torch.sin(2 * torch.pi * pitches * time + phases).mean(1)
    return (beds * torch.sin(torch.pi * time / seconds).square()).float()


@pytest.fixture(scope="module")
def mini() -> clap.Clap:
    return clap.load("mini")


# ---- clips


def test_clips_are_made_mono_and_clipped_at_full_scale() -> None:
    stereo = torch.tensor([[[0.5] * 3200, [0.1] * 3200], [[3.0] * 3200, [1.0] * 3200]])
    assert audio.prepare(stereo, RATE, RATE)[:, 0].tolist() == pytest.approx([0.3, 1.0])
    assert audio.prepare(np.full((1, 3200), -7.0), RATE, RATE).min() == -1
    loud = 9 * sounds(0.5, 48_000, 1)
    assert torch.equal(audio.prepare(loud, 48_000, RATE), audio.prepare(loud.clamp(-1, 1), 48_000, RATE))


@pytest.mark.parametrize(
    ("clips", "rate", "words"),
    [
        (torch.zeros(1, 1), RATE, "1 samples"),
        (torch.zeros(2, 100), RATE, "at least 0.1 s"),
        (torch.zeros(16_000), RATE, r"\[clips, frames\]"),
        (torch.zeros(0, 16_000), RATE, r"\[clips, frames\]"),
        (torch.zeros(1, 16_000), 0, "sample_rate=0"),
        (torch.zeros(1, 16_000), 44_100.5, "whole number"),
        (torch.zeros(1, 16_000, dtype=torch.int16), RATE, "full scale at 1.0"),
        (torch.tensor([[0.0] * 9999, [math.nan] * 9999, [math.inf] * 9999]), RATE, r"rows \[1, 2\] of 3"),
    ],
)
def test_what_is_no_clip_is_refused(clips: Tensor, rate: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        audio.prepare(clips, rate, RATE)


def test_a_sine_keeps_level_and_pitch_at_another_rate() -> None:
    for rate in (8_000, 22_050, 44_100, 48_000):
        time = torch.arange(rate) / rate
        made = audio.prepare(0.5 * torch.sin(2 * torch.pi * 440 * time)[None], rate, RATE)[0, 2000:-2000]
        wanted = 0.5 * torch.sin(2 * torch.pi * 440 * torch.arange(RATE) / RATE)[2000:-2000]
        assert (made[: len(wanted)] - wanted[: len(made)]).abs().max() < 1e-3


def test_windows_start_every_hop_and_the_last_is_filled() -> None:
    clip = torch.arange(1.0, 31.0)[None]
    cut = audio.windows(clip, 10, 9)
    assert cut[0, :, 0].tolist() == [1, 10, 19, 28]
    assert cut[0, 3].tolist() == [28, 29, 30] * 3 + [0]
    assert audio.fill(clip[:, :3], 10, "repeat")[0].tolist() == [1, 2, 3] * 3 + [1]
    assert audio.fill(clip[:, :3], 10, "pad")[0].tolist() == [1, 2, 3] + [0] * 7


# ---- audio-text models


@pytest.mark.parametrize(("metric", "name"), [(clap, "clap"), (muq, "second")])
def test_minis_embed_through_the_metric_as_alone(
    metric: object, name: str, renders: tuple[list[Attributes], Tensor]
) -> None:
    one, alone = metric.load("mini"), mini_ears.load(name)  # type: ignore[attr-defined]
    assert (embedding.embed(one, renders[1][:4], RATE) - alone.embed_audio(renders[1][:4], RATE)).abs().max() < 1e-6
    texts = ["a piano song", "This is a music of fast song"]
    assert (embedding.embed_text(one, texts) - alone.embed_text(texts)).abs().max() < 1e-6


@pytest.mark.parametrize("metric", [clap, muq])
def test_embeddings_depend_on_no_batch_and_no_rate(metric: object) -> None:
    one = metric.load("mini")  # type: ignore[attr-defined]
    together = embedding.embed(one, sounds(4.096, RATE, 3), RATE)
    assert (embedding.embed(one, sounds(4.096, RATE, 3)[1:2], RATE, batch=1) - together[1:2]).abs().max() < 1e-5
    for rate in (22_050, 44_100, 48_000):
        assert (embedding.embed(one, sounds(4.096, rate, 3), rate) - together).norm(dim=1).max() < 0.01
    stereo = torch.stack([1.4 * sounds(4.096, RATE, 3), 0.6 * sounds(4.096, RATE, 3)], 1)
    assert (embedding.embed(one, stereo, RATE) - together).norm(dim=1).max() < 1e-4
    assert (together[0] - together[1]).norm() > 0.05


def test_long_clips_are_the_mean_of_their_windows(mini: clap.Clap) -> None:
    long = sounds(7.0, RATE, 1)  # windows of 5 s at 0 and 4.5 s
    tail = audio.fill(long[:, 72_000:], 80_000, "repeat")
    parts = torch.stack([mini.embed_windows(long[:, :80_000])[0], mini.embed_windows(tail)[0]])
    assert (embedding.embed(mini, long, RATE) - parts.mean(0)).abs().max() < 1e-6
    text = embedding.embed_text(mini, ["a piano song"])
    mean = torch.stack([embedding.similarity(part, text) for part in parts]).mean(0)
    assert embedding.similarity(embedding.embed(mini, long, RATE), text) == pytest.approx(mean, abs=1e-6)


def test_the_spectrogram_is_the_feature_extractor_s(mini: clap.Clap) -> None:
    piece = audio.fill(sounds(4.0, RATE, 1), mini.window, mini.padding)
    theirs = mini.extractor(piece[0].numpy(), sampling_rate=RATE, return_tensors="pt")["input_features"]
    assert (mini.spectrogram(piece) - theirs).abs().max() < 1e-2  # dB


def test_similarity_is_of_each_clip_and_its_own_text() -> None:
    clips, texts = torch.eye(3)[:2], torch.tensor([[0.6, 0.8, 0.0], [0.6, 0.8, 0.0]])
    assert embedding.similarity(clips, texts).tolist() == pytest.approx([0.6, 0.8])
    assert embedding.similarity(clips, texts[:1]).tolist() == pytest.approx([0.6, 0.8])
    with pytest.raises(ValueError, match="as many texts"):
        embedding.similarity(torch.eye(3), texts)
    with pytest.raises(ValueError, match="list of texts"):
        embedding.embed_text(clap.load("mini"), "piano")


def test_ears_that_do_not_exist_are_explained(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"lukewys/laion_clap"):
        clap.load(tmp_path / "music.pt")
    with pytest.raises(FileNotFoundError, match="no folder"):
        clap.load(tmp_path / "nothing")


def test_the_paper_s_clap_is_the_default(tmp_path: Path, mini: clap.Clap, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(hub, "probe", lambda *args: None)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda name, filename, **how: tmp_path / name / filename)
    monkeypatch.setattr(clap, "_load_laion", lambda name, device: asked.append(name) or mini)
    clap.load()
    (name,) = asked
    file = tmp_path / "lukewys" / "laion_clap" / "music_audioset_epoch_15_esc_90.14.pt"
    assert clap.find_file(name) == file
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *args, **how: 1 / 0)
    with pytest.raises(OSError, match=r"hf download lukewys/laion_clap music_audioset\S+ && hf download roberta-base"):
        clap.find_file(name)


def test_a_text_tower_to_which_all_texts_are_alike_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    one = clap.load("mini")
    one.text_memory.clear()
    one.model.text_projection.linear2.bias.fill_(30.0)
    monkeypatch.setattr(clap, "_load_transformers", lambda *args: one)
    with pytest.raises(OSError, match=r"cosine 0\.99.* less than 0\.95\. Take .*music_audioset_epoch_15"):
        clap.load("near constant")


def laion_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names of ``ClapModel`` turned back to laion-clap's, for a model that has no laion-clap twin."""
    steps = [
        ("audio_model.audio_encoder.", "audio_branch."), ("text_model.", "text_branch."), (".batch_norm.", ".bn0."),
        ("_projection.linear1.", "_projection.0."), ("_projection.linear2.", "_projection.2."),
        (".attention.output.dense.", ".attn.proj."), (".attention.self.", ".attn."),
        (".intermediate.dense.", ".mlp.fc1."), (".output.dense.", ".mlp.fc2."),
        (".layernorm_before.", ".norm1."), (".layernorm_after.", ".norm2."),
    ]  # fmt: skip
    named: dict[str, Tensor] = {}
    for name, value in state.items():
        changes = (
            steps if name.startswith("audio_model") else steps[:2] if name.startswith("text_model") else steps[3:5]
        )
        for before, after in changes:
            name = name.replace(before, after)
        named[name] = value
    for name in [name for name in named if name.startswith("audio_branch") and ".query." in name]:
        rows = [named.pop(name.replace("query", part)) for part in ("query", "key", "value")]
        named[name.replace("query", "qkv")] = torch.cat(rows)
    return named


def test_a_laion_file_gives_back_the_model_it_was_made_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = clap.load("mini")
    state = laion_names(one.model.state_dict()) | {"audio_branch.tscam_conv.bias": torch.zeros(3)}
    torch.save({"state_dict": {f"module.{n}": v for n, v in state.items()}, "best": np.float64(1)}, tmp_path / "a.pt")
    read = clap.read_state(tmp_path / "a.pt")
    made = clap.config_of(read)["audio_config"]
    assert [made[name] for name in ("patch_embeds_hidden_size", "depths", "num_attention_heads", "window_size")] == [
        24, [1, 1, 2, 2], [3, 6, 12, 12], 4]  # fmt: skip
    back = clap.convert(read)
    kept = one.model.state_dict()
    assert all(torch.equal(back[name], kept[name]) for name in kept)
    with pytest.raises(ValueError, match="fusion"):
        clap.config_of(read | {"audio_branch.patch_embed.fusion_model.x": torch.zeros(1)})


def test_a_pickle_with_anything_to_run_is_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"state_dict": {"a": torch.zeros(1)}, "extra": Trap()}, tmp_path / "bad.pt")
    with pytest.raises(pickle.UnpicklingError):
        clap.read_state(tmp_path / "bad.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["laion_clap", "muq", "audiobox_aesthetics"])
def test_a_missing_package_is_an_error_with_its_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError) as error:
        packages.need(name)
    assert packages.INSTALL_HINTS[name] in str(error.value) and packages.INSTALL_HINTS_COLAB[name] in str(error.value)
    assert not packages.installed(name)
    assert "--no-deps torchaudio" in packages.INSTALL_HINTS[name]
    assert "torchvision" not in packages.INSTALL_HINTS[name]


def test_nothing_stays_of_what_stands_in_for_torchvision() -> None:
    before = "torchvision" in sys.modules
    with packages._without_torchvision():
        from torchvision.ops.misc import FrozenBatchNorm2d  # type: ignore[import-untyped, unused-ignore]

        assert isinstance(FrozenBatchNorm2d, type)
    assert ("torchvision" in sys.modules) == before or importlib.util.find_spec("torchvision") is not None


# ---- LPAPS


def test_lpaps_of_known_features() -> None:
    x = [torch.tensor([[[[3.0, 4.0], [0.0, 2.0]]]])]  # one clip, one window, two tokens, two channels
    y = [torch.tensor([[[[4.0, 3.0], [2.0, 0.0]]]])]
    channel = ((0.6 - 0.8) ** 2 * 2 + 2) / 2
    a, b = np.array([[3.0, 4.0], [0.0, 2.0]]), np.array([[4.0, 3.0], [2.0, 0.0]])
    token = ((a / np.linalg.norm(a, axis=0) - b / np.linalg.norm(b, axis=0)) ** 2).sum(0).mean()
    assert lpaps.distance(x, y).item() == pytest.approx(channel, abs=1e-6)
    assert lpaps.distance(x, y, "token").item() == pytest.approx(token, abs=1e-6)
    assert lpaps.distance(x * 4, y * 4).item() == pytest.approx(4 * channel, abs=1e-6)


def test_lpaps_is_0_for_equal_clips_and_the_same_in_any_batch(mini: clap.Clap) -> None:
    clips = sounds(4.096, RATE, 3)
    features = lpaps.embed(mini, clips, RATE)
    assert [[*stage.shape] for stage in features] == [[3, 1, 256, 48], [3, 1, 64, 96], [3, 1, 16, 192], [3, 1, 16, 192]]
    for over in lpaps.AXES:
        assert lpaps.distance(features, features, over).abs().max() == 0
        together = lpaps.between(mini, clips, clips[:1], RATE, over)
        alone = lpaps.between(mini, clips[2:], clips[:1], RATE, over)
        assert together[2].item() == pytest.approx(alone.item(), rel=1e-4)
        assert together[0] == 0 and 0.1 < together[2] < 16
    with pytest.raises(KeyError, match="'token'"):
        lpaps.distance(features, features, "tokens")
    with pytest.raises(ValueError, match="one length"):
        lpaps.distance(features, lpaps.embed(mini, sounds(7.0, RATE, 3), RATE))


# ---- FAD


def gaussians(n: int, dim: int, seed: int, shift: float = 0.0, scale: float = 1.0) -> np.ndarray:
    return shift + scale * np.random.default_rng(seed).standard_normal((n, dim)) * np.linspace(0.3, 1.5, dim)


def textbook(x: np.ndarray, y: np.ndarray) -> float:
    """The Fréchet distance as it is written, with scipy's matrix square root."""
    a, b = np.cov(x.T), np.cov(y.T)
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a + b - 2 * sqrtm(a @ b).real))


def test_fad_of_two_gaussians_is_the_closed_form() -> None:
    """Sets whose sample mean and covariance are exactly those wanted, so that nothing is left to chance."""
    dim, rng = 24, np.random.default_rng(0)

    def exact(n: int, mean: np.ndarray, deviations: np.ndarray) -> np.ndarray:
        x = rng.standard_normal((n, dim))
        x -= x.mean(0)
        x = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T
        return mean + x * deviations

    means, spreads = rng.standard_normal((2, dim)), rng.uniform(0.1, 2.0, (2, dim))
    wanted = ((means[0] - means[1]) ** 2).sum() + ((spreads[0] - spreads[1]) ** 2).sum()
    found = fad.distance(exact(300, means[0], spreads[0]), exact(90, means[1], spreads[1]))
    assert found == pytest.approx(wanted, rel=1e-10)


@pytest.mark.parametrize("n", [48, 300])
def test_fad_is_scipy_s_square_root(n: int) -> None:
    turn = np.linalg.qr(np.random.default_rng(3).standard_normal((32, 32)))[0]
    x, y = gaussians(n, 32, 1), gaussians(n + 7, 32, 2, 0.2, 1.3) @ turn
    assert fad.distance(x, y) == pytest.approx(textbook(x, y), rel=1e-6)
    assert fad.distance(x, y) == pytest.approx(fad.distance(y, x), rel=1e-12)
    assert abs(fad.distance(x, x)) < 1e-9
    assert fad.distance(torch.tensor(x).float(), y) == pytest.approx(fad.distance(x, y), rel=1e-5)


def test_fad_is_biased_and_its_extrapolation_is_not() -> None:
    dim = 64
    true = float(((np.linspace(0.3, 1.5, dim) * 0.2) ** 2).sum() + dim * 0.1**2)
    x, y = gaussians(512, dim, 5, 0.0, 1.2), gaussians(512, dim, 6, 0.1, 1.0)
    small, large = fad.distance(x[:96], y[:96]), fad.distance(x, y)
    assert small > large > true
    found = fad.extrapolated(x, y, repeats=6)
    assert len(found.sizes) == 5 and max(found.sizes) == 512
    assert abs(found.value - true) < 0.15 * (large - true) + 0.05 * true
    with pytest.raises(ValueError, match="2 to 512"):
        fad.extrapolated(x, y, sizes=[100, 600])


def test_kad_is_0_on_average_and_grows_with_distance() -> None:
    same = [fad.kernel(gaussians(40, 8, i), gaussians(60, 8, 1000 + i)) for i in range(60)]
    assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(60)
    assert min(same) < 0 < max(same)
    near, far = (fad.kernel(gaussians(40, 8, 1, shift), gaussians(60, 8, 2)) for shift in (0.4, 1.2))
    assert far > near > max(same)


def test_kad_of_two_points_by_hand() -> None:
    x, y = np.array([[0.0], [2.0]]), np.array([[1.0], [3.0]])
    k = lambda d: math.exp(-d * d / 2)  # noqa: E731
    wanted = k(2) + k(2) - 2 * (k(1) + k(3) + k(1) + k(1)) / 4
    assert fad.kernel(x, y, bandwidth=1.0) == pytest.approx(100 * wanted, rel=1e-12)
    wanted = k(2) + k(2) - 2 * (k(3) + k(1)) / 2
    assert fad.kernel(x, y, bandwidth=1.0, paired=True) == pytest.approx(100 * wanted, rel=1e-12)
    with pytest.raises(ValueError, match="pairs"):
        fad.kernel(x, np.zeros((3, 1)), 1.0, paired=True)


def test_kad_of_pairs_is_0_for_equal_sets_and_unbiased() -> None:
    x = gaussians(30, 8, 1)
    assert fad.kernel(x, x, paired=True) == pytest.approx(0, abs=1e-12) and fad.kernel(x, x) < -1
    found = [fad.kernel(gaussians(30, 8, i), gaussians(30, 8, i) + 0.8 * gaussians(30, 8, 999 + i), 2.0, paired=True)
             - fad.kernel(gaussians(30, 8, i), gaussians(30, 8, 777 + i) + 0.8 * gaussians(30, 8, 999 + i), 2.0)
             for i in range(60)]  # fmt: skip
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(60), "paired and unpaired sets have the same expectation"


@pytest.mark.parametrize("bad", [np.zeros(3), np.zeros((1, 3)), np.full((4, 3), np.nan)])
def test_fad_refuses_what_is_no_set(bad: np.ndarray) -> None:
    with pytest.raises(ValueError):
        fad.distance(bad, gaussians(9, 3, 0))
    with pytest.raises(ValueError, match="one model's"):
        fad.distance(gaussians(9, 4, 0), gaussians(9, 3, 0))


def test_kad_tells_renders_of_one_genre_from_another(renders: tuple[list[Attributes], Tensor]) -> None:
    attributes, clips = renders
    rows = embedding.embed(clap.load("mini"), clips, RATE)
    jazz = np.array([one.genre == "jazz" for one in attributes])
    halves = np.arange(len(rows)) % 2 == 0
    assert fad.kernel(rows[jazz], rows[~jazz]) > 2 * abs(fad.kernel(rows[halves], rows[~halves]))


# ---- curves


@pytest.fixture(scope="module")
def piano() -> pd.DataFrame:
    return pd.read_csv(Path(__file__).parents[1] / "data" / "published_steering_piano.csv")


CUTOFFS = (3.8039, 3.4916)
PUBLISHED = {"caa_all": (0.052, 0.025), "caa_loc": (0.107, 0.053), "sae": (0.140, 0.057)}


@pytest.mark.parametrize("method", PUBLISHED)
def test_published_rows_give_the_published_auc(piano: pd.DataFrame, method: str) -> None:
    rows = piano[piano["method"] == method].sample(frac=1, random_state=0)
    for variant in ("paper", "authors-v2"):
        found = [curve.auc(rows["alpha"], rows[name], rows["lpaps"], CUTOFFS, variant) for name in ("muq", "clap")]
        assert tuple(round(value, 3) for value in found) == PUBLISHED[method]


@pytest.mark.parametrize(
    ("method", "delta", "first"),
    [("caa_all", (0.155, 0.072), 0.0033), ("caa_loc", (0.258, 0.114), 0.0058), ("sae", (0.303, 0.114), 0.0073)],
)
def test_published_rows_give_known_delta_and_smoothness(
    piano: pd.DataFrame, method: str, delta: tuple[float, float], first: float
) -> None:
    rows = piano[piano["method"] == method].sort_values("alpha")
    assert tuple(round(curve.delta(rows["alpha"], rows[name]), 3) for name in ("muq", "clap")) == delta
    assert round(curve.smoothness(rows["alpha"], rows["muq"], "authors"), 4) == first
    by_hand = np.diff(rows["muq"].to_numpy())
    paper = curve.smoothness(rows["alpha"], rows["muq"])
    assert paper == pytest.approx(np.sqrt((by_hand**2).mean() - by_hand.mean() ** 2), rel=1e-9)
    second = curve.smoothness(rows["alpha"], rows["muq"], "authors-v2", rows["lpaps"], CUTOFFS)
    assert 0.01 < second < 0.2 and second != paper


def test_curves_by_hand() -> None:
    alpha, line = [-2, -1, 0, 1, 2], [-0.4, -0.2, 0.0, 0.2, 0.4]
    assert curve.delta(alpha, line) == pytest.approx(0.8)
    assert curve.smoothness(alpha, line) == pytest.approx(0, abs=1e-12)
    assert curve.auc(alpha, line, [2, 1, 0, 1, 2], (2.0, 2.0)) == pytest.approx(0.4)
    assert curve.auc(alpha, line, [2, 1, 0, 1, 2], (1.5, 9.0)) == pytest.approx((0.225 + 0.4) / 2)
    assert curve.auc(alpha, [-v for v in line], [2, 1, 0, 1, 2], (2.0, 2.0)) == pytest.approx(-0.4)
    assert curve.delta(alpha, line, opposite=[0.5, 0.3, 0.1, 0.0, 0.0]) == pytest.approx((0.4 + 0.4) / 2)
    steps = [0.0, 0.1, 0.0, 0.3, 0.2]  # one step down on the positive side, which the authors' first code drops
    assert curve.smoothness(alpha, steps) == pytest.approx(np.std([0.1, -0.1, 0.3, -0.1]))
    assert curve.smoothness(alpha, steps, "authors") == pytest.approx(0.0)
    uneven = curve.smoothness(alpha, [-0.4, -0.3, 0.0, 0.1, 0.4], "authors-v2", [2, 1, 0, 1, 2], (1.5, 2.0))
    assert uneven == pytest.approx((0.0 + np.std([0.75, 0.25])) / 2)


def test_a_path_that_goes_back_is_cut_at_its_first_crossing_or_followed() -> None:
    alpha, distance, gain = [-1, 0, 1, 2, 3, 4], [1, 0, 1, 3, 1.5, 4], [0, 0, 1, 3, 2, 4]
    assert curve.auc(alpha, gain, distance, (2.0, 1.0)) == pytest.approx((0.5 + 1.5) / 2)
    followed = 0.5 + (1 + 7 / 3) / 2 - 0.5 * (7 / 3 + 2) / 2  # the nearest point beyond the cut-off moves on to it
    assert curve.auc(alpha, gain, distance, (2.0, 1.0), "authors-v2") == pytest.approx(followed / 2)
    both = np.array([gain, gain])
    assert curve.auc(alpha, both, [distance, distance], (2.0, 1.0), "authors-v2").shape == (2,)
    within = np.std([0.5, 0.5])  # of the gains 0, 1, 2 at distances 0, 1, 1.5; on the other side nothing is gained
    line = [-2, 0, 1, 3, 2, 4]
    assert curve.smoothness(alpha, line, "authors-v2", distance, (2.0, 1.0)) == pytest.approx(within)


def test_curves_refuse_what_they_cannot_measure() -> None:
    with pytest.raises(ValueError, match="twice"):
        curve.delta([0, 0, 1], [1, 2, 3])
    with pytest.raises(ValueError, match="NaN"):
        curve.delta([0, 1], [1, math.nan])
    with pytest.raises(ValueError, match="no strength 0"):
        curve.auc([-1, 1], [0, 1], [1, 1], (1, 1))
    with pytest.raises(ValueError, match="below 0"):
        curve.auc([0, 1], [0, 1], [0, 1], (1, 1))
    with pytest.raises(ValueError, match="above 0"):
        curve.auc([-1, 0, 1], [0, 1, 2], [1, 0, 1], (0, 1))
    with pytest.raises(ValueError, match="got the distance -1; expected 0 or more"):
        curve.auc([-1, 0, 1], [0, 1, 2], [-1, 0, 1], (1, 1))
    with pytest.raises(KeyError, match="did you mean 'paper'"):
        curve.smoothness([0, 1], [0, 1], "papers")
    with pytest.raises(ValueError, match="needs distance"):
        curve.smoothness([0, 1], [0, 1], "authors-v2")
