"""Every sentence of the paper that numbers can test, in its order, and what its authors published on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files

import pandas as pd

from tada.evaluation.results import mean_shift
from tada.experiments.claims.effects import Measure
from tada.experiments.claims.measures import (
    area,
    concentration,
    delta,
    difference,
    functional,
    layers_above_rest,
    mean_lpaps,
    mean_score,
    middle_share,
    negative_drop,
    paper_layers_lead,
    rank_correlation,
    sets_apart,
    sharing,
    steered,
    unevenness,
)
from tada.experiments.localisation import published
from tada.metrics.aesthetics import AXES
from tada.models import ARCHITECTURES

LOCALISATION = "results/tables_localization.md of the authors' code, public checkpoints"
LPAPS = "results/tables_lpaps.md of the authors' code, second version, mean of nine concepts, public ACE-Step"


@dataclass(frozen=True)
class Claim:
    """One sentence of the paper that can be tested.

    Attributes:
        name: short, for commands and tables.
        says: what the paper claims, in our words.
        where: in the first version of the paper.
        test: what is measured, in words.
        measure: None where the claim needs verdicts.
        bar: what the effect must exceed.
        needs: ``"localisation"``, ``"steering"``, ``"ratings"`` (steering, rated by Audiobox Aesthetics), or
            ``"verdicts"`` (those of the claim :attr:`after` on all architectures).
        judged: whether there is one effect for each judge of alignment.
        on: architectures that it is about; none for all.
        public: whether only public checkpoints can tell.
        after: the claim whose verdicts are needed.
        published: values of the authors for public models, in words; never of a mini.
        source: where they were published.
    """

    name: str
    says: str
    where: str
    test: str
    measure: Measure | None
    bar: float = 0.0
    needs: str = "steering"
    judged: bool = False
    on: tuple[str, ...] = ()
    public: bool = False
    after: str = ""
    published: Callable[[], str] | None = None
    source: str = ""


# ---- what was published


def strongest_layers(model: str, layers: Sequence[int] = ()) -> pd.DataFrame:
    """Read published mean impacts of single layers, the highest first; of all layers, or of some."""
    rows = published()
    rows = rows[(rows["model"] == model) & (rows["layer"].isin(layers) if layers else True)]
    return rows.sort_values("impact", ascending=False, kind="stable")


def paper_share(model: str) -> float:
    """Compute the share of the published impacts that lies in the layers that the paper names."""
    own = strongest_layers(model, ARCHITECTURES[model].paper_layers)
    return float(own["impact"].sum() / strongest_layers(model)["impact"].sum())


def _shares() -> str:
    return "; ".join(f"{architecture.title} {paper_share(name):.2f}" for name, architecture in ARCHITECTURES.items())


def _listed(rows: pd.DataFrame) -> str:
    return ", ".join(f"{layer} ({impact:.3f})" for layer, impact in zip(rows["layer"], rows["impact"], strict=True))


def _top(model: str) -> str:
    named = ARCHITECTURES[model].paper_layers
    rows = strongest_layers(model).head(len(named))
    missing = ", ".join(map(str, sorted(set(named) - set(rows["layer"]))))
    return f"strongest: {_listed(rows)}; " + (f"without {missing}" if missing else "the named ones")


def _averages(first: str, second: str, column: str) -> str:
    with files("tada.data").joinpath("published_averages.csv").open() as file:
        table = pd.read_csv(file).set_index("method")[column]
    return f"{first} {table[first]:.3f}, {second} {table[second]:.3f} ({column.replace('_', ' ')})"


# ---- the claims


def _layers(model: str, says: str) -> Claim:
    numbers = ", ".join(map(str, ARCHITECTURES[model].paper_layers))
    return Claim(
        f"layers of {ARCHITECTURES[model].title}", says, "section 4.1, figure 3",
        f"lowest mean impact of layers {{{numbers}}} less the highest of all others is above 0", paper_layers_lead,
        needs="localisation", on=(model,), public=True, published=lambda: _top(model), source=LOCALISATION,
    )  # fmt: skip


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "few layers", "A few of the cross-attention layers control the musical concepts.",
        "abstract; section 1; section 4.1",
        "share of all layers' absolute impact in as many layers as the paper names (2, 2, 4), chosen on the other "
        "concepts, is above a half",
        concentration, 0.5, "localisation", published=_shares, source=LOCALISATION,
    ),
    Claim(
        "shared layers", "Different concepts share those layers.", "abstract; section 1; section 4.1",
        "share of concepts whose strongest layer is among those strongest for the other concepts is above a half",
        sharing, 0.5, "localisation",
    ),
    Claim(
        "middle layers", "In the transformers, control is concentrated in middle layers.", "section 4.1",
        "share of concepts whose strongest layer lies in the middle half of the depth is above a half",
        middle_share, 0.5, "localisation", on=("ace-step", "stable-audio"),
    ),
    Claim(
        "general", "The specialisation is a property of such models in general, not of one.", "section 4.1",
        "'few layers' is supported in all three architectures", None, 0.5, "verdicts", after="few layers",
    ),
    _layers("ace-step", "In ACE-Step the functional layers are 6 and 7."),
    _layers("stable-audio", "In Stable Audio Open they are 11 and 12."),
    _layers("audioldm2", "In AudioLDM2 they are 44, 45, 50 and 51."),
    Claim(
        "layers in between", "In AudioLDM2 the layers between those contribute slightly.", "section 4.1",
        "mean impact of layers 46 to 49 less that of all layers that are not named is above 0",
        layers_above_rest(range(46, 50)), needs="localisation", on=("audioldm2",), public=True,
        published=lambda: _listed(strongest_layers("audioldm2", range(46, 50))), source=LOCALISATION,
    ),
    Claim(
        "functional layers suffice", "Steering the functional layers alone moves every concept.",
        "abstract; section 1; section 4.2",
        "delta alignment of CAA on the functional layers is above 0 in every concept", functional(delta), judged=True,
    ),
    Claim(
        "others collapse", "Steering all layers but the functional ones loses control.", "section 1; section 4.2",
        "half of the delta alignment of the functional layers is more than that of all others, mean of concepts",
        steered(["functional", "others"], lambda c: delta(c["functional"]) / 2 - delta(c["others"])), judged=True,
    ),
    Claim(
        "more control", "Localised steering controls more than steering all layers.", "section 1; section 5",
        "delta alignment, functional layers less all layers, mean of concepts, is above 0",
        difference(delta, "functional", "all"), judged=True,
    ),
    Claim(
        "more precision", "Localised steering is more precise than steering all layers.",
        "abstract; section 1; section 5",
        "area under alignment over LPAPS, functional layers less all layers, mean of concepts, is above 0",
        difference(area, "functional", "all"), judged=True,
        published=lambda: _averages("CAA (loc.)", "CAA", "auc_muq"), source=LPAPS,
    ),
    Claim(
        "more precision than the others", "It is more precise than steering the other layers, too.", "section 1",
        "area under alignment over LPAPS, functional layers less all others, mean of concepts, is above 0",
        difference(area, "functional", "others"), judged=True,
    ),
    Claim(
        "removal", "Negative strengths take the concept away.", "section 3",
        "alignment of the unsteered clips less that at the smallest strength is above 0 in every concept",
        functional(negative_drop), judged=True,
    ),
    Claim(
        "graded", "The strength turns the concept up and down gradually.", "section 1; section 3",
        "rank correlation of strength and alignment on the functional layers, mean of concepts, is above 0.8",
        functional(rank_correlation, "mean", most=1.0), 0.8, judged=True,
    ),
    Claim(
        "smoother", "Localised steering moves as smoothly as steering all layers, or more so.", "table 1",
        "standard deviation of the steps of alignment per unit of delta, all layers less functional ones, is above 0",
        difference(unevenness, "all", "functional"), judged=True,
        published=lambda: _averages("CAA (loc.)", "CAA", "smoothness_muq"), source=LPAPS,
    ),
    Claim(
        "preservation (LPAPS)", "Localised steering leaves more of the clip alone than steering all other layers.",
        "section 4.2", "LPAPS, all others less functional layers, mean of strengths and concepts, is above 0",
        difference(mean_lpaps, "others", "functional"),
    ),
    Claim(
        "preservation (FAD)", "The same by the distance between sets of clips.", "section 4.2",
        "Fréchet distance to the unsteered clips, all others less functional layers, is above 0",
        sets_apart("fad", ["functional", "others"], lambda c: mean_shift(c["others"]) - mean_shift(c["functional"])),
    ),
    Claim(
        "global steering degrades", "Steering all layers often degrades the sound.", "section 1; section 4.2",
        "Fréchet distance to true renders (in place of ratings), all layers less the unsteered clips, is above 0",
        sets_apart("fad-truth", ["all"], lambda c: mean_shift(c["all"]) - c["all"][0.0]),
    ),
    Claim(
        "quality kept", "Localised steering does not degrade the sound.", "section 1; section 5",
        "Fréchet distance to true renders, that of the unsteered clips and a tenth less that of the functional layers, "
        "is above 0",
        sets_apart("fad-truth", ["functional"], lambda c: 1.1 * c["functional"][0.0] - mean_shift(c["functional"])),
    ),
    Claim(
        "quality (truth)", "Localised steering degrades the sound less than steering all layers.",
        "section 4.2; section 5", "Fréchet distance to true renders, all layers less functional ones, is above 0",
        sets_apart("fad-truth", ["functional", "all"], lambda c: mean_shift(c["all"]) - mean_shift(c["functional"])),
    ),
    Claim(
        "quality (ratings)", "The same by the ratings of Audiobox Aesthetics.", "section 4.2",
        "mean of CE, CU, PC and PQ, functional layers less all layers, is above 0",
        difference(mean_score, "functional", "all", metrics=AXES), needs="ratings", on=("ace-step",), public=True,
        published=lambda: _averages("CAA (loc.)", "CAA", "quality"), source=LPAPS,
    ),
    Claim(
        "autoencoder competes", "Features of one layer do about as well as CAA on all functional layers.",
        "section 4.2",
        "delta alignment of the autoencoder less four fifths of that of CAA on the functional layers is above 0",
        steered(["sae", "functional"], lambda c: delta(c["sae"]) - 0.8 * delta(c["functional"])), judged=True,
        published=lambda: _averages("SAE (loc.)", "CAA (loc.)", "auc_muq"), source=LPAPS,
    ),
    Claim(
        "autoencoder surpasses", "At times they do better.", "section 4.2",
        "delta alignment, autoencoder less CAA on the functional layers, is above 0 in some concept",
        difference(delta, "sae", "functional", pool="any"), judged=True,
    ),
    Claim(
        "precise autoencoder", "Autoencoders in a functional layer enable more precise control, too.", "abstract",
        "area under alignment over LPAPS, autoencoder less CAA on all layers, mean of concepts, is above 0",
        difference(area, "sae", "all"), judged=True,
        published=lambda: _averages("SAE (loc.)", "CAA", "auc_muq"), source=LPAPS,
    ),
)  # fmt: skip
