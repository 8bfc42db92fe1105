"""The contract of dictionary-format plugins: sparse autoencoders on disk, in whatever layout."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray


class Dictionary(ABC):
    """A sparse dictionary: features of one model at one site.

    Laws, checked by `bridge.testing.check_dictionary_format`: `encode` and `decode` treat rows one by one, and decoding
    is affine in the features, its linear part being `directions`.
    """

    directions: NDArray[np.float32]
    """Decoder directions, one row a feature, (features, d_model) float32."""

    @abstractmethod
    def encode(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return feature activations: (n, d_model) -> (n, features), float32."""

    @abstractmethod
    def decode(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return reconstructed activations: (n, features) -> (n, d_model), float32."""


class DictionaryFormat(ABC):
    """A layout of dictionaries on disk."""

    name: ClassVar[str]
    """Unique among installed formats."""

    summary: ClassVar[str]
    """One line: whose files these are."""

    @abstractmethod
    def recognises(self, path: Path) -> bool:
        """Tell whether a file or folder is in this format, from names and headers alone."""

    @abstractmethod
    def load(self, path: Path) -> Dictionary:
        """Read a dictionary, without unpickling anything.

        Raises:
            BridgeError: If the file is damaged or half-written.
        """
