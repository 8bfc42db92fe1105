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
    """The origin of a dictionary, from its file; fields are empty or None if the file does not state them.

    Attributes:
        model: Model that the dictionary was trained on, in its authors' notation.
        site: Site in any notation of `bridge.references.parse_site` (`blocks.20.hook_resid_post`, `layers.20`).
        prepends_bos: Whether its training texts began with BOS.
        init_seed: Seed of its initialisation, if known: dictionaries with the same seed match before any training.
        centred: Whether it reads a model with centred writing weights (TransformerLens' center_writing_weights):
            activations without their mean over the width.
        notes: Sentences about the interpretation of the file, for the user.
    """

    model: str = ""
    site: str = ""
    prepends_bos: bool | None = None
    init_seed: int | None = None
    centred: bool = False
    notes: tuple[str, ...] = ()


class Dictionary(ABC):
    """A sparse dictionary: features of one model at one site.

    Laws, checked by `bridge.testing.check_dictionary_format`: `encode` and `decode` process each row independently, and
    decoding is affine in the features, with the linear part `directions`.
    """

    directions: Floats
    """Decoder directions, one row per feature, (features, d_model) float32."""

    origin: Origin = Origin()
    """The origin that its file states."""

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
        """Return the dictionary's reconstruction of activations: (n, d_model) -> (n, d_model), float32.

        Args:
            x: Activations of the model.
        """
        return self.decode(self.encode(x))


class DictionaryFormat(ABC):
    """A layout of dictionaries on disk.

    Law of `example`, checked by `bridge.testing.check_dictionary_format`: what it returns is recognised, loads, and has
    the shape that was asked for; the origin that is read back names no other model or site than the one given.
    """

    name: ClassVar[str]
    """Unique among installed formats."""

    summary: ClassVar[str]
    """One line: the origin of these files."""

    @abstractmethod
    def recognises(self, path: Path) -> bool:
        """Tell whether a file or folder is in this format, from names and headers only.

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
            BridgeError: If the file is damaged or incomplete.
        """

    def save(self, dictionary: Dictionary, path: Path) -> None:
        """Write a dictionary into a new folder.

        Args:
            dictionary: The dictionary.
            path: The folder; it does not exist yet.

        Raises:
            BridgeError: If this format is read-only, or cannot represent this dictionary.
        """
        raise BridgeError(f"The dictionary format {self.name} is read-only.")

    def example(self, path: Path, like: Dictionary) -> Path:
        """Write a dictionary of some shape and origin in this format, for rehearsals and for the laws.

        Default: `save`. A format without `save` writes the directions of `like`, with an encoder and an activation of
        its own choice.

        Args:
            path: A folder; it does not exist yet.
            like: Has the directions, and the origin to name as far as the format can.

        Returns:
            What `load` reads: the folder, or a file or folder inside it.

        Raises:
            BridgeError: If this format gives no example.
        """
        self.save(like, path)
        return path
