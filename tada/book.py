"""The book: notebooks executed through papermill into a staging folder, then one Sphinx build of it, then the gates.

Everything the build writes is below `_build/`, so a build leaves the checkout as it was.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
class Page:
    """One executed notebook: its name, the file, the seconds its run took, and whether an earlier run was reused."""

    name: str
    output: Path
    seconds: float
    reused: bool


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


def select(folder: Path, only: Sequence[str]) -> list[Path]:
    """The notebooks of `folder`, or those whose name starts with one of `only`; a start that fits none is an error."""
    found = sorted(folder.glob("*.py"))
    for start in only:
        if not any(path.stem.startswith(start) for path in found):
            raise notebooks.NotebookError(unknown("notebook", start, [path.stem for path in found]))
    return [path for path in found if not only or path.stem.startswith(tuple(only))]


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


def run(path: Path, build: Path, chosen: dict[str, object], package: Path, force: bool = False) -> Page:
    """Execute one notebook into `build`, or reuse its last run when nothing that determines it has changed."""
    output, record = build / f"{path.stem}.ipynb", build / f"{path.stem}.json"
    wanted = key(path, chosen, package)
    if not force and output.is_file() and record.is_file():
        known = json.loads(record.read_text(encoding="utf-8"))
        if known["key"] == wanted:
            return Page(path.stem, output, known["seconds"], reused=True)
    record.unlink(missing_ok=True)
    done = notebooks.execute(path, output, chosen)
    if done.failure:
        raise BookError(describe(path, done.failure))
    record.write_text(json.dumps({"key": wanted, "seconds": round(done.seconds, 1)}) + "\n", encoding="utf-8")
    return Page(path.stem, output, done.seconds, reused=False)


def describe(path: Path, failure: notebooks.Failure) -> str:
    """A paragraph on a failed notebook: which cell, its code, its error, and where the partial run lies."""
    code = "\n".join(f"    {line}" for line in failure.source.strip().splitlines())
    return (
        f"{path} failed in cell [{failure.cell}]:\n{code}\n  {failure.error}\n"
        f"The partly executed notebook is kept at {failure.output}"
    )


def stage(book: Path, source: Path, pages: Sequence[Page], chosen_by_page: dict[str, dict[str, object]]) -> None:
    """Lay out what Sphinx reads in `source`: configuration, contents, the written pages, the executed notebooks."""
    import yaml

    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(book / "book", source / "book", ignore=shutil.ignore_patterns("_static"))
    if (book / "book" / "_static").is_dir():
        shutil.copytree(book / "book" / "_static", source / "_static")
    config = configuration(book / "_config.yml")
    (source / "_config.yml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    (source / "_toc.yml").write_text(yaml.safe_dump(load_yaml(book / "_toc.yml"), sort_keys=False), encoding="utf-8")
    (source / "notebooks").mkdir()
    for path in select(book / "notebooks", ()):
        (source / "notebooks" / f"{path.stem}.ipynb").write_text(unexecuted(path), encoding="utf-8")
    for page in pages:
        text = present(page, notebooks.parameters(book / "notebooks" / f"{page.name}.py"), chosen_by_page[page.name])
        (source / "notebooks" / f"{page.name}.ipynb").write_text(text, encoding="utf-8")


def unexecuted(path: Path) -> str:
    """A notebook that was left out of this build, as its page: the code without results, which it says of itself."""
    import nbformat

    notebook = notebooks.read(path)
    remark = ":::{warning}\nThis page was left out of this build: its code is here, its results are not.\n:::"
    notebook.cells.insert(1, nbformat.v4.new_markdown_cell(remark, id="unexecuted"))
    return str(nbformat.writes(notebook, version=4)) + "\n"


def present(page: Page, declared: Sequence[notebooks.Parameter], chosen: dict[str, object]) -> str:
    """An executed notebook as the text the book shows.

    papermill's records are stripped, and a table of what the page was run with takes the place of the parameters' code.
    """
    import nbformat

    notebook = nbformat.read(page.output, as_version=4)
    notebook.metadata.pop("papermill", None)
    cells = []
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        tags = set(cell.metadata.get("tags", []))
        if "injected-parameters" in tags:
            continue
        if "parameters" in tags:
            cell = nbformat.v4.new_markdown_cell(table(page, declared, chosen), id=cell.id)
        cells.append(cell)
    notebook.cells = cells
    return str(nbformat.writes(notebook, version=4)) + "\n"


def table(page: Page, declared: Sequence[notebooks.Parameter], chosen: dict[str, object]) -> str:
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
        f"tada run notebooks/{page.name}.py -p {declared[0].name} VALUE" if declared else "",
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
    chosen = {path.stem: _chosen(path, name) for path in select(book / "notebooks", only)}
    pages = []
    for path in select(book / "notebooks", only):
        page = run(path, book / "_build" / "notebooks", chosen[path.stem], book / "tada", force)
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


def _chosen(path: Path, name: str) -> dict[str, object]:
    declared = {parameter.name for parameter in notebooks.parameters(path)}
    return {"profile": name} if "profile" in declared else {}
