"""Verdicts on the paper's claims: one table of all, each in full on demand, a figure; how far judges agree."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import pandas as pd
from IPython.display import HTML
from matplotlib.figure import Figure

from tada import escape
from tada.display import plots
from tada.display.tables import cross_texts, interval_texts, table, wide_table
from tada.display.validity import JUDGES
from tada.experiments import claims
from tada.models import ARCHITECTURES

MARKS = {
    claims.SUPPORTED: "<b class='tada-supported'>supported</b>",
    claims.CONTRADICTED: "<b class='tada-contradicted'>contradicted</b>",
}

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


def verdict_table(verdicts: pd.DataFrame) -> HTML:
    """Show verdicts as from ``tada.experiments.claims.check``, claims down and checkpoints across, by one judge each.

    A verdict on all architectures stands below its claim; claims that only public checkpoints can decide are left out.
    """
    rows = verdicts[verdicts["judge"].isin(TRUEST) & (verdicts["status"] != claims.PUBLIC)]
    says = {claim.name: escape.html(claim.says) for claim in claims.CLAIMS}
    names = [escape.html(checkpoint_name(row.model, row.checkpoint)) for row in plots.named_rows(rows)]
    texts = [verdict_text(row) for row in plots.named_rows(rows)]
    cells = pd.DataFrame({"claim": list(rows["claim"].map(says)), "where": names, "text": texts})
    general = ~rows["model"].isin(list(ARCHITECTURES)).to_numpy()
    cells.loc[general, "claim"] += "<br>" + cells["text"]
    cells.loc[general, ["where", "text"]] = names[0], ""
    wide = cross_texts(cells, cells["text"], "claim", "where").fillna("")
    return HTML(f"<div class='tada-verdicts'>{wide_table(wide, 'Verdicts')}</div>")


def claim_sections(verdicts: pd.DataFrame) -> HTML:
    """Fold every claim with its test, its verdicts, what is known of public models, and what fills the gaps."""
    known = claims.published()
    return HTML("".join(_section(claim, verdicts[verdicts["claim"] == claim.name], known) for claim in claims.CLAIMS))


def _section(claim: claims.Claim, rows: pd.DataFrame, known: pd.DataFrame) -> str:
    text = f"<details><summary>{escape.html(claim.says)}</summary><p><small>{escape.html(claim.where)}. "
    text += f"Tested: {escape.html(claim.test)}.</small></p><p>{_verdict_lines(rows)}</p>"
    for row in known[known["claim"] == claim.name].to_dict("records"):
        counted = f", layers counted from {row['counted from']}" if row["counted from"] else ""
        source = escape.html(f"{row['version']} of the paper{counted}; {row['source']}")
        said = f"<b>Published for public models:</b> {escape.html(row['published'])}"
        text += f"<p>{said} <small>({source})</small></p>"
    commands = "".join(f"<br><code>{escape.html(one)}</code>" for one in rows["command"].unique() if one)
    return text + (f"<p><small>What fills the gaps:{commands}</small></p>" if commands else "") + "</details>"


def _verdict_lines(rows: pd.DataFrame) -> str:
    """Word the verdicts on one claim, some lines a checkpoint; checkpoints without results share one."""
    lines, silent = [], []
    for (model, checkpoint), part in rows.groupby(["model", "checkpoint"], sort=False):
        name = escape.html(checkpoint_name(str(model), str(checkpoint)))
        if (part["status"] == claims.NOT_RUN).all() and model in ARCHITECTURES:
            silent.append(name)
        else:
            named = {row.judge: f"{escape.html(JUDGES.get(row.judge, row.judge))}: " for row in plots.named_rows(part)}
            texts = [named[row.judge] * bool(row.judge) + verdict_text(row) for row in plots.named_rows(part)]
            lines.append("<br>".join([f"<i>{name}</i>", *texts]))
    return "<br>".join(lines + [f"<i>Not run:</i> {'; '.join(silent)}"] * bool(silent))


def verdict_text(row: Any) -> str:
    """Word one verdict as HTML: the status, and the effect with its interval or what it was taken over."""
    found = "" if math.isnan(row.value) else f"{row.value:.3g} [{row.low:.3g}, {row.high:.3g}]"
    status, about = MARKS.get(row.status, escape.html(row.status)), found or escape.html(row.over)
    return f"{status} <small>{about}</small>" if about else status


def effect_intervals(verdicts: pd.DataFrame) -> Figure:
    """Draw the effects of verdicts less their bars, each scaled to its own size since they have different units."""
    rows = verdicts[verdicts["value"].notna() & verdicts["judge"].isin(TRUEST)]
    ends = rows[["value", "low", "high"]].sub(rows["bar"], axis=0)
    ends = ends.div(ends[["low", "high"]].abs().max(axis=1).clip(lower=1e-12), axis=0)
    names = rows["claim"] + ": " + rows["model"] + ", " + rows["checkpoint"].str[:12]
    figure = plots.intervals(
        ends.assign(known=True), names.tolist(), "Effects less their bars", "to the right: for the claim"
    )
    figure.axes[0].set_xticks([0])
    return figure


def agreement_frame(found: pd.DataFrame) -> pd.DataFrame:
    """Write out agreement as from ``tada.experiments.claims.agreement``, a row a concept and judge."""
    return found.assign(correlation=interval_texts(found, "correlation")).drop(columns=["low", "high"])


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
