"""Which job is started next."""

from pathlib import Path

import pytest

from tada.book import schedule
from tada.book.schedule import Job, next_job, ranked


def order(jobs: list[Job], total: int) -> list[list[str]]:
    """The jobs in the order of their starts, all that start at one time together; the shortest ends first."""
    waiting, running, starts = ranked(jobs), list[Job](), list[list[str]]()
    while waiting or running:
        begun = []
        while True:
            free = total - sum(min(job.slots, total) for job in running)
            job = next_job(waiting, {one.name for one in [*waiting, *running]}, free, total)
            if job is None:
                break
            waiting.remove(job)
            running.append(job)
            begun.append(job.name)
        if begun:
            starts.append(begun)
        running.remove(min(running, key=lambda one: one.seconds))
    return starts


def test_the_longest_chain_comes_first() -> None:
    jobs = [
        Job("short", seconds=5),
        Job("long", seconds=30),
        Job("end", ("begin",), seconds=20),
        Job("begin", seconds=20),
    ]
    assert [job.name for job in ranked(jobs)] == ["begin", "long", "end", "short"]
    assert order(jobs, 1) == [["begin"], ["long"], ["end"], ["short"]]


def test_as_many_as_fit_run_and_a_wide_one_takes_its_share() -> None:
    jobs = [Job("a", seconds=9), Job("wide", slots=2, seconds=8), Job("b", seconds=3), Job("c", seconds=2)]
    assert order(jobs, 3) == [["a", "wide"], ["b", "c"]]
    assert order(jobs, 2) == [["a", "b"], ["c"], ["wide"]]
    assert order([Job("huge", slots=64), Job("small", seconds=1)], 2) == [["huge"], ["small"]]


def test_a_job_waits_for_those_before_it_that_are_there() -> None:
    jobs = [Job("reads", ("writes", "left out")), Job("writes")]
    assert order(jobs, 4) == [["writes"], ["reads"]]


def test_jobs_that_wait_for_each_other_are_an_error() -> None:
    with pytest.raises(ValueError, match="none can be first"):
        ranked([Job("a", ("b",)), Job("b", ("c",)), Job("c", ("a",))])


def test_processes_are_bounded_by_cores_and_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    report = tmp_path / "meminfo"
    report.write_text("MemTotal:       16000000 kB\nMemAvailable:    5000000 kB\n")
    assert schedule.available(report) == 5_120_000_000
    assert schedule.available(tmp_path / "none") == float("inf")
    monkeypatch.setattr(schedule.os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    for free, expected in ((float("inf"), 8), (5e9, 2), (1e8, 1)):
        monkeypatch.setattr(schedule, "available", lambda free=free: free)
        assert schedule.processes() == expected
