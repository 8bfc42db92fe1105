"""A uniform sample of a stream of unknown length."""

from __future__ import annotations

from typing import final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Reservoir"]


@final
class Reservoir:
    """Selects rows of a stream uniformly, without replacement, by seed.

    Every row gets a random key; the rows with the smallest keys are the sample, independent of the blocks of the
    stream. The caller stores the rows: it appends the rows that `admit` returns, and from time to time reduces the
    stored rows to those that `trim` returns.

    Args:
        count: Number of rows to draw; all rows if the stream has fewer.
        seed: Seed of the draw.
    """

    def __init__(self, count: int, seed: int) -> None:
        self._count, self._rng = count, np.random.default_rng(seed)
        self._keys, self._bar = np.empty(0), np.inf

    @property
    def excess(self) -> int:
        """Number of stored rows minus the number to draw; negative while too few rows are stored."""
        return len(self._keys) - self._count

    def admit(self, rows: int) -> NDArray[np.intp]:
        """Return the candidates among the next rows; the caller appends them to the stored rows.

        Args:
            rows: Number of next rows.

        Returns:
            (admitted,) increasing indices into the next rows.
        """
        keys = self._rng.random(rows)
        admitted = np.flatnonzero(keys < self._bar)
        if len(admitted):
            self._keys = np.concatenate([self._keys, keys[admitted]])
        return admitted

    def trim(self) -> NDArray[np.intp]:
        """Return the stored rows that are still in the sample, at most `count`; the caller drops all others.

        Returns:
            (at most count,) indices into the stored rows, in the order of the stream.
        """
        remaining = np.sort(np.argsort(self._keys)[: self._count])
        self._keys = self._keys[remaining]
        if len(remaining) == self._count:
            self._bar = self._keys.max(initial=0.0)
        return remaining

    def shuffled(self) -> NDArray[np.intp]:
        """Return the stored rows in random order.

        Returns:
            (stored,) indices into the stored rows, by increasing key.
        """
        return np.argsort(self._keys)
