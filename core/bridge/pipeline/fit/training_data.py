"""Training data of maps: moments of paired and mispaired training rows, in float32 where the error is small enough."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Protocol, final

import numpy as np
from numpy.typing import NDArray

from bridge.errors import MapError
from bridge.maps import TrainingData
from bridge.moments import Moments, pooled, total
from bridge.pairing.rows import Rows
from bridge.precision import TOLERANCE, expected_error
from bridge.products import HostProducts, Products, products_on
from bridge.row_sums import RowSums
from bridge.workers import Workers

WIDE = 256
"""Width below which float64 is always used, because it costs little."""

EARLY = 4
"""Rows per dimension after which float32 is abandoned if its error is clearly too large."""


class Parts(Protocol):
    """A source of rows: `bridge.pairing.rows.PairedRows`, or a benchmark."""

    def parts(self, folds: Collection[int]) -> Iterator[tuple[int, Rows]]:
        """Yield the fold's number and its rows, for every shard and fold, outliers left out."""


def training_data(
    rows: Parts,
    d_src: int,
    d_dst: int,
    folds: Sequence[int],
    *,
    expected: int = 0,
    reverse: bool = False,
    products: Products | None = None,
) -> TrainingData:
    """Compute moments of the training rows of some folds, without held-out documents and outliers.

    Args:
        rows: All paired rows.
        d_src: Width of the source model.
        d_dst: Width of the destination model.
        folds: The folds to use.
        expected: Approximate number of rows, if known: the error of float32 decreases with it.
        reverse: Whether maps will also be fitted on the reversed data, so that float32 must be exact enough for both.
        products: Where products are computed; by default on the CPU.
    """
    where = products or HostProducts()
    data = None
    if min(d_src, d_dst) >= WIDE:
        data = _in_float32(rows, (d_src, d_dst), folds, expected, 2 if reverse else 1, where)
    return data or _in_float64(rows, (d_src, d_dst), folds, where)


def mispaired_data(rows: Parts, training: TrainingData, folds: Sequence[int]) -> TrainingData:
    """Compute moments of the source rows of `training`, each paired with a destination row of another document.

    A map fitted on these rows is the floor. The rows are the same, so only X'Y is new: `xx` and `yy` are the arrays of
    `training`. If rows without a partner are left out, all moments are new.

    Raises:
        MapError: If most rows are left out.
    """
    dtype = np.float32 if training.products == "float32" else np.float64
    where = products_on(training.device)
    with Workers(where.threads) as workers:
        sums = [RowSums(training.d_src, training.d_dst, dtype, workers, scatter=False, products=where) for _ in folds]
        for fold, part in rows.parts(folds):
            x, y = mispair(part)
            if len(x) < len(part.x):
                return _fewer_rows(rows, training, folds)
            sums[folds.index(fold)].add(x, y)
    moments = tuple(replace(fold, xy=sums.pop(0).product(0, 1)) for fold in training.folds)
    whole = replace(training.moments, xy=pooled(moments, "x", "y"))
    blocks = _Blocks(rows, folds, mispaired=True)
    return TrainingData(moments, blocks, training.products, whole, device=training.device)


def mispair(rows: Rows) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Shift the destination's rows so far that no row keeps its partner or its document.

    The shift is a third of the rows: a shift by half is its own inverse and would count every wrong pair twice. If one
    document has more than half of the rows, this is impossible, and no rows are returned.
    """
    longest = int(np.unique(rows.document, return_counts=True)[1].max())
    shift = max(longest, len(rows.y) // 3)
    kept = slice(None) if shift + longest <= len(rows.y) else slice(0)
    return rows.x[kept], np.roll(rows.y, shift, axis=0)[kept]


def _fewer_rows(rows: Parts, training: TrainingData, folds: Sequence[int]) -> TrainingData:
    data = _in_float64(rows, (training.d_src, training.d_dst), folds, products_on(training.device), mispaired=True)
    if data.moments.n < training.moments.n / 2:
        raise MapError("most rows have no partner in another document: documents are too long or too few.")
    return data


def _in_float64(
    rows: Parts, widths: tuple[int, int], folds: Sequence[int], where: Products, mispaired: bool = False
) -> TrainingData:
    with Workers(where.threads) as workers:
        sums = [RowSums(*widths, np.float64, workers, products=where) for _ in folds]
        for fold, part in rows.parts(folds):
            sums[folds.index(fold)].add(*(mispair(part) if mispaired else (part.x, part.y)))
    return TrainingData(_moments(sums), _Blocks(rows, folds, mispaired), device=where.device)


def _in_float32(
    rows: Parts, widths: tuple[int, int], folds: Sequence[int], expected: int, ways: int, where: Products
) -> TrainingData | None:
    """Compute moments with float32 products; None if these are not exact enough."""
    looked = False
    with Workers(where.threads) as workers:
        sums = [RowSums(*widths, np.float32, workers, products=where) for _ in folds]
        for fold, part in rows.parts(folds):
            sums[folds.index(fold)].add(part.x, part.y)
            n = sum(fold.n for fold in sums)
            if not looked and EARLY * max(widths) <= n < expected / 2:
                looked = True
                error = _error(total(fold.moments() for fold in sums), _rounding(sums), ways)
                if error * np.sqrt(n / expected) > 2 * TOLERANCE:
                    return None
    rounding = _rounding(sums)
    data = TrainingData(_moments(sums), _Blocks(rows, folds), "float32", device=where.device)
    return data if _error(data.moments, rounding, ways) <= TOLERANCE else None


def _moments(sums: list[RowSums]) -> tuple[Moments, ...]:
    """Return the moments of every fold, and free the sums of each fold in turn."""
    return tuple(sums.pop(0).moments() for _ in range(len(sums)))


def _rounding(sums: Sequence[RowSums]) -> float:
    n = max(1, sum(fold.n for fold in sums))
    return float(np.sqrt(sum((fold.n * fold.rounding()) ** 2 for fold in sums))) / n


def _error(moments: Moments, rounding: float, ways: int) -> float:
    return max(expected_error(way, rounding) for way in (moments, moments.transposed())[:ways])


@final
class _Blocks:
    """Opens a stream over the rows of some folds; a map numbers its folds from 0."""

    def __init__(self, rows: Parts, folds: Sequence[int], mispaired: bool = False) -> None:
        self._rows, self._folds, self._mispaired = rows, folds, mispaired

    def __call__(
        self, folds: Collection[int] | None = None, /
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        wanted = self._folds if folds is None else [self._folds[index] for index in folds]
        for _, part in self._rows.parts(wanted):
            yield mispair(part) if self._mispaired else (part.x, part.y)
