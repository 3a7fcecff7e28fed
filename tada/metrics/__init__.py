"""The metrics of the evaluation, one file each: load a model, embed clips with it, compare embeddings.

Arrays go in with their sample rate and one float a clip (or a set of clips) comes out. Every file says what it
measures, its conventions, its range and which direction is better. Models are loaded once; embeddings of clips that
were just heard are kept. Optional packages are imported on use; without them the error has the line that installs them.

======================  ==========================================================================================
``clap``, ``muq``       similarity of a clip and a text; also the package's own ears in their places
``lpaps``               how different two clips sound
``fad``                 how far a set of clips is from another (FAD, FAD-infinity, KAD)
``aesthetics``          predicted ratings of a clip
``curve``               delta alignment, smoothness and AUC of scores over strengths
``preservation``        harmony, structure, rhythm and melody kept
``external``            tempo, onset rate, brightness, to hold the ears against
``score``               one number a clip for a concept by its name
======================  ==========================================================================================
"""

from tada.metrics import aesthetics, audio, clap, curve, external, fad, lpaps, muq, preservation, score
from tada.metrics.score import concept_score

__all__ = [
    "aesthetics",
    "audio",
    "clap",
    "concept_score",
    "curve",
    "external",
    "fad",
    "lpaps",
    "muq",
    "preservation",
    "score",
]
