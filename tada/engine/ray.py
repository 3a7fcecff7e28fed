"""Machines of a Ray cluster as an executor: actors that each keep a model loaded, and start again where they die."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

from tada.errors import MissingPackageError


class Actors(ThreadPoolExecutor):
    """Actors of Ray, each of which computes what the next free one is given: ``Setting(executor=tada.ray.Actors(8))``.

    Args:
        workers: how many, anywhere in the cluster that ``ray.init`` connected to.
        resources: of each, as for Ray's ``options``, such as ``num_gpus=1``.

    Raises:
        MissingPackageError: no Ray.
    """

    def __init__(self, workers: int, **resources: Any) -> None:
        try:
            import ray
        except ImportError:
            raise MissingPackageError("Ray is missing: pip install ray") from None
        self._get, self._free = ray.get, SimpleQueue[Any]()
        actor = ray.remote(max_restarts=-1, max_task_retries=-1, **resources)(Actor)
        for _ in range(workers):
            self._free.put(actor.remote())
        super().__init__(workers)

    def submit(self, work: Callable[..., Any], /, *args: Any, **options: Any) -> Future[Any]:
        """Hand a call on to the actor that is free first."""
        return super().submit(self._run, work, args, options)

    def _run(self, *call: Any) -> Any:
        actor = self._free.get()
        try:
            return self._get(actor.run.remote(*call))
        finally:
            self._free.put(actor)


class Actor:
    """What runs in a process of Ray."""

    def run(self, work: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Make a call."""
        return work(*args, **options)
