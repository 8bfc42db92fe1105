"""Inputs and settings of a lens fit: a lens has a matrix for each layer, from a model and plain texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from bridge.corpus.documents import Document
from bridge.errors import UsageError
from bridge.models import LoadedModel


@final
@dataclass(frozen=True)
class LensSubject:
    """A model in memory and texts.

    Attributes:
        name: Name of the model, for people.
        weights: Identity of the model's weights.
        model: The model.
        documents: Texts, in order.
        corpus: Identity of the texts.
    """

    name: str
    weights: str
    model: LoadedModel
    documents: Sequence[Document]
    corpus: str


@final
@dataclass(frozen=True)
class LensRecipe:
    """Settings of a lens fit.

    Attributes:
        layers: Blocks whose outputs are used, in order, each once.
        prompts: Number of texts to fit on: the first ones that are long enough.
        max_tokens: Number of tokens after which texts are cut.
        skip: Number of positions to leave out at the start of each text (attention sinks).
        part: Fit only on every N-th of these texts, as 2/8; the parts are merged afterwards.
        memory: Maximal memory besides the model while gradients are computed, in GB.

    Raises:
        UsageError: If a number is too small, no layer is named, or the part is not one of N.
    """

    layers: tuple[int, ...]
    prompts: int = 100
    max_tokens: int = 128
    skip: int = 16
    part: str = "1/1"
    memory: float = 2.0

    def __post_init__(self) -> None:
        if not self.layers:
            raise UsageError("A lens needs one layer at least.", remedy="Name layers, as 3,7,11.")
        if self.prompts < 1 or self.skip < 0 or not self.memory > 0:
            raise UsageError(
                f"A lens cannot be fitted on {self.prompts} texts, without {self.skip} positions, in {self.memory} GB.",
                remedy="Give 1 text, 0 positions, and some memory at least.",
            )
        if self.max_tokens < self.skip + 2:
            raise UsageError(
                f"Of {self.max_tokens} tokens, {self.skip} skipped ones leave no position to fit on.",
                remedy=f"Give {self.skip + 2} tokens at least, or skip fewer.",
            )
        self.share()

    def share(self) -> tuple[int, int]:
        """Return the number of the part, from 1, and the number of parts.

        Raises:
            UsageError: If `part` is not written I/N with I from 1 to N.
        """
        number, _, count = self.part.partition("/")
        if not (number.isdecimal() and count.isdecimal() and len(self.part) < 20 and 1 <= int(number) <= int(count)):
            raise UsageError(f"{self.part!r} is no part.", remedy="Write I/N with I from 1 to N, as 2/8.")
        return int(number), int(count)
