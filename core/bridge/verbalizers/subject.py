"""The model data that a verbalizer may use, and the settings of a verbalizer's training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray

from bridge.corpus.documents import Document
from bridge.dictionaries import Dictionary
from bridge.errors import UsageError
from bridge.models import LoadedModel, Placement
from bridge.references import Site


@final
@dataclass(frozen=True)
class Passage:
    """Activations of one text.

    Attributes:
        document: The text.
        ends: For each row, the character position at which its token ends in the text, (n,) int64.
        x: Activations, (n, d_model) float32.
    """

    document: Document
    ends: NDArray[np.int64]
    x: NDArray[np.float32]


class Subject(ABC):
    """A model at one site, with texts that the model was run on.

    Attributes:
        name: Full reference of the model, as in `smollm2-135m@19`.
        site: Site of the vectors.
        d_model: Width of the vectors.
        n_layers: Number of blocks of the model.
        placement: Device and dtype of models.
        seed: Seed of all random choices.
    """

    name: str
    site: Site
    d_model: int
    n_layers: int
    placement: Placement
    seed: int

    @abstractmethod
    def load(self) -> LoadedModel:
        """Load the model itself.

        Returns:
            The model, which stays in memory until the caller releases it.

        Raises:
            ModelUnavailableError: If the weights cannot be obtained.
        """

    @abstractmethod
    def passages(self, held_out: bool = False) -> Iterator[Passage]:
        """Stream the texts and their activations, without outliers and the first positions.

        Args:
            held_out: Use the held-out documents instead of the training documents.

        Returns:
            A passage for each text that has such activations.
        """


@final
@dataclass(frozen=True)
class Recipe:
    """Settings of a verbalizer's training.

    Attributes:
        steps: Optimizer steps of the verbalizer; its reconstructor has the same number.
        batch: Examples per step.
        rank: Rank of the low-rank adapters.
        lr: Peak learning rate.
        characters: Number of characters before a token that the verbalizer learns to write.
        topics: Write the topic of a text first, if documents have one.
        dictionary: If given, half of the examples are the dictionary's features mixed into the mean activation.
        reconstructor: Also train the reconstructor, from text to activations.
        inject: Whether the vector replaces a token's embedding, or is added to the output of block 1 at that token;
            `auto` for the usual way of the verbalizer's kind.

    Raises:
        UsageError: If a number is too small.
    """

    steps: int = 1500
    batch: int = 16
    rank: int = 32
    lr: float = 1e-3
    characters: int = 70
    topics: bool = False
    dictionary: Dictionary | None = None
    reconstructor: bool = True
    inject: Literal["auto", "replace", "add"] = "auto"

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "rank", "characters"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; a verbalizer is trained with 1 at least.")
        if self.inject not in ("auto", "replace", "add"):
            raise UsageError(f"A verbalizer cannot be trained with inject={self.inject}.", remedy="Say replace or add.")
        if not self.lr > 0:
            raise UsageError(f"The learning rate is {self.lr}; it must be above 0.")
