"""A uniform sample of the rows of passages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar, final

from bridge.reservoir import Reservoir
from bridge.verbalizers import Passage

T = TypeVar("T")


@final
class Drawn(Generic[T]):
    """Draws rows of a stream of passages uniformly, without replacement, and keeps what an example needs of each.

    Args:
        count: Number of rows to draw.
        seed: Seed of the draw.
        keep: Makes an example of a passage and the number of one of its rows.
        first: Number of rows at the start of each passage that are not drawn.
    """

    def __init__(self, count: int, seed: int, keep: Callable[[Passage, int], T], first: int = 0) -> None:
        self._count, self._draw, self._keep, self._first = count, Reservoir(count, seed), keep, first
        self._kept: list[T] = []

    def see(self, passage: Passage) -> None:
        """Draw from the next passage."""
        for row in self._draw.admit(max(len(passage.x) - self._first, 0)).tolist():
            self._kept.append(self._keep(passage, self._first + row))
        # Not at every passage, because sorting would take most of the time.
        if self._draw.excess >= self._count:
            self._kept = [self._kept[index] for index in self._draw.trim()]

    def examples(self) -> list[T]:
        """Return the examples in random order."""
        self._kept = [self._kept[index] for index in self._draw.trim()]
        return [self._kept[index] for index in self._draw.shuffled()]
