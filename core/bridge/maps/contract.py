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
