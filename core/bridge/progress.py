"""Progress of long stages, independent of terminals."""

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
            units: Number of finished units.
        """


class Progress(ABC):
    """Receives the stages of a run. The command line draws bars; Python callers are silent by default."""

    @abstractmethod
    @contextmanager
    def stage(self, name: str, total: int, unit: str) -> Iterator[Advance]:
        """Open a stage of `total` units and yield the function that advances it.

        Args:
            name: Name of the stage, in one or two words.
            total: Number of units.
            unit: Name of a unit, as `texts`.

        Returns:
            A context manager; call its value with the number of finished units.
        """

    @abstractmethod
    def note(self, message: str) -> None:
        """Show the user one sentence.

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
