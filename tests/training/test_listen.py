"""What the untrained listener measures of sounds whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from tada.display.minis import missed_lines, signals_table
from tada.experiments import minis
from training.listen import harmonic_to_noise, measure_bars

TIME = np.arange(32_000) / 16_000


@pytest.mark.parametrize("wanted", [0.0, 10.0, 20.0])
@pytest.mark.parametrize("hertz", [120.0, 330.0])
def test_harmonics_stand_as_far_above_noise_as_they_were_mixed(hertz: float, wanted: float) -> None:
    tone = sum(np.sin(2 * np.pi * hertz * order * TIME) / order for order in range(1, 9))
    noise = np.random.default_rng(0).standard_normal(len(TIME))
    mixed = tone / tone.std() + 10 ** (-wanted / 20) * noise
    assert harmonic_to_noise(np.stack([mixed, noise]).astype(np.float32)) == pytest.approx([wanted, -9], abs=1.5)


@pytest.mark.filterwarnings("ignore:All-NaN slice")  # of few clips some resamples hold none of a class
def test_bars_are_reached_by_renders_and_not_by_a_model_that_learnt_nothing(tiny_model, monkeypatch) -> None:
    monkeypatch.setattr(minis, "STEPS", {"": 2, ", steering": 1})
    found = measure_bars(tiny_model("ace-step"), 8)
    renders, made = found["renders"], found["generated"]
    assert renders["tempo right"]["value"] > 0.8 and renders["cents off the tune, median"]["value"] < 20
    assert list(found) == ["renders", "codec", "generated", "generated, steering"] and "clips" in made["mode right"]
    cards = {name: {"signals": {"generated": found[of]}} for name, of in (("good", "renders"), ("bad", "generated"))}
    lines = missed_lines(cards | {"new": {}}, [*cards, "new"]).splitlines()
    assert "(aimed at 0.95)" in lines[1] and lines[2].endswith("not measured")
    del found["renders"]["mode right"]
    with pytest.raises(KeyError, match="mode right"):
        missed_lines(cards, cards)
    assert "generated, steering" in signals_table({"signals": found}).data
