"""What a verbalizer may know of the model whose vectors it explains, and how it is to be trained."""

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
        ends: For each row where its token ends in the text, in characters, (n,) int64.
        x: Activations, (n, d_model) float32.
    """

    document: Document
    ends: NDArray[np.int64]
    x: NDArray[np.float32]


class Subject(ABC):
    """A model at one site, with texts that it was run on.

    Attributes:
        name: Its full reference, as in `smollm2-135m@19`.
        site: Where the vectors come from.
        d_model: Their width.
        n_layers: Number of blocks of the model.
        placement: Where models are to be held.
        seed: Of everything random.
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
            The model, which is in memory until it is let go.

        Raises:
            ModelUnavailableError: If the weights cannot be had.
        """

    @abstractmethod
    def passages(self, held_out: bool = False) -> Iterator[Passage]:
        """Stream over the texts and their activations, outliers and the first positions left out.

        Args:
            held_out: The held-out documents instead of the training ones.

        Returns:
            A passage for each text that has such activations.
        """


@final
@dataclass(frozen=True)
class Recipe:
    """How a verbalizer is trained.

    Attributes:
        steps: Optimizer steps, of the verbalizer and of its reconstructor each.
        batch: Examples a step.
        rank: Rank of the low-rank adapters.
        lr: Peak learning rate.
        characters: How much of the text before a token is to be said.
        topics: Say the topic of a text first, where documents carry one.
        dictionary: If given, half of the examples are its features mixed into the mean activation.
        reconstructor: Train the reconstructor, too, from text back to activations.
        inject: Whether the vector replaces a token's embedding, or is added to the output of block 1 at that token.

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
    inject: Literal["replace", "add"] = "replace"

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "rank", "characters"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; a verbalizer is trained with 1 at least.")
        if self.inject not in ("replace", "add"):
            raise UsageError(f"A verbalizer cannot be trained with inject={self.inject}.", remedy="Say replace or add.")
        if not self.lr > 0:
            raise UsageError(f"The learning rate is {self.lr}; it must be above 0.")
