"""The process of a notebook, which runs papermill, and that of its kernel, as forks of one for all.

To import torch, diffusers and the rest takes longer than many a page computes, and a fork has what was imported before.
Where processes cannot be forked safely (other systems than Linux) each begins with nothing, and does the same.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import EntryPoint
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from jupyter_client.provisioning import KernelProvisionerFactory, LocalProvisioner

FORKING = sys.platform == "linux"
PRELOADED = "tada.book.preloaded"
PROVISIONER = "tada-fork"
"""Name of :class:`ForkProvisioner` to Jupyter."""

_waiting: list[WaitingKernel] = []
"""The process that will be the kernel of this process's notebook."""


def preload() -> None:
    """Have the first process that starts import what pages do, for all of them; one alone would have to wait for it."""
    if FORKING:
        multiprocessing.get_context("forkserver").set_forkserver_preload([PRELOADED])


def start(arguments: Sequence[str], environment: Mapping[str, str], errors: Path) -> BaseProcess:
    """Start papermill in a process and session of its own, which ends when this one does, however that is ended.

    ``environment`` are all variables of the process and its kernel; what it writes to stderr goes into ``errors``, and
    what it writes to stdout is dropped.
    """
    context: Any = multiprocessing.get_context("forkserver" if FORKING else "spawn")
    process: BaseProcess = context.Process(target=_run, args=(list(arguments), dict(environment), errors))
    process.start()
    return process


def _run(arguments: list[str], environment: dict[str, str], errors: Path) -> None:
    os.environ.clear()
    os.environ.update(environment)
    if hasattr(os, "setsid"):
        os.setsid()  # an interrupt from the keyboard reaches our parent alone, which stops us
    with errors.open("wb") as file, Path(os.devnull).open("r+b") as nothing:
        for source, target in ((nothing, 0), (nothing, 1), (file, 2)):
            os.dup2(source.fileno(), target)
    if FORKING:
        _waiting.append(WaitingKernel())  # while there is one thread
        known = KernelProvisionerFactory.instance()
        known.provisioners[PROVISIONER] = EntryPoint(PROVISIONER, f"{__name__}:ForkProvisioner", known.GROUP_NAME)
        known.default_provisioner_name = PROVISIONER
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from papermill.cli import papermill

    papermill(arguments)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


class WaitingKernel:
    """A forked process that waits for the command line of a kernel; polled, waited for and ended as a ``Popen`` is."""

    stdin = stdout = stderr = None

    def __init__(self) -> None:
        receiver, self.commands = multiprocessing.Pipe(duplex=False)
        self.process = multiprocessing.get_context("fork").Process(
            target=_become_kernel, args=(receiver, self.commands)
        )
        self.process.start()
        self.pid, self.kill, self.terminate = self.process.pid, self.process.kill, self.process.terminate

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self) -> int | None:
        self.process.join()
        return self.process.exitcode

    def send_signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid or 0, number)


def _become_kernel(commands: Connection, other_end: Connection) -> None:
    """Wait for a command line, folder and environment, and be that kernel; end where the parent ends without one."""
    from ipykernel.kernelapp import IPKernelApp

    os.setsid()
    other_end.close()
    with suppress(EOFError):
        arguments, folder, environment = commands.recv()
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        IPKernelApp.launch_instance([*arguments, f"--IPKernelApp.parent_handle={os.getppid()}"])


class ForkProvisioner(LocalProvisioner):
    """Starts a kernel of Python in the process that waits for it, and anything else as Jupyter does."""

    async def launch_kernel(self, cmd: list[str], **options: Any) -> Any:
        """Hand the kernel's command line to the waiting process."""
        if "ipykernel_launcher" not in cmd or not _waiting:
            return await super().launch_kernel(cmd, **options)
        kernel: Any = _waiting.pop()
        self.process, self.pid, self.pgid = kernel, kernel.pid, kernel.pid
        arguments = cmd[cmd.index("ipykernel_launcher") + 1 :]
        kernel.commands.send((arguments, options.get("cwd") or os.getcwd(), options["env"]))
        return self.connection_info
