"""Processes of this machine as an executor: they end with the block that began them, whatever ends that."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch

_ENDING = (signal.SIGINT, signal.SIGTERM)
"""Signals that interrupt where a handler is set for them."""


@contextmanager
def processes(workers: int) -> Iterator[Executor | None]:
    """Processes of this machine, with one thread each, as an executor; None for a single worker.

    They start when there is something for them to do, and no more of them than that takes.

    Whatever ends the caller's block early, such as an interrupt from the keyboard, ends them at once. They do not heed
    that interrupt themselves, though it reaches all processes of a terminal.
    """
    if workers <= 1:
        yield None
        return
    context = multiprocessing.get_context("spawn")
    with Processes(workers, context, initializer=_begin, initargs=(os.getpid(),)) as pool:
        yield pool


class Processes(ProcessPoolExecutor):
    """Processes that are ended where their block is left by an exception, with what they were given."""

    def __enter__(self) -> Processes:
        self._others = set(multiprocessing.active_children())
        return self

    def submit(self, work: Callable[..., Any], /, *args: Any, **options: Any) -> Future[Any]:
        """Hand on a call, for which a process may have to start."""
        with _interrupts_held():  # a process that is half begun could not be ended
            return super().submit(work, *args, **options)

    def __exit__(self, kind: type[BaseException] | None, *about: Any) -> None:
        if kind is not None:
            for process in set(multiprocessing.active_children()) - self._others:
                process.terminate()
        super().__exit__(kind, *about)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold interrupts until the block is left, and let processes that start in it ignore that of the keyboard.

    To block a signal is not enough: another thread takes it, and the main one is interrupted all the same.
    """
    held: list[int] = []
    main = threading.current_thread() is threading.main_thread()
    heeded = [number for number in _ENDING if main and callable(signal.getsignal(number))]
    before: dict[int, Any] = {
        number: signal.signal(number, lambda number, frame: held.append(number)) for number in heeded
    }
    blockable = hasattr(signal, "pthread_sigmask")  # not on Windows
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if blockable else set()
    try:
        yield
    finally:
        if blockable:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in held:
            signal.raise_signal(number)


def _begin(parent: int) -> None:
    """Prepare a process: one thread, and an end when the parent is gone."""
    torch.set_num_threads(1)
    threading.Thread(target=_exit_with_parent, args=(parent,), daemon=True).start()


def _exit_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
