"""The book: notebooks executed through papermill into a staging folder, then one Sphinx build of it, then the gates.

Everything the build writes is below `_build/`, so a build leaves the checkout as it was. A notebook is one page, or
several with other parameters: `notebooks/pages.yml` says which.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tada import gates, notebooks
from tada.errors import unknown

PROFILES = ("smoke", "mini", "colab", "paper")
DEFAULT_PROFILE = "mini"
_STAMPED = ("torch", "diffusers", "transformers")


class BookError(RuntimeError):
    """The book was not built: a notebook failed, Sphinx warned, or a gate found a problem."""


@dataclass(frozen=True)
class Sheet:
    """A page to be made: its name, its notebook, the parameters that make it another page, and its title if given."""

    name: str
    path: Path
    parameters: Mapping[str, object] = field(default_factory=dict)
    title: str = ""


@dataclass(frozen=True)
class Page:
    """One executed notebook: its name, the file, the seconds its run took, and whether an earlier run was reused.

    What the notebook wrote for its page, such as clips, lies in a folder beside the file, under the page's name.
    """

    name: str
    output: Path
    seconds: float
    reused: bool

    @property
    def folder(self) -> Path:
        return self.output.with_suffix("")


def root(start: Path | None = None) -> Path:
    """The checkout that holds the book: the nearest folder upwards with `_toc.yml` and `notebooks/`."""
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "_toc.yml").is_file() and (folder / "notebooks").is_dir():
            return folder
    raise notebooks.NotebookError(f"{start} is not inside a checkout of the companion: no _toc.yml here or above it.")


def profile(name: str) -> str:
    """`name` if it is a profile, else an error with the nearest."""
    if name not in PROFILES:
        raise notebooks.NotebookError(unknown("profile", name, PROFILES))
    return name


def select(folder: Path, only: Sequence[str]) -> list[Sheet]:
    """The pages of the notebooks in `folder`, or those whose name starts with one of `only`.

    A notebook is a page of its own name, or those that `pages.yml` beside it gives it:

        notebook:
          page: {title: ..., parameters: {name: value}}

    Raises BookError where that file names no notebook or parameter of one, or a page that does not begin with the
    notebook's name; NotebookError for a start that fits no page.
    """
    paths = {path.stem: path for path in sorted(folder.glob("*.py"))}
    several = load_yaml(folder / "pages.yml") if (folder / "pages.yml").is_file() else {}
    for name in several:
        if name not in paths:
            raise BookError(f"pages.yml: {unknown('notebook', name, paths)}")
    found = [sheet for path in paths.values() for sheet in _sheets(path, several.get(path.stem))]
    for start in only:
        if not any(sheet.name.startswith(start) for sheet in found):
            raise notebooks.NotebookError(unknown("notebook", start, [sheet.name for sheet in found]))
    return [sheet for sheet in found if not only or sheet.name.startswith(tuple(only))]


def _sheets(path: Path, pages: Mapping[str, Any] | None) -> list[Sheet]:
    """The pages of one notebook."""
    if not pages:
        return [Sheet(path.stem, path)]
    declared = [parameter.name for parameter in notebooks.parameters(path)]
    sheets = [Sheet(name, path, said.get("parameters", {}), said.get("title", "")) for name, said in pages.items()]
    for sheet in sheets:
        if not sheet.name.startswith(path.stem):
            raise BookError(f"pages.yml: page {sheet.name!r} of {path.name} does not begin with {path.stem!r}.")
        for name in sheet.parameters:
            if name not in declared:
                raise BookError(f"pages.yml: {unknown(f'parameter of {path.name}', name, declared)}")
    return sheets


def configuration(path: Path) -> dict[str, Any]:
    """`_config.yml` with the launch and repository buttons switched on only when `repository.url` is set.

    Raises BookError on a duplicate key, which YAML would silently resolve to the last one.
    """
    config = load_yaml(path)
    repository = config.get("repository") or {}
    if not repository.get("url"):
        config.pop("repository", None)
        return config
    config["launch_buttons"] = {
        "colab_url": "https://colab.research.google.com",
        "notebook_interface": "classic",
    }
    config.setdefault("html", {}).update(use_repository_button=True, use_issues_button=True)
    return config


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


def key(path: Path, chosen: dict[str, object], package: Path) -> str:
    """What determines a run: the notebook, its parameters, the package's files, and the versions underneath."""
    digest = hashlib.sha256()
    digest.update(notebooks.pair(path).encode())
    digest.update(json.dumps(chosen, sort_keys=True, default=str).encode())
    digest.update(json.dumps(versions()).encode())
    for file in sorted(package.rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            digest.update(f"{file.relative_to(package)}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """The versions a page is stamped with: Python's and those of the libraries underneath, where installed."""
    found = {"Python": platform.python_version()}
    for name in _STAMPED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def run(path: Path, build: Path, chosen: dict[str, object], package: Path, force: bool = False, name: str = "") -> Page:
    """Execute one notebook into `build`, or reuse its last run when nothing that determines it has changed.

    The page has the notebook's name unless another is given.
    """
    name = name or path.stem
    output, record = build / f"{name}.ipynb", build / f"{name}.json"
    wanted = key(path, chosen, package)
    if not force and output.is_file() and record.is_file():
        known = json.loads(record.read_text(encoding="utf-8"))
        if known["key"] == wanted:
            return Page(name, output, known["seconds"], reused=True)
    record.unlink(missing_ok=True)
    with page_files(output):
        done = notebooks.execute(path, output, chosen)
    if done.failure:
        raise BookError(describe(path, done.failure))
    record.write_text(json.dumps({"key": wanted, "seconds": round(done.seconds, 1)}) + "\n", encoding="utf-8")
    return Page(name, output, done.seconds, reused=False)


@contextmanager
def page_files(output: Path) -> Iterator[None]:
    """While a notebook is executed to `output`, let it know where files for its page go; older ones are removed."""
    from tada.players import PAGE

    folder, before = output.resolve().with_suffix(""), os.environ.get(PAGE)
    shutil.rmtree(folder, ignore_errors=True)
    os.environ[PAGE] = str(folder)
    try:
        yield
    finally:
        os.environ.pop(PAGE)
        if before is not None:
            os.environ[PAGE] = before


def describe(path: Path, failure: notebooks.Failure) -> str:
    """A paragraph on a failed notebook: which cell, its code, its error, and where the partial run lies."""
    code = "\n".join(f"    {line}" for line in failure.source.strip().splitlines())
    return (
        f"{path} failed in cell [{failure.cell}]:\n{code}\n  {failure.error}\n"
        f"The partly executed notebook is kept at {failure.output}"
    )


def stage(
    book: Path,
    source: Path,
    pages: Sequence[Page],
    chosen_by_page: Mapping[str, dict[str, object]],
) -> None:
    """Lay out what Sphinx reads in `source`: configuration, contents, the written pages, the executed notebooks."""
    import yaml

    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(book / "book", source / "book", ignore=shutil.ignore_patterns("_static"))
    if (book / "book" / "_static").is_dir():
        shutil.copytree(book / "book" / "_static", source / "_static")
    config = configuration(book / "_config.yml")
    with_files = [page for page in pages if page.folder.is_dir()]
    for page in with_files:
        shutil.copytree(page.folder, source / "files" / "notebooks" / page.name)
    if with_files:
        config["sphinx"]["config"]["html_extra_path"] = ["files"]
    (source / "_config.yml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    (source / "_toc.yml").write_text(yaml.safe_dump(load_yaml(book / "_toc.yml"), sort_keys=False), encoding="utf-8")
    (source / "notebooks").mkdir()
    done = {page.name: page for page in pages}
    for sheet in select(book / "notebooks", ()):
        text = unexecuted(sheet.path, sheet.title)
        if sheet.name in done:
            declared = notebooks.parameters(sheet.path)
            text = present(done[sheet.name], declared, chosen_by_page[sheet.name], sheet.path.stem, sheet.title)
        (source / "notebooks" / f"{sheet.name}.ipynb").write_text(text, encoding="utf-8")


def unexecuted(path: Path, title: str = "") -> str:
    """A notebook that was left out of this build, as its page: the code without results, which it says of itself."""
    import nbformat

    notebook = _titled(notebooks.read(path), title)
    remark = ":::{warning}\nThis page was left out of this build: its code is here, its results are not.\n:::"
    notebook.cells.insert(1, nbformat.v4.new_markdown_cell(remark, id="unexecuted"))
    return str(nbformat.writes(notebook, version=4)) + "\n"


def _titled(notebook: Any, title: str) -> Any:
    """The notebook with another title, if one is given, in place of its first line."""
    if title:
        rest = notebook.cells[0].source.partition("\n")[2]
        notebook.cells[0].source = f"# {title}\n{rest}"
    return notebook


def present(
    page: Page,
    declared: Sequence[notebooks.Parameter],
    chosen: dict[str, object],
    notebook_name: str = "",
    title: str = "",
) -> str:
    """An executed notebook as the text the book shows.

    papermill's records are stripped, and a table of what the page was run with takes the place of the parameters' code.
    """
    import nbformat

    notebook = _titled(nbformat.read(page.output, as_version=4), title)
    notebook.metadata.pop("papermill", None)
    cells = []
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        tags = set(cell.metadata.get("tags", []))
        if "injected-parameters" in tags:
            continue
        if "parameters" in tags:
            text = table(page, declared, chosen, notebook_name or page.name)
            cell = nbformat.v4.new_markdown_cell(text, id=cell.id)
        cells.append(cell)
    notebook.cells = cells
    return str(nbformat.writes(notebook, version=4)) + "\n"


def table(page: Page, declared: Sequence[notebooks.Parameter], chosen: dict[str, object], name: str) -> str:
    """The Markdown that says what a page was run with, how long it took, and how to run it with other values."""
    rows = [
        f"| `{item.name}` | `{chosen[item.name]!r}` | {item.help} |"
        if item.name in chosen
        else f"| `{item.name}` | `{item.default}` | {item.help} |"
        for item in declared
    ]
    stamp = ", ".join(f"{name} {number}" for name, number in versions().items())
    lines = [
        ":::{admonition} This page was run with",
        ":class: tada-run",
        "| parameter | value | meaning |",
        "|---|---|---|",
        *rows,
        "",
        f"It took {page.seconds:.0f} s with {stamp}. To run it with other values:",
        "```shell",
        f"tada run notebooks/{name}.py -p {declared[0].name} VALUE" if declared else "",
        "```",
        ":::",
    ]
    return "\n".join(lines)


def html(source: Path, output: Path) -> None:
    """Build the staged book with Jupyter Book; nitpicky, and every warning is an error."""
    start = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()"]
    command = [
        *start,
        "build",
        str(source),
        "--path-output",
        str(source),
        "-n",
        "-W",
        "--keep-going",
        "--all",
        "--quiet",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    built = source / "_build" / "html"
    if done.returncode:
        raise BookError(f"Sphinx did not build the book cleanly:\n{(done.stderr or done.stdout).strip()}")
    shutil.rmtree(output, ignore_errors=True)
    shutil.move(built, output)


def build(
    book: Path,
    name: str = DEFAULT_PROFILE,
    only: Sequence[str] = (),
    force: bool = False,
    tell: Callable[[str], None] = lambda line: None,
) -> Path:
    """Execute, stage, build and check the book below `_build/`; return the site's first page.

    Args:
        book: the checkout.
        name: the profile, handed to notebooks that declare a parameter `profile`.
        only: starts of notebook names; the others become pages without results.
        force: execute even what has not changed.
        tell: is called with one line per step.

    Raises:
        NotebookError: an unknown profile or notebook.
        BookError: a notebook failed, Sphinx warned, or a gate found a problem.
    """
    profile(name)
    sheets = select(book / "notebooks", only)
    chosen = {sheet.name: _chosen(sheet, name) for sheet in sheets}
    pages = []
    for sheet in sheets:
        page = run(sheet.path, book / "_build" / "notebooks", chosen[sheet.name], book / "tada", force, sheet.name)
        tell(f"{page.name}: {'unchanged, reused' if page.reused else f'executed in {page.seconds:.1f} s'}")
        pages.append(page)
    source, site = book / "_build" / "source", book / "_build" / "html"
    stage(book, source, pages, chosen)
    tell("building the pages")
    html(source, site)
    problems = gates.check(site)
    if problems:
        raise BookError(f"{len(problems)} problems in the built site:\n" + "\n".join(f"  {item}" for item in problems))
    return site / "index.html"


def _chosen(sheet: Sheet, name: str) -> dict[str, object]:
    declared = {parameter.name for parameter in notebooks.parameters(sheet.path)}
    return {**({"profile": name} if "profile" in declared else {}), **sheet.parameters}
