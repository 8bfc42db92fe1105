"""What maps are fitted on: moments of the training rows, paired and mispaired; in float32 where that is enough."""

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
from bridge.row_sums import RowSums
from bridge.workers import Workers

WIDE = 256
"""Below this width float64 costs little."""

EARLY = 4
"""After so many rows for every dimension, float32 is given up where it will clearly not do."""


class Parts(Protocol):
    """Where rows come from: `bridge.pairing.rows.PairedRows`, or a benchmark."""

    def parts(self, folds: Collection[int]) -> Iterator[tuple[int, Rows]]:
        """Yield the rows of one fold in one shard at a time, outliers left out, with the fold's number."""


def training_data(
    rows: Parts, d_src: int, d_dst: int, folds: Sequence[int], *, expected: int = 0, reverse: bool = False
) -> TrainingData:
    """Summarise the training rows of some folds; held-out documents and outliers are never among them.

    Args:
        rows: All paired rows.
        d_src: Width of the source model.
        d_dst: Width of the destination model.
        folds: Which folds to use.
        expected: About how many rows there are, if known: the error of float32 falls with their number.
        reverse: Maps will be fitted on the reversed data too, so float32 must do for both.
    """
    data = None
    if min(d_src, d_dst) >= WIDE:
        data = _in_float32(rows, (d_src, d_dst), folds, expected, 2 if reverse else 1)
    return data or _in_float64(rows, (d_src, d_dst), folds)


def mispaired_data(rows: Parts, training: TrainingData, folds: Sequence[int]) -> TrainingData:
    """Summarise the source rows of `training`, each with a destination row of another document.

    What a map learns from these is the floor. The rows are the same, so only their products with each other are new:
    `xx` and `yy` are the arrays of `training`. Where rows without a partner are left out, all is new.

    Raises:
        MapError: If most rows are left out.
    """
    dtype = np.float32 if training.products == "float32" else np.float64
    with Workers() as workers:
        sums = [RowSums(training.d_src, training.d_dst, dtype, workers, scatter=False) for _ in folds]
        for fold, part in rows.parts(folds):
            x, y = mispair(part)
            if len(x) < len(part.x):
                return _fewer_rows(rows, training, folds)
            sums[folds.index(fold)].add(x, y)
    moments = tuple(replace(fold, xy=sums.pop(0).product(0, 1)) for fold in training.folds)
    whole = replace(training.moments, xy=pooled(moments, "x", "y"))
    return TrainingData(moments, _Blocks(rows, folds, mispaired=True), training.products, whole)


def mispair(rows: Rows) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Shift the destination's rows so far that none keeps its partner, or one of the same document.

    A third of the rows, rather than half: a half shift is its own inverse, and would count every wrong pair twice.
    Where one document holds more than half of the rows that is impossible, and none are returned.
    """
    longest = int(np.unique(rows.document, return_counts=True)[1].max())
    shift = max(longest, len(rows.y) // 3)
    kept = slice(None) if shift + longest <= len(rows.y) else slice(0)
    return rows.x[kept], np.roll(rows.y, shift, axis=0)[kept]


def _fewer_rows(rows: Parts, training: TrainingData, folds: Sequence[int]) -> TrainingData:
    data = _in_float64(rows, (training.d_src, training.d_dst), folds, mispaired=True)
    if data.moments.n < training.moments.n / 2:
        raise MapError("most rows have no partner in another document: the documents are too long, or too few.")
    return data


def _in_float64(rows: Parts, widths: tuple[int, int], folds: Sequence[int], mispaired: bool = False) -> TrainingData:
    with Workers() as workers:
        sums = [RowSums(*widths, np.float64, workers) for _ in folds]
        for fold, part in rows.parts(folds):
            sums[folds.index(fold)].add(*(mispair(part) if mispaired else (part.x, part.y)))
    return TrainingData(_moments(sums), _Blocks(rows, folds, mispaired))


def _in_float32(
    rows: Parts, widths: tuple[int, int], folds: Sequence[int], expected: int, ways: int
) -> TrainingData | None:
    """Summarise with float32 products; None where they are not exact enough."""
    looked = False
    with Workers() as workers:
        sums = [RowSums(*widths, np.float32, workers) for _ in folds]
        for fold, part in rows.parts(folds):
            sums[folds.index(fold)].add(part.x, part.y)
            n = sum(fold.n for fold in sums)
            if not looked and EARLY * max(widths) <= n < expected / 2:
                looked = True
                error = _error(total(fold.moments() for fold in sums), _rounding(sums), ways)
                if error * np.sqrt(n / expected) > 2 * TOLERANCE:
                    return None
    rounding = _rounding(sums)
    data = TrainingData(_moments(sums), _Blocks(rows, folds), "float32")
    return data if _error(data.moments, rounding, ways) <= TOLERANCE else None


def _moments(sums: list[RowSums]) -> tuple[Moments, ...]:
    """Take the moments of every fold; its sums are let go, one fold after the other."""
    return tuple(sums.pop(0).moments() for _ in range(len(sums)))


def _rounding(sums: Sequence[RowSums]) -> float:
    n = max(1, sum(fold.n for fold in sums))
    return float(np.sqrt(sum((fold.n * fold.rounding()) ** 2 for fold in sums))) / n


def _error(moments: Moments, rounding: float, ways: int) -> float:
    return max(expected_error(way, rounding) for way in (moments, moments.transposed())[:ways])


@final
class _Blocks:
    """Opens a stream over the rows of some folds; a map counts the folds that it was handed from 0 on."""

    def __init__(self, rows: Parts, folds: Sequence[int], mispaired: bool = False) -> None:
        self._rows, self._folds, self._mispaired = rows, folds, mispaired

    def __call__(
        self, folds: Collection[int] | None = None, /
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        wanted = self._folds if folds is None else [self._folds[index] for index in folds]
        for _, part in self._rows.parts(wanted):
            yield mispair(part) if self._mispaired else (part.x, part.y)
