"""The metrics of the evaluation, one file each: load a model, embed clips with it, compare embeddings.

Arrays go in with their sample rate and one float a clip (or a set of clips) comes out. Every file says what it
measures, its conventions, its range and which direction is better. Optional packages are imported on use; without them
the error has the line that installs them.

==================  =================================================================================
``clap``, ``muq``   similarity of a clip and a text, also by the package's own models in their places
``musicnn``         tags of a clip by networks that others trained
``lpaps``           how different two clips sound
``fad``             how far a set of clips is from another (FAD, FAD-infinity, KAD)
``aesthetics``      predicted ratings of a clip
``curve``           delta alignment, smoothness and AUC of scores over strengths
``signals``         pulse, onsets, voice, pitch, mode and brightness, from the signal alone
``judges``          how much of a concept each clip has: one protocol for all judges
``suite``           all metrics of the evaluation, beside the unsteered clips
==================  =================================================================================
"""

from tada.metrics import aesthetics, audio, clap, curve, embedding, fad, judges, lpaps, muq, musicnn, signals, suite

__all__ = [
    "aesthetics",
    "audio",
    "clap",
    "curve",
    "embedding",
    "fad",
    "judges",
    "lpaps",
    "muq",
    "musicnn",
    "signals",
    "suite",
]
