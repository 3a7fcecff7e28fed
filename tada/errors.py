"""Words for errors: what was got, what would have been right, what is nearest."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def unknown(kind: str, got: object, valid: Iterable[object], hint: str = "") -> str:
    """A sentence for a name that does not exist: the name, the nearest valid ones, all of them if they are few."""
    names = [str(name) for name in valid]
    near = get_close_matches(str(got), names, n=3, cutoff=0.5)
    guess = f"; did you mean {' or '.join(map(repr, near))}?" if near else "."
    listed = (
        f" Valid: {', '.join(names)}."
        if len(names) <= 16
        else f" There are {len(names)}, from {names[0]} to {names[-1]}."
    )
    return f"no {kind} {got!r}{guess}{listed}{' ' + hint if hint else ''}"
