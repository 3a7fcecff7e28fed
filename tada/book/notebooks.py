"""Notebooks: read, pair, parameterise, execute. The `.py` (py:percent) is the source, the `.ipynb` is made from it.

jupytext pairs, papermill finds parameters and executes. What neither does is here: pairs whose bytes are the same each
time, values of a declared type, one place that stops a kernel, and errors in the words of a reader.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

from tada.book import colab
from tada.errors import MissingPackageError, NotebookError, unknown
from tada.io import atomic_write, require_writable, sha256

try:
    import jupytext
    import nbformat
    import papermill
    import yaml

    from tada.book import forks
except ModuleNotFoundError as error:
    raise MissingPackageError(f"{error.name} is not installed. {colab.INSTALL_HINT}") from None

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
# Threads that compete cost tiny models far more than they give; progress bars have no place on a page.
KERNEL_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
SETUP = "setup"
"""Tag of the first code cell, into which pairing writes the line that installs the package on Colab."""

PAIRED = "tada_paired"
"""Entry of an `.ipynb`'s metadata: a digest of its cells as they were paired."""

PATH_WORDS = re.compile(r"\b(files?|folders?|paths?|kept|written|saved)\b|\bwhere (the )?(results|scores)\b")
"""Words of a parameter's help, or its name, which say that its value is a path."""

STOP_SECONDS = 3.0
"""Seconds that a notebook is given to stop; what it executed before is saved."""

DEAD_KERNEL = 138
"""papermill's exit code where the kernel was killed, as for lack of memory."""


@dataclass(frozen=True)
class Parameter:
    """One line `name: type = default  # help` of a notebook's cell tagged `parameters`."""

    name: str
    type: str
    default: str
    help: str

    def __str__(self) -> str:
        return f"{self.name}: {self.type} = {self.default}" + (f"  # {self.help}" if self.help else "")


class Execution(NamedTuple):
    """One finished run: the executed notebook, its duration in seconds, and what failed, empty if nothing did."""

    output: Path
    seconds: float
    failure: str = ""


# ---- files


def find(path: str | Path) -> Path:
    """Return the notebook at `path`; raise NotebookError, which names the nearest, if it is none or not there."""
    path = Path(path)
    if path.is_file() and path.suffix in (".py", ".ipynb"):
        read(path)
        return path
    if path.is_file():
        raise NotebookError(f"{path} is not a notebook: expected a .py (py:percent) or .ipynb file.")
    folder = path.parent if path.parent.is_dir() else Path("notebooks")
    raise NotebookError(unknown("notebook", str(path), sorted(map(str, folder.glob("*.py")))))


def read(path: Path) -> Any:
    """Read a notebook (.py or .ipynb) as an nbformat node without outputs, its setup cell complete."""
    try:
        notebook = jupytext.read(path, fmt="py:percent" if path.suffix == ".py" else "ipynb")
    except (ValueError, KeyError, AttributeError) as error:  # no text, no json, or json of another kind
        reason = str(error).partition("\n")[0]
        raise NotebookError(f"{path} cannot be read as a notebook ({type(error).__name__}: {reason}).") from None
    for cell in notebook.cells:
        if SETUP in tags(cell):
            cell.source = colab.first_cell(*colab.repository(path))
    return _clean(notebook)


def _clean(notebook: Any) -> Any:
    """Rebuild a notebook without outputs and injected cells, with ids that depend on place and content alone."""
    cells = [cell for cell in notebook.cells if "injected-parameters" not in tags(cell)]
    for position, cell in enumerate(cells):
        for name in ("papermill", "execution", *([] if tags(cell) else ["tags"])):
            cell.metadata.pop(name, None)
        cell["id"] = hashlib.sha256(f"{position}\n{cell.source}".encode()).hexdigest()[:8]
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    metadata = {"kernelspec": dict(KERNEL), "language_info": {"name": "python"}}
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata, nbformat_minor=5)


def tags(cell: Any) -> list[str]:
    return list(cell.metadata.get("tags", []))


def pair(source: Path) -> str:
    """Return the text of the `.ipynb` that belongs to a `.py` notebook: no outputs, the same bytes each time."""
    notebook = read(source)
    notebook.metadata[PAIRED] = _digest(notebook)
    return format_notebook(notebook)


def _digest(notebook: Any) -> str:
    return sha256(json.dumps(notebook.cells, sort_keys=True).encode())[:12]


def format_notebook(notebook: Any) -> str:
    return str(nbformat.writes(notebook, version=4)) + "\n"


def write_pair(source: Path) -> Path:
    """Write the `.ipynb` beside a `.py` notebook."""
    return atomic_write(source.with_suffix(".ipynb"), pair(source))


def unpaired(folder: Path) -> list[Path]:
    """Return the notebooks of `folder` whose `.ipynb` is missing, differs from its `.py`, or has no `.py`."""
    sources = sorted(folder.glob("*.py"))
    orphans = [path for path in sorted(folder.glob("*.ipynb")) if path.with_suffix(".py") not in sources]
    return [path for path in sources if not _is_paired(path)] + orphans


def _is_paired(source: Path) -> bool:
    path = source.with_suffix(".ipynb")
    return path.is_file() and path.read_bytes() == pair(source).encode()


def describe_edit(source: Path) -> str:
    """Say which of a `.py` notebook and its `.ipynb` was edited by hand; nothing where writing the pair loses nothing.

    Nothing is lost where the `.ipynb` is as it was paired, or as it was committed to git.
    """
    path = source.with_suffix(".ipynb")
    if not os.path.lexists(path) or _is_paired(source) or _is_committed(path):
        return ""
    try:
        notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
        paired = notebook.metadata.get(PAIRED)
        if paired == _digest(notebook):
            return ""
    except (OSError, ValueError, KeyError, AttributeError):
        return f"{path} is not as it was paired, and cannot be read as a notebook"
    both = paired != _digest(read(source))
    return f"{path} was edited by hand since it was paired{f', and so was {source.name}' if both else ''}"


def _is_committed(path: Path) -> bool:
    command = ["git", "show", f"HEAD:./{path.name}"]
    with suppress(OSError):
        return subprocess.run(command, cwd=path.parent, capture_output=True, check=False).stdout == path.read_bytes()
    return False


# ---- parameters


def parameters(path: Path) -> list[Parameter]:
    """Read the parameters that a notebook declares in its cell tagged `parameters`."""
    with tempfile.TemporaryDirectory() as folder:
        found = papermill.inspect_notebook(str(_as_ipynb(path, Path(folder))))
    return [
        Parameter(name, str(entry["inferred_type_name"]), str(entry["default"]), str(entry["help"]).strip())
        for name, entry in found.items()
    ]


def values(declared: Sequence[Parameter], given: Iterable[tuple[str, str]]) -> dict[str, object]:
    """Convert `(name, text)` pairs from a command line to values of the declared types.

    Relative paths are taken from the working directory, and handed on absolute, since a notebook runs in its own.

    Raises:
        NotebookError: a name that is not declared or given twice, or a text that is not of the declared type.
    """
    known = {parameter.name: parameter for parameter in declared}
    result: dict[str, object] = {}
    for name, text in given:
        if name not in known:
            raise NotebookError(_unknown_parameter(name, declared))
        if name in result:
            raise NotebookError(f"parameter {name} was given twice: keep one of {result[name]!r} and {text!r}.")
        try:
            result[name] = _from_here(known[name], _typed(known[name].type, text))
        except (ValueError, KeyError, TypeError, yaml.YAMLError):
            article = "an" if known[name].type[0] in "aeiou" else "a"
            raise NotebookError(
                f"parameter {name} is {article} {known[name].type}, got {text!r}. It is declared as `{known[name]}`."
            ) from None
    return result


def _typed(kind: str, text: str) -> object:
    """Convert a text to `str`, `int`, `float`, `bool`, `dict`, a list of these, or to what YAML takes it for."""
    outer, _, inner = kind.replace(" ", "").partition("[")
    if outer == "list":
        items = yaml.load(text if text.lstrip().startswith("[") else f"[{text}]", yaml.BaseLoader)
        return [_typed(inner.removesuffix("]"), item) for item in items]
    if outer == "bool":
        return {"true": True, "false": False}[text.lower()]
    plain = {"str": str, "int": int, "float": float}
    if outer in plain:
        return plain[outer](text)
    return dict(yaml.safe_load(text)) if outer == "dict" else yaml.safe_load(text)


def _from_here(parameter: Parameter, value: Any) -> Any:
    """Make a text absolute, or those of a list, where it is a path: by its looks, or by what its parameter is."""
    if isinstance(value, list):
        return [_from_here(parameter, item) for item in value]
    if not isinstance(value, str) or not value or value in re.findall(r"[\w/.-]+", parameter.help):
        return value
    place = Path(value).expanduser()
    is_there = os.path.exists(place)
    says_path = PATH_WORDS.search(f"{parameter.name} {parameter.help}")
    by_looks = value.startswith(("./", "../", "~")) or (is_there and (place.suffix or place.name != value))
    by_words = says_path and (is_there or "hub id" not in parameter.help)
    return str(place.absolute()) if by_looks or by_words else value


def _unknown_parameter(name: str, declared: Sequence[Parameter]) -> str:
    if not declared:
        return f"no parameter {name!r}: this notebook declares none (it has no cell tagged `parameters`)."
    listed = "".join(f"\n  {parameter}" for parameter in declared)
    near = unknown("parameter", name, [parameter.name for parameter in declared]).split(" Valid:")[0]
    return f"{near} The notebook declares:{listed}"


# ---- execution


def execute(
    path: Path,
    output: Path,
    chosen: Mapping[str, object],
    environment: Mapping[str, str] | None = None,
    stop: threading.Event | None = None,
    home: Path | None = None,
) -> Execution:
    """Run a notebook through papermill in a process of its own and wait for it.

    A failing cell is described, not raised, and the partly executed notebook is kept. Whatever interrupts the waiting
    stops the notebook and its kernel, too.

    Args:
        path: the notebook, .py or .ipynb.
        output: the executed notebook; its folder is made.
        chosen: values of parameters.
        environment: variables that the kernel gets beside those of this process.
        stop: stops the notebook when it is set, by another thread.
        home: the folder that it is run in, which is made; None for its own.

    Raises:
        NotebookError: the output cannot be written.
        KeyboardInterrupt: `stop` was set.
    """
    require_writable(output.parent)
    if output.is_dir():
        raise NotebookError(f"cannot write {output}: a folder has that name. Choose another folder with --out.")
    home = home or path.parent
    for folder in (output.parent, home):
        folder.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tada-run-", ignore_cleanup_errors=True) as place:
        process = _start(path, output, chosen, environment or {}, Path(place), home)
        try:
            while process.exitcode is None:
                if stop and stop.is_set():
                    raise KeyboardInterrupt
                process.join(0.2)
        except BaseException:
            _stop(process)
            raise
        seconds = time.monotonic() - start
        errors = (Path(place) / "errors.txt").read_text(encoding="utf-8", errors="replace")
    code = process.exitcode
    return Execution(output, seconds, describe_failure(path, output, code, errors) if code else "")


def _start(
    path: Path, output: Path, chosen: Mapping[str, object], environment: Mapping[str, str], folder: Path, home: Path
) -> BaseProcess:
    values = atomic_write(folder / "parameters.yml", yaml.safe_dump(dict(chosen), allow_unicode=True))
    arguments = [str(_as_ipynb(path, folder)), str(output.resolve()), "--parameters_file", str(values)]
    arguments += ["--kernel", KERNEL["name"], "--cwd", str(home.resolve()), "--no-progress-bar", "--log-level", "ERROR"]
    return forks.start(arguments, {**KERNEL_ENVIRONMENT, **os.environ, **environment}, folder / "errors.txt")


def _stop(process: BaseProcess) -> None:
    os.kill(process.pid or 0, signal.SIGINT if os.name == "posix" else signal.SIGTERM)
    process.join(STOP_SECONDS)
    process.kill()  # the kernel looks for its parent every second
    process.join()


def describe_failure(path: Path, output: Path, code: int, errors: str) -> str:
    """Describe a failed run in a paragraph: the cell, its code, its error, and where the partial run lies.

    ``code`` and ``errors`` are papermill's exit code and what it wrote; ``output`` may not exist.
    """
    cells = nbformat.read(output, as_version=4).cells if output.is_file() else []
    failed = [(cell, one) for cell in cells for one in cell.get("outputs", ()) if one.output_type == "error"]
    begun = [cell.source for cell in cells if cell.metadata.get("papermill", {}).get("status") not in (None, "pending")]
    if failed:
        cell, error = failed[0]
        where, source = f"failed in cell [{cell.execution_count}]", cell.source
        reason = f"{error.ename}: {error.evalue}"
    else:
        source = begun[-1] if code == DEAD_KERNEL and begun else ""
        where = f"was stopped{' in this cell' * bool(source)}"
        reason = next((line.strip() for line in errors.splitlines()[::-1] if line.strip()), "papermill said nothing")
    shown = "".join(f"    {line}\n" for line in source.strip().splitlines())
    kept = f"\nThe partly executed notebook is kept at {output}" if output.is_file() else ""
    return f"{path} {where}:\n{shown}  {reason}{kept}"


def _as_ipynb(path: Path, folder: Path) -> Path:
    return atomic_write(folder / f"{path.stem}.ipynb", pair(path))
