"""Directives for Sphinx: `steering-slider` and `steer-live`, what a notebook's page shows on another page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective

from tada.display import live, slider


def setup(app: Any) -> dict[str, Any]:
    app.add_directive("steering-slider", SteeringSlider)
    app.add_directive("steer-live", LiveInstrument)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class SteeringSlider(SphinxDirective):
    """The first slider whose clips fit a pattern `page/name`; its content where this build has none."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        for base, path in _exports(Path(self.env.app.srcdir), self.arguments[0], "manifest.json"):
            if "sweeps" in json.loads(path.read_text(encoding="utf-8")):
                return [nodes.raw("", slider.render(slider.read(path.parent), base), format="html")]
        return self.parse_content_to_nodes()


class LiveInstrument(SphinxDirective):
    """The live instrument whose export fits a pattern `page/name`, around its content; that alone where none does."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {"mode": directives.unchanged}
    has_content = True

    def run(self) -> list[nodes.Node]:
        inside = self.parse_content_to_nodes()
        found = next(_exports(Path(self.env.app.srcdir), self.arguments[0], live.INDEX), None)
        if found is None:
            return inside
        base, path = found
        size = json.loads(path.read_text(encoding="utf-8"))["bytes"]
        start, end = live.element(base, size, "\0", self.options.get("mode", "")).split("\0")
        return [nodes.raw("", start, format="html"), *inside, nodes.raw("", end, format="html")]


def _exports(source: Path, pattern: str, index: str) -> Iterator[tuple[str, Path]]:
    """Addresses from a page, and index files, of the folders of a staged book that fit `page/name` and have one."""
    for path in sorted((source / "files" / "notebooks").glob(f"{pattern}/{index}")):
        yield f"../{path.parent.relative_to(source / 'files').as_posix()}", path
