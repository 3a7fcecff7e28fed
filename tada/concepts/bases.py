"""Base prompts: what the templates of steered concepts are filled with, fifty for each kind of concept.

``public`` ones are the paper's, as far as they are public; ``mini`` ones keep to the words that the minis learnt, and
leave out those of the renderer's attributes.
"""

from __future__ import annotations

from collections.abc import Mapping

COUNT = 50
"""Base prompts of a kind."""

_GENERAL = ("song", "melody", "music", "tune", "track", "composition", "instrumental music", "piece of music")
_GENRES = tuple(f"{name} music" for name in ("electronic", "acoustic", "orchestral"))
_PIECES = ("pop song", "rock song", "jazz piece", "classical piece")
_STYLES = tuple(f"{name} music" for name in ("hip hop", "country", "blues", "folk", "reggae", "metal"))
_MORE = ("punk rock", "dance music", "ambient music", "lofi music", "ballad", "love song")
_FORMS = ("duet", "solo performance", "cover song", "original song", "remix")
_PLAYED = ("piano music", "guitar music", "synth music", "soundtrack", "cinematic music")
_KINDS = (
    *("energetic", "calm", "dramatic", "cheerful", "melancholic", "aggressive", "gentle", "powerful", "soft", "loud"),
    *("rhythmic", "harmonious", "dissonant", "simple", "complex", "minimalist"),
)
_FEELINGS = (
    *("romantic", "nostalgic", "dreamy", "intense", "soulful", "groovy", "funky", "smooth", "raw", "emotional"),
    "expressive",
)
_COMMON = (*_GENERAL, "background music", "musical performance", *_GENRES, *_PIECES, *_STYLES, *_MORE)
_SUNG = tuple(f"{name} song" for name in ("R&B", "soul", "indie", "disco", "funk", "gospel"))

PUBLIC: Mapping[str, tuple[str, ...]] = {
    "plain": (
        *_COMMON[:10],
        *("upbeat song", "slow song", "fast-paced track"),
        *_COMMON[10:],
        *("happy song", "sad song"),
        *(f"{kind} music" for kind in _KINDS),
    ),
    "moodless": (*_COMMON, *_PLAYED, *(f"{feeling} music" for feeling in _FEELINGS), *_FORMS),
    "paceless": (
        *_COMMON,
        *_PLAYED,
        *_FORMS,
        *("happy music", "sad music", "lullaby", "opera piece"),
        *_SUNG[1:],
        *("house music", "techno music"),
    ),
    "sung": (
        *(base for base in _COMMON if base not in ("instrumental music", "background music", "orchestral music")),
        *("upbeat song", "slow song", "fast-paced track", "happy song", "sad song"),
        *_SUNG,
        *("opera piece", "lullaby", "duet", "cover song", "original song", "karaoke track", "vocal performance"),
        *(f"{kind} music" for kind in ("energetic", "calm", "dramatic", "gentle", "powerful", "soft")),
    ),
}
"""Base prompts without articles. The fifty of piano are public; of the other lists the public part is how they differ
from it, which these follow."""

_MASS = ("music", "punk rock")


def mini() -> tuple[str, ...]:
    """Fifty base prompts of the minis' grammar that promise nothing that the renderer plays."""
    from tada.minis.filler import FILLER

    plain = ("song", "melody", "music", "tune", "track", "composition", "piece of music", "background music")
    forms = ("musical performance", "ballad", "love song", "cover song", "original song", "soundtrack")
    styles = FILLER["style"]
    songs = tuple(f"{style} {('song', 'music')[place % 2]}" for place, style in enumerate(styles))
    return (*plain, *forms, *songs, *(f"{style} piece" for style in styles))[:COUNT]


def article(base: str) -> str:
    """The base with ``a`` or ``an``, unless its noun has none."""
    if base.endswith(_MASS):
        return base if base != "piece of music" else "a piece of music"
    return f"{'an' if base[0].lower() in 'aeiou' or base.startswith('R&B') else 'a'} {base}"
