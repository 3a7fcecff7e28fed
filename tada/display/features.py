"""The feature browser: what a feature speaks for, what steering with it does, and where it is most active."""

from __future__ import annotations

from typing import Any

import pandas as pd
from IPython.display import HTML
from torch import Tensor

from tada import escape
from tada.display.players import Sound, show
from tada.display.tables import plain_table
from tada.sae.features import FeatureActivity, most_active


def feature_table(heard: FeatureActivity, best: pd.DataFrame, name: str, clips: int, effects: pd.DataFrame) -> HTML:
    """Show a table: a row a feature with its scores, its effect, and its most active clips to play and to see.

    Args:
        heard: what was listened to.
        best: as from ``tada.sae.features.top``.
        name: of the players, as for ``players.show``.
        clips: players a feature.
        effects: ``feature`` beside rows as from ``tada.steering.ranges.grid``.
    """
    rows = [_row(heard, row, f"{name}-{place}", clips, effects) for place, row in enumerate(best.itertuples())]
    return HTML(plain_table(pd.DataFrame(rows), escape=False))


def sparkline(values: Tensor, second: float, seconds: float) -> str:
    """Activity over time as a small drawing (svg), with a mark where it peaks."""
    width, height = 180, 26
    heights = (values / values.max().clamp_min(1e-9)).clamp_min(0).tolist()
    step = width / len(heights)
    bars = "".join(
        f'<rect x="{place * step:.1f}" y="{height * (1 - value):.1f}" width="{step:.1f}" '
        f'height="{height * value:.1f}"/>'
        for place, value in enumerate(heights)
        if value > 0
    )
    mark = width * second / seconds
    return (
        f'<svg role="img" aria-label="activity over {seconds:.1f} seconds, highest at {second:.1f} s" '
        f'viewBox="0 0 {width} {height}" width="{width}" height="{height}" fill="#0072B2">{bars}'
        f'<line x1="{mark:.1f}" x2="{mark:.1f}" y1="0" y2="{height}" stroke="#D55E00" stroke-width="1.5"/></svg>'
    )


def _row(heard: FeatureActivity, row: Any, name: str, clips: int, effects: pd.DataFrame) -> dict[str, str]:
    places: list[Any] = list(most_active(heard, row.feature, clips).itertuples())
    sounds = [Sound(heard.clips[p.clip], f"clip {p.clip}", scores={"peak": p.peak}) for p in places]
    curves = [sparkline(heard.of(row.feature)[p.clip], p.second, heard.clips[0].seconds) for p in places]
    drawn = "".join(f"<div>clip {p.clip} {curve}</div>" for p, curve in zip(places, curves, strict=True))
    says = f"{escape.html(row.concept)}<br><small>score {row.score:.3g}, {row.share:.0%} of its scores</small>"
    own = effects[(effects["feature"] == row.feature) & (effects["metric"] == "concept")]
    means = own.groupby("alpha")["value"].mean()
    return {
        "feature": f"<b>{row.feature}</b>",
        "speaks for": says,
        "when steered": "<br>".join(f"{alpha:+.3g}: {value:.2f}" for alpha, value in means.items()) or "–",
        "where it is most active": f"{drawn}{show(sounds, name).data}",
    }
