"""How long stages tell the user about themselves, without the core knowing about terminals."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, final

__all__ = ["Advance", "Progress"]


class Advance(Protocol):
    """Called with the number of units just finished."""

    def __call__(self, units: int = 1) -> None:
        """Advance the current stage by `units`.

        Args:
            units: How many were finished.
        """


class Progress(ABC):
    """Receives the stages of a run. The command line draws bars; Python callers are silent by default."""

    @abstractmethod
    @contextmanager
    def stage(self, name: str, total: int, unit: str) -> Iterator[Advance]:
        """Open a stage of `total` units and yield the function that advances it.

        Args:
            name: What is done, in a word or two.
            total: How many units it has.
            unit: What a unit is, as `texts`.

        Returns:
            A context manager, whose value is called with the units that were finished.
        """

    @abstractmethod
    def note(self, message: str) -> None:
        """Tell the user one sentence.

        Args:
            message: The sentence.
        """


@final
class Silent(Progress):
    """Says nothing."""

    @contextmanager
    def stage(self, name: str, total: int, unit: str) -> Iterator[Advance]:
        """Yield a function that does nothing."""
        yield lambda units=1: None

    def note(self, message: str) -> None:
        """Say nothing."""
