"""What the site needs beyond Jupyter Book, as a Sphinx extension: see `extensions` in `_config.yml`.

- Equations as MathML, which browsers draw themselves: no script from elsewhere, readable by screen readers.
- On every notebook's page, links to its output-free file, here and on Colab.
- The directive `notebook-times`: what each notebook took in this build.
"""

from __future__ import annotations

import html
import json
import shutil
from pathlib import Path
from typing import Any

from tada import colab


def setup(app: Any) -> dict[str, Any]:
    """Register the extension with Sphinx."""
    app.add_html_math_renderer("tada", inline_renderers=(inline_math, None), block_renderers=(block_math, None))
    app.add_directive("notebook-times", _directive())
    app.connect("config-inited", own_doors)
    app.connect("html-page-context", add_doors)
    app.connect("build-finished", copy_notebooks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


# ---- equations


def mathml(tex: str, block: bool = False) -> str:
    """An equation in MathML.

    Raises:
        ValueError: TeX that the converter does not know.
    """
    from docutils.utils.math.latex2mathml import tex2mathml

    try:
        return str(tex2mathml(tex, as_block=block))
    except Exception as error:
        raise ValueError(f"cannot turn {tex!r} into MathML: {error}") from error


def inline_math(translator: Any, node: Any) -> None:
    """Write an equation within a line."""
    from docutils import nodes

    translator.body.append(f'<span class="math">{_converted(node)}</span>')
    raise nodes.SkipNode


def block_math(translator: Any, node: Any) -> None:
    """Write an equation on its own, with its number where it has one."""
    from docutils import nodes

    number = f'<span class="eqno">({node["number"]})</span>' if node.get("number") else ""
    translator.body.append(translator.starttag(node, "div", CLASS="math tada-equation"))
    translator.body.append(f"{_converted(node, block=True)}{number}</div>\n")
    raise nodes.SkipNode


def _converted(node: Any, block: bool = False) -> str:
    from sphinx.util import logging

    try:
        return mathml(node.astext(), block)
    except ValueError as error:
        logging.getLogger(__name__).warning(str(error), location=node)
        return html.escape(node.astext())


# ---- notebooks


def own_doors(app: Any, config: Any) -> None:
    """Turn off the theme's launch and download buttons: they lead to notebooks with outputs, or to none."""
    options = config.html_theme_options
    options["launch_buttons"] = {}
    options["use_download_button"] = False


def notebook_of(page: str, names: list[str]) -> str:
    """The notebook that a page comes from: the longest name that its own starts with, empty for other pages."""
    folder, _, stem = page.rpartition("/")
    fitting = [name for name in names if stem.startswith(name)] if folder == "notebooks" else []
    return max(fitting, key=len, default="")


def add_doors(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Put the links to a page's notebook below its title."""
    name = notebook_of(page, [path.stem for path in _committed(app)])
    if not name or "body" not in context:
        return
    options = app.config.html_theme_options
    links = colab.doors(options.get("repository_url", ""), options.get("repository_branch", "main"), name)
    context["body"] = context["body"].replace("</h1>", f"</h1>\n{links}", 1)


def copy_notebooks(app: Any, error: Exception | None) -> None:
    """Put the output-free notebooks beside their pages."""
    if error is not None or app.builder.name != "html":
        return
    for path in _committed(app):
        shutil.copy(path, Path(app.outdir) / "notebooks" / path.name)


def _committed(app: Any) -> list[Path]:
    """The committed notebooks of the checkout whose staged book is built."""
    for folder in Path(app.srcdir).resolve().parents:
        if (folder / "_toc.yml").is_file() and (folder / "notebooks").is_dir():
            return sorted(folder.glob("notebooks/*.ipynb"))
    return []


def records(app: Any) -> list[tuple[str, str]]:
    """Page and time of each notebook that was executed for this build or reused by it."""
    folder = Path(app.srcdir).resolve().parent / "notebooks"
    pages = sorted(path.stem for path in (Path(app.srcdir) / "notebooks").glob("*.ipynb"))
    return [(page, _took(folder / f"{page}.json")) for page in pages]


def _took(record: Path) -> str:
    if not record.is_file():
        return "not in this build"
    seconds = float(json.loads(record.read_text(encoding="utf-8"))["seconds"])
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"


def _directive() -> Any:
    from docutils import nodes
    from docutils.statemachine import StringList
    from sphinx.util.docutils import SphinxDirective

    class NotebookTimes(SphinxDirective):
        """A table of the notebooks' pages and what they took."""

        def run(self) -> list[nodes.Node]:
            rows = [f"| [](/notebooks/{page}.ipynb) | {took} |" for page, took in records(self.env.app)]
            lines = ["| page | took in this build |", "|---|---|", *rows]
            container = nodes.container()
            self.state.nested_parse(StringList(lines, source="notebook-times"), 0, container)
            return list(container.children)

    return NotebookTimes
