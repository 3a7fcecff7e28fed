"""Sparse autoencoders: the equations, gradients, training on a known dictionary, features and files."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import tada
from checks import SECONDS
from tada import sae as saes
from tada.errors import InputError
from tada.sae import Code, SaeConfig, SparseAutoencoder

DIM, LATENTS, K = 16, 48, 4


def fresh(latents=LATENTS, k=K, **more):
    torch.manual_seed(0)
    return SparseAutoencoder(SaeConfig(DIM, latents, k, **more))


@pytest.fixture
def sae():
    model = fresh()
    with torch.no_grad():
        model.b_pre.normal_()
        model.scale.fill_(1.7)
        model.W_enc.add_(0.1 * torch.randn_like(model.W_enc))
    return model


@pytest.fixture
def hidden():
    return torch.randn(64, DIM, generator=torch.Generator().manual_seed(1)) * 2


def dense(sae, hidden):
    """Equations 4 and 5 with dense tensors."""
    pre = ((hidden - sae.b_pre) / sae.scale) @ sae.W_enc.T
    least = pre.topk(sae.config.k, dim=1).values[:, -1:]
    f = torch.where(pre >= least, pre.relu(), 0)
    return f, (f @ sae.W_dec) * sae.scale + sae.b_pre


# ---- equations 4 and 5


def test_code_and_reconstruction_are_equations_4_and_5(sae, hidden):
    code, (f, expected) = sae.encode(hidden), dense(sae, hidden)
    assert code.values.shape == code.indices.shape == (64, K)
    sparse = torch.zeros(64, LATENTS).scatter(1, code.indices, code.values)
    torch.testing.assert_close(sparse, f)
    torch.testing.assert_close(sae(hidden), expected)


def test_gradients_are_those_of_dense_autograd(sae, hidden):
    def gradients(reconstruction):
        sae.zero_grad()
        (reconstruction - hidden).square().mean().backward()
        return {name: p.grad.clone() for name, p in sae.named_parameters()}

    for (name, ours), theirs in zip(
        gradients(sae(hidden)).items(), gradients(dense(sae, hidden)[1]).values(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5, msg=name)


def test_initialising_centres_and_scales(hidden):
    model = fresh()
    assert torch.equal(model.W_enc, model.W_dec)
    torch.testing.assert_close(model.W_dec.norm(dim=1), torch.ones(LATENTS))
    model.initialise(hidden * 5 + 3)
    centred = ((hidden * 5 + 3 - model.b_pre) / model.scale).detach()
    assert centred.square().mean().item() == pytest.approx(1.0, abs=1e-4)


def test_the_geometric_median_ignores_an_outlier():
    points = torch.cat([torch.randn(99, 3, generator=torch.Generator().manual_seed(0)), torch.full((1, 3), 1e4)])
    assert saes.geometric_median(points).norm() < 0.5
    assert points.mean(dim=0).norm() > 100


def test_the_decoders_gradient_has_no_parallel_part(sae, hidden):
    (sae(hidden) - hidden).square().mean().backward()
    sae.project_gradient()
    with torch.no_grad():
        assert (sae.W_dec.grad * F.normalize(sae.W_dec, dim=1)).sum(dim=1).abs().max() < 1e-5
        sae.W_dec.mul_(3)
        sae.normalise_decoder()
        torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(LATENTS))


def test_batch_topk_spends_k_per_token_on_average(hidden):
    model = fresh(batch_topk=True).train()
    code = model.encode(hidden)
    counts = (code.values > 0).sum(dim=1)
    assert counts.sum() == K * len(hidden)
    assert counts.max() > K
    assert ((model.eval().encode(hidden).values > 0).sum(dim=1) <= K).all()


# ---- AuxK


def test_dead_features_get_gradient_from_auxk_alone(sae, hidden):
    dead = torch.zeros(LATENTS, dtype=torch.bool)
    dead[:10] = True
    with torch.no_grad():
        sae.W_enc[:10] *= 1e-3  # never among the k largest
    error, revival, _ = saes.losses(sae, hidden, dead)
    error.backward(retain_graph=True)
    assert sae.W_enc.grad[:10].abs().max() == 0
    assert sae.W_dec.grad[:10].abs().max() == 0
    sae.zero_grad()
    revival.backward()
    assert (sae.W_enc.grad[:10].abs().sum(dim=1) > 0).sum() >= 5
    assert (sae.W_dec.grad[:10].abs().sum(dim=1) > 0).sum() >= 5
    assert sae.W_enc.grad[10:].abs().max() == 0


def test_without_dead_features_there_is_no_auxk(sae, hidden):
    error, revival, code = saes.losses(sae, hidden, torch.zeros(LATENTS, dtype=torch.bool))
    assert revival == 0
    normalised = ((sae(hidden) - hidden) / sae.scale).square().mean()
    torch.testing.assert_close(error, normalised)
    assert isinstance(code, Code)


# ---- training


def planted(tokens, seed, atoms):
    """Sparse sums of known directions with a common mean."""
    draw = torch.Generator().manual_seed(seed)
    indices = torch.stack([torch.randperm(len(atoms), generator=draw)[:3] for _ in range(tokens)])
    weights = torch.rand(tokens, 3, 1, generator=draw) + 0.5
    return (atoms[indices] * weights).sum(dim=1) * 4 + 10


def test_a_known_dictionary_is_found():
    atoms = F.normalize(torch.randn(24, DIM, generator=torch.Generator().manual_seed(5)), dim=1)
    model, data = fresh(32), planted(4096, 0, atoms)
    batches = ({"x": data[(i * 256) % 4096 :][:256]} for i in range(1500))
    log = saes.train({"x": model}, batches, 1500, rate=3e-3, dead_after=20_000)
    last = log.iloc[-1]
    assert last.explained_variance > 0.9
    assert last.dead < 0.2
    assert 1 <= last.l0 <= 4
    found = (atoms @ model.W_dec.detach().T).max(dim=1).values
    assert (found > 0.9).float().mean() > 0.8
    assert not model.training


def test_several_train_from_one_stream_as_if_alone(hidden):
    batches = [{"a": hidden + i, "b": -hidden} for i in range(5)]
    alone, together, other = fresh(), fresh(), fresh()
    saes.train({"a": alone}, batches, 5)
    log = saes.train({"a": together, "b": other}, batches, 5, log_every=2)
    assert torch.equal(alone.W_dec, together.W_dec)
    assert not torch.equal(other.W_dec, together.W_dec)
    assert log.groupby("site").step.apply(list).to_dict() == {"a": [2, 4, 5], "b": [2, 4, 5]}


def test_idle_features_are_counted_in_tokens(hidden):
    model = fresh(k=1)
    saes.train({"x": model}, [{"x": hidden}] * 4, 4, rate=1e-12)
    fired = model.encode(hidden).indices.unique()
    idle = torch.ones(LATENTS, dtype=torch.bool).index_fill(0, fired, False)
    assert (model.idle[fired] == 0).all()
    assert (model.idle[idle] == 4 * 64).all()


# ---- activations


def test_activations_are_what_record_keeps(model):
    sampling = tada.Sampling(2, 3.0)
    setting = tada.Setting(SECONDS, sampling, batch=2)
    stream = saes.activations(model, ["a song", "a tune", "a beat"], 5, setting, [0, 2])
    first, second, third = (next(stream) for _ in range(3))
    with tada.record(model, [0, 2]) as kept:
        model.sample(model.encode(["a song", "a tune"]), model.noise([5, 6], SECONDS), sampling)
    for site in (model.sites[0], model.sites[2]):
        assert torch.equal(first[site], kept[site].flatten(0, 2))
    assert len(second[site]) * 2 == len(first[site])
    assert third[site].shape == first[site].shape
    assert not torch.equal(third[site], first[site])


def test_a_shuffle_buffer_loses_no_token():
    parts = [torch.arange(i * 50, i * 50 + 50).float()[:, None] for i in range(8)]
    batches = list(saes.shuffle_buffer(({"a": p, "b": -p} for p in parts), tokens=16, buffer=100))
    served = torch.cat([b["a"] for b in batches]).flatten()
    assert all(len(b["a"]) == 16 and torch.equal(b["a"], -b["b"]) for b in batches)
    assert len(served.unique()) == len(served)
    assert len(served) >= 400 - 100
    assert (batches[0]["a"].diff(dim=0).abs() > 1).float().mean() > 0.8


# ---- features


@pytest.mark.parametrize("activity", ["topk", "relu"])
def test_scores_are_equation_6(sae, hidden, activity):
    positive, negative = hidden[:40], hidden[40:]
    features = {"topk": lambda h: dense(sae, h)[0], "relu": lambda h: sae.pre_activations(h).relu()}[activity]
    with torch.no_grad():
        a, b = features(positive), features(negative)
    mu, nu = a.mean(dim=0), b.mean(dim=0)
    expected = torch.tensor([m * math.log(1 + 1 / (n + 1e-6)) for m, n in zip(mu.tolist(), nu.tolist(), strict=True)])
    torch.testing.assert_close(saes.scores(sae, positive, negative, activity=activity), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(saes.scores(sae, positive, negative, "difference", activity), mu - nu)
    cohen = (mu - nu) / ((a.var(0, correction=0) + b.var(0, correction=0)) / 2 + 1e-12).sqrt()
    torch.testing.assert_close(saes.scores(sae, positive, negative, "cohen", activity), cohen, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("activity", ["topk", "relu"])
def test_moments_of_parts_are_those_of_the_whole(sae, hidden, activity):
    whole = saes.feature_moments(sae, hidden, activity)
    parts = saes.feature_moments(sae, iter(hidden.half().split(7)), activity)
    torch.testing.assert_close(parts, whole, atol=5e-3, rtol=5e-3)
    exact = saes.feature_moments(sae, iter(hidden.split(7)), activity)
    torch.testing.assert_close(exact, whole, atol=1e-6, rtol=1e-5)
    assert whole[1].max() > 0


def test_scores_per_step(sae, hidden):
    steps = hidden.view(4, 16, DIM)
    table = saes.scores(sae, steps, -steps)
    assert table.shape == (4, LATENTS)
    torch.testing.assert_close(table[2], saes.scores(sae, steps[2], -steps[2]))


def test_the_vector_is_equation_7(sae):
    score = torch.zeros(LATENTS)
    score[[3, 11, 20]] = torch.tensor([3.0, 1.0, 2.0])
    vector = saes.vector(sae, "site", score, 2, {"checkpoint": "x"})
    torch.testing.assert_close(vector.directions["site"][0], (sae.W_dec[3] + sae.W_dec[20]).detach())
    assert vector.info["features"] == [[3, 20]]
    table = torch.stack([score, score.roll(1)])
    assert saes.vector(sae, "site", table, 1).directions["site"].shape == (2, DIM)
    torch.testing.assert_close(saes.vector(sae, "site", table, 1).directions["site"][1], sae.W_dec[4].detach())


# ---- files and bad input


def test_saved_and_loaded_codes_are_identical(sae, hidden, tmp_path):
    again = SparseAutoencoder.load(sae.save(tmp_path / "sae", {"site": "x"}))
    assert again.config == sae.config
    ours, theirs = sae.eval().encode(hidden), again.encode(hidden)
    assert torch.equal(ours.values, theirs.values)
    assert torch.equal(ours.indices, theirs.indices)
    weights = tmp_path / "sae" / "sae.safetensors"
    assert set(weights.parent.iterdir()) == {weights, weights.with_name("cfg.json")}
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="damaged"):
        SparseAutoencoder.load(weights.parent)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda sae, hidden: SaeConfig(4, 8, 9), "k=9"),
        (lambda sae, hidden: saes.scores(sae, hidden, hidden, "tf-idf"), "no score 'tf-idf'; did you mean 'tfidf'"),
        (lambda sae, hidden: saes.scores(sae, hidden, hidden, activity="dense"), "no activity"),
        (lambda sae, hidden: saes.vector(sae, "site", torch.zeros(LATENTS), 0), "tau=0"),
        (lambda sae, hidden: saes.train({"x": sae}, [{"x": hidden}] * 2, 3), "ended after 2 of 3"),
        (lambda sae, hidden: next(saes.shuffle_buffer([{"x": hidden}], 16, 20)), "buffer of 20"),
    ],
)
def test_bad_input_is_refused(sae, hidden, make, message):
    with pytest.raises(ValueError, match=message):
        make(sae, hidden)


def test_the_encoder_bias_of_the_authors_code_is_an_option(hidden):
    model = fresh(encoder_bias=True)
    with torch.no_grad():
        model.b_enc[7] = 100.0
    assert (model.encode(hidden).indices == 7).any(dim=1).all()


@pytest.mark.parametrize(
    "harm", [{"latents": 10**12}, {"dim": 3}, {"k": "x"}, {"bogus": 1}, {"batch_topk": None, "k": 0}]
)
def test_sizes_that_do_not_fit_the_file_are_refused_before_anything_is_built(sae, tmp_path, harm):
    folder = sae.save(tmp_path / "sae")
    about = json.loads((folder / "cfg.json").read_text())
    (folder / "cfg.json").write_text(json.dumps(about | harm))
    with pytest.raises(ValueError, match="cfg.json|got k="):
        SparseAutoencoder.load(folder)


@pytest.mark.parametrize(
    "sizes", [(0, 16, 2), (8, 0, 1), (8, 16, 0), (8.5, 16, 2), ("8", 16, 2), (8, 10**12, 2), (8, 16, True)]
)
def test_sizes_are_whole_numbers(sizes):
    with pytest.raises(InputError, match="got (dim|latents|k)="):
        SaeConfig(*sizes)
    assert type(SaeConfig(np.int64(8), np.int64(16), np.int32(2)).k) is int


@pytest.mark.parametrize(
    ("harm", "rate", "words"),
    [(math.nan, None, "not finite"), (math.inf, None, "not finite"), (0.0, math.inf, "rate"), (0.0, 0, "rate"),
     (0.0, "x", "rate"), (0.0, 1e30, "rate")],
)  # fmt: skip
def test_training_stops_at_a_loss_that_is_not_finite(harm, rate, words):
    hidden = torch.randn(64, 8)
    hidden[3, 3] += harm
    with pytest.raises(InputError, match=words):
        saes.train({"a": SparseAutoencoder(SaeConfig(8, 16, 2))}, [{"a": hidden}] * 3, 3, rate)
    for steps, tokens in ((0, 9), ("3", 9), (2.5, 9), (3, 0)):
        with pytest.raises(InputError, match="steps|tokens"):
            saes.train({"a": SparseAutoencoder(SaeConfig(8, 16, 2))}, [{"a": torch.randn(tokens, 8)}] * 3, steps)
