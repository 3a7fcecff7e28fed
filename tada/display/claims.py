"""Verdicts on the paper's claims, in words, at a glance and as a figure; how far judges agree."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pandas as pd

from tada import escape
from tada.display import plots
from tada.display.tables import interval_texts, table
from tada.experiments import claims
from tada.models import ARCHITECTURES

if TYPE_CHECKING:
    from IPython.display import HTML
    from matplotlib.figure import Figure

MARKS = {
    claims.SUPPORTED: "<b class='tada-supported'>supported</b>",
    claims.CONTRADICTED: "<b class='tada-contradicted'>contradicted</b>",
}
SIGNS = {
    claims.SUPPORTED: "+",
    claims.CONTRADICTED: "–",
    claims.UNDECIDED: "?",
    claims.TOO_FEW: "few",
    claims.NOT_RUN: "",
}
JUDGES = {
    "mini-clap": "CLAP-class ear",
    "mini-second": "second ear",
    "probe": "probe",
    "signal": "signal estimators",
    "musicnn": "musicnn (trained by others)",
    "clap": "CLAP",
    "muq": "MuQ-MuLan",
}
"""Judges in words."""

TRUEST = ("", "probe", "clap")
"""Judges of which there is one on a checkpoint: none needed, the probe, or the paper's ear."""


def checkpoint_name(model: str, checkpoint: str) -> str:
    """Name a checkpoint in words; ``all architectures`` where the model is none."""
    return f"{ARCHITECTURES[model].title}, {checkpoint}" if model in ARCHITECTURES else "all architectures"


def evidence_table(evidence: Iterable[claims.Evidence]) -> Any:
    """Tabulate how many clips of each checkpoint were scored by earlier runs."""
    rows = [
        (ARCHITECTURES[e.model].title, e.checkpoint, _clip_count(e.scores), _clip_count(e.results)) for e in evidence
    ]
    return table(pd.DataFrame(rows, columns=["model", "checkpoint", "localisation", "steering"]))


def _clip_count(rows: pd.DataFrame | None) -> str:
    return "none" if rows is None else f"{rows.loc[rows['prompt'] != '', 'unit_hash'].nunique():,} clips"


def glance_table(verdicts: pd.DataFrame) -> Any:
    """Tabulate signs of verdicts, claims down and checkpoints across.

    Args:
        verdicts: as from ``tada.experiments.claims.check``.
    """
    rows = verdicts[verdicts["judge"].isin(TRUEST) & (verdicts["status"] != claims.PUBLIC)]
    names = [checkpoint_name(row.model, row.checkpoint) for row in plots.named_rows(rows)]
    rows = rows.assign(where=names, sign=rows["status"].map(SIGNS))
    wide = rows.pivot_table("sign", "claim", "where", "first", sort=False).fillna("")
    return table(wide.loc[:, (wide != "").any()].reset_index())


def claim_sections(verdicts: pd.DataFrame) -> HTML:
    """Show every claim with its test, its verdicts, what is known of public models, and what fills the gaps."""
    from IPython.display import HTML

    known = claims.published()
    return HTML("".join(_section(claim, verdicts[verdicts["claim"] == claim.name], known) for claim in claims.CLAIMS))


def _section(claim: claims.Claim, rows: pd.DataFrame, known: pd.DataFrame) -> str:
    text = f"<h3>{escape.html(claim.says)}</h3><p><small>{escape.html(claim.where)}. Tested: {escape.html(claim.test)}."
    text += f"</small></p><p>{_verdict_lines(rows)}</p>"
    for _, row in known[known["claim"] == claim.name].iterrows():
        counted = f", layers counted from {row['counted from']}" if row["counted from"] else ""
        source = escape.html(f"{row['version']} of the paper{counted}; {row['source']}")
        said = f"<b>Published for public models:</b> {escape.html(row['published'])}"
        text += f"<p>{said} <small>({source})</small></p>"
    commands = "".join(f"<br><code>{escape.html(one)}</code>" for one in rows["command"].unique() if one)
    if commands:
        text += f"<details><summary>What fills the gaps</summary><small>{commands}</small></details>"
    return text


def _verdict_lines(rows: pd.DataFrame) -> str:
    """Word the verdicts on one claim, a paragraph a checkpoint; checkpoints without results share one."""
    lines, silent = [], []
    for (model, checkpoint), part in rows.groupby(["model", "checkpoint"], sort=False):
        name = escape.html(checkpoint_name(str(model), str(checkpoint)))
        if (part["status"] == claims.NOT_RUN).all() and model in ARCHITECTURES:
            silent.append(name)
        else:
            lines.append("<br>".join([f"<i>{name}</i>", *map(verdict_text, plots.named_rows(part))]))
    if silent:
        lines.append(f"<i>Not run:</i> {'; '.join(silent)}")
    return "<br>".join(lines)


def verdict_text(row: Any) -> str:
    """Word one verdict as HTML: the judge, the status, the effect with its interval."""
    status = MARKS.get(row.status, escape.html(row.status))
    if math.isnan(row.value):
        return status + (f"<br><small>{escape.html(row.over)}</small>" if row.over else "")
    judge = f"{escape.html(JUDGES.get(row.judge, row.judge))}: " if row.judge else ""
    return f"{judge}{status} <small>{row.value:.3g} [{row.low:.3g}, {row.high:.3g}]</small>"


def effect_intervals(verdicts: pd.DataFrame) -> Figure:
    """Draw effects less their bars, each scaled to its own size since they have different units.

    Args:
        verdicts: as from ``tada.experiments.claims.check``; those without a value are left out.
    """
    rows = verdicts[verdicts["value"].notna() & verdicts["judge"].isin(TRUEST)]
    ends = rows[["value", "low", "high"]].sub(rows["bar"], axis=0)
    ends = ends.div(ends[["low", "high"]].abs().max(axis=1).clip(lower=1e-12), axis=0)
    names = rows["claim"] + ": " + rows["model"] + ", " + rows["checkpoint"].str[:12]
    figure = plots.intervals(
        ends.assign(known=True), names.tolist(), "Effects less their bars", "to the right: for the claim"
    )
    figure.axes[0].set_xticks([0])
    return figure


def status_table(verdicts: pd.DataFrame) -> Any:
    """Tabulate how many verdicts of each status every checkpoint has."""
    counts = verdicts.pivot_table("claim", "checkpoint", "status", "count", fill_value=0, sort=False)
    return table(counts.reset_index())


def agreement_frame(found: pd.DataFrame) -> pd.DataFrame:
    """Write out agreement as from ``tada.experiments.claims.agreements``, a row a concept and judge."""
    return found.assign(correlation=interval_texts(found, "correlation")).drop(columns=["low", "high"])


def agreement_table(found: pd.DataFrame) -> Any:
    """Tabulate :func:`agreement_frame`."""
    return table(agreement_frame(found))


def agreement_lines(found: pd.DataFrame) -> str:
    """Sum up agreement in Markdown, a line a checkpoint and ear."""
    lines = []
    for case, part in found.groupby(["model", "checkpoint", "ear"], sort=False):
        model, checkpoint, ear = map(str, case)
        right = (part["best"] == part["best by other"]).sum()
        lines.append(
            f"- {checkpoint_name(model, checkpoint)}, {JUDGES.get(ear, ear)}: {part['same'].sum()} of "
            f"{part['pairs'].sum()} pairs in the same order, the best row in {right} of {len(part)} concepts; "
            f"median correlation {part['correlation'].median():.2f}."
        )
    return "\n".join(lines)
