"""The contract of engines: where the independent items of a stage are worked off.

A stage that has many independent items (shards to collect, layer pairs to score, vectors to explain) describes them as
`Work` and opens a pool of workers for it. The engine decides where the workers are and how many; it has no influence
on the results.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar, final

__all__ = ["Engine", "Pool", "Work", "in_turn"]

Item = TypeVar("Item")
Result = TypeVar("Result")


@final
@dataclass(frozen=True)
class Work(Generic[Item, Result]):
    """Work for any number of equal workers.

    Attributes:
        name: Name of the work in notes and errors, as `collect gemma3-270m`.
        here: Opens a worker in this process: the function from an item to its result, within a context, whose end gives
            back what the worker holds.
        elsewhere: Opens an equal worker in another process. It is plain data that pickle can copy, as are items and
            results. A worker may hold a model, so open one and let it do many items.
        device: The device of a worker, as torch names it: `cpu`, `cuda`, `cuda:1`, `mps`.
        versions: The distributions that every worker's environment must have, and their versions.
        folder: The folder that all workers must share with this process.
        variables: Environment variables of this process that a worker must have.
    """

    name: str
    here: Callable[[], AbstractContextManager[Callable[[Item], Result]]]
    elsewhere: Callable[[], AbstractContextManager[Callable[[Item], Result]]]
    device: str
    versions: Mapping[str, str]
    folder: Path
    variables: Mapping[str, str]


class Pool(ABC):
    """Workers that are opened when the first items come, and keep what they hold until the pool is closed."""

    @abstractmethod
    def run(self, items: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """Do every item once and yield the results as they are finished, in any order.

        Args:
            items: The items.

        Yields:
            The index of an item, and its result.

        Raises:
            BridgeError: The error of an item, unchanged; other items may then be left undone.
            EngineError: If workers cannot be had, or an item ends every worker that does it.
        """


@contextmanager
def in_turn(here: Callable[[], AbstractContextManager[Callable[[Item], Result]]]) -> Iterator[Pool]:
    """Do items one after the other in this process.

    Args:
        here: Opens the worker, when the first item comes; see `Work.here`.

    Yields:
        A pool of one worker.
    """
    with ExitStack() as opened:
        pool = _InTurn(lambda: opened.enter_context(here()))
        yield pool
        pool.forget()  # before the context ends, which gives memory back


@final
class _InTurn(Pool):
    def __init__(self, here: Callable[[], Callable[[Any], Any]]) -> None:
        self._open = here
        self._worker: Callable[[Any], Any] | None = None

    def run(self, items: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        for index, item in enumerate(items):
            if self._worker is None:
                self._worker = self._open()
            yield index, self._worker(item)

    def forget(self) -> None:
        """Drop the worker."""
        self._worker = None


@dataclass(frozen=True)
class Engine(ABC):
    """A place for workers. A frozen dataclass: its fields are the options that `--engine name:option=value` sets.

    Laws, checked by `bridge.testing.check_engine`:
        - Every item is done once, and its result is that of `here`, in every run of a pool.
        - The error of an item comes out as the item raised it, with its cause and remedy; the engine can be opened
          again afterwards.
        - Workers elsewhere with another version of a distribution do nothing: an `EngineError` names it.
    """

    name: ClassVar[str]
    """Unique among installed engines."""

    summary: ClassVar[str]
    """One line: where the workers are."""

    @abstractmethod
    def open(self, work: Work[Any, Any], note: Callable[[str], None]) -> AbstractContextManager[Pool]:
        """Return a pool for some work, which is closed when its context ends.

        Args:
            work: The work.
            note: Receives sentences for the user: where the workers are, which were lost.

        Returns:
            A context manager of the pool.

        Raises:
            EngineError: If the engine cannot be reached, or a worker's environment or folder is another one.
        """
