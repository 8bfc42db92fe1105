"""Sums over runs of shards: the unit of work of moments, for one process and for many.

Moments are computed for every `RUN` consecutive shards and then added up in the order of the shards, so that their bits
do not depend on who computed which run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, final

import numpy as np

from bridge.moments import Moments, pooled, pooled_means, total
from bridge.pairing.rows import Rows
from bridge.precision import TOLERANCE, expected_error
from bridge.products import Products
from bridge.row_sums import RowSums
from bridge.workers import Workers

RUN = 16
"""Number of shards whose rows are summed before their moments are added to those of others. Adding costs as much as the
products of about a thousand rows of every fold, and a shard has about 30,000 rows."""

EARLY = 4
"""Rows per dimension after which float32 is abandoned if its error is clearly too large."""

NOTHING = np.zeros((0, 0))


class Parts(Protocol):
    """A source of rows: `bridge.pairing.rows.PairedRows`, or a benchmark."""

    def parts(self, folds: Collection[int]) -> Iterator[tuple[int, Rows]]:
        """Yield the fold's number and its rows, for every shard and fold, outliers left out."""


@final
@dataclass(frozen=True)
class Asked:
    """What is summed.

    Attributes:
        folds: The folds.
        dtype: Dtype of the products.
        pairs: `paired`: all moments of paired rows. `mispaired`: all moments of mispaired rows. `products`: only X'Y of
            mispaired rows, and their means; nothing if a row has no partner.
        expected: Approximate number of all rows; if given, float32 is abandoned early where its error is too large.
        ways: 2 if maps will also be fitted on the reversed rows.
    """

    folds: tuple[int, ...]
    dtype: Literal["float32", "float64"] = "float64"
    pairs: Literal["paired", "mispaired", "products"] = "paired"
    expected: int = 0
    ways: int = 1


@final
@dataclass(frozen=True)
class Summed:
    """Sums over one run of shards.

    Attributes:
        folds: The moments of each fold; of `products`, `xx` and `yy` are empty.
        squared_error: Square of the error of float32 products, times the square of the number of rows, over the folds.
    """

    folds: tuple[Moments, ...]
    squared_error: float = 0.0

    def plus(self, other: Summed) -> Summed:
        """Add the sums over later shards."""
        folds = tuple(_added(pair) for pair in zip(self.folds, other.folds, strict=True))
        return Summed(folds, self.squared_error + other.squared_error)

    def rounding(self) -> float:
        """Return the error of the products, in units of the root of the columns' scatters."""
        return float(np.sqrt(self.squared_error)) / max(1, sum(fold.n for fold in self.folds))


def sum_rows(
    rows: Parts,
    widths: tuple[int, int],
    asked: Asked,
    where: Products,
    mispair: Callable[[Rows], tuple[np.ndarray, np.ndarray]],
) -> Summed | None:
    """Sum over the rows of a run of shards.

    Args:
        rows: The rows.
        widths: Widths of source and destination.
        asked: What is summed.
        where: Where products are computed.
        mispair: Pairs the rows of a part with others; returns fewer rows where that is impossible.

    Returns:
        The sums; None if float32 is abandoned, or rows have no partner (`products`).
    """
    dtype = np.float32 if asked.dtype == "float32" else np.float64
    looked = not asked.expected or asked.dtype == "float64"
    with Workers(where.threads) as workers:
        scatter = asked.pairs != "products"
        sums = [RowSums(*widths, dtype, workers, scatter=scatter, products=where) for _ in asked.folds]
        for fold, part in rows.parts(asked.folds):
            x, y = (part.x, part.y) if asked.pairs == "paired" else mispair(part)
            if not scatter and len(x) < len(part.x):
                return None
            sums[asked.folds.index(fold)].add(x, y)
            n = sum(one.n for one in sums)
            if not looked and EARLY * max(widths) <= n < asked.expected / 2:
                looked = True
                so_far = Summed(tuple(one.moments() for one in sums), _squared_error(sums))
                if error_of(total(so_far.folds), so_far.rounding(), asked.ways) * np.sqrt(n / asked.expected) > (
                    2 * TOLERANCE
                ):
                    return None
    squared = _squared_error(sums) if scatter and asked.dtype == "float32" else 0.0
    # The sums of each fold are freed in turn.
    folds = tuple(_moments(sums.pop(0), scatter) for _ in range(len(sums)))
    return Summed(folds, squared)


def in_order(found: Iterator[tuple[int, Summed | None]]) -> Summed | None:
    """Add up the sums of all runs in the order of the shards, whatever order they come in; None if one is None."""
    whole: Summed | None = None
    early: dict[int, Summed] = {}
    following, failed = 0, False
    for index, one in found:
        if one is None and index == 0:  # the others are not needed
            return None
        failed = failed or one is None
        if one is not None:
            early[index] = one
        while following in early:
            ready = early.pop(following)
            whole = ready if whole is None else whole.plus(ready)
            following += 1
    return None if failed else whole


def error_of(moments: Moments, rounding: float, ways: int) -> float:
    """Return the expected error of the coefficients of least squares, the worse one of the ways."""
    return max(expected_error(way, rounding) for way in (moments, moments.transposed())[:ways])


def _moments(sums: RowSums, scatter: bool) -> Moments:
    if scatter:
        return sums.moments()
    return Moments(sums.n, *sums.means(), NOTHING, sums.product(0, 1), NOTHING)


def _added(pair: Sequence[Moments]) -> Moments:
    if pair[0].xx.size or pair[1].xx.size:
        return total(pair)
    filled = [part for part in pair if part.n] or pair[:1]
    if len(filled) == 1:
        return filled[0]
    return Moments(sum(part.n for part in filled), *pooled_means(filled), NOTHING, pooled(filled, "x", "y"), NOTHING)


def _squared_error(sums: Sequence[RowSums]) -> float:
    return float(sum((fold.n * fold.rounding()) ** 2 for fold in sums))
