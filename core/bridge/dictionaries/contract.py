"""The contract of sparse dictionaries and of the plugins that read and write their layouts on disk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, final

import numpy as np
from numpy.typing import NDArray

from bridge.errors import BridgeError

Floats = NDArray[np.float32]


@final
@dataclass(frozen=True)
class Origin:
    """What a dictionary's file says of where it belongs; empty or None where it says nothing.

    Attributes:
        model: Model that it was trained on, as its authors wrote it.
        site: Site in any notation that `bridge.references.parse_site` reads (`blocks.20.hook_resid_post`, `layers.20`).
        prepends_bos: Whether its training texts began with BOS.
        init_seed: Seed of its initialisation, where known: two dictionaries of one seed match before any training.
        centred: Whether it reads a model whose writing weights were centred (TransformerLens' center_writing_weights):
            activations without their mean over the width.
        notes: What a user must know of how the file is read, a sentence each.
    """

    model: str = ""
    site: str = ""
    prepends_bos: bool | None = None
    init_seed: int | None = None
    centred: bool = False
    notes: tuple[str, ...] = ()


class Dictionary(ABC):
    """A sparse dictionary: features of one model at one site.

    Laws, checked by `bridge.testing.check_dictionary_format`: `encode` and `decode` treat rows one by one, and decoding
    is affine in the features, its linear part being `directions`.
    """

    directions: Floats
    """Decoder directions, one row a feature, (features, d_model) float32."""

    origin: Origin = Origin()
    """What its file says of where it belongs."""

    @abstractmethod
    def encode(self, x: Floats) -> Floats:
        """Return feature activations: (n, d_model) -> (n, features), float32.

        Args:
            x: Activations of the model.
        """

    @abstractmethod
    def decode(self, features: Floats) -> Floats:
        """Return reconstructed activations: (n, features) -> (n, d_model), float32.

        Args:
            features: Feature activations.
        """

    @final
    def reconstruct(self, x: Floats) -> Floats:
        """Return what the dictionary makes of activations: (n, d_model) -> (n, d_model), float32.

        Args:
            x: Activations of the model.
        """
        return self.decode(self.encode(x))


class DictionaryFormat(ABC):
    """A layout of dictionaries on disk."""

    name: ClassVar[str]
    """Unique among installed formats."""

    summary: ClassVar[str]
    """One line: whose files these are."""

    @abstractmethod
    def recognises(self, path: Path) -> bool:
        """Tell whether a file or folder is in this format, from names and headers alone.

        Args:
            path: A file or folder.
        """

    @abstractmethod
    def load(self, path: Path) -> Dictionary:
        """Read a dictionary, without unpickling anything.

        Args:
            path: A file or folder that this format recognises.

        Returns:
            The dictionary.

        Raises:
            BridgeError: If the file is damaged or half-written.
        """

    def save(self, dictionary: Dictionary, path: Path) -> None:
        """Write a dictionary into a new folder.

        Args:
            dictionary: What to write.
            path: The folder; it is not there yet.

        Raises:
            BridgeError: If this format is only read, or cannot hold this dictionary.
        """
        raise BridgeError(f"Dictionaries are read from the format {self.name}, but not written in it.")
