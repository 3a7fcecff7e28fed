"""What the untrained listener measures of sounds whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from training.listen import harmonic_to_noise

TIME = np.arange(32_000) / 16_000


@pytest.mark.parametrize("wanted", [0.0, 10.0, 20.0])
@pytest.mark.parametrize("hertz", [120.0, 330.0])
def test_harmonics_stand_as_far_above_noise_as_they_were_mixed(hertz: float, wanted: float) -> None:
    tone = sum(np.sin(2 * np.pi * hertz * order * TIME) / order for order in range(1, 9))
    noise = np.random.default_rng(0).standard_normal(len(TIME))
    mixed = tone / tone.std() + 10 ** (-wanted / 20) * noise
    assert harmonic_to_noise(np.stack([mixed, noise]).astype(np.float32)) == pytest.approx([wanted, -9], abs=1.5)
