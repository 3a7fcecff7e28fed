"""The checkable sentences of the paper as data: what is claimed, where, how it is tested, and what results decide.

A test turns tidy results of one checkpoint into an effect with a 95 % interval, and the effect is held against a bar:
wholly above it the claim is supported there, wholly below contradicted, else undecided. Bars and tests are ours and
are named; the paper gives none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tada.metrics import curve
from tada.models import ARCHITECTURES

Values = NDArray[np.float64]

SUPPORTED, CONTRADICTED, UNDECIDED = "supported", "contradicted", "undecided"
NOT_RUN, PUBLIC, PACKAGE = "not run", "needs public weights", "needs a package"
STATUSES = (SUPPORTED, CONTRADICTED, UNDECIDED, NOT_RUN, PUBLIC, PACKAGE)

RESAMPLES = 500
CONFIDENCE = 0.95

PROBE = "probe"
"""The judge whose truth is the renderer."""

ARMS: Mapping[str, tuple[str, str | None]] = {
    "all": ("CAA", "all"),
    "others": ("CAA", "all-but-functional"),
    "functional": ("CAA", "functional"),
    "sae": ("SAE", None),
}
"""Rows of Table 1 -> method and layers in results; None for whatever single layer it was."""


class Effect(NamedTuple):
    """A tested quantity with its interval, and what it was taken over."""

    value: float
    low: float
    high: float
    over: str


@dataclass(frozen=True)
class Evidence:
    """What was measured on one checkpoint.

    Attributes:
        model: the architecture.
        checkpoint: ``"mini"``, ``"planted"``, ``"public"`` or another, as for ``tada.load``.
        scores: of the localisation, as from ``tada.patching.sweep``; None if there was none.
        results: of Table 1, as from ``tada.evaluation.run``; None if there are none.
    """

    model: str
    checkpoint: str
    scores: pd.DataFrame | None = None
    results: pd.DataFrame | None = None

    def judges(self) -> list[str]:
        """Metrics of alignment by which steering can be tested: as the paper judges first, the truth last."""
        present = set() if self.results is None else set(self.results["metric"])
        return [name for name in ("clap", "muq", "mini-clap", "mini-second", PROBE) if name in present]


Measure = Callable[[Evidence, str], Effect | None]


@dataclass(frozen=True)
class Claim:
    """One sentence of the paper that can be tested.

    Attributes:
        name: short, for commands and tables.
        says: what the paper claims, in our words.
        where: in the first version of the paper.
        test: what is measured, in words.
        bar: what the effect must exceed.
        needs: ``"localisation"``, ``"steering"``, ``"public"`` (only the public checkpoint can tell), ``"ratings"``
            (Audiobox Aesthetics), or ``"models"`` (the verdicts of other claims on all architectures).
        measure: the effect on a checkpoint, by a judge; None where the results do not hold what it needs.
        judged: whether there is one effect for each judge of alignment.
        published: values that are known for public models, in words.
        source: where they were published.
        of: the architecture that a claim about public weights is about.
    """

    name: str
    says: str
    where: str
    test: str
    bar: float
    needs: str
    measure: Measure | None = None
    judged: bool = False
    published: Callable[[], str] | None = None
    source: str = ""
    of: str = ""


def status(effect: Effect | None, bar: float) -> str:
    """What an effect says of a claim: supported, contradicted, undecided, or not run for None."""
    if effect is None:
        return NOT_RUN
    if effect.low > bar:
        return SUPPORTED
    return CONTRADICTED if effect.high < bar else UNDECIDED


def check(evidence: Sequence[Evidence], claims: Iterable[Claim] | None = None) -> pd.DataFrame:
    """Put claims to the test on checkpoints.

    Args:
        evidence: one entry a checkpoint.
        claims: which; None for all of :data:`CLAIMS`.

    Returns:
        One row a claim, checkpoint and judge: ``claim, model, checkpoint, judge, value, low, high, bar, over, status,
        command``; the command makes what is missing.
    """
    rows: list[dict[str, Any]] = []
    for claim in CLAIMS if claims is None else claims:
        if claim.needs in ("public", "ratings"):
            rows.append(_absent(claim, claim.of or "ace-step", "public"))
        elif claim.needs == "models":
            rows.append(_everywhere(claim, rows))
        else:
            rows += [row for one in evidence for row in _tested(claim, one)]
    columns = ["claim", "model", "checkpoint", "judge", "value", "low", "high", "bar", "over", "status", "command"]
    return pd.DataFrame(rows, columns=columns)


def _tested(claim: Claim, evidence: Evidence) -> list[dict[str, Any]]:
    assert claim.measure is not None
    there = evidence.scores if claim.needs == "localisation" else evidence.results
    about = {"claim": claim.name, "model": evidence.model, "checkpoint": evidence.checkpoint, "bar": claim.bar}
    judges = evidence.judges() if claim.judged else [""]
    if there is None or not judges:
        how = command(claim, evidence.model, evidence.checkpoint)
        return [{**about, "judge": "", **_empty(), "status": NOT_RUN, "command": how}]
    rows = []
    for judge in judges:
        effect = claim.measure(evidence, judge)
        found = _empty() if effect is None else effect._asdict()
        rows.append({**about, "judge": judge, **found, "status": status(effect, claim.bar), "command": ""})
    return rows


def _absent(claim: Claim, model: str, checkpoint: str) -> dict[str, Any]:
    state = PUBLIC if claim.needs == "public" else PACKAGE
    about = {"claim": claim.name, "model": model, "checkpoint": checkpoint, "judge": "", "bar": claim.bar}
    return {**about, **_empty(), "status": state, "command": command(claim, model, checkpoint)}


def _everywhere(claim: Claim, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A claim about all architectures, from the verdicts of the one before it that is called ``claim.of``."""
    found = {row["model"]: row["status"] for row in rows if row["claim"] == claim.of and row["checkpoint"] == "mini"}
    tested = [state for state in found.values() if state != NOT_RUN]
    if CONTRADICTED in tested:
        state = CONTRADICTED
    elif len(tested) == len(ARCHITECTURES) and set(tested) == {SUPPORTED}:
        state = SUPPORTED
    else:
        state = UNDECIDED if tested else NOT_RUN
    over = f"{tested.count(SUPPORTED)} of {len(ARCHITECTURES)} architectures supported, {len(tested)} tested"
    about = {"claim": claim.name, "model": "all", "checkpoint": "mini", "judge": "", "bar": claim.bar}
    return {**about, **_empty(), "over": over, "status": state, "command": ""}


def _empty() -> dict[str, Any]:
    return {"value": np.nan, "low": np.nan, "high": np.nan, "over": ""}


def command(claim: Claim, model: str, checkpoint: str) -> str:
    """The command that makes what a claim needs."""
    layers = "+".join(map(str, ARCHITECTURES[model].paper_layers)) if model in ARCHITECTURES else ""
    if claim.needs == "localisation" or claim.needs == "public":
        profile = "colab" if checkpoint == "public" else "mini"
        notebook = f"notebooks/04_localisation.py --profile {profile}"
        return f"tada run {notebook} -p architecture {model} -p checkpoint {checkpoint}"
    if checkpoint == "public":
        return f"tada table --model {model} --checkpoint public --functional {layers} --profile paper"
    return f"tada table --model {model} --checkpoint {checkpoint} --workers 2"


# ---- localisation


def impacts(scores: pd.DataFrame, resamples: int = RESAMPLES, seed: int = 0) -> tuple[Values, list[str]]:
    """Equation 9 for every single layer, for the sample and for draws of its pairs.

    Args:
        scores: of one checkpoint and metric, as from ``tada.patching.sweep``.
        resamples: of the bootstrap over pairs.
        seed: of the bootstrap.

    Returns:
        ``[concepts, 1 + resamples, layers]``, the sample first, and the concepts; those whose full swap has an effect
        that cannot be told from 0 are left out.
    """
    own = scores[(scores["method"] == "patch") & scores["layers"].str.fullmatch(r"none|all|\d+")]
    found, names = [], []
    for name, part in own.groupby("concept", sort=False):
        wide = part.pivot_table("value", "layers", "pair", "mean")
        order = sorted((layer for layer in wide.index if layer.isdigit()), key=int)
        means = wide.to_numpy() @ _draws(wide.shape[1], resamples, seed).T
        rows = {layer: means[place] for place, layer in enumerate(wide.index)}
        effect = rows["all"] - rows["none"]
        low, high = _interval(effect, wide.shape[1])
        if low > 0 or high < 0:
            found.append(np.stack([(rows[layer] - rows["none"]) / effect for layer in order], axis=1))
            names.append(str(name))
    layers = own.loc[own["layers"].str.isdigit(), "layers"].nunique()
    return (np.stack(found) if found else np.empty((0, 1 + resamples, layers))), names


def concentration(evidence: Evidence, judge: str = "", count: int | None = None) -> Effect | None:
    """Share of all layers' impact that lies in a few layers, which are chosen on the other concepts.

    Shares are of the sum of absolute impacts, so that noise counts against the claim.
    """
    table, names = _impacts(evidence)
    if len(names) < 2:
        return None
    hits = _chosen_elsewhere(table, count or len(ARCHITECTURES[evidence.model].paper_layers))
    share = (table * hits).sum(-1) / np.abs(table).sum(-1)
    rows = np.random.default_rng(1).multinomial(len(names), np.full(len(names), 1 / len(names)), share.shape[1] - 1)
    weights = np.concatenate([np.full((1, len(names)), 1 / len(names)), rows / len(names)])
    return _effect((share.T * weights).sum(1), f"{len(names)} concepts", len(names))


def sharing(evidence: Evidence, judge: str = "") -> Effect | None:
    """Share of concepts whose strongest layer is among the few that are strongest for the other concepts."""
    table, names = _impacts(evidence)
    if len(names) < 2:
        return None
    hits = _chosen_elsewhere(table[:, :1], len(ARCHITECTURES[evidence.model].paper_layers))[:, 0]
    return _proportion(hits[np.arange(len(names)), table[:, 0].argmax(1)], "concepts")


def middle(evidence: Evidence, judge: str = "") -> Effect | None:
    """Share of concepts whose strongest layer lies in the middle half of the transformer."""
    table, names = _impacts(evidence)
    if not names or evidence.model == "audioldm2":
        return None
    depth = (table[:, 0].argmax(1) + 0.5) / table.shape[2]
    return _proportion((depth > 0.25) & (depth < 0.75), "concepts")


def _impacts(evidence: Evidence) -> tuple[Values, list[str]]:
    assert evidence.scores is not None
    return impacts(evidence.scores)


def _chosen_elsewhere(table: Values, count: int) -> NDArray[np.bool_]:
    """Mask of the ``count`` layers of highest mean impact over all concepts but the row's own."""
    others = table.sum(0, keepdims=True) - table
    place = np.argsort(np.argsort(-others, axis=-1, kind="stable"), axis=-1)
    return place < count


# ---- steering

Curves = Mapping[str, Values]
"""Arm -> mean scores ``[draws, strengths]``, strengths in order, 0 among them."""


class Measured(NamedTuple):
    """Strengths in percent, the curves at them, and the number of prompts they are means of."""

    percents: Values
    curves: Curves
    prompts: int


def curves(results: pd.DataFrame, metric: str, wanted: Sequence[str]) -> dict[str, Measured]:
    """Mean curves of arms, for the sample and for draws of its prompts, the same for all arms.

    Args:
        results: of one checkpoint, as from ``tada.evaluation.run``.
        metric: what is averaged.
        wanted: names in :data:`ARMS`.

    Returns:
        Concept -> curves; concepts that lack one of the arms, or have one prompt only, are left out.
    """
    own = results[(results["metric"] == metric) & (results["prompt"] != "")]
    found = {}
    for name, part in own.groupby("concept", sort=False):
        zero = part[part["method"] == "none"]
        tables = {}
        for arm in wanted:
            method, layers = ARMS[arm]
            rows = part[(part["method"] == method) & ((part["layers"] == layers) | (layers is None))]
            if len(rows):
                tables[arm] = pd.concat([zero, rows]).pivot(index=["prompt", "seed"], columns="percent", values="value")
        count = min((len(table) for table in tables.values()), default=0)
        if set(tables) == set(wanted) and count > 1 and not any(t.isna().any().any() for t in tables.values()):
            drawn, grid = _draws(count, RESAMPLES, 0), tables[wanted[0]].columns.to_numpy(dtype=float)
            rows_of = {arm: drawn @ table.to_numpy() for arm, table in tables.items()}
            found[str(name)] = Measured(grid, rows_of, count)
    return found


def steered(
    wanted: Sequence[str], of: Callable[[Values, Curves], Values], pool: str = "mean", metric: str = ""
) -> Measure:
    """A measure on curves: ``of(percents, curves) -> [draws]`` for each concept, then pooled.

    Args:
        wanted: arms.
        of: what is tested in one concept.
        pool: ``"mean"`` of all concepts, or ``"every"``: the least of them, at a confidence for all at once.
        metric: in place of the judge.
    """

    def measure(evidence: Evidence, judge: str) -> Effect | None:
        assert evidence.results is not None
        found = curves(evidence.results, metric or judge, wanted)
        if not found:
            return None
        values = np.stack([of(one.percents, one.curves) for one in found.values()])
        return _pooled(values, pool, min(one.prompts for one in found.values()))

    return measure


def delta(percents: Values, rows: Values) -> Values:
    """Alignment at the largest strength less that at the smallest, ``[draws]``."""
    return rows[:, -1] - rows[:, 0]


def away(percents: Values, rows: Values) -> Values:
    """Mean over all strengths but 0, ``[draws]``."""
    return rows[:, percents != 0].mean(1)


def rising(percents: Values, rows: Values) -> Values:
    """Rank correlation of strength and score, ``[draws]``."""
    ranks = np.argsort(np.argsort(rows, axis=1), axis=1).astype(float)
    ranks -= ranks.mean(1, keepdims=True)
    steps = np.arange(rows.shape[1]) - (rows.shape[1] - 1) / 2
    return (ranks * steps).sum(1) / np.sqrt((ranks**2).sum(1) * (steps**2).sum())


def more_for_the_same(evidence: Evidence, judge: str) -> Effect | None:
    """AUC of alignment over LPAPS, functional layers less all layers, up to the LPAPS that both reach."""
    assert evidence.results is not None
    scores, paths = (curves(evidence.results, name, ("functional", "all")) for name in (judge, "lpaps"))
    found = []
    for name, (percents, rows, _) in scores.items():
        if name in paths and {-1.0, 1.0} <= set(np.sign(percents)):
            way = paths[name].curves
            cutoffs = tuple(float(min(way[arm][0][np.sign(percents) == sign].max() for arm in way)) for sign in (1, -1))
            areas = {
                arm: np.array([curve.auc(percents, *pair, cutoffs) for pair in zip(rows[arm], way[arm], strict=True)])  # type: ignore[arg-type]
                for arm in rows
                if min(cutoffs) > 0
            }
            if areas:
                found.append(areas["functional"] - areas["all"])
    return _pooled(np.stack(found), "mean", min(one.prompts for one in scores.values())) if found else None


def sets_apart(metric: str, better: str, worse: str) -> Measure:
    """A distance between sets of clips (mean over strengths), that of ``worse`` less that of ``better``; jackknife."""

    def measure(evidence: Evidence, judge: str) -> Effect | None:
        assert evidence.results is not None
        own = evidence.results[(evidence.results["metric"] == metric) & (evidence.results["percent"] != 0)]
        found = []
        for _, part in own.groupby("concept", sort=False):
            wide: Any = part.pivot_table("value", ["method", "layers"], "pair", "mean")
            keys = [ARMS[better], ARMS[worse]]
            if all(one in wide.index for one in keys):
                gap = wide.loc[keys[1]] - wide.loc[keys[0]]
                found.append(np.r_[gap["all"], gap.drop("all").to_numpy()])
        if not found or len({len(one) for one in found}) > 1 or len(found[0]) < 3:
            return None
        return _jackknife(np.mean(found, axis=0), f"{len(found)} concepts")

    return measure


# ---- agreement of judges


def agreement(results: pd.DataFrame, judge: str, truth: str = PROBE) -> pd.DataFrame:
    """How well a judge agrees with the truth, clip by clip and about the order of the rows of Table 1.

    Args:
        results: of one checkpoint, as from ``tada.evaluation.run``.
        judge: a metric of alignment.
        truth: the metric that it is held against.

    Returns:
        One row a concept: ``concept, clips``, the rank correlation over clips ``correlation, low, high`` (bootstrap
        over prompts), ``pairs`` of rows of Table 1 whose delta alignment the truth tells apart, how many of them the
        judge puts in the same order (``same``), and the best row by either (``best, best by truth``).
    """
    own = results[results["prompt"] != ""]
    rows = []
    for name, part in own.groupby("concept", sort=False):
        wide = part[part["metric"].isin([judge, truth])].pivot_table(
            "value", ["prompt", "seed", "method", "layers", "percent"], "metric"
        )
        if not {judge, truth} <= set(wide.columns):
            continue
        value, low, high = _correlated(wide, judge, truth)
        orders = {one: _deltas(part, one) for one in (judge, truth)}
        prompts = len(part[["prompt", "seed"]].drop_duplicates())
        pairs, same = _same_order(orders[judge], orders[truth], prompts)
        best = {one: max(found, key=lambda arm: found[arm][0]) for one, found in orders.items()}
        rows.append(
            {"concept": name, "clips": len(wide), "correlation": value, "low": low, "high": high, "pairs": pairs,
             "same": same, "best": best[judge], "best by truth": best[truth]}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _correlated(wide: pd.DataFrame, judge: str, truth: str) -> tuple[float, float, float]:
    """Spearman's rank correlation with an interval from a bootstrap over prompts."""
    parts = [part[[judge, truth]].to_numpy() for _, part in wide.groupby(level=["prompt", "seed"])]
    rng = np.random.default_rng(0)
    draws = [np.arange(len(parts)), *rng.integers(len(parts), size=(200, len(parts)))]
    values: Any = [pd.DataFrame(np.concatenate([parts[i] for i in draw])).corr("spearman").iloc[0, 1] for draw in draws]
    low, high = np.nanpercentile(values[1:], (2.5, 97.5))
    return float(values[0]), float(low), float(high)


def _deltas(part: pd.DataFrame, metric: str) -> dict[str, Values]:
    """Arm -> delta alignment for the sample and for draws of prompts."""
    found = {}
    for arm in ARMS:
        for one in curves(part, metric, [arm]).values():
            found[arm] = delta(one.percents, one.curves[arm])
    return found


def _same_order(judged: Mapping[str, Values], true: Mapping[str, Values], prompts: int) -> tuple[int, int]:
    """Pairs of arms that the truth tells apart, and those of them that the judge orders the same way."""
    names = [name for name in judged if name in true]
    pairs = same = 0
    for place, one in enumerate(names):
        for other in names[place + 1 :]:
            low, high = _interval(true[one] - true[other], prompts)
            if low > 0 or high < 0:
                pairs += 1
                same += bool((judged[one][0] - judged[other][0]) * (true[one][0] - true[other][0]) > 0)
    return pairs, same


# ---- intervals


def _draws(count: int, resamples: int, seed: int) -> Values:
    """Weights ``[1 + resamples, count]``; the first row is the sample itself."""
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    return np.concatenate([np.full((1, count), 1 / count), drawn / count])


def _interval(values: Values, count: int, groups: int = 1, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Bootstrap percentiles, widened about the estimate for small samples.

    Percentiles of a bootstrap are too narrow for a few prompts: by ``sqrt(n / (n - 1))``, since resampling knows only
    the sample's own spread, and by Student's t over the normal distribution (Hesterberg 2015, section 4).

    Args:
        values: the sample's value, then those of its draws.
        count: prompts in the sample.
        groups: independent samples that ``values`` is a mean of.
        confidence: of the interval.
    """
    from scipy.stats import norm, t

    if count < 2:
        return -np.inf, np.inf
    tail = (1 + confidence) / 2
    wider = np.sqrt(count / (count - 1)) * t.ppf(tail, groups * (count - 1)) / norm.ppf(tail)
    low, high = np.percentile(values[1:], (100 * (1 - tail), 100 * tail))
    return float(values[0] - wider * (values[0] - low)), float(values[0] + wider * (high - values[0]))


def _effect(values: Values, over: str, count: int, groups: int = 1) -> Effect:
    return Effect(float(values[0]), *_interval(values, count, groups), over)


def _pooled(values: Values, pool: str, prompts: int) -> Effect:
    """Effect over concepts of ``[concepts, draws]``."""
    over = f"{len(values)} concepts, {prompts} prompts each"
    if pool == "mean":
        return _effect(values.mean(0), f"mean of {over}", prompts, len(values))
    bounds = [_interval(one, prompts, confidence=1 - (1 - CONFIDENCE) / len(values)) for one in values]
    least = float(values[:, 0].min())
    return Effect(least, min(low for low, _ in bounds), min(high for _, high in bounds), f"least of {over}")


def _proportion(hits: NDArray[np.bool_], what: str) -> Effect:
    from scipy.stats import binomtest

    count = int(hits.sum())
    found = binomtest(count, len(hits)).proportion_ci(CONFIDENCE, "wilson")
    return Effect(count / len(hits), float(found.low), float(found.high), f"{count} of {len(hits)} {what}")


def _jackknife(values: Values, over: str) -> Effect:
    from scipy.stats import t

    parts = values[1:]
    spread = np.sqrt((len(parts) - 1) / len(parts) * ((parts - parts.mean()) ** 2).sum())
    half = float(t.ppf((1 + CONFIDENCE) / 2, len(parts) - 1) * spread)
    return Effect(float(values[0]), float(values[0] - half), float(values[0] + half), f"mean of {over}")


# ---- what was published

LOCALISATION = "results/tables_localization.md of the authors' code, public checkpoints"
LPAPS = "results/tables_lpaps.md of the authors' code, second version, mean of nine concepts, public ACE-Step"


def published_layers(model: str) -> pd.DataFrame:
    """Published mean impacts of single layers of a public checkpoint, the highest first."""
    from tada.localise import published

    rows = published()
    return rows[rows["model"] == model].sort_values("impact", ascending=False, kind="stable")


def published_share(model: str) -> float:
    """Share of the published impacts that lies in the layers that the paper names."""
    rows = published_layers(model)
    return float(rows.loc[rows["layer"].isin(ARCHITECTURES[model].paper_layers), "impact"].sum() / rows["impact"].sum())


def _shares() -> str:
    return "; ".join(f"{one.title} {published_share(name):.2f}" for name, one in ARCHITECTURES.items())


def _top(model: str) -> Callable[[], str]:
    def said() -> str:
        named = ARCHITECTURES[model].paper_layers
        rows = published_layers(model).head(len(named))
        missing = sorted(set(named) - set(rows["layer"]))
        top = ", ".join(f"{layer} ({impact:.3f})" for layer, impact in zip(rows["layer"], rows["impact"], strict=True))
        return f"strongest: {top}; " + (f"without {', '.join(map(str, missing))}" if missing else "the named ones")

    return said


def _averages(first: str, second: str, column: str) -> Callable[[], str]:
    def said() -> str:
        table = pd.read_csv(str(files("tada.data") / "published_averages.csv")).set_index("method")[column]
        return f"{first} {table[first]:.3f}, {second} {table[second]:.3f} ({column.replace('_', ' ')})"

    return said


# ---- the claims


def _named(model: str, says: str) -> Claim:
    layers = ", ".join(map(str, ARCHITECTURES[model].paper_layers))
    return Claim(
        f"layers of {ARCHITECTURES[model].title}", says, "section 4.1, figure 3",
        f"layers {{{layers}}} have the highest mean impacts", 0.0, "public",
        published=_top(model), source=LOCALISATION, of=model,
    )  # fmt: skip


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "few layers", "A few of the cross-attention layers control the musical concepts.",
        "abstract; section 1; section 4.1",
        "share of all layers' absolute impact in as many layers as the paper names (2, 2, 4), chosen on the other "
        "concepts, is above a half",
        0.5, "localisation", concentration, published=_shares, source=LOCALISATION,
    ),
    Claim(
        "shared layers", "Different concepts share those layers.", "abstract; section 1; section 4.1",
        "share of concepts whose strongest layer is among those strongest for the other concepts is above a half",
        0.5, "localisation", sharing,
    ),
    Claim(
        "middle layers", "In the transformers, control is concentrated in middle layers.", "section 4.1",
        "share of concepts whose strongest layer lies in the middle half of the depth is above a half",
        0.5, "localisation", middle,
    ),
    Claim(
        "general", "The specialisation is a property of such models in general, not of one.", "section 4.1",
        "'few layers' is supported in all three architectures", 0.5, "models", of="few layers",
    ),
    _named("ace-step", "In ACE-Step the functional layers are 6 and 7."),
    _named("stable-audio", "In Stable Audio Open they are 11 and 12."),
    _named("audioldm2", "In AudioLDM2 they are 44, 45, 50 and 51."),
    Claim(
        "functional layers suffice", "Steering the functional layers alone moves every concept.", "section 4.2",
        "delta alignment of CAA on the functional layers is above 0 in every concept",
        0.0, "steering", steered(["functional"], lambda p, c: delta(p, c["functional"]), "every"), judged=True,
    ),
    Claim(
        "others collapse", "Steering all layers but the functional ones loses control.", "section 4.2",
        "half of the delta alignment of the functional layers is more than that of all others, mean of concepts",
        0.0, "steering",
        steered(["functional", "others"], lambda p, c: delta(p, c["functional"]) / 2 - delta(p, c["others"])),
        judged=True,
    ),
    Claim(
        "more control", "Localised steering controls more than steering all layers.", "section 1; section 5",
        "delta alignment, functional layers less all layers, mean of concepts, is above 0",
        0.0, "steering", steered(["functional", "all"], lambda p, c: delta(p, c["functional"]) - delta(p, c["all"])),
        judged=True,
    ),
    Claim(
        "more precision", "Localised steering is more precise than steering all layers.", "section 1; section 5",
        "area under alignment over LPAPS, functional layers less all layers, mean of concepts, is above 0",
        0.0, "steering", more_for_the_same, judged=True,
        published=_averages("CAA (loc.)", "CAA", "auc_muq"), source=LPAPS,
    ),
    Claim(
        "removal", "Negative strengths take the concept away.", "section 3",
        "alignment of the unsteered clips less that at the smallest strength is above 0 in every concept",
        0.0, "steering",
        steered(["functional"], lambda p, c: c["functional"][:, p == 0][:, 0] - c["functional"][:, 0], "every"),
        judged=True,
    ),
    Claim(
        "graded", "The strength turns the concept up and down gradually.", "section 1; section 3",
        "rank correlation of strength and alignment on the functional layers, mean of concepts, is above 0.8",
        0.8, "steering", steered(["functional"], lambda p, c: rising(p, c["functional"])), judged=True,
    ),
    Claim(
        "smoother", "Localised steering moves as smoothly as steering all layers, or more so.", "table 1",
        "standard deviation of the steps of alignment per unit of delta, all layers less functional ones, is above 0",
        0.0, "steering",
        steered(["functional", "all"], lambda p, c: _unevenness(c["all"]) - _unevenness(c["functional"])), judged=True,
        published=_averages("CAA (loc.)", "CAA", "smoothness_muq"), source=LPAPS,
    ),
    Claim(
        "preservation (LPAPS)", "Localised steering leaves more of the clip alone than steering all other layers.",
        "section 4.2", "LPAPS, all others less functional layers, mean of strengths and concepts, is above 0",
        0.0, "steering",
        steered(["functional", "others"], lambda p, c: away(p, c["others"]) - away(p, c["functional"]), metric="lpaps"),
    ),
    Claim(
        "preservation (FAD)", "The same by the distance between sets of clips.", "section 4.2",
        "Fréchet distance to the unsteered clips, all others less functional layers, is above 0",
        0.0, "steering", sets_apart("fad", "functional", "others"),
    ),
    Claim(
        "quality (truth)", "Steering all layers degrades quality, localised steering less.", "section 4.2",
        "Fréchet distance to true renders (in place of ratings), all layers less functional ones, is above 0",
        0.0, "steering", sets_apart("fad-truth", "functional", "all"),
    ),
    Claim(
        "quality (ratings)", "The same by the ratings of Audiobox Aesthetics.", "section 4.2",
        "mean of CE, CU, PC and PQ, functional layers less all layers, is above 0", 0.0, "ratings",
        published=_averages("CAA (loc.)", "CAA", "quality"), source=LPAPS,
    ),
    Claim(
        "autoencoder competes", "Features of one layer do about as well as CAA on both layers, at times better.",
        "section 4.2",
        "delta alignment of the autoencoder less four fifths of that of CAA on the functional layers is above 0",
        0.0, "steering",
        steered(["sae", "functional"], lambda p, c: delta(p, c["sae"]) - 0.8 * delta(p, c["functional"])), judged=True,
        published=_averages("SAE (loc.)", "CAA (loc.)", "auc_muq"), source=LPAPS,
    ),
)  # fmt: skip
"""Every sentence of the paper that numbers can test, in its order."""


def _unevenness(rows: Values) -> Values:
    """Standard deviation of the steps, in units of the whole movement."""
    whole = np.abs(rows[:, -1] - rows[:, 0])
    return np.diff(rows, axis=1).std(1) / np.maximum(whole, 1e-9)


def published() -> pd.DataFrame:
    """``claim, published, source`` of the claims for which values of public models are known."""
    rows = [(claim.name, claim.published(), claim.source) for claim in CLAIMS if claim.published]
    return pd.DataFrame(rows, columns=["claim", "published", "source"])
