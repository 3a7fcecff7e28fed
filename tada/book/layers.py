"""A picture of the package's layers, drawn from its imports when the book is built.

pydeps and pyreverse draw modules by graphviz, which is no Python package; this needs folders, and rows of boxes.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from tada import escape
from tada.errors import BookError

WIDTH, ROW, BOX, LETTER = 640, 58, 30, 8.2
"""Pixels: of the picture, from row to row, height of a box, width of a letter."""

Graph = Mapping[str, frozenset[str]]
"""Folder or file of the package -> those that it imports."""


def read_imports(package: Path) -> Graph:
    """Read which folders and files of a package import which others, but for `__init__.py` and type checkers."""
    graph: dict[str, set[str]] = {}
    for file in sorted(package.rglob("*.py")):
        name = file.relative_to(package).with_suffix("").parts[0]
        if name != "__init__":
            found = _imported(ast.parse(file.read_text(encoding="utf-8")), package.name)
            graph.setdefault(name, set()).update(found - {name})
    linked = set().union(*graph.values(), (name for name, found in graph.items() if found))
    return {name: frozenset(found & graph.keys()) for name, found in graph.items() if name in linked}


def _imported(tree: ast.AST, package: str) -> set[str]:
    dotted: list[str] = []
    for node in _running_code(tree):
        if isinstance(node, ast.ImportFrom):
            dotted += [f"{node.module}.{one.name}" for one in node.names]
        elif isinstance(node, ast.Import):
            dotted += [one.name for one in node.names]
    return {parts[1] for parts in (name.split(".") for name in dotted) if parts[0] == package and len(parts) > 1}


def _running_code(tree: ast.AST) -> Iterator[ast.AST]:
    """Walk all that runs: what stands below `if TYPE_CHECKING` does not."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield node
            yield from _running_code(node)


def sort_layers(graph: Graph) -> list[list[str]]:
    """Sort folders and files into layers, the lowest first: each imports from lower layers only.

    Raises:
        BookError: there is a circle of imports.
    """
    level: dict[str, int] = {}
    try:
        for name in TopologicalSorter(graph).static_order():
            level[name] = max((level[other] + 1 for other in graph[name]), default=0)
    except CycleError as error:
        raise BookError(f"a circle of imports: {' is imported by '.join(error.args[1])}") from None
    return [sorted(name for name in level if level[name] == height) for height in range(max(level.values()) + 1)]


def direct_imports(graph: Graph) -> Graph:
    """Drop the imports that other imports make anyway, so that few lines are drawn."""
    reached: dict[str, frozenset[str]] = {}
    for name in TopologicalSorter(graph).static_order():
        reached[name] = graph[name].union(*(reached[other] for other in graph[name]))
    return {name: found - frozenset().union(*(reached[one] for one in found)) for name, found in graph.items()}


def draw(graph: Graph) -> str:
    """Draw layers as a figure in HTML: a row of boxes each, the highest on top, lines from importers to imported."""
    rows = sort_layers(graph)[::-1]
    centre = {
        name: (WIDTH * (place + 0.5) / len(row), ROW * (number + 0.5))
        for number, row in enumerate(rows)
        for place, name in enumerate(row)
    }
    lines = "".join(
        f'<path opacity="0.35" d="M{centre[name][0]:.0f} {centre[name][1] + BOX / 2:.0f}'
        f'L{centre[other][0]:.0f} {centre[other][1] - BOX / 2:.0f}"/>'
        for name, found in direct_imports(graph).items()
        for other in sorted(found)
    )
    alt = escape.html("Layers of the package, from the top: " + "; then ".join(", ".join(row) for row in rows) + ".")
    boxes = "".join(_box(name, *place) for name, place in centre.items())
    return (
        f'<figure class="tada-layers"><svg viewBox="0 0 {WIDTH} {ROW * len(rows)}" role="img" width="100%" '
        f'aria-label="{alt}" style="max-width: {WIDTH}px" fill="none" stroke="currentColor">{lines}{boxes}</svg>'
        "<figcaption>Who imports whom: every line goes down. Lines that follow from others are left out.</figcaption>"
        "</figure>"
    )


def _box(name: str, x: float, y: float) -> str:
    width = LETTER * len(name) + 20
    return (
        f'<rect x="{x - width / 2:.0f}" y="{y - BOX / 2:.0f}" width="{width:.0f}" height="{BOX}" rx="5" '
        'style="fill: var(--pst-color-surface)"/>'
        f'<text x="{x:.0f}" y="{y + 5:.0f}" text-anchor="middle" font-size="14" fill="currentColor" stroke="none">'
        f"{escape.html(name)}</text>"
    )
