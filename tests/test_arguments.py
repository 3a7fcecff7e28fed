"""Numbers and texts that callers give: every library's are read alike, and what is none is refused in our words."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from tada import arguments
from tada.engine import Setting
from tada.errors import InputError
from tada.models.device import pick_device, pick_dtype
from tada.models.run import Sampling, whole_frames


@pytest.mark.parametrize(
    "three", [3, np.int64(3), np.uint8(3), np.array(3), np.array([3]), torch.tensor(3), torch.tensor([3]), (3,),
              [np.int32(3)], range(3, 4), pd.Series([3]), pd.Index([3])]
)  # fmt: skip
def test_whole_numbers_of_every_library_are_plain_ints(three):
    read = arguments.seeds(three)
    assert read == [3] and type(read[0]) is int


@pytest.mark.parametrize(
    "other", [None, True, "3", "12", b"3", 3.0, np.float64(3), torch.tensor(3.0), np.array(3.0), -1, 2**64, [], [None],
              ["3"], [3, -1], {}, object(), float("nan")]
)  # fmt: skip
def test_what_is_no_seed_is_refused(other):
    with pytest.raises(InputError, match=r"got seeds=.*; expected a whole number .*0 to 18446744073709551615"):
        arguments.seeds(other)


def test_seeds_reach_to_the_largest_that_a_generator_takes():
    assert torch.Generator().manual_seed(arguments.seeds(2**64 - 1)[0]).initial_seed() == 2**64 - 1


@pytest.mark.parametrize("two", [2, 2.0, np.float32(2), np.int64(2), np.array(2.0), torch.tensor(2)])
def test_numbers_of_every_library_are_plain_floats(two):
    assert arguments.number("x", two) == 2 and type(arguments.number("x", two)) is float


@pytest.mark.parametrize("other", [None, True, "2", b"2", np.nan, np.inf, -np.inf, [2], np.array([2.0]), 1j, 10**400])
def test_what_is_no_finite_number_is_refused(other):
    with pytest.raises(InputError, match=r"got x=.*; expected a finite number of any size"):
        arguments.number("x", other)


@pytest.mark.parametrize("other", [None, np.nan, 3, b"a", ["a"], "half \ud800"])
def test_what_is_no_text_is_refused(other):
    with pytest.raises(InputError, match=r"got prompts=.*; expected text"):
        arguments.text("prompts", other)


@pytest.mark.parametrize("wrong", [{"steps": "2"}, {"steps": 2.5}, {"steps": 0}, {"steps": 10**9}, {"guidance": "5"},
                                   {"guidance": np.nan}])  # fmt: skip
def test_settings_are_numbers(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Sampling(**wrong)


@pytest.mark.parametrize(
    "wrong", [{"seconds": "4"}, {"seconds": np.nan}, {"seconds": -1}, {"batch": 0}, {"batch": "8"}]
)
def test_what_clips_share_are_numbers(wrong):
    with pytest.raises(InputError, match=f"got {next(iter(wrong))}="):
        Setting(**{"seconds": 1.0, **wrong})
    assert type(Setting(np.float32(2), batch=np.int64(4)).batch) is int


def test_settings_of_every_library_are_the_same_settings():
    assert Sampling(np.int64(2), torch.tensor(3.0)) == Sampling(2, 3.0)


@pytest.mark.parametrize("device", ["bogus", "cuda:99", "float16", None, 1.5])
def test_devices_are_tried_before_anything_is_loaded(device):
    with pytest.raises(InputError, match="got device="):
        pick_device(device)


def test_half_precision_is_for_cuda_alone():
    kinds = {name: pick_dtype(None, torch.device(name), torch.float16) for name in ("cpu", "mps", "cuda")}
    assert kinds == {"cpu": torch.float32, "mps": torch.float32, "cuda": torch.float16}
    for other in ("float16", torch.int64):
        with pytest.raises(InputError, match="got dtype="):
            pick_dtype(other, torch.device("cpu"), torch.float16)


def test_lengths_round_up_but_rounding_errors_do_not():
    assert [whole_frames(frames) for frames in (0.2, 7.0, 7.0000000001, 7.01)] == [1, 7, 7, 8]
