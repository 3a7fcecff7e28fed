"""A Sphinx extension for what the site needs beyond Jupyter Book: see `extensions` in `_config.yml`.

- Equations as MathML, by docutils' own converter, which Sphinx has no renderer for: no script from elsewhere.
- On every notebook's page, links to its output-free file, here and on Colab: see `tada.book.colab`.
- The directives `notebook-times`, what each notebook took in this build, and `import-layers`, a picture of the package.
- Names and roles for screen readers that the theme and docutils leave out.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from tada import escape
from tada.book import colab, layers, pages, provenance
from tada.errors import BookError, NotebookError

ACCENTS = re.compile(r"\\(?:bar|tilde|hat|vec|dot)\b\s*(?:\{(?:[^{}]|\{[^{}]*\})*\}|\\?\w+)")
"""Letters with an accent: docutils would put an index of theirs below them, as if it were a limit."""

_TOGGLE = '<span class="toctree-toggle"'


def setup(app: Any) -> dict[str, Any]:
    app.add_html_math_renderer("tada", inline_renderers=(inline_math, None), block_renderers=(block_math, None))
    app.add_directive("notebook-times", NotebookTimes)
    app.add_directive("import-layers", ImportLayers)
    app.connect("html-page-context", add_launch_links)
    app.connect("html-page-context", mend_page, priority=900)  # after the theme
    app.connect("build-finished", copy_notebooks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


# ---- equations


def mathml(node: Any, block: bool = False) -> str:
    """Convert an equation to MathML; TeX that the converter does not know is warned of, and stays."""
    tex = node.astext()
    try:
        return str(tex2mathml(ACCENTS.sub(r"{\g<0>{}}", tex), as_block=block))
    except Exception as error:
        logging.getLogger(__name__).warning(f"cannot turn {tex!r} into MathML: {error}", location=node)
        return escape.html(tex)


def inline_math(translator: Any, node: Any) -> None:
    translator.body.append(f'<span class="math">{mathml(node)}</span>')
    raise nodes.SkipNode


def block_math(translator: Any, node: Any) -> None:
    """Write an equation on its own, with its number where it has one; a wide one scrolls, by keyboard, too."""
    number = f'<span class="eqno">({node["number"]})</span>' if node.get("number") else ""
    scrolls = {"role": "group", "aria-label": "Equation", "tabindex": "0"}
    translator.body.append(translator.starttag(node, "div", CLASS="math tada-equation", **scrolls))
    translator.body.append(f"{mathml(node, block=True)}{number}</div>\n")
    raise nodes.SkipNode


# ---- notebooks


def add_launch_links(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Put the links to the notebook a page comes from, the longest name that its own starts with, below its title."""
    folder, _, stem = page.rpartition("/")
    names = [path.stem for path in _committed(app) if folder == "notebooks" and stem.startswith(path.stem)]
    if names and "body" in context:
        links = colab.launch_links(*colab.repository(Path(app.srcdir)), max(names, key=len))
        context["body"] = context["body"].replace("</h1>", f"</h1>\n{links}", 1)


def copy_notebooks(app: Any, error: Exception | None) -> None:
    """Put the output-free notebooks beside their pages."""
    if error is None and app.builder.name == "html":
        for path in _committed(app):
            shutil.copy(path, Path(app.outdir) / "notebooks" / path.name)


def mend_page(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Give the toggles of the contents a name, and make references the items of their list."""
    if "body" in context:
        context["body"] = context["body"].replace('role="doc-biblioentry"', 'role="listitem"')
    tree = context.get("generate_toctree_html")
    if tree is not None:
        named = f'<summary aria-label="Show or hide the pages below">{_TOGGLE}'
        context["generate_toctree_html"] = lambda *given, **options: str(tree(*given, **options)).replace(
            f"<summary>{_TOGGLE}", named
        )


def _committed(app: Any) -> list[Path]:
    """Return the committed notebooks of the checkout whose staged book is built."""
    try:
        return sorted(pages.root(Path(app.srcdir).parent).glob("notebooks/*.ipynb"))
    except NotebookError:
        return []


def page_times(app: Any) -> list[tuple[str, str]]:
    """Return page and time of each notebook that was executed for this build or reused by it."""
    times = []
    for path in sorted((Path(app.srcdir) / "notebooks").glob("*.ipynb")):
        record = provenance.read(path.with_suffix(".json"))
        seconds = record.seconds if record else 0
        took = f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"
        times.append((path.stem, took if record else "not in this build"))
    return times


class NotebookTimes(SphinxDirective):
    """A table of the notebooks' pages and what they took."""

    def run(self) -> list[nodes.Node]:
        known = self.env.found_docs  # a notebook may be there and not be in the contents
        found = [(page, took) for page, took in page_times(self.env.app) if f"notebooks/{page}" in known]
        rows = [f"| [](/notebooks/{page}.ipynb) | {took} |" for page, took in found]
        return self.parse_text_to_nodes("\n".join(["| page | took in this build |", "|---|---|", *rows]))


class ImportLayers(SphinxDirective):
    """A picture of the package's layers, drawn from its imports."""

    def run(self) -> list[nodes.Node]:
        try:
            figure = layers.draw(layers.read_imports(Path(layers.__file__).parents[1]))
        except BookError as error:
            logging.getLogger(__name__).warning(str(error), location=self.get_location())
            return []
        return [nodes.raw("", figure, format="html")]
