"""The contract of map plugins, and the affine map that every linear one fits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from typing import Any, ClassVar, Protocol, final

import numpy as np
from numpy.typing import NDArray

from bridge.errors import MapError, ShapeError
from bridge.moments import Moments, total

__all__ = [
    "AffineMap",
    "Array",
    "FittedMap",
    "LinearMap",
    "Map",
    "RowBlocks",
    "TrainingData",
    "check_width",
    "need_equal_widths",
    "refuse_unequal",
]

Array = NDArray[np.float64]
"""What maps compute in."""


class RowBlocks(Protocol):
    """Opens a stream over paired rows, read from disk every time: call it once a pass, and hold a block at a time."""

    def __call__(
        self, folds: Collection[int] | None = None, /
    ) -> Iterator[tuple[NDArray[np.floating], NDArray[np.floating]]]:
        """Stream over pairs of (n, d_src) and (n, d_dst) float32 arrays, n varying.

        Args:
            folds: Rows of these folds only, by their indices in `TrainingData.folds`; None for all.

        Returns:
            Blocks of rows, x and y of each.
        """


@final
@dataclass(frozen=True)
class TrainingData:
    """What a map may be fitted on: the training documents' paired rows, as moments and as a stream.

    Args:
        whole: Moments of all rows, where they are known already.

    Attributes:
        folds: Moments of each fold; folds are disjoint sets of documents.
        blocks: Opens a stream over the same rows, or over some folds' rows: to train on some documents and stop by
            others.
        products: What rows were multiplied in: `float64`, or `float32` where that was measured to be enough.
        moments: Moments of all training rows.
    """

    folds: tuple[Moments, ...]
    blocks: RowBlocks
    products: str = "float64"
    whole: InitVar[Moments | None] = None
    moments: Moments = field(init=False)

    def __post_init__(self, whole: Moments | None) -> None:
        object.__setattr__(self, "moments", whole or total(self.folds))

    @property
    def d_src(self) -> int:
        """Width of the source model."""
        return len(self.folds[0].mean_x)

    @property
    def d_dst(self) -> int:
        """Width of the destination model."""
        return len(self.folds[0].mean_y)

    def reversed(self) -> TrainingData:
        """The same rows for the way back: what a map from the destination to the source is fitted on.

        Returns:
            The same folds and stream, x and y exchanged.
        """

        def blocks(
            folds: Collection[int] | None = None, /
        ) -> Iterator[tuple[NDArray[np.floating], NDArray[np.floating]]]:
            return ((y, x) for x, y in self.blocks(folds))

        folds = tuple(fold.transposed() for fold in self.folds)
        return TrainingData(folds, blocks, self.products, self.moments.transposed())

    def others(self, index: int) -> list[Moments]:
        """Moments of each fold but one: of those that have rows, or of no rows.

        Args:
            index: Of the fold that is left out.

        Returns:
            At least one set of moments.
        """
        filled = [fold for i, fold in enumerate(self.folds) if i != index and fold.n]
        return filled or [Moments.empty(self.d_src, self.d_dst)]

    def without_fold(self, index: int) -> Moments:
        """Moments of all training rows but one fold's.

        Args:
            index: Of the fold that is left out.

        Returns:
            Their moments together.
        """
        return total(self.others(index))


class FittedMap(ABC):
    """A map from the source model's activations to the destination model's.

    Laws, checked by `bridge.testing.check_map`:
        - `map(x)` of shape (n, d_src) has shape (n, d_dst), is finite float64, and treats rows one by one.
        - `direction` is positively homogeneous: a direction has no origin, so no mean enters; for an affine map
          `direction(v) = map(x + v) - map(x)`.
        - Where `inverse` exists, `inverse()(map(x)) = x`.
        - `Map.restore(arrays(), ...)` gives the same map, bit for bit.
    """

    @property
    @abstractmethod
    def d_src(self) -> int:
        """Width of the source model."""

    @property
    @abstractmethod
    def d_dst(self) -> int:
        """Width of the destination model."""

    @abstractmethod
    def __call__(self, x: NDArray[np.floating]) -> Array:
        """Move points: (n, d_src) float -> (n, d_dst) float64. Uses both models' means.

        Args:
            x: Activations of the source, (n, d_src), any float type.

        Returns:
            Where the destination has them, (n, d_dst) float64.
        """

    @abstractmethod
    def direction(self, v: NDArray[np.floating]) -> Array:
        """Move directions: (n, d_src) float -> (n, d_dst) float64. The linear part only, no means.

        Args:
            v: Directions of the source, (n, d_src), any float type.

        Returns:
            Directions of the destination, (n, d_dst) float64.
        """

    def inverse(self) -> FittedMap:
        """Return the map back.

        Raises:
            MapError: If the map has no inverse.
        """
        raise MapError(f"{type(self).__name__} has no inverse.")

    @abstractmethod
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all that `Map.restore` needs, as named arrays; the core writes them as safetensors."""

    def chosen(self) -> Mapping[str, float]:
        """Say what fitting chose (a penalty, a rank), for the report and the provenance.

        Returns:
            Scalars by name; empty where nothing was chosen.
        """
        return {}


@dataclass(frozen=True)
class Map(ABC):
    """A way to fit a map. A frozen dataclass: its fields are the options that `--map name:option=value` sets.

    Laws, checked by `bridge.testing.check_map`: those of `FittedMap`; and fitting twice gives the same map.
    """

    name: ClassVar[str]
    """Unique among installed maps."""

    summary: ClassVar[str]
    """One line: what is fitted, and when to choose it."""

    control_arm: ClassVar[str] = ""
    """If set, this map is fitted beside every other one and scored as the arm of this name (`raw`, `random_map`); an
    option `seed`, where it has one, is set to the run's."""

    def check_widths(self, d_src: int, d_dst: int) -> None:  # noqa: B027  (most maps suit any widths)
        """Refuse models whose widths do not suit this map; called before either of them runs.

        Args:
            d_src: Width of the source model.
            d_dst: Width of the destination model.

        Raises:
            MapError: Naming both widths; see `refuse_unequal`.
        """

    @abstractmethod
    def fit(self, data: TrainingData) -> FittedMap:
        """Fit on training rows.

        Args:
            data: Moments and a stream of the training documents' rows.

        Returns:
            The fitted map, in float64.

        Raises:
            MapError: If the widths do not suit this map, or there are too few rows.
        """

    def fit_each(self, several: Sequence[TrainingData]) -> list[FittedMap]:
        """Fit on several sets of rows: here the rows, and their mispaired control.

        To be overridden by maps that can share work where source rows are the same: then the arrays `xx` of their folds
        are the same objects.

        Args:
            several: Sets of rows of the same two models.

        Returns:
            A fitted map for each, in the same order.

        Raises:
            MapError: If one of them cannot be fitted.
        """
        return [self.fit(data) for data in several]

    @abstractmethod
    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> FittedMap:
        """Rebuild what `FittedMap.arrays` described.

        Args:
            arrays: By name, as they were written.

        Returns:
            The same map, bit for bit.

        Raises:
            MapError: If an array is missing or has the wrong shape.
        """


class LinearMap(Map):
    """A map type whose fitted map is affine."""

    @final
    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> FittedMap:
        """Rebuild an `AffineMap`."""
        if set(arrays) != {"weight", "mean_src", "mean_dst"}:
            raise MapError(f"An affine map is weight, mean_src and mean_dst, not {', '.join(sorted(arrays))}.")
        return AffineMap(arrays["weight"], arrays["mean_src"], arrays["mean_dst"])


@final
class AffineMap(FittedMap):
    """y^ = (x - mean_src) weight + mean_dst; a direction v goes to v weight.

    Args:
        weight: Shape (d_src, d_dst), float64.
        mean_src: Training mean of the source rows, shape (d_src,), float64.
        mean_dst: Training mean of the destination rows, shape (d_dst,), float64.
        chosen: What fitting chose, as scalars (`penalty`, `rank`, `scale`).

    Raises:
        MapError: If the shapes do not belong together, or a value is NaN or infinite.
    """

    def __init__(
        self, weight: Array, mean_src: Array, mean_dst: Array, chosen: Mapping[str, float] | None = None
    ) -> None:
        if weight.shape != (*mean_src.shape, *mean_dst.shape) or weight.ndim != 2:
            raise MapError(
                f"A weight of shape {weight.shape} does not go with means of {mean_src.shape} and {mean_dst.shape}."
            )
        if not all(np.isfinite(array).all() for array in (weight, mean_src, mean_dst)):
            raise MapError("The map holds NaN or infinite values.", cause="The rows it was fitted on are degenerate.")
        # One layout, as after reading it back: products of another one differ in their last bits.
        self.weight, self.mean_src, self.mean_dst = np.ascontiguousarray(weight), mean_src, mean_dst
        self._chosen = dict(chosen or {})

    @property
    def d_src(self) -> int:
        """Width of the source model."""
        return len(self.mean_src)

    @property
    def d_dst(self) -> int:
        """Width of the destination model."""
        return len(self.mean_dst)

    def __call__(self, x: NDArray[np.floating]) -> Array:
        """Move points, (n, d_src) -> (n, d_dst)."""
        moved: Array = (x - self.mean_src) @ self.weight + self.mean_dst
        return moved

    def direction(self, v: NDArray[np.floating]) -> Array:
        """Move directions, (n, d_src) -> (n, d_dst)."""
        moved: Array = v.astype(np.float64) @ self.weight
        return moved

    def inverse(self) -> AffineMap:
        """Return the pseudo-inverse, which undoes the map exactly where the map loses nothing.

        Raises:
            MapError: If the map loses dimensions: fewer on the destination's side, or a (nearly) singular weight.
        """
        from scipy.linalg import svd

        left, values, right = svd(self.weight, full_matrices=False)
        # Below this, the inverse would amplify float32 rounding to the size of the signal.
        lost = self.d_src - int(np.sum(values > 1e-6 * values[0]))
        if lost:
            raise MapError(
                f"This map of shape {self.weight.shape} has no inverse: it loses {lost} of {self.d_src} dimensions.",
                remedy="Fit the map in the other direction instead.",
            )
        return AffineMap((right.T / values) @ left.T, self.mean_dst, self.mean_src)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return weight and means."""
        return {"weight": self.weight, "mean_src": self.mean_src, "mean_dst": self.mean_dst}

    def chosen(self) -> Mapping[str, float]:
        """Return what fitting chose."""
        return self._chosen


def check_width(rows: NDArray[np.floating], width: int, what: str) -> None:
    """Refuse rows that are not (n, width).

    Args:
        rows: What was given.
        width: Columns that it must have.
        what: What to call it in the message.

    Raises:
        ShapeError: Naming both shapes.
    """
    if rows.ndim != 2 or rows.shape[1] != width:
        raise ShapeError(f"{what} has shape {tuple(rows.shape)}; this map takes (n, {width}).")


def need_equal_widths(data: TrainingData, name: str) -> None:
    """Refuse models of different widths.

    Args:
        data: Rows of the two models.
        name: Of the map that needs it.

    Raises:
        MapError: Naming both widths.
    """
    refuse_unequal(data.d_src, data.d_dst, name)


def refuse_unequal(d_src: int, d_dst: int, name: str) -> None:
    """Refuse different widths, as `need_equal_widths`, before there are rows: what `Map.check_widths` calls.

    Args:
        d_src: Width of the source model.
        d_dst: Width of the destination model.
        name: Of the map that needs it.

    Raises:
        MapError: Naming both widths.
    """
    if d_src != d_dst:
        raise MapError(
            f"The map {name} needs equal widths, and these models have {d_src} and {d_dst}.",
            remedy="Choose ridge or procrustes.",
        )
