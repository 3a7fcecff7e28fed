"""Notebooks: read, pair, parameterise, execute. The `.py` (py:percent) is the source, the `.ipynb` is made from it."""

from __future__ import annotations

import ast
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tada.book import colab
from tada.errors import InputError, NotebookError, unknown
from tada.io import atomic_write

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
# Threads that compete cost tiny models far more than they give; progress bars have no place on a page.
KERNEL_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
INSTALL = "pip install 'tada-companion[book]'"
SETUP = "setup"
"""Tag of the first code cell, into which pairing writes the line that installs the package on Colab."""

PATIENCE = 15.0
"""Seconds that a notebook is given to stop."""


@dataclass(frozen=True)
class Parameter:
    """One line `name: type = default  # help` of a notebook's cell tagged `parameters`."""

    name: str
    type: str
    default: str
    help: str

    def __str__(self) -> str:
        return f"{self.name}: {self.type} = {self.default}" + (f"  # {self.help}" if self.help else "")


@dataclass(frozen=True)
class Failure:
    """Where an execution stopped: the cell's number, its code, the error, and the partly executed notebook.

    The number is 0 where no cell is to blame: the kernel was killed, or the file could not be written.
    """

    cell: int
    source: str
    error: str
    output: Path


@dataclass(frozen=True)
class Execution:
    """One finished run: the executed notebook, its duration in seconds, and the failure if there was one."""

    output: Path
    seconds: float
    failure: Failure | None = None


@dataclass(frozen=True)
class Running:
    """A notebook that papermill is executing in a process of its own: see :func:`begin`."""

    output: Path
    process: subprocess.Popen[bytes]
    folder: Path
    since: float

    @property
    def over(self) -> bool:
        return self.process.poll() is not None


def find(path: str | Path) -> Path:
    """The notebook at `path`, or an error: it is none, or it is not there, with the nearest ones beside it."""
    path = Path(path)
    if path.is_file() and path.suffix in (".py", ".ipynb"):
        read(path)
        return path
    if path.is_file():
        raise NotebookError(f"{path} is not a notebook: expected a .py (py:percent) or .ipynb file.")
    folder = path.parent if path.parent.is_dir() else Path("notebooks")
    names = sorted(str(other) for other in folder.glob("*.py"))
    raise NotebookError(unknown("notebook", str(path), names))


def read(path: Path) -> Any:
    """The notebook at `path` (.py or .ipynb) as an nbformat node without outputs, its setup cell complete."""
    jupytext = _need("jupytext")
    try:
        notebook = jupytext.read(path, fmt="py:percent" if path.suffix == ".py" else "ipynb")
    except (ValueError, KeyError, AttributeError) as error:  # no text, no json, or json of another kind
        reason = str(error).partition("\n")[0]
        raise NotebookError(f"{path} cannot be read as a notebook ({type(error).__name__}: {reason}).") from None
    for cell in notebook.cells:
        if SETUP in cell.metadata.get("tags", []):
            cell.source = colab.first_cell(*_repository(path))
    return _clean(notebook)


def _repository(path: Path) -> tuple[str, str]:
    """Public address and branch of the checkout that holds a notebook, as `_config.yml` says."""
    from tada.book.sphinx_ext import repository

    folders = [folder for folder in path.resolve().parents if (folder / "_config.yml").is_file()]
    return repository(folders[0]) if folders else repository(path.parent)


def pair(source: Path) -> str:
    """The text of the `.ipynb` that belongs to a `.py` notebook: no outputs, the same bytes each time."""
    nbformat = _need("nbformat")
    return nbformat.writes(read(source), version=4) + "\n"


def write_pair(source: Path) -> Path:
    """Write the `.ipynb` beside a `.py` notebook, whole or not at all."""
    return atomic_write(source.with_suffix(".ipynb"), pair(source))


def unpaired(folder: Path) -> list[Path]:
    """The notebooks of `folder` whose `.ipynb` is missing, differs from what its `.py` gives, or has no `.py`."""
    sources = sorted(folder.glob("*.py"))
    orphans = [path for path in sorted(folder.glob("*.ipynb")) if path.with_suffix(".py") not in sources]
    return [path for path in sources if not _same(path.with_suffix(".ipynb"), pair(path))] + orphans


def parameters(path: Path) -> list[Parameter]:
    """The parameters a notebook declares, read by papermill from its cell tagged `parameters`."""
    papermill = _need("papermill")
    with tempfile.TemporaryDirectory() as folder:
        found = papermill.inspect_notebook(str(_as_ipynb(path, Path(folder))))
    return [
        Parameter(name, str(entry["inferred_type_name"]), str(entry["default"]), str(entry["help"]).strip())
        for name, entry in found.items()
    ]


def convert(parameter: Parameter, text: str) -> object:
    """The value that `text` from a command line means for a parameter of a declared type."""
    try:
        return _converter(parameter.type)(text)
    except (ValueError, SyntaxError):
        raise NotebookError(
            f"parameter {parameter.name} is {_article(parameter.type)}, got {text!r}. It is declared as `{parameter}`."
        ) from None


def values(declared: Sequence[Parameter], given: Iterable[tuple[str, str]]) -> dict[str, object]:
    """The given `(name, text)` pairs as typed values; an unknown name lists the valid ones."""
    known = {parameter.name: parameter for parameter in declared}
    result: dict[str, object] = {}
    for name, text in given:
        if name not in known:
            raise NotebookError(_unknown_parameter(name, declared))
        if name in result:
            raise NotebookError(f"parameter {name} was given twice: keep one of {result[name]!r} and {text!r}.")
        result[name] = convert(known[name], text)
    return result


def execute(
    path: Path, output: Path, chosen: Mapping[str, object], environment: Mapping[str, str] | None = None
) -> Execution:
    """Run a notebook and wait for it: see :func:`begin`. Whatever interrupts the waiting stops the notebook, too."""
    running = begin(path, output, chosen, environment)
    try:
        return finish(running)
    except BaseException:
        stop(running)
        raise


def begin(
    path: Path, output: Path, chosen: Mapping[str, object], environment: Mapping[str, str] | None = None
) -> Running:
    """Start papermill on a notebook, into another file, and return at once.

    The kernel works in the notebook's own folder.

    Args:
        path: the notebook, .py or .ipynb.
        output: the executed notebook; its folder is made.
        chosen: values of parameters.
        environment: variables that the kernel gets beside those of this process.

    Raises:
        NotebookError: the output cannot be written, or papermill is not installed.
    """
    for module in ("papermill", "ipykernel"):
        _need(module)
    writable(output.parent)
    if output.is_dir():
        raise NotebookError(f"cannot write {output}: a folder has that name. Choose another folder with --out.")
    folder = Path(tempfile.mkdtemp(prefix="tada-run-"))
    values = folder / "parameters.yml"
    atomic_write(values, _need("yaml").safe_dump(dict(chosen), allow_unicode=True))
    command = [sys.executable, "-m", "papermill", str(_as_ipynb(path, folder)), str(output.resolve())]
    command += ["--parameters_file", str(values), "--kernel", KERNEL["name"], "--cwd", str(path.parent.resolve())]
    with (folder / "errors.txt").open("wb") as errors:
        process = subprocess.Popen(
            [*command, "--no-progress-bar", "--log-level", "ERROR"],
            env={**KERNEL_ENVIRONMENT, **os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,  # an interrupt from the keyboard reaches us alone, and we stop what we started
        )
    return Running(output, process, folder, time.monotonic())


def finish(running: Running) -> Execution:
    """Wait for a notebook. A failing cell is reported, not raised: the partly executed notebook is kept."""
    code = running.process.wait()
    seconds = time.monotonic() - running.since
    failure = _failure(running) if code else None
    shutil.rmtree(running.folder, ignore_errors=True)
    return Execution(running.output, seconds, failure)


def stop(*running: Running) -> None:
    """Stop notebooks and their kernels, all at once; nothing where one is over."""
    for one in running:
        if not one.over:
            one.process.send_signal(signal.SIGINT)
    for one in running:
        try:
            one.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            one.process.kill()  # the kernel looks for its parent every second
            one.process.wait()
        shutil.rmtree(one.folder, ignore_errors=True)


def _failure(running: Running) -> Failure:
    """What went wrong, from the executed notebook, or from papermill where no cell failed."""
    nbformat = _need("nbformat")
    cells = nbformat.read(running.output, as_version=4).cells if running.output.is_file() else []
    for cell in cells:
        for output in cell.get("outputs", ()):
            if output.output_type == "error":
                number = cell.execution_count or 0
                return Failure(number, cell.source, f"{output.ename}: {output.evalue}", running.output)
    lines = (running.folder / "errors.txt").read_text(encoding="utf-8", errors="replace").split("\n")
    said = [line.strip() for line in lines if line.strip()]
    dead = running.process.returncode == DEAD_KERNEL
    begun = [cell.source for cell in cells if cell.metadata.get("papermill", {}).get("status") not in (None, "pending")]
    source = begun[-1] if dead and begun else ""
    return Failure(0, source, said[-1] if said else "papermill said nothing", running.output)


DEAD_KERNEL = 138
"""papermill's exit code where the kernel was killed, as for lack of memory."""


def writable(folder: Path) -> Path:
    """Make `folder` and return it, or an error that says it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        raise NotebookError(f"cannot write into {folder} ({reason}). Choose another folder with --out.") from None
    return folder


def _clean(notebook: Any) -> Any:
    nbformat = _need("nbformat")
    cells = [cell for cell in notebook.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    for position, cell in enumerate(cells):
        for name in ("papermill", "execution", *([] if cell.metadata.get("tags") else ["tags"])):
            cell.metadata.pop(name, None)
        cell["id"] = hashlib.sha256(f"{position}\n{cell.source}".encode()).hexdigest()[:8]
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    metadata = {"kernelspec": dict(KERNEL), "language_info": {"name": "python"}}
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata, nbformat_minor=5)


def _as_ipynb(path: Path, folder: Path) -> Path:
    nbformat = _need("nbformat")
    target = folder / f"{path.stem}.ipynb"
    atomic_write(target, nbformat.writes(read(path), version=4))
    return target


def _same(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def _unknown_parameter(name: str, declared: Sequence[Parameter]) -> str:
    if not declared:
        return f"no parameter {name!r}: this notebook declares none (it has no cell tagged `parameters`)."
    listed = "".join(f"\n  {parameter}" for parameter in declared)
    near = unknown("parameter", name, [parameter.name for parameter in declared]).split(" Valid:")[0]
    return f"{near} The notebook declares:{listed}"


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise InputError(text)
    return text.lower() == "true"


def _list(text: str, convert_item: Callable[[str], object]) -> list[object]:
    items = ast.literal_eval(text) if text.lstrip().startswith("[") else text.split(",")
    return [convert_item(str(item).strip()) for item in items]


def _dictionary(text: str) -> dict[object, object]:
    return dict(ast.literal_eval(text))


def _literal(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


_CONVERTERS: dict[str, Callable[[str], object]] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": _boolean,
    "dict": _dictionary,
}


def _converter(type_name: str) -> Callable[[str], object]:
    outer, _, inner = type_name.replace(" ", "").rstrip("]").partition("[")
    if outer == "list":
        return lambda text: _list(text, _converter(inner))
    return _CONVERTERS.get(outer, _literal)


def _article(type_name: str) -> str:
    return f"{'an' if type_name[0] in 'aeiou' else 'a'} {type_name}"


def _need(module: str) -> Any:
    import importlib

    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        raise NotebookError(f"{module} is not installed. Install what the notebooks need: {INSTALL}") from None
