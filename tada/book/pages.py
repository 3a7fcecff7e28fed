"""Which pages there are: one a notebook, or those that `notebooks/pages.yml` and `notebooks/gallery.yml` give it.

Both files have the same form; every page begins with the name of its notebook:

    notebook:
      page: {title: ..., parameters: {name: value}, after: [start of other pages], about: ...}

Pages of the second file form the part *Gallery* of the book. `after` names pages whose results a page reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tada.book import notebooks
from tada.errors import BookError, unknown

PROFILES = ("smoke", "mini", "colab", "paper")
PAGES, GALLERY = "pages.yml", "gallery.yml"
_SAID = ("title", "parameters", "after", "about")


@dataclass(frozen=True)
class Sheet:
    """A page to be made.

    Attributes:
        name: of the page.
        path: of its notebook.
        parameters: those that make it another page than the notebook's own.
        title: in place of the notebook's, if given.
        about: a sentence below the title.
        after: names of the pages whose results it reads.
        gallery: it belongs to the gallery.
    """

    name: str
    path: Path
    parameters: Mapping[str, object] = field(default_factory=dict)
    title: str = ""
    about: str = ""
    after: tuple[str, ...] = ()
    gallery: bool = False


def select(folder: Path, only: Sequence[str] = ()) -> list[Sheet]:
    """The pages of the notebooks in `folder`, or those whose name starts with one of `only`.

    Raises:
        BookError: a file names no notebook, page or parameter that there is, or a page twice.
        NotebookError: a start that fits no page.
    """
    paths = {path.stem: path for path in sorted(folder.glob("*.py"))}
    usual, gallery = (_read(folder / file, paths) for file in (PAGES, GALLERY))
    found = []
    for path in paths.values():
        found += _sheets(path, usual.get(path.stem) or {path.stem: {}}, PAGES)
        found += [replace(one, gallery=True) for one in _sheets(path, gallery.get(path.stem, {}), GALLERY)]
    names = [sheet.name for sheet in found]
    for name in names:
        if names.count(name) > 1:
            raise BookError(f"{GALLERY}: the page {name!r} is there already, give this one another name.")
    for start in only:
        if not any(name.startswith(start) for name in names):
            raise notebooks.NotebookError(unknown("notebook", start, names))
    usual_names = [sheet.name for sheet in found if not sheet.gallery]
    found = [replace(sheet, after=_after(sheet, usual_names)) for sheet in found]
    return [sheet for sheet in found if not only or sheet.name.startswith(tuple(only))]


def _read(file: Path, paths: Mapping[str, Path]) -> dict[str, Any]:
    said = load_yaml(file) if file.is_file() else {}
    for name in said:
        if name not in paths:
            raise BookError(f"{file.name}: {unknown('notebook', name, paths)}")
    return said


def _sheets(path: Path, pages: Mapping[str, Any], file: str) -> list[Sheet]:
    """The pages of one notebook."""
    pages = {name: said or {} for name, said in pages.items()}
    wanted = any(said.get("parameters") for said in pages.values())
    declared = [parameter.name for parameter in notebooks.parameters(path)] if wanted else []
    sheets = []
    for name, said in pages.items():
        if not name.startswith(path.stem):
            raise BookError(f"{file}: page {name!r} of {path.name} does not begin with {path.stem!r}.")
        for key in said:
            if key not in _SAID:
                raise BookError(f"{file}: {name}: {unknown('entry', key, _SAID)}")
        for parameter in said.get("parameters", ()):
            if parameter not in declared:
                raise BookError(f"{file}: {unknown(f'parameter of {path.name}', parameter, declared)}")
        profile = said.get("parameters", {}).get("profile", PROFILES[0])
        if profile not in PROFILES:
            raise BookError(f"{file}: {name}: {unknown('profile', str(profile), PROFILES)}")
        texts = {key: said[key] for key in ("title", "about") if key in said}
        after = tuple(map(str, said.get("after", ())))
        sheets.append(Sheet(name, path, said.get("parameters", {}), after=after, **texts))
    return sheets


def _after(sheet: Sheet, names: Sequence[str]) -> tuple[str, ...]:
    """The names of the pages that a page's `after` means."""
    for start in sheet.after:
        if not any(name.startswith(start) for name in names):
            raise BookError(f"{PAGES}: {sheet.name}: after: {unknown('page', start, names)}")
    fitting = (name for name in names if sheet.after and name.startswith(sheet.after))
    return tuple(name for name in fitting if name != sheet.name)


def load_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping read from `path`; a key given twice is an error."""
    import yaml

    class Strict(yaml.SafeLoader):
        pass

    def mapping(loader: Any, node: Any) -> dict[str, Any]:
        keys = [loader.construct_object(key) for key, _ in node.value]
        twice = sorted({str(key) for key in keys if keys.count(key) > 1})
        if twice:
            line = node.start_mark.line + 1
            raise BookError(
                f"{path.name}: {', '.join(twice)} is given twice in the mapping that starts at line {line}."
            )
        return dict(loader.construct_mapping(node, deep=True))

    Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    return dict(yaml.load(path.read_text(encoding="utf-8"), Loader=Strict) or {})
