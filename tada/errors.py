"""The errors that a user can cause, and the words in which they say what to do."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches


class TadaError(Exception):
    """Anything that a user can cause; the kinds below are also the built-in errors that one would expect."""


class InputError(TadaError, ValueError):
    """A value that cannot be used."""


class UnknownNameError(TadaError, KeyError):
    """A name that does not exist."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class LayerError(TadaError, IndexError):
    """A layer that the model does not have."""


class MissingFileError(TadaError, FileNotFoundError):
    """A file or folder that is not there."""


class MissingPackageError(TadaError, ModuleNotFoundError):
    """An optional package that is not installed; the text has the pip line."""


class CheckpointError(TadaError, OSError):
    """A checkpoint that cannot be had or read."""


class NotebookError(InputError):
    """A notebook or one of its parameters that cannot be used."""


class BookError(TadaError, RuntimeError):
    """A book that cannot be built."""


def check_name(kind: str, got: object, valid: Collection[object], hint: str = "") -> None:
    """Refuse a name that is not among those that exist: UnknownNameError with the words of :func:`unknown`."""
    if got not in valid:
        raise UnknownNameError(unknown(kind, got, valid, hint))


def unknown(kind: str, got: object, valid: Iterable[object], hint: str = "") -> str:
    """Write the sentence for a name that does not exist: the name, the nearest valid ones, all if they are few."""
    names = [str(name) for name in valid]
    near = get_close_matches(str(got), names, n=3, cutoff=0.5)
    guess = f"; did you mean {' or '.join(map(repr, near))}?" if near else "."
    listed = f"There are {len(names)}, from {names[0]} to {names[-1]}." if len(names) > 16 else ""
    listed = listed or (f"Valid: {', '.join(names)}." if names else "There is none.")
    return f"no {kind} {got!r}{guess} {listed}{' ' + hint if hint else ''}"
