"""Tiny models of every architecture, built once a test run and loaded through the path that public checkpoints take."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ["TADA_RESULTS"] = ""  # tests compute; those of shipped results name theirs

import pytest
import torch

import tada
from tada.models.base import Model

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of the tiny checkpoint of an architecture."""
    return cache(lambda name: tada.tiny.build(name, tmp_path_factory.mktemp(name)))


@pytest.fixture(scope="session")
def tiny_model(tiny_folder: Callable[[str], Path]) -> Callable[[str], Model]:
    """The tiny model of an architecture, shared by all tests: nothing may leave a mark on it."""
    return cache(lambda name: tada.load(name, tiny_folder(name), device="cpu"))


def checked(model: Model) -> Iterator[Model]:
    """A model for a test, checked afterwards for hooks left behind."""
    yield model
    left = [n for n, m in model.denoiser.named_modules() if m._forward_hooks or m._forward_pre_hooks]
    assert not left, f"hooks left on {left[:3]}"
    assert model.live.run is None and not model.live.interventions


@pytest.fixture(params=list(tada.ARCHITECTURES))
def model(request: pytest.FixtureRequest, tiny_model: Callable[[str], Model]) -> Iterator[Model]:
    """Each architecture in turn."""
    yield from checked(tiny_model(request.param))


@pytest.fixture
def ace(tiny_model: Callable[[str], Model]) -> Iterator[Model]:
    """The tiny ACE-Step."""
    yield from checked(tiny_model("ace-step"))


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for files of a page, as if it were being built."""
    monkeypatch.setenv("TADA_PAGE", str(tmp_path / "04_page"))
    return tmp_path / "04_page"
