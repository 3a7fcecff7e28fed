"""The book: notebooks executed through papermill into a staging folder, then one Sphinx build of it, then the gates.

Everything the build writes is below `_build/`, so a build leaves the checkout as it was. Notebooks are executed side by
side, each in a process of its own; `tada.book.pages` says which pages there are.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tada.book import checks as gates
from tada.book import gallery, notebooks, opened, schedule
from tada.book import provenance as stamp
from tada.book.notebooks import Parameter, Running
from tada.book.pages import PROFILES, BookError, Sheet, load_yaml, select
from tada.book.provenance import Stamp
from tada.errors import unknown
from tada.io import atomic_write

__all__ = ["BookError", "Page", "build", "execute", "profile", "root", "select", "stage"]

DEFAULT_PROFILE = "mini"
ALONE = ("colab", "paper")
"""Profiles whose notebooks have the GPU to themselves."""

UNFINISHED = "unfinished"
"""Folder of the pages that are being executed, and of those that failed."""


@dataclass(frozen=True)
class Page:
    """One executed notebook: its name, the file, its stamp, and whether an earlier run was reused.

    What the notebook wrote for its page, such as clips, lies in a folder beside the file, under the page's name.
    """

    name: str
    output: Path
    stamp: Stamp
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


def configuration(path: Path) -> dict[str, Any]:
    """`_config.yml` with the theme's buttons to the repository where `repository.url` is set.

    Raises:
        BookError: a duplicate key, which YAML would silently resolve to the last one.
    """
    config = load_yaml(path)
    if (config.get("repository") or {}).get("url"):
        config.setdefault("html", {}).update(use_repository_button=True, use_issues_button=True)
    else:
        config.pop("repository", None)
    return config


# ---- execution


def execute(
    book: Path,
    sheets: Sequence[Sheet],
    name: str = DEFAULT_PROFILE,
    force: bool = False,
    jobs: int | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> list[Page]:
    """Execute the pages side by side below `_build/notebooks`; what was executed from the same before is reused.

    Args:
        book: the checkout.
        sheets: the pages.
        name: the profile.
        force: execute even what has not changed.
        jobs: processes at once, of which a notebook with a parameter `workers` takes that many; None for as many as
            there are cores and memory, and one where pages share a GPU.
        tell: is called with a line per page when it begins and when it ends.

    Raises:
        BookError: pages failed. Those under way were finished and are kept, no other was begun.
    """
    folder = book / "_build" / "notebooks" / name
    keys = _keys(book, sheets, name)
    pages: dict[str, Page] = {}
    for sheet in sheets:
        found = None if force else known(folder, sheet.name, keys[sheet.name])
        if found is not None:
            pages[sheet.name] = found
            tell(f"{sheet.name}: unchanged, reused ({len(pages)} of {len(sheets)})")
    rest = {sheet.name: sheet for sheet in sheets if sheet.name not in pages}
    failures: list[str] = []

    def begin(name_: str) -> Running:
        tell(f"{name_}: begun")
        return _begin(folder, rest[name_], chosen(rest[name_], name))

    def end(name_: str, running: Running) -> bool:
        done = notebooks.finish(running)
        if done.failure:
            failures.append(describe(rest[name_].path, done.failure))
            tell(f"{name_}: failed after {done.seconds:.1f} s, no other is begun")
            return False
        pages[name_] = _keep(folder, name_, keys[name_], done.seconds)
        tell(f"{name_}: executed in {done.seconds:.1f} s ({len(pages)} of {len(sheets)})")
        return True

    work = [_job(folder, sheet, sheets, chosen(sheet, name)) for sheet in rest.values()]
    _side_by_side(work, jobs or _jobs(name), begin, end)
    if failures:
        raise BookError("\n\n".join(failures))
    return [pages[sheet.name] for sheet in sheets]


def _side_by_side(
    work: Sequence[schedule.Job],
    total: int,
    begin: Callable[[str], Running],
    end: Callable[[str, Running], bool],
) -> None:
    """Run jobs, as many as fit; after one whose end is False no other is begun. What interrupts this stops them all."""
    waiting, running = _ranked(work), dict[str, tuple[schedule.Job, Running]]()
    try:
        while waiting or running:
            free = total - sum(min(job.slots, total) for job, _ in running.values())
            unfinished = {job.name for job in waiting} | set(running)
            job = schedule.next_job(waiting, unfinished, free, total)
            if job is not None:
                waiting.remove(job)
                running[job.name] = job, begin(job.name)
                continue
            time.sleep(0.05)
            for name in [name for name, (_, one) in running.items() if one.over]:
                if not end(name, running.pop(name)[1]):
                    waiting = []
    finally:
        notebooks.stop(*(one for _, one in running.values()))


def _ranked(work: Sequence[schedule.Job]) -> list[schedule.Job]:
    try:
        return schedule.ranked(work)
    except ValueError as error:
        raise BookError(f"pages.yml: after: {error}") from None


def _job(folder: Path, sheet: Sheet, sheets: Sequence[Sheet], values: Mapping[str, object]) -> schedule.Job:
    """What the schedule has to know of a page; how long it takes is taken from its last execution.

    A page of the gallery comes after the book's own and after those of its notebook before it: they may share a store.
    """
    declared = {one.name: one.default for one in notebooks.parameters(sheet.path)}
    workers = str(values.get("workers", declared.get("workers", "1")))
    last = stamp.read(folder / f"{sheet.name}.json")
    return schedule.Job(
        sheet.name,
        _waits(sheet, sheets),
        int(workers) if workers.isdigit() else 1,
        last.seconds if last else schedule.UNKNOWN,
    )


def _waits(sheet: Sheet, sheets: Sequence[Sheet]) -> tuple[str, ...]:
    if not sheet.gallery:
        return sheet.after
    before = sheets[: [one.name for one in sheets].index(sheet.name)]
    shared = [one.name for one in before if one.gallery and one.path == sheet.path]
    return (*(one.name for one in sheets if not one.gallery), *shared)


def _jobs(name: str) -> int:
    return 1 if name in ALONE else schedule.processes()


def _keys(book: Path, sheets: Sequence[Sheet], name: str) -> dict[str, str]:
    """What determines each page: notebook and values, package and versions, and the pages whose results it reads."""
    package = package_hash(book / "tada")
    every = {sheet.name: sheet for sheet in (*select(book / "notebooks"), *sheets)}
    own = {one.name: key(one.path, chosen(one, name), package) for one in every.values()}

    def whole(page: str, above: tuple[str, ...] = ()) -> str:
        below = [whole(other, (*above, page)) for other in every[page].after if other not in above]
        return hashlib.sha256("".join([own[page], *below]).encode()).hexdigest() if below else own[page]

    return {sheet.name: whole(sheet.name) for sheet in sheets}


def key(path: Path, values: Mapping[str, object], package: str) -> str:
    """What determines a run of a notebook: its text, its values, the package's files and the versions underneath."""
    told = json.dumps([values, stamp.versions()], sort_keys=True, default=str)
    return hashlib.sha256("\0".join([notebooks.pair(path), told, package]).encode()).hexdigest()


def package_hash(package: Path) -> str:
    """The sha256 of the names and contents of a package's files."""
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            digest.update(f"{file.relative_to(package)}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def chosen(sheet: Sheet, name: str) -> dict[str, object]:
    """The values that a page is executed with: the profile, where its notebook has one, and its own."""
    declared = {parameter.name for parameter in notebooks.parameters(sheet.path)}
    return {**({"profile": name} if "profile" in declared else {}), **sheet.parameters}


def known(folder: Path, name: str, wanted: str) -> Page | None:
    """The page of an earlier run with the same key, None if there is none."""
    output, last = folder / f"{name}.ipynb", stamp.read(folder / f"{name}.json")
    if last is None or last.key != wanted or not output.is_file():
        return None
    return Page(name, output, last, reused=True)


def _begin(folder: Path, sheet: Sheet, values: Mapping[str, object]) -> Running:
    """Begin a page apart from finished ones, which stay until this one is."""
    output = folder / UNFINISHED / f"{sheet.name}.ipynb"
    return notebooks.begin(sheet.path, output, values, page_environment(output))


def _keep(folder: Path, name: str, wanted: str, seconds: float) -> Page:
    """Put a page that was executed in the place of its last run."""
    done, output, record = folder / UNFINISHED / f"{name}.ipynb", folder / f"{name}.ipynb", folder / f"{name}.json"
    said = Stamp(wanted, round(seconds, 1), stamp.now(), stamp.versions(), checkpoints(done))
    record.unlink(missing_ok=True)
    shutil.rmtree(output.with_suffix(""), ignore_errors=True)
    if done.with_suffix("").is_dir():
        done.with_suffix("").replace(output.with_suffix(""))
    done.replace(output)
    said.write(record)
    return Page(name, output, said, reused=False)


def page_environment(output: Path) -> dict[str, str]:
    """The variable that tells a notebook where files for its page go: beside `output`. Older ones are removed."""
    from tada.display.players import PAGE

    folder = output.resolve().with_suffix("")
    shutil.rmtree(folder, ignore_errors=True)
    opened.forget(output)
    return {PAGE: str(folder)}


def checkpoints(output: Path) -> dict[str, str]:
    """Names and hashes of the checkpoints that an executed notebook opened; what it noted of them is removed."""
    found = opened.noted(output)
    opened.forget(output)
    return found


def describe(path: Path, failure: notebooks.Failure) -> str:
    """A paragraph on a failed notebook: which cell, its code, its error, and where the partial run lies."""
    code = "\n".join(f"    {line}" for line in failure.source.strip().splitlines())
    where = f"failed in cell [{failure.cell}]:" if failure.cell else f"was stopped{' in this cell:' if code else '.'}"
    kept = f"\nThe partly executed notebook is kept at {failure.output}" if failure.output.is_file() else ""
    return f"{path} {where}" + (f"\n{code}" if code else "") + f"\n  {failure.error}{kept}"


# ---- pages


def stage(book: Path, source: Path, pages: Sequence[Page], name: str = DEFAULT_PROFILE) -> None:
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
    atomic_write(source / "_config.yml", yaml.safe_dump(config, sort_keys=False))
    sheets = select(book / "notebooks")
    toc = gallery.contents(load_yaml(book / "_toc.yml"), [sheet.name for sheet in sheets if sheet.gallery])
    atomic_write(source / "_toc.yml", yaml.safe_dump(toc, sort_keys=False))
    (source / "notebooks").mkdir()
    done = {page.name: page for page in pages}
    origins = {sheet.path: sheet.name for sheet in reversed(sheets) if not sheet.gallery}
    for sheet in sheets:
        text = unexecuted(sheet, origins)
        if sheet.name in done:
            text = present(done[sheet.name], sheet, chosen(sheet, name), origins)
            done[sheet.name].stamp.write(source / "notebooks" / f"{sheet.name}.json")
        atomic_write(source / "notebooks" / f"{sheet.name}.ipynb", text)


def unexecuted(sheet: Sheet, origins: Mapping[Path, str] | None = None) -> str:
    """A notebook that was left out of this build, as its page: the code without results, which it says of itself."""
    import nbformat

    notebook = _headed(notebooks.read(sheet.path), sheet, origins or {})
    remark = ":::{warning}\nThis page was left out of this build: its code is here, its results are not.\n:::"
    notebook.cells.insert(1, nbformat.v4.new_markdown_cell(remark, id="unexecuted"))
    return str(nbformat.writes(notebook, version=4)) + "\n"


def _headed(notebook: Any, sheet: Sheet, origins: Mapping[Path, str]) -> Any:
    """The notebook under the page's own title, if it has one; on a page of the gallery with what is different on it."""
    title, _, rest = notebook.cells[0].source.partition("\n")
    if sheet.title:
        title = f"# {sheet.title}"
    if sheet.gallery:
        rest = f"\n{gallery.remark(sheet, origins.get(sheet.path, sheet.path.stem))}\n{rest}"
    notebook.cells[0].source = f"{title}\n{rest}"
    if sheet.name != sheet.path.stem:
        _own_labels(notebook, sheet.name)
    return notebook


def _own_labels(notebook: Any, name: str) -> None:
    """Give labels, which are one a book, the page's name where a notebook is a page more than once."""
    texts = [cell for cell in notebook.cells if cell.cell_type == "markdown"]
    for label in [label for cell in texts for label in _LABEL.findall(cell.source)]:
        for cell in texts:
            cell.source = cell.source.replace(f"({label})=", f"({name}-{label})=")
            cell.source = cell.source.replace(f"(#{label})", f"(#{name}-{label})")


_LABEL = re.compile(r"^\(([\w-]+)\)=$", re.M)


def present(page: Page, sheet: Sheet, values: Mapping[str, object], origins: Mapping[Path, str] | None = None) -> str:
    """An executed notebook as the text the book shows.

    papermill's records are stripped, and a table of what the page was run with takes the place of the parameters' code.
    """
    import nbformat

    notebook = _headed(nbformat.read(page.output, as_version=4), sheet, origins or {})
    notebook.metadata.pop("papermill", None)
    declared: list[Parameter] = notebooks.parameters(sheet.path)
    box = stamp.table(page.stamp, declared, values, sheet.path.stem, sheet.name, sheet.after)
    cells = [cell for cell in notebook.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    places = [place for place, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", [])]
    for cell in cells:
        cell.metadata.pop("papermill", None)
    cells[slice(places[0], places[0] + 1) if places else slice(1, 1)] = [nbformat.v4.new_markdown_cell(box, id="box")]
    notebook.cells = cells
    return str(nbformat.writes(notebook, version=4)) + "\n"


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
    before = output.with_name(f"{output.name}.before")
    shutil.rmtree(before, ignore_errors=True)
    if output.exists():
        output.replace(before)
    built.replace(output)
    shutil.rmtree(before, ignore_errors=True)


def build(
    book: Path,
    name: str = DEFAULT_PROFILE,
    only: Sequence[str] = (),
    force: bool = False,
    jobs: int | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Path:
    """Check the sources, execute, stage, build and check the book below `_build/`; return the site's first page.

    Args:
        book: the checkout.
        name: the profile, handed to notebooks that declare a parameter `profile`.
        only: starts of notebook names; the others become pages without results.
        force: execute even what has not changed.
        jobs: as for :func:`execute`.
        tell: is called with one line per step.

    Raises:
        NotebookError: an unknown profile or notebook.
        BookError: a notebook failed, Sphinx warned, or a gate found a problem.
    """
    profile(name)
    sheets = select(book / "notebooks", only)
    _stop_at(gates.check_sources(book), "the sources")
    pages = execute(book, sheets, name, force, jobs, tell)
    source, site = book / "_build" / "source", book / "_build" / "html"
    stage(book, source, pages, name)
    tell("building the pages")
    html(source, site)
    _stop_at(gates.check(site), "the built site")
    return site / "index.html"


def _stop_at(problems: Sequence[str], place: str) -> None:
    if problems:
        listed = "\n".join(f"  {item}" for item in problems)
        raise BookError(f"{len(problems)} problem{'s' * (len(problems) > 1)} in {place}:\n{listed}")


def show(book: Path, made: Sheet, tell: Callable[[str], None] = lambda line: None) -> Page:
    """Execute a page for the gallery and add it to gallery.yml; the next build reuses the execution.

    Raises:
        NotebookError: the file cannot be written. BookError: the notebook failed, and nothing was added.
    """
    folder = book / "notebooks"
    notebooks.writable(folder)
    page = execute(book, [made], tell=tell)[0]
    gallery.add(folder, made)
    return page
