"""A map with one hidden layer, trained on the stored pairs themselves rather than on their moments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

from numpy.typing import NDArray

from bridge.errors import MapError
from bridge.hookspecs import hookimpl
from bridge.maps import Map, TrainingData
from bridge_mlp_map.fitted import FittedMLP

bridge_api = "1.1"


@final
@dataclass(frozen=True)
class MLP(Map):
    """y^ = (x - m_s) W + m_t + silu((x - m_s) A + b) B + c: ridge, and a network that learns what ridge leaves.

    The network starts as nothing, so the map starts as ridge. Training sees every fold but the first; the documents of
    the first fold choose ridge's penalty, and the epoch to stop after. One seed, one machine and one number of threads
    give the same map.

    Attributes:
        hidden: Width of the hidden layer.
        epochs: Passes over the rows at most; the learning rate falls to zero over them.
        seed: Of the first weights and of the order of rows.
    """

    hidden: int = 1024
    epochs: int = 12
    seed: int = 0

    name = "mlp"
    summary = "Ridge and a network with one hidden layer for the rest: is there more than a linear map can say?"

    def fit(self, data: TrainingData) -> FittedMLP:
        """Fit ridge, then train; a block of rows is in memory at a time.

        Raises:
            MapError: If an option is impossible, or there are fewer than two folds.
        """
        from bridge_mlp_map.training import train

        if min(self.hidden, self.epochs) < 1:
            raise MapError("A network needs at least one hidden unit and one epoch.")
        if len(data.folds) < 2:
            raise MapError("Stopping early needs a second fold of documents, on which nothing is trained.")
        return train(data, self.hidden, self.epochs, self.seed)

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> FittedMLP:
        """Rebuild the map."""
        return FittedMLP(arrays)


@hookimpl
def register_maps(register: Callable[[type[Map]], None]) -> None:
    """Offer the map."""
    register(MLP)
