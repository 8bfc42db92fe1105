"""Counts, means and centred second moments of paired rows: the sufficient statistics of a linear map and its EV.

Moments of two disjoint sets of rows add up to the moments of their union (Chan, Golub and LeVeque 1979, "Updating
formulae and a pairwise algorithm for computing sample variances", equations 1.5a and 1.5b), so shards, processes and
machines merge without loss, and memory is O((d_src + d_dst)^2) for any number of rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Moments", "explained_variance", "pooled", "pooled_means", "total"]

Array = NDArray[np.float64]


@final
@dataclass(frozen=True)
class Moments:
    """Moments of n paired rows x in R^d_src, y in R^d_dst; all arrays float64.

    Attributes:
        n: Number of rows.
        mean_x: Shape (d_src,).
        mean_y: Shape (d_dst,).
        xx: Sum over rows of (x - mean_x)(x - mean_x)', shape (d_src, d_src).
        xy: Sum over rows of (x - mean_x)(y - mean_y)', shape (d_src, d_dst).
        yy: Sum over rows of (y - mean_y)(y - mean_y)', shape (d_dst, d_dst).
    """

    n: int
    mean_x: Array
    mean_y: Array
    xx: Array
    xy: Array
    yy: Array

    @staticmethod
    def empty(d_src: int, d_dst: int) -> Moments:
        """Return the moments of zero rows: the neutral element of addition.

        Args:
            d_src: Width of x.
            d_dst: Width of y.
        """
        zeros = np.zeros
        return Moments(
            0, zeros(d_src), zeros(d_dst), zeros((d_src, d_src)), zeros((d_src, d_dst)), zeros((d_dst, d_dst))
        )

    @staticmethod
    def of(x: NDArray[np.floating], y: NDArray[np.floating]) -> Moments:
        """Return the moments of paired rows.

        Args:
            x: Shape (n, d_src), any float type.
            y: Shape (n, d_dst), any float type.
        """
        x64, y64 = x.astype(np.float64), y.astype(np.float64)
        if len(x64) == 0:
            return Moments.empty(x.shape[1], y.shape[1])
        mean_x, mean_y = x64.mean(0), y64.mean(0)
        x64 -= mean_x
        y64 -= mean_y
        return Moments(len(x64), mean_x, mean_y, x64.T @ x64, x64.T @ y64, y64.T @ y64)

    def transposed(self) -> Moments:
        """Return the moments of the same rows with x and y exchanged."""
        return Moments(self.n, self.mean_y, self.mean_x, self.yy, self.xy.T, self.xx)

    def __add__(self, other: Moments) -> Moments:
        return total((self, other))


def total(parts: Iterable[Moments]) -> Moments:
    """Add up the moments of at least one set of rows.

    Args:
        parts: Moments of disjoint sets of rows.

    Returns:
        Moments of their union.
    """
    parts = list(parts)
    filled = [part for part in parts if part.n] or parts[:1]
    if len(filled) == 1:
        return filled[0]
    products = pooled(filled, "x", "x"), pooled(filled, "x", "y"), pooled(filled, "y", "y")
    return Moments(sum(part.n for part in filled), *pooled_means(filled), *products)


def pooled(parts: Sequence[Moments], left: Literal["x", "y"], right: Literal["x", "y"]) -> Array:
    """Return the centred second moment of the union of sets of rows: the scatters within sets plus that of the means.

    Args:
        parts: Moments of the sets.
        left: The side of the product's rows.
        right: The side of the product's columns: `y` if left is `y`.
    """
    apart = {
        side: np.stack([np.sqrt(part.n) * (getattr(part, f"mean_{side}") - mean) for part in parts])
        for side, mean in zip("xy", pooled_means(parts), strict=True)
    }
    first, *others = (getattr(part, left + right) for part in parts)
    whole: Array = first.copy(order="K")  # moments for a reverse map are transposed views
    for other in others:
        whole += other
    whole += apart[left].T @ apart[right]
    return whole


def pooled_means(parts: Sequence[Moments]) -> tuple[Array, Array]:
    """Return the means of x and y over the union of sets of rows.

    Args:
        parts: Moments of disjoint sets of rows.
    """
    n, first = max(1, sum(part.n for part in parts)), parts[0]
    x, y = (
        getattr(first, side) + sum(part.n / n * (getattr(part, side) - getattr(first, side)) for part in parts)
        for side in ("mean_x", "mean_y")
    )
    return x, y


def explained_variance(moments: Moments, weight: Array, mean_x: Array, mean_y: Array) -> float:
    """EV of the map (x - mean_x) weight + mean_y on the rows that the moments summarise.

    Args:
        moments: Moments of the rows to score on.
        weight: Shape (d_src, d_dst).
        mean_x: Training mean, shape (d_src,).
        mean_y: Training mean, shape (d_dst,).

    Returns:
        1 - sum ||y - y^||^2 / sum ||y - mean||^2, with the scored rows' own mean (variance-weighted R^2).
    """
    offset = moments.mean_y - mean_y - (moments.mean_x - mean_x) @ weight
    residual = (
        np.trace(moments.yy)
        - 2 * np.sum(weight * moments.xy)
        + np.sum(weight * (moments.xx @ weight))
        + moments.n * offset @ offset
    )
    return float(1 - residual / np.trace(moments.yy))
