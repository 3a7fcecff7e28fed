"""Jobs side by side: which is started next, given what each waits for and how many processes it takes."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from tada.errors import InputError

UNKNOWN = 60.0
"""Seconds that a job is taken to last while nothing is known of it."""

MEMORY = 2e9
"""Bytes that are kept free for each process."""


@dataclass(frozen=True)
class Job:
    """A piece of work.

    Attributes:
        name: of it.
        after: names of jobs that must be done first; those that are not there count as done.
        slots: processes that it takes.
        seconds: that it is expected to last.
    """

    name: str
    after: tuple[str, ...] = ()
    slots: int = 1
    seconds: float = UNKNOWN


def ranked(jobs: Sequence[Job]) -> list[Job]:
    """The jobs with the longest chain of work first: a job's own seconds and those of what waits for it.

    Raises:
        ValueError: jobs that wait for each other.
    """
    known = {job.name: job for job in jobs}
    waiting = {name: [job.name for job in jobs if name in job.after] for name in known}
    chains: dict[str, float] = {}

    def chain(name: str, path: tuple[str, ...] = ()) -> float:
        if name in path:
            raise InputError(f"{' waits for '.join(reversed((*path[path.index(name) :], name)))}: none can be first")
        if name not in chains:
            later = [chain(other, (*path, name)) for other in waiting[name]]
            chains[name] = known[name].seconds + max(later, default=0.0)
        return chains[name]

    return sorted(jobs, key=lambda job: -chain(job.name))


def next_job(waiting: Sequence[Job], unfinished: Collection[str], free: int, total: int) -> Job | None:
    """The first job that may start now; one that wants more than there is takes all.

    Args:
        waiting: not started, as from :func:`ranked`.
        unfinished: names of all jobs that are not done.
        free: slots that are free.
        total: slots in all.
    """
    for job in waiting:
        if min(job.slots, total) <= free and not any(name in unfinished for name in job.after):
            return job
    return None


def processes(memory: float = MEMORY) -> int:
    """How many processes this machine has cores and free memory for, one at least."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min(cores, available() / memory)))


def available(report: Path = Path("/proc/meminfo")) -> float:
    """Bytes of memory that can be had without swapping; infinite where the system does not say."""
    try:
        lines = dict(line.split(":", 1) for line in report.read_text().splitlines())
        return float(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return float("inf")
