"""The pages of the book: one a notebook, or those that `notebooks/pages.yml` gives it.

Jupyter Book knows a page a file, and no page that is a notebook run with other values. Every page begins with the name
of its notebook; `after` names pages whose results it reads:

  notebook:
    page: {title: ..., parameters: {name: value}, smoke: {name: value}, after: [others, * for any letters], about: ...}

where `smoke` are parameters of the smoke profile, beside the page's own or in their place.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from tada.book import notebooks
from tada.errors import BookError, NotebookError, unknown

PROFILES = ("smoke", "mini", "colab", "paper")
PAGES = "pages.yml"
ENTRIES = ("title", "parameters", "smoke", "after", "about")


@dataclass(frozen=True)
class PageSpec:
    """A page to be made.

    Attributes:
        name: of the page.
        path: of its notebook.
        parameters: those that make it another page than the notebook's own.
        smoke: others, at the smoke profile.
        title: in place of the notebook's, if given.
        about: a sentence below the title.
        after: names of the pages whose results it reads.
    """

    name: str
    path: Path
    parameters: Mapping[str, object] = field(default_factory=dict)
    smoke: Mapping[str, object] = field(default_factory=dict)
    title: str = ""
    about: str = ""
    after: tuple[str, ...] = ()


def root(start: Path | None = None) -> Path:
    """Return the nearest folder upwards with `_toc.yml` and `notebooks/`; raise NotebookError if there is none."""
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "_toc.yml").is_file() and (folder / "notebooks").is_dir():
            return folder
    raise NotebookError(f"{start} is not inside a checkout of the companion: no _toc.yml here or above it.")


def check_profile(name: str) -> str:
    """Return `name` if it is a profile; raise NotebookError that names the nearest if it is none."""
    if name not in PROFILES:
        raise NotebookError(unknown("profile", name, PROFILES))
    return name


def select(folder: Path, only: Sequence[str] = ()) -> list[PageSpec]:
    """Return the pages of the notebooks in `folder`, or those whose name starts with one of `only`.

    Raises:
        BookError: `pages.yml` names a notebook, page or parameter that does not exist.
        NotebookError: a start that fits no page.
    """
    paths = {path.stem: path for path in sorted(folder.glob("*.py"))}
    given = load_yaml(folder / PAGES) if (folder / PAGES).is_file() else {}
    for name in given:
        if name not in paths:
            raise BookError(f"{PAGES}: {unknown('notebook', name, paths)}")
    found = [spec for name, path in paths.items() for spec in _specs(path, given.get(name) or {name: {}})]
    names = [spec.name for spec in found]
    for start in only:
        if not any(name.startswith(start) for name in names):
            raise NotebookError(unknown("notebook", start, names))
    found = [replace(spec, after=_after(spec, names)) for spec in found]
    return [spec for spec in found if not only or spec.name.startswith(tuple(only))]


def _specs(path: Path, pages: Mapping[str, Any]) -> list[PageSpec]:
    pages = {name: entry or {} for name, entry in pages.items()}
    has_values = any(entry.get(kind) for entry in pages.values() for kind in ("parameters", "smoke"))
    declared = [parameter.name for parameter in notebooks.parameters(path)] if has_values else []
    for name, entry in pages.items():
        chosen, smoke = (entry.get(kind, {}) for kind in ("parameters", "smoke"))
        if not name.startswith(path.stem):
            raise BookError(f"{PAGES}: page {name!r} of {path.name} does not begin with {path.stem!r}.")
        for kind, given, valid in (
            ("entry", entry, ENTRIES),
            (f"parameter of {path.name}", chosen, declared),
            (f"parameter of {path.name} at smoke", smoke, [name for name in declared if name != "profile"]),
            ("profile", [chosen.get("profile", PROFILES[0])], PROFILES),
        ):
            for one in given:
                if one not in valid:
                    raise BookError(f"{PAGES}: {name}: {unknown(kind, str(one), valid)}")
    return [PageSpec(name, path, **{**entry, "after": tuple(entry.get("after", ()))}) for name, entry in pages.items()]


def _after(spec: PageSpec, names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the pages that a page's `after` means."""
    for pattern in spec.after:
        if not fnmatch.filter(names, pattern):
            raise BookError(f"{PAGES}: {spec.name}: after: {unknown('page', pattern, names)}")
    return tuple(name for name in names if any(fnmatch.fnmatch(name, one) for one in spec.after) and name != spec.name)


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that is given twice, of which YAML keeps the last without a word."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [str(self.construct_object(key)) for key, _ in node.value]
        twice = ", ".join(sorted({key for key in keys if keys.count(key) > 1}))
        if twice:
            where = f"the mapping that starts at line {node.start_mark.line + 1}"
            raise BookError(f"{Path(self.name).name}: {twice} is given twice in {where}.")
        return super().construct_mapping(node, deep)


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping; raise BookError where a key is given twice."""
    with path.open(encoding="utf-8") as file:
        return dict(yaml.load(file, _StrictLoader) or {})
