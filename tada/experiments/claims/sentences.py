"""Every sentence of the paper that numbers can test, in its order."""

from __future__ import annotations

from tada.evaluation.results import moved
from tada.experiments.claims.known import LOCALISATION, LPAPS, averages, shares, single, top
from tada.experiments.claims.layers import between, concentration, middle, named, sharing
from tada.experiments.claims.steering import apart, area, away, delta, removed, rising, steered, unevenness
from tada.experiments.claims.verdicts import Claim
from tada.metrics.aesthetics import AXES
from tada.models import ARCHITECTURES


def _layers(model: str, says: str) -> Claim:
    numbers = ", ".join(map(str, ARCHITECTURES[model].paper_layers))
    return Claim(
        f"layers of {ARCHITECTURES[model].title}", says, "section 4.1, figure 3",
        f"lowest mean impact of layers {{{numbers}}} less the highest of all others is above 0",
        0.0, "localisation", named, on=(model,), public=True, published=top(model), source=LOCALISATION,
    )  # fmt: skip


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "few layers", "A few of the cross-attention layers control the musical concepts.",
        "abstract; section 1; section 4.1",
        "share of all layers' absolute impact in as many layers as the paper names (2, 2, 4), chosen on the other "
        "concepts, is above a half",
        0.5, "localisation", concentration, published=shares, source=LOCALISATION,
    ),
    Claim(
        "shared layers", "Different concepts share those layers.", "abstract; section 1; section 4.1",
        "share of concepts whose strongest layer is among those strongest for the other concepts is above a half",
        0.5, "localisation", sharing,
    ),
    Claim(
        "middle layers", "In the transformers, control is concentrated in middle layers.", "section 4.1",
        "share of concepts whose strongest layer lies in the middle half of the depth is above a half",
        0.5, "localisation", middle, on=("ace-step", "stable-audio"),
    ),
    Claim(
        "general", "The specialisation is a property of such models in general, not of one.", "section 4.1",
        "'few layers' is supported in all three architectures", 0.5, "verdicts", after="few layers",
    ),
    _layers("ace-step", "In ACE-Step the functional layers are 6 and 7."),
    _layers("stable-audio", "In Stable Audio Open they are 11 and 12."),
    _layers("audioldm2", "In AudioLDM2 they are 44, 45, 50 and 51."),
    Claim(
        "layers in between", "In AudioLDM2 the layers between those contribute slightly.", "section 4.1",
        "mean impact of layers 46 to 49 less that of all layers that are not named is above 0",
        0.0, "localisation", between(range(46, 50)), on=("audioldm2",), public=True,
        published=single("audioldm2", range(46, 50)), source=LOCALISATION,
    ),
    Claim(
        "functional layers suffice", "Steering the functional layers alone moves every concept.",
        "abstract; section 1; section 4.2",
        "delta alignment of CAA on the functional layers is above 0 in every concept",
        0.0, "steering", steered(["functional"], lambda c: delta(c["functional"]), "every"), judged=True,
    ),
    Claim(
        "others collapse", "Steering all layers but the functional ones loses control.", "section 1; section 4.2",
        "half of the delta alignment of the functional layers is more than that of all others, mean of concepts",
        0.0, "steering", steered(["functional", "others"], lambda c: delta(c["functional"]) / 2 - delta(c["others"])),
        judged=True,
    ),
    Claim(
        "more control", "Localised steering controls more than steering all layers.", "section 1; section 5",
        "delta alignment, functional layers less all layers, mean of concepts, is above 0",
        0.0, "steering", steered(["functional", "all"], lambda c: delta(c["functional"]) - delta(c["all"])),
        judged=True,
    ),
    Claim(
        "more precision", "Localised steering is more precise than steering all layers.",
        "abstract; section 1; section 5",
        "area under alignment over LPAPS, functional layers less all layers, mean of concepts, is above 0",
        0.0, "steering", steered(["functional", "all"], lambda c: area(c["functional"]) - area(c["all"])), judged=True,
        published=averages("CAA (loc.)", "CAA", "auc_muq"), source=LPAPS,
    ),
    Claim(
        "more precision than the others", "It is more precise than steering the other layers, too.", "section 1",
        "area under alignment over LPAPS, functional layers less all others, mean of concepts, is above 0",
        0.0, "steering", steered(["functional", "others"], lambda c: area(c["functional"]) - area(c["others"])),
        judged=True,
    ),
    Claim(
        "removal", "Negative strengths take the concept away.", "section 3",
        "alignment of the unsteered clips less that at the smallest strength is above 0 in every concept",
        0.0, "steering", steered(["functional"], lambda c: removed(c["functional"]), "every"), judged=True,
    ),
    Claim(
        "graded", "The strength turns the concept up and down gradually.", "section 1; section 3",
        "rank correlation of strength and alignment on the functional layers, mean of concepts, is above 0.8",
        0.8, "steering", steered(["functional"], lambda c: rising(c["functional"]), most=1.0), judged=True,
    ),
    Claim(
        "smoother", "Localised steering moves as smoothly as steering all layers, or more so.", "table 1",
        "standard deviation of the steps of alignment per unit of delta, all layers less functional ones, is above 0",
        0.0, "steering", steered(["functional", "all"], lambda c: unevenness(c["all"]) - unevenness(c["functional"])),
        judged=True, published=averages("CAA (loc.)", "CAA", "smoothness_muq"), source=LPAPS,
    ),
    Claim(
        "preservation (LPAPS)", "Localised steering leaves more of the clip alone than steering all other layers.",
        "section 4.2", "LPAPS, all others less functional layers, mean of strengths and concepts, is above 0",
        0.0, "steering", steered(["functional", "others"], lambda c: away(c["others"]) - away(c["functional"])),
    ),
    Claim(
        "preservation (FAD)", "The same by the distance between sets of clips.", "section 4.2",
        "Fréchet distance to the unsteered clips, all others less functional layers, is above 0", 0.0, "steering",
        apart("fad", ["functional", "others"], lambda c: moved(c["others"]) - moved(c["functional"])),
    ),
    Claim(
        "global steering degrades", "Steering all layers often degrades the sound.", "section 1; section 4.2",
        "Fréchet distance to true renders (in place of ratings), all layers less the unsteered clips, is above 0",
        0.0, "steering", apart("fad-truth", ["all"], lambda c: moved(c["all"]) - c["all"][0.0]),
    ),
    Claim(
        "quality kept", "Localised steering does not degrade the sound.", "section 1; section 5",
        "Fréchet distance to true renders, that of the unsteered clips and a tenth less that of the functional layers, "
        "is above 0",
        0.0, "steering",
        apart("fad-truth", ["functional"], lambda c: 1.1 * c["functional"][0.0] - moved(c["functional"])),
    ),
    Claim(
        "quality (truth)", "Localised steering degrades the sound less than steering all layers.",
        "section 4.2; section 5", "Fréchet distance to true renders, all layers less functional ones, is above 0",
        0.0, "steering", apart("fad-truth", ["functional", "all"], lambda c: moved(c["all"]) - moved(c["functional"])),
    ),
    Claim(
        "quality (ratings)", "The same by the ratings of Audiobox Aesthetics.", "section 4.2",
        "mean of CE, CU, PC and PQ, functional layers less all layers, is above 0", 0.0, "ratings",
        steered(["functional", "all"], lambda c: c["functional"].score.mean(1) - c["all"].score.mean(1), metrics=AXES),
        on=("ace-step",), public=True, published=averages("CAA (loc.)", "CAA", "quality"), source=LPAPS,
    ),
    Claim(
        "autoencoder competes", "Features of one layer do about as well as CAA on all functional layers.",
        "section 4.2",
        "delta alignment of the autoencoder less four fifths of that of CAA on the functional layers is above 0",
        0.0, "steering", steered(["sae", "functional"], lambda c: delta(c["sae"]) - 0.8 * delta(c["functional"])),
        judged=True, published=averages("SAE (loc.)", "CAA (loc.)", "auc_muq"), source=LPAPS,
    ),
    Claim(
        "autoencoder surpasses", "At times they do better.", "section 4.2",
        "delta alignment, autoencoder less CAA on the functional layers, is above 0 in some concept",
        0.0, "steering", steered(["sae", "functional"], lambda c: delta(c["sae"]) - delta(c["functional"]), "any"),
        judged=True,
    ),
    Claim(
        "precise autoencoder", "Autoencoders in a functional layer enable more precise control, too.", "abstract",
        "area under alignment over LPAPS, autoencoder less CAA on all layers, mean of concepts, is above 0",
        0.0, "steering", steered(["sae", "all"], lambda c: area(c["sae"]) - area(c["all"])), judged=True,
        published=averages("SAE (loc.)", "CAA", "auc_muq"), source=LPAPS,
    ),
)  # fmt: skip
