"""A uniform sample of a stream, without knowing how many rows will come."""

from __future__ import annotations

from typing import final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Reservoir"]


@final
class Reservoir:
    """Says which rows of a stream are drawn: uniformly, without replacement, by seed.

    Every row is given a random key; those with the smallest keys are the sample, however the stream is cut into blocks.
    Whoever reads the stream keeps the rows themselves: those that `admit` names, and of these, now and then, only those
    that `trim` names.

    Args:
        count: How many rows to draw; all, where fewer come.
        seed: Of the draw.
    """

    def __init__(self, count: int, seed: int) -> None:
        self._count, self._rng = count, np.random.default_rng(seed)
        self._keys, self._bar = np.empty(0), np.inf

    @property
    def excess(self) -> int:
        """How many more rows are kept than are to be drawn; negative while there are fewer."""
        return len(self._keys) - self._count

    def admit(self, rows: int) -> NDArray[np.intp]:
        """Return which of the next rows may be drawn, and are to be kept behind the others.

        Args:
            rows: How many come.

        Returns:
            (admitted,) indices into them, rising.
        """
        keys = self._rng.random(rows)
        admitted = np.flatnonzero(keys < self._bar)
        if len(admitted):
            self._keys = np.concatenate([self._keys, keys[admitted]])
        return admitted

    def trim(self) -> NDArray[np.intp]:
        """Return which of the rows kept so far are still to be kept: as many as are to be drawn.

        Returns:
            (at most count,) indices into what is kept, in the order of the stream.
        """
        remaining = np.sort(np.argsort(self._keys)[: self._count])
        self._keys = self._keys[remaining]
        if len(remaining) == self._count:
            self._bar = self._keys.max(initial=0.0)
        return remaining

    def shuffled(self) -> NDArray[np.intp]:
        """Return the rows kept so far in random order.

        Returns:
            (kept,) indices into what is kept, by rising key.
        """
        return np.argsort(self._keys)
