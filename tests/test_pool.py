"""Processes of this machine: an interrupt finds none that is half begun."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from tada.engine import pool


@pytest.fixture(autouse=True)
def _heeded() -> Iterator[None]:
    """Interrupts are heeded, also where the tests run in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupted(done: list[str], fails: bool = False) -> None:
    """Hold interrupts while another thread, which does not block them, takes one."""
    ready = threading.Event()
    other = threading.Thread(target=lambda: ready.wait() and os.kill(os.getpid(), signal.SIGINT))
    other.start()
    with pool._interrupts_held():
        ready.set()
        other.join()
        done.append("all")
        if fails:
            raise ValueError


@pytest.mark.parametrize("fails", [False, True])
def test_an_interrupt_that_another_thread_takes_waits_until_the_block_is_left(fails: bool) -> None:
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted(done, fails)
    assert done == ["all"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_outside_the_main_thread_nothing_is_held() -> None:
    found = []

    def look() -> None:
        with pool._interrupts_held():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [signal.default_int_handler]
