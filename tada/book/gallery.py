"""The gallery: notebooks run with other parameters than their own, each a page of the book, kept in gallery.yml."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tada.book import notebooks
from tada.book import provenance as stamp
from tada.book.pages import GALLERY, PAGES, Sheet, load_yaml, select
from tada.io import atomic_write

PART = "Gallery"
"""Caption of the part of the book that holds these pages."""


def name_of(path: Path, title: str) -> str:
    """The name of a notebook's page in the gallery: the notebook's, and its title in letters, digits and hyphens.

    Raises:
        NotebookError: a title without a letter or digit.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    if not slug:
        raise notebooks.NotebookError(f"got the title {title!r} for the gallery; expected one with letters or digits.")
    return f"{path.stem}-{slug}"


def sheet(folder: Path, path: Path, title: str, parameters: Mapping[str, object]) -> Sheet:
    """A page that may be added to the gallery.

    Args:
        folder: of the notebooks.
        path: the notebook, .py or .ipynb.
        title: of the page.
        parameters: its values.

    Raises:
        NotebookError: a notebook of another folder, a title that makes no name or that of a page outside the gallery.
    """
    source = path.with_suffix(".py")
    if not (source.is_file() and source.parent.resolve() == folder.resolve()):
        raise notebooks.NotebookError(f"{path} is not in {folder}: the gallery shows the book's own notebooks.")
    made = Sheet(name_of(path, title), folder / source.name, parameters, title, gallery=True)
    if any(other.name == made.name and not other.gallery for other in select(folder)):
        raise notebooks.NotebookError(f"{PAGES} has the page {made.name!r}. Choose another title.")
    return made


def add(folder: Path, made: Sheet) -> Path:
    """Write a page into gallery.yml, in place of an older one of its name; comments above the first entry stay."""
    import yaml

    file = folder / GALLERY
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    comments = re.match(r"(?:[ \t]*(?:#.*)?\n)*", text)
    said: dict[str, Any] = load_yaml(file) if text else {}
    pages = said.setdefault(made.path.stem, {})
    about = {"about": pages[made.name]["about"]} if "about" in pages.get(made.name, {}) else {}
    pages[made.name] = {"title": made.title, **about, "parameters": dict(made.parameters)}
    body = yaml.safe_dump(said, sort_keys=False, allow_unicode=True, width=120)
    return atomic_write(file, (comments.group() if comments else "") + body)


def differences(made: Sheet) -> str:
    """How a page differs from its notebook's defaults, in Markdown."""
    changed = stamp.changes(notebooks.parameters(made.path), made.parameters)
    told = [f"`{name}` is `{value}` instead of `{default}`" for name, (value, default) in changed.items()]
    return ", ".join(told) or "all values are the defaults"


def remark(made: Sheet, origin: str) -> str:
    """What a page of the gallery says below its title.

    Args:
        made: the page.
        origin: name of the notebook's own page.
    """
    said = f"{made.about}\n\n" if made.about else ""
    return f":::{{admonition}} From the gallery\n{said}As [](/notebooks/{origin}.ipynb), but {differences(made)}.\n:::"


def rows(folder: Path) -> list[tuple[str, str, str]]:
    """Page, what it shows, and how it differs, for each page of the gallery."""
    return [(one.name, one.about, differences(one)) for one in select(folder) if one.gallery]


def contents(toc: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """The book's contents with the pages of the gallery, in a part that is made if missing."""
    parts = toc.setdefault("parts", [])
    part = next((one for one in parts if one.get("caption") == PART), None)
    if names and part is None:
        part = {"caption": PART, "chapters": []}
        parts.append(part)
    if part is not None:
        part["chapters"] = [*part["chapters"], *({"file": f"notebooks/{name}"} for name in names)]
    return toc
