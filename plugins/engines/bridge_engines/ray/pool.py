"""A pool of Ray actors: every item goes to a free actor, and to another one if its actor is lost."""

from __future__ import annotations

import os
import platform
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, final

from bridge.engines import Pool, Work
from bridge.errors import BridgeError, EngineError
from bridge_engines.ray.cluster import first_line, look

TRIES = 4
"""Number of workers that may be lost with the same item, before the item is taken for the reason."""

CLOSING = 30.0
"""Seconds for workers to give back what they hold."""

PATIENCE = 30.0
"""Seconds without any news after which the user is told what the pool waits for."""


@final
class Worker:
    """The actor: opens a worker, and does items.

    Args:
        elsewhere: Opens the worker.
        variables: Environment variables that it needs.
        versions: The distributions that it needs: its node may have joined the cluster after the check of all nodes.
        witness: A file that it must see in the shared store.
    """

    def __init__(
        self,
        elsewhere: Callable[[], AbstractContextManager[Callable[[Any], Any]]],
        variables: Mapping[str, str],
        versions: dict[str, str],
        witness: str,
    ) -> None:
        self._given = elsewhere, variables, versions, witness
        self._do: Callable[[Any], Any] | None = None
        self._opened = ExitStack()

    def ready(self) -> None:
        """Open the worker. An error of the constructor would reach nobody: the actor would just be dead.

        Raises:
            EngineError: If the node has other versions, or another folder.
        """
        elsewhere, variables, versions, witness = self._given
        if fault := look()(versions, witness):
            raise EngineError(f"The node {platform.node()} cannot work: it {fault}.")
        os.environ.update(variables)
        self._do = self._opened.enter_context(elsewhere())

    def do(self, item: Any) -> Any:
        """Return the result of an item, once `ready` has returned."""
        assert self._do is not None
        return self._do(item)

    def close(self) -> None:
        """Give back what the worker holds, as a server that it started."""
        self._do = None
        self._opened.close()


@final
class RayPool(Pool):
    """Actors that are started when items come, and replaced when they are lost.

    Ray could restart lost actors itself, but a restarted actor keeps its item while it waits for a free node, and
    nobody else does it. Here a lost actor's item goes to the next free actor.

    Args:
        work: The work.
        witness: A file in the store, which every worker must see.
        each: CPUs and GPUs of an actor.
        most: Maximal number of actors.
        note: Receives sentences for the user.
    """

    def __init__(
        self, work: Work[Any, Any], witness: Path, each: tuple[float, float], most: int, note: Callable[[str], None]
    ) -> None:
        import ray

        cpus, gpus = each

        self._name, self._most, self._note = work.name, most, note
        self._kind = ray.remote(num_cpus=cpus, num_gpus=gpus, max_restarts=0, scheduling_strategy="SPREAD")(Worker)
        self._given = ray.put(work.elsewhere), dict(work.variables), dict(work.versions), str(witness)
        self._starting: dict[Any, Any] = {}
        self._free: list[Any] = []
        self._doing: dict[Any, tuple[Any, int]] = {}

    def run(self, items: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """Do every item and yield the results as they are finished.

        Raises:
            BridgeError: The error of an item, unchanged.
            EngineError: If an item, or the start, ends every worker.
        """
        import ray

        todo, tries, told = deque(range(len(items))), Counter[int](), False
        try:
            while todo or self._doing:
                self._hire(len(todo) + len(self._doing))
                while todo and self._free:
                    actor, index = self._free.pop(), todo.popleft()
                    self._doing[actor.do.remote(items[index])] = actor, index
                news, _ = ray.wait([*self._doing, *self._starting], timeout=PATIENCE)
                if not news and self._starting and not self._doing and not told:
                    told = True
                    self._note(
                        f"{self._name}: {len(self._starting)} workers are not ready after {PATIENCE:.0f} s: they start "
                        "slowly, or other jobs use the resources of the Ray cluster (see `ray status`)."
                    )
                for reference in news:
                    actor, index = self._doing.pop(reference) if reference in self._doing else (None, -1)
                    actor = actor or self._starting.pop(reference)
                    try:
                        result = ray.get(reference)
                    except ray.exceptions.RayTaskError as error:
                        raise _original(error) from None
                    except ray.exceptions.RayError as error:
                        self._replace(index, tries, error)
                        if index >= 0:
                            todo.appendleft(index)
                        continue
                    self._free.append(actor)
                    if index >= 0:
                        yield index, result
        finally:  # a run that is left before its end: its workers would answer in the next one
            for actor, _ in self._doing.values():
                ray.kill(actor)
            self._doing.clear()

    def close(self) -> None:
        """End all actors."""
        import ray

        if not ray.is_initialized():  # the connection was closed before
            return
        if closing := [actor.close.remote() for actor in self._free]:
            ray.wait(closing, num_returns=len(closing), timeout=CLOSING)
        # Actors that still work are interrupted; what they hold ends with their process.
        for actor in (*self._free, *self._starting.values()):
            ray.kill(actor)

    def _hire(self, items: int) -> None:
        there = len(self._free) + len(self._starting) + len(self._doing)
        for _ in range(min(items, self._most) - there):
            actor = self._kind.remote(*self._given)
            self._starting[actor.ready.remote()] = actor

    def _replace(self, index: int, tries: Counter[int], error: Exception) -> None:
        """Tell that a worker was lost; refuse to go on if the item itself is the reason."""
        tries[index] += 1
        why = first_line(error)
        if tries[index] >= TRIES * (1 if index >= 0 else self._most):
            what = f"item {index + 1}" if index >= 0 else "the start"
            raise EngineError(
                f"{self._name}: {what} ended {tries[index]} workers one after the other ({why}).",
                cause="The memory of a node or GPU is too small, a library crashed, or the nodes stop.",
                remedy="Read the logs under /tmp/ray/session_latest/logs on the node, give workers more CPUs or GPUs "
                "(--engine ray:cpus=4,gpus=2), or try --engine local. What is finished is kept.",
            ) from error
        self._note(f"{self._name}: a worker was lost ({why}); another one does its item again.")


def _original(error: Any) -> BaseException:
    """Return the exception that a worker raised, as it was raised."""
    original = error.cause
    return original if isinstance(original, BaseException) else BridgeError(str(error))
