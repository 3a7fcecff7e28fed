"""What the site needs beyond Jupyter Book, as a Sphinx extension: see `extensions` in `_config.yml`.

- Equations as MathML, which browsers draw themselves: no script from elsewhere, readable by screen readers.
- On every notebook's page, links to its output-free file, here and on Colab.
- The directive `notebook-times`: what each notebook took in this build.
- The directive `gallery`: the pages of the gallery, and how each differs from its notebook's own page.
- The directive `steering-slider`: the slider of a notebook's page on another page.
"""

from __future__ import annotations

import html
import json
import shutil
from pathlib import Path
from typing import Any

from tada.book import colab
from tada.errors import InputError
from tada.io import atomic_write

_TOGGLE = '<span class="toctree-toggle"'
_MENDED = {
    f"<summary>{_TOGGLE}": f'<summary aria-label="Show or hide the pages below">{_TOGGLE}',
    'role="doc-biblioentry"': 'role="listitem"',
}
"""What theme and bibliography write, and what screen readers can say: a toggle with a name, a list of list items."""


def setup(app: Any) -> dict[str, Any]:
    """Register the extension with Sphinx."""
    app.add_html_math_renderer("tada", inline_renderers=(inline_math, None), block_renderers=(block_math, None))
    app.add_directive("notebook-times", _times())
    app.add_directive("gallery", _gallery())
    app.add_directive("steering-slider", _slider())
    app.connect("config-inited", own_doors)
    app.connect("html-page-context", add_doors)
    app.connect("build-finished", copy_notebooks)
    app.connect("build-finished", mend)
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
        raise InputError(f"cannot turn {tex!r} into MathML: {error}") from error


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
    links = colab.doors(*repository(Path(app.srcdir)), name)
    context["body"] = context["body"].replace("</h1>", f"</h1>\n{links}", 1)


def repository(folder: Path) -> tuple[str, str]:
    """URL and branch or tag of the public repository, as the `_config.yml` of a folder says; empty where it has none.

    The theme's own option cannot be asked: it names another project where nothing is set.
    """
    import yaml

    path = folder / "_config.yml"
    said = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
    found = (said or {}).get("repository") or {}
    return found.get("url") or "", found.get("branch") or "main"


def copy_notebooks(app: Any, error: Exception | None) -> None:
    """Put the output-free notebooks beside their pages."""
    if error is not None or app.builder.name != "html":
        return
    for path in _committed(app):
        shutil.copy(path, Path(app.outdir) / "notebooks" / path.name)


def mend(app: Any, error: Exception | None) -> None:
    """Mend what the theme and docutils leave for screen readers to stumble over."""
    if error is not None or app.builder.name != "html":
        return
    for page in Path(app.outdir).rglob("*.html"):
        text = mended = page.read_text(encoding="utf-8")
        for written, wanted in _MENDED.items():
            mended = mended.replace(written, wanted)
        if mended != text:
            atomic_write(page, mended)


def _committed(app: Any) -> list[Path]:
    """The committed notebooks of the checkout whose staged book is built."""
    checkout = _checkout(app)
    return sorted(checkout.glob("notebooks/*.ipynb")) if checkout else []


def _checkout(app: Any) -> Path | None:
    for folder in Path(app.srcdir).resolve().parents:
        if (folder / "_toc.yml").is_file() and (folder / "notebooks").is_dir():
            return folder
    return None


def records(app: Any) -> list[tuple[str, str]]:
    """Page and time of each notebook that was executed for this build or reused by it."""
    folder = Path(app.srcdir) / "notebooks"
    pages = sorted(path.stem for path in folder.glob("*.ipynb"))
    return [(page, _took(folder / f"{page}.json")) for page in pages]


def _took(record: Path) -> str:
    if not record.is_file():
        return "not in this build"
    seconds = float(json.loads(record.read_text(encoding="utf-8"))["seconds"])
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"


def clips_of(app: Any, pattern: str) -> tuple[str, Path] | None:
    """The first folder of clips for a slider that fits `page/name`, and its address from a page of `book/`."""
    root = Path(app.srcdir) / "files"
    for path in sorted((root / "notebooks").glob(f"{pattern}/manifest.json")):
        if "ladders" in json.loads(path.read_text(encoding="utf-8")):
            return f"../{path.parent.relative_to(root).as_posix()}", path.parent
    return None


def _lines(directive: Any, lines: list[str], source: str) -> list[Any]:
    """What a directive puts in its place: Markdown, as if it stood there."""
    from docutils import nodes
    from docutils.statemachine import StringList

    container = nodes.container()
    directive.state.nested_parse(StringList(lines, source=source), 0, container)
    return list(container.children)


def _times() -> Any:
    from sphinx.util.docutils import SphinxDirective

    class NotebookTimes(SphinxDirective):
        """A table of the notebooks' pages and what they took."""

        def run(self) -> list[Any]:
            known = self.env.found_docs  # a notebook may be there and not be in the contents
            found = [(page, took) for page, took in records(self.env.app) if f"notebooks/{page}" in known]
            rows = [f"| [](/notebooks/{page}.ipynb) | {took} |" for page, took in found]
            return _lines(self, ["| page | took in this build |", "|---|---|", *rows], "notebook-times")

    return NotebookTimes


def _gallery() -> Any:
    from sphinx.util.docutils import SphinxDirective

    class Gallery(SphinxDirective):
        """A list of the gallery's pages; its content where there are none."""

        has_content = True

        def run(self) -> list[Any]:
            from tada.book import gallery

            checkout = _checkout(self.env.app)
            rows = gallery.rows(checkout / "notebooks") if checkout else []
            lines = [
                f"- **[](/notebooks/{page}.ipynb)** {about + ' ' if about else ''}({differences})"
                for page, about, differences in rows
            ]
            return _lines(self, lines or list(self.content), "gallery")

    return Gallery


def _slider() -> Any:
    from docutils import nodes
    from sphinx.util.docutils import SphinxDirective

    class SteeringSlider(SphinxDirective):
        """The slider whose clips fit a pattern `page/name`; its content where this build has none."""

        required_arguments = 1
        has_content = True

        def run(self) -> list[nodes.Node]:
            from tada.display import slider

            found = clips_of(self.env.app, self.arguments[0])
            if found:
                base, folder = found
                return [nodes.raw("", slider.render(slider.read(folder), base), format="html")]
            container = nodes.container()
            self.state.nested_parse(self.content, 0, container)
            return list(container.children)

    return SteeringSlider
