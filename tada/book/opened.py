"""The checkpoints that were opened for a page: whatever opens one says so, and the page's stamp names them.

Only while a page is built, see ``tada.display.players.PAGE``; elsewhere nothing is written.
"""

from __future__ import annotations

import json
from pathlib import Path

DIGITS = 12
"""Of a hash that are kept."""


def note(name: str, digest: str) -> None:
    """Write down for the page that is being built that a checkpoint was opened; elsewhere do nothing.

    Args:
        name: of the checkpoint, for readers.
        digest: of its weights, hexadecimal.
    """
    file = _notes()
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as notes:
            notes.write(json.dumps([name, digest[:DIGITS]]) + "\n")


def note_weights(name: str, opened: object) -> None:
    """As :func:`note`, for a model or an ear; its hash is that of ``tada.patching.fingerprint``."""
    if _notes() is not None:
        from tada.models.fingerprint import fingerprint

        note(name, fingerprint(opened))


def noted(output: Path) -> dict[str, str]:
    """Names and hashes of the checkpoints that were opened for the page at `output`."""
    file = _beside(output.with_suffix(""))
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return dict(json.loads(line) for line in lines)


def forget(output: Path) -> None:
    """Remove what was noted for a page."""
    _beside(output.with_suffix("")).unlink(missing_ok=True)


def _notes() -> Path | None:
    from tada.display.players import page_folder

    folder = page_folder()
    return None if folder is None else _beside(folder)


def _beside(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.checkpoints")
