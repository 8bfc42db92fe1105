"""Moments of streamed rows: products of blocks in float32 or float64, tile by tile on all threads, summed in float64.

A float32 product of k rows has an error of about sqrt(k) roundings, independent between blocks, so the relative error
of the sum over many blocks is far smaller: 1e-9 of the rows' scatter at 200,000 rows. `bridge.precision` decides
whether this error is acceptable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import chain, pairwise
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from bridge.moments import Array, Moments
from bridge.products import Block, HostProducts, Products
from bridge.workers import Workers

__all__ = ["RowSums"]

PROBE = 128
"""Number of columns of each side on which the rounding of a product is measured, in every block."""


@final
class RowSums:
    """Adds up blocks of paired rows in place, in O((d_src + d_dst)^2) memory for any number of rows.

    Blocks are centred by the mean of the first block before the product, so that large means cost no digits; the
    remaining mean is subtracted at the end.

    Args:
        d_src: Width of the source rows.
        d_dst: Width of the destination rows.
        dtype: Dtype of the products: float32 or float64.
        workers: Threads for the products.
        scatter: Whether to sum x x' and y y' too; else only x y'.
        products: Where the products are computed; by default on the CPU.
    """

    def __init__(
        self,
        d_src: int,
        d_dst: int,
        dtype: type[np.floating],
        workers: Workers,
        *,
        scatter: bool = True,
        products: Products | None = None,
    ) -> None:
        self.dtype = dtype
        self.n = 0
        self._workers = workers
        self._where = products or HostProducts()
        cuts = partial(_cuts, tile=self._where.tile, workers=workers.count)
        self._cuts = cuts(d_src), cuts(d_dst)
        self._shifts: tuple[Block, Block] | None = None
        self._sums = np.zeros(d_src), np.zeros(d_dst)
        sides = [(0, 1), (0, 0), (1, 1)] if scatter else [(0, 1)]
        self._products = {pair: self._tiles(*pair) for pair in sides}
        self._blocks = 0
        self._squared_errors = dict.fromkeys(self._products, 0.0)

    def _tiles(self, left: int, right: int) -> dict[tuple[int, int], Any]:
        """Zeros for every tile; for a symmetric product only for the lower half."""
        return {
            (i, j): self._where.zeros(a.stop - a.start, b.stop - b.start)
            for i, a in enumerate(self._cuts[left])
            for j, b in enumerate(self._cuts[right])
            if left != right or j <= i
        }

    def add(self, x: NDArray[np.floating], y: NDArray[np.floating]) -> None:
        """Add paired rows, (n, d_src) and (n, d_dst)."""
        if not len(x):
            return
        if self._shifts is None:
            self._shifts = self._shift(x), self._shift(y)
        sides = [self._centred(side, rows) for side, rows in enumerate((x, y))]
        tasks = {
            (left, right): [(tile, sides[left][i], sides[right][j]) for (i, j), tile in tiles.items()]
            for (left, right), tiles in self._products.items()
        }
        self._workers.map(lambda task: self._where.add(*task), chain.from_iterable(tasks.values()))
        if self.dtype == np.float32:
            for pair, of_one in tasks.items():
                _, left, right = of_one[self._blocks % len(of_one)]
                self._squared_errors[pair] += (len(x) * self._where.rounding(left[:, :PROBE], right[:, -PROBE:])) ** 2
        self.n += len(x)
        self._blocks += 1

    def _shift(self, rows: NDArray[np.floating]) -> Block:
        """Return the means rounded to a sixteenth of the spread: few digits, so that subtraction rounds little."""
        mean, spread = rows.mean(0, dtype=np.float64), rows.std(0, dtype=np.float64)
        grid = 2.0 ** np.floor(np.log2(np.maximum(spread, np.abs(mean) * 1e-6 + np.finfo(np.float32).tiny) / 8))
        shift: Block = (np.round(mean / grid) * grid).astype(self.dtype)
        return shift

    def _centred(self, side: int, rows: NDArray[np.floating]) -> list[Any]:
        """Cut the rows into tiles of columns, centre them, and add up the remaining means."""
        assert self._shifts is not None
        shift, total = self._shifts[side], self._sums[side]

        def tile(columns: slice) -> Any:
            centred: Block = np.subtract(rows[:, columns], shift[columns]).astype(self.dtype, copy=False)
            total[columns] += centred.sum(0, dtype=np.float64)
            return self._where.placed(centred)

        return self._workers.map(tile, self._cuts[side])

    def means(self) -> tuple[Array, Array]:
        """Return the means of the rows so far, (d_src,) and (d_dst,) float64."""
        x, y = (
            total / max(self.n, 1) + (0 if self._shifts is None else self._shifts[side])
            for side, total in enumerate(self._sums)
        )
        return x, y

    def moments(self) -> Moments:
        """Return the moments of the rows so far."""
        return Moments(self.n, *self.means(), self.product(0, 0), self.product(0, 1), self.product(1, 1))

    def product(self, left: int, right: int) -> Array:
        """Return the centred second moment of two sides (0 is x, 1 is y)."""
        rows, columns = self._cuts[left], self._cuts[right]
        whole = np.empty((rows[-1].stop, columns[-1].stop))
        for (i, j), tile in self._products[left, right].items():
            a, b = rows[i], columns[j]
            whole[a, b] = self._where.fetched(tile) - np.outer(self._sums[left][a], self._sums[right][b]) / max(
                self.n, 1
            )
            if left == right and i != j:
                whole[b, a] = whole[a, b].T
        return whole

    def rounding(self) -> float:
        """Return the measured error of the float32 products, in units of the root of the columns' scatters."""
        drift = 1.0
        for side, total in enumerate(self._sums):
            for i, columns in enumerate(self._cuts[side]):
                square = np.diag(self._where.fetched(self._products[side, side][i, i]))
                left = np.maximum(square - total[columns] ** 2 / max(self.n, 1), np.finfo(float).tiny)
                drift = max(drift, float(np.max(square / left, where=square > 0, initial=1.0)))
        return drift * float(np.sqrt(max(self._squared_errors.values()))) / max(self.n, 1)


def _cuts(width: int, tile: int, workers: int) -> Sequence[slice]:
    """Cut columns into tiles, so that every worker gets several products of two tiles."""
    number = max(-(-width // tile), min(math.isqrt(workers - 1) + 1, -(-width // PROBE)))
    edges = np.linspace(0, width, number + 1).astype(int).tolist()
    return [slice(*pair) for pair in pairwise(edges)]
