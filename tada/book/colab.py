"""Notebooks on Colab: what is there to run on, and the links and the first cell that bring a notebook there.

The theme's launch and download buttons lead to the file that a page was made from, which holds outputs and no
parameters, and to none where a notebook is several pages. :func:`launch_links` leads to the committed notebook.
"""

from __future__ import annotations

import importlib
import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from tada import escape
from tada.errors import InputError

INSTALL_HINT = "Install what the notebooks need: pip install 'tada-companion[book]'"
HOST = "https://colab.research.google.com"
PACKAGES = {"tada": "tada-companion"} | {name: name for name in ("torch", "numpy", "diffusers", "transformers")}


class RestartNeeded(RuntimeError):
    """A package was replaced after it had been loaded: the runtime has to be restarted once."""


class Setup(dict[str, str]):
    """What a notebook runs on, name -> value; the last line of its first cell shows it."""

    def __repr__(self) -> str:
        width = max(map(len, self))
        return "\n".join(f"{name:<{width}}  {value}" for name, value in self.items())

    def _repr_html_(self) -> str:
        cells = ((escape.html(name), escape.html(value)) for name, value in self.items())
        rows = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in cells)
        return f'<table class="dataframe tada-table">{rows}</table>'


def setup(library: Any = None) -> Setup:
    """Look at the machine before a notebook runs: versions, GPU, time, and what will be downloaded.

    Args:
        library: the package, whose public checkpoints could be loaded; their sizes are shown on Colab.

    Raises:
        RestartNeeded: a loaded package is not the one that is installed now.
    """
    check_loaded()
    download = "nothing, the minis ship along"
    if library is not None and ("google.colab" in sys.modules or os.environ.get("COLAB_RELEASE_TAG")):
        sizes = (f"{one.hub_id}: {size_of(one.hub_id)}" for one in library.ARCHITECTURES.values())
        download += f". With the checkpoint `public`: {'; '.join(sizes)}"
    return Setup(
        {
            **{name: number for name, number in versions().items() if number},
            "GPU": gpu_name() or "none: the minis run on the CPU, public checkpoints want a GPU of 16 GB or more",
            "CPU cores": str(os.cpu_count()),
            "time": now(),
            "to be downloaded": download,
        }
    )


def installed_version(package: str) -> str:
    """Return the version of an installed package, empty if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def versions() -> dict[str, str]:
    """Return the versions of Python, of the package and of the libraries underneath it; empty if not installed."""
    return {"Python": platform.python_version()} | {name: installed_version(it) for name, it in PACKAGES.items()}


def now() -> str:
    """Return date and minute in universal time."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def check_loaded() -> None:
    """Raise RestartNeeded where a package in memory is of another version than the one on disk."""
    for name in ("numpy", "torch", "transformers", "diffusers"):
        loaded = getattr(sys.modules.get(name), "__version__", None)
        found = installed_version(name)
        if loaded and found and loaded.partition("+")[0] != found.partition("+")[0]:
            raise RestartNeeded(
                f"{name} {loaded} is loaded, but {found} was installed after that. Restart the runtime once "
                "(Runtime > Restart session) and run this cell again; nothing has been downloaded yet."
            )


def gpu_name() -> str:
    """Return name and memory of the GPU, empty where torch finds none."""
    import torch

    if not torch.cuda.is_available():
        return ""
    device = torch.cuda.get_device_properties(0)
    return f"{device.name}, {device.total_memory / 1e9:.0f} GB"


def size_of(checkpoint: str) -> str:
    """Return the size of a public checkpoint's files as the hub gives it, or why it is not known."""
    try:
        files = importlib.import_module("huggingface_hub").model_info(checkpoint, files_metadata=True, timeout=10)
        return f"at most {sum(one.size or 0 for one in files.siblings) / 1e9:.1f} GB"
    except Exception as error:  # offline, gated, misspelt: each is said in full when the checkpoint is loaded
        return f"size unknown ({type(error).__name__})"


# ---- from a page to its notebook


def repository(path: Path) -> tuple[str, str]:
    """Return URL and branch or tag of the public repository of the checkout that holds a file; empty if it has none.

    The theme's own option cannot be asked: it names another project where nothing is set.
    """
    import yaml

    settings = [folder / "_config.yml" for folder in (path, *path.resolve().parents)]
    found = next((yaml.safe_load(file.read_text(encoding="utf-8")) for file in settings if file.is_file()), None)
    public = (found or {}).get("repository") or {}
    return public.get("url") or "", public.get("branch") or "main"


def link(url: str, ref: str, path: str) -> str:
    """Return the address that opens a notebook, ``path`` in a GitHub repository at a branch or tag, in Colab.

    Raises:
        InputError: not a repository on GitHub, the only host that Colab opens.
    """
    parts = urlsplit(url)
    names = parts.path.strip("/").removesuffix(".git").split("/")
    if parts.netloc != "github.com" or len(names) != 2:
        raise InputError(f"got repository.url={url!r}; expected https://github.com/NAME/REPOSITORY, or nothing")
    return f"{HOST}/github/{names[0]}/{names[1]}/blob/{quote(ref)}/{quote(path)}"


def launch_links(url: str, ref: str, name: str) -> str:
    """Write the links from a page to the notebook beside it: in Colab, if there is a repository, and to a download."""
    there = f'<a href="{escape.html(link(url, ref, f"notebooks/{name}.ipynb"))}">Open in Colab</a> ' if url else ""
    return (
        f'<p class="tada-doors">{there}<a href="{name}.ipynb" download="{name}.ipynb">Download this notebook</a> '
        '<a href="../book/rerun.html">How to run it</a></p>'
    )


def first_cell(url: str, ref: str) -> str:
    """Return the code that a notebook starts with: on Colab it installs the package, elsewhere nothing.

    Without the URL of a repository the package's wheel beside the notebook is installed.
    """
    return FIRST_CELL.format(source=f'"tada-companion @ git+{url}@{ref}"' if url else "tada_companion-*.whl")


FIRST_CELL = """\
import sys

if "google.colab" in sys.modules:  # only there; its own torch and numpy are kept
    %pip install --quiet {source}

import tada.book.colab

tada.book.colab.setup(library=tada)"""
