"""One notebook executed where a user wants it, beside the files that a user has there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tada.book import notebooks, provenance
from tada.book.notebooks import Execution
from tada.errors import NotebookError
from tada.io import require_writable, sha256, write_json


def run(path: Path, output: Path, chosen: Mapping[str, object]) -> Execution:
    """Execute a notebook where a user wants it: what the last run left there is replaced, and nothing else.

    Files of its page lie beside the output, in a folder of its name.

    Raises:
        NotebookError: there is something that no run left, or the output cannot be written.
    """
    require_writable(output.parent)
    own = output.parent.resolve() == path.parent.resolve()
    if own or output.with_suffix(".py").exists():
        raise NotebookError(f"{output.parent} is {'the' if own else 'a'} notebook's own folder: choose another folder")
    record, source = output.with_name(f".{output.stem}.run.json"), str(path.resolve().with_suffix(""))
    _remove_last_run(source, output, record)
    try:
        return notebooks.execute(path, output, chosen, provenance.environment(output))
    finally:
        left = {name: sha256(file) for name, file in _run_files(output).items() if not file.is_symlink()}
        if left:
            write_json(record, {"notebook": source, "files": left})


def _run_files(output: Path) -> dict[str, Path]:
    """Find what lies where a run writes: the executed notebook, and the files of its page."""
    folder = output.with_suffix("")
    inside = [folder] if folder.is_symlink() or folder.is_file() else folder.rglob("*")
    there = [file for file in (output, *inside) if file.is_symlink() or file.is_file()]
    return {file.relative_to(output.parent).as_posix(): file for file in there}


def _remove_last_run(source: str, output: Path, record: Path) -> None:
    files: dict[str, Path] = _run_files(output)
    last: dict[str, Any] = {"notebook": source, "files": {}}
    with suppress(OSError, ValueError):
        last = json.loads(record.read_text(encoding="utf-8"))
    if last["notebook"] != source:
        raise NotebookError(f"{output} is of another notebook, {last['notebook']}: choose another folder")
    for name, file in files.items():
        if file.is_symlink() or last["files"].get(name) != sha256(file):
            raise NotebookError(
                f"{file} is not as a run left it (yours, edited, or of a run that was killed): "
                "move it away, or choose another folder"
            )
    for file in files.values():
        file.unlink()
    for folder in sorted({file.parent for file in files.values()} - {output.parent}, reverse=True):
        with suppress(OSError):  # it holds folders of the user's
            folder.rmdir()
    record.unlink(missing_ok=True)
