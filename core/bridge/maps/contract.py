"""What a map plugin implements: a way to fit a map, and the fitted map."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bridge.errors import MapError
from bridge.maps.training_data import Array, TrainingData


class FittedMap(ABC):
    """A map from the source model's activations to the destination model's.

    Laws, checked by `bridge.testing.check_map`:
        - For x of shape (n, d_src), `map(x)` has shape (n, d_dst), is finite float64, and maps each row independently.
        - `direction` is positively homogeneous and does not use means, because a direction has no origin; for an affine
          map `direction(v) = map(x + v) - map(x)`.
        - If `inverse` exists, `inverse()(map(x)) = x`.
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
            Predicted activations of the destination, (n, d_dst) float64.
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
        """Return the inverse map.

        Raises:
            MapError: If the map has no inverse.
        """
        raise MapError(f"{type(self).__name__} has no inverse.")

    @abstractmethod
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the named arrays that `Map.restore` needs; the core writes them as safetensors."""

    def chosen(self) -> Mapping[str, float]:
        """Return the values that fitting chose (a penalty, a rank), for the report and the provenance.

        Returns:
            Scalars by name; empty if nothing was chosen.
        """
        return {}


@dataclass(frozen=True)
class Map(ABC):
    """A map type. A frozen dataclass: its fields are the options that `--map name:option=value` sets.

    Laws, checked by `bridge.testing.check_map`: those of `FittedMap`; and fitting twice gives the same map.
    """

    name: ClassVar[str]
    """Unique among installed maps."""

    summary: ClassVar[str]
    """One line: the fitted map, and when to choose it."""

    control_arm: ClassVar[str] = ""
    """If set, this map is fitted in every run and scored as the arm of this name (`raw`, `random_map`); its option
    `seed`, if it has one, is set to the run's seed."""

    def check_widths(self, d_src: int, d_dst: int) -> None:  # noqa: B027  (most maps suit any widths)
        """Refuse models whose widths do not suit this map; called before the models run.

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
        """Fit on several sets of rows: the rows, and their mispaired control.

        Override this method if the fits can share work. Sets with the same source rows have the same objects as arrays
        `xx` of their folds.

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
        """Rebuild a map from the result of `FittedMap.arrays`.

        Args:
            arrays: Arrays by name, as written.

        Returns:
            The same map, bit for bit.

        Raises:
            MapError: If an array is missing or has the wrong shape.
        """
