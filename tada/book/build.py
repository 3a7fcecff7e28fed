"""The book: notebooks executed through papermill into a staging folder, then one Sphinx build of it, then the checks.

jupyter-cache, Jupyter Book's own way to execute, knows a notebook by its cells alone: it sees neither parameters nor a
change of the package, and runs one page at a time. The order of pages is `graphlib`'s, their processes are papermill's.
Everything is written below `_build/`, so a build leaves the checkout as it was.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import nbformat
import yaml

from tada import escape
from tada.book import checks, colab, forks, notebooks, provenance, results
from tada.book.pages import PageSpec, check_profile, load_yaml, select
from tada.book.provenance import Provenance
from tada.book.results import Kept, folder_hash
from tada.errors import BookError
from tada.io import atomic_write, sha256, write_json

UNFINISHED = "unfinished"
"""Folder of the pages that are being executed, and of those that failed."""

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Page:
    """One executed notebook: its name, the file, its provenance, and whether an earlier run was reused."""

    name: str
    output: Path
    provenance: Provenance
    reused: bool

    @property
    def folder(self) -> Path:
        """What the notebook wrote for its page, such as clips, beside the file."""
        return self.output.with_suffix("")

    @property
    def used(self) -> dict[str, Any]:
        """What it read and made, see :func:`tada.book.results.take_used`."""
        return dict(json.loads(self.output.with_suffix(".used.json").read_text(encoding="utf-8")))


# ---- execution


def execute(
    book: Path,
    specs: Sequence[PageSpec],
    profile: str,
    force: bool = False,
    jobs: int | None = None,
    tell: Tell = lambda line: None,
    kept: Kept | None = None,
) -> list[Page]:
    """Execute pages side by side below `_build/notebooks`; what was executed from the same before is reused.

    Args:
        book: the checkout.
        specs: the pages.
        profile: how much to run, handed to notebooks that declare a parameter `profile`.
        force: execute even what has not changed.
        jobs: pages at once; None for as many as there are cores and memory, and one where pages share a GPU.
        tell: is called with a line per page when it begins and when it ends.
        kept: where results are kept and found; None as :func:`tada.book.results.find` says.

    Raises:
        BookError: pages failed, or results that ship are not what is computed here. Pages under way were finished and
            are kept, no other was begun.
    """
    kept = kept or results.find(book)
    folder = kept.home / "_build" / "notebooks" / profile
    keys = page_keys(book, specs, profile, kept)
    pages: dict[str, Page] = {}
    for spec in specs:
        found = None if force else find_page(folder, spec.name, keys[spec.name])
        if found is not None:
            pages[spec.name] = found
            tell(f"{spec.name}: unchanged, reused ({len(pages)} of {len(specs)})")
    failures: list[str] = []

    def run(spec: PageSpec, stop: threading.Event) -> None:
        if failures or stop.is_set():
            return
        tell(f"{spec.name}: begun")
        output = folder / UNFINISHED / f"{spec.name}.ipynb"
        shutil.rmtree(output.with_suffix(""), ignore_errors=True)
        provenance.take_checkpoints(output)
        results.take_used(output)
        about = provenance.environment(output) | kept.environment(spec.name, output)
        done = notebooks.execute(spec.path, output, parameters(spec, profile), about, stop, kept.home / "notebooks")
        used = results.take_used(output)
        failure = done.failure or results.describe_wrong(used, spec.name, kept)
        if failure:
            failures.append(failure)
            tell(f"{spec.name}: failed after {done.seconds:.1f} s, no other is begun")
            return
        said = results.describe(results.count(used, spec.name, kept))
        pages[spec.name] = _keep(folder, spec.name, keys[spec.name], done.seconds, said)
        write_json(pages[spec.name].output.with_suffix(".used.json"), used)
        end = f"executed in {done.seconds:.1f} s ({len(pages)} of {len(specs)})"
        tell(f"{spec.name}: {said + '; ' if said else ''}{end}")

    forks.preload()
    took = results.seconds(kept)
    todo = sorted((spec for spec in specs if spec.name not in pages), key=lambda spec: -took.get(spec.name, 0.0))
    _run_side_by_side(todo, jobs or default_jobs(profile), run)
    if failures:
        raise BookError("\n\n".join(failures))
    return [pages[spec.name] for spec in specs]


def default_jobs(profile: str) -> int:
    """Return how many pages this machine runs at once: one a core and 4 GB of memory, and one on a GPU."""
    if profile in ("colab", "paper") or not hasattr(os, "sysconf"):  # Windows does not say how much memory there is
        return 1
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(1, min(os.cpu_count() or 1, int(memory / 4e9)))


def _run_side_by_side(specs: Sequence[PageSpec], jobs: int, run: Callable[[PageSpec, threading.Event], None]) -> None:
    """Run pages in threads, each after those whose results it reads; an exception stops all that run.

    Of pages that could begin, those that most others wait for come first, then by their order.
    """
    known, order, stop = {spec.name: spec for spec in specs}, sort_pages(specs), threading.Event()
    ranks = {name: (-sum(name in spec.after for spec in specs), place) for place, name in enumerate(known)}
    running: dict[Future[None], str] = {}
    ready: list[str] = []
    order.prepare()
    with ThreadPoolExecutor(jobs) as pool:
        try:
            while order.is_active():
                ready += order.get_ready()
                ready.sort(key=ranks.__getitem__)
                while ready and len(running) < jobs:
                    name = ready.pop(0)
                    running[pool.submit(run, known[name], stop)] = name
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    future.result()
                    order.done(running.pop(future))
        finally:
            stop.set()


def sort_pages(specs: Sequence[PageSpec]) -> TopologicalSorter[str]:
    """Return a sorter of pages' names, each after those that it reads."""
    names = {spec.name for spec in specs}
    return TopologicalSorter({spec.name: [name for name in spec.after if name in names] for spec in specs})


def parameters(spec: PageSpec, profile: str) -> dict[str, object]:
    """Return the values that a page is executed with: the profile, where its notebook has one, and its own."""
    declared = {parameter.name for parameter in notebooks.parameters(spec.path)}
    own = {**spec.parameters, **(spec.smoke if profile == "smoke" else {})}
    return {**({"profile": profile} if "profile" in declared else {}), **own}


def _keep(folder: Path, name: str, key: str, seconds: float, read: str) -> Page:
    """Put a page that was executed in the place of its last run."""
    done, output, record = folder / UNFINISHED / f"{name}.ipynb", folder / f"{name}.ipynb", folder / f"{name}.json"
    checkpoints = provenance.take_checkpoints(done)
    said = Provenance(key, round(seconds, 1), colab.now(), colab.versions(), checkpoints, read)
    record.unlink(missing_ok=True)
    shutil.rmtree(output.with_suffix(""), ignore_errors=True)
    if done.with_suffix("").is_dir():
        done.with_suffix("").replace(output.with_suffix(""))
    done.replace(output)
    said.write(record)
    return Page(name, output, said, reused=False)


# ---- reuse


def page_keys(book: Path, specs: Sequence[PageSpec], profile: str, kept: Kept) -> dict[str, str]:
    """Return what determines each page: notebook and values, package, versions and results, and pages that it reads.

    Raises:
        BookError: pages wait for each other.
    """
    package, versions = folder_hash(book / "tada"), colab.versions()
    package += folder_hash(kept.shipped) if kept.shipped else ""
    every = {spec.name: spec for spec in (*select(book / "notebooks"), *specs)}
    keys: dict[str, str] = {}
    try:
        names = list(sort_pages(list(every.values())).static_order())
    except CycleError as error:
        circle = " waits for ".join(reversed(error.args[1]))
        raise BookError(f"pages.yml: after: {circle}: none can be first") from None
    for name in names:
        spec = every[name]
        values = json.dumps([parameters(spec, profile), versions], sort_keys=True, default=str)
        below = [keys[other] for other in spec.after if other in keys]
        keys[name] = sha256("\0".join([notebooks.pair(spec.path), values, package, *below]).encode())
    return keys


def find_page(folder: Path, name: str, key: str) -> Page | None:
    """Return the page of an earlier run with the same key, None if there is none."""
    output, last = folder / f"{name}.ipynb", provenance.read(folder / f"{name}.json")
    if last is None or last.key != key or not output.is_file():
        return None
    return Page(name, output, last, reused=True)


# ---- pages


def configuration(path: Path) -> dict[str, Any]:
    """Read `_config.yml`, with the theme's buttons to the repository where `repository.url` is set."""
    config = load_yaml(path)
    if (config.get("repository") or {}).get("url"):
        config.setdefault("html", {}).update(use_repository_button=True, use_issues_button=True)
    else:
        config.pop("repository", None)
    return config


def stage(book: Path, source: Path, pages: Sequence[Page], profile: str) -> None:
    """Lay out what Sphinx reads in `source`: configuration, contents, the written pages, the executed notebooks."""
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(book / "book", source / "book", ignore=shutil.ignore_patterns("_static"))
    if (book / "book" / "_static").is_dir():
        shutil.copytree(book / "book" / "_static", source / "_static")
    shutil.copy(book / "_toc.yml", source / "_toc.yml")
    config = configuration(book / "_config.yml")
    for page in pages:
        if page.folder.is_dir():
            shutil.copytree(page.folder, source / "files" / "notebooks" / page.name)
            config["sphinx"]["config"]["html_extra_path"] = ["files"]
    atomic_write(source / "_config.yml", yaml.safe_dump(config, sort_keys=False))
    done = {page.name: page for page in pages}
    for spec in select(book / "notebooks"):
        text = present_unexecuted(spec)
        if spec.name in done:
            text = present(done[spec.name], spec, parameters(spec, profile))
            done[spec.name].provenance.write(source / "notebooks" / f"{spec.name}.json")
        atomic_write(source / "notebooks" / f"{spec.name}.ipynb", text)


def present_unexecuted(spec: PageSpec) -> str:
    """Write a notebook that was left out of this build as its page: the code, and a remark instead of results."""
    remark = ":::{warning}\nThis page was left out of this build: its code is here, its results are not.\n:::"
    notebook = _with_heading(notebooks.read(spec.path), spec)
    notebook.cells.insert(1, nbformat.v4.new_markdown_cell(remark, id="unexecuted"))
    return notebooks.format_notebook(notebook)


def present(page: Page, spec: PageSpec, chosen: Mapping[str, object]) -> str:
    """Write an executed notebook as its page: without papermill's records, a box in place of the parameters' code."""
    notebook = _with_heading(nbformat.read(page.output, as_version=4), spec)
    notebook.metadata.pop("papermill", None)
    text = provenance.box(spec, notebooks.parameters(spec.path), chosen, page.provenance)
    cells = [cell for cell in notebook.cells if "injected-parameters" not in notebooks.tags(cell)]
    places = [place for place, cell in enumerate(cells) if "parameters" in notebooks.tags(cell)]
    for cell in cells:
        cell.metadata.pop("papermill", None)
    box = nbformat.v4.new_markdown_cell(text, id="box")
    cells[slice(places[0], places[0] + 1) if places else slice(1, 1)] = [box]
    notebook.cells = cells
    return notebooks.format_notebook(notebook)


def _with_heading(notebook: Any, spec: PageSpec) -> Any:
    """Put the page's own title and sentence, if it has them, at the top of its notebook."""
    title, _, rest = notebook.cells[0].source.partition("\n")
    title = f"# {escape.markdown(spec.title)}" if spec.title else title
    about = f"\n*{escape.markdown(spec.about)}*\n" if spec.about else ""
    notebook.cells[0].source = f"{title}\n{about}{rest}"
    if spec.name != spec.path.stem:
        _rename_labels(notebook, spec.name)
    return notebook


def _rename_labels(notebook: Any, name: str) -> None:
    """Give labels, which are one a book, the page's name where a notebook is a page more than once."""
    texts = [cell for cell in notebook.cells if cell.cell_type == "markdown"]
    for label in [label for cell in texts for label in re.findall(r"^\(([\w-]+)\)=$", cell.source, re.M)]:
        for cell in texts:
            cell.source = cell.source.replace(f"({label})=", f"({name}-{label})=")
            cell.source = cell.source.replace(f"(#{label})", f"(#{name}-{label})")


def render(source: Path, output: Path) -> None:
    """Build the staged book with Jupyter Book; nitpicky, and every warning is an error.

    Raises:
        BookError: Sphinx warned or failed.
    """
    start = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", str(source)]
    options = ["--path-output", str(source), "-n", "-W", "--keep-going", "--all", "--quiet"]
    done = subprocess.run([*start, *options], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BookError(f"Sphinx did not build the book cleanly:\n{(done.stderr or done.stdout).strip()}")
    before = output.with_name(f"{output.name}.before")
    shutil.rmtree(before, ignore_errors=True)
    if output.exists():
        output.replace(before)
    (source / "_build" / "html").replace(output)
    shutil.rmtree(before, ignore_errors=True)


def build(book: Path, profile: str, only: Sequence[str], tell: Tell, **options: Any) -> Path:
    """Check the sources, execute, stage, build and check the book below `_build/`; return the site's first page.

    Pages whose names begin as none of ``only``, where there are any, have no results; the others are executed with
    ``options`` of :func:`execute`.

    Raises:
        NotebookError: an unknown profile or notebook.
        BookError: a notebook failed, Sphinx warned, or a check found a problem.
    """
    check_profile(profile)
    specs = select(book / "notebooks", only)
    _require_none(checks.check_sources(book), "the sources")
    pages = execute(book, specs, profile, tell=tell, **options)
    source, site = book / "_build" / "source", book / "_build" / "html"
    stage(book, source, pages, profile)
    tell("building the pages")
    render(source, site)
    _require_none(checks.check(site), "the built site")
    return site / "index.html"


def _require_none(problems: Sequence[str], place: str) -> None:
    if problems:
        listed = "\n".join(f"  {item}" for item in problems)
        raise BookError(f"{len(problems)} problem{'s' * (len(problems) > 1)} in {place}:\n{listed}")
