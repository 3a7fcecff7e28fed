"""The directive `steering-slider` for Sphinx: the slider of a notebook's page on another page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from tada.display import slider


def setup(app: Any) -> dict[str, Any]:
    """Register the extension with Sphinx."""
    app.add_directive("steering-slider", SteeringSlider)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class SteeringSlider(SphinxDirective):
    """The slider whose clips fit a pattern `page/name`; its content where this build has none."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return what stands in the directive's place."""
        found = find_clips(Path(self.env.app.srcdir), self.arguments[0])
        if found:
            base, folder = found
            return [nodes.raw("", slider.render(slider.read(folder), base), format="html")]
        return self.parse_content_to_nodes()


def find_clips(source: Path, pattern: str) -> tuple[str, Path] | None:
    """Return the first folder of a slider's clips in a staged book that fits `page/name`, and its address from a page.

    Args:
        source: the staged book.
        pattern: with wildcards.
    """
    for path in sorted((source / "files" / "notebooks").glob(f"{pattern}/manifest.json")):
        if "sweeps" in json.loads(path.read_text(encoding="utf-8")):
            return f"../{path.parent.relative_to(source / 'files').as_posix()}", path.parent
    return None
