"""Training data of maps: moments of paired and mispaired training rows, in float32 where the error is small enough."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray

from bridge.errors import MapError
from bridge.maps import TrainingData
from bridge.moments import pooled
from bridge.pairing.rows import Rows
from bridge.pipeline.fit.sums import Asked, Parts, Summed, error_of, in_order, sum_rows
from bridge.precision import TOLERANCE
from bridge.products import HostProducts, Products, products_on

WIDE = 256
"""Width below which float64 is always used, because it costs little."""

Divided = Callable[[Asked], Iterator[tuple[int, Summed | None]]]
"""Sums over all runs of shards: yields the number of each run and its sums, as they are ready."""


def training_data(
    rows: Parts,
    d_src: int,
    d_dst: int,
    folds: Sequence[int],
    *,
    expected: int = 0,
    reverse: bool = False,
    products: Products | None = None,
    divided: Divided | None = None,
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
        divided: Computes the sums of runs of shards; default: all rows are one run, here.
    """
    where = products or HostProducts()
    divided = divided or alone(rows, (d_src, d_dst), where)
    if min(d_src, d_dst) >= WIDE:
        ways = 2 if reverse else 1
        found = in_order(divided(Asked(tuple(folds), "float32", expected=expected, ways=ways)))
        if found is not None:
            data = TrainingData(found.folds, _Blocks(rows, folds), "float32", device=where.device)
            if error_of(data.moments, found.rounding(), ways) <= TOLERANCE:
                return data
    return TrainingData(_all(divided(Asked(tuple(folds)))).folds, _Blocks(rows, folds), device=where.device)


def mispaired_data(
    rows: Parts, training: TrainingData, folds: Sequence[int], divided: Divided | None = None
) -> TrainingData:
    """Compute moments of the source rows of `training`, each paired with a destination row of another document.

    A map fitted on these rows is the floor. The rows are the same, so only X'Y is new: `xx` and `yy` are the arrays of
    `training`. If rows without a partner are left out, all moments are new.

    Args:
        rows: All paired rows.
        training: Moments of the paired rows.
        folds: The folds to use.
        divided: As in `training_data`.

    Raises:
        MapError: If most rows are left out.
    """
    where = products_on(training.device)
    divided = divided or alone(rows, (training.d_src, training.d_dst), where)
    dtype: Literal["float32", "float64"] = "float32" if training.products == "float32" else "float64"
    found = in_order(divided(Asked(tuple(folds), dtype, "products")))
    blocks = _Blocks(rows, folds, mispaired=True)
    if found is None:
        data = TrainingData(_all(divided(Asked(tuple(folds), pairs="mispaired"))).folds, blocks, device=where.device)
        if data.moments.n < training.moments.n / 2:
            raise MapError("most rows have no partner in another document: documents are too long or too few.")
        return data
    moments = tuple(replace(fold, xy=new.xy) for fold, new in zip(training.folds, found.folds, strict=True))
    whole = replace(training.moments, xy=pooled(moments, "x", "y"))
    return TrainingData(moments, blocks, training.products, whole, device=training.device)


def alone(rows: Parts, widths: tuple[int, int], where: Products) -> Divided:
    """Return what sums over all rows as one run, in this process.

    Args:
        rows: The rows.
        widths: Widths of source and destination.
        where: Where products are computed.
    """
    return by_runs([rows], widths, where)


def by_runs(runs: Sequence[Parts], widths: tuple[int, int], where: Products) -> Divided:
    """Return what sums over runs of shards one after the other, in this process; arguments as of `alone`."""
    return lambda asked: ((i, sum_rows(run, widths, asked, where, mispair)) for i, run in enumerate(runs))


def _all(found: Iterator[tuple[int, Summed | None]]) -> Summed:
    whole = in_order(found)
    assert whole is not None, "only float32 is abandoned"
    return whole


def mispair(rows: Rows) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Shift the destination's rows so far that no row keeps its partner or its document.

    The shift is a third of the rows: a shift by half is its own inverse and would count every wrong pair twice. If one
    document has more than half of the rows, this is impossible, and no rows are returned.
    """
    longest = int(np.unique(rows.document, return_counts=True)[1].max())
    shift = max(longest, len(rows.y) // 3)
    kept = slice(None) if shift + longest <= len(rows.y) else slice(0)
    return rows.x[kept], np.roll(rows.y, shift, axis=0)[kept]


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
